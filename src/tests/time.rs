//! Timers, deadlines, back-off, and how long the loop sleeps.

use super::*;

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
    bench.cx().set_deadline(conn, SECOND * 25);
    bench.seen();
    for _ in 0..4 {
        bench.script.pass(SECOND * 9);
        bench.script.arrives(socket, b"x");
        bench.settle();
    }
    let data = "data 1";
    assert_eq!(bench.seen(), [data, data, data, "deadline deadline", data]);
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
    assert_eq!(bench.seen(), ["deadline idle", "close closed here"]);
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
            "close closed here",
            "close still open at the end of the grace, 6 bytes undelivered"
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
    let end = "close still open at the end of the grace";
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
    bench.script.edge(0, crate::readiness::Readiness::WRITABLE);
    bench.settle();
    bench.pass(SECOND - Duration::from_nanos(1));
    assert_eq!(bench.seen(), ["connected"]);
    bench.pass(Duration::from_nanos(1));
    assert_eq!(bench.seen(), ["deadline idle", "close closed here"]);
}
