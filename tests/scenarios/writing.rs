//! Writing and backpressure: W1 to W12.

use crate::kit::edge::{On, on_both_edges};
use crate::kit::{default, pattern};
use sockeye::{Config, ConnId, EventKind, Listen, Overflow, Reason, Sent};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

on_both_edges! {
    waits_and_drains_alternate_while_a_peer_reads_slowly,
    a_pause_until_drained_ends_by_itself,
    a_send_above_the_hard_limit_closes,
    a_send_above_the_hard_limit_may_be_dropped,
    a_wait_begun_on_purpose_is_ended_by_one_drain,
    many_sends_in_one_callback_reach_a_peer_that_reads,
    refilling_in_on_drain_a_hundred_times_loses_no_drain,
    bytes_from_all_callbacks_arrive_in_the_order_of_the_calls,
    a_reset_in_the_middle_of_a_write_ends_one_and_no_other,
    small_and_large_frames_to_a_blocked_peer_arrive_whole_and_in_order,
    after_shutdown_write_or_close_a_send_is_gone,
    no_drain_comes_after_a_close,
    a_refilling_handler_does_not_starve_a_timer,
    a_write_error_does_not_discard_input,
    a_proxy_passes_all_on_both_ways_and_closes_both,
    a_broadcast_reaches_the_others_when_one_fails,
}

const SMALL: usize = 8 * 1024;

fn small(addr: &str) -> Listen {
    Listen::new(addr).send_buffer(SMALL).receive_buffer(SMALL)
}

/// Low marks, so that waits are seen soon.
fn low_marks() -> Config {
    let mut config = Config::default();
    config.limits.high_watermark = 16 * 1024;
    config.limits.low_watermark = 4 * 1024;
    config
}

// W1
fn waits_and_drains_alternate_while_a_peer_reads_slowly(on: On) {
    const FRAME: usize = 1000;
    const FRAMES: usize = 300;
    let sent = Rc::new(Cell::new(0));
    let count = sent.clone();
    let (mut waits, all) = (0, pattern(FRAME * FRAMES));
    let mut refill = move |cx: &mut sockeye::Context, conn: ConnId| {
        while count.get() < FRAMES {
            let at = count.get() * FRAME;
            count.set(count.get() + 1);
            let answer = cx.send(conn, &all[at..at + FRAME]);
            assert!(cx.pending(conn) <= 16 * 1024 + FRAME);
            if answer == Sent::Wait {
                waits += 1;
                return waits;
            }
        }
        waits
    };
    let waits = Rc::new(Cell::new(0));
    let told = waits.clone();
    let mut edge = on.edge_with(low_marks(), move |cx, event| match event {
        EventKind::Open { conn, .. } => told.set(refill(cx, conn)),
        EventKind::Drain { conn } => {
            assert!(cx.pending(conn) <= 4 * 1024);
            told.set(refill(cx, conn));
        }
        other => default(cx, other),
    });
    let addr = edge.listen_on(small("127.0.0.1:0"));
    let peer = edge.small_peer(&addr);
    edge.until("all is sent and drained", |edge| {
        sent.get() == FRAMES && edge.log().count("drain") == waits.get()
    });
    edge.until("all has come", |_| peer.count() == FRAME * FRAMES);
    assert!(peer.received() == pattern(FRAME * FRAMES));
    assert!(waits.get() > 2);
    edge.end();
}

fn flood(on: On, overflow: Overflow) -> (crate::kit::edge::Edge, crate::kit::edge::Peer) {
    let mut config = low_marks();
    config.limits.hard_limit = 64 * 1024;
    config.limits.overflow = overflow;
    let mut edge = on.edge_with(config, default);
    let addr = edge.listen_on(small("127.0.0.1:0"));
    let peer = edge.small_peer(&addr);
    peer.ignore();
    edge.until_open(1);
    let id = edge.id(0);
    // One send of any size is taken below the high mark.
    assert_eq!(edge.cx().send(id, pattern(200_000)), Sent::Wait);
    edge.pass(Duration::from_millis(2));
    (edge, peer)
}

// W1
fn a_send_above_the_hard_limit_closes(on: On) {
    let (mut edge, peer) = flood(on, Overflow::Close);
    let id = edge.id(0);
    assert_eq!(edge.cx().send(id, "one too many"), Sent::Gone);
    edge.until_all_closed();
    let closed = edge.log().life(id).closed.as_ref().unwrap();
    assert!(matches!(closed.reason, Reason::PendingLimit));
    assert!(closed.undelivered > 64 * 1024);
    peer.hear();
    edge.until("the peer is told by a reset", |_| peer.was_reset());
    edge.end();
}

// W1
fn a_send_above_the_hard_limit_may_be_dropped(on: On) {
    let (mut edge, peer) = flood(on, Overflow::DropNewest);
    let id = edge.id(0);
    assert_eq!(edge.cx().send(id, "one too many"), Sent::Dropped);
    peer.hear();
    edge.until("it is drained", |edge| edge.log().count("drain") == 1);
    assert_eq!(edge.cx().send(id, "again"), Sent::Queued);
    edge.until("all has come", |_| peer.count() == 200_005);
    assert_eq!(&peer.received()[200_000..], b"again");
    edge.end();
}

// F7
fn a_wait_begun_on_purpose_is_ended_by_one_drain(on: On) {
    let waits = Rc::new(Cell::new(0));
    let begun = waits.clone();
    // Below the high mark, which is 64 KiB.
    let mut edge = on.edge_with(Config::default(), move |cx, event| match event {
        EventKind::Data { conn, input } => {
            cx.send(conn, input.take_all());
            if cx.pending(conn) > 1000 && cx.await_drain(conn) {
                cx.pause_reads(conn);
                begun.set(begun.get() + 1);
            }
        }
        EventKind::Drain { conn } => drop(cx.resume_reads(conn)),
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    let all = pattern(50_000);
    peer.send(all.clone());
    edge.until("it comes back", |_| peer.count() == all.len());
    peer.send("more");
    edge.until("it goes on", |_| peer.count() == all.len() + 4);
    assert!(waits.get() > 0);
    assert_eq!(edge.log().count("drain"), waits.get());
    edge.end();
}

// J5
fn many_sends_in_one_callback_reach_a_peer_that_reads(on: On) {
    for overflow in [Overflow::Close, Overflow::DropNewest] {
        let mut config = low_marks();
        config.limits.hard_limit = 64 * 1024;
        config.limits.overflow = overflow;
        let all = pattern(400_000);
        let reply = all.clone();
        let mut edge = on.edge_with(config, move |cx, event| match event {
            EventKind::Data { conn, input } => {
                input.take_all();
                for line in reply.chunks(2000) {
                    assert!(matches!(cx.send(conn, line), Sent::Queued | Sent::Wait));
                }
            }
            other => default(cx, other),
        });
        let addr = edge.listen_on(small("127.0.0.1:0"));
        let peer = edge.peer(&addr);
        peer.send("LIST\n");
        edge.until("all has come", |_| peer.count() == all.len());
        assert!(peer.received() == all);
        assert_eq!(edge.log().count("drain"), 1);
        edge.end();
    }
}

// W2
fn refilling_in_on_drain_a_hundred_times_loses_no_drain(on: On) {
    let mut rounds = 0;
    let mut edge = on.edge_with(low_marks(), move |cx, event| match event {
        EventKind::Open { conn, .. } | EventKind::Drain { conn } => {
            assert!(cx.pending(conn) <= 4 * 1024);
            rounds += 1;
            match rounds <= 100 {
                true => assert_eq!(cx.send(conn, pattern(20_000)), Sent::Wait),
                false => drop(cx.close(conn)),
            }
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    edge.until("all has come", |_| peer.is_closed());
    assert_eq!(peer.count(), 100 * 20_000);
    assert_eq!(edge.log().count("drain"), 100);
    edge.end();
}

// W3
fn bytes_from_all_callbacks_arrive_in_the_order_of_the_calls(on: On) {
    let said = Rc::new(RefCell::new(Vec::new()));
    let saying = said.clone();
    let mut first = None;
    let mut edge = on.edge_with(low_marks(), move |cx, event| {
        let (word, size) = match event {
            EventKind::Open { conn, .. } => {
                first.get_or_insert(conn);
                cx.set_timer(Duration::from_millis(1), 0);
                (b'o', 30_000)
            }
            EventKind::Data { ref input, .. } => (b'd', 5000 + input.len()),
            EventKind::Drain { .. } => (b'r', 300),
            EventKind::Timer { .. } => (b't', 5000),
            other => return default(cx, other),
        };
        if let EventKind::Data { input, .. } = event {
            input.take_all();
        }
        // Whatever it is about, the first one hears of it.
        saying.borrow_mut().extend(vec![word; size]);
        cx.send(first.unwrap(), vec![word; size]);
    });
    let addr = edge.listen_on(small("127.0.0.1:0"));
    let slow = edge.small_peer(&addr);
    edge.until_open(1);
    let others: Vec<_> = (0..3).map(|_| edge.peer(&addr)).collect();
    slow.ignore();
    for round in 0..3 {
        others.iter().for_each(|peer| peer.send(vec![round; 10]));
        edge.pass(Duration::from_millis(2));
    }
    slow.hear();
    edge.until("all has come", |_| slow.count() == said.borrow().len());
    assert!(slow.received() == *said.borrow());
    edge.end();
}

// W4
fn a_reset_in_the_middle_of_a_write_ends_one_and_no_other(on: On) {
    let mut edge = on.edge_with(low_marks(), default);
    let addr = edge.listen_on(small("127.0.0.1:0"));
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

// W7, W8
fn small_and_large_frames_to_a_blocked_peer_arrive_whole_and_in_order(on: On) {
    let mut config = Config::default();
    config.limits.hard_limit = usize::MAX;
    let mut edge = on.edge_with(config, default);
    let addr = edge.listen_on(small("127.0.0.1:0"));
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

// W5
fn after_shutdown_write_or_close_a_send_is_gone(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen();
    let peers = [edge.peer(&addr), edge.peer(&addr)];
    edge.until_open(2);
    for index in 0..2 {
        let id = edge.id(index);
        let cx = edge.cx();
        assert_eq!(cx.send(id, "last"), Sent::Queued);
        assert!(match index {
            0 => cx.shutdown_write(id),
            _ => cx.close(id),
        });
        assert_eq!(cx.send(id, "more"), Sent::Gone);
    }
    edge.until("both have their end", |_| {
        peers.iter().all(|peer| peer.is_closed())
    });
    assert!(peers.iter().all(|peer| peer.received() == b"last"));
    edge.end();
}

// W6
fn no_drain_comes_after_a_close(on: On) {
    let mut edge = on.edge_with(low_marks(), default);
    let addr = edge.listen_on(small("127.0.0.1:0"));
    let peer = edge.small_peer(&addr);
    peer.ignore();
    edge.until_open(1);
    let id = edge.id(0);
    assert_eq!(edge.cx().send(id, pattern(100_000)), Sent::Wait);
    edge.pass(Duration::from_millis(2));
    edge.cx().close(id);
    peer.hear();
    edge.until_all_closed();
    edge.until("all has come", |_| peer.is_closed());
    assert!(peer.received() == pattern(100_000));
    assert_eq!(edge.log().life(id).callbacks, ["open", "close"]);
    edge.end();
}

// W9
fn a_refilling_handler_does_not_starve_a_timer(on: On) {
    let over = Rc::new(Cell::new(false));
    let fired = over.clone();
    let mut edge = on.edge_with(low_marks(), move |cx, event| match event {
        EventKind::Open { conn, .. } => {
            cx.set_timer(Duration::from_millis(10), 1);
            cx.send(conn, pattern(20_000));
        }
        EventKind::Drain { conn } if !fired.get() => drop(cx.send(conn, pattern(20_000))),
        EventKind::Timer { .. } => fired.set(true),
        other => default(cx, other),
    });
    // Simulated time stands still while anything moves, so somebody has to take some.
    edge.slow_link(Duration::from_micros(50));
    let addr = edge.listen();
    let _peer = edge.peer(&addr);
    edge.until("it fires", |_| over.get());
    edge.end();
}

// W10
fn a_write_error_does_not_discard_input(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    edge.until_open(1);
    let id = edge.id(0);
    edge.cx().pause_reads(id);
    peer.send("last words");
    edge.pass(Duration::from_millis(2));
    peer.reset();
    edge.pass(Duration::from_millis(2));
    // The error was found in the pause: nothing can be sent any more.
    assert_eq!(edge.cx().send(id, "into the void"), Sent::Gone);
    edge.pass(Duration::from_millis(2));
    edge.cx().resume_reads(id);
    edge.until_all_closed();
    let life = edge.log().life(id);
    assert_eq!(life.received, b"last words");
    assert!(matches!(life.reason(), Reason::Reset));
    assert_eq!(life.closed.as_ref().unwrap().undelivered, 0);
    edge.end();
}

// W11
fn a_proxy_passes_all_on_both_ways_and_closes_both(on: On) {
    const SIZE: usize = 400_000;
    let target: Rc<RefCell<Option<sockeye::Addr>>> = Rc::default();
    let there = target.clone();
    let mut pair: Vec<ConnId> = Vec::new();
    let mut edge = on.edge_with(low_marks(), move |cx, event| {
        let other = |conn: ConnId, pair: &[ConnId]| match pair[0] == conn {
            true => pair[1],
            false => pair[0],
        };
        match event {
            EventKind::Open { conn, origin } if origin != sockeye::Origin::Connected => {
                let addr = there.borrow().clone().unwrap();
                pair = vec![conn, cx.connect(addr)];
            }
            EventKind::Data { conn, input } => {
                let to = other(conn, &pair);
                if cx.send(to, input.take_all()) == Sent::Wait {
                    assert!(cx.pending(to) <= 16 * 1024 + 256 * 1024);
                    cx.pause_reads(conn);
                }
            }
            EventKind::Drain { conn } => drop(cx.resume_reads(other(conn, &pair))),
            EventKind::Eof { conn, .. } => drop(cx.shutdown_write(other(conn, &pair))),
            other => default(cx, other),
        }
    });
    let server = edge.server();
    *target.borrow_mut() = Some(server.addr());
    let addr = edge.listen_on(small("127.0.0.1:0"));
    let front = edge.small_peer(&addr);
    let back = edge.accept(&server);
    front.send(pattern(SIZE));
    back.send(pattern(SIZE + 1));
    front.ignore();
    edge.pass(Duration::from_millis(5));
    front.shutdown();
    front.hear();
    edge.until("the back has all", |_| back.is_closed());
    back.shutdown();
    edge.until("the front has all", |_| front.is_closed());
    assert!(back.received() == pattern(SIZE) && front.received() == pattern(SIZE + 1));
    edge.until("both are over", |edge| edge.log().closed() == 2);
    for index in 0..2 {
        let id = edge.id(index);
        assert!(edge.log().life(id).closed.as_ref().unwrap().is_clean());
    }
    edge.end();
}

// W12
fn a_broadcast_reaches_the_others_when_one_fails(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.listen();
    let peers: Vec<_> = (0..5).map(|_| edge.peer(&addr)).collect();
    edge.until_open(5);
    let all: Vec<ConnId> = edge.cx().connections().collect();
    peers[2].reset();
    let told = edge.cx().broadcast(all.iter().copied(), "news");
    assert_eq!(told.queued, 5);
    assert_eq!(edge.log().closed(), 0);
    let others = || peers.iter().enumerate().filter(|(index, _)| *index != 2);
    edge.until("the others have it", |_| {
        others().all(|(_, peer)| peer.count() == 4)
    });
    edge.until("one is gone", |edge| edge.log().closed() == 1);
    let again = edge.cx().broadcast(all, "more");
    assert_eq!((again.queued, again.gone), (4, 1));
    edge.until("the others have it", |_| {
        others().all(|(_, peer)| peer.count() == 8)
    });
    edge.end();
}

// F6: the echo of the front page. Its peer sends much and reads nothing for a while.
fn a_pause_until_drained_ends_by_itself(on: On) {
    const ALL: usize = 1 << 20;
    let paused = Rc::new(Cell::new(0));
    let count = paused.clone();
    let mut edge = on.edge_with(low_marks(), move |cx, event| match event {
        EventKind::Data { conn, input } => {
            if cx.send(conn, input.take_all()) == Sent::Wait {
                assert!(cx.pause_until_drained(conn) && cx.is_paused(conn));
                count.set(count.get() + 1);
            } else {
                assert!(cx.pending(conn) > 4 * 1024 || !cx.pause_until_drained(conn));
            }
        }
        EventKind::Drain { .. } => {}
        other => default(cx, other),
    });
    let addr = edge.listen_on(small("127.0.0.1:0"));
    let peer = edge.small_peer(&addr);
    peer.ignore();
    peer.send(pattern(ALL));
    edge.until("it has paused", |_| paused.get() > 0);
    let conn = edge.id(0);
    edge.pass(Duration::from_millis(5));
    assert!(edge.cx().is_paused(conn), "the peer does not read");
    peer.hear();
    edge.until("all has come back", |_| peer.count() == ALL);
    assert!(peer.received() == pattern(ALL));
    edge.until("it reads again", |edge| !edge.cx().is_paused(conn));
    peer.shutdown();
    edge.until_all_closed();
    edge.end();
}
