//! The ways in which a connection ends.

use super::*;
use crate::readiness::Readiness;

fn over() -> Readiness {
    Readiness::READABLE | Readiness::WRITABLE | Readiness::ERROR | Readiness::HANG_UP
}

#[test]
fn a_write_that_meets_the_reset_does_not_discard_unread_input() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.write_steps(socket, [RESET]);
    bench.script.socket(socket, |socket| {
        socket
            .reads
            .extend([Ok(b"last words".to_vec()), Ok(Vec::new())]);
    });
    bench.cx().send(conn, "hello");
    bench.settle();
    let close = "close reset by peer, 5 bytes undelivered";
    assert_eq!(bench.seen(), ["open", "data 10", close]);
}

#[test]
fn bytes_lost_to_an_error_of_this_side_end_with_a_reset() {
    // As where a firewall forbids it.
    const REFUSED: io::ErrorKind = io::ErrorKind::PermissionDenied;
    for case in ["sent", "lent", "read"] {
        let mut bench = Bench::new();
        let (socket, conn) = bench.accept();
        bench.write_steps(
            socket,
            [match case {
                "read" => BLOCK,
                _ => WriteStep::Fail(REFUSED),
            }],
        );
        bench.app.echo = true;
        bench.script.socket(socket, |socket| match case {
            "sent" => {}
            "lent" => socket.reads.push_back(Ok(b"hello".to_vec())),
            _ => socket.reads.push_back(Err(REFUSED)),
        });
        if case != "lent" {
            bench.cx().send(conn, "hello");
        }
        bench.script.edge(socket, Readiness::READABLE);
        bench.settle();
        let seen = bench.seen();
        let end = seen.last().unwrap();
        assert!(end.starts_with("close I/O error: "), "{case}: {seen:?}");
        assert!(end.ends_with("5 bytes undelivered"), "{case}: {seen:?}");
        let reset = bench
            .script
            .socket(socket, |socket| socket.reset && socket.dropped);
        assert!(reset, "{case}: the peer takes a part for the whole");
    }
}

#[test]
fn the_first_error_wins_also_when_the_next_read_says_that_all_is_well() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.write_steps(socket, [RESET]);
    bench.cx().send(conn, "hello");
    bench.settle();
    assert_eq!(
        bench.seen(),
        ["open", "close reset by peer, 5 bytes undelivered"]
    );
}

#[test]
fn a_paused_echo_whose_peer_resets_gets_its_drain_and_its_end() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.write_steps(socket, [BLOCK]);
    assert_eq!(bench.cx().send(conn, vec![0; 100_000]), Sent::Wait);
    bench.cx().pause_reads(conn);
    bench
        .app
        .on_drain
        .push_back(Box::new(|cx, conn| assert!(cx.resume_reads(conn))));
    bench.settle();
    bench.write_steps(socket, [RESET]);
    bench.script.edge(socket, over());
    bench.settle();
    let close = "close reset by peer, 100000 bytes undelivered";
    assert_eq!(bench.seen(), ["open", "drain", close]);
}

#[test]
fn both_sides_shut_is_the_end_in_either_order() {
    for shut_first in [true, false] {
        let mut bench = Bench::new();
        bench.app.keep_open = true;
        let (socket, conn) = bench.accept();
        if shut_first {
            bench.cx().shutdown_write(conn);
            bench.settle();
        }
        bench.script.arrives(socket, b"");
        bench.settle();
        if !shut_first {
            assert!(bench.cx().is_open(conn));
            bench.cx().shutdown_write(conn);
            assert_eq!(bench.cx().send(conn, "late"), Sent::Gone);
            bench.settle();
        }
        assert_eq!(bench.seen(), ["open", "eof 0", "close closed by peer"]);
    }
}

#[test]
fn the_fin_follows_the_last_queued_byte() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.write_steps(socket, [BLOCK]);
    bench.cx().send(conn, "hello");
    bench.cx().shutdown_write(conn);
    bench.settle();
    assert!(!bench.script.socket(socket, |socket| socket.shut));
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    assert!(bench.script.socket(socket, |socket| socket.shut));
    assert_eq!(bench.written(socket), b"hello");
}

#[test]
fn the_close_flush_timeout_restarts_on_progress() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.fill(socket, true);
    bench.cx().send(conn, vec![0; 1000]);
    bench.cx().close(conn);
    bench.settle();
    for _ in 0..5 {
        bench.pass(Duration::from_millis(59_900));
        bench.write_steps(socket, [WriteStep::Take(10)]);
        bench.script.edge(socket, Readiness::WRITABLE);
        bench.settle();
    }
    assert_eq!(bench.seen(), ["open"]);
    bench.pass(Duration::from_secs(60));
    assert_eq!(
        bench.seen(),
        ["close timed out (close flush), 950 bytes undelivered"]
    );
    assert!(bench.script.socket(socket, |socket| socket.reset));
}

#[test]
fn a_connect_is_not_through_before_its_peer_has_an_address() {
    let mut bench = Bench::new();
    let conn = bench.cx().connect("127.0.0.1:9");
    bench.cx().send(conn, "early");
    bench
        .script
        .socket(0, |socket| socket.connects.extend([Ok(false), Ok(true)]));
    bench
        .script
        .edge(0, Readiness::WRITABLE | Readiness::HANG_UP);
    bench.settle();
    assert!(bench.seen().is_empty());
    bench.script.edge(0, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.seen(), ["connected"]);
    assert_eq!(bench.written(0), b"early");
}

#[test]
fn a_close_while_connecting_cancels_unless_bytes_are_pending() {
    let mut bench = Bench::new();
    let conn = bench.cx().connect("127.0.0.1:9");
    assert!(bench.cx().close(conn) && !bench.cx().close(conn));
    bench.settle();
    assert_eq!(bench.seen(), ["close closed locally"]);

    let conn = bench.cx().connect("127.0.0.1:9");
    bench.cx().send(conn, "telegram");
    assert!(bench.cx().close(conn));
    assert_eq!(bench.cx().send(conn, "more"), Sent::Gone);
    bench.settle();
    assert!(bench.seen().is_empty());
    bench.script.edge(1, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.written(1), b"telegram");
    assert_eq!(bench.seen(), ["close closed locally"]);
}

#[test]
fn a_failed_connect_is_reported_with_its_error_and_its_bytes() {
    let mut bench = Bench::new();
    let conn = bench.cx().connect("127.0.0.1:9");
    bench.cx().send(conn, "early");
    bench.cx().shutdown_write(conn);
    bench.script.socket(0, |socket| {
        socket
            .connects
            .push_back(Err(io::ErrorKind::ConnectionRefused.into()));
    });
    bench.script.edge(0, over());
    bench.settle();
    let seen = bench.seen();
    assert_eq!(seen.len(), 1);
    assert!(
        seen[0].starts_with("close connect failed: ") && seen[0].ends_with("5 bytes undelivered")
    );
}

#[test]
fn commands_with_a_stale_id_say_so_and_do_nothing() {
    let mut bench = Bench::new();
    let (_, conn) = bench.accept();
    bench.cx().abort(conn);
    bench.settle();
    let (socket, newer) = bench.accept();
    let cx = bench.cx();
    assert_eq!(cx.send(conn, "x"), Sent::Gone);
    assert!(!cx.close(conn) && !cx.abort(conn) && !cx.shutdown_write(conn));
    assert!(!cx.pause_reads(conn) && !cx.resume_reads(conn));
    assert!(!cx.set_deadline(conn, 0, Duration::ZERO) && !cx.set_idle(conn, None));
    assert!(!cx.clear_deadline(conn, 0) && !cx.close_because(conn, "rude"));
    assert!(
        cx.peer_addr(conn).is_none() && cx.local_addr(conn).is_none() && cx.tag(conn).is_none()
    );
    assert!(!cx.is_open(conn) && cx.pending(conn) == 0 && cx.is_open(newer));
    bench.settle();
    assert_eq!(
        bench
            .script
            .socket(socket, |socket| (socket.calls, socket.shut)),
        (0, false)
    );
}

#[test]
fn no_drain_comes_for_a_connection_that_the_last_flush_has_ended() {
    let mut bench = Bench::new();
    bench.app.keep_open = true;
    let (socket, conn) = bench.accept();
    bench.script.arrives(socket, b"");
    bench.settle();
    bench.write_steps(socket, [BLOCK]);
    assert_eq!(bench.cx().send(conn, vec![0; 100_000]), Sent::Wait);
    bench.cx().shutdown_write(conn);
    bench.settle();
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.seen(), ["open", "eof 0", "close closed by peer"]);
}

// E4
#[test]
fn after_a_panic_in_a_callback_every_turn_is_an_error() {
    let mut bench = Bench::new();
    let (socket, _) = bench.accept();
    bench
        .app
        .on_data
        .push_back(Box::new(|_, _| panic!("on purpose")));
    bench.script.arrives(socket, b"x");
    let turn = std::panic::AssertUnwindSafe(|| bench.turn());
    assert!(std::panic::catch_unwind(turn).is_err());
    let error = bench
        .reactor
        .turn(&mut bench.app, Some(Duration::ZERO))
        .unwrap_err();
    assert!(error.to_string().contains("can only be dropped"), "{error}");
    assert!(bench.reactor.run(&mut bench.app).is_err());
}

#[test]
fn who_reads_on_after_a_failed_write_comes_to_the_end_however_long_that_takes() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.write_steps(socket, [RESET]);
    bench.script.socket(socket, |socket| {
        socket.reads.extend([(); 4].map(|()| Ok(b"x".to_vec())));
    });
    bench.cx().send(conn, "hello");
    // One read a turn.
    for _ in 0..4 {
        bench.turn();
        bench.script.pass(Duration::from_secs(61));
    }
    bench.settle();
    assert_eq!(bench.app.received, b"xxxx");
    let close = "close reset by peer, 5 bytes undelivered";
    assert_eq!(bench.seen().last().unwrap(), close);
}

#[test]
fn a_write_that_fails_behind_a_close_waits_for_nobody() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.script.socket(socket, |socket| socket.stays = true);
    bench.write_steps(socket, [RESET]);
    bench.cx().send(conn, "hello");
    bench.cx().close(conn);
    bench.settle();
    let close = "close reset by peer, 5 bytes undelivered";
    assert_eq!(bench.seen(), ["open", close]);
}
