//! X10: the graceful stop and its report.

use crate::kit::edge::{Edge, On};
use crate::kit::places::watch_pipe;
use crate::kit::{default, echo, pattern};
use crate::{on_both_edges, on_every_edge};
use sockeye::{EventKind, Reason, Report, Sent};
use std::time::Duration;

on_both_edges! {
    a_connection_that_is_still_connecting_is_told_too,
}

on_every_edge! {
    what_does_not_end_within_the_grace_is_aborted,
    finishing_says_goodbye_to_everybody,
    the_report_counts_the_bytes_that_were_lost,
    a_connection_that_closes_too_slowly_counts_as_aborted_and_only_so,
    a_connection_that_is_accepted_as_the_stop_begins_is_told_too,
    neither_timers_nor_watches_nor_pauses_hold_up_the_end,
    with_no_connection_the_end_comes_at_once_and_the_reactor_can_be_used_again,
    a_second_finish_can_only_shorten_the_grace,
}

const LONG: Duration = Duration::from_secs(20);
const SMALL: usize = 8 * 1024;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Waits for the report, and says how many were closed and aborted, and what was lost.
#[track_caller]
fn report(edge: &mut Edge) -> (u64, u64, u64) {
    let mut report: Option<Report> = None;
    edge.until("it reports", |edge| {
        report = edge.reactor().take_report();
        report.is_some()
    });
    let report = report.unwrap();
    assert!(report.finished);
    (report.closed, report.aborted, report.bytes_lost)
}

// X10: what it takes to go on is time, and no new connection.
fn what_does_not_end_within_the_grace_is_aborted(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Finish { .. } => {}
        other => echo(cx, other),
    });
    let addr = edge.listen();
    let peers = [edge.peer(&addr), edge.peer(&addr)];
    edge.until_open(2);
    let (start, grace) = (edge.now(), ms(150));
    edge.cx().finish(grace);
    edge.until("both are told", |edge| edge.log().count("finish") == 2);
    peers.iter().for_each(|peer| peer.send("still here?"));
    edge.until("they are", |_| peers.iter().all(|peer| peer.count() == 11));
    peers[0].shutdown();
    let late = edge.connect(addr.clone());
    assert_eq!(report(&mut edge), (2, 1, 0));
    assert!(edge.now() - start >= grace);
    // The peer must not take it for the whole; but of a Unix socket an abort is an end.
    edge.until("the other is reset", |_| {
        peers[1].was_reset() || on.is_unix() && peers[1].is_closed()
    });
    let ids = edge.log().ids.clone();
    let reasons = ids.iter().filter(|id| **id != late);
    let mut reasons: Vec<_> = reasons
        .map(|id| format!("{:?}", edge.log().life(*id).reason()))
        .collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["Eof", "Finished"]);
    let failed = edge.log().life(late);
    assert_eq!(failed.callbacks, ["close"]);
    assert!(matches!(failed.reason(), Reason::ConnectFailed(_)));
    edge.end();
}

// X10
fn finishing_says_goodbye_to_everybody(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Finish { conn } => {
            assert_eq!(cx.send(conn, "goodbye"), Sent::Queued);
            cx.close(conn);
        }
        other => echo(cx, other),
    });
    let addr = edge.listen();
    let peers: Vec<_> = (0..5).map(|_| edge.peer(&addr)).collect();
    edge.until_open(5);
    edge.cx().finish(LONG);
    // The listener is closed already, and nothing new can be begun.
    if !on.is_unix() {
        let late = edge.peer(&addr);
        edge.until("nobody listens", |_| late.was_reset());
    }
    let error = edge.reactor().listen("127.0.0.1:0").unwrap_err();
    assert!(error.to_string().contains("finishing"), "{error}");
    edge.until("all have left", |_| {
        peers.iter().all(|peer| peer.is_closed())
    });
    peers.iter().for_each(|peer| {
        assert_eq!(peer.received(), b"goodbye");
        assert!(!peer.was_reset());
        peer.close();
    });
    assert_eq!(report(&mut edge), (5, 0, 0));
    assert_eq!((edge.log().count("finish"), edge.log().closed()), (5, 5));
    edge.end();
}

// X10
fn the_report_counts_the_bytes_that_were_lost(on: On) {
    const ALL: usize = 3 << 20;
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Open { conn, .. } => drop(cx.send(conn, pattern(ALL))),
        EventKind::Finish { .. } => {}
        other => default(cx, other),
    });
    let addr = edge.listen_with(|listen| listen.send_buffer(SMALL));
    edge.small_peer(&addr).ignore();
    edge.until_open(1);
    edge.pass(ms(20));
    edge.cx().finish(ms(10));
    let told = report(&mut edge);
    let lost = ALL as u64 - edge.cx().stats().bytes_out;
    assert!(lost > 1 << 20);
    assert_eq!(told, (0, 1, lost));
    assert_eq!(edge.cx().stats().bytes_lost, lost);
    let id = edge.id(0);
    let closed = edge.log().life(id).closed.as_ref().unwrap();
    assert_eq!(closed.undelivered, lost);
    assert!(!closed.is_clean());
    edge.end();
}

// X10: each connection is counted once, whatever its reason was.
fn a_connection_that_closes_too_slowly_counts_as_aborted_and_only_so(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Open { conn, .. } => {
            cx.send(conn, pattern(3 << 20));
            assert!(cx.close_because(conn, "breach of protocol"));
        }
        other => default(cx, other),
    });
    let addr = edge.listen_with(|listen| listen.send_buffer(SMALL));
    edge.small_peer(&addr).ignore();
    edge.until_open(1);
    edge.cx().finish(ms(10));
    let (closed, aborted, _) = report(&mut edge);
    assert_eq!((closed, aborted), (0, 1));
    assert_eq!(edge.log().count("finish"), 0, "it was closing already");
    // The first error wins.
    let id = edge.id(0);
    let reason = edge.log().life(id).reason();
    assert!(matches!(reason, Reason::Protocol(_)), "{reason}");
    edge.end();
}

// X10
fn a_connection_that_is_accepted_as_the_stop_begins_is_told_too(on: On) {
    for begins_at_open in [false, true] {
        let mut edge = on.edge(move |cx, event| match event {
            EventKind::Accept { .. } if !begins_at_open => cx.finish(LONG),
            EventKind::Open { .. } if begins_at_open => cx.finish(LONG),
            other => default(cx, other),
        });
        let addr = edge.listen();
        let peer = edge.peer(&addr);
        edge.until("it is closed", |_| peer.is_closed());
        assert!(peer.count() == 0 && !peer.was_reset());
        peer.close();
        assert_eq!(report(&mut edge), (1, 0, 0));
        let id = edge.id(0);
        let life = edge.log().life(id);
        assert_eq!(life.callbacks, ["open", "finish", "close"]);
        edge.end();
    }
}

// X10, X11
fn a_connection_that_is_still_connecting_is_told_too(on: On) {
    let mut edge = on.edge(default);
    let hole = edge.black_hole();
    let conn = edge.connect(hole);
    edge.pass(ms(10));
    assert!(!edge.cx().is_open(conn));
    edge.cx().finish(LONG);
    assert_eq!(report(&mut edge), (1, 0, 0));
    assert_eq!(edge.log().life(conn).callbacks, ["finish", "close"]);
    edge.end();
}

// X10
fn neither_timers_nor_watches_nor_pauses_hold_up_the_end(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    peer.send("unread");
    edge.until_open(1);
    let id = edge.id(0);
    edge.cx().pause_reads(id);
    edge.cx().set_timer(Duration::from_secs(60), 1);
    let _pipe = on.is_real().then(|| watch_pipe(edge.cx(), false));
    edge.cx().finish(LONG);
    edge.until("it is closed", |_| peer.is_closed());
    peer.close();
    assert_eq!(report(&mut edge), (1, 0, 0));
    assert!(edge.log().timers.is_empty());
    edge.end();
}

// X10
fn with_no_connection_the_end_comes_at_once_and_the_reactor_can_be_used_again(on: On) {
    let mut edge = on.edge(echo);
    for _ in 0..3 {
        edge.listen();
        let start = edge.now();
        edge.cx().finish(LONG);
        assert_eq!(report(&mut edge), (0, 0, 0));
        assert!(edge.now() - start < LONG / 2);
        assert_eq!(edge.reactor().next_wakeup(), None, "its grace is over");
    }
    // It is as new.
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    peer.send("ping");
    edge.until("it is answered", |_| peer.count() == 4);
    peer.close();
    edge.until_all_closed();
    edge.end();
}

// X10
fn a_second_finish_can_only_shorten_the_grace(on: On) {
    for (first, second) in [(LONG, ms(30)), (ms(30), LONG), (Duration::MAX, ms(30))] {
        let mut edge = on.edge(|cx, event| match event {
            EventKind::Finish { .. } => {}
            other => default(cx, other),
        });
        let addr = edge.listen();
        edge.peer(&addr);
        edge.until_open(1);
        let start = edge.now();
        edge.cx().finish(first);
        edge.cx().finish(second);
        assert_eq!(report(&mut edge), (0, 1, 0));
        let took = edge.now() - start;
        assert!(took >= ms(30) && took < LONG / 2);
        assert_eq!(edge.log().count("finish"), 1);
        edge.end();
    }
}
