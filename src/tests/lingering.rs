//! A close waits for the peer's end, and holds nobody up by it: X5, X12, J3.

use super::*;
use crate::readiness::Readiness;

const SECOND: Duration = Duration::from_secs(1);

/// A connection that was told something and closed, and whose peer stays.
fn lingering(bench: &mut Bench) -> (usize, ConnId) {
    let (socket, conn) = bench.accept();
    bench.script.socket(socket, |socket| socket.stays = true);
    bench.cx().send(conn, "answer");
    assert!(bench.cx().close(conn));
    bench.settle();
    bench.seen();
    (socket, conn)
}

fn ended(bench: &Bench, socket: usize) -> (bool, bool) {
    bench
        .script
        .socket(socket, |socket| (socket.dropped, socket.reset))
}

// J3
#[test]
fn a_close_waits_for_the_peers_end_also_if_nothing_is_unread_at_that_moment() {
    let mut bench = Bench::new();
    let (socket, conn) = lingering(&mut bench);
    assert_eq!(bench.written(socket), b"answer");
    assert!(bench.script.socket(socket, |socket| socket.shut));
    assert!(!bench.cx().is_open(conn));
    bench.script.arrives(socket, &[1; 300_000]);
    bench.settle();
    assert_eq!((bench.seen().len(), ended(&bench, socket).0), (0, false));
    bench.script.arrives(socket, b"");
    bench.settle();
    assert_eq!(bench.seen(), ["close closed locally"]);
    assert_eq!(ended(&bench, socket), (true, false));
}

// J3
#[test]
fn the_waiting_ends_with_the_silence_of_the_peer() {
    let mut bench = Bench::new();
    let (socket, _) = lingering(&mut bench);
    for _ in 0..3 {
        bench.pass(SECOND * 4);
        bench.script.arrives(socket, b"more");
        bench.settle();
    }
    bench.pass(SECOND * 5 - Duration::from_nanos(1));
    assert!(bench.seen().is_empty());
    bench.pass(Duration::from_nanos(1));
    assert_eq!(bench.seen(), ["close closed locally"]);
    assert_eq!(ended(&bench, socket), (true, false), "no reset of ours");
}

// J3
#[test]
fn the_waiting_ends_after_a_time_in_all() {
    let mut bench = Bench::new();
    let (socket, _) = lingering(&mut bench);
    for _ in 0..7 {
        bench.script.arrives(socket, b"more");
        bench.pass(SECOND * 4);
    }
    assert!(bench.seen().is_empty());
    bench.script.arrives(socket, b"more");
    bench.pass(SECOND * 2);
    assert_eq!(bench.seen(), ["close closed locally"]);
}

// J1
#[test]
fn what_lies_in_the_kernel_breaks_the_silence() {
    let mut bench = Bench::new();
    let (socket, _) = lingering(&mut bench);
    bench
        .script
        .socket(socket, |socket| socket.reads.push_back(Ok(vec![1; 3])));
    bench.pass(SECOND * 5);
    assert!(bench.seen().is_empty());
    bench.pass(SECOND * 5);
    assert_eq!(bench.seen(), ["close closed locally"]);
}

// X5: a signal has decided nothing.
#[test]
fn a_signal_does_not_end_the_waiting() {
    let mut bench = Bench::new();
    let (socket, _) = lingering(&mut bench);
    bench.script.socket(socket, |socket| {
        socket.reads.push_back(Err(io::ErrorKind::Interrupted));
    });
    bench.script.arrives(socket, b"unread");
    bench.settle();
    assert!(bench.seen().is_empty());
    bench.script.arrives(socket, b"");
    bench.settle();
    assert_eq!(bench.seen(), ["close closed locally"]);
}

// J3
#[test]
fn a_reset_met_meanwhile_is_told() {
    for flushed in [true, false] {
        let mut bench = Bench::new();
        let (socket, _) = match flushed {
            true => lingering(&mut bench),
            false => {
                let (socket, conn) = bench.accept();
                bench.fill(socket, true);
                bench.cx().send(conn, "unsent");
                bench.cx().close(conn);
                bench.settle();
                bench.seen();
                (socket, conn)
            }
        };
        bench.script.socket(socket, |socket| {
            let reset = io::ErrorKind::ConnectionReset;
            socket.reads.push_back(Err(reset));
        });
        bench
            .script
            .edge(socket, Readiness::READABLE | Readiness::HANG_UP);
        bench.settle();
        let lost = if flushed { "" } else { ", 6 bytes undelivered" };
        assert_eq!(bench.seen(), [format!("close reset by peer{lost}")]);
    }
}

// J3: a peer that reads only when it has sent all must be able to send it.
#[test]
fn input_is_discarded_while_a_close_still_flushes() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.fill(socket, true);
    bench.cx().send(conn, "answer");
    bench.cx().pause_reads(conn);
    bench.script.arrives(socket, &[1; 1000]);
    bench.settle();
    bench.cx().close(conn);
    bench.script.socket(socket, |socket| {
        socket.reads.extend([Ok(vec![1; 300_000]), Ok(Vec::new())]);
    });
    let end = Readiness::READABLE | Readiness::HANG_UP;
    bench.script.edge(socket, end);
    bench.settle();
    bench.script.socket(socket, |socket| {
        assert!(socket.reads.is_empty(), "it is not read");
    });
    assert_eq!(bench.seen(), ["open"]);
    bench.fill(socket, false);
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.written(socket), b"answer");
    // The end has come already: there is nothing to wait for.
    assert_eq!(bench.seen(), ["close closed locally"]);
}

// J3
#[test]
fn without_a_time_to_linger_a_close_is_over_when_it_is_flushed() {
    let mut config = Config::default();
    config.limits.linger_time = Duration::ZERO;
    let mut bench = Bench::with_config(config);
    let (socket, conn) = bench.accept();
    bench.script.socket(socket, |socket| socket.stays = true);
    bench.cx().close(conn);
    bench.settle();
    assert_eq!(bench.seen(), ["open", "close closed locally"]);
}

// X12
#[test]
fn those_who_linger_give_way_at_the_cap_the_longest_first() {
    let config = Config {
        max_connections: 2,
        ..Config::default()
    };
    let mut bench = Bench::with_config(config);
    let (first, _) = lingering(&mut bench);
    let (second, _) = lingering(&mut bench);
    // One comes, and one is wanted.
    let (third, _) = bench.accept();
    assert_eq!(bench.seen(), ["open", "close closed locally"]);
    assert!(ended(&bench, first).0 && !ended(&bench, second).0);
    bench.cx().connect("127.0.0.1:9");
    assert!(ended(&bench, second).0, "at once: the descriptor is wanted");
    bench.settle();
    assert_eq!(bench.seen(), ["close closed locally"]);
    // Now there are two that do not linger.
    bench.script.incoming();
    bench.settle();
    assert!(bench.seen().is_empty());
    assert_eq!(bench.cx().stats().refused, 1);
    assert!(!ended(&bench, third).0);
}

// X12
#[test]
fn those_who_linger_give_way_when_there_are_no_descriptors() {
    let mut bench = Bench::new();
    let (socket, _) = lingering(&mut bench);
    bench.script.accept_fails(io::ErrorKind::OutOfMemory);
    bench.script.incoming();
    bench.settle();
    assert_eq!(bench.seen(), ["open", "close closed locally"]);
    assert_eq!(ended(&bench, socket), (true, false));
    // Nobody is left to give way: the listener rests.
    bench.script.accept_fails(io::ErrorKind::OutOfMemory);
    bench.script.incoming();
    bench.settle();
    assert_eq!(bench.seen(), ["accept error OutOfMemory"]);
}

// X12
#[test]
fn nobody_gives_way_to_a_connect_that_cannot_begin_or_to_an_error_that_is_no_want() {
    let config = Config {
        max_connections: 1,
        ..Config::default()
    };
    let mut bench = Bench::with_config(config);
    let (socket, _) = lingering(&mut bench);
    bench.cx().connect("no address");
    bench.settle();
    assert!(bench.seen()[0].contains("is not an address"));
    assert!(!ended(&bench, socket).0);
    bench.script.accept_fails(io::ErrorKind::InvalidInput);
    bench.script.incoming();
    bench.settle();
    assert_eq!(bench.seen(), ["accept error InvalidInput"]);
    assert!(!ended(&bench, socket).0);
}

// X12
#[test]
fn at_the_end_of_the_grace_those_who_linger_are_closed_plainly() {
    let mut bench = Bench::new();
    let (socket, _) = lingering(&mut bench);
    bench.cx().finish(SECOND);
    bench.settle();
    assert!(bench.seen().is_empty());
    bench.pass(SECOND);
    assert_eq!(bench.seen(), ["close closed locally"]);
    assert_eq!(ended(&bench, socket), (true, false));
    let report = bench.reactor.take_report().unwrap();
    assert_eq!((report.closed, report.aborted), (1, 0));
}

// X12
#[test]
fn those_who_linger_give_way_to_a_connect_that_finds_no_descriptor_and_to_no_other() {
    let mut bench = Bench::new();
    let (socket, _) = lingering(&mut bench);
    bench
        .script
        .connect_fails(io::ErrorKind::PermissionDenied.into());
    bench.cx().connect("127.0.0.1:9");
    bench.settle();
    assert!(
        bench
            .seen()
            .pop()
            .unwrap()
            .starts_with("close connect failed")
    );
    assert!(!ended(&bench, socket).0);
    // It begins again with the descriptor that is free then.
    let code = if cfg!(windows) { 10024 } else { 24 }; // WSAEMFILE, EMFILE
    let exhausted = || io::Error::from_raw_os_error(code);
    bench.script.connect_fails(exhausted());
    bench.cx().connect("127.0.0.1:9");
    bench.settle();
    assert_eq!(bench.seen(), ["close closed locally"]);
    assert_eq!(ended(&bench, socket), (true, false));
    // Nobody is left who could give way.
    bench.script.connect_fails(exhausted());
    bench.cx().connect("127.0.0.1:9");
    bench.settle();
    assert!(
        bench
            .seen()
            .pop()
            .unwrap()
            .starts_with("close connect failed")
    );
}

// X5: whoever had paused before the close is asked as any other.
#[test]
fn a_signal_is_no_answer_when_one_lingers_who_had_paused() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.script.socket(socket, |socket| socket.stays = true);
    bench.cx().pause_reads(conn);
    bench.cx().close(conn);
    bench.settle();
    let signal = io::ErrorKind::Interrupted;
    bench.script.socket(socket, |socket| {
        socket.reads.extend([Err(signal), Ok(vec![1; 3])]);
    });
    bench.pass(SECOND * 5);
    assert_eq!(bench.seen(), ["open"]);
    bench.pass(SECOND * 5);
    assert_eq!(bench.seen(), ["close closed locally"]);
}
