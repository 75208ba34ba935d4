//! Closing and identity: X1 to X4, X6, X7. The rest is in `closing_ways.rs` and `finishing.rs`.

use crate::kit::edge::{Edge, On, Peer};
use crate::kit::{self, default, pattern, slot_of, unix_path};
use crate::{on_both_edges, on_every_edge};
use sockeye::{Addr, Closed, Config, ConnId, Context, Deadline, EventKind, Handler, Input};
use sockeye::{Reason, Sent};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

on_both_edges! {
    an_abort_of_a_unix_socket_is_an_end_unless_input_is_unread,
    a_write_to_a_unix_socket_that_is_gone_fails_at_once,
}

on_every_edge! {
    closing_oneself_in_any_callback_gives_one_on_close_and_no_more,
    closing_others_of_the_same_batch_silences_them,
    a_stale_id_reaches_no_later_owner_of_its_slot,
    a_close_sends_all_that_is_queued_and_then_the_end,
    a_peer_that_never_reads_is_given_up_after_a_close,
    each_byte_taken_starts_the_time_of_a_close_anew,
    an_abort_is_a_reset,
    closing_twice_in_any_way_is_closing_once,
}

const SMALL: usize = 8 * 1024;

/// The connection that an event is for.
fn about(event: &EventKind<'_>) -> Option<ConnId> {
    Some(match event {
        EventKind::Open { conn, .. }
        | EventKind::Data { conn, .. }
        | EventKind::Drain { conn }
        | EventKind::Eof { conn, .. }
        | EventKind::Deadline { conn, .. }
        | EventKind::Finish { conn }
        | EventKind::Close { conn, .. } => *conn,
        _ => return None,
    })
}

const ENDS: [fn(&mut Context, ConnId) -> bool; 3] = [Context::close, Context::abort, |cx, conn| {
    cx.close_because(conn, "no more")
}];

// X1: in each callback, by each of three ways to end.
fn closing_oneself_in_any_callback_gives_one_on_close_and_no_more(on: On) {
    for which in [
        "open", "data", "drain", "eof", "deadline", "finish", "close",
    ] {
        let mut config = Config::default();
        config.receive_buffer = 16;
        let mut known: Vec<ConnId> = Vec::new();
        let mut edge = on.edge_with(config, move |cx, event| {
            let (name, conn) = (kit::name(&event), about(&event));
            if name == "open" {
                known.extend(conn);
            }
            if let Some(conn) = conn.filter(|_| name == which) {
                let way = known.iter().position(|id| *id == conn).unwrap();
                assert_eq!(ENDS[way](cx, conn), name != "close");
                assert!(!cx.close(conn) && !cx.is_open(conn));
                return;
            }
            match event {
                EventKind::Open { conn, .. } if which == "drain" => {
                    assert_eq!(cx.send(conn, pattern(100_000)), Sent::Wait);
                }
                EventKind::Open { conn, .. } if which == "deadline" => {
                    cx.set_deadline(conn, 0, Duration::from_millis(2));
                    cx.pause_reads(conn);
                }
                EventKind::Eof { .. } if which == "drain" => {}
                other => default(cx, other),
            }
        });
        let addr = edge.listen();
        let peers: Vec<_> = ENDS.iter().map(|_| edge.peer(&addr)).collect();
        if which != "finish" {
            peers.iter().for_each(|peer| peer.send(pattern(100)));
            peers.iter().for_each(|peer| peer.shutdown());
        }
        edge.until_open(ENDS.len());
        if which == "finish" {
            edge.cx().finish(Duration::from_secs(20));
        }
        edge.until("the peers have their end", |_| {
            peers.iter().all(|peer| peer.is_closed())
        });
        peers.iter().for_each(|peer| peer.close());
        edge.until_all_closed();
        for index in 0..ENDS.len() {
            let id = edge.id(index);
            let names = &edge.log().life(id).callbacks;
            let at = names.iter().position(|name| *name == which).unwrap();
            let after: &[&str] = if which == "close" { &[] } else { &["close"] };
            assert_eq!(&names[at + 1..], after, "ended in {which}: {names:?}");
        }
        // Until it is taken, the loop has work.
        assert_eq!(edge.reactor().take_report().is_some(), which == "finish");
        edge.end();
    }
}

// X2: whoever is heard first silences all others, whose data, ends and resets are in the same
// batch. Their slots and descriptors have new owners at once.
fn closing_others_of_the_same_batch_silences_them(on: On) {
    const COUNT: usize = 20;
    let old: Rc<RefCell<Vec<ConnId>>> = Rc::default();
    let fresh: Rc<RefCell<Vec<ConnId>>> = Rc::default();
    let place: Rc<RefCell<Option<Addr>>> = Rc::default();
    let (known, begun, to, mut heard) = (old.clone(), fresh.clone(), place.clone(), false);
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Open { conn, .. } if begun.borrow().is_empty() => known.borrow_mut().push(conn),
        EventKind::Data { conn, input } if known.borrow().contains(&conn) => {
            input.take_all();
            if !std::mem::replace(&mut heard, true) {
                for other in known.borrow().iter().filter(|other| **other != conn) {
                    assert!(cx.abort(*other) || !on.is_real());
                }
            }
        }
        EventKind::Close { conn, .. } if known.borrow().contains(&conn) => {
            let to = to.borrow().clone().unwrap();
            begun.borrow_mut().push(cx.connect(to));
        }
        other => default(cx, other),
    });
    let server = edge.server();
    *place.borrow_mut() = Some(server.addr());
    let addr = edge.listen();
    let peers: Vec<_> = (0..COUNT).map(|_| edge.peer(&addr)).collect();
    edge.until_open(COUNT);
    let old: Vec<ConnId> = old.borrow().clone();
    for (number, peer) in peers.iter().enumerate() {
        peer.send("stale");
        match number % 3 {
            0 => peer.reset(),
            1 => peer.close(),
            _ => peer.shutdown(),
        }
    }
    edge.until("the old ones are closed", |edge| {
        old.iter().all(|id| edge.log().is_closed(*id))
    });
    let heard = old
        .iter()
        .filter(|id| edge.log().life(**id).count("data") > 0);
    assert_eq!(heard.count(), 1, "a closed one was told of its data");
    for greeting in 0..COUNT as u8 {
        let peer = edge.accept(&server);
        peer.send([greeting; 100]);
        peer.close();
    }
    edge.until("the new ones are closed", |edge| {
        fresh.borrow().iter().all(|id| edge.log().is_closed(*id))
    });
    assert!(edge.log().past.len() > COUNT / 2, "no slot was used again");
    let mut greetings = Vec::new();
    for id in fresh.borrow().iter() {
        let life = edge.log().life(*id);
        assert_eq!((life.callbacks[0], life.received.len()), ("open", 100));
        assert!(matches!(life.reason(), Reason::Eof), "{life:?}");
        greetings.push(life.received[0]);
    }
    greetings.sort_unstable();
    assert_eq!(greetings, Vec::from_iter(0..COUNT as u8));
    edge.end();
}

/// Connects that fail at once, one after the other; each gets the slot that the last one had.
struct Churn {
    closed: usize,
}

impl Handler<u64> for Churn {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_close(&mut self, _: &mut Context, _: ConnId, closed: Closed) {
        assert!(matches!(closed.reason, Reason::ConnectFailed(_)));
        self.closed += 1;
    }
}

fn reaches_nobody(cx: &mut Context, stale: ConnId) {
    assert_eq!(cx.send(stale, "to nobody"), Sent::Gone);
    assert_eq!((cx.broadcast([stale], "x").gone, cx.pending(stale)), (1, 0));
    assert!(!cx.close(stale) && !cx.abort(stale) && !cx.shutdown_write(stale));
    assert!(!cx.close_because(stale, "x") && !cx.pause_reads(stale) && !cx.resume_reads(stale));
    assert!(!cx.set_deadline(stale, 0, Duration::ZERO) && !cx.clear_deadline(stale, 0));
    assert!(!cx.set_idle(stale, None) && !cx.is_open(stale) && !cx.wants_input(stale));
    assert!(cx.peer_addr(stale).is_none() && cx.local_addr(stale).is_none());
    assert!(cx.tag(stale).is_none() && cx.origin(stale).is_none());
}

// X3: those who were accepted, and one whose slot was used again very often. That goes without the
// recorder, which keeps what it has seen of each id.
fn a_stale_id_reaches_no_later_owner_of_its_slot(on: On) {
    let reuses = if on.is_real() { 100_000 } else { 1000 };
    let mut edge = on.edge(default);
    let addr = edge.listen();
    for round in 1..=20 {
        let peer = edge.peer(&addr);
        edge.until_open(round);
        peer.close();
        edge.until_all_closed();
    }
    let mut old = edge.log().ids.clone();
    let slots: std::collections::HashSet<_> = old.iter().map(|id| slot_of(*id)).collect();
    assert!(slots.len() <= 2, "slots are used again: {slots:?}");
    let mut churn = Churn { closed: 0 };
    let stale = edge.cx().connect("no address at all");
    old.push(stale);
    for round in 1..=reuses {
        let turn = edge.reactor().turn(&mut churn, Some(Duration::ZERO));
        assert_eq!((turn.unwrap().more, churn.closed), (false, round));
        if round < reuses {
            edge.cx().connect("no address at all");
        }
    }
    let peer = edge.peer(&addr);
    edge.until_open(21);
    let new = edge.id(20);
    assert!(slot_of(new) == slot_of(stale) && new != stale);
    old.iter().for_each(|id| reaches_nobody(edge.cx(), *id));
    // The new owner is untouched.
    assert_eq!(edge.cx().connections().collect::<Vec<_>>(), [new]);
    assert!(edge.cx().pending(new) == 0 && edge.cx().wants_input(new));
    assert_eq!(edge.cx().send(new, "to you"), Sent::Queued);
    edge.until("it comes", |_| peer.count() == 6);
    assert!(edge.cx().is_open(new));
    edge.end();
}

// X4: above the hard limit, too. No drain is told any more.
fn a_close_sends_all_that_is_queued_and_then_the_end(on: On) {
    const ALL: usize = 3 << 20;
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Open { conn, .. } => {
            cx.send(conn, pattern(ALL));
            assert!(cx.close(conn) && !cx.is_open(conn));
            assert_eq!(cx.pending(conn), ALL);
        }
        other => default(cx, other),
    });
    let addr = edge.listen_with(|listen| listen.send_buffer(4 * SMALL));
    let peer = edge.peer(&addr);
    peer.ignore();
    edge.until_open(1);
    edge.pass(Duration::from_millis(3));
    assert_eq!(edge.log().closed(), 0);
    peer.hear();
    edge.until("the end follows the last byte", |_| peer.is_closed());
    assert!(peer.received() == pattern(ALL) && !peer.was_reset());
    peer.close();
    edge.until_all_closed();
    let id = edge.id(0);
    let life = edge.log().life(id);
    assert_eq!(life.callbacks, ["open", "close"]);
    assert!(life.closed.as_ref().unwrap().is_clean(), "{life:?}");
    edge.end();
}

/// A connection that has closed, with so much pending; its small peer, which reads nothing; and
/// when that was.
fn closed_with(on: On, close_flush: Duration, bytes: usize) -> (Edge, Peer, Instant) {
    let mut config = Config::default();
    config.limits.close_flush = close_flush;
    let mut edge = on.edge_with(config, default);
    let addr = edge.listen_with(|listen| listen.send_buffer(SMALL));
    let peer = edge.small_peer(&addr);
    peer.ignore();
    edge.until_open(1);
    let id = edge.id(0);
    edge.cx().send(id, pattern(bytes));
    let start = edge.now();
    edge.cx().close(id);
    (edge, peer, start)
}

// X4
fn a_peer_that_never_reads_is_given_up_after_a_close(on: On) {
    let timeout = Duration::from_millis(40);
    let (mut edge, peer, start) = closed_with(on, timeout, 300_000);
    edge.until_all_closed();
    assert!(edge.now() - start >= timeout);
    let id = edge.id(0);
    let closed = edge.log().life(id).closed.as_ref().unwrap();
    let flush = Reason::TimedOut(Deadline::CloseFlush);
    assert_eq!(closed.reason.to_string(), flush.to_string());
    assert!(closed.undelivered > 100_000);
    peer.hear();
    // Of a Unix socket an abort is an end.
    edge.until("the peer must not take it for the whole", |_| {
        peer.was_reset() || on.is_unix() && peer.is_closed()
    });
    edge.end();
}

// X4
fn each_byte_taken_starts_the_time_of_a_close_anew(on: On) {
    const ALL: usize = 600_000;
    let (mut edge, peer, _) = closed_with(on, Duration::from_millis(300), ALL);
    for _ in 0..8 {
        peer.hear();
        peer.ignore();
        edge.pass(Duration::from_millis(60));
    }
    assert_eq!(edge.log().closed(), 0);
    assert!((1..ALL).contains(&peer.count()));
    peer.hear();
    edge.until("the answer is whole", |_| peer.is_closed());
    assert!(peer.received() == pattern(ALL) && !peer.was_reset());
    peer.close();
    edge.until_all_closed();
    let id = edge.id(0);
    assert!(matches!(edge.log().life(id).reason(), Reason::Local));
    edge.end();
}

// X6: before anything was written, and when the system has a part of it.
fn an_abort_is_a_reset(on: On) {
    for (bytes, flushed) in [(777, false), (3 << 20, true)] {
        let mut edge = on.edge(default);
        let addr = edge.listen_with(|listen| listen.send_buffer(SMALL));
        let peer = edge.small_peer(&addr);
        edge.until_open(1);
        let id = edge.id(0);
        if flushed {
            peer.ignore();
        }
        edge.cx().send(id, pattern(bytes));
        if flushed {
            // A record of TLS is pending until all of it is out.
            edge.until("a part of it is out", |edge| {
                edge.cx().pending(id) < bytes || on.is_under()
            });
            edge.pass(Duration::from_millis(2));
        }
        let pending = edge.cx().pending(id);
        assert!(pending > 0 && edge.cx().abort(id) && !edge.cx().abort(id));
        assert_eq!(edge.cx().pending(id), 0);
        assert_eq!(edge.cx().send(id, "x"), Sent::Gone);
        edge.until_all_closed();
        peer.hear();
        edge.until("the peer is reset", |_| {
            peer.was_reset() || on.is_unix() && peer.is_closed()
        });
        assert!(flushed || peer.count() == 0);
        let life = edge.log().life(id);
        assert_eq!(life.callbacks, ["open", "close"]);
        let closed = life.closed.as_ref().unwrap();
        assert!(matches!(closed.reason, Reason::Aborted));
        assert_eq!(closed.undelivered, pending as u64);
        edge.end();
    }
}

// X7
fn closing_twice_in_any_way_is_closing_once(on: On) {
    type End = fn(&mut Context, ConnId) -> bool;
    let ways: [(End, End, bool, &str); 6] = [
        (Context::close, Context::close, false, "Local"),
        (Context::close, Context::abort, true, "Aborted"),
        (Context::abort, Context::close, false, "Aborted"),
        (Context::abort, Context::abort, false, "Aborted"),
        (Context::shutdown_write, Context::close, true, "Local"),
        (Context::close, Context::shutdown_write, false, "Local"),
    ];
    let mut opened = 0;
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Open { conn, .. } => {
            let (first, second, answer, _) = ways[opened];
            opened += 1;
            cx.send(conn, pattern(100_000));
            assert!(first(cx, conn));
            assert_eq!(second(cx, conn), answer);
            assert!(!cx.close(conn));
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peers: Vec<_> = ways
        .iter()
        .enumerate()
        .map(|(index, _)| {
            let peer = edge.small_peer(&addr);
            edge.until_open(index + 1);
            peer
        })
        .collect();
    edge.until("all have their end", |_| {
        peers.iter().all(|peer| peer.is_closed())
    });
    peers.iter().for_each(|peer| peer.close());
    edge.until_all_closed();
    for (index, (peer, way)) in peers.iter().zip(ways).enumerate() {
        let id = edge.id(index);
        let life = edge.log().life(id);
        assert_eq!(format!("{:?}", life.reason()), way.3);
        assert_eq!(life.callbacks, ["open", "close"]);
        let aborted = way.3 == "Aborted";
        assert_eq!(life.closed.as_ref().unwrap().undelivered > 0, aborted);
        assert_eq!(peer.was_reset(), aborted && !on.is_unix());
    }
    edge.end();
}

/// Two ends of a Unix connection, both of them the handler's: who connected, and who accepted.
fn unix_pair(edge: &mut Edge) -> (ConnId, ConnId) {
    let place = Addr::unix(unix_path());
    edge.listen_on(place.clone());
    let conn = edge.connect(place);
    edge.until_open(2);
    let other = edge.log().ids.iter().copied().find(|id| *id != conn);
    (conn, other.unwrap())
}

// X6: a Unix socket has no RST, but one that is closed with unread input tells the other end
// (unix_release_sock() in af_unix.c).
fn an_abort_of_a_unix_socket_is_an_end_unless_input_is_unread(on: On) {
    if !on.has_unix() {
        return;
    }
    for unread in [false, true] {
        let mut edge = on.edge(default);
        let (conn, other) = unix_pair(&mut edge);
        edge.cx().pause_reads(conn);
        edge.cx().send(conn, "last words");
        if unread {
            edge.cx().send(other, "unread");
        }
        edge.until("they are there", |edge| {
            edge.log().life(other).received == b"last words" && edge.cx().pending(other) == 0
        });
        edge.cx().abort(conn);
        edge.until_all_closed();
        let reason = format!("{:?}", edge.log().life(other).reason());
        assert_eq!(reason, if unread { "Reset" } else { "Eof" });
        edge.end();
    }
}

// W4: and what is written after that fails at once, so all of it counts as undelivered.
fn a_write_to_a_unix_socket_that_is_gone_fails_at_once(on: On) {
    if !on.has_unix() {
        return;
    }
    let mut config = Config::default();
    config.limits.linger_time = Duration::ZERO;
    let mut edge = on.edge_with(config, |cx, event| match event {
        EventKind::Eof { .. } => {}
        other => default(cx, other),
    });
    let (conn, other) = unix_pair(&mut edge);
    edge.cx().close(conn);
    edge.until("the end comes", |edge| {
        edge.log().life(other).count("eof") == 1
    });
    edge.cx().send(other, "to nobody");
    edge.until_all_closed();
    let closed = edge.log().life(other).closed.as_ref().unwrap();
    assert!(matches!(closed.reason, Reason::Reset), "{closed:?}");
    assert_eq!(closed.undelivered, 9);
    edge.end();
}
