//! Timers, deadlines, back-off, and how long the loop sleeps.

use super::*;
use crate::readiness::Readiness;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_timer_fires_once_at_its_time_and_a_cancelled_one_never() {
    let mut bench = Bench::new();
    bench.cx().set_timer(SECOND, 1);
    let cancelled = bench.cx().set_timer(SECOND, 2);
    bench.cx().set_timer(Duration::MAX, 3);
    assert!(bench.cx().cancel_timer(cancelled) && !bench.cx().cancel_timer(cancelled));
    bench.pass(SECOND - Duration::from_nanos(1));
    assert!(bench.seen().is_empty());
    bench.pass(Duration::from_nanos(1));
    bench.pass(SECOND * 3600 * 24 * 365);
    assert_eq!(bench.seen(), ["timer 1"]);
}

#[test]
fn the_loop_sleeps_until_the_timer_and_not_before() {
    let mut bench = Bench::new();
    bench.cx().set_timer(SECOND, 7);
    let before = bench.script.sleeps();
    bench.reactor.turn(&mut bench.app, None).unwrap();
    assert_eq!(bench.script.sleeps(), before + 1);
    assert_eq!(bench.seen(), ["timer 7"]);
    assert_eq!(bench.reactor.next_wakeup(), None);
}

#[test]
fn progress_moves_the_idle_deadline_and_nothing_moves_the_set_one() {
    let mut bench = Bench::new();
    bench.app.keep_late = true;
    let (socket, conn) = bench.accept();
    bench.cx().set_idle(conn, Some(SECOND * 10));
    bench.cx().set_deadline(conn, 0, SECOND * 25);
    bench.seen();
    for _ in 0..4 {
        bench.script.pass(SECOND * 9);
        bench.script.arrives(socket, b"x");
        bench.settle();
    }
    let data = "data 1";
    assert_eq!(
        bench.seen(),
        [data, data, data, "deadline deadline 0", data]
    );
    bench.pass(SECOND * 10);
    bench.pass(SECOND * 10);
    assert_eq!(bench.seen(), ["deadline idle", "deadline idle"]);
    bench.cx().close(conn);
    bench.settle();
}

#[test]
fn data_and_an_idle_deadline_in_the_same_turn_data_wins() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.cx().set_idle(conn, Some(SECOND));
    bench.script.pass(SECOND * 2);
    bench.script.arrives(socket, b"x");
    bench.settle();
    assert_eq!(bench.seen(), ["open", "data 1"]);
    bench.pass(SECOND);
    assert_eq!(bench.seen(), ["deadline idle", "close closed locally"]);
}

#[test]
fn a_peer_that_takes_nothing_is_given_up_after_the_write_stall() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.fill(socket, true);
    bench.cx().send(conn, "hello");
    bench.settle();
    bench.pass(SECOND * 59);
    assert_eq!(bench.seen(), ["open"]);
    bench.pass(SECOND);
    assert_eq!(
        bench.seen(),
        ["close timed out (write stall), 5 bytes undelivered"]
    );
}

#[test]
fn a_stall_that_is_over_leaves_no_limit_behind() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    bench.fill(socket, true);
    bench.cx().send(conn, "hello");
    bench.settle();
    bench.fill(socket, false);
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    assert_eq!(bench.written(socket), b"hello");
    bench.pass(SECOND * 3600);
    assert_eq!(bench.seen(), ["open"]);
}

#[test]
fn a_connect_that_never_answers_times_out_at_its_deadline() {
    let mut bench = Bench::new();
    bench
        .cx()
        .connect(crate::Connect::new("127.0.0.1:9").timeout(SECOND * 3));
    bench
        .script
        .socket(0, |socket| socket.connects.push_back(Ok(false)));
    bench.pass(SECOND * 3 - Duration::from_nanos(1));
    assert!(bench.seen().is_empty());
    bench.pass(Duration::from_nanos(1));
    assert_eq!(bench.seen(), ["close connect timed out"]);
}

#[test]
fn a_listener_without_descriptors_rests_and_needs_no_new_peer_to_go_on() {
    let mut bench = Bench::new();
    bench.script.accept_fails(io::ErrorKind::OutOfMemory);
    bench.script.incoming();
    bench.settle();
    assert_eq!(bench.seen(), ["accept error OutOfMemory"]);
    bench.pass(Duration::from_millis(99));
    assert!(bench.seen().is_empty());
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.seen(), ["open"]);
}

#[test]
fn a_peer_that_resets_before_accept_costs_the_others_nothing() {
    let mut bench = Bench::new();
    bench.script.accept_fails(io::ErrorKind::ConnectionAborted);
    bench.script.incoming();
    bench.settle();
    assert_eq!(bench.seen(), ["open"]);
}

#[test]
fn the_end_of_the_grace_aborts_what_is_left() {
    let mut bench = Bench::new();
    let (stubborn, conn) = bench.accept();
    bench.accept();
    bench.fill(stubborn, true);
    bench.cx().send(conn, "unsent");
    bench.settle();
    bench.cx().finish(SECOND);
    bench.settle();
    bench.pass(SECOND);
    let seen = bench.seen();
    assert_eq!(
        seen[2..],
        [
            "close closed locally",
            "close still open when the grace period ended, 6 bytes undelivered"
        ]
    );
    let report = bench.reactor.take_report().unwrap();
    assert_eq!(
        (report.closed, report.aborted, report.bytes_lost),
        (1, 1, 6)
    );
}

// J1
#[test]
fn what_came_before_the_end_of_the_grace_is_told_though_a_callback_has_taken_the_last_of_it() {
    let mut bench = Bench::new();
    bench.app.keep_on = true;
    let (quiet, _) = bench.accept();
    let (slow, conn) = bench.accept();
    bench.write_steps(slow, [BLOCK]);
    bench.cx().send(conn, "answer");
    bench.cx().finish(SECOND);
    bench.settle();
    bench.seen();
    let script = bench.script.clone();
    bench.app.on_data.push_back(Box::new(move |_, _| {
        script.arrives(quiet, b"hello");
        script.pass(SECOND * 2);
    }));
    bench.script.arrives(slow, b"x");
    bench.settle();
    let end = "close still open when the grace period ended";
    assert_eq!(bench.seen(), ["data 1", "data 5", end, end]);
    assert_eq!(bench.written(slow), b"answer");
}

// T8
#[test]
fn the_idle_time_counts_from_the_opening_and_a_connect_has_a_timeout_of_its_own() {
    let mut bench = Bench::new();
    bench
        .cx()
        .connect(crate::Connect::new("127.0.0.1:1").idle(SECOND));
    bench.pass(SECOND * 5);
    assert!(bench.seen().is_empty());
    bench.script.edge(0, Readiness::WRITABLE);
    bench.settle();
    bench.pass(SECOND - Duration::from_nanos(1));
    assert_eq!(bench.seen(), ["connected"]);
    bench.pass(Duration::from_nanos(1));
    assert_eq!(bench.seen(), ["deadline idle", "close closed locally"]);
}

// F8
#[test]
fn deadlines_of_one_connection_are_told_by_their_keys_in_the_order_of_time() {
    let mut bench = Bench::new();
    bench.app.keep_late = true;
    let (_, conn) = bench.accept();
    for (key, seconds) in [(7, 3), (1, 2), (2, 1), (3, 2), (4, 9), (5, 2)] {
        assert!(bench.cx().set_deadline(conn, key, SECOND * seconds));
    }
    bench.cx().set_deadline(conn, 8, Duration::MAX);
    // Cleared: one of those behind, then the earliest. Moved: one nearer, one away.
    assert!(bench.cx().clear_deadline(conn, 4) && bench.cx().clear_deadline(conn, 2));
    assert!(
        bench.cx().clear_deadline(conn, 99),
        "what is not set is no error"
    );
    bench.cx().set_deadline(conn, 7, SECOND);
    bench.cx().set_deadline(conn, 1, SECOND * 4);
    bench.seen();
    bench.pass(SECOND - Duration::from_nanos(1));
    assert!(bench.seen().is_empty());
    bench.pass(Duration::from_nanos(1));
    assert_eq!(bench.seen(), ["deadline deadline 7"]);
    bench.pass(SECOND);
    assert_eq!(bench.seen(), ["deadline deadline 3"]);
    assert!(bench.reactor.next_wakeup().is_some(), "one a turn");
    bench.settle();
    assert_eq!(bench.seen(), ["deadline deadline 5"]);
    bench.pass(SECOND * 1000);
    assert_eq!(bench.seen(), ["deadline deadline 1"]);
    // One that is nearer than two of the same time does not change their order.
    for (key, seconds) in [(1, 2), (2, 2), (3, 1)] {
        bench.cx().set_deadline(conn, key, SECOND * seconds);
    }
    (0..4).for_each(|_| bench.pass(SECOND));
    let told = [
        "deadline deadline 3",
        "deadline deadline 1",
        "deadline deadline 2",
    ];
    assert_eq!(bench.seen(), told);
    assert_eq!(bench.reactor.next_wakeup(), None);
}

// F8
#[test]
fn no_deadline_of_any_key_survives_a_close() {
    type End = fn(&mut Context, ConnId) -> bool;
    let ends: [End; 3] = [Context::close, Context::abort, |cx, conn| {
        cx.send(conn, "unsent");
        cx.close(conn)
    }];
    for end in ends {
        let mut bench = Bench::new();
        let (socket, conn) = bench.accept();
        bench.fill(socket, true);
        bench.script.socket(socket, |socket| socket.stays = true);
        for key in 0..4 {
            bench.cx().set_deadline(conn, key, SECOND * key);
        }
        bench.script.pass(SECOND * 10);
        assert!(end(bench.cx(), conn));
        assert!(!bench.cx().set_deadline(conn, 9, SECOND) && !bench.cx().clear_deadline(conn, 0));
        bench.settle();
        bench.pass(SECOND * 1000);
        let seen = bench.seen();
        assert_eq!(seen.len(), 2, "{seen:?}");
    }
    // While connecting with bytes pending the close waits, and the deadlines do not.
    let mut bench = Bench::new();
    let conn = bench.cx().connect("127.0.0.1:9");
    let waits = |socket: &mut crate::backend::script::Socket| {
        socket.connects.extend([Ok(false), Ok(false)]);
    };
    bench.script.socket(0, waits);
    bench.cx().send(conn, "hello");
    for key in 0..3 {
        bench.cx().set_deadline(conn, key, SECOND);
    }
    bench.cx().close(conn);
    bench.pass(SECOND * 5);
    assert!(bench.seen().is_empty());
    bench.pass(SECOND * 5);
    assert_eq!(
        bench.seen(),
        ["close connect timed out, 5 bytes undelivered"]
    );
}

// F8
#[test]
fn a_periodic_timer_does_not_drift_and_counts_what_a_late_loop_has_missed() {
    let mut bench = Bench::new();
    let timer = bench.cx().set_interval(SECOND, 5);
    // Told late, again and again: the next one is due a whole number of periods from the start.
    for late in [0, 900_000_000, 1] {
        bench.script.pass(SECOND + Duration::from_nanos(late));
        bench.settle();
        assert_eq!((bench.seen().len(), bench.cx().missed_ticks(timer)), (1, 0));
    }
    // 3.9 s have passed, so this is the fourth, to the nanosecond.
    let rest = SECOND * 4 - SECOND * 3 - Duration::from_nanos(900_000_001);
    bench.pass(rest - Duration::from_nanos(1));
    assert!(bench.seen().is_empty());
    bench.pass(Duration::from_nanos(1));
    assert_eq!(bench.seen(), ["timer 5"]);
    // Six and a half periods at once: one is told, five are counted, none is repeated.
    bench.pass(SECOND * 6 + SECOND / 2);
    assert_eq!(bench.seen(), ["timer 5"]);
    assert_eq!(bench.cx().missed_ticks(timer), 5);
    bench.pass(SECOND / 2);
    assert_eq!(bench.seen(), ["timer 5"]);
    assert_eq!(bench.cx().missed_ticks(timer), 0);
    // Moved, and cancelled; the id is the same all the time.
    assert!(bench.cx().reset_timer(timer, SECOND / 4));
    bench.pass(SECOND / 4);
    bench.pass(SECOND);
    assert_eq!(bench.seen(), ["timer 5", "timer 5"]);
    assert!(bench.cx().cancel_timer(timer) && !bench.cx().cancel_timer(timer));
    assert_eq!(bench.cx().missed_ticks(timer), 0);
    bench.pass(SECOND * 9);
    assert!(bench.seen().is_empty());
    assert_eq!(bench.reactor.next_wakeup(), None);
}

// T5
#[test]
fn a_period_without_end_never_ticks_and_one_of_nothing_ticks_once_a_turn() {
    let mut bench = Bench::new();
    bench.cx().set_interval(Duration::MAX, 1);
    bench.pass(SECOND * 3600 * 24 * 365);
    assert!(bench.seen().is_empty());
    let timer = bench.cx().set_interval(Duration::ZERO, 2);
    bench.pass(SECOND);
    assert_eq!(bench.seen(), ["timer 2"]);
    assert_eq!(bench.cx().missed_ticks(timer), 999_999_999);
}

#[test]
fn an_id_goes_through_a_number_and_comes_back() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        let (_, conn) = bench.accept();
        assert_eq!(ConnId::from_u64(conn.to_u64()), conn);
        assert!(bench.cx().is_open(ConnId::from_u64(conn.to_u64())));
        bench.cx().abort(conn);
        bench.settle();
        assert!(!bench.cx().close(ConnId::from_u64(conn.to_u64())));
    }
    for number in [0, 1, u64::from(u32::MAX), u64::MAX] {
        assert!(!bench.cx().close(ConnId::from_u64(number)));
        assert_eq!(ConnId::from_u64(number).to_u64(), number);
    }
}
