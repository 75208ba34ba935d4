//! What the statistics count: each thing that happens, once.

use super::*;
use crate::readiness::Readiness;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn who_comes_and_what_is_read_and_lost_counts_once_each() {
    let mut bench = Bench::new();
    let peers = [bench.accept(), bench.accept()];
    for (socket, conn) in peers {
        bench.script.arrives(socket, b"hello");
        bench.settle();
        bench.fill(socket, true);
        bench.cx().send(conn, "unsent");
        bench.settle();
        bench.cx().abort(conn);
    }
    let turns = bench.cx().stats().turns;
    bench.settle();
    let stats = bench.cx().stats();
    assert_eq!((stats.accepted, stats.opened), (2, 2));
    assert_eq!((stats.reads, stats.bytes_in, stats.bytes_lost), (2, 10, 12));
    assert!(stats.turns > turns && turns > 4, "{turns}, {}", stats.turns);
}

#[test]
fn deadlines_that_are_told_count_and_those_that_end_a_connection() {
    let mut bench = Bench::new();
    bench.app.keep_late = true;
    let (socket, conn) = bench.accept();
    bench.cx().set_deadline(conn, 0, SECOND);
    bench.cx().set_deadline(conn, 1, SECOND * 2);
    bench.pass(SECOND);
    bench.pass(SECOND);
    assert_eq!(bench.cx().stats().deadlines, 2);
    bench.fill(socket, true);
    bench.cx().send(conn, "unsent");
    bench.settle();
    bench.pass(SECOND * 60);
    assert_eq!(bench.cx().stats().deadlines, 3);
    let (socket, conn) = bench.accept();
    bench.fill(socket, true);
    bench.cx().send(conn, "unsent");
    bench.settle();
    bench.pass(SECOND * 60);
    assert_eq!(bench.cx().stats().deadlines, 4);
    assert_eq!(bench.cx().stats().closed.timed_out, 2);
}

#[test]
fn connects_that_come_through_count_and_errors_of_accept() {
    let mut bench = Bench::new();
    for count in 1..=2 {
        bench.cx().connect("127.0.0.1:9");
        bench.script.edge(count as usize - 1, Readiness::WRITABLE);
        bench.settle();
        let stats = bench.cx().stats();
        assert_eq!(
            (stats.connected, stats.opened, stats.adopted),
            (count, count, 0)
        );
    }
    for count in 1..=3 {
        bench.script.accept_fails(io::ErrorKind::OutOfMemory);
        bench.script.incoming();
        bench.settle();
        bench.pass(SECOND);
        assert_eq!(bench.cx().stats().accept_errors, count);
    }
}

#[test]
fn what_is_discarded_was_read_all_the_same() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.script.socket(socket, |socket| socket.stays = true);
    bench.cx().send(conn, "answer");
    bench.cx().close(conn);
    bench.settle();
    for count in 1..=2 {
        bench.script.arrives(socket, b"more");
        bench.settle();
        let stats = bench.cx().stats();
        assert_eq!((stats.reads, stats.bytes_in), (count, 4 * count));
    }
}

#[cfg(feature = "sim")]
#[test]
fn what_is_left_when_all_should_be_gone_is_named() {
    let mut bench = Bench::new();
    assert_eq!(bench.reactor.leaks(), "");
    assert_eq!(bench.reactor.sockets(), 1);
    let (_, conn) = bench.accept();
    bench.cx().set_deadline(conn, 0, SECOND);
    assert_eq!(bench.reactor.leaks(), "1 connections; 1 deadlines; ");
    assert_eq!(bench.reactor.sockets(), 2);
    bench.cx().abort(conn);
    bench.settle();
    assert_eq!(bench.reactor.leaks(), "");
}
