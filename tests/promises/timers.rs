//! T: timers and deadlines.

use crate::kit;
#[cfg(target_os = "linux")]
use crate::kit::places::go_on_alone;
use crate::kit::{Kit, default, echo, let_pass, peer, read_all, read_n, small_peer, spawn, write};
use sockeye::{Deadline, EventKind, Listen, Reason, Sent, TimerId};
use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::{Duration, Instant};

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

// T1
#[test]
fn a_timer_set_again_at_once_in_its_own_callback_starves_nothing() {
    let storm = Rc::new(Cell::new(true));
    let goes_on = storm.clone();
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Timer { key: 1, .. } if goes_on.get() => {
            cx.set_timer(Duration::ZERO, 1);
        }
        other => echo(cx, other),
    });
    let addr = kit.listen();
    kit.cx().set_timer(Duration::ZERO, 1);
    kit.cx().set_timer(ms(20), 2);
    let answer = spawn(move || {
        let mut peer = peer(addr);
        for _ in 0..50 {
            write(&mut peer, "ping");
            assert_eq!(read_n(&mut peer, 4), b"ping");
        }
        peer.shutdown(Shutdown::Write).unwrap();
        read_all(peer)
    });
    // Each turn fires it once, and comes to its end.
    for _ in 0..10 {
        let before = kit.log().timers.iter().filter(|key| **key == 1).count();
        kit.turn();
        let after = kit.log().timers.iter().filter(|key| **key == 1).count();
        assert!(after <= before + 1, "{} in one turn", after - before);
    }
    kit.until("the other timer fires", |log| log.timers.contains(&2));
    assert_eq!(kit.until_done(answer), b"");
    kit.until_all_closed();
    assert!(kit.log().timers.len() > 50);
    storm.set(false);
    kit.end();
}

// T1: the same for the deadline of a connection.
#[test]
fn a_deadline_set_again_at_once_in_its_own_callback_starves_nothing() {
    let mut kit = Kit::new(|cx, event| match event {
        EventKind::Open { conn, .. } | EventKind::Deadline { conn, .. } => {
            cx.set_deadline(conn, 0, Duration::ZERO);
        }
        other => echo(cx, other),
    });
    let addr = kit.listen();
    let mut stream = peer(addr);
    kit.until("a storm", |log| log.count("deadline") > 100);
    let before = kit.log().count("deadline");
    kit.turn();
    assert!(kit.log().count("deadline") <= before + 1);
    write(&mut stream, "ping");
    kit.until("the data come", |log| log.count("data") == 1);
    assert_eq!(read_n(&mut stream, 4), b"ping");
    drop(stream);
    kit.until_all_closed();
    kit.end();
}

// T2
#[test]
fn a_timer_cancelled_in_a_callback_does_not_fire_even_if_it_is_due_in_the_same_turn() {
    let ids: Rc<RefCell<Vec<TimerId>>> = Rc::default();
    let answers: Rc<RefCell<Vec<bool>>> = Rc::default();
    let (timers, told) = (ids.clone(), answers.clone());
    let mut kit = Kit::new(move |cx, event| {
        if let EventKind::Timer { timer, key: 1 } = event {
            let timers = timers.borrow();
            let mut cancel = |timer| told.borrow_mut().push(cx.cancel_timer(timer));
            cancel(timer); // itself
            cancel(timers[2]); // due in this turn too
            cancel(timers[2]); // twice
            cancel(timers[0]); // fired already
            cancel(timers[4]); // far away
        }
    });
    for (key, delay) in [(0, 1), (1, 2), (2, 2), (3, 3), (4, 60_000)] {
        let timer = kit.cx().set_timer(ms(delay), key);
        ids.borrow_mut().push(timer);
    }
    let_pass(ms(5));
    kit.turn();
    assert_eq!(kit.log().timers, [0, 1, 3]);
    assert_eq!(*answers.borrow(), [false, true, false, false, true]);
    assert_eq!(kit.reactor.next_wakeup(), None);
    // Its id is stale, whoever has its place now.
    let (stale, new) = (ids.borrow()[2], kit.cx().set_timer(ms(1), 9));
    assert_ne!(stale, new);
    assert!(!kit.cx().cancel_timer(stale));
    kit.until("the new one fires", |log| log.timers.contains(&9));
    kit.end();
}

// T2, T3: a timer that is moved fires once, at its new time and in the order of moving.
#[test]
fn a_timer_that_was_moved_fires_once_at_its_new_time() {
    let kept: Rc<Cell<Option<TimerId>>> = Rc::default();
    let (given, answers) = (kept.clone(), Rc::new(RefCell::new(Vec::new())));
    let told = answers.clone();
    let mut kit = Kit::new(move |cx, event| {
        if let EventKind::Timer { timer, key } = event {
            let mut reset = |timer, delay| told.borrow_mut().push(cx.reset_timer(timer, delay));
            match key {
                0 => reset(timer, ms(1)),                // itself, which has fired
                1 => reset(given.get().unwrap(), ms(1)), // due in this turn too, until now
                _ => {}
            }
        }
    });
    let cx = kit.cx();
    let late = cx.set_timer(ms(60_000), 4);
    for key in 0..2 {
        cx.set_timer(ms(1), key);
    }
    let moved = cx.set_timer(ms(2), 2);
    kept.set(Some(moved));
    let cancelled = cx.set_timer(ms(2), 3);
    assert!(cx.cancel_timer(cancelled) && !cx.reset_timer(cancelled, ms(1)));
    let_pass(ms(5));
    assert!(kit.cx().reset_timer(late, Duration::ZERO));
    kit.turn();
    assert_eq!(kit.log().timers, [0, 1, 4]);
    assert_eq!(*answers.borrow(), [false, true]);
    kit.until("the moved one fires", |log| log.timers.contains(&2));
    assert_eq!(kit.log().timers, [0, 1, 4, 2]);
    assert_eq!(kit.reactor.next_wakeup(), None);
    kit.end();
}

// T2: deadlines of connections are taken back in the same way.
#[test]
fn a_deadline_cleared_or_replaced_does_not_fire() {
    let mut kit = Kit::new(echo);
    let addr = kit.listen();
    let (_one, _two) = (peer(addr), peer(addr));
    kit.until("both are open", |log| log.count("open") == 2);
    let (one, two) = (kit.log().ids[0], kit.log().ids[1]);
    for conn in [one, two] {
        assert!(kit.cx().set_deadline(conn, 0, ms(2)));
    }
    let_pass(ms(5));
    assert!(kit.cx().clear_deadline(one, 0));
    assert!(kit.cx().set_deadline(two, 0, ms(60_000)));
    kit.turn_for(ms(20));
    assert_eq!(kit.log().count("deadline"), 0);
    kit.cx().abort(one);
    kit.until_cx("it is gone", |log, _| log.is_closed(one));
    assert!(!kit.cx().set_deadline(one, 0, ms(1)));
    assert!(!kit.cx().clear_deadline(one, 0));
    assert!(!kit.cx().set_idle(one, Some(ms(1))));
    kit.end();
}

// T3
#[test]
fn timers_fire_in_the_order_of_their_deadlines_and_of_setting_among_equals() {
    let mut kit = Kit::new(|_, _| {});
    let mut expected = Vec::new();
    for key in 0..200 {
        // Nothing tells two deadlines of the same delay apart but the order of setting.
        let group = key * 7 % 4;
        kit.cx().set_timer(ms(100 * group), key);
        expected.push((group, key));
    }
    expected.sort();
    kit.until("all fire", |log| log.timers.len() == 200);
    let mut order: Vec<u64> = expected.into_iter().map(|(_, key)| key).collect();
    assert_eq!(kit.log().timers, order);
    // All overdue in one turn.
    order.iter().for_each(|key| {
        kit.cx().set_timer(ms(1), *key);
    });
    let_pass(ms(3));
    kit.turn();
    order.extend_from_within(..);
    assert_eq!(kit.log().timers, order);
    kit.end();
}

// T4
#[test]
fn a_timer_is_never_early_and_the_loop_does_not_poll_towards_its_end() {
    let set = Rc::new(Cell::new((Instant::now(), Duration::ZERO)));
    let expected = set.clone();
    let mut kit = Kit::new(move |cx, event| {
        if let EventKind::Timer { .. } = event {
            let (at, delay) = expected.get();
            assert!(at.elapsed() >= delay, "early: {:?}", at.elapsed());
            assert!(cx.now() >= at + delay, "the turn's time is early");
        }
    });
    for round in 0..60usize {
        let delay = Duration::from_micros(round as u64 * 137);
        set.set((Instant::now(), delay));
        kit.cx().set_timer(delay, 0);
        let before = kit.cx().stats().turns;
        while kit.log().timers.len() <= round {
            kit.reactor.turn(&mut kit.app, None).unwrap();
        }
        let polls = kit.cx().stats().turns - before;
        assert!(polls <= 2, "{polls} polls for {delay:?}");
    }
    kit.end();
}

// T4: a callback that takes long does not make the delays that follow it shorter.
#[test]
fn a_timer_or_deadline_set_late_in_a_long_turn_is_not_early_either() {
    let start: Rc<Cell<Option<Instant>>> = Rc::default();
    let set = start.clone();
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Open { conn, .. } => {
            let_pass(ms(60));
            set.set(Some(Instant::now()));
            cx.set_timer(ms(50), 0);
            cx.set_deadline(conn, 0, ms(50));
            cx.set_idle(conn, Some(ms(50)));
        }
        EventKind::Timer { .. } | EventKind::Deadline { .. } => {
            assert!(set.get().unwrap().elapsed() >= ms(50), "early");
        }
        other => default(cx, other),
    });
    let addr = kit.listen();
    let _peer = peer(addr);
    kit.until("all have fired", |log| {
        log.timers.len() == 1 && log.count("deadline") >= 2
    });
    let conn = kit.log().ids[0];
    kit.cx().abort(conn);
    kit.until_all_closed();
    kit.end();
}

// T5
#[test]
fn a_delay_without_end_neither_panics_nor_holds_up_a_short_one() {
    let day = 24 * 60 * 60;
    let long = [
        Duration::MAX,
        Duration::from_millis(u64::MAX),
        Duration::from_nanos(u64::MAX),
        // 2^64 ns, which is nothing in 64 bits.
        Duration::new(18_446_744_073, 709_551_616),
        Duration::from_secs(50 * day),
        Duration::from_millis(1 << 32),
        Duration::from_millis(1 << 31),
    ];
    let mut kit = Kit::new(|_, _| {});
    let (_peer, conn) = kit.accept();
    for (key, delay) in long.into_iter().enumerate() {
        kit.cx().set_timer(delay, key as u64);
        kit.cx().set_deadline(conn, 0, delay);
        kit.cx().set_idle(conn, Some(delay));
        // No wait is cut short by it: a wait in milliseconds has room for 24 days only.
        assert!(kit.turn_for(ms(20)) <= 5);
        kit.reactor.next_wakeup();
    }
    kit.cx().set_timer(ms(10), 99);
    while kit.log().timers.is_empty() {
        kit.reactor
            .turn(&mut kit.app, Some(Duration::MAX))
            .expect("the longest timeout is no error");
    }
    assert_eq!(kit.log().timers, [99]);
    assert_eq!(kit.log().count("deadline"), 0);
    kit.end();
}

// T6: what cannot be shown by turning the clock back here is shown in the sources.
#[test]
fn nothing_reads_the_wall_clock() {
    fn sources(dir: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => sources(&path, found),
                false => found.push(path),
            }
        }
    }
    let mut files = Vec::new();
    sources(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut files,
    );
    assert!(files.len() > 20);
    // One place can read it, and one question of the handler's asks there.
    let (mut reads, mut asks) = (Vec::new(), Vec::new());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (found, what) in [
            (&mut reads, "SystemTime::now"),
            (&mut asks, ".wall_clock()"),
        ] {
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            found.extend(
                code.filter(|line| line.contains(what))
                    .map(|_| file.clone()),
            );
        }
    }
    assert!(
        reads.len() == 1 && reads[0].ends_with("src/backend/mod.rs"),
        "{reads:?}"
    );
    assert!(
        asks.len() == 1 && asks[0].ends_with("src/context/questions.rs"),
        "{asks:?}"
    );
}

/// The resident memory of this process, in bytes.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

// T7
#[test]
#[cfg(target_os = "linux")]
fn a_million_timers_set_and_cancelled_leave_no_memory_behind() {
    go_on_alone!(); // it looks at the memory of the process
    let mut kit = Kit::new(|_, _| {});
    let mut ids = Vec::with_capacity(1000);
    let mut before = 0;
    for round in 0..1_001u64 {
        for key in 0..1000 {
            ids.push(kit.cx().set_timer(ms(60_000 + key), round));
        }
        for timer in ids.drain(..) {
            assert!(kit.cx().cancel_timer(timer));
        }
        if round == 0 {
            before = resident();
        }
    }
    // What a million would leave behind is at least 24 MB.
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes");
    assert_eq!(kit.reactor.next_wakeup(), None);
    kit.end();
}

// T7: a deadline that moves with every byte has one timer, which does not move.
#[test]
fn a_deadline_moved_a_hundred_thousand_times_costs_one_timer() {
    let mut kit = Kit::new(echo);
    let (_peer, conn) = kit.accept();
    for _ in 0..100_000 {
        kit.cx().set_deadline(conn, 0, ms(60_000));
        kit.cx().set_idle(conn, Some(ms(60_000)));
    }
    kit.cx().clear_deadline(conn, 0);
    kit.cx().set_idle(conn, None);
    kit.end();
}

/// An idle deadline that asserts itself: it must not come sooner than the idle time after the last
/// progress that the test has seen.
struct Watchdog {
    progress: Rc<Cell<Instant>>,
    idle: Duration,
}

impl Watchdog {
    fn new(idle: Duration) -> Watchdog {
        Watchdog {
            progress: Rc::new(Cell::new(Instant::now())),
            idle,
        }
    }

    fn check(&self) -> impl Fn() + use<> {
        let (progress, idle) = (self.progress.clone(), self.idle);
        move || {
            let silent = progress.get().elapsed();
            assert!(silent >= idle, "idle after {silent:?} of silence");
        }
    }
}

// T8
#[test]
fn bytes_that_trickle_in_hold_off_the_idle_deadline() {
    let dog = Watchdog::new(ms(80));
    let check = dog.check();
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Deadline { which, .. } => {
            assert_eq!(which, Deadline::Idle);
            check();
        }
        other => default(cx, other),
    });
    let addr = kit.listen_on(Listen::new("127.0.0.1:0").idle(dog.idle));
    let mut stream = peer(addr.ip().unwrap());
    kit.until("it is open", |log| log.count("open") == 1);
    let start = Instant::now();
    while start.elapsed() < 4 * dog.idle {
        let received = kit.cx().stats().bytes_in;
        write(&mut stream, ".");
        let before = Instant::now();
        kit.until_cx("it comes", |_, cx| cx.stats().bytes_in > received);
        dog.progress.set(before);
        kit.turn_for(ms(5));
    }
    let trickled = kit.log().count("deadline");
    // Then silence: it comes, and comes again, for the connection is left open.
    kit.until("silence is told of", |log| {
        log.count("deadline") >= trickled + 2
    });
    assert_eq!(kit.log().closed(), 0);
    drop(stream);
    kit.until_all_closed();
    kit.end();
}

// T8
#[test]
fn bytes_that_trickle_out_hold_off_the_idle_deadline() {
    let dog = Watchdog::new(ms(80));
    let check = dog.check();
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Open { conn, .. } => {
            assert_eq!(cx.send(conn, vec![7; 4 << 20]), Sent::Wait);
        }
        EventKind::Deadline { which, .. } => {
            assert_eq!(which, Deadline::Idle);
            check();
        }
        other => default(cx, other),
    });
    let listen = Listen::new("127.0.0.1:0").idle(dog.idle).send_buffer(4096);
    let addr = kit.listen_on(listen).ip().unwrap();
    let mut stream = small_peer(addr);
    kit.until("it is open", |log| log.count("open") == 1);
    let conn = kit.log().ids[0];
    let start = Instant::now();
    while start.elapsed() < 4 * dog.idle {
        let pending = kit.cx().pending(conn);
        while kit.cx().pending(conn) == pending {
            read_n(&mut stream, 512);
            let before = Instant::now();
            kit.turn();
            if kit.cx().pending(conn) < pending {
                dog.progress.set(before);
            }
        }
        kit.turn_for(ms(3));
    }
    let trickled = kit.log().count("deadline");
    kit.until("silence is told of", |log| log.count("deadline") > trickled);
    assert!(kit.cx().pending(conn) > 0, "there was something to send");
    drop(stream);
    kit.until_all_closed();
    kit.end();
}

// T8
#[test]
fn data_that_come_in_the_turn_of_the_deadline_win() {
    let mut kit = Kit::new(|_, event| {
        if let EventKind::Data { input, .. } = event {
            input.take_all();
        }
    });
    let (mut stream, conn) = kit.accept();
    kit.cx().set_idle(conn, Some(ms(100)));
    let end = Instant::now() + ms(101);
    write(&mut stream, "in time");
    let_pass(end.saturating_duration_since(Instant::now()));
    kit.turn();
    let life = kit.log().life(conn);
    assert_eq!(life.callbacks, ["open", "data"]);
    kit.until("silence is told of", |log| log.count("deadline") == 1);
    kit.cx().set_idle(conn, None);
    // The deadline that traffic does not move comes all the same, after the data.
    kit.cx().set_deadline(conn, 0, ms(5));
    write(&mut stream, "too late");
    let_pass(ms(6));
    kit.turn();
    let life = kit.log().life(conn);
    let seen = &life.callbacks;
    assert_eq!(seen[seen.len() - 2..], ["data", "deadline"], "{seen:?}");
    kit.turn_for(ms(20));
    assert_eq!(kit.log().life(conn).callbacks.last(), Some(&"deadline"));
    drop(stream);
    kit.end();
}

// T8: by default a silent connection is closed, and a slow-loris too.
#[test]
fn a_deadline_closes_its_connection_by_default_and_says_which_it_was() {
    let mut kit = Kit::new(default);
    let addr = kit.listen_on(Listen::new("127.0.0.1:0").idle(ms(30)));
    let idle = peer(addr.ip().unwrap());
    kit.until("it is closed", |log| log.closed() == 1);
    assert!(matches!(
        kit.log().life(kit.log().ids[0]).reason(),
        Reason::TimedOut(Deadline::Idle)
    ));
    assert_eq!(read_all(idle), b"");
    let addr = kit.listen();
    let mut slow = peer(addr);
    kit.until("it is open", |log| log.count("open") == 2);
    let conn = kit.log().ids[1];
    kit.cx().set_deadline(conn, 0, ms(60));
    let start = Instant::now();
    while kit.cx().is_open(conn) {
        assert!(start.elapsed() < kit::PATIENCE, "traffic moves it");
        let _ = std::io::Write::write(&mut slow, b".");
        kit.turn_for(ms(2));
    }
    assert!(start.elapsed() >= ms(59));
    drop(slow);
    kit.until_all_closed();
    assert!(matches!(
        kit.log().life(conn).reason(),
        Reason::TimedOut(Deadline::Set(0))
    ));
    kit.end();
}
