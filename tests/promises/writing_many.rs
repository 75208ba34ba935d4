//! W, continued: many sends, many connections: W7 to W12.

use crate::kit::{
    Kit, any_peer, both, default, pattern, peer, read_all, read_n, reset, small_peer, spawn,
};
use crate::kit::{other_place, write};
use bytes::Bytes;
use sockeye::{Broadcast, Config, ConnId, ConnMap, Connect, Context, EventKind};
use sockeye::{Limits, Listen, Origin, Reason, Sent};
use std::cell::{Cell, RefCell};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn config(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = Config::default();
    change(&mut config.limits);
    config
}

// W7
#[test]
fn a_hundred_thousand_one_byte_sends_to_a_blocked_peer_take_few_writes() {
    both(|listen| {
        let all = pattern(100_000);
        let mut kit = Kit::new(|cx, event| match event {
            EventKind::Open { conn, .. } => {
                for (i, byte) in all.iter().enumerate() {
                    let answer = match i % 3 {
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
        let addr = kit.listen_on(listen);
        let peer = any_peer(&addr);
        kit.until("it is open", |log| log.count("open") == 1);
        kit.turn_for(Duration::from_millis(10));
        let reader = spawn(move || read_all(peer));
        assert!(kit.until_done(reader) == all);
        let writes = kit.cx().stats().writes;
        assert!(writes < 2000, "{writes} writes");
        kit.end();
    });
}

// W7
#[test]
fn more_pieces_than_one_call_may_take_are_written_in_several() {
    const PIECES: usize = 3000;
    for listen in [Listen::new("127.0.0.1:0"), Listen::new(other_place())] {
        let config = config(|limits| limits.hard_limit = 64 << 20);
        let mut kit = Kit::with_config(config, |cx, event| match event {
            EventKind::Open { conn, .. } => {
                for i in 0..PIECES {
                    cx.send(conn, vec![i as u8; 4096]);
                }
                cx.close(conn);
            }
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let reader = spawn(move || read_all(any_peer_default(&addr)));
        let all = kit.until_done(reader);
        assert_eq!(all.len(), PIECES * 4096);
        assert!(
            all.chunks(4096)
                .enumerate()
                .all(|(i, piece)| piece == [i as u8; 4096])
        );
        kit.end();
    }
}

/// A peer whose receive buffer is large.
fn any_peer_default(addr: &sockeye::Addr) -> socket2::Socket {
    let peer = any_peer(addr);
    peer.set_recv_buffer_size(1 << 20).unwrap();
    peer
}

// W8
#[test]
fn partial_vectored_writes_across_the_borders_of_pieces_corrupt_nothing() {
    both(|listen| {
        let (sent, number) = (RefCell::new(Vec::new()), Cell::new(0));
        let config = config(|limits| limits.high_watermark = 40_000);
        let go = |cx: &mut Context, conn: ConnId| {
            let mut sent = sent.borrow_mut();
            loop {
                number.set(number.get() + 1);
                let number = number.get();
                if sent.len() > 1_000_000 {
                    cx.close(conn);
                    break;
                }
                let size = [1, 4095, 4096, 7001, 13, 20_000, 6000][number % 7] + number % 11;
                let bytes: Vec<u8> = (0..size).map(|i| (number * 7 + i) as u8).collect();
                sent.extend_from_slice(&bytes);
                let answer = match number % 3 {
                    0 => cx.send(conn, &bytes),
                    1 => cx.send(conn, bytes),
                    _ => cx.send(conn, (&bytes[..size / 9], bytes[size / 9..].to_vec())),
                };
                if answer == Sent::Wait {
                    break;
                }
            }
        };
        let mut kit = Kit::with_config(config, |cx, event| match event {
            EventKind::Open { conn, .. } | EventKind::Drain { conn } => go(cx, conn),
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let reader = spawn(move || read_all(any_peer(&addr)));
        assert!(kit.until_done(reader) == *sent.borrow());
        kit.end();
    });
}

// W9
#[test]
fn a_handler_that_refills_a_fast_consumer_in_on_drain_does_not_starve_a_timer() {
    const TICK: Duration = Duration::from_millis(10);
    let (ticks, last) = (Cell::new(0), Cell::new(Instant::now()));
    let config = config(|limits| (limits.high_watermark, limits.low_watermark) = (16, 0));
    let mut kit = Kit::with_config(config, |cx, event| match event {
        EventKind::Open { conn, .. } => {
            last.set(Instant::now());
            cx.set_timer(TICK, 0);
            cx.send(conn, [1; 64].as_slice());
        }
        EventKind::Drain { conn } => {
            // So small a write always finds room: the consumer is faster.
            let starved = last.get().elapsed() > Duration::from_secs(5);
            assert!(!starved, "the timer starves");
            match ticks.get() {
                10 => drop(cx.close(conn)),
                _ => assert_eq!(cx.send(conn, [1; 64].as_slice()), Sent::Wait),
            }
        }
        EventKind::Timer { .. } => {
            ticks.set(ticks.get() + 1);
            last.set(Instant::now());
            if ticks.get() < 10 {
                cx.set_timer(TICK, 0);
            }
        }
        other => default(cx, other),
    });
    let addr = kit.listen();
    let reader = spawn(move || std::io::copy(&mut peer(addr), &mut std::io::sink()).unwrap());
    assert!(kit.until_done(reader) > 0);
    kit.end();
}

// W10
#[test]
fn a_write_error_does_not_discard_unread_input() {
    for listen in [Listen::new("127.0.0.1:0"), Listen::new(other_place())] {
        let gone = Cell::new(0);
        let mut config = Config::default();
        config.receive_buffer = 1000;
        let mut kit = Kit::with_config(config, |cx, event| match event {
            EventKind::Data { conn, input } => {
                input.take_all();
                gone.set(gone.get() + usize::from(cx.send(conn, "answer") == Sent::Gone));
            }
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let mut peer = any_peer(&addr);
        peer.set_send_buffer_size(1 << 20).unwrap();
        kit.until("it is open", |log| log.count("open") == 1);
        write(&mut peer, pattern(20_000));
        peer.set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        kit.until_all_closed();
        let life = kit.log().life(kit.log().ids[0]);
        assert!(life.received == pattern(20_000));
        assert!(matches!(life.reason(), Reason::Reset), "{life:?}");
        assert_eq!(
            (life.count("eof"), life.closed.as_ref().unwrap().undelivered),
            (0, 6)
        );
        assert!(gone.get() > 10);
        kit.end();
    }
}

/// Connects each accepted connection to `server`, and passes on bytes, waits and ends. Keeps the
/// most that was ever pending.
fn proxy<'a>(
    server: SocketAddr,
    pairs: &'a RefCell<ConnMap<ConnId>>,
    most: &'a Cell<usize>,
    paused: &'a Cell<bool>,
) -> impl FnMut(&mut Context, EventKind<'_>) + 'a {
    let twin = |conn| *pairs.borrow().get(conn).unwrap();
    move |cx, event| match event {
        EventKind::Open {
            conn,
            origin: Origin::Accepted(_),
        } => {
            let small = Connect::new(server).send_buffer(8192).receive_buffer(8192);
            let other = cx.connect(small);
            pairs.borrow_mut().insert(conn, other);
            pairs.borrow_mut().insert(other, conn);
        }
        EventKind::Data { conn, input } => {
            if cx.send(twin(conn), input.take_all()) == Sent::Wait {
                cx.pause_reads(conn);
                paused.set(true);
            }
            most.set(most.get().max(cx.pending(twin(conn))));
        }
        EventKind::Drain { conn } => drop(cx.resume_reads(twin(conn))),
        EventKind::Eof { conn, .. } => drop(cx.shutdown_write(twin(conn))),
        other => default(cx, other),
    }
}

/// Writes `all` and shuts, and reads to the end meanwhile.
fn exchange(stream: TcpStream, all: &Arc<[u8]>) -> bool {
    let (mut writer, to_write) = (stream.try_clone().unwrap(), all.clone());
    let writing = spawn(move || {
        write(&mut writer, &to_write);
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let received = read_all(stream);
    writing.join().unwrap();
    received == **all
}

// W11
#[test]
fn a_proxy_pair_passes_everything_both_ways_in_bounded_memory() {
    let all: Arc<[u8]> = pattern(8 << 20).into();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&server)
        .set_recv_buffer_size(8192)
        .unwrap();
    let (pairs, most, paused) = (RefCell::default(), Cell::new(0), Cell::new(false));
    let to = server.local_addr().unwrap();
    let mut config = config(|limits| limits.high_watermark = 32 * 1024);
    config.receive_buffer = 16 * 1024;
    let mut kit = Kit::with_config(config, proxy(to, &pairs, &most, &paused));
    let small = Listen::new("127.0.0.1:0")
        .send_buffer(8192)
        .receive_buffer(8192);
    let addr = kit.listen_on(small).ip().unwrap();
    let to_serve = all.clone();
    let serving = spawn(move || exchange(server.accept().unwrap().0, &to_serve));
    let client = spawn(move || exchange(small_peer(addr), &all));
    assert!(kit.until_done(client) && kit.until_done(serving));
    kit.until_all_closed();
    assert_eq!(kit.log().count("eof"), 2);
    assert!(
        paused.get() && most.get() <= (32 + 16) * 1024,
        "{}",
        most.get()
    );
    kit.end();
}

// W11
#[test]
fn a_client_that_closes_while_the_proxy_has_paused_it_loses_nothing() {
    for half in [true, false] {
        let all: Arc<[u8]> = pattern(400_000).into();
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let (pairs, most, paused) = (RefCell::default(), Cell::new(0), Cell::new(false));
        let to = server.local_addr().unwrap();
        let mut kit = Kit::new(proxy(to, &pairs, &most, &paused));
        let addr = kit.listen();
        // The client's end waits in the kernel behind what the proxy does not read.
        let to_write = all.clone();
        let client = spawn(move || {
            let mut client = peer(addr);
            socket2::SockRef::from(&client)
                .set_send_buffer_size(4 << 20)
                .unwrap();
            write(&mut client, &to_write);
            client.shutdown(Shutdown::Write).unwrap();
            half.then_some(client)
        });
        let client = kit.until_done(client);
        kit.until_cx("it is paused", |_, _| paused.get());
        let (backend, _) = server.accept().unwrap();
        assert_eq!(kit.log().count("eof"), 0);
        let reader = spawn(move || read_all(backend) == *all);
        assert!(kit.until_done(reader));
        kit.until_all_closed();
        assert_eq!(kit.log().count("eof"), 2);
        drop(client);
        kit.end();
    }
}

// W12
#[test]
fn a_broadcast_in_which_members_fail_reaches_the_others() {
    for size in [100, 30_000] {
        let members = RefCell::new(Vec::new());
        let outcome = Cell::new(Broadcast::default());
        let config = config(|limits| limits.hard_limit = 100_000);
        let mut kit = Kit::with_config(config, |cx, event| match event {
            EventKind::Open { conn, .. } => members.borrow_mut().push(conn),
            EventKind::Timer { .. } => {
                let answer = cx.broadcast(members.borrow().iter().copied(), vec![9; size]);
                outcome.set(answer);
            }
            other => default(cx, other),
        });
        let addr = kit.listen();
        let (mut first, dead, stuck, mut last) =
            (peer(addr), peer(addr), small_peer(addr), peer(addr));
        kit.until("all are open", |log| log.count("open") == 4);
        let ids = members.borrow().clone();
        let stuck_id = ids[2];
        // Full to the last byte: the next send is one too many.
        while kit.cx().pending(stuck_id) < 100_000 {
            let room = 100_000 - kit.cx().pending(stuck_id);
            kit.cx().send(stuck_id, vec![0; room]);
            kit.turn_for(Duration::from_millis(2));
        }
        reset(dead);
        kit.cx().set_timer(Duration::ZERO, 0);
        kit.until("the timer fires", |log| log.timers.len() == 1);
        let Broadcast {
            queued,
            waiting,
            dropped,
            gone,
        } = outcome.get();
        assert_eq!((queued + waiting + gone, dropped), (4, 0));
        assert!(gone >= 1 && queued >= 2, "{:?}", outcome.get());
        for peer in [&mut first, &mut last] {
            assert_eq!(read_n(peer, size), vec![9; size]);
        }
        kit.until("two are closed", |log| log.closed() == 2);
        assert!(matches!(kit.log().life(ids[1]).reason(), Reason::Reset));
        assert!(matches!(
            kit.log().life(stuck_id).reason(),
            Reason::PendingLimit
        ));
        drop(stuck);
        kit.end();
    }
}
