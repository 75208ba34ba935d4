//! Dials, call by call: what an attempt may be told that no kernel can be made to tell on time.

use super::Bench;
use crate::names::Lookup;
use crate::readiness::Readiness;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn addrs(count: u8) -> Vec<SocketAddr> {
    (1..=count).map(|at| ([10, 0, 0, at], 80).into()).collect()
}

fn over() -> Readiness {
    Readiness::READABLE | Readiness::WRITABLE | Readiness::HANG_UP
}

/// What the next look at the attempts says.
fn says(bench: &Bench, attempt: usize, answer: io::Result<bool>) {
    bench
        .script
        .socket(attempt, |socket| socket.connects.push_back(answer));
}

/// A connect by name that has been answered; all its attempts but the last have not.
fn dialing(bench: &mut Bench, count: u8) {
    bench.cx().connect("db:80");
    let mut asked = bench.script.lookups();
    let lookup: Lookup = asked.remove(0);
    lookup.answer(Ok(addrs(count)));
    bench.settle();
    for begun in 1..count {
        // They are asked before another is begun.
        (0..begun).for_each(|attempt| says(bench, attempt.into(), Ok(false)));
        bench.pass(Duration::from_millis(250));
    }
}

// N2
#[test]
fn readiness_that_is_none_wins_no_dial() {
    let mut bench = Bench::new();
    dialing(&mut bench, 2);
    for attempt in [0, 1, 0] {
        says(&bench, attempt, Ok(false));
        bench.script.edge(attempt, over());
        bench.settle();
    }
    assert!(bench.seen().is_empty());
    bench.script.edge(1, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.seen(), ["connected"]);
    assert!(bench.script.socket(0, |socket| socket.dropped));
    assert!(!bench.script.socket(1, |socket| socket.dropped));
}

// N2: two are through at the same moment.
#[test]
fn of_two_that_are_through_at_once_one_is_closed_without_a_word() {
    let mut bench = Bench::new();
    dialing(&mut bench, 2);
    bench.script.edge(0, Readiness::WRITABLE);
    bench.script.edge(1, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.seen(), ["connected"]);
    let dropped = [0, 1].map(|at| bench.script.socket(at, |socket| socket.dropped));
    assert_eq!(dropped, [false, true]);
    // The one that won is told as a connection is.
    bench.script.arrives(0, b"hi");
    bench.settle();
    assert_eq!(bench.seen(), ["data 2"]);
}

// N2, C2: the peer has said why it left, perhaps.
#[test]
fn an_attempt_that_was_reset_was_through() {
    let mut bench = Bench::new();
    dialing(&mut bench, 1);
    says(&bench, 0, Err(ErrorKind::ConnectionReset.into()));
    let last_words = Ok(b"busy".to_vec());
    bench.script.socket(0, |socket| {
        socket.reads.extend([last_words, Ok(Vec::new())]);
    });
    bench.script.edge(0, over());
    bench.settle();
    bench.script.edge(0, over());
    bench.settle();
    assert_eq!(bench.seen(), ["connected", "data 4", "close reset by peer"]);
}

// J1, N2
#[test]
fn the_attempts_are_asked_before_their_time_is_over() {
    let mut bench = Bench::new();
    dialing(&mut bench, 2);
    // The second is through, of which no event tells; the loop was late.
    says(&bench, 0, Ok(false));
    bench.pass(SECOND * 3600);
    assert_eq!(bench.seen(), ["connected"]);
}

// N1: the slot has a new owner, who has asked for something else.
#[test]
fn an_answer_that_comes_too_late_reaches_nobody() {
    let mut bench = Bench::new();
    let stale = bench.cx().connect("db:80");
    let lookups = bench.script.lookups();
    bench.cx().abort(stale);
    bench.settle();
    assert_eq!(bench.seen(), ["close aborted locally"]);
    let owner = bench.cx().connect("other:80");
    assert_eq!(owner.0.slot, stale.0.slot);
    for lookup in lookups {
        assert!(!lookup.is_wanted());
        lookup.answer(Ok(addrs(1)));
    }
    bench.settle();
    assert_eq!(bench.cx().stats().attempts, 0);
    bench.cx().abort(owner);
    bench.settle();
    assert_eq!(bench.seen(), ["close aborted locally"]);
}

// N1: an end while attempts are alive, and an event of one of them behind it.
#[test]
fn a_dial_that_is_closed_leaves_no_attempt_and_no_timer() {
    let mut bench = Bench::new();
    dialing(&mut bench, 3);
    let conn = bench.cx().connections().next().unwrap();
    bench.script.edge(1, Readiness::WRITABLE);
    bench.cx().close(conn);
    bench.settle();
    assert_eq!(bench.seen(), ["close closed locally"]);
    let dropped = |at| bench.script.socket(at, |socket| socket.dropped);
    assert!((0..3).all(dropped));
    assert_eq!(bench.reactor.next_wakeup(), None);
}

#[test]
fn a_connection_that_dialed_is_as_small_as_any_other() {
    let mut bench = Bench::new();
    dialing(&mut bench, 1);
    bench.script.edge(0, Readiness::WRITABLE);
    bench.settle();
    let conn = bench.cx().connections().next().unwrap();
    let conn = bench.cx().live(conn).unwrap();
    assert!(!conn.has_rare());
}

// N2: an attempt that has failed is closed at once, and the others go with their connection.
#[test]
fn of_several_attempts_only_those_that_failed_are_closed_before_the_end() {
    let mut bench = Bench::new();
    dialing(&mut bench, 3);
    let conn = bench.cx().connections().next().unwrap();
    says(&bench, 1, Err(ErrorKind::ConnectionRefused.into()));
    (0..3).for_each(|attempt| says(&bench, attempt, Ok(false)));
    bench.script.edge(1, over());
    bench.settle();
    let dropped = |bench: &Bench| [0, 1, 2].map(|at| bench.script.socket(at, |one| one.dropped));
    assert_eq!(dropped(&bench), [false, true, false]);
    bench.cx().close(conn);
    bench.settle();
    assert_eq!(dropped(&bench), [true; 3]);
    assert_eq!(bench.seen(), ["close closed locally"]);
}

#[test]
fn the_peer_of_a_connect_to_an_address_is_known_at_once() {
    let mut bench = Bench::new();
    let at: SocketAddr = ([127, 0, 0, 1], 9).into();
    // An address as a host is no name either: nobody dials.
    let conns = [bench.cx().connect(at), bench.cx().connect(("127.0.0.1", 9))];
    for conn in conns {
        assert_eq!(bench.cx().peer_addr(conn), Some(&at.into()));
    }
    let within = bench.cx().connect(("fe80::1%3", 80));
    assert!(bench.cx().peer_addr(within).is_some());
    let named = bench.cx().connect("db:80");
    assert_eq!(bench.cx().peer_addr(named), None);
    assert_eq!(
        (bench.cx().stats().attempts, bench.cx().stats().lookups),
        (0, 1)
    );
}

#[test]
fn an_interface_that_is_not_there_is_no_name_to_be_looked_up() {
    let mut bench = Bench::new();
    bench.cx().connect("[fe80::1%nowhere]:80");
    bench.settle();
    let seen = bench.seen().pop().unwrap();
    assert!(seen.contains("no interface nowhere"), "{seen}");
    assert_eq!(bench.cx().stats().lookups, 0);
}

// A connect that is through may have data already.
#[test]
fn a_connect_that_is_readable_and_writable_at_once_is_through() {
    let mut bench = Bench::new();
    bench.cx().connect("127.0.0.1:9");
    bench
        .script
        .socket(0, |socket| socket.reads.push_back(Ok(b"hello".to_vec())));
    bench
        .script
        .edge(0, Readiness::READABLE | Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.seen(), ["connected", "data 5"]);
}

// N1: mio's poll(2) selector takes a wake back that comes at the wrong moment.
#[test]
fn an_answer_is_heard_though_the_wake_is_lost() {
    let mut bench = Bench::new();
    bench.cx().connect("db:80");
    let lookup = bench.script.lookups().remove(0);
    lookup.answer(Ok(addrs(1)));
    bench.script.lose_events();
    bench.turn();
    assert_eq!(bench.cx().stats().attempts, 1);
}
