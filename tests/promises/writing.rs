//! W: writing and backpressure, on TCP and on Unix sockets.

use crate::kit;
use crate::kit::{Kit, any_peer, both, default, pattern, read_all, read_n, spawn, write};
use bytes::Bytes;
use socket2::Socket;
use sockeye::{Config, ConnId, Context, EventKind, Limits, Overflow, Reason, Sent};
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

const HIGH: usize = 8000;
const LOW: usize = 2000;

/// Small watermarks, and this hard limit.
fn limits(hard_limit: usize) -> Limits {
    let mut limits = Limits::default();
    limits.high_watermark = HIGH;
    limits.low_watermark = LOW;
    limits.hard_limit = hard_limit;
    limits
}

fn config(limits: Limits) -> Config {
    let mut config = Config::default();
    config.limits = limits;
    config
}

/// Sends `all` in pieces, from `*sent` on, until told to wait, or to the end.
fn fill(cx: &mut Context, conn: ConnId, all: &[u8], sent: &Cell<usize>) -> Sent {
    const PIECE: usize = 1000;
    let mut answer = Sent::Queued;
    while sent.get() < all.len() && answer == Sent::Queued {
        let end = (sent.get() + PIECE).min(all.len());
        answer = cx.send(conn, &all[sent.get()..end]);
        sent.set(end);
    }
    answer
}

// W1
#[test]
fn a_slow_reader_costs_the_high_mark_and_one_send_and_every_wait_is_ended_by_one_drain() {
    both(|listen| {
        let all = pattern(300_000);
        let (sent, waiting, waits) = (Cell::new(0), Cell::new(false), Cell::new(0));
        let go = |cx: &mut Context, conn| match fill(cx, conn, &all, &sent) {
            Sent::Wait => {
                assert!(!waiting.replace(true));
                assert!(cx.pending(conn) > HIGH && cx.pending(conn) <= HIGH + 1000);
                waits.set(waits.get() + 1);
            }
            _ => assert!(cx.close(conn)),
        };
        let mut kit = Kit::with_config(config(limits(HIGH * 2)), |cx, event| match event {
            EventKind::Open { conn, .. } => go(cx, conn),
            EventKind::Drain { conn } => {
                assert!(waiting.replace(false), "a drain without a wait");
                assert!(cx.pending(conn) <= LOW);
                go(cx, conn);
            }
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let reader = spawn(move || read_all(any_peer(&addr)));
        assert!(kit.until_done(reader) == all);
        kit.until_all_closed();
        assert!(waits.get() > 10 && kit.log().count("drain") == waits.get());
        kit.end();
    });
}

// W1
#[test]
fn what_is_sent_after_a_wait_meets_the_hard_limit_which_closes_with_its_reason() {
    both(|listen| {
        let hard = 4 * HIGH;
        let mut kit = Kit::with_config(config(limits(hard)), |cx, event| match event {
            EventKind::Open { conn, .. } => {
                // More than the system takes for a peer that does not read.
                assert_eq!(cx.send(conn, vec![0; 3 * HIGH]), Sent::Wait);
                cx.set_timer(Duration::ZERO, 0);
            }
            // One send a flush.
            EventKind::Timer { .. } => {
                let conn = cx.connections().next().unwrap();
                match cx.send(conn, &[0; 100]) {
                    Sent::Wait => {
                        assert!(cx.pending(conn) <= hard);
                        cx.set_timer(Duration::ZERO, 0);
                    }
                    answer => {
                        assert_eq!(answer, Sent::Gone);
                        assert!(!cx.is_open(conn) && !cx.close(conn) && !cx.abort(conn));
                    }
                }
            }
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let peer = any_peer(&addr);
        kit.until_cx("it is closed", |log, _| log.closed() == 1);
        let life = kit.log().life(kit.log().ids[0]);
        assert_eq!(life.callbacks, ["open", "close"]);
        assert!(matches!(life.reason(), Reason::PendingLimit));
        let lost = life.closed.as_ref().unwrap().undelivered as usize;
        assert!(lost > hard - 100 && lost <= hard, "{lost}");
        drop(peer);
        kit.end();
    });
}

// W1
#[test]
fn the_policy_drop_newest_drops_whole_sends_and_keeps_the_rest() {
    both(|listen| {
        let (kept, dropped) = (RefCell::new(Vec::new()), Cell::new(0));
        let mut limits = limits(2 * HIGH);
        limits.overflow = Overflow::DropNewest;
        let mut kit = Kit::with_config(config(limits), |cx, event| match event {
            EventKind::Open { .. } => _ = cx.set_timer(Duration::ZERO, 0),
            // One send a flush.
            EventKind::Timer { key, .. } if key < 150 => {
                let conn = cx.connections().next().unwrap();
                // The longer ones no longer fit, and the shorter ones still do.
                let frame = vec![key as u8; 300 + 400 * (key as usize % 2)];
                match cx.send(conn, &frame) {
                    Sent::Dropped => dropped.set(dropped.get() + 1),
                    Sent::Gone => panic!("it is open"),
                    _ => kept.borrow_mut().extend(frame),
                }
                assert!(cx.pending(conn) <= 2 * HIGH);
                cx.set_timer(Duration::ZERO, key + 1);
            }
            EventKind::Drain { conn } => drop(cx.close(conn)),
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let peer = any_peer(&addr);
        kit.until("all were sent", |log| log.timers.len() == 151);
        let reader = spawn(move || read_all(peer));
        assert!(kit.until_done(reader) == *kept.borrow());
        assert!(dropped.get() > 20 && kit.log().count("drain") == 1);
        kit.end();
    });
}

// W1
#[test]
fn one_send_of_any_size_made_below_the_high_mark_is_taken() {
    let all = pattern(4 << 20);
    let mut kit = Kit::with_config(config(limits(HIGH)), |cx, event| match event {
        EventKind::Open { conn, .. } => {
            assert_eq!(cx.send(conn, &all[..HIGH]), Sent::Queued);
            assert_eq!(cx.send(conn, &all[HIGH..]), Sent::Wait);
            assert_eq!(cx.pending(conn), all.len());
        }
        EventKind::Drain { conn } => drop(cx.close(conn)),
        other => default(cx, other),
    });
    let addr = kit.listen();
    let reader = spawn(move || read_all(kit::peer(addr)));
    assert!(kit.until_done(reader) == all);
    assert_eq!(kit.log().count("drain"), 1);
    kit.end();
}

// W2
#[test]
fn writing_again_in_on_drain_a_thousand_times_gives_a_thousand_drains() {
    both(|listen| {
        let drains = Cell::new(0);
        let mut limits = limits(HIGH);
        (limits.high_watermark, limits.low_watermark) = (1000, 300);
        let mut kit = Kit::with_config(config(limits), |cx, event| match event {
            EventKind::Open { conn, .. } => assert_eq!(cx.send(conn, &[1; 1001]), Sent::Wait),
            EventKind::Drain { conn } => {
                assert!(cx.pending(conn) <= 300);
                drains.set(drains.get() + 1);
                match drains.get() {
                    1000 => drop(cx.close(conn)),
                    // Not one of these is below the wait's end, whatever was pending before.
                    _ => assert_eq!(cx.send(conn, &[1; 1001]), Sent::Wait),
                }
            }
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let reader = spawn(move || read_all(any_peer(&addr)).len());
        assert_eq!(kit.until_done(reader), 1001 * 1000);
        assert_eq!(kit.log().count("drain"), 1000);
        kit.end();
    });
}

/// Payloads of every form to one connection, and a copy of them.
#[derive(Default)]
struct Series {
    to: Option<ConnId>,
    sent: Vec<u8>,
    number: usize,
    after_wait: usize,
}

impl Series {
    /// Sends the next, unless enough was sent after a `Wait`.
    fn send(&mut self, cx: &mut Context) {
        let Some(to) = self.to.filter(|_| self.after_wait < 8) else {
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
    }
}

// W3
#[test]
fn bytes_sent_from_all_kinds_of_callbacks_arrive_in_the_order_of_the_calls() {
    const TICK: Duration = Duration::from_millis(1);
    both(|listen| {
        let (shared, kinds) = (Rc::new(RefCell::new(Series::default())), Cell::new([0; 4]));
        let note = |kind: usize, cx: &mut Context| {
            let (mut series, mut counts) = (shared.borrow_mut(), kinds.get());
            counts[kind] += 1;
            kinds.set(counts);
            series.send(cx);
            if counts.iter().all(|count| *count >= 5) && series.sent.len() > 200_000 {
                // Not `close`: the peer goes on sending, which a closed socket answers with a RST.
                series.to.take().map(|to| cx.shutdown_write(to));
            }
        };
        let mut kit = Kit::with_config(config(limits(1 << 20)), |cx, event| match event {
            EventKind::Open { conn, .. } if shared.borrow().to.is_none() => {
                shared.borrow_mut().to = Some(conn);
                cx.set_timer(TICK, 0);
            }
            EventKind::Data { conn, input } => {
                input.take_all();
                let own = shared.borrow().to == Some(conn);
                note(usize::from(own), cx);
                if !own {
                    cx.send(conn, "x");
                }
            }
            EventKind::Drain { .. } => {
                shared.borrow_mut().after_wait = 0;
                note(2, cx);
            }
            EventKind::Timer { .. } if shared.borrow().to.is_some() => {
                note(3, cx);
                cx.set_timer(TICK, 0);
            }
            other => default(cx, other),
        });
        let copy = shared.clone();
        kit.app.on_message = Some(Box::new(move |cx, _| copy.borrow_mut().send(cx)));
        let addr = kit.listen_on(listen);
        let reader = any_peer(&addr);
        kit.until("the target is open", |log| log.count("open") == 1);
        let pings = spawn_pings(any_peer(&addr));
        let reader = spawn(move || read_and_ping(reader));
        let sender = kit.sender();
        kit.until_cx("the reader ends", |_, _| {
            sender.send(0).unwrap();
            reader.is_finished()
        });
        assert!(reader.join().unwrap() == shared.borrow().sent);
        assert!(kit.log().messages.len() > 5);
        kit.until_done(pings);
        kit.end();
    });
}

/// Reads to the end, and sends something before each read.
fn read_and_ping(mut peer: Socket) -> Vec<u8> {
    let (mut all, mut chunk) = (Vec::new(), [0; 2000]);
    loop {
        // The loop may have closed it meanwhile.
        let _ = peer.write(b"x");
        match peer.read(&mut chunk).unwrap() {
            0 => return all,
            count => all.extend_from_slice(&chunk[..count]),
        }
    }
}

fn spawn_pings(mut peer: Socket) -> JoinHandle<()> {
    spawn(move || {
        for _ in 0..200 {
            write(&mut peer, "x");
            read_n(&mut peer, 1);
        }
    })
}

// W5
#[test]
fn a_send_after_shutdown_write_or_close_is_gone_and_sends_nothing() {
    for end in [Context::shutdown_write, Context::close] {
        both(|listen| {
            let mut kit = Kit::new(|cx, event| match event {
                EventKind::Data { conn, input } => {
                    cx.send(conn, input.take_all());
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
            let addr = kit.listen_on(listen);
            let answer = spawn(move || {
                let mut peer = any_peer(&addr);
                write(&mut peer, "the last");
                let answer = read_all(&peer);
                // Its writing side is still open, and so is the loop's side after a shutdown.
                (answer, peer)
            });
            let (answer, peer) = kit.until_done(answer);
            assert_eq!(answer, b"the last");
            kit.until("the timer fires", |log| log.timers.len() == 1);
            drop(peer);
            kit.until_all_closed();
            let id = kit.log().ids[0];
            assert_eq!(kit.cx().send(id, "stale"), Sent::Gone);
            kit.end();
        });
    }
}

// W6
#[test]
fn no_drain_comes_after_a_close_though_a_wait_was_answered() {
    both(|listen| {
        let mut kit = Kit::with_config(config(limits(1 << 20)), |cx, event| match event {
            EventKind::Open { conn, .. } => {
                assert_eq!(cx.send(conn, vec![1; 200_000]), Sent::Wait);
                cx.close(conn);
            }
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let reader = spawn(move || read_all(any_peer(&addr)).len());
        assert_eq!(kit.until_done(reader), 200_000);
        kit.until_all_closed();
        assert_eq!(
            kit.log().life(kit.log().ids[0]).callbacks,
            ["open", "close"]
        );
        kit.end();
    });
}

// W6
#[test]
fn no_drain_comes_after_a_close_in_the_drain_of_another_in_the_same_batch() {
    both(|listen| {
        let armed = Cell::new(false);
        let mut kit = Kit::with_config(config(limits(1 << 20)), |cx, event| match event {
            EventKind::Drain { conn } if armed.get() => {
                let others: Vec<ConnId> = cx.connections().filter(|id| *id != conn).collect();
                assert!(others.into_iter().all(|id| cx.close(id)));
            }
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let peers: Vec<Socket> = (0..4).map(|_| any_peer(&addr)).collect();
        kit.until("all are open", |log| log.ids.len() == 4);
        let ids = kit.log().ids.clone();
        // Blocked peers: a little above the high mark waits in the loop, a lot in the kernel.
        for id in &ids {
            while kit.cx().pending(*id) <= HIGH {
                while kit.cx().send(*id, &[1; 500]) == Sent::Queued {}
                kit.turn_for(Duration::from_millis(2));
            }
        }
        armed.set(true);
        let drains = kit.log().count("drain");
        for mut peer in &peers {
            // All that is there, while the loop stands still: each has room when it turns again.
            peer.set_read_timeout(Some(Duration::from_millis(30)))
                .unwrap();
            while peer.read(&mut [0; 65536]).is_ok_and(|count| count > 0) {}
        }
        kit.until("somebody drains", |log| log.count("drain") > drains);
        drop(peers);
        kit.until_all_closed();
        assert_eq!(kit.log().count("drain"), drains + 1);
        kit.end();
    });
}
