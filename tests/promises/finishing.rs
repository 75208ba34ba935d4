//! What `run` and turns without a world show of the graceful stop; what the reactor counts, and
//! refuses to be made with.

use crate::kit;
use crate::kit::places::refusing;
use crate::kit::{Kit, default, echo, let_pass, peer, read_all, read_n, small_peer, spawn, write};
use sockeye::{Config, EventKind, Listen, Reactor, Reason, Stats};
use std::io::ErrorKind;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

// X10, C6: a world would let it go on until it comes to rest.
#[test]
fn a_handler_that_always_connects_again_does_not_keep_a_reactor_that_finishes() {
    let (_nobody, to) = refusing();
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Open { .. } => cx.finish(LONG),
        EventKind::Close { .. } => drop(cx.connect(to)),
        other => default(cx, other),
    });
    let addr = kit.listen();
    let _peer = peer(addr);
    let start = Instant::now();
    while kit.reactor.take_report().is_none() {
        assert!(start.elapsed() < kit::PATIENCE, "it never finishes");
        kit.turn();
    }
}

// X10: by `run` itself, of one that never reads.
#[test]
fn run_returns_with_what_was_aborted_at_the_end_of_the_grace_and_the_bytes_it_lost() {
    const QUEUED: usize = 8 << 20;
    let mut kit = Kit::new(|cx, event| match event {
        EventKind::Open { conn, .. } => drop(cx.send(conn, vec![7; QUEUED])),
        other => default(cx, other),
    });
    let listen = Listen::new("127.0.0.1:0").send_buffer(4096);
    let addr = kit.listen_on(listen).ip().unwrap();
    let _silent = small_peer(addr);
    kit.until("it is open", |log| log.count("open") == 1);
    let conn = kit.log().ids[0];
    let mut pending = QUEUED + 1;
    while kit.cx().pending(conn) < pending {
        pending = kit.cx().pending(conn);
        kit.turn_for(ms(5));
    }
    assert!(pending > 0, "the system has taken all");
    kit.cx().finish(ms(10));
    let report = kit.reactor.run(&mut kit.app).unwrap();
    assert!(report.finished);
    assert_eq!((report.closed, report.aborted), (0, 1));
    // What was pending, but for what the system still took in the grace.
    assert!((1..=pending as u64).contains(&report.bytes_lost));
    assert_eq!(
        report.bytes_lost,
        QUEUED as u64 - kit.cx().stats().bytes_out
    );
    let closed = kit.log().life(conn).closed.as_ref().unwrap();
    assert!(matches!(closed.reason, Reason::Finished), "{closed:?}");
    assert_eq!(closed.undelivered, report.bytes_lost);
    kit.end();
}

// X10, M4
#[test]
fn a_stop_leaves_a_graceful_stop_which_the_next_run_takes_up() {
    let mut kit = Kit::new(|cx, event| match event {
        EventKind::Finish { .. } => cx.stop(),
        other => default(cx, other),
    });
    let addr = kit.listen();
    let stream = peer(addr);
    kit.until("it is open", |log| log.count("open") == 1);
    kit.cx().finish(LONG);
    let report = kit.reactor.run(&mut kit.app).unwrap();
    assert!(!report.finished);
    assert_eq!(kit.cx().connections().count(), 1);
    drop(stream);
    let report = kit.reactor.run(&mut kit.app).unwrap();
    assert!(report.finished);
    assert_eq!(
        (report.closed, report.aborted, report.bytes_lost),
        (1, 0, 0)
    );
    kit.end();
}

#[test]
fn the_stats_count_what_has_happened() {
    let refuse = Rc::new(std::cell::Cell::new(false));
    let refuses = refuse.clone();
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Accept { verdict, .. } if refuses.get() => *verdict = sockeye::Accept::Refuse,
        EventKind::Deadline { conn, .. } => drop(cx.abort(conn)),
        other => echo(cx, other),
    });
    assert_eq!(*kit.cx().stats(), Stats::default());
    let addr = kit.listen();
    let client = spawn(move || {
        let mut peer = peer(addr);
        write(&mut peer, "12345");
        assert_eq!(read_n(&mut peer, 5), b"12345");
    });
    kit.until_done(client);
    kit.until_all_closed();
    refuse.set(true);
    assert_eq!(kit.until_done(spawn(move || read_all(peer(addr)))), b"");
    refuse.set(false);
    let (_bound, nobody) = refusing();
    let failed = kit.connect(nobody);
    kit.until("it fails", |log| log.is_closed(failed));
    let ours = kit.connect(addr);
    kit.until_cx("it opens", |log, cx| {
        cx.is_open(ours) && log.count("open") == 3
    });
    kit.cx().set_deadline(ours, 0, ms(1));
    kit.cx().set_timer(ms(1), 1);
    kit.until("the timer fires", |log| log.timers == [1]);
    kit.until_all_closed();
    kit.sender().send(1).unwrap();
    kit.until("it comes", |log| log.messages == [1]);

    let stats = kit.cx().stats().clone();
    assert_eq!(
        (stats.accepted, stats.refused, stats.accept_errors),
        (2, 1, 0)
    );
    assert_eq!((stats.connected, stats.opened), (1, 3));
    assert_eq!(
        (stats.bytes_in, stats.bytes_out, stats.bytes_lost),
        (5, 5, 0)
    );
    assert!((1..=5).contains(&stats.reads) && (1..=5).contains(&stats.writes));
    assert_eq!((stats.messages, stats.timers, stats.deadlines), (1, 1, 1));
    let closed = &stats.closed;
    assert_eq!((closed.eof, closed.aborted, closed.reset), (1, 1, 1));
    assert_eq!((closed.connect_failed, closed.total()), (1, 4));
    assert_eq!(closed.total(), kit.log().closed() as u64);
    assert!(stats.turns >= 5);
    assert_eq!(stats.budget_hits, sockeye::BudgetHits::default());
    kit.end();
}

#[test]
fn a_turn_says_what_it_has_done() {
    let mut config = Config::default();
    config.messages_per_turn = 2;
    let mut kit = Kit::with_config(config, echo);
    let turn = kit.turn();
    assert_eq!((turn.callbacks, turn.more), (0, false));
    (0..3).for_each(|message| kit.sender().send(message).unwrap());
    kit.cx().set_timer(Duration::ZERO, 1);
    let_pass(ms(1));
    let turn = kit.turn();
    assert_eq!((turn.callbacks, turn.more), (3, true));
    let turn = kit.turn();
    assert_eq!((turn.callbacks, turn.more), (1, false));
    assert_eq!(kit.cx().stats().budget_hits.messages, 1);
    kit.end();
}

#[test]
fn a_senseless_configuration_is_refused_with_the_name_of_the_value() {
    let refused = |change: fn(&mut Config), name: &str| {
        let mut config = Config::default();
        change(&mut config);
        let error = Reactor::with_config(config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
        let text = error.to_string();
        assert!(text.starts_with("invalid configuration: "), "{text}");
        assert!(text.contains(name), "{text}");
        let inner = error.get_ref().unwrap();
        assert!(inner.is::<sockeye::ConfigError>());
    };
    refused(|c| c.accepts_per_turn = 0, "accepts_per_turn");
    refused(|c| c.reads_per_turn = 0, "reads_per_turn");
    refused(|c| c.messages_per_turn = 0, "messages_per_turn");
    refused(|c| c.rounds_per_turn = 0, "rounds_per_turn");
    refused(|c| c.events_per_wait = 0, "events_per_wait");
    refused(|c| c.events_per_wait = usize::MAX, "events_per_wait");
    refused(|c| c.receive_buffer = 0, "receive_buffer");
    refused(|c| c.receive_buffer = usize::MAX, "receive_buffer");
    refused(|c| c.max_connections = 0, "max_connections");
    refused(|c| c.message_limit = 0, "message_limit");
    refused(|c| c.accept_backoff = Duration::ZERO, "accept_backoff");
    refused(|c| c.limits.low_watermark = 65_537, "low_watermark");
    refused(|c| c.limits.high_watermark = usize::MAX, "hard_limit");
    refused(|c| c.limits.hard_limit = 0, "hard_limit");
    refused(|c| c.limits.idle = Some(Duration::ZERO), "idle");
    refused(
        |c| c.limits.connect_timeout = Duration::ZERO,
        "connect_timeout",
    );
    refused(|c| c.limits.write_stall = Duration::ZERO, "write_stall");
    refused(|c| c.limits.close_flush = Duration::ZERO, "close_flush");
}

#[test]
fn senseless_limits_of_one_listener_or_connect_are_refused_too() {
    let mut limits = sockeye::Limits::default();
    limits.low_watermark = limits.high_watermark + 1;
    let mut kit = Kit::new(default);
    let listen = Listen::new("127.0.0.1:0").limits(limits.clone());
    let error = kit.reactor.listen(listen).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("low_watermark"), "{error}");
    let listen = Listen::new("127.0.0.1:0").idle(Duration::ZERO);
    assert!(kit.reactor.listen(listen).is_err());
    // A connect never fails inline.
    let addr = kit.listen();
    let connect = sockeye::Connect::new(addr).limits(limits);
    let conn = kit.connect(connect);
    kit.until("it is told", |log| log.is_closed(conn));
    match kit.log().life(conn).reason() {
        Reason::ConnectFailed(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
        other => panic!("{other:?}"),
    }
    kit.end();
}

#[test]
fn the_least_configuration_that_makes_sense_works() {
    let mut config = Config::default();
    config.accepts_per_turn = 1;
    config.reads_per_turn = 1;
    config.rounds_per_turn = 1;
    config.events_per_wait = 1;
    config.receive_buffer = 1;
    config.max_connections = 1;
    config.limits.low_watermark = 0;
    config.limits.high_watermark = 0;
    config.limits.hard_limit = 0;
    config.limits.input_limit = 0;
    let mut kit = Kit::with_config(config, echo);
    let addr = kit.listen();
    let client = spawn(move || {
        let mut peer = peer(addr);
        write(&mut peer, "one byte at a time");
        peer.shutdown(Shutdown::Write).unwrap();
        read_all(peer)
    });
    assert_eq!(kit.until_done(client), b"one byte at a time");
    kit.until_all_closed();
    kit.end();
}
