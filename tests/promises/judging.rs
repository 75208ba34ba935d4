//! Nobody is judged by a stale clock: J1, J2, J6 on real sockets, in the cases that only a kernel
//! has. `src/tests/asked.rs` has the rest, call by call.

use crate::kit::{Kit, PATIENCE, any_peer, both, default, let_pass, peer, read_all, spawn, write};
use sockeye::{Config, Context, EventKind, Limits, Listen};
use std::cell::Cell;
use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

const TOTAL: usize = 12 << 20;

/// Under wine, where each call goes through one server, all times here are longer: so they keep
/// their order beside a load.
fn ms(count: u64) -> Duration {
    Duration::from_millis(if cfg!(windows) { 5 * count } else { count })
}

fn config(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = Config::default();
    change(&mut config.limits);
    config
}

/// Sends much to whoever comes, and closes.
fn give_all(cx: &mut Context, event: EventKind<'_>) {
    match event {
        EventKind::Open { conn, .. } => {
            cx.send(conn, vec![5; TOTAL]);
            cx.close(conn);
        }
        other => default(cx, other),
    }
}

// J2: Linux calls a socket writable when a third of its buffer is free, here megabytes. So a peer
// that reads all the time gives no sign of it for far longer than the timeout.
#[test]
fn a_slow_reader_that_reads_all_the_time_is_not_reset_after_a_close() {
    let config = config(|limits| limits.close_flush = ms(250));
    let mut kit = Kit::with_config(config, give_all);
    let mut peer = peer(kit.listen());
    let mut received = 0;
    for _ in 0..100 {
        kit.turn_for(ms(10));
        received += peer.read(&mut [0; 10 * 1024]).unwrap();
    }
    assert_eq!(kit.log().closed(), 0);
    let reader = spawn(move || read_all(peer).len());
    assert_eq!(received + kit.until_done(reader), TOTAL);
    kit.until_all_closed();
    let closed = kit.log().life(kit.log().ids[0]).closed.as_ref().unwrap();
    assert!(closed.is_clean(), "{closed}");
    kit.end();
}

/// A message that takes the loop longer than any timeout here. The wait of that turn knew nothing
/// of what happens meanwhile, and its timers fire right after.
fn hold_up<F: FnMut(&mut Context, EventKind<'_>)>(kit: &mut Kit<F>) {
    kit.app.on_message = Some(Box::new(|_, _| let_pass(ms(400))));
    kit.sender().send(0).unwrap();
}

/// Sends much to whoever comes, and is held up. The peer empties the kernel's buffer meanwhile.
fn held_up_while_it_sends(close: bool) {
    let config = config(|limits| {
        limits.close_flush = ms(200);
        limits.write_stall = ms(200);
    });
    let mut kit = Kit::with_config(config, |cx, event| match event {
        EventKind::Open { conn, .. } => {
            cx.send(conn, vec![5; TOTAL]);
            if close {
                cx.close(conn);
            }
        }
        EventKind::Drain { conn } => drop(cx.close(conn)),
        other => default(cx, other),
    });
    let mut peer = peer(kit.listen());
    kit.until("it is open", |log| log.count("open") == 1);
    kit.turn_for(ms(20));
    let reader = spawn(move || {
        // It begins in time, while the loop is held up.
        let_pass(ms(100));
        read_all(&mut peer).len()
    });
    hold_up(&mut kit);
    assert_eq!(kit.until_done(reader), TOTAL);
    kit.until_all_closed();
    let closed = kit.log().life(kit.log().ids[0]).closed.as_ref();
    assert!(closed.unwrap().is_clean(), "{closed:?}");
    kit.end();
}

// J1
#[test]
fn a_callback_that_takes_long_is_not_laid_to_a_peer_that_takes_bytes() {
    held_up_while_it_sends(false);
    held_up_while_it_sends(true);
}

// J1
#[test]
fn a_callback_that_takes_long_is_not_laid_to_a_peer_that_speaks() {
    let mut kit = Kit::new(|cx, event| match event {
        EventKind::Deadline { conn, .. } => panic!("{conn} has spoken all the time"),
        other => default(cx, other),
    });
    let addr = kit.listen_on(Listen::new("127.0.0.1:0").idle(ms(200)));
    let mut talker = peer(addr.ip().unwrap());
    kit.until("it is open", |log| log.count("open") == 1);
    hold_up(&mut kit);
    let talking = spawn(move || {
        for _ in 0..30 {
            let_pass(ms(20));
            write(&mut talker, "x");
        }
        talker
    });
    let talker = kit.until_done(talking);
    assert_eq!(kit.log().messages.len(), 1);
    drop(talker);
    kit.until_all_closed();
    kit.end();
}

// J1: nobody turns the loop for longer than the timeout, and the peer reads what is there.
#[test]
fn the_time_of_a_close_does_not_hit_a_peer_that_made_room_while_the_loop_stood_still() {
    both(|listen| {
        let config = config(|limits| limits.close_flush = ms(50));
        let mut kit = Kit::with_config(config, |cx, event| match event {
            EventKind::Open { conn, .. } => {
                cx.send(conn, vec![0; 30_000]);
                cx.close(conn);
            }
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let mut peer = any_peer(&addr);
        kit.until("it is open", |log| log.count("open") == 1);
        peer.set_read_timeout(Some(ms(80))).unwrap();
        let mut received = 0;
        while let Ok(count) = peer.read(&mut [0; 4096]) {
            received += count;
            assert!(count > 0 && received < 30_000, "nothing waited in the loop");
        }
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let reader = spawn(move || read_all(peer).len());
        assert_eq!(received + kit.until_done(reader), 30_000);
        kit.until_all_closed();
        let closed = kit.log().life(kit.log().ids[0]).closed.as_ref().unwrap();
        assert!(closed.is_clean(), "{closed}");
        kit.end();
    });
}

// J1: more have become readable than one wait gives events.
#[test]
fn a_full_batch_of_events_is_not_laid_to_those_behind_it() {
    const COUNT: usize = 50;
    let mut config = config(|limits| limits.idle = Some(ms(300)));
    config.events_per_wait = 4;
    let mut kit = Kit::with_config(config, |cx, event| match event {
        EventKind::Deadline { conn, .. } => panic!("{conn} has spoken in time"),
        other => default(cx, other),
    });
    let addr = kit.listen();
    let mut peers: Vec<TcpStream> = (0..COUNT).map(|_| peer(addr)).collect();
    kit.until("all are open", |log| log.count("open") == COUNT);
    let_pass(ms(150));
    peers.iter_mut().for_each(|peer| write(peer, "x"));
    let_pass(ms(200));
    kit.until("all are heard", |log| log.count("data") == COUNT);
    drop(peers);
    kit.until_all_closed();
    kit.end();
}

// J6
#[test]
fn the_flush_of_a_close_counts_from_the_close_also_in_a_turn_that_has_taken_long() {
    let asked = Cell::new(None);
    let config = config(|limits| limits.close_flush = ms(100));
    let mut kit = Kit::with_config(config, |cx, event| match event {
        EventKind::Open { .. } => drop(cx.set_timer(ms(1), 0)),
        EventKind::Timer { .. } => {
            let_pass(ms(250));
            let conn = cx.connections().next().unwrap();
            cx.send(conn, vec![7; 2 * TOTAL]);
            asked.set(Some(std::time::Instant::now()));
            cx.close(conn);
        }
        EventKind::Close { .. } => assert!(asked.get().unwrap().elapsed() >= ms(100)),
        other => default(cx, other),
    });
    let peer = peer(kit.listen());
    kit.until("it is given up", |log| log.closed() == 1);
    assert!(asked.get().unwrap().elapsed() < PATIENCE);
    drop(peer);
    kit.end();
}
