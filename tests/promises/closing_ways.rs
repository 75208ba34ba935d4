//! X, continued: the ways in which a connection ends: X4 to X8, X11 (X10: finishing.rs).

use crate::kit;
use crate::kit::{Kit, any_peer, both, default, pattern, peer, read_all, spawn, write};
use socket2::{Domain, Socket, Type};
use sockeye::{Config, ConnId, Context, EventKind, Limits, Listen, Reason, Sent};
use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

fn config(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = Config::default();
    change(&mut config.limits);
    config
}

/// A peer that was sent so many bytes and then closed, with so many milliseconds to take something.
fn told_and_closed(
    listen: Listen,
    flush: u64,
    bytes: usize,
) -> (Kit<impl FnMut(&mut Context, EventKind<'_>)>, Socket) {
    let config = config(|limits| limits.close_flush = Duration::from_millis(flush));
    let mut kit = Kit::with_config(config, move |cx, event| match event {
        EventKind::Open { conn, .. } => {
            cx.send(conn, vec![0; bytes]);
            cx.close(conn);
        }
        other => default(cx, other),
    });
    let addr = kit.listen_on(listen);
    let peer = any_peer(&addr);
    kit.until("it is open", |log| log.count("open") == 1);
    (kit, peer)
}

/// All are closed, for the reason that `close` gives.
fn closed_here(kit: &mut Kit<impl FnMut(&mut Context, EventKind<'_>)>) {
    kit.until_all_closed();
    let reason = kit.log().life(kit.log().ids[0]).reason();
    assert!(matches!(reason, Reason::Local), "{reason}");
}

// X4
#[test]
fn the_close_flush_timeout_does_not_hit_a_peer_that_made_room_while_the_loop_stood_still() {
    both(|listen| {
        let (mut kit, mut peer) = told_and_closed(listen, 50, 30_000);
        // What is there is read, while nobody turns the loop for longer than the timeout.
        peer.set_read_timeout(Some(Duration::from_millis(80)))
            .unwrap();
        let mut received = 0;
        while let Ok(count) = peer.read(&mut [0; 4096]) {
            received += count;
            assert!(count > 0 && received < 30_000, "nothing waited in the loop");
        }
        peer.set_read_timeout(Some(kit::PATIENCE)).unwrap();
        let reader = spawn(move || read_all(peer).len());
        assert_eq!(received + kit.until_done(reader), 30_000);
        closed_here(&mut kit);
        kit.end();
    });
}

// X4
#[test]
fn the_close_flush_timeout_starts_anew_whenever_the_peer_takes_something() {
    both(|listen| {
        let (mut kit, mut peer) = told_and_closed(listen, 300, 600_000);
        let mut received = 0;
        for _ in 0..8 {
            peer.set_nonblocking(true).unwrap();
            while let Ok(count) = peer.read(&mut [0; 4096]) {
                received += count;
                assert!(count > 0, "its end came too early");
            }
            kit.turn_for(Duration::from_millis(60));
        }
        assert!(kit.log().closed() == 0 && received > 0);
        peer.set_nonblocking(false).unwrap();
        let reader = spawn(move || read_all(peer).len());
        assert_eq!(received + kit.until_done(reader), 600_000);
        closed_here(&mut kit);
        kit.end();
    });
}

// X5
#[test]
fn unread_input_at_a_close_does_not_turn_into_a_reset_that_kills_the_answer() {
    both(|listen| {
        let mut config = Config::default();
        config.receive_buffer = 1000;
        let mut kit = Kit::with_config(config, |cx, event| match event {
            EventKind::Data { conn, .. } => {
                cx.send(conn, pattern(50_000));
                cx.close(conn);
            }
            other => default(cx, other),
        });
        // The system has the whole answer, and the peer reads it only after the close.
        let addr = kit.listen_on(listen.send_buffer(200_000));
        let mut peer = any_peer(&addr);
        kit.until("it is open", |log| log.count("open") == 1);
        write(&mut peer, [7; 2000]);
        kit.until_cx("it is flushed", |log, cx| {
            log.count("data") == 1 && cx.pending(log.ids[0]) == 0
        });
        kit.turn_for(Duration::from_millis(10));
        let answer = spawn(move || read_all(peer));
        assert!(kit.until_done(answer) == pattern(50_000));
        kit.until_all_closed();
        assert_eq!(
            kit.log().life(kit.log().ids[0]).callbacks,
            ["open", "data", "close"]
        );
        kit.end();
    });
}

// J3
#[test]
fn a_lingering_close_is_bounded_in_time() {
    both(|listen| {
        let mut config = config(|limits| limits.linger_time = Duration::from_millis(50));
        config.receive_buffer = 1000;
        let mut kit = Kit::with_config(config, |cx, event| match event {
            EventKind::Data { conn, .. } => drop(cx.close(conn)),
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let mut peer = any_peer(&addr);
        peer.set_nonblocking(true).unwrap();
        kit.until("it is open", |log| log.count("open") == 1);
        // It goes on sending, and never finishes.
        kit.until_cx("it is closed", |log, _| {
            let _ = peer.write(&[7; 500]);
            log.closed() == 1
        });
        closed_here(&mut kit);
        kit.end();
    });
}

// J3: nothing was unread when it closed, and the peer had more to send.
#[test]
fn a_close_while_the_peer_is_sending_does_not_kill_the_answer() {
    const ANSWER: usize = 200 << 10;
    both(|listen| {
        let mut kit = Kit::new(|cx, event| match event {
            EventKind::Data { conn, input } => {
                input.take_all();
                cx.send(conn, vec![9; ANSWER]);
                cx.close(conn);
            }
            other => default(cx, other),
        });
        // The system takes the whole answer at once.
        let addr = kit.listen_on(listen.send_buffer(1 << 20));
        let uploads: Vec<_> = (0..20)
            .map(|_| {
                let mut peer = any_peer(&addr);
                spawn(move || {
                    for _ in 0..11 {
                        write(&mut peer, [1; 1000]);
                        kit::let_pass(Duration::from_millis(10));
                    }
                    read_all(peer).len()
                })
            })
            .collect();
        for upload in uploads {
            assert_eq!(kit.until_done(upload), ANSWER);
        }
        closed_here(&mut kit);
        kit.end();
    });
}

// J3: a peer that reads only when it has sent all, and more than all buffers take.
#[test]
fn a_close_lets_the_peer_finish_although_its_own_bytes_are_not_out() {
    both(|listen| {
        let mut kit = Kit::new(|cx, event| match event {
            EventKind::Data { conn, input } => {
                input.take_all();
                cx.send(conn, pattern(300_000));
                cx.close(conn);
            }
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let mut peer = any_peer(&addr);
        let talk = spawn(move || {
            write(&mut peer, vec![1; 2 << 20]);
            read_all(peer)
        });
        assert!(kit.until_done(talk) == pattern(300_000));
        closed_here(&mut kit);
        kit.end();
    });
}

// X12: at `max_connections`, and peers that never end.
#[test]
fn those_who_linger_hold_nobody_up() {
    let mut config = Config::default();
    config.max_connections = 10;
    let mut kit = Kit::with_config(config, |cx, event| match event {
        EventKind::Data { conn, input } => {
            cx.send(conn, input.take_all());
            cx.close(conn);
        }
        other => default(cx, other),
    });
    let addr = kit.listen();
    let mut stay = Vec::new();
    for _ in 0..100 {
        let mut one = peer(addr);
        let talk = spawn(move || {
            write(&mut one, "hello");
            let answer = read_all(&mut one);
            (one, answer)
        });
        let (one, answer) = kit.until_done(talk);
        assert_eq!(answer, b"hello");
        stay.push(one);
    }
    assert_eq!(kit.log().closed(), 90);
    assert_eq!(kit.cx().stats().refused, 0);
    drop(stay);
    closed_here(&mut kit);
    kit.end();
}

// X5: a peer that stays silent and open costs no turns meanwhile (`end` sees to that).
#[test]
fn a_silent_peer_of_a_lingering_close_costs_nothing() {
    let mut config = Config::default();
    config.receive_buffer = 1000;
    let mut kit = Kit::with_config(config, |cx, event| match event {
        EventKind::Data { conn, .. } => drop(cx.close(conn)),
        other => default(cx, other),
    });
    let addr = kit.listen();
    let mut peer = peer(addr);
    kit.until("it is open", |log| log.count("open") == 1);
    write(&mut peer, [7; 5000]);
    assert_eq!(read_after_turns(&mut kit, &mut peer), 0);
    assert_eq!(kit.log().closed(), 0, "it lingers");
    kit.end();
}

fn read_after_turns<F: FnMut(&mut Context, EventKind<'_>)>(
    kit: &mut Kit<F>,
    peer: &mut std::net::TcpStream,
) -> usize {
    let mut copy = peer.try_clone().unwrap();
    let reader = spawn(move || copy.read(&mut [0; 100]).unwrap());
    kit.until_done(reader)
}

// X6
#[test]
fn an_abort_is_a_reset_that_drops_what_is_pending() {
    let mut kit = Kit::new(|cx, event| match event {
        EventKind::Open { conn, .. } => {
            cx.send(conn, vec![0; 8 << 20]);
        }
        other => default(cx, other),
    });
    let (mut peer, id) = kit.accept();
    let pending = kit.cx().pending(id);
    assert!(pending > 0 && kit.cx().abort(id));
    assert_eq!(
        (kit.cx().pending(id), kit.cx().send(id, "x")),
        (0, Sent::Gone)
    );
    kit.until("it is closed", |log| log.closed() == 1);
    let life = kit.log().life(id);
    assert!(matches!(life.reason(), Reason::Aborted));
    assert_eq!(life.closed.as_ref().unwrap().undelivered, pending as u64);
    assert_eq!(life.callbacks, ["open", "close"]);
    let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    kit.end();
}

// X7
#[test]
fn ending_a_connection_twice_is_ending_it_once() {
    type End = fn(&mut Context, ConnId) -> bool;
    let ways: [(End, End, bool, &str); 6] = [
        (Context::close, Context::close, false, "Local"),
        (Context::close, Context::abort, true, "Aborted"),
        (Context::abort, Context::close, false, "Aborted"),
        (Context::abort, Context::abort, false, "Aborted"),
        (Context::shutdown_write, Context::close, true, "Local"),
        (Context::close, Context::shutdown_write, false, "Local"),
    ];
    both(|listen| {
        let ids = RefCell::new(Vec::new());
        let mut kit = Kit::new(|cx, event| match event {
            EventKind::Open { conn, .. } => {
                let (first, second, answer, _) = ways[ids.borrow().len()];
                ids.borrow_mut().push(conn);
                cx.send(conn, vec![0; 100_000]);
                assert!(first(cx, conn));
                assert_eq!(second(cx, conn), answer);
            }
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let peers: Vec<Socket> = ways.iter().map(|_| any_peer(&addr)).collect();
        kit.until("all are open", |log| log.count("open") == ways.len());
        for mut peer in peers {
            let reader = spawn(move || drop(peer.read_to_end(&mut Vec::new())));
            kit.until_done(reader);
        }
        kit.until_all_closed();
        for (id, way) in ids.borrow().iter().zip(&ways) {
            let life = kit.log().life(*id);
            assert_eq!(format!("{:?}", life.reason()), way.3);
            assert_eq!(life.callbacks, ["open", "close"]);
            assert_eq!(
                life.closed.as_ref().unwrap().undelivered > 0,
                way.3 == "Aborted"
            );
        }
        kit.end();
    });
}

// X8
#[test]
fn a_shutdown_with_bytes_queued_sends_fin_after_the_last_and_then_awaits_the_peers_end() {
    both(|listen| {
        let mut kit = Kit::new(|cx, event| match event {
            EventKind::Open { conn, .. } => {
                cx.send(conn, pattern(300_000));
                assert!(cx.shutdown_write(conn) && cx.shutdown_write(conn));
            }
            // No close: both sides are shut, so `on_close` comes by itself.
            EventKind::Eof { .. } => {}
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let reader = spawn(move || {
            let mut peer = any_peer(&addr);
            (read_all(&mut peer), peer)
        });
        let (received, mut peer) = kit.until_done(reader);
        assert!(received == pattern(300_000));
        kit.turn_for(Duration::from_millis(20));
        assert_eq!(kit.log().closed(), 0);
        write(&mut peer, "one more");
        kit.until("it is heard", |log| log.count("data") == 1);
        peer.shutdown(Shutdown::Write).unwrap();
        kit.until("it is closed", |log| log.closed() == 1);
        let life = kit.log().life(kit.log().ids[0]);
        let names: Vec<_> = life
            .callbacks
            .iter()
            .filter(|name| **name != "drain")
            .collect();
        assert_eq!(names, [&"open", &"data", &"eof", &"close"]);
        assert!(life.closed.as_ref().unwrap().is_clean() && matches!(life.reason(), Reason::Eof));
        kit.end();
    });
}

// X8
#[test]
fn a_shutdown_after_the_peers_end_closes_promptly_and_delivers_what_is_queued() {
    both(|listen| {
        let mut kit = Kit::new(|cx, event| match event {
            EventKind::Eof { conn, .. } => {
                cx.set_timer(Duration::from_millis(1), 0);
                cx.send(conn, pattern(100_000));
            }
            EventKind::Timer { .. } => {
                let ids: Vec<ConnId> = cx.connections().collect();
                assert!(cx.shutdown_write(ids[0]));
            }
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        let reader = spawn(move || {
            let mut peer = any_peer(&addr);
            peer.shutdown(Shutdown::Write).unwrap();
            (read_all(&mut peer), peer)
        });
        let (received, peer) = kit.until_done(reader);
        assert!(received == pattern(100_000));
        kit.until("it is closed", |log| log.closed() == 1);
        assert!(matches!(
            kit.log().life(kit.log().ids[0]).reason(),
            Reason::Eof
        ));
        drop(peer);
        kit.end();
    });
}

/// A listener whose backlog is full: whoever connects now, waits.
fn full_backlog() -> (SocketAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut sockets = vec![listener];
    for _ in 0..3 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&addr);
        sockets.push(socket);
    }
    (addr.as_socket().unwrap(), sockets)
}

// X11
#[test]
fn a_close_while_connecting_reports_with_and_without_bytes_pending() {
    let (addr, sockets) = full_backlog();
    let config = config(|limits| limits.connect_timeout = Duration::from_millis(300));
    let mut kit = Kit::with_config(config, default);
    let (plain, pending, aborted) = (kit.connect(addr), kit.connect(addr), kit.connect(addr));
    kit.turn_for(Duration::from_millis(5));
    assert_eq!(kit.cx().send(pending, "hello"), Sent::Queued);
    assert!(kit.cx().close(plain) && kit.cx().close(pending) && kit.cx().abort(aborted));
    kit.until("two are closed", |log| {
        log.is_closed(plain) && log.is_closed(aborted)
    });
    kit.until("the last is given up", |log| log.is_closed(pending));
    let reason = |id| format!("{:?}", kit.log().life(id).reason());
    assert_eq!(
        [reason(plain), reason(pending), reason(aborted)],
        ["Local", "ConnectTimedOut", "Aborted"]
    );
    assert_eq!(
        kit.log().life(pending).closed.as_ref().unwrap().undelivered,
        5
    );
    assert_eq!(kit.log().count("open"), 0);
    drop(sockets);
    kit.end();
}

// X11
#[test]
fn a_close_while_connecting_delivers_what_was_sent_before_it() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut kit = Kit::new(default);
    let id = kit.connect(server.local_addr().unwrap());
    kit.cx().send(id, "hello");
    assert!(kit.cx().close(id) && !kit.cx().close(id));
    let reader = spawn(move || read_all(server.accept().unwrap().0));
    assert_eq!(kit.until_done(reader), b"hello");
    kit.until("it is closed", |log| log.is_closed(id));
    assert_eq!(kit.log().life(id).callbacks, ["close"]);
    kit.end();
}

// X11
#[test]
fn a_close_while_paused_reports_whatever_the_peer_does() {
    both(|listen| {
        let mut kit = Kit::new(|cx, event| match event {
            EventKind::Open { conn, .. } => assert!(cx.pause_reads(conn)),
            other => default(cx, other),
        });
        let addr = kit.listen_on(listen);
        for ending in 0..4 {
            let mut peer = any_peer(&addr);
            kit.until("it is open", |log| log.count("open") == ending + 1);
            let id = *kit.log().ids.last().unwrap();
            match ending {
                0 => {}
                1 => write(&mut peer, "unread"),
                2 => peer.shutdown(Shutdown::Write).unwrap(),
                _ => peer.set_linger(Some(Duration::ZERO)).unwrap(),
            }
            let peer = Some(peer).filter(|_| ending != 3);
            kit.turn_for(Duration::from_millis(5));
            assert!(kit.cx().close(id));
            drop(peer);
            kit.until("it is closed", |log| log.is_closed(id));
            assert_eq!(kit.log().life(id).callbacks, ["open", "close"]);
        }
        kit.end();
    });
}
