//! X: closing and identity.

use crate::kit;
use crate::kit::{
    Kit, any_peer, both, default, pattern, peer, read_all, read_n, reset, spawn, write,
};
use socket2::Socket;
use sockeye::{Config, ConnId, Context, Deadline, EventKind, Limits, Listen};
use sockeye::{Reason, Sent};
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

fn config(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = Config::default();
    change(&mut config.limits);
    config
}

/// The connection that an event is for, and the name of its callback.
fn about(event: &EventKind<'_>) -> Option<(ConnId, &'static str)> {
    Some(match event {
        EventKind::Open { conn, .. } => (*conn, "open"),
        EventKind::Data { conn, .. } => (*conn, "data"),
        EventKind::Drain { conn } => (*conn, "drain"),
        EventKind::Eof { conn, .. } => (*conn, "eof"),
        EventKind::Deadline { conn, .. } => (*conn, "deadline"),
        EventKind::Finish { conn } => (*conn, "finish"),
        EventKind::Close { conn, .. } => (*conn, "close"),
        _ => return None,
    })
}

const ENDS: [fn(&mut Context, ConnId) -> bool; 3] = [Context::close, Context::abort, |cx, conn| {
    cx.close_because(conn, "no more")
}];

/// Says a word, reads the answer, finishes, and waits for the end. Whoever was closed at once may
/// not hear of it all.
fn spawn_session(mut peer: Socket) -> JoinHandle<()> {
    spawn(move || {
        let _ = peer.write(b"x");
        let _ = peer.read_exact(&mut vec![0; 100_000]);
        let _ = peer.shutdown(Shutdown::Write);
        let _ = peer.read_to_end(&mut Vec::new());
    })
}

// X1
#[test]
fn a_connection_that_is_ended_inside_any_of_its_callbacks_gets_nothing_more_but_on_close() {
    const CALLBACKS: [&str; 7] = [
        "open", "data", "drain", "deadline", "eof", "finish", "close",
    ];
    const CASES: usize = CALLBACKS.len() * ENDS.len();
    both(|listen| {
        let ids = RefCell::new(Vec::new());
        let mut kit = Kit::new(|cx, event| {
            let Some((conn, name)) = about(&event) else {
                return default(cx, event);
            };
            if name == "open" {
                ids.borrow_mut().push(conn);
            }
            let case = ids.borrow().iter().position(|id| *id == conn).unwrap();
            if name == CALLBACKS[case / ENDS.len()] {
                assert_eq!(ENDS[case % ENDS.len()](cx, conn), name != "close");
                assert!(!cx.close(conn) && !cx.is_open(conn));
                return;
            }
            match event {
                EventKind::Open { .. } => {
                    cx.send(conn, vec![1; 100_000]);
                    cx.set_deadline(conn, 0, Duration::from_millis(2));
                }
                EventKind::Data { input, .. } => drop(input.take_all()),
                _ => {}
            }
        });
        let addr = kit.listen_on(listen);
        let peers = (0..CASES).map(|_| any_peer(&addr)).collect::<Vec<_>>();
        kit.until("all are open", |log| log.count("open") == CASES);
        let threads: Vec<_> = peers.into_iter().map(spawn_session).collect();
        let all = ids.borrow().clone();
        kit.until(
            "each has had its deadline and its end, or is closed",
            |log| {
                let over = |id| log.is_closed(id) || log.life(id).count("eof") == 1;
                let due = |id| log.is_closed(id) || log.life(id).count("deadline") == 1;
                all.iter().all(|id| over(*id) && due(*id))
            },
        );
        kit.cx().finish(Duration::from_secs(20));
        kit.until("the others were told to finish", |log| {
            all.iter()
                .all(|id| log.is_closed(*id) || log.life(*id).count("finish") == 1)
        });
        for id in &all {
            kit.cx().close(*id);
        }
        threads
            .into_iter()
            .for_each(|thread| kit.until_done(thread));
        kit.until_all_closed();
        for (case, id) in all.iter().enumerate() {
            let (names, callback) = (&kit.log().life(*id).callbacks, CALLBACKS[case / ENDS.len()]);
            let at = names.iter().position(|name| *name == callback).unwrap();
            let after: &[&str] = if callback == "close" { &[] } else { &["close"] };
            assert_eq!(&names[at + 1..], after, "ended in {callback}: {names:?}");
        }
        // Until it is taken, the loop has work: `run` would return now.
        assert!(kit.reactor.take_report().is_some());
        kit.end();
    });
}

// X2
#[test]
fn no_stale_event_of_a_batch_reaches_those_who_take_the_slots_and_descriptors() {
    const COUNT: usize = 20;
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    let (old, fresh) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let closing = Cell::new(false);
    let mut kit = Kit::new(|cx, event| match event {
        EventKind::Open { conn, .. } if fresh.borrow().is_empty() => old.borrow_mut().push(conn),
        EventKind::Data { conn, input } => {
            input.take_all();
            if !closing.replace(true) {
                // All others, whose events sit in this batch.
                let others = old.borrow().iter().filter(|id| **id != conn).count();
                assert_eq!(others, COUNT - 1);
                old.borrow().iter().for_each(|id| assert!(cx.abort(*id)));
            }
        }
        // The slots that are free by now are taken again at once.
        EventKind::Close { conn, .. } if old.borrow().contains(&conn) => {
            fresh.borrow_mut().push(cx.connect(to));
        }
        other => default(cx, other),
    });
    let addr = kit.listen();
    let mut peers: Vec<TcpStream> = (0..COUNT).map(|_| peer(addr)).collect();
    kit.until("all are open", |log| log.count("open") == COUNT);
    for (i, mut peer) in peers.drain(..).enumerate() {
        write(&mut peer, "stale");
        match i % 3 {
            0 => reset(peer),
            1 => drop(peer),
            _ => peer.shutdown(Shutdown::Write).unwrap(),
        }
    }
    kit.until("the old ones are closed", |log| {
        old.borrow().iter().all(|id| log.is_closed(*id))
    });
    let greeting = spawn(move || {
        for i in 0..COUNT {
            write(&mut server.accept().unwrap().0, [i as u8; 100]);
        }
    });
    kit.until_done(greeting);
    kit.until("the new ones are closed", |log| {
        fresh.borrow().iter().all(|id| log.is_closed(*id))
    });
    assert!(kit.log().past.len() > COUNT / 2, "no slot was reused");
    let mut greeted = Vec::new();
    for id in fresh.borrow().iter() {
        let life = kit.log().life(*id);
        assert_eq!(
            (life.callbacks[0], life.received.len()),
            ("open", 100),
            "{life:?}"
        );
        assert!(matches!(life.reason(), Reason::Eof));
        greeted.push(life.received[0]);
    }
    greeted.sort_unstable();
    assert_eq!(greeted, Vec::from_iter(0..COUNT as u8));
    let first = old
        .borrow()
        .iter()
        .filter(|id| kit.log().life(**id).count("data") > 0)
        .count();
    assert_eq!(first, 1, "a closed one was told of its data");
    kit.end();
}

/// Connects that fail at once, one after the other; each gets the slot that the last one had.
struct Churn {
    closed: usize,
}

impl sockeye::Handler for Churn {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut sockeye::Input) {}

    fn on_close(&mut self, _: &mut Context, _: ConnId, closed: sockeye::Closed) {
        assert!(matches!(
            closed.reason,
            Reason::ConnectFailed(_) | Reason::Aborted
        ));
        self.closed += 1;
    }
}

// X3: without the kit, which keeps what it has seen of each id.
#[test]
fn an_id_is_still_stale_after_a_hundred_thousand_reuses_of_its_slot() {
    const REUSES: usize = 100_000;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut reactor = sockeye::Reactor::new().unwrap();
    let mut app = Churn { closed: 0 };
    let stale = reactor.context().connect("no address at all");
    for round in 0..REUSES {
        reactor.turn(&mut app, Some(Duration::ZERO)).unwrap();
        assert_eq!(app.closed, round + 1);
        if round + 1 < REUSES {
            reactor.context().connect("no address at all");
        }
    }
    let cx = reactor.context();
    let owner = cx.connect(silent.local_addr().unwrap());
    let slot = |id: ConnId| id.to_string().split('.').next().map(str::to_owned);
    assert!(
        slot(owner) == slot(stale) && owner != stale,
        "{stale} {owner}"
    );
    assert_eq!(cx.send(stale, "x"), Sent::Gone);
    assert_eq!((cx.broadcast([stale], "x").gone, cx.pending(stale)), (1, 0));
    assert!(!cx.close(stale) && !cx.abort(stale) && !cx.shutdown_write(stale));
    assert!(!cx.close_because(stale, "x") && !cx.pause_reads(stale) && !cx.resume_reads(stale));
    assert!(!cx.set_deadline(stale, 0, Duration::ZERO) && !cx.clear_deadline(stale, 0));
    assert!(!cx.set_idle(stale, None) && !cx.is_open(stale) && !cx.wants_input(stale));
    assert!(cx.peer_addr(stale).is_none() && cx.local_addr(stale).is_none());
    assert!(cx.tag(stale).is_none() && cx.origin(stale).is_none());
    // The new owner is untouched.
    assert_eq!(cx.connections().collect::<Vec<_>>(), [owner]);
    assert!(cx.pending(owner) == 0 && cx.wants_input(owner) && cx.send(owner, "x") == Sent::Queued);
    cx.abort(owner);
    reactor.turn(&mut app, Some(Duration::ZERO)).unwrap();
    assert_eq!(app.closed, REUSES + 1);
}

// X4
#[test]
fn a_close_after_8_mib_to_a_slow_reader_delivers_them_all_then_fin_then_on_close() {
    let all = pattern(8 << 20);
    for listen in [Listen::new("127.0.0.1:0"), Listen::new(kit::other_place())] {
        let mut kit = Kit::new(|cx, event| match event {
            EventKind::Open { conn, .. } => {
                cx.send(conn, &all);
                assert!(cx.close(conn));
                assert_eq!(cx.pending(conn), all.len());
            }
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen.send_buffer(32 * 1024));
        let mut peer = any_peer(&addr);
        peer.set_recv_buffer_size(64 * 1024).unwrap();
        kit.until("it is open", |log| log.count("open") == 1);
        assert_eq!(kit.log().closed(), 0);
        let reader = spawn(move || {
            let mut received = read_n(&mut peer, 1);
            received.extend(read_all(peer));
            received
        });
        assert!(kit.until_done(reader) == all);
        kit.until_all_closed();
        let life = kit.log().life(kit.log().ids[0]);
        assert_eq!(life.callbacks, ["open", "close"]);
        assert!(life.closed.as_ref().unwrap().is_clean(), "{life:?}");
        kit.end();
    }
}

// X4
#[test]
fn a_peer_that_never_reads_holds_up_a_close_for_the_close_flush_timeout_only() {
    let timeout = Duration::from_millis(100);
    both(|listen| {
        let asked = Cell::new(Instant::now());
        let config = config(|limits| limits.close_flush = timeout);
        let mut kit = Kit::with_config(config, |cx, event| match event {
            EventKind::Open { conn, .. } => {
                cx.send(conn, vec![0; 1 << 20]);
                asked.set(Instant::now());
                cx.close(conn);
            }
            EventKind::Close { .. } => assert!(asked.get().elapsed() >= timeout),
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let peer = any_peer(&addr);
        kit.until("it is given up", |log| log.closed() == 1);
        let life = kit.log().life(kit.log().ids[0]);
        assert!(matches!(
            life.reason(),
            Reason::TimedOut(Deadline::CloseFlush)
        ));
        assert!(life.closed.as_ref().unwrap().undelivered > 500_000);
        drop(peer);
        kit.end();
    });
}

// X6
#[test]
fn an_abort_reaches_the_peer_though_a_program_that_was_started_before_it_runs() {
    const RUNS: &str = "SOCKEYE_TEST_RUNS";
    if std::env::var_os(RUNS).is_some() {
        // That program: it runs until its input ends.
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
        return;
    }
    let mut kit = Kit::new(default);
    let (mut peer, conn) = kit.accept();
    let this =
        "closing::an_abort_reaches_the_peer_though_a_program_that_was_started_before_it_runs";
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this])
        .env(RUNS, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert!(kit.cx().abort(conn));
    kit.until_all_closed();
    // Under wine a reset is an end.
    let end = peer.read(&mut [0; 1]).map_err(|error| error.kind());
    let ends = [Ok(0), Err(std::io::ErrorKind::ConnectionReset)];
    assert!(ends.contains(&end), "{end:?}");
    assert!(program.try_wait().unwrap().is_none(), "it has ended");
    drop(program.stdin.take());
    assert!(program.wait().unwrap().success());
    kit.end();
}
