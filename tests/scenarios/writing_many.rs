//! Writing, continued: many sends, many connections, errors: W4, W7 to W12.

use crate::kit::edge::{Edge, On, Peer};
use crate::kit::{PATIENCE, default, pattern};
use crate::writing::{low_marks, small};
use crate::{on_both_edges, on_every_edge};
use bytes::Bytes;
use sockeye::{Addr, Broadcast, Config, ConnId, ConnMap, Connect, Context, EventKind};
use sockeye::{Origin, Reason, Sent};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

on_both_edges! {
    a_refilling_handler_does_not_starve_a_timer,
    a_write_error_does_not_discard_input,
}

on_every_edge! {
    a_reset_in_the_middle_of_a_write_ends_one_and_no_other,
    a_hundred_thousand_one_byte_sends_to_a_blocked_peer_take_few_writes,
    more_pieces_than_one_call_may_take_are_written_in_several,
    small_and_large_frames_to_a_blocked_peer_arrive_whole_and_in_order,
    partial_writes_across_the_borders_of_pieces_corrupt_nothing,
    a_proxy_passes_all_on_both_ways_and_closes_both,
    a_client_that_closes_while_the_proxy_has_paused_it_loses_nothing,
    a_broadcast_reaches_the_others_when_members_fail,
}

// W4
fn a_reset_in_the_middle_of_a_write_ends_one_and_no_other(on: On) {
    let mut edge = on.edge_with(low_marks(), default);
    let addr = edge.listen_with(small);
    let slow = edge.small_peer(&addr);
    edge.until_open(1);
    let id = edge.id(0);
    let other = edge.peer(&addr);
    edge.until_open(2);
    let other_id = edge.id(1);
    slow.ignore();
    edge.cx().send(id, pattern(1_000_000));
    edge.pass(Duration::from_millis(2));
    assert!(edge.cx().pending(id) > 0);
    slow.reset();
    edge.until("it is over", |edge| edge.log().is_closed(id));
    let closed = edge.log().life(id).closed.as_ref().unwrap();
    assert!(matches!(closed.reason, Reason::Reset) && closed.undelivered > 0);
    assert_eq!(edge.cx().pending(id), 0);
    edge.cx().send(other_id, "go on");
    edge.until("the other goes on", |_| other.count() == 5);
    edge.end();
}

// W7
fn a_hundred_thousand_one_byte_sends_to_a_blocked_peer_take_few_writes(on: On) {
    let all = pattern(100_000);
    let bytes = all.clone();
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Open { conn, .. } => {
            for (number, byte) in bytes.iter().enumerate() {
                let answer = match number % 3 {
                    0 => cx.send(conn, &[*byte]),
                    1 => cx.send(conn, vec![*byte]),
                    _ => cx.send(conn, Bytes::copy_from_slice(&[*byte])),
                };
                assert!(matches!(answer, Sent::Queued | Sent::Wait));
            }
            assert!(cx.close(conn));
        }
        other => default(cx, other),
    });
    let addr = edge.listen_with(small);
    let peer = edge.small_peer(&addr);
    peer.ignore();
    edge.until_open(1);
    edge.pass(Duration::from_millis(5));
    peer.hear();
    edge.until("all has come", |_| peer.is_closed());
    assert!(peer.received() == all);
    let writes = edge.cx().stats().writes;
    assert!(writes < 2000, "{writes} writes");
    edge.end();
}

// W7
fn more_pieces_than_one_call_may_take_are_written_in_several(on: On) {
    const PIECES: usize = 1500;
    let mut config = Config::default();
    config.limits.hard_limit = usize::MAX;
    let mut edge = on.edge_with(config, |cx, event| match event {
        EventKind::Open { conn, .. } => {
            for number in 0..PIECES {
                cx.send(conn, vec![number as u8; 4096]);
            }
            cx.close(conn);
        }
        other => default(cx, other),
    });
    let addr = edge.listen_with(|listen| listen.send_buffer(1 << 20));
    let peer = edge.peer(&addr);
    edge.until("all has come", |_| peer.is_closed());
    let all = peer.received();
    assert_eq!(all.len(), PIECES * 4096);
    let mut pieces = all.chunks(4096).enumerate();
    assert!(pieces.all(|(number, piece)| piece == [number as u8; 4096]));
    edge.end();
}

// W7, W8
fn small_and_large_frames_to_a_blocked_peer_arrive_whole_and_in_order(on: On) {
    let mut config = Config::default();
    config.limits.hard_limit = usize::MAX;
    let mut edge = on.edge_with(config, default);
    let addr = edge.listen_with(small);
    let peer = edge.small_peer(&addr);
    edge.until_open(1);
    let id = edge.id(0);
    peer.ignore();
    let all = pattern(400_000);
    let (mut at, mut number) = (0, 0);
    while at < all.len() {
        // A large one is shared, and what is small is copied: pieces of one write.
        let size = if number % 50 == 0 {
            20_000
        } else {
            1 + number % 3
        };
        let frame = &all[at..all.len().min(at + size)];
        match number % 2 {
            0 => edge.cx().send(id, frame.to_vec()),
            _ => edge.cx().send(id, frame),
        };
        (at, number) = (at + frame.len(), number + 1);
        if number % 300 == 0 {
            edge.turn_a_few_times();
        }
    }
    edge.pass(Duration::from_millis(2));
    assert!(edge.cx().pending(id) > 0);
    peer.hear();
    edge.until("all has come", |_| peer.count() >= all.len());
    assert!(peer.received() == all);
    edge.end();
}

/// Sends payloads of many sizes and forms until told to wait, and closes after a megabyte.
fn send_many(cx: &mut Context, conn: ConnId, sent: &mut Vec<u8>, number: &mut usize) {
    while sent.len() <= 1_000_000 {
        *number += 1;
        let number = *number;
        let size = [1, 4095, 4096, 7001, 13, 20_000, 6000][number % 7] + number % 11;
        let bytes: Vec<u8> = (0..size).map(|i| (number * 7 + i) as u8).collect();
        sent.extend_from_slice(&bytes);
        let answer = match number % 3 {
            0 => cx.send(conn, &bytes),
            1 => cx.send(conn, bytes),
            _ => cx.send(conn, (&bytes[..size / 9], bytes[size / 9..].to_vec())),
        };
        if answer == Sent::Wait {
            return;
        }
    }
    cx.close(conn);
}

// W8
fn partial_writes_across_the_borders_of_pieces_corrupt_nothing(on: On) {
    let sent: Rc<RefCell<Vec<u8>>> = Rc::default();
    let (keeping, mut number) = (sent.clone(), 0);
    let mut config = Config::default();
    config.limits.high_watermark = 40_000;
    let mut edge = on.edge_with(config, move |cx, event| match event {
        EventKind::Open { conn, .. } | EventKind::Drain { conn } => {
            send_many(cx, conn, &mut keeping.borrow_mut(), &mut number);
        }
        other => default(cx, other),
    });
    let addr = edge.listen_with(small);
    let peer = edge.small_peer(&addr);
    edge.until("all has come", |_| peer.is_closed());
    assert!(peer.received() == *sent.borrow());
    edge.end();
}

// W9: small writes always find room, for the consumer is faster; large ones do not.
fn a_refilling_handler_does_not_starve_a_timer(on: On) {
    const TICKS: usize = 5;
    for (high, low, size) in [(16, 0, 64), (16 * 1024, 4 * 1024, 20_000)] {
        let mut config = Config::default();
        (config.limits.high_watermark, config.limits.low_watermark) = (high, low);
        let (begun, tick) = (Instant::now(), Duration::from_millis(5));
        let mut ticks = 0;
        let mut edge = on.edge_with(config, move |cx, event| match event {
            EventKind::Open { conn, .. } => {
                cx.set_timer(tick, 1);
                assert_eq!(cx.send(conn, pattern(size)), Sent::Wait);
            }
            EventKind::Drain { conn } if ticks == TICKS => drop(cx.close(conn)),
            EventKind::Drain { conn } => {
                // (A world notices by itself.)
                let starves = on.is_real() && begun.elapsed() > PATIENCE;
                assert!(!starves, "the timer starves");
                assert_eq!(cx.send(conn, pattern(size)), Sent::Wait);
            }
            EventKind::Timer { .. } => {
                ticks += 1;
                if ticks < TICKS {
                    cx.set_timer(tick, 1);
                }
            }
            other => default(cx, other),
        });
        // Simulated time stands still while anything moves, so somebody has to take some.
        edge.slow_link(Duration::from_millis(1));
        let addr = edge.listen_with(small);
        let peer = edge.peer(&addr);
        edge.until("all have fired", |_| peer.is_closed());
        assert_eq!(edge.log().timers.len(), TICKS);
        edge.end();
    }
}

#[cfg(unix)]
#[test]
fn a_write_error_on_a_unix_socket_does_not_discard_input() {
    a_write_error_does_not_discard_input(On::Unix);
}

// W10: the error is found in a pause, or by an answer to the first of what has come.
fn a_write_error_does_not_discard_input(on: On) {
    const ALL: usize = 20_000;
    for paused in [false, true] {
        // In the simulation a reset overtakes what is on its way. Of a Unix peer that has closed, a
        // pause finds no error.
        if !paused && !on.is_real() || paused && on.is_unix() {
            continue;
        }
        let gone = Rc::new(Cell::new(0));
        let count = gone.clone();
        let mut config = Config::default();
        config.receive_buffer = 1000;
        let mut edge = on.edge_with(config, move |cx, event| match event {
            EventKind::Data { conn, input } => {
                input.take_all();
                let is_gone = cx.send(conn, "answer") == Sent::Gone;
                count.set(count.get() + usize::from(is_gone));
            }
            other => default(cx, other),
        });
        let addr = edge.listen();
        let peer = edge.peer(&addr);
        edge.until_open(1);
        let id = edge.id(0);
        if paused {
            edge.cx().pause_reads(id);
        }
        peer.send(pattern(ALL));
        if paused {
            edge.pass(Duration::from_millis(2));
        }
        assert_eq!(peer.unsent(), 0);
        peer.reset();
        if paused {
            edge.pass(Duration::from_millis(2));
            assert_eq!(edge.cx().send(id, "into the void"), Sent::Gone);
            edge.pass(Duration::from_millis(2));
            edge.cx().resume_reads(id);
        }
        edge.until_all_closed();
        let life = edge.log().life(id);
        assert!(life.received == pattern(ALL));
        assert!(matches!(life.reason(), Reason::Reset), "{life:?}");
        let lost = life.closed.as_ref().unwrap().undelivered;
        assert_eq!((life.count("eof"), lost), (0, if paused { 0 } else { 6 }));
        assert!(gone.get() > 10);
        edge.end();
    }
}

/// What a proxy has done.
#[derive(Default)]
struct Proxy {
    server: Cell<Option<Addr>>,
    pairs: RefCell<ConnMap<ConnId>>,
    /// What was ever pending, at most.
    most: Cell<usize>,
    paused: Cell<bool>,
}

const READ: usize = 4096;

/// Connects each accepted connection to the server, and passes on bytes, waits and ends.
fn proxy(on: On) -> (Edge, Rc<Proxy>) {
    let proxy: Rc<Proxy> = Rc::default();
    let kept = proxy.clone();
    let mut config = low_marks();
    config.receive_buffer = READ;
    let edge = on.edge_with(config, move |cx, event| {
        let twin = |conn| *kept.pairs.borrow().get(conn).unwrap();
        match event {
            EventKind::Open { conn, origin } if origin != Origin::Connected => {
                let server = kept.server.take().unwrap();
                let small = Connect::new(server).send_buffer(8192).receive_buffer(8192);
                let other = cx.connect(small);
                kept.pairs.borrow_mut().insert(conn, other);
                kept.pairs.borrow_mut().insert(other, conn);
            }
            EventKind::Data { conn, input } => {
                if cx.send(twin(conn), input.take_all()) == Sent::Wait {
                    cx.pause_reads(conn);
                    kept.paused.set(true);
                }
                kept.most.set(kept.most.get().max(cx.pending(twin(conn))));
            }
            EventKind::Drain { conn } => drop(cx.resume_reads(twin(conn))),
            EventKind::Eof { conn, .. } => drop(cx.shutdown_write(twin(conn))),
            other => default(cx, other),
        }
    });
    (edge, proxy)
}

fn ends_clean(edge: &mut Edge, proxy: &Proxy) {
    edge.until("both are over", |edge| edge.log().closed() == 2);
    for index in 0..2 {
        let id = edge.id(index);
        assert!(edge.log().life(id).closed.as_ref().unwrap().is_clean());
    }
    assert_eq!(edge.log().count("eof"), 2);
    let most = proxy.most.get();
    assert!(proxy.paused.get() && most <= 16 * 1024 + READ, "{most}");
}

// W11
fn a_proxy_passes_all_on_both_ways_and_closes_both(on: On) {
    const SIZE: usize = 1 << 20;
    let (mut edge, proxy) = proxy(on);
    let server = edge.server();
    proxy.server.set(Some(server.addr()));
    let addr = edge.listen_with(small);
    let front = edge.small_peer(&addr);
    let back = edge.accept(&server);
    front.send(pattern(SIZE));
    back.send(pattern(SIZE + 1));
    front.ignore();
    edge.until("it is paused", |_| proxy.paused.get());
    front.shutdown();
    front.hear();
    edge.until("the back has all", |_| back.is_closed());
    back.shutdown();
    edge.until("the front has all", |_| front.is_closed());
    assert!(back.received() == pattern(SIZE) && front.received() == pattern(SIZE + 1));
    ends_clean(&mut edge, &proxy);
    edge.end();
}

// W11: the client's end waits behind what the proxy does not read.
fn a_client_that_closes_while_the_proxy_has_paused_it_loses_nothing(on: On) {
    // More than the proxy and the system of the back take, and less than that of the client does.
    const SIZE: usize = 100_000;
    for half in [true, false] {
        let (mut edge, proxy) = proxy(on);
        let server = edge.small_server();
        proxy.server.set(Some(server.addr()));
        let addr = edge.listen();
        let client = edge.peer(&addr);
        let back = edge.accept(&server);
        back.ignore();
        client.send(pattern(SIZE));
        edge.until("it is paused", |_| {
            proxy.paused.get() && (client.unsent() == 0 || !on.is_real())
        });
        match half {
            true => client.shutdown(),
            false => client.close(),
        }
        edge.pass(Duration::from_millis(5));
        assert_eq!(edge.log().count("eof"), 0);
        back.hear();
        edge.until("the back has all", |_| back.is_closed());
        assert!(back.received() == pattern(SIZE));
        back.close();
        ends_clean(&mut edge, &proxy);
        edge.end();
    }
}

/// Four who are there, of whom the third takes nothing and has as much pending as it may.
fn members(on: On, hard_limit: usize) -> (Edge, Vec<Peer>) {
    let mut config = Config::default();
    config.limits.hard_limit = hard_limit;
    let mut edge = on.edge_with(config, default);
    let addr = edge.listen_with(small);
    let mut peers = Vec::new();
    for count in 1..=4 {
        peers.push(edge.small_peer(&addr));
        edge.until_open(count);
    }
    peers[2].ignore();
    let stuck = edge.id(2);
    // Full to the last byte: the next send is one too many.
    while edge.cx().pending(stuck) < hard_limit {
        let room = hard_limit - edge.cx().pending(stuck);
        edge.cx().send(stuck, vec![0; room]);
        edge.pass(Duration::from_millis(2));
    }
    (edge, peers)
}

// W12: one has reset, and one takes nothing.
fn a_broadcast_reaches_the_others_when_members_fail(on: On) {
    for size in [100, 30_000] {
        let (mut edge, peers) = members(on, 100_000);
        let ids = [0, 1, 2, 3].map(|index| edge.id(index));
        peers[1].reset();
        let told = edge.cx().broadcast(ids, vec![9; size]);
        let Broadcast {
            queued,
            waiting,
            dropped,
            gone,
        } = told;
        assert_eq!((queued, waiting, dropped, gone), (3, 0, 0, 1));
        // No callback came inside of it.
        assert_eq!(edge.log().closed(), 0);
        edge.until("the others have it", |_| {
            [0, 3].iter().all(|index| peers[*index].count() == size)
        });
        assert_eq!(peers[0].received(), vec![9; size]);
        edge.until("two are closed", |edge| edge.log().closed() == 2);
        let mut reason = |index: usize| format!("{:?}", edge.log().life(ids[index]).reason());
        assert_eq!([reason(1), reason(2)], ["Reset", "PendingLimit"]);
        let again = edge.cx().broadcast(ids, "more");
        assert_eq!((again.queued, again.gone), (2, 2));
        edge.until("the others have it", |_| {
            [0, 3].iter().all(|index| peers[*index].count() == size + 4)
        });
        edge.end();
    }
}
