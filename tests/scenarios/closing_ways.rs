//! The ways in which a connection ends: X5, X8, X11, X12, J3.

use crate::kit::edge::{Edge, On};
use crate::kit::{default, pattern};
use crate::{on_both_edges, on_every_edge};
use sockeye::{Config, ConnId, EventKind, Reason, Sent};
use std::time::Duration;

on_both_edges! {
    a_close_while_connecting_delivers_what_was_sent_before_it,
    what_is_pending_when_a_connect_is_closed_is_bound_by_its_timeout,
}

on_every_edge! {
    a_close_with_unread_input_does_not_kill_the_answer,
    a_close_while_the_peer_is_sending_does_not_kill_the_answer,
    a_close_lets_the_peer_finish_although_its_own_bytes_are_not_out,
    a_peer_that_never_ends_is_not_waited_for_without_end,
    a_peer_that_never_stops_sending_is_not_waited_for_without_end,
    those_who_linger_give_way_at_the_cap,
    after_shutdown_write_the_peers_end_is_awaited,
    a_shutdown_after_the_peers_end_closes_promptly,
    a_close_while_paused_is_reported_whatever_the_peer_does,
    a_close_while_flushing_is_reported,
}

const SMALL: usize = 8 * 1024;

/// All are closed, the first one for the reason that `close` gives.
#[track_caller]
fn closed_here(edge: &mut Edge) {
    edge.until_all_closed();
    let id = edge.id(0);
    let reason = edge.log().life(id).reason();
    assert!(matches!(reason, Reason::Local), "{reason}");
}

// X5: the system has the whole answer, and the peer reads it only after the close.
fn a_close_with_unread_input_does_not_kill_the_answer(on: On) {
    const ANSWER: usize = 50_000;
    let mut config = Config::default();
    config.receive_buffer = 1000;
    let mut edge = on.edge_with(config, |cx, event| match event {
        EventKind::Data { conn, .. } => {
            cx.send(conn, pattern(ANSWER));
            cx.close(conn);
        }
        other => default(cx, other),
    });
    let addr = edge.listen_with(|listen| listen.send_buffer(200_000));
    let peer = edge.peer(&addr);
    peer.ignore();
    edge.until_open(1);
    let id = edge.id(0);
    peer.send(pattern(20_000));
    edge.until("all is on its way", |edge| {
        peer.unsent() == 0 && edge.log().count("data") == 1 && edge.cx().pending(id) == 0
    });
    edge.pass(Duration::from_millis(3));
    peer.send("still talking");
    // Until all that came late is discarded.
    let mut discarded = None;
    while discarded != Some(edge.cx().stats().bytes_in) {
        discarded = Some(edge.cx().stats().bytes_in);
        edge.pass(Duration::from_millis(3));
    }
    peer.hear();
    edge.until("the answer is whole", |_| {
        peer.count() == ANSWER && peer.is_closed()
    });
    assert!(!peer.was_reset());
    // It lingers until the peer has sent its end, too, and costs nothing meanwhile.
    let turns = edge.turns_at_rest();
    assert!(turns <= 20 || on.is_faulty(), "a spin: {turns} turns");
    assert_eq!(edge.log().closed(), 0);
    peer.close();
    closed_here(&mut edge);
    assert_eq!(edge.log().life(id).callbacks, ["open", "data", "close"]);
    edge.end();
}

// J3: nothing is unread when it closes, and the peer has more to send.
fn a_close_while_the_peer_is_sending_does_not_kill_the_answer(on: On) {
    const ANSWER: usize = 200 << 10;
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Data { conn, input } => {
            input.take_all();
            cx.send(conn, pattern(ANSWER));
            cx.close(conn);
        }
        other => default(cx, other),
    });
    let addr = edge.listen_with(|listen| listen.send_buffer(1 << 20));
    let peer = edge.peer(&addr);
    peer.ignore();
    for _ in 0..10 {
        peer.send("a part of an upload");
        edge.pass(Duration::from_millis(2));
    }
    assert_eq!(edge.log().closed(), 0, "it lingers");
    peer.hear();
    edge.until("the answer is whole", |_| {
        peer.count() == ANSWER && peer.is_closed()
    });
    assert!(!peer.was_reset());
    peer.close();
    closed_here(&mut edge);
    edge.end();
}

// J3: a peer that reads only when it has sent all, and more than all buffers take.
fn a_close_lets_the_peer_finish_although_its_own_bytes_are_not_out(on: On) {
    const ANSWER: usize = 300_000;
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Data { conn, input } => {
            input.take_all();
            cx.send(conn, pattern(ANSWER));
            cx.close(conn);
        }
        other => default(cx, other),
    });
    let addr = edge.listen_with(|listen| listen.send_buffer(SMALL).receive_buffer(SMALL));
    let peer = edge.small_peer(&addr);
    peer.ignore();
    peer.send(vec![1; 2 << 20]);
    edge.until("all is sent", |_| peer.unsent() == 0);
    assert_eq!(edge.log().closed(), 0);
    peer.hear();
    edge.until("the answer is whole", |_| peer.is_closed());
    assert!(peer.received() == pattern(ANSWER) && !peer.was_reset());
    peer.close();
    closed_here(&mut edge);
    edge.end();
}

// J3: of silence.
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
    closed_here(&mut edge);
    assert!(edge.now() - start >= Duration::from_millis(90));
    assert!(peer.is_closed() && !peer.was_reset());
    edge.end();
}

// J3: in all.
fn a_peer_that_never_stops_sending_is_not_waited_for_without_end(on: On) {
    let mut config = Config::default();
    config.limits.linger_time = Duration::from_millis(50);
    config.receive_buffer = 1000;
    let mut edge = on.edge_with(config, |cx, event| match event {
        EventKind::Data { conn, .. } => drop(cx.close(conn)),
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    let start = edge.now();
    edge.until("it is over", |edge| {
        peer.send([7; 500]);
        edge.log().closed() == 1
    });
    assert!(edge.now() - start >= Duration::from_millis(50));
    closed_here(&mut edge);
    edge.end();
}

// X12: peers that never end.
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
    assert_eq!(edge.cx().stats().refused, 0);
    peers.iter().for_each(|peer| peer.close());
    closed_here(&mut edge);
    edge.end();
}

// X8
fn after_shutdown_write_the_peers_end_is_awaited(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Open { conn, .. } => {
            cx.send(conn, pattern(300_000));
            assert!(cx.shutdown_write(conn) && cx.shutdown_write(conn));
        }
        // No close: both sides are shut, so `on_close` comes by itself.
        EventKind::Eof { .. } => {}
        other => default(cx, other),
    });
    let addr = edge.listen_with(|listen| listen.send_buffer(SMALL));
    let peer = edge.small_peer(&addr);
    edge.until("the end follows the last byte", |_| peer.is_closed());
    assert!(peer.received() == pattern(300_000));
    edge.pass(Duration::from_millis(3));
    assert_eq!(edge.log().closed(), 0);
    peer.send("thanks");
    edge.until("it is heard", |edge| edge.log().count("data") > 0);
    peer.shutdown();
    edge.until_all_closed();
    let id = edge.id(0);
    let life = edge.log().life(id);
    assert_eq!(life.received, b"thanks");
    let mut names = life.callbacks.clone();
    names.retain(|name| *name != "drain");
    names.dedup();
    assert_eq!(names, ["open", "data", "eof", "close"]);
    assert!(life.closed.as_ref().unwrap().is_clean() && matches!(life.reason(), Reason::Eof));
    edge.end();
}

// X8
fn a_shutdown_after_the_peers_end_closes_promptly(on: On) {
    let mut shut = None;
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Eof { conn, .. } => {
            shut = Some(conn);
            cx.set_timer(Duration::from_millis(1), 0);
            cx.send(conn, pattern(100_000));
        }
        EventKind::Timer { .. } => assert!(cx.shutdown_write(shut.unwrap())),
        other => default(cx, other),
    });
    let addr = edge.listen_with(|listen| listen.send_buffer(SMALL));
    let peer = edge.small_peer(&addr);
    peer.shutdown();
    edge.until("the end follows the last byte", |_| peer.is_closed());
    assert!(peer.received() == pattern(100_000));
    let start = edge.now();
    edge.until("it is closed", |edge| edge.log().closed() == 1);
    assert!(edge.now() - start < Duration::from_secs(5), "it lingers");
    let id = edge.id(0);
    assert!(matches!(edge.log().life(id).reason(), Reason::Eof));
    edge.end();
}

// X11, C5
fn a_close_while_connecting_delivers_what_was_sent_before_it(on: On) {
    let mut edge = on.edge(default);
    let server = edge.server();
    let conn = edge.connect(server.addr());
    edge.cx().send(conn, "hello");
    assert!(edge.cx().close(conn) && !edge.cx().close(conn));
    let peer = edge.accept(&server);
    edge.until("it hears all", |_| peer.is_closed());
    assert_eq!(peer.received(), b"hello");
    peer.close();
    edge.until("it is closed", |edge| edge.log().is_closed(conn));
    let life = edge.log().life(conn);
    assert_eq!(life.callbacks, ["close"]);
    assert!(life.closed.as_ref().unwrap().is_clean(), "{life:?}");
    edge.end();
}

// X11, C3, C5
fn what_is_pending_when_a_connect_is_closed_is_bound_by_its_timeout(on: On) {
    let mut config = Config::default();
    config.limits.connect_timeout = Duration::from_millis(60);
    let mut edge = on.edge_with(config, default);
    let hole = edge.black_hole();
    let start = edge.now();
    let [plain, pending, aborted] = [0, 1, 2].map(|_| edge.connect(hole.clone()));
    edge.pass(Duration::from_millis(5));
    assert_eq!(edge.cx().send(pending, "hello"), Sent::Queued);
    assert!(edge.cx().close(plain) && edge.cx().close(pending) && edge.cx().abort(aborted));
    edge.until("two are over", |edge| {
        edge.log().is_closed(plain) && edge.log().is_closed(aborted)
    });
    edge.until("the last is given up", |edge| edge.log().is_closed(pending));
    assert!(edge.now() - start >= Duration::from_millis(60));
    let mut reason = |id: ConnId| format!("{:?}", edge.log().life(id).reason());
    assert_eq!(
        [reason(plain), reason(pending), reason(aborted)],
        ["Local", "ConnectTimedOut", "Aborted"]
    );
    let closed = edge.log().life(pending).closed.as_ref().unwrap();
    assert_eq!(closed.undelivered, 5);
    assert_eq!(edge.log().count("open"), 0);
    edge.end();
}

// X11
fn a_close_while_paused_is_reported_whatever_the_peer_does(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Open { conn, .. } => assert!(cx.pause_reads(conn)),
        other => default(cx, other),
    });
    let addr = edge.listen();
    for ending in 0..4 {
        let peer = edge.peer(&addr);
        edge.until_open(ending + 1);
        let id = edge.id(ending);
        match ending {
            0 => {}
            1 => peer.send("unread"),
            2 => peer.shutdown(),
            _ => peer.reset(),
        }
        edge.pass(Duration::from_millis(5));
        assert!(edge.cx().close(id));
        peer.close();
        edge.until("it is closed", |edge| edge.log().is_closed(id));
        assert_eq!(edge.log().life(id).callbacks, ["open", "close"]);
    }
    edge.end();
}

// X11
fn a_close_while_flushing_is_reported(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen_with(|listen| listen.send_buffer(SMALL));
    let peer = edge.small_peer(&addr);
    peer.ignore();
    edge.until_open(1);
    let id = edge.id(0);
    edge.cx().send(id, pattern(100_000));
    edge.pass(Duration::from_millis(2));
    assert!(edge.cx().close(id));
    edge.pass(Duration::from_millis(2));
    assert_eq!(edge.log().closed(), 0);
    // The first error wins, and an abort is none that `close` had before.
    assert!(edge.cx().abort(id));
    edge.until_all_closed();
    assert!(matches!(edge.log().life(id).reason(), Reason::Aborted));
    edge.end();
}
