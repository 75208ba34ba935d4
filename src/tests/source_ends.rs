//! Sources: how they end, and their connections with them.

use super::sources::{Do, END, Told};
use super::*;
use crate::buffer::source::{Output, Pull, Pulled, Source};
use crate::readiness::Readiness;

// F4
#[test]
fn a_source_that_fails_or_panics_costs_its_connection_and_no_other() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for (broken, said) in [(Do::Fail, "no more"), (Do::Panic, "the source panicked")] {
        let mut bench = Bench::new();
        let (socket, conn) = bench.accept();
        let (other_socket, other) = bench.accept();
        let told = Told::new([Do::Give("half"), Do::Say(Pulled::Later), broken]);
        let behind = Told::default();
        bench.cx().send_from(conn, told.source());
        bench.cx().send_from(conn, behind.source());
        bench.cx().send(conn, "behind");
        bench.settle();
        bench.cx().wake_source(conn);
        bench.settle();
        assert_eq!((told.drops(), behind.drops(), behind.pulls()), (1, 1, 0));
        let closed = format!("close source failed: {said}, 6 bytes undelivered");
        assert_eq!(bench.seen(), ["open", "open", &closed]);
        assert!(
            bench
                .script
                .socket(socket, |socket| socket.reset && !socket.shut)
        );
        bench.cx().send_from(other, Source::each(["whole"]));
        bench.settle();
        assert_eq!(bench.written(other_socket), b"whole");
        assert_eq!(bench.cx().stats().closed.source, 1);
    }
    std::panic::set_hook(hook);
}

/// Panics when it is dropped, as does what it panics with.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

impl Pull for Bomb {
    fn pull(&mut self, _: &mut Output<'_>) -> io::Result<Pulled> {
        std::panic::panic_any(Bomb);
    }
}

// F4
#[test]
fn one_that_panics_as_it_is_dropped_harms_nobody() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for aborted in [false, true] {
        let mut bench = Bench::new();
        let (_, conn) = bench.accept();
        bench.cx().send_from(conn, Source::new(Bomb));
        if aborted {
            bench.cx().abort(conn);
        }
        bench.settle();
        assert_eq!(bench.seen().len(), 2);
    }
    drop(Source::new(Bomb));
    std::panic::set_hook(hook);
}

// F4: dropped once, whatever the end of the connection is.
#[test]
fn a_source_is_dropped_once_and_before_on_close_whatever_ends_the_connection() {
    type End = fn(&mut Bench, usize, ConnId);
    let ends: [(End, &str, bool); 5] = [
        (
            |bench, _, conn| assert!(bench.cx().abort(conn)),
            "aborted locally",
            true,
        ),
        (
            |bench, socket, conn| {
                bench.write_steps(socket, [RESET]);
                bench.cx().wake_source(conn);
                bench
                    .script
                    .socket(socket, |socket| socket.reads.push_back(Ok(Vec::new())));
            },
            "reset by peer",
            true,
        ),
        (
            |bench, _, _| bench.cx().finish(Duration::ZERO),
            "still open when the grace period ended",
            true,
        ),
        (
            |bench, _, conn| {
                bench.cx().close(conn);
                bench.settle();
                bench.pass(Duration::from_secs(61));
            },
            "timed out (close flush)",
            true,
        ),
        (
            |bench, _, conn| {
                bench.cx().close(conn);
                bench.cx().wake_source(conn);
            },
            "closed locally",
            false,
        ),
    ];
    for (index, (end, said, reset)) in ends.into_iter().enumerate() {
        let mut bench = Bench::new();
        bench.app.keep_on = true;
        let (socket, conn) = bench.accept();
        let told = Told::new([Do::Give("a"), Do::Say(Pulled::Later), Do::Give("b"), END]);
        bench.cx().send_from(conn, told.source());
        bench.settle();
        assert_eq!(told.drops(), 0);
        end(&mut bench, socket, conn);
        bench.settle();
        assert_eq!(told.drops(), 1, "{index}");
        let closed = bench.seen().pop().unwrap();
        assert!(closed.starts_with(&format!("close {said}")), "{closed}");
        let is_reset = bench.script.socket(socket, |socket| socket.reset);
        assert_eq!(
            is_reset, reset,
            "{index}: the peer must not take a part for the whole"
        );
        assert_eq!(bench.cx().send_from(conn, told.source()), Sent::Gone);
        assert_eq!((told.drops(), bench.cx().wake_source(conn)), (2, false));
    }
}

// F4
#[test]
fn an_end_waits_for_the_source_and_shut_sends_what_is_behind_it() {
    for closes in [false, true] {
        let mut bench = Bench::new();
        let (socket, conn) = bench.accept();
        let told = Told::new([Do::Give("a"), Do::Say(Pulled::Later)]);
        bench.cx().send_from(conn, told.source());
        bench.cx().send(conn, "c");
        match closes {
            true => bench.cx().close(conn),
            false => bench.cx().shutdown_write(conn),
        };
        assert_eq!(bench.cx().send(conn, "d"), Sent::Gone);
        assert_eq!(bench.cx().send_from(conn, Source::each(["d"])), Sent::Gone);
        bench.settle();
        assert!(!bench.script.socket(socket, |socket| socket.shut));
        told.tell([Do::Give("b"), END]);
        assert!(bench.cx().wake_source(conn));
        bench.settle();
        assert_eq!(bench.written(socket), b"abc");
        let seen = bench.seen();
        match closes {
            true => assert_eq!(seen, ["open", "close closed locally"]),
            false => assert_eq!(seen, ["open", "drain", "eof 0", "close closed by peer"]),
        }
    }
}

// F4: after a close the time in all begins with the end of the source.
#[test]
fn a_long_source_outlives_the_time_of_a_close_as_long_as_bytes_move() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    let told = Told::default();
    bench.cx().send_from(conn, told.source());
    bench.cx().close(conn);
    for _ in 0..30 {
        told.tell([Do::Give("x"), Do::Say(Pulled::Later)]);
        bench.cx().wake_source(conn);
        bench.pass(Duration::from_secs(50));
    }
    assert_eq!((bench.written(socket).len(), bench.seen().len()), (30, 1));
    // And then it is bounded, though bytes move.
    told.tell([Do::Give("a byte at a time"), END]);
    bench.fill(socket, true);
    bench.write_steps(socket, [WriteStep::Take(1)]);
    bench.cx().wake_source(conn);
    for _ in 0..13 {
        bench.settle();
        bench.pass(Duration::from_secs(50));
        bench.write_steps(socket, [WriteStep::Take(1)]);
        if !bench.script.socket(socket, |socket| socket.dropped) {
            bench.script.edge(socket, Readiness::WRITABLE);
        }
    }
    bench.settle();
    let closed = bench.seen().pop().unwrap();
    assert!(
        closed.starts_with("close timed out (close flush)"),
        "{closed}"
    );
}

// F4: a connect that is not through has its source when it is, or drops it.
#[test]
fn a_source_waits_for_a_connect_and_goes_with_one_that_fails() {
    for fails in [false, true] {
        let mut bench = Bench::new();
        let conn = bench.cx().connect("127.0.0.1:7");
        let told = Told::new([Do::Give("a"), END]);
        bench.cx().send_from(conn, told.source());
        bench.cx().close(conn);
        bench.settle();
        assert_eq!((told.pulls(), told.drops()), (0, 0));
        if fails {
            let refused = Err(io::ErrorKind::ConnectionRefused.into());
            bench
                .script
                .socket(0, |socket| socket.connects.push_back(refused));
        }
        bench.script.edge(0, Readiness::WRITABLE);
        bench.settle();
        assert_eq!((told.pulls(), told.drops()), (2 * usize::from(!fails), 1));
        assert_eq!(bench.written(0), if fails { &b""[..] } else { b"a" });
    }
}

// F4: not the end of the connection is what drops it, and the peer sees that something is missing.
#[test]
fn a_source_is_dropped_as_soon_as_a_write_fails_or_the_connection_is_over() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    let told = Told::new([Do::Give("a"), Do::Say(Pulled::Later), Do::Give("b")]);
    bench.cx().send_from(conn, told.source());
    bench.settle();
    bench.write_steps(socket, [RESET]);
    bench.cx().wake_source(conn);
    bench.cx().pause_reads(conn);
    bench.settle();
    assert_eq!(
        (told.drops(), bench.seen()),
        (1, vec!["open".into(), "drain".into()])
    );

    let (socket, conn) = bench.accept();
    let told = Told::new([Do::Give("a"), Do::Say(Pulled::Later)]);
    bench.cx().send_from(conn, told.source());
    bench.settle();
    // An error of this side, with nothing pending: the peer is alive.
    let refused = io::ErrorKind::PermissionDenied;
    bench
        .script
        .socket(socket, |socket| socket.reads.push_back(Err(refused)));
    bench.script.edge(socket, Readiness::READABLE);
    bench.settle();
    assert_eq!(told.drops(), 1);
    assert!(bench.script.socket(socket, |socket| socket.reset));
}
