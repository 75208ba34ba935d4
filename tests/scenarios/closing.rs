//! Closing and identity: X1 to X11.

use crate::kit::edge::{Edge, On, on_both_edges};
use crate::kit::{Life, default, echo, pattern, slot_of, unix_path};
use sockeye::{Config, ConnId, EventKind, Listen, Reason, Sent};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

on_both_edges! {
    closing_oneself_in_any_callback_gives_one_on_close_and_no_more,
    closing_another_of_the_same_batch_silences_it,
    a_stale_id_reaches_no_later_owner_of_its_slot,
    a_close_sends_all_that_is_queued_and_then_the_end,
    a_peer_that_never_reads_is_given_up_after_a_close,
    a_close_with_unread_input_does_not_kill_the_answer,
    a_close_while_the_peer_is_sending_does_not_kill_the_answer,
    a_peer_that_never_ends_is_not_waited_for_without_end,
    those_who_linger_give_way_at_the_cap,
    an_abort_is_a_reset,
    an_abort_of_a_unix_socket_is_an_end_unless_input_is_unread,
    a_write_to_a_unix_socket_that_is_gone_fails_at_once,
    closing_twice_in_any_way_is_closing_once,
    after_shutdown_write_the_peers_end_is_awaited,
    what_does_not_end_within_the_grace_is_aborted,
    finishing_says_goodbye_to_everybody,
    a_close_while_paused_or_flushing_is_reported,
}

const SMALL: usize = 8 * 1024;

// X1
fn closing_oneself_in_any_callback_gives_one_on_close_and_no_more(on: On) {
    for which in ["open", "data", "drain", "eof", "deadline", "finish"] {
        let mut config = Config::default();
        config.receive_buffer = 16;
        let mut edge = on.edge_with(config, move |cx, event| match event {
            EventKind::Open { conn, .. } if which == "open" => drop(cx.close(conn)),
            EventKind::Open { conn, .. } if which == "drain" => {
                assert_eq!(cx.send(conn, pattern(100_000)), Sent::Wait);
            }
            EventKind::Open { conn, .. } if which == "deadline" => {
                cx.set_deadline(conn, 0, Duration::from_millis(2));
                cx.pause_reads(conn);
            }
            EventKind::Data { conn, .. } if which == "data" => drop(cx.close(conn)),
            EventKind::Drain { conn } => drop(cx.close(conn)),
            EventKind::Eof { .. } if which == "drain" => {}
            other => default(cx, other),
        });
        let addr = edge.listen();
        let peer = edge.peer(&addr);
        if which != "finish" {
            peer.send(pattern(100));
            peer.shutdown();
        }
        edge.until_open(1);
        if which == "finish" {
            edge.cx().finish(Duration::from_secs(20));
        }
        edge.until_all_closed();
        edge.until("the peer has its end", |_| peer.is_closed());
        let id = edge.id(0);
        let life = edge.log().life(id);
        let before_last = life.callbacks[life.callbacks.len() - 2];
        assert_eq!(before_last, which, "{life:?}");
        assert_eq!(life.count(which), 1);
    }
}

// X2
fn closing_another_of_the_same_batch_silences_it(on: On) {
    let ids: Rc<RefCell<Vec<ConnId>>> = Rc::default();
    let known = ids.clone();
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Open { conn, .. } => known.borrow_mut().push(conn),
        EventKind::Data { conn, .. } => {
            // Whoever is heard first silences all others.
            let others = known.borrow().clone();
            for other in others.into_iter().filter(|other| *other != conn) {
                cx.abort(other);
            }
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peers: Vec<_> = (0..4).map(|_| edge.peer(&addr)).collect();
    edge.until_open(4);
    peers.iter().for_each(|peer| peer.send("me first"));
    edge.until("three are gone", |edge| edge.log().closed() == 3);
    edge.pass(Duration::from_millis(3));
    let heard = |(_, life): &(ConnId, &Life)| life.count("data") > 0;
    assert_eq!(edge.log().lives.iter().filter(heard).count(), 1);
    // Their slots have new owners; the old ids reach nobody.
    let new: Vec<_> = (0..4).map(|_| edge.peer(&addr)).collect();
    edge.until_open(8);
    let old: Vec<ConnId> = ids.borrow()[..4].to_vec();
    let alive = |edge: &mut Edge| {
        let open = old.iter().filter(|id| edge.cx().is_open(**id));
        open.count()
    };
    assert_eq!(alive(&mut edge), 1);
    for id in &old {
        if !edge.cx().is_open(*id) {
            assert_eq!(edge.cx().send(*id, "to nobody"), Sent::Gone);
            assert!(!edge.cx().close(*id) && !edge.cx().abort(*id));
        }
    }
    edge.pass(Duration::from_millis(3));
    assert!(
        new.iter()
            .all(|peer| peer.count() == 0 && !peer.is_closed())
    );
    edge.end();
}

// X3
fn a_stale_id_reaches_no_later_owner_of_its_slot(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen();
    for round in 1..=100 {
        let peer = edge.peer(&addr);
        edge.until_open(round);
        peer.close();
        edge.until_all_closed();
    }
    let old = edge.log().ids.clone();
    let slots: std::collections::HashSet<_> = old.iter().map(|id| slot_of(*id)).collect();
    assert!(slots.len() <= 2, "slots are used again: {slots:?}");
    let peer = edge.peer(&addr);
    edge.until_open(101);
    let new = edge.id(100);
    for id in old {
        assert_eq!(edge.cx().send(id, "to nobody"), Sent::Gone);
        assert!(!edge.cx().close(id) && !edge.cx().abort(id) && !edge.cx().pause_reads(id));
    }
    edge.cx().send(new, "to you");
    edge.until("it comes", |_| peer.count() == 6);
    assert!(edge.cx().is_open(new));
    edge.end();
}

// X4
fn a_close_sends_all_that_is_queued_and_then_the_end(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen_on(Listen::new("127.0.0.1:0").send_buffer(SMALL));
    let peer = edge.small_peer(&addr);
    peer.ignore();
    edge.until_open(1);
    let id = edge.id(0);
    edge.cx().send(id, pattern(300_000));
    assert!(edge.cx().close(id) && !edge.cx().is_open(id));
    edge.pass(Duration::from_millis(3));
    assert_eq!(edge.log().closed(), 0);
    peer.hear();
    edge.until("it is over", |edge| {
        edge.log().closed() == 1 && peer.is_closed()
    });
    assert!(peer.received() == pattern(300_000) && !peer.was_reset());
    assert!(edge.log().life(id).closed.as_ref().unwrap().is_clean());
    edge.end();
}

// X4
fn a_peer_that_never_reads_is_given_up_after_a_close(on: On) {
    let mut config = Config::default();
    config.limits.close_flush = Duration::from_millis(40);
    let mut edge = on.edge_with(config, default);
    let addr = edge.listen_on(Listen::new("127.0.0.1:0").send_buffer(SMALL));
    let peer = edge.small_peer(&addr);
    peer.ignore();
    edge.until_open(1);
    let id = edge.id(0);
    edge.cx().send(id, pattern(300_000));
    let start = edge.now();
    edge.cx().close(id);
    edge.until_all_closed();
    assert!(edge.now() - start >= Duration::from_millis(40));
    let closed = edge.log().life(id).closed.as_ref().unwrap();
    assert!(matches!(closed.reason, Reason::TimedOut(_)));
    assert!(closed.undelivered > 100_000);
    peer.hear();
    edge.until("the peer must not take it for the whole", |_| {
        peer.was_reset()
    });
    edge.end();
}

// X5
fn a_close_with_unread_input_does_not_kill_the_answer(on: On) {
    let mut config = Config::default();
    config.receive_buffer = 1000;
    let mut edge = on.edge_with(config, |cx, event| match event {
        EventKind::Data { conn, .. } => {
            cx.send(conn, pattern(5000));
            cx.close(conn);
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    peer.ignore();
    peer.send(pattern(20_000));
    edge.until("all is on its way", |edge| {
        peer.unsent() == 0 && edge.log().count("data") == 1
    });
    edge.pass(Duration::from_millis(3));
    peer.send("still talking");
    edge.pass(Duration::from_millis(3));
    peer.hear();
    edge.until("the answer is whole", |_| {
        peer.count() == 5000 && peer.is_closed()
    });
    assert!(!peer.was_reset());
    // It lingers until the peer has sent its end, too.
    assert_eq!(edge.log().closed(), 0);
    peer.close();
    edge.until_all_closed();
    let id = edge.id(0);
    assert!(matches!(edge.log().life(id).reason(), Reason::Local));
    edge.end();
}

// J3: nothing is unread when it closes, and the peer has more to send.
fn a_close_while_the_peer_is_sending_does_not_kill_the_answer(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Data { conn, input } => {
            input.take_all();
            cx.send(conn, pattern(50_000));
            cx.close(conn);
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    peer.ignore();
    for _ in 0..10 {
        peer.send("a part of an upload");
        edge.pass(Duration::from_millis(2));
    }
    assert_eq!(edge.log().closed(), 0, "it lingers");
    peer.hear();
    edge.until("the answer is whole", |_| {
        peer.count() == 50_000 && peer.is_closed()
    });
    assert!(!peer.was_reset());
    peer.close();
    edge.until_all_closed();
    edge.end();
}

// J3
fn a_peer_that_never_ends_is_not_waited_for_without_end(on: On) {
    let mut config = Config::default();
    config.limits.linger_silence = Duration::from_millis(60);
    let mut edge = on.edge_with(config, default);
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    edge.until_open(1);
    let start = edge.now();
    let id = edge.id(0);
    edge.cx().close(id);
    edge.pass(Duration::from_millis(30));
    peer.send("one more word");
    edge.until_all_closed();
    assert!(edge.now() - start >= Duration::from_millis(90));
    assert!(peer.is_closed() && !peer.was_reset());
    edge.end();
}

// X12
fn those_who_linger_give_way_at_the_cap(on: On) {
    let mut config = Config::default();
    config.max_connections = 2;
    let mut edge = on.edge_with(config, |cx, event| match event {
        EventKind::Open { conn, .. } => {
            cx.send(conn, "hello");
            cx.close(conn);
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peers: Vec<_> = (0..10)
        .map(|count| {
            let peer = edge.peer(&addr);
            edge.until("it is greeted", |_| peer.is_closed());
            assert_eq!(peer.received(), b"hello");
            assert_eq!(edge.log().count("open"), count + 1);
            peer
        })
        .collect();
    edge.until("all but two gave way", |edge| edge.log().closed() == 8);
    assert!(peers.iter().all(|peer| !peer.was_reset()));
    peers.iter().for_each(|peer| peer.close());
    edge.until_all_closed();
    edge.end();
}

// X6
fn an_abort_is_a_reset(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    edge.until_open(1);
    let id = edge.id(0);
    edge.cx().send(id, pattern(777));
    assert!(edge.cx().abort(id) && !edge.cx().abort(id));
    edge.until_all_closed();
    edge.until("the peer is reset", |_| peer.was_reset());
    assert_eq!(peer.count(), 0);
    let closed = edge.log().life(id).closed.as_ref().unwrap();
    assert!(matches!(closed.reason, Reason::Aborted));
    assert_eq!(closed.undelivered, 777);
    edge.end();
}

/// Two ends of a Unix connection, both of them the handler's: who connected, and who accepted.
fn unix_pair(edge: &mut Edge) -> (ConnId, ConnId) {
    let place = sockeye::Addr::unix(unix_path());
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

// X7
fn closing_twice_in_any_way_is_closing_once(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen();
    let peers: Vec<_> = (0..3).map(|_| edge.peer(&addr)).collect();
    edge.until_open(3);
    let (a, b, c) = (edge.id(0), edge.id(1), edge.id(2));
    let cx = edge.cx();
    assert!(cx.close(a) && !cx.close(a) && cx.abort(a) && !cx.abort(a));
    assert!(cx.close(b) && !cx.shutdown_write(b) && !cx.close(b));
    assert!(cx.shutdown_write(c) && cx.shutdown_write(c) && cx.close(c) && !cx.close(c));
    edge.until_all_closed();
    edge.until("all have their end", |_| {
        peers.iter().all(|peer| peer.is_closed())
    });
    assert!(peers[0].was_reset() && !peers[1].was_reset() && !peers[2].was_reset());
    edge.end();
}

// X8
fn after_shutdown_write_the_peers_end_is_awaited(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Eof { .. } => {}
        other => default(cx, other),
    });
    let addr = edge.listen_on(Listen::new("127.0.0.1:0").send_buffer(SMALL));
    let peer = edge.small_peer(&addr);
    edge.until_open(1);
    let id = edge.id(0);
    edge.cx().send(id, pattern(100_000));
    edge.cx().shutdown_write(id);
    edge.until("the end follows the last byte", |_| peer.is_closed());
    assert!(peer.received() == pattern(100_000));
    edge.pass(Duration::from_millis(3));
    assert_eq!(edge.log().closed(), 0);
    peer.send("thanks");
    peer.shutdown();
    edge.until_all_closed();
    let life = edge.log().life(id);
    assert_eq!(life.received, b"thanks");
    assert!(matches!(life.reason(), Reason::Eof));
    edge.end();
}

// X10
fn what_does_not_end_within_the_grace_is_aborted(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Finish { .. } => {}
        other => echo(cx, other),
    });
    let addr = edge.listen();
    let peers = [edge.peer(&addr), edge.peer(&addr)];
    edge.until_open(2);
    let start = edge.now();
    edge.cx().finish(Duration::from_millis(60));
    edge.until("both are told", |edge| edge.log().count("finish") == 2);
    peers[0].send("still here?");
    edge.until("it is", |_| peers[0].count() == 11);
    peers[0].shutdown();
    edge.until_all_closed();
    assert!(edge.now() - start >= Duration::from_millis(60));
    edge.until("the other is reset", |_| peers[1].was_reset());
    let reasons = [edge.id(0), edge.id(1)].map(|id| edge.log().life(id).reason().to_string());
    assert!(reasons.contains(&Reason::Eof.to_string()));
    assert!(reasons.contains(&Reason::Finished.to_string()));
    let late = edge.peer(&addr);
    edge.until("nobody listens", |_| late.was_reset());
    edge.end();
}

// X10
fn finishing_says_goodbye_to_everybody(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Finish { conn } => {
            cx.send(conn, "goodbye");
            cx.close(conn);
        }
        other => echo(cx, other),
    });
    let addr = edge.listen();
    let peers: Vec<_> = (0..5).map(|_| edge.peer(&addr)).collect();
    edge.until_open(5);
    edge.cx().finish(Duration::from_secs(20));
    edge.until("all have left", |_| {
        peers.iter().all(|peer| peer.is_closed())
    });
    assert!(
        peers
            .iter()
            .all(|peer| peer.received() == b"goodbye" && !peer.was_reset())
    );
    edge.until("all are told", |edge| edge.log().closed() == 5);
    edge.end();
}

// X11
fn a_close_while_paused_or_flushing_is_reported(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen_on(Listen::new("127.0.0.1:0").send_buffer(SMALL));
    let peers = [edge.peer(&addr), edge.small_peer(&addr)];
    edge.until_open(2);
    let (paused, flushing) = (edge.id(0), edge.id(1));
    edge.cx().pause_reads(paused);
    peers[1].ignore();
    edge.cx().send(flushing, pattern(100_000));
    edge.pass(Duration::from_millis(2));
    assert!(edge.cx().close(paused) && edge.cx().close(flushing));
    edge.until("the first is over", |edge| edge.log().is_closed(paused));
    assert!(edge.cx().abort(flushing));
    edge.until_all_closed();
    // The first error wins, and an abort is none that `close` had before.
    assert!(matches!(
        edge.log().life(flushing).reason(),
        Reason::Aborted
    ));
    edge.end();
}
