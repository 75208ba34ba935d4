//! Listening and accepting: L2 to L6, L8, A2.

use crate::kit::edge::On;
use crate::kit::{default, echo, slot_of, unix_path};
use crate::{on_both_edges, on_every_edge};
use sockeye::{Accept, Addr, Config, ConnId, EventKind, ListenerId, Origin, Reason};
use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

on_both_edges! {
    an_address_in_use_is_an_error_of_listen,
    who_waits_at_a_unix_listener_that_closes_is_reset,
    a_listener_closed_in_on_accept_accepts_nobody_else,
    a_listener_closed_in_on_open_accepts_nobody_else,
    a_listener_in_the_slot_of_a_closed_one_is_another_listener,
    a_listener_that_is_paused_leaves_its_peers_in_the_backlog,
    who_is_refused_hears_a_last_word,
}

on_every_edge! {
    a_peer_that_resets_before_it_is_accepted_harms_nobody,
    ten_behind_one_edge_are_all_accepted_with_a_budget_of_one,
    two_busy_listeners_take_turns,
    an_accept_storm_does_not_starve_the_established,
    what_a_peer_has_from_its_listener_outlives_it,
    a_refused_peer_costs_nothing,
    peers_above_the_cap_are_refused_without_asking,
    a_connection_made_in_on_accept_may_take_the_last_place,
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

// L2: nor one that leaves.
fn a_peer_that_resets_before_it_is_accepted_harms_nobody(on: On) {
    let mut edge = on.edge(echo);
    let addr = edge.listen();
    let mut good = Vec::new();
    for _ in 0..10 {
        edge.peer(&addr).reset();
        good.push(edge.peer(&addr));
        edge.peer(&addr).close();
    }
    good.iter().for_each(|peer| peer.send("hi"));
    edge.until("the good are served", |_| {
        good.iter().all(|peer| peer.count() == 2)
    });
    good.iter().for_each(|peer| peer.close());
    edge.until_all_closed();
    assert_eq!(edge.log().accept_errors, 0);
    // Not every system gives the resets to accept; Linux does, and Unix sockets know none.
    if cfg!(target_os = "linux") && on.is_real() {
        let lives = edge.log().lives.iter().map(|(_, life)| life);
        let resets = lives.filter(|life| matches!(life.reason(), Reason::Reset));
        let alone = resets.filter(|life| life.callbacks == ["open", "close"]);
        assert_eq!(alone.count(), if on.is_unix() { 0 } else { 10 });
        assert_eq!(edge.log().accepts, 30);
    }
    let late = edge.peer(&addr);
    late.send("hi");
    edge.until("the next is served", |_| late.count() == 2);
    edge.end();
}

// L3: twice. The second time no edge was seen since the last.
fn ten_behind_one_edge_are_all_accepted_with_a_budget_of_one(on: On) {
    let mut config = Config::default();
    config.accepts_per_turn = 1;
    let mut last = 0;
    let mut edge = on.edge_with(config, move |cx, event| {
        if let EventKind::Accept { .. } = event {
            let turn = cx.stats().turns;
            assert!(
                std::mem::replace(&mut last, turn) < turn,
                "above its budget"
            );
        }
        echo(cx, event);
    });
    let addr = edge.listen();
    for round in 1..=2 {
        let peers: Vec<_> = (0..10).map(|_| edge.peer(&addr)).collect();
        let before = edge.log().accepts;
        edge.until("all are accepted", |edge| {
            let accepts = edge.log().accepts;
            // (A world turns by itself, and is asked when it is at rest.)
            let some_wait = accepts > before && accepts < 10 * round && on.is_real();
            let now = edge.now();
            let is_due = edge.reactor().next_wakeup().is_some_and(|at| at <= now);
            assert!(!some_wait || is_due, "after {accepts} the loop would sleep");
            accepts == 10 * round
        });
        edge.until_open(10 * round);
        peers.iter().for_each(|peer| peer.send("x"));
        edge.until("all are served", |_| {
            peers.iter().all(|peer| peer.count() == 1)
        });
        peers.iter().for_each(|peer| peer.close());
        edge.until_all_closed();
    }
    assert!(edge.cx().stats().budget_hits.accepts >= 18 || on.is_faulty());
    edge.end();
}

// L3, L4
fn two_busy_listeners_take_turns(on: On) {
    let mut config = Config::default();
    config.accepts_per_turn = 2;
    let order: Rc<RefCell<Vec<ListenerId>>> = Rc::default();
    let accepted = order.clone();
    let mut edge = on.edge_with(config, move |cx, event| {
        if let EventKind::Accept { listener, .. } = event {
            accepted.borrow_mut().push(listener);
        }
        echo(cx, event);
    });
    let (one, other) = (edge.listen(), edge.listen());
    let mut peers: Vec<_> = (0..20).map(|_| edge.peer(&one)).collect();
    peers.extend([0, 1].map(|_| edge.peer(&other)));
    peers.iter().for_each(|peer| peer.send("x"));
    edge.until("all are served", |_| {
        peers.iter().all(|peer| peer.count() == 1)
    });
    // Which listener comes first is for the system to say.
    let order = order.borrow();
    let few = *order
        .iter()
        .find(|listener| order.iter().filter(|other| other == listener).count() == 2)
        .unwrap();
    let last = order.iter().rposition(|listener| *listener == few).unwrap();
    assert!(last < 6 || on.is_faulty(), "{order:?}");
    edge.end();
}

// L4
fn an_accept_storm_does_not_starve_the_established(on: On) {
    const BUDGET: usize = 4;
    let mut config = Config::default();
    config.accepts_per_turn = BUDGET;
    let (mut opens, at_data) = (0, Rc::new(Cell::new(None)));
    let (told, mut last, mut in_turn) = (at_data.clone(), 0, 0);
    let mut edge = on.edge_with(config, move |cx, event| {
        match event {
            EventKind::Accept { .. } => {
                let turn = cx.stats().turns;
                let same = std::mem::replace(&mut last, turn) == turn;
                in_turn = if same { in_turn + 1 } else { 1 };
                assert!(in_turn <= BUDGET, "{in_turn} in a turn");
            }
            EventKind::Open { .. } => opens += 1,
            EventKind::Data { .. } => told.set(told.get().or(Some(opens))),
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
    let storm: Vec<_> = (0..100).map(|_| edge.peer(&addr)).collect();
    first.send("x");
    edge.until("it is served", |_| first.count() == 1);
    // In the first turn or the next.
    let before = at_data.get().unwrap();
    let at_most = if on.is_faulty() { 60 } else { 1 + 2 * BUDGET };
    assert!(before <= at_most, "{before} came first");
    storm.iter().for_each(|peer| peer.send("x"));
    edge.until("all are served", |_| {
        storm.iter().all(|peer| peer.count() == 1)
    });
    storm.iter().for_each(|peer| peer.close());
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
    let mut closed = 0;
    let mut edge = on.edge(move |cx, event| {
        let listener = match event {
            EventKind::Accept { listener, .. } if in_on_accept => Some(listener),
            EventKind::Open { origin, .. } if !in_on_accept => match origin {
                Origin::Accepted(listener) => Some(listener),
                other => panic!("{other:?}"),
            },
            _ => None,
        };
        if let Some(listener) = listener {
            closed += 1;
            assert_eq!(closed, 1);
            assert!(cx.unlisten(listener) && !cx.unlisten(listener));
            assert_eq!(cx.listener_addr(listener), None);
        }
        echo(cx, event);
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
    let only = peers.iter().find(|peer| !peer.was_reset()).unwrap();
    only.send("hi");
    edge.until("it is served", |_| only.count() == 2);
    only.close();
    edge.until_all_closed();
    edge.end();
}

// L5
fn what_a_peer_has_from_its_listener_outlives_it(on: On) {
    let mut edge = on.edge(|cx, event| {
        if let EventKind::Accept { listener, .. } = event {
            cx.unlisten(listener);
        }
        default(cx, event);
    });
    let addr = edge.listen_with(|listen| listen.idle(Duration::from_millis(50)));
    let silent = edge.peer(&addr);
    edge.until("it was idle", |edge| edge.log().count("deadline") == 1);
    edge.until("it has its end", |_| silent.is_closed());
    silent.close();
    edge.until_all_closed();
    edge.end();
}

// L5
fn a_listener_in_the_slot_of_a_closed_one_is_another_listener(on: On) {
    let old: Rc<Cell<Option<ListenerId>>> = Rc::default();
    let stale = old.clone();
    let mut edge = on.edge(move |cx, event| {
        if let EventKind::Accept { listener, .. } = event {
            assert!(stale.get().is_none(), "nobody knows the new address");
            cx.unlisten(listener);
            stale.set(Some(listener));
            cx.listen("127.0.0.1:0").unwrap();
        }
        echo(cx, event);
    });
    let addr = edge.listen();
    let peers: Vec<_> = (0..3).map(|_| edge.peer(&addr)).collect();
    edge.until_open(1);
    edge.pass(Duration::from_millis(50));
    assert!(!edge.cx().unlisten(old.get().unwrap()));
    assert_eq!(edge.log().accepts, 1);
    peers.iter().for_each(|peer| peer.close());
    edge.until_all_closed();
    edge.end();
}

// L6: another's, or our own.
fn an_address_in_use_is_an_error_of_listen(on: On) {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let mut edge = on.edge(echo);
        let Ok(listener) = edge.reactor().listen(host) else {
            continue;
        };
        let addr = edge.cx().listener_addr(listener).unwrap().clone();
        let server = edge.server();
        for taken in [addr.clone(), server.addr()] {
            let error = edge.reactor().listen(taken.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AddrInUse);
            assert!(error.to_string().contains(&taken.to_string()), "{error}");
        }
        let peer = edge.peer(&addr);
        peer.send("hi");
        edge.until("the first one serves", |_| peer.count() == 2);
        edge.end();
    }
}

// L8
fn a_refused_peer_costs_nothing(on: On) {
    let mut edge = on.edge(|cx, event| match event {
        EventKind::Accept { verdict, .. } => *verdict = Accept::Refuse,
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peers: Vec<_> = (0..20).map(|_| edge.peer(&addr)).collect();
    edge.until("all are sent away", |_| {
        peers.iter().all(|peer| peer.is_closed())
    });
    // Closing a socket with unread input resets it; a client of TLS speaks first.
    assert!(peers.iter().all(|peer| !peer.was_reset()) || on.is_under());
    let rude = edge.peer(&addr);
    rude.send("let me in");
    edge.until("it is sent away", |_| rude.is_closed());
    assert_eq!((edge.log().accepts, edge.log().ids.len()), (21, 0));
    let stats = edge.cx().stats().clone();
    assert_eq!((stats.refused, stats.accepted, stats.opened), (21, 0, 0));
    assert_eq!(edge.cx().connections().count(), 0);
    // The first that gets a slot gets the first slot.
    let server = edge.server();
    let conn = edge.connect(server.addr());
    assert_eq!(slot_of(conn), "c0");
    edge.accept(&server);
    edge.end();
}

// L8
fn peers_above_the_cap_are_refused_without_asking(on: On) {
    let mut config = Config::default();
    config.max_connections = 3;
    let mut edge = on.edge_with(config, echo);
    let addr = edge.listen();
    let mut peers: Vec<_> = (0..5).map(|_| edge.peer(&addr)).collect();
    edge.until("two are sent away", |_| {
        peers.iter().filter(|peer| peer.is_closed()).count() == 2
    });
    edge.until_open(3);
    assert_eq!((edge.log().accepts, edge.cx().stats().refused), (3, 2));
    peers.retain(|peer| !peer.is_closed());
    // When one has left, there is room for one.
    peers.pop().unwrap().close();
    edge.until("one has left", |edge| edge.log().closed() == 1);
    peers.push(edge.peer(&addr));
    peers.iter().for_each(|peer| peer.send("hi"));
    edge.until("all are served", |_| {
        peers.iter().all(|peer| peer.count() == 2)
    });
    assert_eq!(edge.log().accepts, 4);
    edge.end();
}

// L8
fn a_connection_made_in_on_accept_may_take_the_last_place(on: On) {
    let mut config = Config::default();
    config.max_connections = 1;
    let to: Rc<RefCell<Option<Addr>>> = Rc::default();
    let made: Rc<Cell<Option<ConnId>>> = Rc::default();
    let (target, first) = (to.clone(), made.clone());
    let mut edge = on.edge_with(config, move |cx, event| {
        if let EventKind::Accept { .. } = event {
            first.set(Some(cx.connect(target.borrow().clone().unwrap())));
        }
        echo(cx, event);
    });
    let server = edge.server();
    *to.borrow_mut() = Some(server.addr());
    let addr = edge.listen();
    let refused = edge.peer(&addr);
    edge.until("it is sent away", |_| refused.is_closed());
    assert_eq!(refused.count(), 0);
    let _peer = edge.accept(&server);
    edge.until_open(1);
    assert_eq!(edge.log().ids, [made.get().unwrap()]);
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
    let addr = edge.listen_with(|listen| listen.last_word(WORD));
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
