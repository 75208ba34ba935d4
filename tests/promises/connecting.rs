//! C: connecting.

use crate::kit::places::{
    TempDir, black_hole, end_in_time, in_own_process, is_own_process, other_server, refusing,
    refusing_at, until_acked,
};
use crate::kit::{Kit, default, descriptors, echo, pattern, peer, read_all, read_n, reset};
use crate::kit::{slot_of, spawn, write};
use sockeye::{AnyAddr, ConnId, Connect, Context, EventKind, Origin, Reason, Sent, ToAddr};
use std::cell::Cell;
use std::collections::HashSet;
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What a connect to a Unix path ends with where there is no file.
const NO_SUCH_PATH: ErrorKind = match cfg!(unix) {
    true => ErrorKind::NotFound,
    false => ErrorKind::Unsupported, // there is no such kind of socket
};

/// Connects where nobody listens, again and again: each is reported once, and later.
fn is_refused(addr: impl ToAddr, rounds: usize, kind: ErrorKind) {
    let connect = Connect::new(addr);
    let mut kit = Kit::new(default);
    let mut slots = HashSet::new();
    for round in 0..rounds {
        let conn = kit.connect(connect.clone());
        assert_eq!(kit.log().ids.len(), round, "reported from inside connect");
        kit.until_closed(conn);
        let life = kit.log().life(conn);
        assert_eq!(life.callbacks, ["close"]);
        let Reason::ConnectFailed(error) = life.reason() else {
            panic!("{life:?}");
        };
        assert_eq!(error.kind(), kind);
        slots.insert(slot_of(conn));
    }
    assert!(slots.len() <= 2, "slots leak: {slots:?}");
    assert_eq!(kit.cx().stats().closed.connect_failed, rounds as u64);
    kit.end();
}

// C1
#[test]
fn a_refused_connect_is_reported_once_and_later() {
    let (_port, addr) = refusing();
    is_refused(addr, 20, ErrorKind::ConnectionRefused);
    let dir = TempDir::new();
    is_refused(dir.file("nobody"), 20, NO_SUCH_PATH);
    let (server, stale) = other_server(&dir);
    drop(server);
    is_refused(stale, 20, ErrorKind::ConnectionRefused);
    is_refused("no-address", 20, ErrorKind::InvalidInput);
}

// C1
#[test]
fn a_thousand_refused_connects_leak_no_descriptor() {
    in_own_process("connecting::a_thousand_refused_connects");
}

#[test]
#[ignore = "runs in a process of its own, whose descriptors it counts"]
fn a_thousand_refused_connects() {
    if !is_own_process() {
        return;
    }
    let dir = TempDir::new();
    let (_port, addr) = refusing();
    let before = descriptors();
    is_refused(addr, 1000, ErrorKind::ConnectionRefused);
    is_refused(dir.file("nobody"), 1000, NO_SUCH_PATH);
    assert_eq!(descriptors(), before);
}

// C1
#[test]
fn many_refused_at_once_are_each_reported_once() {
    let (_port, addr) = refusing();
    let mut kit = Kit::new(default);
    let conns: Vec<ConnId> = (0..100).map(|_| kit.connect(addr)).collect();
    assert!(kit.log().ids.is_empty());
    for conn in conns {
        kit.until_closed(conn);
        assert_eq!(kit.log().life(conn).callbacks, ["close"]);
    }
    kit.end();
}

// C1
#[test]
fn a_connect_over_ipv6_is_refused_and_accepted_too() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        return;
    };
    let addr = listener.local_addr().unwrap();
    let mut kit = Kit::new(echo);
    let conn = kit.connect(addr);
    let (mut peer, _) = listener.accept().unwrap();
    write(&mut peer, "six");
    let answer = spawn(move || read_n(&mut peer, 3));
    assert_eq!(kit.until_done(answer), b"six");
    kit.until_closed(conn);
    assert_eq!(kit.log().life(conn).callbacks[0], "open");
    let (_port, addr) = refusing_at("[::1]:0");
    let refused = kit.connect(addr);
    kit.until_closed(refused);
    assert_eq!(kit.log().life(refused).callbacks, ["close"]);
    kit.end();
}

// C2, C3
#[test]
fn a_black_hole_is_silent_until_its_timeout_and_never_reported_before() {
    let (_listener, _filler, addr) = black_hole();
    let mut kit = Kit::new(default);
    let timeout = Duration::from_millis(300);
    let start = Instant::now();
    let conn = kit.connect(Connect::new(addr).timeout(timeout));
    assert_eq!(kit.cx().send(conn, "hello"), Sent::Queued);
    assert!(!kit.cx().is_open(conn));
    let turns = kit.turn_for(Duration::from_millis(200));
    assert!(turns <= 20, "a spin: {turns} turns");
    // A slow machine may have come past the timeout in the meantime.
    if start.elapsed() < timeout {
        assert!(kit.log().ids.is_empty(), "{:?}", kit.log());
    }
    kit.until_closed(conn);
    assert!(start.elapsed() >= timeout, "too early");
    let life = kit.log().life(conn);
    assert_eq!(life.callbacks, ["close"]);
    assert!(matches!(life.reason(), Reason::ConnectTimedOut), "{life:?}");
    assert_eq!(life.closed.as_ref().unwrap().undelivered, 5);
    kit.end();
}

// C3
#[test]
fn each_connect_has_its_own_timeout_and_the_time_counts_from_connect() {
    let (_listener, _filler, addr) = black_hole();
    let mut kit = Kit::new(default);
    kit.turn();
    // Once asked for, the turn's time stands still while real time passes.
    kit.reactor.context().now();
    let late = Instant::now();
    while late.elapsed() < Duration::from_millis(50) {
        std::hint::spin_loop();
    }
    let mut started = Vec::new();
    for millis in [90, 30, 60] {
        let timeout = Duration::from_millis(millis);
        let start = Instant::now();
        let conn = kit.connect(Connect::new(addr).timeout(timeout));
        started.push((conn, start, timeout));
    }
    let mut order = started.clone();
    order.sort_by_key(|(.., timeout)| *timeout);
    for (conn, start, timeout) in order {
        kit.until_closed(conn);
        assert!(start.elapsed() >= timeout, "too early");
        assert!(matches!(
            kit.log().life(conn).reason(),
            Reason::ConnectTimedOut
        ));
    }
    kit.end();
}

// C3
#[test]
fn a_connect_that_is_cancelled_closes_once() {
    let (_listener, _filler, addr) = black_hole();
    let mut kit = Kit::new(default);
    let closed = kit.connect(addr);
    let aborted = kit.connect(addr);
    let both = kit.connect(addr);
    kit.turn();
    assert!(kit.cx().close(closed));
    assert!(!kit.cx().close(closed));
    assert!(kit.cx().abort(aborted));
    assert!(!kit.cx().abort(aborted));
    assert!(kit.cx().close(both));
    kit.cx().abort(both);
    assert_eq!(kit.cx().send(closed, "late"), Sent::Gone);
    assert!(kit.log().ids.is_empty(), "reported from inside close");
    for conn in [closed, aborted, both] {
        kit.until_closed(conn);
        assert_eq!(kit.log().life(conn).callbacks, ["close"]);
    }
    assert!(matches!(kit.log().life(closed).reason(), Reason::Local));
    assert!(matches!(kit.log().life(aborted).reason(), Reason::Aborted));
    kit.end();
}

// C3, C5
#[test]
fn what_is_pending_when_a_connect_is_closed_is_still_bound_by_the_timeout() {
    let (_listener, _filler, addr) = black_hole();
    let mut kit = Kit::new(default);
    let start = Instant::now();
    let timeout = Duration::from_millis(100);
    let conn = kit.connect(Connect::new(addr).timeout(timeout));
    kit.cx().send(conn, "last words");
    assert!(kit.cx().close(conn));
    kit.until_closed(conn);
    assert!(start.elapsed() >= timeout);
    let life = kit.log().life(conn);
    assert_eq!(life.callbacks, ["close"]);
    assert!(matches!(life.reason(), Reason::ConnectTimedOut), "{life:?}");
    assert_eq!(life.closed.as_ref().unwrap().undelivered, 10);
    kit.end();
}

// C4
#[cfg(unix)]
#[test]
fn a_connect_that_succeeds_at_once_is_reported_from_the_loop() {
    let dir = TempDir::new();
    let (listener, addr) = other_server(&dir);
    let mut kit = Kit::new(echo);
    let conn = kit.connect(addr);
    assert!(kit.log().ids.is_empty());
    assert!(!kit.cx().is_open(conn));
    assert!(kit.reactor.next_wakeup().is_some(), "work is left over");
    kit.turn();
    assert_eq!(kit.log().life(conn).callbacks, ["open"]);
    assert!(kit.cx().is_open(conn));
    let (mut peer, _) = listener.accept().unwrap();
    write(&mut peer, "hello");
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    let answer = spawn(move || read_all(peer));
    assert_eq!(kit.until_done(answer), b"hello");
    kit.until_closed(conn);
    kit.end();
}

// C4
#[cfg(unix)]
#[test]
fn a_unix_connect_to_a_full_backlog_is_given_up_after_its_timeout() {
    use socket2::{Domain, SockAddr, Socket, Type};

    let dir = TempDir::new();
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener
        .bind(&SockAddr::unix(dir.file("s")).unwrap())
        .unwrap();
    listener.listen(0).unwrap();
    let mut kit = Kit::new(default);
    let first = kit.connect(dir.file("s"));
    let timeout = Duration::from_millis(60);
    let start = Instant::now();
    let second = kit.connect(Connect::new(dir.file("s")).timeout(timeout));
    kit.until_closed(second);
    assert!(start.elapsed() >= timeout);
    assert_eq!(kit.log().life(first).callbacks, ["open"]);
    let life = kit.log().life(second);
    assert_eq!(life.callbacks, ["close"]);
    assert!(matches!(life.reason(), Reason::ConnectTimedOut), "{life:?}");
    kit.end();
}

/// What is sent and shut before the connect is through.
fn early(kit: &mut Kit<impl FnMut(&mut Context, EventKind<'_>)>, addr: impl ToAddr) -> ConnId {
    let conn = kit.connect(Connect::new(addr));
    assert_eq!(kit.cx().send(conn, "one "), Sent::Queued);
    assert_eq!(kit.cx().send(conn, "two "), Sent::Queued);
    assert_eq!(kit.cx().send(conn, "three"), Sent::Queued);
    assert!(kit.cx().shutdown_write(conn));
    assert_eq!(kit.cx().send(conn, "late"), Sent::Gone);
    assert_eq!(kit.cx().pending(conn), 13);
    conn
}

// C5
#[test]
fn bytes_and_a_shutdown_from_before_the_connect_are_delivered_after_on_open() {
    let dir = TempDir::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (unix, at) = other_server(&dir);
    let seen = Rc::new(Cell::new(0));
    let pending = seen.clone();
    let mut kit = Kit::new(move |cx, event| {
        if let EventKind::Open { conn, .. } = event {
            pending.set(pending.get() + cx.pending(conn));
        }
        default(cx, event);
    });
    let over_tcp = early(&mut kit, tcp.local_addr().unwrap());
    let over_unix = early(&mut kit, at);
    let read_and_answer = spawn(move || {
        let (tcp, unix) = (tcp.accept().unwrap().0, unix.accept().unwrap().0);
        let got = (read_all(&tcp), read_all(&unix));
        write(&mut &tcp, "bye");
        write(&mut &unix, "bye");
        got
    });
    let (tcp_got, unix_got) = kit.until_done(read_and_answer);
    assert_eq!(tcp_got, b"one two three");
    assert_eq!(unix_got, b"one two three");
    assert_eq!(seen.get(), 26, "nothing goes out before on_open");
    for conn in [over_tcp, over_unix] {
        kit.until_closed(conn);
        let life = kit.log().life(conn);
        assert_eq!(life.callbacks, ["open", "data", "eof", "close"]);
        assert!(matches!(life.reason(), Reason::Eof), "{life:?}");
    }
    kit.end();
}

// C5
#[test]
fn what_on_open_sends_comes_after_what_was_sent_before() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let early = pattern(1_000_000);
    let mut kit = Kit::new(|cx, event| match event {
        EventKind::Open { conn, .. } => {
            assert_eq!(cx.send(conn, "and on open"), Sent::Wait);
        }
        EventKind::Drain { conn } => {
            cx.send(conn, " and on drain");
            cx.close(conn);
        }
        other => default(cx, other),
    });
    let conn = kit.connect(listener.local_addr().unwrap());
    assert_eq!(kit.cx().send(conn, early.as_slice()), Sent::Wait);
    let all = spawn(move || read_all(listener.accept().unwrap().0));
    let all = kit.until_done(all);
    assert!(all.starts_with(&early));
    assert_eq!(&all[early.len()..], b"and on open and on drain");
    kit.until_closed(conn);
    assert_eq!(kit.log().life(conn).callbacks, ["open", "drain", "close"]);
    kit.end();
}

// C5
#[test]
fn what_was_sent_is_discarded_when_the_connect_fails() {
    let (_port, addr) = refusing();
    let dir = TempDir::new();
    let mut kit = Kit::new(default);
    for target in [AnyAddr::from(addr), dir.file("nobody").into()] {
        let conn = kit.connect(Connect::new(target));
        let sent = kit.cx().send(conn, vec![0; 500]);
        // A connect that has failed already takes nothing.
        let expected = if sent == Sent::Gone { 0 } else { 500 };
        kit.cx().shutdown_write(conn);
        kit.until_closed(conn);
        let life = kit.log().life(conn);
        assert_eq!(life.callbacks, ["close"]);
        assert!(matches!(life.reason(), Reason::ConnectFailed(_)));
        assert_eq!(life.closed.as_ref().unwrap().undelivered, expected);
        assert_eq!(kit.cx().pending(conn), 0);
    }
    kit.end();
}

// C5
#[test]
fn close_before_the_connect_is_through_still_delivers_what_is_pending() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut kit = Kit::new(default);
    let conn = kit.connect(listener.local_addr().unwrap());
    kit.cx().send(conn, "fire and forget");
    kit.cx().close(conn);
    let all = spawn(move || read_all(listener.accept().unwrap().0));
    assert_eq!(kit.until_done(all), b"fire and forget");
    kit.until_closed(conn);
    let life = kit.log().life(conn);
    assert_eq!(life.callbacks, ["close"]);
    assert!(life.closed.as_ref().unwrap().is_clean(), "{life:?}");
    kit.end();
}

/// Reconnects from `on_close` for as long as a neighbour and a timer have something to do.
fn reconnects_beside_others(connect: Connect) {
    let enough = Rc::new(Cell::new(false));
    let stop = enough.clone();
    let mut kit = Kit::new(move |cx, event| match event {
        EventKind::Close { conn, .. } if cx.origin(conn) == Some(Origin::Connected) => {
            if !stop.get() {
                let next = cx.connect(connect.clone());
                assert_ne!(next, conn);
            }
        }
        EventKind::Timer { key, .. } => {
            if !stop.get() {
                cx.set_timer(Duration::from_millis(10), key);
            }
        }
        other => echo(cx, other),
    });
    let addr = kit.listen();
    kit.cx().set_timer(Duration::from_millis(10), 7);
    // The first failure, to begin with: a name is never looked up.
    kit.connect("nowhere");
    let talk = spawn(move || {
        let mut peer = peer(addr);
        for _ in 0..50 {
            write(&mut peer, "ping");
            assert_eq!(read_n(&mut peer, 4), b"ping");
        }
    });
    kit.until_done(talk);
    kit.until("the timer fires", |log| log.timers.len() >= 3);
    kit.until("it reconnects", |log| log.closed() > 200);
    // The neighbour's own end must not fall into the turn whose ends are counted.
    kit.until_cx("the neighbour left", |_, cx| cx.stats().closed.eof == 1);
    let before = kit.log().closed();
    kit.turn();
    let rounds = sockeye::Config::default().rounds_per_turn;
    let closed = kit.log().closed() - before;
    assert!(closed <= rounds, "{closed} in a turn of {rounds} rounds");
    enough.set(true);
    kit.until_all_closed();
    kit.end();
}

// C6
#[test]
fn reconnecting_from_on_close_to_a_port_that_refuses_starves_nobody() {
    let (_port, addr) = refusing();
    reconnects_beside_others(Connect::new(addr));
}

// C6
#[test]
fn reconnecting_from_on_close_to_a_path_that_fails_at_once_starves_nobody() {
    let dir = TempDir::new();
    reconnects_beside_others(Connect::new(dir.file("nobody")));
}

// C7
#[test]
fn a_pause_from_before_the_connect_holds() {
    let dir = TempDir::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let (unix, at) = other_server(&dir);
    let mut kit = Kit::new(default);
    let addr = tcp.local_addr().unwrap();
    let conns = [kit.connect(addr), kit.connect(at)];
    for conn in conns {
        assert!(kit.cx().pause_reads(conn));
        assert!(!kit.cx().wants_input(conn));
    }
    let mut peers: [Box<dyn Write>; 2] = [
        Box::new(tcp.accept().unwrap().0),
        Box::new(unix.accept().unwrap().0),
    ];
    for peer in &mut peers {
        write(peer, "held back");
    }
    drop(peers);
    let turns = kit.turn_for(Duration::from_millis(100));
    assert!(turns <= 20, "a spin: {turns} turns");
    for conn in conns {
        assert_eq!(kit.log().life(conn).callbacks, ["open"]);
        assert!(kit.cx().resume_reads(conn));
    }
    for conn in conns {
        kit.until_closed(conn);
        let life = kit.log().life(conn);
        assert_eq!(life.callbacks, ["open", "data", "eof", "close"]);
        assert_eq!(life.received, b"held back");
    }
    kit.end();
}

// C2, R3
#[test]
fn a_reset_right_after_the_handshake_does_not_hide_that_it_was_open() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut kit = Kit::new(default);
    let conn = kit.connect(listener.local_addr().unwrap());
    kit.cx().send(conn, "question");
    // All of this before the loop gets to see any of it.
    let (mut peer, _) = listener.accept().unwrap();
    write(&mut peer, "busy");
    until_acked(&peer);
    reset(peer);
    kit.until_closed(conn);
    let life = kit.log().life(conn);
    assert_eq!(life.callbacks, ["open", "data", "close"]);
    assert_eq!(life.received, b"busy");
    assert!(matches!(life.reason(), Reason::Reset), "{life:?}");
    kit.end();
}

// C2, R3
#[test]
fn an_end_right_after_the_handshake_does_not_hide_that_it_was_open() {
    let mut kit = Kit::new(default);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let conn = kit.connect(listener.local_addr().unwrap());
    let (mut peer, _) = listener.accept().unwrap();
    write(&mut peer, "busy");
    drop(peer);
    kit.until_closed(conn);
    let life = kit.log().life(conn);
    assert_eq!(life.callbacks, ["open", "data", "eof", "close"]);
    assert_eq!(life.received, b"busy");
    kit.end();
}

// C1, L8
#[test]
fn a_connect_above_the_cap_on_connections_fails_from_the_loop() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = sockeye::Config::default();
    config.max_connections = 1;
    let mut kit = Kit::with_config(config, default);
    let one = kit.connect(listener.local_addr().unwrap());
    let two = kit.connect(listener.local_addr().unwrap());
    assert!(kit.log().ids.is_empty());
    kit.until_closed(two);
    assert!(matches!(
        kit.log().life(two).reason(),
        Reason::ConnectFailed(_)
    ));
    kit.until("the first opens", |log| log.life(one).count("open") == 1);
    kit.end();
}

/// In a network of its own with a few ports to choose from, so that it takes a moment and not an
/// hour until the system chooses the one that is connected to.
// J7
#[cfg(target_os = "linux")]
#[test]
fn a_connection_to_itself_is_a_connect_that_failed() {
    use crate::kit::places::{can_run, in_own_process_by};

    let setup = "ip link set lo up && \
        echo 40000 40007 > /proc/sys/net/ipv4/ip_local_port_range";
    let in_network = || {
        let mut command = std::process::Command::new("unshare");
        command.args(["-rn", "sh", "-c", &format!("{setup} && exec \"$0\" \"$@\"")]);
        command
    };
    if can_run(in_network()) {
        in_own_process_by(in_network(), "connecting::connects_to_itself");
    }
}

#[test]
#[ignore = "runs in a process and a network of its own"]
fn connects_to_itself() {
    if !is_own_process() {
        return;
    }
    end_in_time();
    let mut kit = Kit::new(default);
    let (mut tries, mut itself) = (0, 0);
    while itself < 3 {
        tries += 1;
        assert!(tries < 1000, "the system never chose that port");
        let conn = kit.connect("127.0.0.1:40004");
        kit.cx().send(conn, "who?");
        kit.until_closed(conn);
        let life = kit.log().life(conn);
        assert_eq!(life.callbacks, ["close"]);
        let closed = life.closed.as_ref().unwrap();
        assert_eq!(closed.undelivered, 4);
        match &closed.reason {
            Reason::ConnectFailed(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
                itself += usize::from(error.to_string().contains("itself"));
            }
            other => panic!("{other:?}"),
        }
        // A server that starts now gets its port.
        TcpListener::bind("127.0.0.1:40004").unwrap();
    }
    kit.end();
}
