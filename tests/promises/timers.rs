//! T: what the system's clock shows of timers and deadlines, and what they cost.

#[cfg(target_os = "linux")]
use crate::kit::places::go_on_alone;
use crate::kit::{Kit, default, echo, let_pass, peer, write};
use sockeye::EventKind;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
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

// T5: a wait in milliseconds has room for 24 days only.
#[test]
fn the_longest_wait_is_no_error() {
    let mut kit = Kit::new(|_, _| {});
    kit.cx().set_timer(Duration::MAX, 1);
    kit.cx().set_timer(ms(10), 2);
    while kit.log().timers.is_empty() {
        let turn = kit.reactor.turn(&mut kit.app, Some(Duration::MAX));
        turn.unwrap();
    }
    assert_eq!(kit.log().timers, [2]);
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
