//! When a graceful stop is over, and what it lets nobody do.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Connects again whenever it is told of an end.
struct Stubborn;

impl Handler<u64> for Stubborn {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_close(&mut self, cx: &mut Context, _: ConnId, _: Closed) {
        cx.connect("127.0.0.1:9");
    }
}

#[test]
fn connects_that_are_refused_hold_no_finish_up() {
    let mut bench = Bench::new();
    bench.cx().finish(SECOND * 60);
    bench.cx().connect("127.0.0.1:9");
    let mut turn = || {
        let now = Some(Duration::ZERO);
        bench.reactor.turn(&mut Stubborn, now).unwrap()
    };
    // Its `on_close` connects again, which is over at once and is told of in the next round.
    let report = turn().report.unwrap();
    assert!(report.finished && turn().report.is_some());
}

/// The only one is over, and its `on_close` is still to come.
#[track_caller]
fn hold_a_finish_up(mut bench: Bench, conn: ConnId) {
    bench.cx().finish(SECOND * 60);
    bench.settle();
    bench.cx().abort(conn);
    assert!(bench.reactor.take_report().is_none());
    bench.settle();
    assert_eq!(bench.reactor.take_report().unwrap().closed, 1);
}

#[test]
fn a_connection_that_is_over_and_not_told_of_holds_a_finish_up() {
    let mut bench = Bench::new();
    bench.app.keep_on = true;
    let (_, conn) = bench.accept();
    hold_a_finish_up(bench, conn);
}

// X10: also one whose name is looked up, which has no stream yet.
#[test]
fn a_connect_that_is_over_and_not_told_of_holds_a_finish_up() {
    let mut bench = Bench::new();
    bench.app.keep_on = true;
    let conn = bench.cx().connect("db:80");
    let _asked = bench.script.lookups();
    hold_a_finish_up(bench, conn);
}

#[test]
fn nobody_connects_in_a_finish() {
    let mut bench = Bench::new();
    bench.app.keep_on = true;
    bench.accept();
    bench.cx().finish(SECOND * 60);
    bench.cx().connect("127.0.0.1:9");
    bench.settle();
    let seen = bench.seen().pop().unwrap();
    assert!(seen.contains("the reactor is finishing"), "{seen}");
}

#[test]
fn a_second_finish_brings_the_end_nearer_and_never_puts_it_off() {
    for (first, second, end) in [(60, 1, 1), (1, 60, 1)] {
        let mut bench = Bench::new();
        bench.app.keep_on = true;
        bench.accept();
        bench.cx().finish(SECOND * first);
        bench.cx().finish(SECOND * second);
        bench.pass(SECOND * end - Duration::from_nanos(1));
        assert_eq!(bench.seen(), ["open"]);
        bench.pass(Duration::from_nanos(1));
        assert_eq!(bench.seen().len(), 1);
        assert_eq!(bench.reactor.take_report().unwrap().aborted, 1);
        assert_eq!(bench.reactor.next_wakeup(), None);
    }
}
