//! Reading: R1 to R8, F6.

use crate::kit::edge::{Edge, On};
use crate::kit::{default, pattern};
use crate::{on_both_edges, on_every_edge};
use sockeye::{Config, ConnId, EventKind, Hold, Reason, Sent};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

on_every_edge! {
    data_then_an_end_gives_all_data_first,
    a_half_closed_peer_gets_a_long_answer_whole,
    a_half_closed_connection_that_stays_open_does_not_spin,
    stopping_at_a_budget_loses_nothing,
    resuming_delivers_what_the_kernel_holds,
    resuming_offers_what_was_left_over,
    a_pause_in_on_data_holds_at_once_and_the_end_waits_too,
    a_paused_connection_whose_peer_closes_does_not_spin,
    one_byte_at_a_time_gives_the_same_lines,
    reads_go_on_when_the_last_reason_to_pause_is_gone,
}

// Who closes a Unix socket resets nobody but by unread input.
on_both_edges! {
    data_then_a_reset_gives_all_data_first,
    a_reset_is_no_end,
    a_peer_that_closes_with_unread_input_resets,
    a_paused_connection_whose_peer_resets_does_not_spin,
    a_pause_does_not_hide_for_ever_that_the_peer_is_gone,
    a_write_that_fails_in_a_pause_is_not_hidden_for_ever,
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
        // It all waits before the loop looks, if there is room for it. (A session's tickets are
        // not read by a peer that has closed, and that is a reset.)
        match peer.unsent() {
            0 if !on.is_under() => peer.close(),
            _ => peer.shutdown(),
        }
        edge.until_open(1);
        edge.until_all_closed();
        let id = edge.id(0);
        let life = edge.log().life(id);
        assert!(life.received == pattern(size), "{size}");
        assert!(life.callbacks.ends_with(&["eof", "close"]));
        assert!(matches!(life.reason(), Reason::Eof));
        edge.end();
    }
}

// R1, R3: the loop looks behind a pause, or for the first time when all has happened.
fn data_then_a_reset_gives_all_data_first(on: On) {
    let sizes = [0, 1, 4095, 4096, 4097, 20_480].into_iter();
    for (size, known) in sizes.flat_map(|size| [(size, true), (size, false)]) {
        let mut edge = on.edge_with(small_buffer(), default);
        let addr = edge.listen();
        let peer = edge.peer(&addr);
        if known {
            let id = opened(&mut edge, "nobody said anything");
            edge.cx().pause_reads(id);
            peer.send(pattern(size));
            edge.until("it is on its way", |_| peer.unsent() == 0);
            edge.pass(Duration::from_millis(1));
            peer.reset();
            edge.pass(Duration::from_millis(5));
            assert_eq!(edge.log().life(id).callbacks, ["open"]);
            edge.cx().resume_reads(id);
        } else if on.is_real() {
            peer.send(pattern(size));
            peer.reset();
            edge.until_open(1);
        } else {
            // There a reset overtakes what is on its way.
            continue;
        }
        edge.until_all_closed();
        let id = edge.id(0);
        let life = edge.log().life(id);
        assert!(life.received == pattern(size), "{size}");
        assert!(matches!(life.reason(), Reason::Reset));
        assert_eq!(life.count("eof"), 0);
        edge.end();
    }
}

// R2
fn a_half_closed_peer_gets_a_long_answer_whole(on: On) {
    const SIZE: usize = 1 << 20;
    for shuts in [false, true] {
        let mut edge = on.edge(move |cx, event| match event {
            // It is left where it is, and offered again with the end.
            EventKind::Data { .. } => {}
            EventKind::Eof { conn, input } => {
                assert_eq!(&input[..], b"ask");
                assert_eq!(cx.send(conn, pattern(SIZE)), Sent::Wait);
                match shuts {
                    true => cx.shutdown_write(conn),
                    false => cx.close(conn),
                };
            }
            other => default(cx, other),
        });
        let addr = edge.listen();
        let peer = edge.small_peer(&addr);
        peer.send("ask");
        peer.shutdown();
        edge.until("the answer is whole", |_| peer.is_closed());
        assert!(peer.received() == pattern(SIZE) && !peer.was_reset());
        edge.until_all_closed();
        let id = edge.id(0);
        let life = edge.log().life(id);
        assert_eq!(life.count("eof"), 1);
        assert!(matches!(life.reason(), Reason::Eof), "{life:?}");
        assert!(life.closed.as_ref().unwrap().is_clean());
        edge.end();
    }
}

// R2
fn a_half_closed_connection_that_stays_open_does_not_spin(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Eof { .. } => {}
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    peer.shutdown();
    edge.until("its end comes", |edge| edge.log().count("eof") == 1);
    assert!(edge.turns_at_rest() <= 20 || on.is_faulty(), "it spins");
    // It still works in the other direction, also after a pause, and the end comes only once.
    let id = edge.id(0);
    edge.cx().pause_reads(id);
    edge.cx().resume_reads(id);
    edge.cx().send(id, "late");
    edge.cx().shutdown_write(id);
    edge.until("the answer comes", |_| peer.is_closed());
    assert_eq!(peer.received(), b"late");
    edge.until_all_closed();
    assert_eq!(edge.log().count("eof"), 1);
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

// R1, R4: beside a neighbour who is answered meanwhile.
fn stopping_at_a_budget_loses_nothing(on: On) {
    const SIZE: usize = 256 * 1024;
    let mut config = small_buffer();
    config.reads_per_turn = 1;
    let mut edge = on.edge_with(config, |cx, event| match event {
        // The neighbour's bytes come back; the flood's do not.
        EventKind::Data { conn, input } if input[..] == b"?"[..] => {
            cx.send(conn, input.take_all());
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let neighbour = edge.peer(&addr);
    let floods = [edge.peer(&addr), edge.peer(&addr)];
    edge.until_open(3);
    let bytes = pattern(SIZE);
    floods.iter().for_each(|flood| flood.send(&bytes));
    for count in 1..=20 {
        neighbour.send("?");
        edge.until("the neighbour is answered", |_| neighbour.count() == count);
    }
    edge.until("all has come", |edge| {
        let lives = edge.log().lives.iter();
        let whole = lives.filter(|(_, life)| life.received.len() == SIZE);
        whole.count() == 2
    });
    for id in edge.log().ids.clone() {
        let life = edge.log().life(id);
        if life.received.len() == SIZE {
            assert!(life.received == bytes);
            assert!(life.count("data") >= SIZE / 4096, "above its budget");
        }
    }
    edge.end();
}

/// Nothing comes, and the loop sleeps.
#[track_caller]
fn nothing_happens(on: On, edge: &mut Edge, id: ConnId) {
    let before = edge.log().life(id).callbacks.clone();
    assert!(edge.turns_at_rest() <= 20 || on.is_faulty(), "it spins");
    assert_eq!(edge.log().life(id).callbacks, before);
}

// R5
fn resuming_delivers_what_the_kernel_holds(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    let id = opened(&mut edge, "nobody said anything");
    // Twice: the edge is used up by the first.
    for (word, all) in [("hello", &b"hello"[..]), (" again", b"hello again")] {
        assert!(edge.cx().pause_reads(id) && !edge.cx().wants_input(id));
        peer.send(word);
        nothing_happens(on, &mut edge, id);
        edge.cx().resume_reads(id);
        edge.until("it comes", |edge| edge.log().life(id).received == all);
    }
    // A pause in which nothing comes, and one of no time.
    edge.cx().pause_reads(id);
    nothing_happens(on, &mut edge, id);
    edge.cx().resume_reads(id);
    edge.cx().pause_reads(id);
    edge.cx().resume_reads(id);
    nothing_happens(on, &mut edge, id);
    peer.send("!");
    edge.until("it comes", |edge| edge.log().life(id).received.len() == 12);
    edge.end();
}

// R5, R6: resumed from outside, and in a timer.
fn resuming_offers_what_was_left_over(on: On) {
    for by_timer in [false, true] {
        let seen: Rc<RefCell<Vec<String>>> = Rc::default();
        let (bites, mut paused) = (seen.clone(), None);
        let mut edge = on.edge(move |cx, event| match event {
            EventKind::Data { conn, input } => {
                bites
                    .borrow_mut()
                    .push(String::from_utf8_lossy(input).into());
                input.take(1);
                cx.pause_reads(conn);
                paused = Some(conn);
                if by_timer {
                    cx.set_timer(Duration::from_millis(1), 0);
                }
            }
            EventKind::Timer { .. } => drop(cx.resume_reads(paused.unwrap())),
            EventKind::Eof { conn, ref input } => {
                bites.borrow_mut().push(format!("{}.", input.len()));
                cx.close(conn);
            }
            other => default(cx, other),
        });
        let addr = edge.listen();
        let peer = edge.peer(&addr);
        let id = opened(&mut edge, "nobody said anything");
        // So that no fault cuts it.
        edge.cx().pause_reads(id);
        peer.send("abc");
        edge.until("it is on its way", |_| peer.unsent() == 0);
        edge.pass(Duration::from_millis(5));
        peer.shutdown();
        edge.cx().resume_reads(id);
        for count in 1..=4 {
            edge.until("the next bite", |_| seen.borrow().len() >= count);
            if !by_timer && count < 4 {
                edge.pass(Duration::from_millis(3));
                assert_eq!(seen.borrow().len(), count, "the pause does not hold");
                edge.cx().resume_reads(id);
            }
        }
        edge.until_all_closed();
        let cut = on.is_faulty() && seen.borrow().len() > 4;
        assert!(
            cut || *seen.borrow() == ["abc", "bc", "c", "0."],
            "{seen:?}"
        );
        edge.end();
    }
}

// R6: whether all of it is taken each time, or a part of it stays.
fn a_pause_in_on_data_holds_at_once_and_the_end_waits_too(on: On) {
    for part in [usize::MAX, 1500] {
        let taken: Rc<RefCell<Vec<u8>>> = Rc::default();
        let took = taken.clone();
        let mut edge = on.edge_with(small_buffer(), move |cx, event| match event {
            EventKind::Data { conn, input } => {
                let size = input.len().min(part);
                took.borrow_mut().extend(&input.take(size)[..]);
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
        assert!(*taken.borrow() == pattern(10_000));
        let id = edge.id(0);
        let life = edge.log().life(id);
        assert!(life.count("data") >= 10_000_usize.div_ceil(part.min(4096)));
        assert!(matches!(life.reason(), Reason::Eof));
        edge.end();
    }
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
    peer.send("last words");
    edge.until("they are on their way", |_| peer.unsent() == 0);
    edge.pass(Duration::from_millis(5));
    match reset {
        true => peer.reset(),
        false => peer.close(),
    }
    assert!(edge.turns_at_rest() <= 20);
    assert_eq!(edge.log().life(id).callbacks, ["open"]);
    assert!(edge.cx().is_open(id));
    edge.cx().resume_reads(id);
    edge.until_all_closed();
    let life = edge.log().life(id);
    assert_eq!(life.received, b"last words");
    match (reset, life.count("eof"), life.reason()) {
        (true, 0, Reason::Reset) | (false, 1, Reason::Eof) => {}
        (.., reason) => panic!("{reason}"),
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
