//! Connecting, listening and accepting: C1 to C7, L2 to L8 without L7, A2.

use crate::kit::edge::{On, on_both_edges};
use crate::kit::{default, echo, unix_path};
use sockeye::{Accept, Addr, Config, Connect, EventKind, Listen, Origin, Reason};
use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

on_both_edges! {
    a_refused_connect_is_reported_once_from_the_loop,
    a_black_hole_ends_at_its_timeout_and_not_before,
    a_connect_that_is_closed_reports_once,
    what_is_sent_before_the_connect_is_through_arrives_in_order,
    what_was_sent_to_nobody_is_counted_as_lost,
    a_pause_before_the_connect_is_through_holds,
    a_peer_that_resets_before_it_is_accepted_harms_nobody,
    ten_behind_one_edge_are_all_accepted_with_a_budget_of_one,
    a_listener_closed_in_on_accept_accepts_nobody_else,
    a_listener_closed_in_on_open_accepts_nobody_else,
    a_refused_peer_gets_no_callback_but_on_accept,
    a_unix_connect_is_through_at_once_and_reported_from_the_loop,
    a_unix_connect_to_a_full_backlog_waits_for_room,
    who_waits_at_a_unix_listener_that_closes_is_reset,
    reconnecting_in_on_close_starves_nobody,
    whom_a_backlog_has_no_room_for_waits,
    an_accept_storm_does_not_starve_the_established,
    an_address_in_use_is_an_error_of_listen,
    a_listener_that_is_paused_leaves_its_peers_in_the_backlog,
    who_is_refused_hears_a_last_word,
}

// C4
fn a_unix_connect_is_through_at_once_and_reported_from_the_loop(on: On) {
    if !on.has_unix() {
        return;
    }
    let mut edge = on.edge(default);
    let place = Addr::unix(unix_path());
    edge.listen_on(place.clone());
    let conn = edge.connect(place);
    edge.cx().send(conn, "hi");
    assert!(edge.log().ids.is_empty(), "a callback inside of connect");
    edge.until_open(2);
    let other = |edge: &mut crate::kit::edge::Edge| {
        let ids = edge.log().ids.clone();
        ids.into_iter().find(|id| *id != conn).unwrap()
    };
    edge.until("it hears", |edge| {
        let other = other(edge);
        edge.log().life(other).received == b"hi"
    });
    edge.cx().close(conn);
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
    let late = edge.connect(Connect::new(place.clone()).timeout(short));
    let third = edge.connect(place.clone());
    edge.until("its time is over", |edge| edge.log().is_closed(late));
    let life = edge.log().life(late);
    assert!(matches!(life.reason(), Reason::ConnectTimedOut));
    assert!(!edge.log().is_closed(third));
    edge.cx().resume_accepts(listener);
    // Both ends of three.
    edge.until_open(6);
    assert!(conns.iter().all(|conn| edge.cx().is_open(*conn)));
    edge.end();
}

// L5
fn who_waits_at_a_unix_listener_that_closes_is_reset(on: On) {
    if !on.has_unix() {
        return;
    }
    let mut edge = on.edge(default);
    let listener = edge.reactor().listen(Addr::unix(unix_path())).unwrap();
    let place = edge.cx().listener_addr(listener).unwrap().clone();
    let conn = edge.connect(place);
    assert!(edge.cx().unlisten(listener));
    edge.until_all_closed();
    edge.until("it is told", |edge| edge.log().is_closed(conn));
    assert!(matches!(edge.log().life(conn).reason(), Reason::Reset));
    assert_eq!(edge.log().accepts, 0);
    edge.end();
}

// C6
fn reconnecting_in_on_close_starves_nobody(on: On) {
    let (left, at_timer) = (Rc::new(Cell::new(300)), Rc::new(Cell::new(None)));
    let (counter, told) = (left.clone(), at_timer.clone());
    let place: Rc<Cell<Option<Addr>>> = Rc::default();
    let to = place.clone();
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Close { .. } if counter.get() > 0 => {
            counter.set(counter.get() - 1);
            let addr = to.take();
            cx.connect(addr.clone().unwrap());
            to.set(addr);
        }
        EventKind::Timer { .. } => told.set(Some(counter.get())),
        other => default(cx, other),
    });
    let addr = edge.refusing();
    place.set(Some(addr.clone()));
    edge.connect(addr);
    edge.cx().set_timer(Duration::ZERO, 1);
    edge.until("all were tried", |edge| edge.log().closed() == 301);
    assert!(at_timer.get() > Some(0), "the timer had to wait");
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

// L4
fn an_accept_storm_does_not_starve_the_established(on: On) {
    let mut config = Config::default();
    config.accepts_per_turn = 2;
    let (opens, at_data) = (Cell::new(0), Rc::new(Cell::new(None)));
    let told = at_data.clone();
    let mut edge = on.edge_with(config, move |cx, event| {
        match event {
            EventKind::Open { .. } => opens.set(opens.get() + 1),
            EventKind::Data { .. } => told.set(Some(opens.get())),
            _ => {}
        }
        echo(cx, event);
    });
    let addr = edge.listen();
    let first = edge.peer(&addr);
    edge.until_open(1);
    edge.spare(on, |faults| {
        (faults.late_edges, faults.would_block) = (0, 0);
        faults.interrupts = 0;
    });
    let storm: Vec<_> = (0..50).map(|_| edge.peer(&addr)).collect();
    first.send("x");
    edge.until("it is served", |_| first.count() == 1);
    assert!(at_data.get() < Some(40), "{at_data:?} were accepted first");
    edge.until_open(51);
    storm.iter().for_each(|peer| peer.close());
    edge.end();
}

// L6
fn an_address_in_use_is_an_error_of_listen(on: On) {
    let mut edge = on.edge(echo);
    let addr = edge.listen();
    let error = edge.reactor().listen(addr.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let peer = edge.peer(&addr);
    peer.send("hi");
    edge.until("the first one serves", |_| peer.count() == 2);
    edge.end();
}

// C1
fn a_refused_connect_is_reported_once_from_the_loop(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.refusing();
    for _ in 0..20 {
        let conn = edge.connect(addr.clone());
        assert!(edge.log().ids.iter().all(|id| *id != conn));
        edge.until("it is refused", |edge| edge.log().is_closed(conn));
        let life = edge.log().life(conn);
        assert_eq!(life.callbacks, ["close"]);
        let refused = ErrorKind::ConnectionRefused;
        assert!(matches!(life.reason(), Reason::ConnectFailed(e) if e.kind() == refused));
    }
    edge.end();
}

// C3
fn a_black_hole_ends_at_its_timeout_and_not_before(on: On) {
    let mut edge = on.edge(default);
    let hole = edge.black_hole();
    let (start, timeout) = (edge.now(), Duration::from_millis(30));
    let conn = edge.connect(Connect::new(hole).timeout(timeout));
    edge.until("it is given up", |edge| edge.log().is_closed(conn));
    assert!(edge.now() - start >= timeout);
    let life = edge.log().life(conn);
    assert!(matches!(life.reason(), Reason::ConnectTimedOut));
    assert_eq!(life.callbacks, ["close"]);
    edge.end();
}

// C3, X11
fn a_connect_that_is_closed_reports_once(on: On) {
    let mut edge = on.edge(default);
    let hole = edge.black_hole();
    let conns = [edge.connect(hole.clone()), edge.connect(hole)];
    edge.pass(Duration::from_millis(2));
    assert!(edge.cx().close(conns[0]) && edge.cx().abort(conns[1]));
    edge.until_all_closed();
    edge.until("both are over", |edge| edge.log().closed() == 2);
    assert!(matches!(edge.log().life(conns[0]).reason(), Reason::Local));
    assert!(matches!(
        edge.log().life(conns[1]).reason(),
        Reason::Aborted
    ));
    edge.end();
}

// C5
fn what_is_sent_before_the_connect_is_through_arrives_in_order(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Open { conn, origin } => {
            assert_eq!(origin, Origin::Connected);
            // Its writing side is shut already.
            assert_eq!(cx.send(conn, "late"), sockeye::Sent::Gone);
        }
        other => default(cx, other),
    });
    let server = edge.server();
    let conn = edge.connect(server.addr());
    for word in ["one ", "two ", "three"] {
        edge.cx().send(conn, word);
    }
    assert!(edge.cx().shutdown_write(conn));
    let peer = edge.accept(&server);
    edge.until("the peer has all", |_| {
        peer.count() == 13 && peer.is_closed()
    });
    assert_eq!(peer.received(), b"one two three");
    peer.send("and back");
    peer.close();
    edge.until_all_closed();
    let life = edge.log().life(conn);
    assert_eq!(life.received, b"and back");
    assert!(matches!(life.reason(), Reason::Eof));
    edge.end();
}

// C5
fn what_was_sent_to_nobody_is_counted_as_lost(on: On) {
    let mut edge = on.edge(default);
    let addr = edge.refusing();
    let conn = edge.connect(addr);
    edge.cx().send(conn, vec![1; 1000]);
    edge.until("it is refused", |edge| edge.log().is_closed(conn));
    let closed = edge.log().life(conn).closed.as_ref().unwrap();
    assert_eq!(closed.undelivered, 1000);
    edge.end();
}

// C7
fn a_pause_before_the_connect_is_through_holds(on: On) {
    let mut edge = on.edge(default);
    let server = edge.server();
    let conn = edge.connect(server.addr());
    assert!(edge.cx().pause_reads(conn));
    let peer = edge.accept(&server);
    peer.send("hello");
    edge.until_open(1);
    edge.pass(Duration::from_millis(5));
    assert_eq!(edge.log().life(conn).callbacks, ["open"]);
    assert!(edge.cx().resume_reads(conn));
    edge.until("it is told", |edge| {
        edge.log().life(conn).received == b"hello"
    });
    edge.end();
}

// L2
fn a_peer_that_resets_before_it_is_accepted_harms_nobody(on: On) {
    let mut edge = on.edge(echo);
    let addr = edge.listen();
    let peers: Vec<_> = (0..6).map(|_| edge.peer(&addr)).collect();
    for (number, peer) in peers.iter().enumerate() {
        match number % 2 {
            0 => peer.reset(),
            _ => peer.send("hi"),
        }
    }
    let good = || peers.iter().skip(1).step_by(2);
    edge.until("the good are served", |_| {
        good().all(|peer| peer.count() == 2)
    });
    good().for_each(|peer| peer.close());
    edge.until_all_closed();
    edge.end();
}

// L3
fn ten_behind_one_edge_are_all_accepted_with_a_budget_of_one(on: On) {
    let mut config = Config::default();
    config.accepts_per_turn = 1;
    let mut edge = on.edge_with(config, echo);
    let addr = edge.listen();
    let peers: Vec<_> = (0..10).map(|_| edge.peer(&addr)).collect();
    edge.until_open(10);
    peers.iter().for_each(|peer| peer.send("x"));
    edge.until("all are served", |_| {
        peers.iter().all(|peer| peer.count() == 1)
    });
    edge.end();
}

// L5
fn a_listener_closed_in_on_accept_accepts_nobody_else(on: On) {
    closing_the_listener(on, true);
}

// L5
fn a_listener_closed_in_on_open_accepts_nobody_else(on: On) {
    closing_the_listener(on, false);
}

fn closing_the_listener(on: On, in_on_accept: bool) {
    let mut the_listener = None;
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Accept { listener, .. } => {
            assert!(!in_on_accept || the_listener.is_none());
            the_listener = Some(listener);
            if in_on_accept {
                assert!(cx.unlisten(listener) && !cx.unlisten(listener));
            }
        }
        EventKind::Open { .. } => {
            if !in_on_accept {
                let listener = the_listener.unwrap();
                assert!(cx.unlisten(listener) && !cx.unlisten(listener));
            }
        }
        other => echo(cx, other),
    });
    let addr = edge.listen();
    let peers: Vec<_> = (0..5).map(|_| edge.peer(&addr)).collect();
    edge.until_open(1);
    // Who waited in the backlog is reset.
    edge.until("the others are gone", |_| {
        peers.iter().filter(|peer| peer.was_reset()).count() == 4
    });
    let late = edge.peer(&addr);
    edge.until("it is refused", |_| late.was_reset());
    assert_eq!(edge.log().count("open"), 1);
    assert_eq!(edge.log().accepts, 1);
    edge.end();
}

// L8
fn a_refused_peer_gets_no_callback_but_on_accept(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Accept { verdict, .. } => *verdict = Accept::Refuse,
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peers: Vec<_> = (0..5).map(|_| edge.peer(&addr)).collect();
    edge.until("all are sent away", |_| {
        peers.iter().all(|peer| peer.is_closed())
    });
    assert!(peers.iter().all(|peer| !peer.was_reset()));
    assert_eq!((edge.log().accepts, edge.log().ids.len()), (5, 0));
    let rude = edge.peer(&addr);
    rude.send("let me in");
    edge.until("it is sent away", |_| rude.is_closed());
    edge.end();
}

// A2: paused before anybody comes, and again from inside `on_accept`.
fn a_listener_that_is_paused_leaves_its_peers_in_the_backlog(on: On) {
    let pausing = Rc::new(Cell::new(false));
    let now = pausing.clone();
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Accept { listener, .. } if now.take() => {
            assert!(cx.pause_accepts(listener));
        }
        other => echo(cx, other),
    });
    let listener = edge.cx().listen("127.0.0.1:0").unwrap();
    let addr = edge.cx().listener_addr(listener).unwrap().clone();
    assert!(edge.cx().pause_accepts(listener) && edge.cx().pause_accepts(listener));
    let peers: Vec<_> = (0..5).map(|_| edge.peer(&addr)).collect();
    peers.iter().for_each(|peer| peer.send("hi"));
    edge.pass(Duration::from_millis(5));
    assert_eq!(edge.log().count("accept") + edge.log().count("open"), 0);
    assert!(edge.turns_at_rest() <= 20, "it spins");
    assert!(peers.iter().all(|peer| !peer.is_closed()));
    // The first of those who wait is let in, and no other.
    pausing.set(true);
    assert!(edge.cx().resume_accepts(listener));
    edge.until_open(1);
    edge.pass(Duration::from_millis(5));
    assert_eq!(edge.log().count("open"), 1);
    assert!(edge.turns_at_rest() <= 20, "it spins");
    // No new peer is needed for the rest.
    assert!(edge.cx().resume_accepts(listener) && edge.cx().resume_accepts(listener));
    edge.until("all are served", |_| {
        peers.iter().all(|peer| peer.count() == 2)
    });
    let late = edge.peer(&addr);
    late.send("hi");
    edge.until("who comes later is too", |_| late.count() == 2);
    assert!(edge.cx().pause_accepts(listener) && edge.cx().unlisten(listener));
    assert!(!edge.cx().pause_accepts(listener) && !edge.cx().resume_accepts(listener));
    peers.iter().chain([&late]).for_each(|peer| peer.close());
    edge.until_all_closed();
    edge.end();
}

// L8: refused by the handler, and for want of room. It may be lost, but never come in part.
fn who_is_refused_hears_a_last_word(on: On) {
    const WORD: &[u8] = b"too many, come back later\n";
    let mut config = Config::default();
    config.max_connections = 1;
    let refusing = Rc::new(Cell::new(true));
    let refuse = refusing.clone();
    let mut edge = on.edge_with(config, move |cx, event| match event {
        EventKind::Accept { verdict, .. } if refuse.get() => *verdict = Accept::Refuse,
        other => echo(cx, other),
    });
    let addr = edge.listen_on(Listen::new("127.0.0.1:0").last_word(WORD));
    let mut refused = vec![edge.peer(&addr)];
    edge.until("the handler sends it away", |_| refused[0].is_closed());
    refusing.set(false);
    let kept = edge.peer(&addr);
    edge.until_open(1);
    refused.push(edge.peer(&addr));
    edge.until("there is no room", |_| refused[1].is_closed());
    for peer in &refused {
        let heard = peer.received();
        let may_be_lost = matches!(on, On::Faulty(_)) && heard.is_empty();
        assert!(heard == WORD || may_be_lost, "{heard:?}");
        peer.close();
    }
    assert_eq!(edge.cx().stats().refused, 2);
    kept.close();
    edge.until_all_closed();
    edge.end();
}
