//! Who is asked before a deadline is believed, and what is absolute: J1, J2, J6, J12.

use super::*;
use crate::readiness::Readiness;

const SECOND: Duration = Duration::from_secs(1);

/// A connection with this much pending, which its socket does not take.
fn stuck(bench: &mut Bench, bytes: usize) -> (usize, ConnId) {
    let (socket, conn) = bench.accept();
    bench.fill(socket, true);
    bench.cx().send(conn, vec![7; bytes]);
    bench.settle();
    bench.seen();
    (socket, conn)
}

// J1: no edge tells of the room that there is, for less than a third of the buffer is free.
#[test]
fn a_peer_that_takes_bytes_is_not_given_up_although_no_edge_tells_so() {
    for close in [false, true] {
        let mut bench = Bench::new();
        let (socket, conn) = stuck(&mut bench, 1000);
        if close {
            bench.cx().close(conn);
            bench.settle();
        }
        for round in 1..=5 {
            bench.write_steps(socket, [WriteStep::Take(100)]);
            bench.pass(SECOND * 60);
            assert_eq!(bench.written(socket).len(), round * 100, "{close}");
        }
        assert!(bench.seen().is_empty());
        bench.pass(SECOND * 60);
        let which = if close { "close flush" } else { "write stall" };
        let end = format!("close timed out ({which}), 500 bytes undelivered");
        assert_eq!(bench.seen(), [end]);
    }
}

// J1
#[test]
fn bytes_that_lie_in_the_kernel_keep_an_idle_deadline_from_passing() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.cx().set_idle(conn, Some(SECOND));
    bench.seen();
    // They have come, and the wait has not told: it was ended by a signal, or its batch was full.
    bench
        .script
        .socket(socket, |socket| socket.reads.push_back(Ok(vec![1; 3])));
    bench.pass(SECOND);
    assert_eq!(bench.seen(), ["data 3"]);
    bench.pass(SECOND);
    assert_eq!(bench.seen(), ["deadline idle", "close closed locally"]);
}

// J1
#[test]
fn an_end_that_lies_in_the_kernel_is_told_instead_of_an_idle_deadline() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.cx().set_idle(conn, Some(SECOND));
    bench
        .script
        .socket(socket, |socket| socket.reads.push_back(Ok(Vec::new())));
    bench.pass(SECOND);
    assert_eq!(bench.seen(), ["open", "eof 0", "close closed by peer"]);
}

// J1
#[test]
fn a_peer_that_takes_bytes_is_not_idle() {
    let mut bench = Bench::new();
    let (socket, conn) = stuck(&mut bench, 1000);
    bench.cx().set_idle(conn, Some(SECOND));
    bench.write_steps(socket, [WriteStep::Take(100)]);
    bench.pass(SECOND);
    assert!(bench.seen().is_empty());
    assert_eq!(bench.written(socket).len(), 100);
    bench.pass(SECOND);
    assert_eq!(bench.seen(), ["deadline idle"]);
}

// J1
#[test]
fn a_signal_is_no_answer_to_the_question() {
    let mut bench = Bench::new();
    let (socket, conn) = stuck(&mut bench, 1000);
    bench.cx().set_idle(conn, Some(SECOND * 100));
    let signal = io::ErrorKind::Interrupted;
    bench.write_steps(socket, [WriteStep::Fail(signal), WriteStep::Take(100)]);
    bench.pass(SECOND * 60);
    assert!(bench.seen().is_empty());
    assert_eq!(bench.written(socket).len(), 100);
    bench.cx().abort(conn);
    bench.settle();
    bench.seen();

    let (socket, conn) = bench.accept();
    bench.cx().set_idle(conn, Some(SECOND));
    bench.script.socket(socket, |socket| {
        socket.reads.extend([Err(signal), Ok(vec![1; 3])]);
    });
    bench.pass(SECOND);
    assert_eq!(bench.seen(), ["open", "data 3"]);
}

// J1
#[test]
fn while_reads_are_paused_only_bytes_that_moved_count() {
    let mut bench = Bench::new();
    bench.app.keep_late = true;
    let (socket, conn) = bench.accept();
    bench.cx().set_idle(conn, Some(SECOND));
    bench.cx().pause_reads(conn);
    bench.script.arrives(socket, b"unread");
    bench.pass(SECOND);
    assert_eq!(bench.seen(), ["open", "deadline idle"]);
    bench.cx().resume_reads(conn);
    bench.settle();
    assert_eq!(bench.seen(), ["data 6"]);
}

// J1
#[test]
fn a_connect_that_is_through_is_open_however_late_the_loop_looks() {
    let mut bench = Bench::new();
    bench.cx().connect("127.0.0.1:9");
    bench.pass(SECOND * 3600);
    assert_eq!(bench.seen(), ["connected"]);
}

// J1
#[test]
fn a_connect_that_has_failed_is_told_with_its_error_however_late_the_loop_looks() {
    let mut bench = Bench::new();
    bench.cx().connect("127.0.0.1:9");
    bench.script.socket(0, |socket| {
        let refused = io::ErrorKind::ConnectionRefused;
        socket.connects.push_back(Err(refused.into()));
    });
    bench.pass(SECOND * 3600);
    let seen = bench.seen();
    assert!(seen[0].starts_with("close connect failed"), "{seen:?}");
}

// J1: nothing that a peer sends puts the deadline of a request off, but what has come is told.
#[test]
fn a_set_deadline_is_absolute_and_told_behind_what_is_readable() {
    let mut bench = Bench::new();
    bench.app.keep_late = true;
    let (socket, conn) = bench.accept();
    bench.cx().set_deadline(conn, 0, SECOND);
    bench
        .script
        .socket(socket, |socket| socket.reads.push_back(Ok(vec![1])));
    bench.pass(SECOND);
    assert_eq!(bench.seen(), ["open", "data 1", "deadline deadline 0"]);
}

// J1
#[test]
fn a_request_that_has_come_in_time_may_take_its_deadline_back() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.cx().set_deadline(conn, 0, SECOND);
    bench.app.on_data.push_back(Box::new(|cx, conn| {
        assert!(cx.clear_deadline(conn, 0));
    }));
    bench
        .script
        .socket(socket, |socket| socket.reads.push_back(Ok(vec![1])));
    bench.pass(SECOND * 10);
    assert_eq!(bench.seen(), ["open", "data 1"]);
}

/// The system reports an error of this socket, and says `kind` to whoever asks for it.
fn fault(bench: &mut Bench, socket: usize, kind: Option<io::ErrorKind>) {
    let over = Readiness::READABLE | Readiness::WRITABLE | Readiness::ERROR | Readiness::HANG_UP;
    bench.script.socket(socket, |socket| {
        let answer = kind.map_or(Ok(true), |kind| Err(kind.into()));
        socket.connects.push_back(answer);
    });
    bench.script.edge(socket, over);
}

// J4
#[test]
fn a_pause_does_not_hide_for_ever_that_the_peer_is_gone() {
    for paused_first in [true, false] {
        let mut bench = Bench::new();
        let (socket, conn) = bench.accept();
        bench
            .script
            .socket(socket, |socket| socket.reads.push_back(Ok(vec![1; 9])));
        if paused_first {
            bench.cx().pause_reads(conn);
        } else {
            bench.app.on_data.push_back(Box::new(|cx, conn| {
                assert!(cx.pause_reads(conn));
            }));
        }
        fault(&mut bench, socket, Some(io::ErrorKind::ConnectionReset));
        bench.settle();
        assert_eq!(bench.cx().send(conn, "to nobody"), Sent::Gone);
        bench.pass(SECOND * 60 - Duration::from_nanos(1));
        assert!(bench.cx().is_open(conn));
        bench.pass(Duration::from_nanos(1));
        let seen = bench.seen();
        assert_eq!(seen.last().unwrap(), "close reset by peer", "{seen:?}");
        assert_eq!(seen.iter().any(|seen| seen == "data 9"), !paused_first);
    }
}

// J4, W10
#[test]
fn a_resume_in_time_gives_what_has_arrived_and_then_the_end() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.cx().pause_reads(conn);
    fault(&mut bench, socket, Some(io::ErrorKind::ConnectionReset));
    bench
        .script
        .socket(socket, |socket| socket.reads.push_back(Ok(vec![1; 9])));
    bench.pass(SECOND * 59);
    bench.cx().resume_reads(conn);
    bench.settle();
    assert_eq!(bench.seen(), ["open", "data 9", "close reset by peer"]);
}

// J4: readiness that was none, and a mere end.
#[test]
fn a_paused_connection_is_not_given_up_for_an_error_that_is_none() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.cx().pause_reads(conn);
    fault(&mut bench, socket, None);
    bench.script.edge(socket, Readiness::HANG_UP);
    bench.pass(SECOND * 3600);
    assert!(bench.cx().is_open(conn));
    assert_eq!(bench.cx().send(conn, "still here"), Sent::Queued);
    bench.settle();
    assert_eq!(bench.written(socket), b"still here");
}

// J4: a part of a broadcast is lost once, as anything else.
#[test]
fn what_is_pending_when_the_error_is_found_is_lost_once() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.cx().pause_reads(conn);
    fault(&mut bench, socket, Some(io::ErrorKind::ConnectionReset));
    assert_eq!(bench.cx().broadcast([conn], "a line").queued, 1);
    bench.settle();
    bench.pass(SECOND * 60);
    let end = "close reset by peer, 6 bytes undelivered";
    assert_eq!(bench.seen(), ["open", end]);
}

// J4: one whose own backpressure made it pause is told by `on_drain`, and resumes by that.
#[test]
fn a_wait_ends_when_the_error_is_found_in_a_pause() {
    let mut bench = Bench::new();
    let (socket, conn) = stuck(&mut bench, 100_000);
    bench.cx().pause_reads(conn);
    fault(&mut bench, socket, Some(io::ErrorKind::ConnectionReset));
    bench.script.socket(socket, |socket| {
        let reset = io::ErrorKind::ConnectionReset;
        socket.writes.push_back(WriteStep::Fail(reset));
    });
    bench.settle();
    assert_eq!(bench.seen(), ["drain"]);
    bench.pass(SECOND * 60);
    let end = "close reset by peer, 100000 bytes undelivered";
    assert_eq!(bench.seen(), [end]);
}

/// A peer takes a byte a minute from a connection that closes: it is given up in the end.
#[track_caller]
fn drips(bench: &mut Bench, socket: usize, undelivered: usize) {
    for _ in 0..10 {
        bench.write_steps(socket, [WriteStep::Take(1)]);
        bench.script.edge(socket, Readiness::WRITABLE);
        bench.pass(SECOND * 59);
    }
    assert!(bench.seen().is_empty());
    // Nothing that it takes now helps.
    bench.write_steps(socket, [WriteStep::Take(1)]);
    bench.pass(SECOND * 10);
    let end = format!("close timed out (close flush), {undelivered} bytes undelivered");
    assert_eq!(bench.seen(), [end]);
}

// J2
#[test]
fn a_peer_that_drips_is_given_up_when_the_close_has_taken_long_enough_in_all() {
    let mut bench = Bench::new();
    let (socket, conn) = stuck(&mut bench, 1000);
    bench.cx().close(conn);
    bench.settle();
    drips(&mut bench, socket, 989);
}

// J2
#[test]
fn a_close_has_its_time_in_all_also_if_the_first_write_after_it_moves_bytes() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.write_steps(socket, [WriteStep::Take(1)]);
    bench.cx().send(conn, vec![0; 1000]);
    bench.cx().close(conn);
    bench.settle();
    bench.seen();
    drips(&mut bench, socket, 988);
}

/// In the middle of a turn that began so long ago, does this.
fn late(bench: &mut Bench, by: Duration, act: impl Fn(&mut Context, ConnId) + 'static) -> usize {
    let (socket, _) = bench.accept();
    bench.fill(socket, true);
    let script = bench.script.clone();
    bench.app.on_data.push_back(Box::new(move |cx, conn| {
        script.pass(by);
        act(cx, conn);
    }));
    // So that the turn has a time before the callback.
    bench.cx().set_timer(Duration::ZERO, 1);
    bench.script.arrives(socket, b"x");
    bench.turn();
    bench.seen();
    socket
}

// J6
#[test]
fn the_flush_of_a_close_counts_from_the_close_and_not_from_the_start_of_a_late_turn() {
    let mut bench = Bench::new();
    late(&mut bench, SECOND * 100, |cx, conn| {
        cx.send(conn, "hello");
        cx.close(conn);
    });
    bench.pass(SECOND * 60 - Duration::from_nanos(1));
    assert!(bench.seen().is_empty());
    bench.pass(Duration::from_nanos(1));
    let end = "close timed out (close flush), 5 bytes undelivered";
    assert_eq!(bench.seen(), [end]);
}

// J6
#[test]
fn a_write_stall_counts_from_the_write_that_would_block() {
    let mut bench = Bench::new();
    late(&mut bench, SECOND * 100, |cx, conn| {
        cx.send(conn, "hello");
    });
    bench.pass(SECOND * 60 - Duration::from_nanos(1));
    assert!(bench.seen().is_empty());
    bench.pass(Duration::from_nanos(1));
    let end = "close timed out (write stall), 5 bytes undelivered";
    assert_eq!(bench.seen(), [end]);
}

// J6
#[test]
fn an_idle_time_counts_from_the_byte_and_not_from_the_start_of_a_late_turn() {
    let mut bench = Bench::new();
    let (slow, _) = bench.accept();
    let (socket, conn) = bench.accept();
    bench.cx().set_idle(conn, Some(SECOND));
    let script = bench.script.clone();
    bench.app.on_data.push_back(Box::new(move |_, _| {
        script.pass(SECOND * 2);
    }));
    bench.script.arrives(slow, b"takes long");
    bench.script.arrives(socket, b"x");
    bench.settle();
    bench.pass(SECOND - Duration::from_nanos(1));
    assert_eq!(bench.seen(), ["open", "open", "data 10", "data 1"]);
    bench.pass(Duration::from_nanos(1));
    assert_eq!(bench.seen(), ["deadline idle", "close closed locally"]);
}

// J12
#[test]
fn timers_that_are_due_at_once_are_spread_over_turns_in_their_order() {
    let config = Config {
        expiries_per_turn: 3,
        ..Config::default()
    };
    let mut bench = Bench::with_config(config);
    for key in 0..7 {
        bench.cx().set_timer(SECOND, key);
    }
    bench.script.pass(SECOND);
    assert!(bench.turn());
    assert_eq!(bench.seen(), ["timer 0", "timer 1", "timer 2"]);
    assert!(bench.turn() && !bench.turn());
    assert_eq!(bench.seen().len(), 4);
    assert_eq!(bench.cx().stats().budget_hits.expiries, 2);
    // Nothing is left of it if the rest is cancelled.
    let timers: Vec<_> = (0..7)
        .map(|key| bench.cx().set_timer(SECOND, key))
        .collect();
    bench.script.pass(SECOND);
    assert!(bench.turn());
    for timer in timers {
        bench.cx().cancel_timer(timer);
    }
    bench.turn();
    assert!(!bench.turn(), "it spins");
}
