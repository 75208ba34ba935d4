//! What a turn may do, and that it is counted as too little only where it was.

use super::*;
use crate::readiness::Readiness;

fn limited(change: impl FnOnce(&mut Config)) -> Bench {
    let mut config = Config::default();
    change(&mut config);
    Bench::with_config(config)
}

#[test]
fn a_budget_that_was_just_enough_was_not_hit() {
    let mut bench = limited(|config| {
        config.accepts_per_turn = 2;
        config.expiries_per_turn = 1;
    });
    // One who comes, and nobody behind.
    bench.accept();
    bench.cx().set_timer(Duration::ZERO, 7);
    assert!(!bench.turn());
    assert_eq!(bench.seen(), ["open", "timer 7"]);
    let hits = &bench.cx().stats().budget_hits;
    assert_eq!((hits.accepts, hits.expiries), (0, 0));
    for _ in 0..2 {
        bench.cx().set_timer(Duration::ZERO, 7);
        bench.script.incoming();
    }
    assert!(bench.turn());
    let hits = &bench.cx().stats().budget_hits;
    assert_eq!((hits.accepts, hits.expiries), (1, 1));
}

#[test]
fn a_full_batch_of_events_counts_and_is_work_left_over() {
    let mut bench = Bench::new();
    let (socket, _) = bench.accept();
    assert_eq!(bench.cx().stats().budget_hits.events, 0);
    bench.script.fill_batches();
    for hits in 1..=2 {
        bench.script.edge(socket, Readiness::WRITABLE);
        assert!(bench.turn());
        assert_eq!(bench.cx().stats().budget_hits.events, hits);
    }
}

// What the system tells of one that is on the list already lists it no second time.
#[test]
fn a_turn_reads_each_connection_once() {
    let mut bench = Bench::new();
    let (socket, _) = bench.accept();
    bench.script.socket(socket, |socket| socket.proof = false);
    for _ in 0..10 {
        bench.script.socket(socket, |socket| {
            socket.reads.push_back(Ok(b"x".to_vec()));
        });
    }
    let news = Readiness::READABLE | Readiness::URGENT;
    for reads in 1..=5 {
        bench.script.edge(socket, news);
        bench.turn();
        assert_eq!(bench.cx().stats().reads, reads);
    }
}

#[test]
fn who_was_put_off_is_listed_once() {
    let mut bench = limited(|config| config.reads_per_turn = 1);
    let (one, _) = bench.accept();
    let (other, _) = bench.accept();
    bench.script.arrives(one, b"x");
    bench.script.arrives(other, b"y");
    bench.turn();
    bench.script.edge(other, Readiness::READABLE);
    bench.settle();
    assert_eq!(bench.seen(), ["open", "open", "data 1", "data 1"]);
    assert_eq!(bench.cx().stats().budget_hits.reads, 1);
}

#[test]
fn what_a_callback_sends_to_its_own_connection_goes_out_as_it_returns() {
    let mut bench = Bench::new();
    let (one, _) = bench.accept();
    let (other, _) = bench.accept();
    let script = bench.script.clone();
    bench.app.on_data.push_back(Box::new(|cx, conn| {
        cx.send(conn, "answer");
    }));
    bench.app.on_data.push_back(Box::new(move |_, _| {
        script.socket(one, |socket| assert_eq!(socket.written, b"answer"));
    }));
    bench.script.arrives(one, b"x");
    bench.script.arrives(other, b"y");
    bench.settle();
    assert_eq!(bench.seen(), ["open", "open", "data 1", "data 1"]);
}

#[test]
fn a_timer_that_finds_nothing_due_asks_nobody() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    let second = Duration::from_secs(1);
    bench.cx().set_idle(conn, Some(second * 10));
    bench.pass(second * 5);
    bench.script.arrives(socket, b"x");
    bench.settle();
    let calls = bench.script.socket(socket, |socket| socket.calls);
    bench.pass(second * 5);
    assert_eq!(bench.script.socket(socket, |socket| socket.calls), calls);
    assert_eq!(bench.seen(), ["open", "data 1"]);
}

#[test]
fn who_is_over_takes_no_place_before_it_is_told_of() {
    let mut bench = limited(|config| config.max_connections = 2);
    let (_, conn) = bench.accept();
    bench.accept();
    bench.cx().abort(conn);
    bench.cx().connect("127.0.0.1:9");
    bench.settle();
    assert_eq!(bench.seen(), ["open", "open", "close aborted locally"]);
}

#[test]
fn to_send_nothing_is_no_work() {
    let mut bench = Bench::new();
    let (_, conn) = bench.accept();
    assert_eq!(bench.cx().send(conn, ""), Sent::Queued);
    assert!(!bench.reactor.has_work());
}
