//! Writing and backpressure: W1 to W3, W5, W6, F6, F7, J5. The rest is in `writing_many.rs`.

use crate::kit::edge::{Edge, On, Peer};
use crate::kit::{default, pattern};
use crate::on_every_edge;
use bytes::Bytes;
use sockeye::{Config, ConnId, Context, EventKind, Listen, Overflow, Reason, Sent};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

on_every_edge! {
    waits_and_drains_alternate_while_a_peer_reads_slowly,
    a_send_above_the_hard_limit_closes,
    a_send_above_the_hard_limit_may_be_dropped,
    one_send_of_any_size_made_below_the_high_mark_is_taken,
    refilling_in_on_drain_a_thousand_times_loses_no_drain,
    bytes_from_all_callbacks_arrive_in_the_order_of_the_calls,
    after_shutdown_write_or_close_a_send_is_gone,
    no_drain_comes_after_a_close,
    no_drain_comes_after_a_close_in_the_drain_of_another,
    a_pause_until_drained_ends_by_itself,
    a_wait_begun_on_purpose_is_ended_by_one_drain,
    many_sends_in_one_callback_reach_a_peer_that_reads,
}

const SMALL: usize = 8 * 1024;

pub(crate) fn small(listen: Listen) -> Listen {
    listen.send_buffer(SMALL).receive_buffer(SMALL)
}

const HIGH: usize = 16 * 1024;
const LOW: usize = 4 * 1024;
const HARD: usize = 64 * 1024;

/// Low marks, so that waits are seen soon.
pub(crate) fn low_marks() -> Config {
    let mut config = Config::default();
    config.limits.high_watermark = HIGH;
    config.limits.low_watermark = LOW;
    config
}

// W1
fn waits_and_drains_alternate_while_a_peer_reads_slowly(on: On) {
    const FRAME: usize = 1000;
    let waits = Rc::new(Cell::new(0));
    let (all, begun, mut sent, mut waiting) = (pattern(400_000), waits.clone(), 0, false);
    let mut edge = on.edge_with(low_marks(), move |cx, event| match event {
        EventKind::Open { conn, .. } | EventKind::Drain { conn } => {
            let drained = matches!(event, EventKind::Drain { .. });
            assert_eq!(std::mem::take(&mut waiting), drained);
            assert!(cx.pending(conn) <= LOW);
            while sent < all.len() && !waiting {
                waiting = cx.send(conn, &all[sent..sent + FRAME]) == Sent::Wait;
                sent += FRAME;
                assert_eq!(waiting, cx.pending(conn) > HIGH);
                assert!(cx.pending(conn) <= HIGH + FRAME);
            }
            match waiting {
                true => begun.set(begun.get() + 1),
                false => assert!(cx.close(conn)),
            }
        }
        other => default(cx, other),
    });
    let addr = edge.listen_with(small);
    let peer = edge.small_peer(&addr);
    edge.until("all has come", |_| peer.is_closed());
    assert!(peer.received() == pattern(400_000));
    peer.close();
    edge.until_all_closed();
    assert!(waits.get() > 10);
    assert_eq!(edge.log().count("drain"), waits.get());
    edge.end();
}

/// A peer that reads nothing yet; when it is open, and at each tick, something is done with the
/// connection, until that says it is enough. So there is one send for each flush.
fn ticking(
    on: On,
    overflow: Overflow,
    mut each: impl FnMut(&mut Context, ConnId, usize) -> bool + 'static,
) -> (Edge, Peer) {
    let mut config = low_marks();
    config.limits.hard_limit = HARD;
    config.limits.overflow = overflow;
    let mut of = None;
    let mut edge = on.edge_with(config, move |cx, event| match event {
        EventKind::Open { conn, .. } => {
            of = Some(conn);
            // More than the system takes for a peer that does not read.
            assert_eq!(cx.send(conn, pattern(3 * HIGH)), Sent::Wait);
            cx.set_timer(Duration::ZERO, 0);
        }
        EventKind::Timer { key, .. } => {
            if each(cx, of.unwrap(), key as usize) {
                cx.set_timer(Duration::ZERO, key + 1);
            }
        }
        other => default(cx, other),
    });
    let addr = edge.listen_with(small);
    let peer = edge.small_peer(&addr);
    peer.ignore();
    edge.until_open(1);
    (edge, peer)
}

// W1
fn a_send_above_the_hard_limit_closes(on: On) {
    let (mut edge, peer) = ticking(on, Overflow::Close, |cx, conn, _| {
        match cx.send(conn, pattern(100)) {
            Sent::Wait => assert!(cx.pending(conn) <= HARD),
            answer => {
                assert_eq!(answer, Sent::Gone);
                assert!(!cx.is_open(conn) && !cx.close(conn) && !cx.abort(conn));
                return false;
            }
        }
        true
    });
    edge.until_all_closed();
    let id = edge.id(0);
    let life = edge.log().life(id);
    assert_eq!(life.callbacks, ["open", "close"]);
    let closed = life.closed.as_ref().unwrap();
    assert!(matches!(closed.reason, Reason::PendingLimit));
    let lost = closed.undelivered as usize;
    assert!(lost > HARD - 100 && lost <= HARD, "{lost}");
    peer.hear();
    // Of a Unix socket an abort is an end.
    edge.until("the peer must not take it for the whole", |_| {
        peer.was_reset() || on.is_unix() && peer.is_closed()
    });
    edge.end();
}

// W1: the longer ones no longer fit, and the shorter ones still do.
fn a_send_above_the_hard_limit_may_be_dropped(on: On) {
    const FRAMES: usize = 150;
    let kept = Rc::new(RefCell::new(pattern(3 * HIGH)));
    let dropped = Rc::new(Cell::new(0));
    let (keeping, dropping) = (kept.clone(), dropped.clone());
    let (mut edge, peer) = ticking(on, Overflow::DropNewest, move |cx, conn, number| {
        let frame = vec![number as u8; 300 + 400 * (number % 2)];
        match cx.send(conn, &frame) {
            Sent::Dropped => dropping.set(dropping.get() + 1),
            answer => {
                assert_eq!(answer, Sent::Wait);
                keeping.borrow_mut().extend(frame);
            }
        }
        assert!(cx.pending(conn) <= HARD);
        number < FRAMES
    });
    edge.until("all were sent", |edge| {
        edge.log().timers.len() == FRAMES + 1
    });
    assert!((20..FRAMES).contains(&dropped.get()), "{dropped:?}");
    peer.hear();
    edge.until("it is drained", |edge| edge.log().count("drain") == 1);
    let id = edge.id(0);
    assert_eq!(edge.cx().send(id, "again"), Sent::Queued);
    kept.borrow_mut().extend(b"again");
    edge.until("all has come", |_| peer.count() >= kept.borrow().len());
    assert!(peer.received() == *kept.borrow());
    assert_eq!(edge.log().count("drain"), 1);
    edge.end();
}

// W1
fn one_send_of_any_size_made_below_the_high_mark_is_taken(on: On) {
    const ALL: usize = 3 << 20;
    let mut config = low_marks();
    config.limits.hard_limit = HIGH;
    let mut edge = on.edge_with(config, |cx, event| match event {
        EventKind::Open { conn, .. } => {
            let all = pattern(ALL);
            assert_eq!(cx.send(conn, &all[..HIGH]), Sent::Queued);
            assert_eq!(cx.send(conn, &all[HIGH..]), Sent::Wait);
            assert_eq!(cx.pending(conn), ALL);
        }
        EventKind::Drain { conn } => drop(cx.close(conn)),
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    edge.until("all has come", |_| peer.is_closed());
    assert!(peer.received() == pattern(ALL));
    assert_eq!(edge.log().count("drain"), 1);
    edge.end();
}

// W2
fn refilling_in_on_drain_a_thousand_times_loses_no_drain(on: On) {
    let mut config = Config::default();
    config.limits.high_watermark = 1000;
    config.limits.low_watermark = 300;
    let mut drains = 0;
    let mut edge = on.edge_with(config, move |cx, event| match event {
        EventKind::Open { conn, .. } => assert_eq!(cx.send(conn, &[1; 1001]), Sent::Wait),
        EventKind::Drain { conn } => {
            assert!(cx.pending(conn) <= 300);
            drains += 1;
            match drains {
                1000 => drop(cx.close(conn)),
                // Not one of these is below the wait's end, whatever was pending before.
                _ => assert_eq!(cx.send(conn, &[1; 1001]), Sent::Wait),
            }
        }
        other => default(cx, other),
    });
    let addr = edge.listen_with(small);
    let peer = edge.small_peer(&addr);
    edge.until("all has come", |_| peer.is_closed());
    assert_eq!(peer.count(), 1000 * 1001);
    assert_eq!(edge.log().count("drain"), 1000);
    edge.end();
}

/// Payloads of every form to one connection, and a copy of them.
#[derive(Default)]
struct Series {
    to: Option<ConnId>,
    sent: Vec<u8>,
    /// How often each kind of callback came.
    kinds: [usize; 5],
    number: usize,
    after_wait: usize,
}

impl Series {
    /// Sends the next, unless enough was sent after a `Wait`, or altogether.
    fn note(&mut self, cx: &mut Context, kind: usize) {
        self.kinds[kind] += 1;
        // Simulated time stands still for as long as drains are answered by more.
        let rests = self.after_wait >= 8 || kind == 2 && self.kinds[2] > 20;
        let Some(to) = self.to.filter(|_| !rests) else {
            return;
        };
        self.number += 1;
        let number = self.number;
        let size = [1, 100, 3000, 5000, 9000][number % 5] + number % 7;
        let bytes: Vec<u8> = (0..size).map(|i| (number * 7 + i) as u8).collect();
        self.sent.extend_from_slice(&bytes);
        let answer = match number % 4 {
            0 => cx.send(to, &bytes),
            1 => cx.send(to, bytes),
            2 => cx.send(to, Bytes::from(bytes)),
            _ => cx.send(to, (&bytes[..size / 3], bytes[size / 3..].to_vec())),
        };
        assert!(matches!(answer, Sent::Queued | Sent::Wait));
        self.after_wait += usize::from(answer == Sent::Wait);
        if self.kinds.iter().all(|count| *count >= 5) && self.sent.len() > 200_000 {
            // Not `close`: the peer goes on sending.
            self.to.take().map(|to| cx.shutdown_write(to));
        }
    }
}

// W3: its own data, those of others, drains, timers and messages.
fn bytes_from_all_callbacks_arrive_in_the_order_of_the_calls(on: On) {
    const TICK: Duration = Duration::from_millis(1);
    let series: Rc<RefCell<Series>> = Rc::default();
    let (noting, posted) = (series.clone(), series.clone());
    let mut config = low_marks();
    (config.limits.high_watermark, config.limits.low_watermark) = (4000, 1000);
    let mut edge = on.edge_with(config, move |cx, event| match event {
        EventKind::Open { conn, .. } => {
            noting.borrow_mut().to.get_or_insert(conn);
            cx.set_timer(TICK, 0);
        }
        EventKind::Data { conn, input } => {
            input.take_all();
            let own = noting.borrow().to == Some(conn);
            noting.borrow_mut().note(cx, usize::from(own));
        }
        EventKind::Drain { .. } => {
            noting.borrow_mut().after_wait = 0;
            noting.borrow_mut().note(cx, 2);
        }
        EventKind::Timer { .. } => {
            noting.borrow_mut().note(cx, 3);
            if noting.borrow().to.is_some() {
                cx.set_timer(TICK, 0);
            }
        }
        other => default(cx, other),
    });
    edge.app().on_message = Some(Box::new(move |cx, _| posted.borrow_mut().note(cx, 4)));
    let addr = edge.listen_with(small);
    let target = edge.small_peer(&addr);
    edge.until_open(1);
    let other = edge.peer(&addr);
    edge.until("the target has its end", |edge| {
        target.send("x");
        other.send("x");
        let _ = edge.sender().send(0);
        target.is_closed()
    });
    assert!(target.received() == series.borrow().sent);
    edge.end();
}

// W5
fn after_shutdown_write_or_close_a_send_is_gone(on: On) {
    for end in [Context::shutdown_write, Context::close] {
        let mut edge = on.edge(move |cx, event| match event {
            EventKind::Data { conn, input } => {
                input.take_all();
                assert_eq!(cx.send(conn, "the last"), Sent::Queued);
                assert!(end(cx, conn));
                assert_eq!(cx.send(conn, "more"), Sent::Gone);
                assert_eq!(cx.broadcast([conn, conn], "more").gone, 2);
                cx.set_timer(Duration::from_millis(1), 0);
            }
            EventKind::Timer { .. } => {
                let ids: Vec<ConnId> = cx.connections().collect();
                assert_eq!(cx.broadcast(ids.iter().copied(), "more").gone, ids.len());
            }
            EventKind::Close { conn, .. } => assert_eq!(cx.send(conn, "more"), Sent::Gone),
            other => default(cx, other),
        });
        let addr = edge.listen();
        let peer = edge.peer(&addr);
        peer.send("?");
        // Its writing side is still open, and so is the loop's side after a shutdown.
        edge.until("it has its end", |edge| {
            peer.is_closed() && edge.log().timers.len() == 1
        });
        assert!(peer.received() == b"the last" && !peer.was_reset());
        peer.close();
        edge.until_all_closed();
        let id = edge.id(0);
        assert_eq!(edge.cx().send(id, "stale"), Sent::Gone);
        edge.end();
    }
}

// W6: of a close with the wait, and of one that comes when the system has a part of it.
fn no_drain_comes_after_a_close(on: On) {
    for at_once in [true, false] {
        let mut edge = on.edge_with(low_marks(), default);
        let addr = edge.listen_with(small);
        let peer = edge.small_peer(&addr);
        peer.ignore();
        edge.until_open(1);
        let id = edge.id(0);
        assert_eq!(edge.cx().send(id, pattern(200_000)), Sent::Wait);
        if !at_once {
            edge.pass(Duration::from_millis(2));
        }
        edge.cx().close(id);
        peer.hear();
        edge.until("all has come", |_| peer.is_closed());
        assert!(peer.received() == pattern(200_000));
        peer.close();
        edge.until_all_closed();
        assert_eq!(edge.log().life(id).callbacks, ["open", "close"]);
        edge.end();
    }
}

// W6: all of them have room in the same turn.
fn no_drain_comes_after_a_close_in_the_drain_of_another(on: On) {
    const COUNT: usize = 4;
    let armed = Rc::new(Cell::new(false));
    let now = armed.clone();
    let mut edge = on.edge_with(low_marks(), move |cx, event| match event {
        EventKind::Drain { conn } if now.get() => {
            let others: Vec<ConnId> = cx.connections().filter(|id| *id != conn).collect();
            assert!(others.into_iter().all(|id| cx.close(id)));
        }
        other => default(cx, other),
    });
    let addr = edge.listen_with(small);
    let peers: Vec<_> = (0..COUNT).map(|_| edge.small_peer(&addr)).collect();
    peers.iter().for_each(|peer| peer.ignore());
    edge.until_open(COUNT);
    // A little above the high mark waits in the loop.
    for index in 0..COUNT {
        let id = edge.id(index);
        while edge.cx().pending(id) <= HIGH {
            while edge.cx().send(id, &[1; 500]) == Sent::Queued {}
            edge.pass(Duration::from_millis(2));
        }
    }
    armed.set(true);
    let drains = edge.log().count("drain");
    peers.iter().for_each(|peer| peer.hear());
    edge.until("somebody drains", |edge| edge.log().count("drain") > drains);
    edge.until("the others have their end", |_| {
        peers.iter().filter(|peer| peer.is_closed()).count() == COUNT - 1
    });
    assert_eq!(edge.log().count("drain"), drains + 1);
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
    let addr = edge.listen_with(small);
    let peer = edge.small_peer(&addr);
    peer.ignore();
    peer.send(pattern(ALL));
    edge.until("it has paused", |_| paused.get() > 0);
    let conn = edge.id(0);
    edge.until("the peer does not read", |edge| edge.cx().is_paused(conn));
    peer.hear();
    edge.until("all has come back", |_| peer.count() == ALL);
    assert!(peer.received() == pattern(ALL));
    edge.until("it reads again", |edge| !edge.cx().is_paused(conn));
    peer.shutdown();
    edge.until_all_closed();
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
        let addr = edge.listen_with(small);
        let peer = edge.peer(&addr);
        peer.send("LIST\n");
        edge.until("all has come", |_| peer.count() == all.len());
        assert!(peer.received() == all);
        assert_eq!(edge.log().count("drain"), 1);
        edge.end();
    }
}
