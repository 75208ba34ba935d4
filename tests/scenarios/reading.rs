//! Reading: R1 to R8, F6.

use crate::kit::edge::{Edge, On, on_both_edges};
use crate::kit::{default, pattern};
use sockeye::{Config, ConnId, EventKind, Hold, Reason, Sent};
use std::time::Duration;

on_both_edges! {
    data_then_an_end_gives_all_data_first,
    data_then_a_reset_gives_all_data_first,
    a_half_closed_peer_gets_a_long_answer_whole,
    a_reset_is_no_end,
    a_peer_that_closes_with_unread_input_resets,
    stopping_at_a_budget_loses_nothing,
    resuming_delivers_what_the_kernel_holds,
    resuming_offers_what_was_left_over,
    a_pause_in_on_data_holds_at_once_and_the_end_waits_too,
    a_paused_connection_whose_peer_closes_does_not_spin,
    a_paused_connection_whose_peer_resets_does_not_spin,
    a_pause_does_not_hide_for_ever_that_the_peer_is_gone,
    a_write_that_fails_in_a_pause_is_not_hidden_for_ever,
    one_byte_at_a_time_gives_the_same_lines,
    reads_go_on_when_the_last_reason_to_pause_is_gone,
}

/// A reactor with a receive buffer of 4 KiB.
fn small_buffer() -> Config {
    let mut config = Config::default();
    config.receive_buffer = 4096;
    config
}

fn opened(edge: &mut Edge, peer: &str) -> ConnId {
    edge.until("it is open", |edge| edge.log().count("open") > 0);
    assert_eq!(edge.log().count("close"), 0, "{peer}");
    edge.id(0)
}

// R1
fn data_then_an_end_gives_all_data_first(on: On) {
    for size in [0, 1, 4095, 4096, 4097, 40_960, 300_000] {
        let mut edge = on.edge_with(small_buffer(), default);
        let addr = edge.listen();
        let peer = edge.peer(&addr);
        peer.send(pattern(size));
        peer.shutdown();
        edge.until_open(1);
        edge.until_all_closed();
        let id = edge.id(0);
        let life = edge.log().life(id);
        assert!(life.received == pattern(size), "{size}");
        assert!(life.callbacks.ends_with(&["eof", "close"]));
        assert!(matches!(life.reason(), Reason::Eof));
    }
}

// R1, R3
fn data_then_a_reset_gives_all_data_first(on: On) {
    for size in [1, 4096, 20_480] {
        let mut edge = on.edge_with(small_buffer(), default);
        let addr = edge.listen();
        let peer = edge.peer(&addr);
        let id = opened(&mut edge, "nobody said anything");
        edge.cx().pause_reads(id);
        peer.send(pattern(size));
        edge.until("it is on its way", |_| peer.unsent() == 0);
        edge.pass(Duration::from_millis(1));
        peer.reset();
        edge.pass(Duration::from_millis(5));
        assert_eq!(edge.log().life(id).callbacks, ["open"]);
        edge.cx().resume_reads(id);
        edge.until_all_closed();
        let life = edge.log().life(id);
        assert!(life.received == pattern(size), "{size}");
        assert!(matches!(life.reason(), Reason::Reset));
        assert_eq!(life.count("eof"), 0);
    }
}

// R2
fn a_half_closed_peer_gets_a_long_answer_whole(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Eof { conn, .. } => {
            assert_eq!(cx.send(conn, pattern(1 << 20)), Sent::Wait);
            cx.close(conn);
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.small_peer(&addr);
    peer.send("ask");
    peer.shutdown();
    edge.until("the answer is whole", |_| peer.is_closed());
    assert!(peer.received() == pattern(1 << 20) && !peer.was_reset());
    edge.until_all_closed();
    let id = edge.id(0);
    let life = edge.log().life(id);
    assert_eq!(
        (life.received.as_slice(), life.count("eof")),
        (&b"ask"[..], 1)
    );
    assert!(life.closed.as_ref().unwrap().is_clean());
    edge.end();
}

// R3
fn a_reset_is_no_end(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    let id = opened(&mut edge, "it only connects");
    peer.reset();
    edge.until_all_closed();
    let life = edge.log().life(id);
    assert_eq!(life.callbacks, ["open", "close"]);
    assert!(matches!(life.reason(), Reason::Reset));
    edge.end();
}

// R3: so it is with close(2) of a socket that holds unread bytes (RFC 2525, section 2.17).
fn a_peer_that_closes_with_unread_input_resets(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    let id = opened(&mut edge, "nobody said anything");
    peer.ignore();
    edge.cx().send(id, "never read");
    edge.until("it is on its way", |edge| edge.cx().pending(id) == 0);
    edge.pass(Duration::from_millis(5));
    peer.close();
    edge.until_all_closed();
    let life = edge.log().life(id);
    assert_eq!(life.callbacks, ["open", "close"]);
    assert!(matches!(life.reason(), Reason::Reset));
    edge.end();
}

// R4
fn stopping_at_a_budget_loses_nothing(on: On) {
    let mut config = small_buffer();
    config.reads_per_turn = 1;
    let mut edge = on.edge_with(config, default);
    let addr = edge.listen();
    let peers = [edge.peer(&addr), edge.peer(&addr)];
    edge.until_open(2);
    let bytes = pattern(256 * 1024);
    peers.iter().for_each(|peer| peer.send(&bytes));
    edge.until("all has come", |edge| {
        let lives = edge.log().lives.iter();
        lives.map(|(_, life)| life.received.len()).sum::<usize>() == 2 * bytes.len()
    });
    for index in 0..2 {
        let id = edge.id(index);
        assert!(edge.log().life(id).received == bytes);
    }
    edge.end();
}

// R5
fn resuming_delivers_what_the_kernel_holds(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    let id = opened(&mut edge, "nobody said anything");
    assert!(edge.cx().pause_reads(id) && !edge.cx().wants_input(id));
    peer.send("hello");
    edge.pass(Duration::from_millis(5));
    assert_eq!(edge.log().life(id).callbacks, ["open"]);
    edge.cx().resume_reads(id);
    edge.until("it comes", |edge| edge.log().life(id).received == b"hello");
    edge.end();
}

// R5
fn resuming_offers_what_was_left_over(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Data { conn, input } => {
            // Two bytes at a time, then a pause.
            if input.len() >= 2 {
                cx.send(conn, input.take(2));
                cx.pause_reads(conn);
            }
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    peer.send("abcdef");
    for count in [2, 4, 6] {
        edge.until("two more are answered", |_| peer.count() == count);
        edge.pass(Duration::from_millis(3));
        assert_eq!(peer.count(), count);
        let id = edge.id(0);
        edge.cx().resume_reads(id);
    }
    assert_eq!(peer.received(), b"abcdef");
    edge.end();
}

// R6
fn a_pause_in_on_data_holds_at_once_and_the_end_waits_too(on: On) {
    let mut edge = on.edge_with(small_buffer(), |cx, event| match event {
        EventKind::Data { conn, input } => {
            input.take_all();
            cx.pause_reads(conn);
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    peer.send(pattern(10_000));
    peer.shutdown();
    let mut data = 0;
    while edge.log().count("eof") == 0 {
        data += 1;
        edge.until("one more callback", |edge| {
            edge.log().count("data") == data || edge.log().count("eof") == 1
        });
        edge.pass(Duration::from_millis(3));
        assert!(edge.log().count("data") <= data);
        let id = edge.id(0);
        edge.cx().resume_reads(id);
    }
    edge.until_all_closed();
    let id = edge.id(0);
    assert!(edge.log().life(id).received == pattern(10_000));
    assert!(edge.log().life(id).count("data") >= 3);
    edge.end();
}

// R7
fn a_paused_connection_whose_peer_closes_does_not_spin(on: On) {
    paused(on, false);
}

// R7
fn a_paused_connection_whose_peer_resets_does_not_spin(on: On) {
    paused(on, true);
}

fn paused(on: On, reset: bool) {
    let mut edge = on.edge(default);
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    let id = opened(&mut edge, "nobody said anything");
    edge.cx().pause_reads(id);
    match reset {
        true => peer.reset(),
        false => peer.close(),
    }
    assert!(edge.turns_at_rest() <= 20);
    assert_eq!(edge.log().life(id).callbacks, ["open"]);
    edge.cx().resume_reads(id);
    edge.until_all_closed();
    match (reset, edge.log().life(id).reason()) {
        (true, Reason::Reset) | (false, Reason::Eof) => {}
        (_, reason) => panic!("{reason}"),
    }
    edge.end();
}

// J4
fn a_pause_does_not_hide_for_ever_that_the_peer_is_gone(on: On) {
    gone_in_a_pause(on, |_, _| {});
}

// J4
fn a_write_that_fails_in_a_pause_is_not_hidden_for_ever(on: On) {
    gone_in_a_pause(on, |edge, id| {
        edge.cx().send(id, "progress");
    });
}

fn gone_in_a_pause(on: On, say: impl Fn(&mut Edge, ConnId)) {
    let mut config = Config::default();
    config.limits.write_stall = Duration::from_millis(60);
    let mut edge = on.edge_with(config, default);
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    let id = opened(&mut edge, "nobody said anything");
    edge.cx().pause_reads(id);
    // An end alone tells nothing: who sent it may well wait for an answer.
    let other = edge.peer(&addr);
    edge.until_open(2);
    let half_closed = edge.id(1);
    edge.cx().pause_reads(half_closed);
    other.shutdown();
    peer.send("never read");
    edge.pass(Duration::from_millis(5));
    let start = edge.now();
    peer.reset();
    edge.pass(Duration::from_millis(5));
    say(&mut edge, id);
    edge.until("it is told", |edge| edge.log().is_closed(id));
    assert!(edge.now() - start >= Duration::from_millis(60));
    let life = edge.log().life(id);
    assert_eq!(life.callbacks, ["open", "close"]);
    assert!(matches!(life.reason(), Reason::Reset), "{life:?}");
    edge.pass(Duration::from_millis(200));
    assert!(edge.cx().is_open(half_closed));
    edge.cx().resume_reads(half_closed);
    edge.until_all_closed();
    edge.end();
}

// R8
fn one_byte_at_a_time_gives_the_same_lines(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Data { conn, input } => {
            while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
                cx.send(conn, ("> ", input.take(end + 1)));
            }
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    for byte in b"one\ntwo\n\nthree\n" {
        peer.send([*byte]);
        edge.pass(Duration::from_micros(300));
    }
    let answer = b"> one\n> two\n> \n> three\n";
    edge.until("all are answered", |_| peer.count() == answer.len());
    assert_eq!(peer.received(), answer);
    edge.end();
}

// F6
fn reads_go_on_when_the_last_reason_to_pause_is_gone(on: On) {
    const FLOOD: Hold = Hold::new(0);
    const LOGIN: Hold = Hold::new(6);
    let mut edge = on.edge(default);
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    let conn = opened(&mut edge, "peer");
    let cx = edge.cx();
    assert!(cx.pause_reads(conn) && cx.pause_reads_for(conn, FLOOD));
    // Twice for one reason is once.
    assert!(cx.pause_reads_for(conn, LOGIN) && cx.pause_reads_for(conn, LOGIN));
    peer.send("hello");
    peer.shutdown();
    type Resume = fn(&mut sockeye::Context, ConnId) -> bool;
    let steps: [Resume; 4] = [
        |cx, conn| cx.resume_reads_for(conn, LOGIN),
        // A reason that is none any more lifts no other.
        |cx, conn| cx.resume_reads_for(conn, LOGIN),
        |cx, conn| cx.resume_reads(conn),
        |cx, conn| cx.resume_reads(conn),
    ];
    for step in steps {
        assert!(step(edge.cx(), conn));
        edge.pass(Duration::from_millis(2));
        assert_eq!(edge.log().life(conn).callbacks, ["open"]);
        assert!(edge.cx().is_paused(conn) && !edge.cx().wants_input(conn));
    }
    assert!(edge.cx().resume_reads_for(conn, FLOOD));
    assert!(!edge.cx().is_paused(conn));
    edge.until_all_closed();
    let life = edge.log().life(conn);
    assert!(life.callbacks.ends_with(&["data", "eof", "close"]));
    assert_eq!(life.received, b"hello");
    assert!(!edge.cx().pause_reads_for(conn, FLOOD) && !edge.cx().is_paused(conn));
    edge.end();
}
