//! Connecting: C1 to C7.

use crate::kit::edge::{Edge, On};
use crate::kit::places::{TempDir, other_server};
use crate::kit::{default, echo, let_pass, pattern, slot_of, unix_path};
use crate::{on_both_edges, on_every_edge};
use sockeye::{Addr, AnyAddr, Config, ConnId, Connect, EventKind, Listen, Origin, Reason, Sent};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

on_both_edges! {
    a_refused_connect_is_reported_once_from_the_loop,
    many_refused_at_once_are_each_reported_once,
    a_black_hole_ends_at_its_timeout_and_not_before,
    each_connect_has_its_own_timeout_which_counts_from_the_connect,
    a_connect_that_is_closed_reports_once,
    what_was_sent_to_nobody_is_counted_as_lost,
    a_unix_connect_is_through_at_once_and_reported_from_the_loop,
    a_unix_connect_to_a_full_backlog_waits_for_room,
    reconnecting_in_on_close_starves_nobody,
    whom_a_backlog_has_no_room_for_waits,
}

on_every_edge! {
    a_connect_above_the_cap_on_connections_fails_from_the_loop,
    what_is_sent_before_the_connect_is_through_arrives_in_order,
    what_on_open_sends_comes_after_what_was_sent_before,
    a_pause_before_the_connect_is_through_holds,
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Targets that fail, and how: nobody listens on a port; no such path, and one whose server is
/// gone; what is no address at all.
fn failing(on: On, edge: &mut Edge, dir: &TempDir) -> Vec<(AnyAddr, ErrorKind)> {
    let mut targets = vec![
        (edge.refusing().into(), ErrorKind::ConnectionRefused),
        ("no-address".into(), ErrorKind::InvalidInput),
    ];
    if on.has_unix() {
        targets.push((dir.file("nobody").into(), ErrorKind::NotFound));
    }
    if on.is_real() {
        // The file of a Unix server stays behind.
        let (server, stale) = other_server(dir);
        drop(server);
        targets.push((stale.into(), ErrorKind::ConnectionRefused));
    }
    targets
}

// C1
fn a_refused_connect_is_reported_once_from_the_loop(on: On) {
    let mut edge = on.edge(default);
    let (mut slots, dir) = (HashSet::new(), TempDir::new());
    let targets = failing(on, &mut edge, &dir);
    for (target, kind) in &targets {
        for _ in 0..20 {
            let conn = edge.connect(target.clone());
            assert!(edge.log().ids.iter().all(|id| *id != conn));
            edge.until("it is refused", |edge| edge.log().is_closed(conn));
            let life = edge.log().life(conn);
            assert_eq!(life.callbacks, ["close"]);
            let Reason::ConnectFailed(error) = life.reason() else {
                panic!("{life:?}");
            };
            assert_eq!(error.kind(), *kind);
            slots.insert(slot_of(conn));
        }
    }
    assert!(slots.len() <= 2, "slots leak: {slots:?}");
    let failed = edge.cx().stats().closed.connect_failed;
    assert_eq!(failed, 20 * targets.len() as u64);
    edge.end();
}

// C1
fn many_refused_at_once_are_each_reported_once(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.refusing();
    let conns: Vec<ConnId> = (0..100).map(|_| edge.connect(addr.clone())).collect();
    assert!(edge.log().ids.is_empty());
    for conn in conns {
        edge.until("it is refused", |edge| edge.log().is_closed(conn));
        assert_eq!(edge.log().life(conn).callbacks, ["close"]);
    }
    edge.end();
}

// C1, L8
fn a_connect_above_the_cap_on_connections_fails_from_the_loop(on: On) {
    let mut config = Config::default();
    config.max_connections = 1;
    let mut edge = on.edge_with(config, default);
    let server = edge.server();
    let (one, two) = (edge.connect(server.addr()), edge.connect(server.addr()));
    assert!(edge.log().ids.is_empty());
    edge.until("one fails", |edge| edge.log().is_closed(two));
    let life = edge.log().life(two);
    assert_eq!(life.callbacks, ["close"]);
    assert!(matches!(life.reason(), Reason::ConnectFailed(_)));
    let _peer = edge.accept(&server);
    edge.until_open(1);
    assert!(edge.cx().is_open(one));
    edge.end();
}

// C2, C3
fn a_black_hole_ends_at_its_timeout_and_not_before(on: On) {
    let mut edge = on.edge(default);
    let hole = edge.black_hole();
    let (start, timeout) = (edge.now(), ms(300));
    let conn = edge.connect(Connect::new(hole).timeout(timeout));
    assert_eq!(edge.cx().send(conn, "hello"), Sent::Queued);
    assert!(!edge.cx().is_open(conn));
    let turns = edge.turns_at_rest();
    assert!(turns <= 20 || on.is_faulty(), "it spins");
    // A slow machine may have come past the timeout in the meantime.
    if edge.now() - start < timeout {
        assert!(edge.log().ids.is_empty());
    }
    edge.until("it is given up", |edge| edge.log().is_closed(conn));
    assert!(edge.now() - start >= timeout);
    let life = edge.log().life(conn);
    assert_eq!(life.callbacks, ["close"]);
    assert!(matches!(life.reason(), Reason::ConnectTimedOut));
    assert_eq!(life.closed.as_ref().unwrap().undelivered, 5);
    edge.end();
}

// C3: also in a turn that has taken long.
fn each_connect_has_its_own_timeout_which_counts_from_the_connect(on: On) {
    let mut edge = on.edge(default);
    let hole = edge.black_hole();
    edge.turn_a_few_times();
    // Once asked for, the turn's time stands still while real time passes.
    edge.cx().now();
    if on.is_real() {
        let_pass(ms(50));
    }
    let mut begun = Vec::new();
    for timeout in [90, 30, 60].map(ms) {
        let start = edge.now();
        let conn = edge.connect(Connect::new(hole.clone()).timeout(timeout));
        begun.push((timeout, start, conn));
    }
    begun.sort_unstable();
    for (timeout, start, conn) in begun {
        edge.until("it is given up", |edge| edge.log().is_closed(conn));
        assert!(edge.now() - start >= timeout, "too early");
        let reason = edge.log().life(conn).reason();
        assert!(matches!(reason, Reason::ConnectTimedOut));
    }
    edge.end();
}

// C3, X11
fn a_connect_that_is_closed_reports_once(on: On) {
    let mut edge = on.edge(default);
    let hole = edge.black_hole();
    let [closed, aborted, both] = [0, 1, 2].map(|_| edge.connect(hole.clone()));
    edge.pass(ms(2));
    let cx = edge.cx();
    assert!(cx.close(closed) && !cx.close(closed));
    assert!(cx.abort(aborted) && !cx.abort(aborted));
    assert!(cx.close(both));
    cx.abort(both);
    assert_eq!(cx.send(closed, "late"), Sent::Gone);
    assert!(edge.log().ids.is_empty(), "reported from inside close");
    for conn in [closed, aborted, both] {
        edge.until("it is over", |edge| edge.log().is_closed(conn));
        assert_eq!(edge.log().life(conn).callbacks, ["close"]);
    }
    assert!(matches!(edge.log().life(closed).reason(), Reason::Local));
    assert!(matches!(edge.log().life(aborted).reason(), Reason::Aborted));
    edge.end();
}

// C4
fn a_unix_connect_is_through_at_once_and_reported_from_the_loop(on: On) {
    if !on.has_unix() {
        return;
    }
    let mut edge = on.edge(echo);
    let server = edge.unix_server();
    let conn = edge.connect(server.addr());
    assert!(edge.log().ids.is_empty(), "a callback inside of connect");
    assert!(!edge.cx().is_open(conn));
    assert!(edge.reactor().next_wakeup().is_some(), "work is left over");
    edge.until_open(1);
    assert!(edge.cx().is_open(conn));
    assert_eq!(edge.log().life(conn).callbacks, ["open"]);
    let peer = edge.accept(&server);
    peer.send("hello");
    peer.shutdown();
    edge.until("it is answered", |_| peer.is_closed());
    assert_eq!(peer.received(), b"hello");
    peer.close();
    edge.until_all_closed();
    edge.end();
}

// C4
fn a_unix_connect_to_a_full_backlog_waits_for_room(on: On) {
    if !on.has_unix() {
        return;
    }
    let mut edge = on.edge(default);
    let place = Addr::unix(unix_path());
    let listener = edge
        .reactor()
        .listen(Listen::new(place.clone()).backlog(1))
        .unwrap();
    edge.cx().pause_accepts(listener);
    // Linux holds one more than was asked for.
    let conns = [0, 1].map(|_| edge.connect(place.clone()));
    let short = Duration::from_millis(30);
    let start = edge.now();
    let late = edge.connect(Connect::new(place.clone()).timeout(short));
    let third = edge.connect(place.clone());
    edge.until("its time is over", |edge| edge.log().is_closed(late));
    assert!(edge.now() - start >= short);
    let life = edge.log().life(late);
    assert_eq!(life.callbacks, ["close"]);
    assert!(matches!(life.reason(), Reason::ConnectTimedOut));
    assert!(!edge.log().is_closed(third));
    edge.cx().resume_accepts(listener);
    // Both ends of three.
    edge.until_open(6);
    assert!(conns.iter().all(|conn| edge.cx().is_open(*conn)));
    edge.end();
}

// C5
fn what_is_sent_before_the_connect_is_through_arrives_in_order(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Open { conn, origin } => {
            assert_eq!(origin, Origin::Connected);
            assert_eq!(cx.pending(conn), 13, "nothing goes out before on_open");
            // Its writing side is shut already.
            assert_eq!(cx.send(conn, "late"), Sent::Gone);
        }
        other => default(cx, other),
    });
    let server = edge.server();
    let conn = edge.connect(server.addr());
    for word in ["one ", "two ", "three"] {
        assert_eq!(edge.cx().send(conn, word), Sent::Queued);
    }
    assert!(edge.cx().shutdown_write(conn));
    assert_eq!(edge.cx().send(conn, "late"), Sent::Gone);
    assert_eq!(edge.cx().pending(conn), 13);
    let peer = edge.accept(&server);
    edge.until("the peer has all", |_| peer.is_closed());
    assert_eq!(peer.received(), b"one two three");
    peer.send("!");
    peer.close();
    edge.until_all_closed();
    let life = edge.log().life(conn);
    assert_eq!(life.received, b"!");
    assert_eq!(life.callbacks, ["open", "data", "eof", "close"]);
    assert!(matches!(life.reason(), Reason::Eof));
    edge.end();
}

// C5
fn what_on_open_sends_comes_after_what_was_sent_before(on: On) {
    const EARLY: usize = 1_000_000;
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Open { conn, .. } => {
            assert_eq!(cx.send(conn, "and on open"), Sent::Wait);
        }
        EventKind::Drain { conn } => {
            cx.send(conn, " and on drain");
            cx.close(conn);
        }
        other => default(cx, other),
    });
    let server = edge.server();
    let conn = edge.connect(server.addr());
    assert_eq!(edge.cx().send(conn, pattern(EARLY)), Sent::Wait);
    let peer = edge.accept(&server);
    edge.until("the peer has all", |_| peer.is_closed());
    let heard = peer.received();
    assert!(heard[..EARLY] == pattern(EARLY));
    assert_eq!(&heard[EARLY..], b"and on open and on drain");
    peer.close();
    edge.until_all_closed();
    assert_eq!(edge.log().life(conn).callbacks, ["open", "drain", "close"]);
    edge.end();
}

// C5
fn what_was_sent_to_nobody_is_counted_as_lost(on: On) {
    let (mut edge, dir) = (on.edge(default), TempDir::new());
    for (target, _) in failing(on, &mut edge, &dir) {
        let conn = edge.connect(target.clone());
        let sent = edge.cx().send(conn, vec![1; 1000]);
        edge.cx().shutdown_write(conn);
        edge.until("it is refused", |edge| edge.log().is_closed(conn));
        let life = edge.log().life(conn);
        assert_eq!(life.callbacks, ["close"]);
        assert!(matches!(life.reason(), Reason::ConnectFailed(_)));
        // A connect that has failed already takes nothing.
        let expected = if sent == Sent::Gone { 0 } else { 1000 };
        assert_eq!(life.closed.as_ref().unwrap().undelivered, expected);
        assert_eq!(edge.cx().pending(conn), 0);
    }
    edge.end();
}

// C6: a neighbour, a timer and the connects get their turn, whether these fail later or at once.
fn reconnecting_in_on_close_starves_nobody(on: On) {
    const CONNECTS: usize = 300;
    let rounds = Config::default().rounds_per_turn;
    for at_once in [false, true] {
        let left = Rc::new(Cell::new(CONNECTS));
        let seen: Rc<RefCell<Vec<usize>>> = Rc::default();
        let to: Rc<RefCell<Option<AnyAddr>>> = Rc::default();
        let (counter, sees, target) = (left.clone(), seen.clone(), to.clone());
        let (mut last, mut in_turn) = (0, 0);
        let mut edge = on.edge(move |cx, event| match event {
            EventKind::Close { conn, .. } if cx.origin(conn) != Some(Origin::Connected) => {}
            EventKind::Close { conn, .. } if counter.get() > 0 => {
                counter.set(counter.get() - 1);
                let turn = cx.stats().turns;
                let same = std::mem::replace(&mut last, turn) == turn;
                in_turn = if same { in_turn + 1 } else { 1 };
                assert!(in_turn <= rounds, "{in_turn} in a turn of {rounds} rounds");
                let next = cx.connect(target.borrow().clone().unwrap());
                assert_ne!(next, conn);
            }
            EventKind::Timer { .. } => sees.borrow_mut().push(counter.get()),
            EventKind::Data { .. } => {
                sees.borrow_mut().push(counter.get());
                echo(cx, event);
            }
            other => echo(cx, other),
        });
        *to.borrow_mut() = Some(match at_once {
            true if on.has_unix() => unix_path().into(),
            true => "no address at all".into(),
            false => edge.refusing().into(),
        });
        let addr = edge.listen();
        let neighbour = edge.peer(&addr);
        edge.until_open(1);
        neighbour.send("?");
        edge.cx().set_timer(Duration::ZERO, 1);
        edge.connect(to.borrow().clone().unwrap());
        edge.until("all were tried", |edge| {
            edge.log().closed() == CONNECTS + 1 && neighbour.count() == 1
        });
        assert_eq!(edge.log().timers, [1]);
        let in_time = seen.borrow().iter().all(|left| *left > 0);
        assert!(in_time || on.is_faulty(), "they had to wait: {seen:?}");
        edge.end();
    }
}

// C7
fn a_pause_before_the_connect_is_through_holds(on: On) {
    let mut edge = on.edge(default);
    let server = edge.server();
    let conn = edge.connect(server.addr());
    assert!(edge.cx().pause_reads(conn) && !edge.cx().wants_input(conn));
    let peer = edge.accept(&server);
    peer.send("held back");
    peer.close();
    edge.until_open(1);
    assert!(edge.turns_at_rest() <= 20 || on.is_faulty(), "it spins");
    assert_eq!(edge.log().life(conn).callbacks, ["open"]);
    assert!(edge.cx().resume_reads(conn));
    edge.until_all_closed();
    let life = edge.log().life(conn);
    assert_eq!(life.received, b"held back");
    assert!(life.callbacks.ends_with(&["data", "eof", "close"]));
    edge.end();
}

// C2: a client whose SYN was dropped is not connected, and tries again.
fn whom_a_backlog_has_no_room_for_waits(on: On) {
    let mut edge = on.edge(default);
    let server = edge.server_holding(1);
    let conns: Vec<_> = (0..4).map(|_| edge.connect(server.addr())).collect();
    edge.until_open(2);
    edge.pass(Duration::from_millis(20));
    assert_eq!(
        edge.log().count("open"),
        2,
        "Linux holds one more than asked"
    );
    let peers = [0, 1, 2, 3].map(|_| edge.accept(&server));
    edge.until_open(4);
    for conn in conns {
        edge.cx().close(conn);
    }
    peers.iter().for_each(|peer| peer.close());
    edge.until_all_closed();
    edge.end();
}
