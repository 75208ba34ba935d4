//! L: listening and accepting. Unix paths are in `listening_unix.rs`.

use crate::kit::places::until_acked;
use crate::kit::{
    Kit, default, echo, other_place, peer, peer_at, read_all, read_n, reset, slot_of, spawn, write,
};
use sockeye::{Accept, Config, ConnId, EventKind, Limits, Listen, ListenerId, Reason};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

fn peers(addr: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| peer(addr)).collect()
}

/// Each peer gets its own echo, from a thread, while the reactor turns.
fn all_are_served(
    kit: &mut Kit<impl FnMut(&mut sockeye::Context, EventKind<'_>)>,
    peers: Vec<TcpStream>,
) {
    let talk = spawn(move || {
        for (number, mut peer) in peers.into_iter().enumerate() {
            let text = format!("peer {number:3}");
            write(&mut peer, &text);
            assert_eq!(read_n(&mut peer, 8), text.as_bytes());
        }
    });
    kit.until_done(talk);
}

/// All descriptors are in use. (There is no limit to be set on Windows.)
#[cfg(unix)]
mod exhausted {
    use super::*;
    use crate::kit::places::{in_own_process, is_own_process};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use socket2::{Domain, Socket, Type};
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::time::Instant;

    // L1, L3
    #[test]
    fn out_of_descriptors_the_loop_lives_and_accepts_when_they_return() {
        in_own_process("listening::exhausted::out_of_descriptors");
    }

    /// Allows no descriptor beyond those that are open now. Gives the limit as it was.
    fn forbid_descriptors() -> Rlimit {
        let before = getrlimit(Resource::Nofile);
        let next = File::open("/dev/null").unwrap().as_raw_fd();
        let current = Some(u64::try_from(next).unwrap());
        setrlimit(Resource::Nofile, Rlimit { current, ..before }).unwrap();
        assert!(File::open("/dev/null").is_err());
        before
    }

    #[test]
    #[ignore = "runs in a process of its own, whose descriptors it uses up"]
    fn out_of_descriptors() {
        if !is_own_process() {
            return;
        }
        let mut config = Config::default();
        config.accepts_per_turn = 1;
        let backoff = config.accept_backoff;
        let mut kit = Kit::with_config(config, echo);
        let addr = kit.listen();
        let mut live = peer(addr);
        kit.until("the first is open", |log| log.count("open") == 1);
        let spare = File::open("/dev/null").unwrap();
        let waiting: Vec<Socket> = (0..10)
            .map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap())
            .collect();
        let before = forbid_descriptors();
        for socket in &waiting {
            socket.connect(&addr.into()).unwrap();
        }

        // No spin, and one report for each rest.
        let (start, turns) = (Instant::now(), kit.turn_for(backoff * 5 / 2));
        kit.until("it tries again", |log| log.accept_errors >= 3);
        let rests = start.elapsed().as_millis() / backoff.as_millis() + 1;
        let errors = kit.log().accept_errors;
        assert!(errors as u128 <= rests, "{errors} errors in {rests} rests");
        assert!(turns <= 20, "a spin: {turns} turns");
        assert_eq!(kit.cx().stats().accept_errors, errors as u64);

        // Those that live are served; a connect fails, from the loop.
        write(&mut live, "still there?");
        let first = kit.log().ids[0];
        kit.until("it hears", |log| log.life(first).received.len() == 12);
        assert_eq!(read_n(&mut live, 12), b"still there?");
        let conn = kit.connect(addr);
        kit.until("it fails", |log| log.is_closed(conn));
        assert!(matches!(
            kit.log().life(conn).reason(),
            Reason::ConnectFailed(_)
        ));

        // One descriptor returns, and one peer is accepted; then all return.
        drop(spare);
        kit.until("one is accepted", |log| log.count("open") == 2);
        let errors = kit.log().accept_errors;
        kit.until("the next is not", |log| log.accept_errors > errors);
        assert_eq!(kit.log().count("open"), 2);
        setrlimit(Resource::Nofile, before).unwrap();
        kit.until("all are accepted", |log| log.count("open") == 11);
        all_are_served(&mut kit, waiting.into_iter().map(Socket::into).collect());
        kit.end();
    }

    // L1
    #[test]
    fn a_listener_that_is_closed_while_it_rests_is_forgotten() {
        in_own_process("listening::exhausted::a_listener_closed_while_it_rests");
    }

    #[test]
    #[ignore = "runs in a process of its own, whose descriptors it uses up"]
    fn a_listener_closed_while_it_rests() {
        if !is_own_process() {
            return;
        }
        let mut kit = Kit::new(echo);
        let listener = kit.reactor.listen("127.0.0.1:0").unwrap();
        let addr = kit.cx().listener_addr(listener).unwrap().ip().unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let before = forbid_descriptors();
        socket.connect(&addr.into()).unwrap();
        kit.until("it rests", |log| log.accept_errors == 1);
        assert!(kit.reactor.next_wakeup().is_some());
        kit.cx().unlisten(listener);
        setrlimit(Resource::Nofile, before).unwrap();
        kit.turn_for(Duration::from_millis(150));
        assert_eq!(kit.log().accept_errors, 1);
        assert_eq!(kit.reactor.next_wakeup(), None, "its timer is left");
        kit.end();
    }
}

// L2
#[test]
fn peers_that_reset_before_accept_harm_nobody() {
    let mut kit = Kit::new(echo);
    let addr = kit.listen();
    let mut good = Vec::new();
    for _ in 0..10 {
        reset(peer(addr));
        good.push(peer(addr));
        drop(peer(addr));
    }
    all_are_served(&mut kit, good);
    kit.until_all_closed();
    assert_eq!(kit.log().accept_errors, 0);
    let resets = kit.log().ids.iter().filter(|id| {
        let life = kit.log().life(**id);
        matches!(life.reason(), Reason::Reset) && life.callbacks == ["open", "close"]
    });
    // Not every system gives the resets to accept; Linux does.
    assert_eq!(resets.count(), 10);
    all_are_served(&mut kit, peers(addr, 3));
    kit.until_all_closed();
    kit.end();
}

// L3
#[test]
fn ten_behind_one_edge_are_all_accepted_with_a_budget_of_one() {
    let mut config = Config::default();
    config.accepts_per_turn = 1;
    let mut kit = Kit::with_config(config, echo);
    let addr = kit.listen();
    for round in 1..=2 {
        // A pause: nothing turns while they come. The second time no edge was seen since the last.
        let ten = peers(addr, 10);
        let mut turns = 0;
        while kit.log().count("open") < round * 10 {
            let (before, turn) = (kit.log().count("open"), kit.turn());
            let after = kit.log().count("open");
            assert!(after - before <= 1, "above its budget");
            assert!(after == round * 10 || turn.more, "the loop would sleep");
            turns += 1;
            assert!(turns < 1000, "never accepted: {after}");
        }
        all_are_served(&mut kit, ten);
        kit.until_all_closed();
    }
    assert!(kit.cx().stats().budget_hits.accepts >= 18);
    kit.end();
}

// L3, L4
#[test]
fn two_busy_listeners_take_turns() {
    let mut config = Config::default();
    config.accepts_per_turn = 2;
    let from: Rc<RefCell<BTreeMap<ListenerId, usize>>> = Rc::default();
    let count = from.clone();
    let mut kit = Kit::with_config(config, move |cx, event| {
        if let EventKind::Accept { listener, .. } = event {
            *count.borrow_mut().entry(listener).or_default() += 1;
        }
        echo(cx, event);
    });
    let (one, other) = (kit.listen(), kit.listen());
    let (crowd, few) = (peers(one, 20), peers(other, 2));
    // Which listener comes first is for the system to say.
    kit.until("the few are accepted", |_| {
        from.borrow().values().any(|count| *count == 2) && from.borrow().len() == 2
    });
    assert!(kit.log().accepts <= 6, "{from:?}");
    all_are_served(&mut kit, few);
    all_are_served(&mut kit, crowd);
    kit.until_all_closed();
    kit.end();
}

// L4
#[test]
fn an_accept_storm_does_not_starve_those_already_connected() {
    let mut config = Config::default();
    config.accepts_per_turn = 4;
    let mut kit = Kit::with_config(config, echo);
    let addr = kit.listen();
    let mut live = peer(addr);
    kit.until("it is open", |log| log.count("open") == 1);
    let storm = peers(addr, 200);
    let conn = kit.log().ids[0];
    for round in 1..=5 {
        write(&mut live, "ping");
        until_acked(&live);
        let before = kit.log().accepts;
        kit.turn();
        kit.turn();
        assert_eq!(kit.log().life(conn).received.len(), round * 4);
        let accepted = kit.log().accepts - before;
        assert!((1..=8).contains(&accepted), "{accepted} in two turns");
        assert_eq!(read_n(&mut live, 4), b"ping");
    }
    all_are_served(&mut kit, storm);
    drop(live);
    kit.until_all_closed();
    kit.end();
}

/// Closes the listener in a callback; nobody is accepted after that.
fn one_shot(in_accept: bool) {
    let verdicts = Rc::new(Cell::new(0));
    let seen = verdicts.clone();
    let mut kit = Kit::new(move |cx, event| {
        let listener = match event {
            EventKind::Accept { listener, .. } if in_accept => Some(listener),
            EventKind::Open { conn, .. } if !in_accept => match cx.origin(conn) {
                Some(sockeye::Origin::Accepted(listener)) => Some(listener),
                other => panic!("{other:?}"),
            },
            _ => None,
        };
        if let Some(listener) = listener {
            assert!(cx.unlisten(listener));
            assert!(!cx.unlisten(listener), "its id is stale");
            assert_eq!(cx.listener_addr(listener), None);
            seen.set(seen.get() + 1);
        }
        echo(cx, event);
    });
    let addr = kit.listen();
    let mut waiting = peers(addr, 5);
    kit.until("one is open", |log| log.count("open") == 1);
    kit.turn_for(Duration::from_millis(50));
    assert_eq!((kit.log().accepts, verdicts.get()), (1, 1));
    assert_eq!(kit.log().ids.len(), 1);
    let rest = waiting.split_off(1);
    for mut peer in rest {
        let end = peer.read(&mut [0; 8]);
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
    all_are_served(&mut kit, waiting);
    kit.until_all_closed();
    kit.end();
}

// L5
#[test]
fn a_listener_closed_in_on_accept_accepts_nothing_more() {
    one_shot(true);
}

// L5
#[test]
fn a_listener_closed_in_on_open_accepts_nothing_more() {
    one_shot(false);
}

// L5
#[test]
fn what_the_last_peer_gets_from_its_listener_outlives_it() {
    let mut kit = Kit::new(|cx, event| {
        if let EventKind::Accept { listener, .. } = event {
            cx.unlisten(listener);
        }
        default(cx, event);
    });
    let listen = Listen::new("127.0.0.1:0").idle(Duration::from_millis(50));
    let addr = kit.listen_on(listen).ip().unwrap();
    let _silent = peer(addr);
    kit.until("it was idle", |log| log.count("deadline") == 1);
    kit.until_all_closed();
    kit.end();
}

// L5
#[test]
fn a_listener_in_the_slot_of_a_closed_one_is_another_listener() {
    let old: Rc<Cell<Option<ListenerId>>> = Rc::default();
    let stale = old.clone();
    let mut kit = Kit::new(move |cx, event| {
        if let EventKind::Accept { listener, .. } = event {
            if stale.get().is_none() {
                cx.unlisten(listener);
                stale.set(Some(listener));
                cx.listen("127.0.0.1:0").unwrap();
            } else {
                panic!("nobody knows the new address");
            }
        }
        echo(cx, event);
    });
    let addr = kit.listen();
    let waiting = peers(addr, 3);
    kit.until("one is open", |log| log.count("open") == 1);
    kit.turn_for(Duration::from_millis(50));
    let old = old.get().unwrap();
    assert!(!kit.cx().unlisten(old));
    assert_eq!(kit.log().accepts, 1);
    drop(waiting);
    kit.until_all_closed();
    kit.end();
}

// L6
#[test]
fn an_address_in_use_is_an_error_of_listen() {
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(taken) = TcpListener::bind(host) else {
            continue;
        };
        let addr = taken.local_addr().unwrap();
        let mut kit = Kit::new(echo);
        let error = kit.reactor.listen(addr).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&addr.to_string()), "{error}");
        let own = kit.listen_on(host).ip().unwrap();
        let error = kit.reactor.listen(own).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        all_are_served(&mut kit, peers(own, 2));
        kit.until_all_closed();
        kit.end();
    }
}

// L6
#[test]
fn a_listener_that_makes_no_sense_is_an_error_too_and_costs_nothing() {
    let mut kit = Kit::new(echo);
    let mut limits = Limits::default();
    limits.low_watermark = limits.high_watermark + 1;
    let senseless = Listen::new("127.0.0.1:0").limits(limits);
    let error = kit.reactor.listen(senseless).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("low_watermark"), "{error}");
    for wrong in ["203.0.113.1:0", "no address", "127.0.0.1:99999"] {
        let error = kit.reactor.listen(wrong).unwrap_err();
        assert!(error.to_string().contains(wrong), "{error}");
    }
    for text in [
        ":7000",
        "7000",
        "unix:",
        "127.0.0.1",
        "localhost:http",
        "::1",
        "::1:80",
    ] {
        let error = kit.reactor.listen(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(
            error
                .to_string()
                .ends_with("IP:PORT, NAME:PORT, [IPV6]:PORT or unix:PATH"),
            "{error}"
        );
    }
    // The first that works has the first slot.
    let listener = kit.reactor.listen("127.0.0.1:0").unwrap();
    assert!(listener.to_string().starts_with("l0."), "{listener}");
    kit.end();
}

// L6
#[test]
fn a_port_is_free_again_as_soon_as_its_listener_is_closed() {
    let mut kit = Kit::new(echo);
    let listener = kit.reactor.listen("127.0.0.1:0").unwrap();
    let addr = kit.cx().listener_addr(listener).unwrap().clone();
    // This side closes first, and is left with a connection in TIME_WAIT.
    let mut one = peer(addr.ip().unwrap());
    kit.until("it is open", |log| log.count("open") == 1);
    let conn = kit.log().ids[0];
    kit.cx().close(conn);
    kit.until_all_closed();
    assert_eq!(one.read(&mut [0; 8]).unwrap(), 0);
    drop(one);
    assert!(kit.cx().unlisten(listener));
    let again = kit.reactor.listen(addr).unwrap();
    assert_ne!(again, listener);
    assert!(!kit.cx().unlisten(listener));
    kit.end();
}

fn refuse(cx: &mut sockeye::Context, event: EventKind<'_>) {
    match event {
        EventKind::Accept { verdict, .. } => *verdict = Accept::Refuse,
        other => echo(cx, other),
    }
}

// L8
#[test]
fn a_refused_peer_costs_nothing() {
    let mut kit = Kit::new(refuse);
    let addr = kit.listen();
    let other = kit.listen_on(other_place());
    let mut refused = peers(addr, 20);
    // One that has spoken already: closing a socket with unread input resets it.
    write(&mut refused[0], "hello?");
    let mut local = peer_at(&other);
    kit.until("all are refused", |log| log.accepts == 21);
    // The reactor does not turn any more, and yet they see the end: the sockets are closed.
    for peer in &mut refused {
        let end = peer.read(&mut [0; 8]);
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    }
    assert_eq!(local.read(&mut [0; 8]).unwrap(), 0);
    assert!(kit.log().ids.is_empty(), "a callback for a refused peer");
    let stats = kit.cx().stats().clone();
    assert_eq!((stats.refused, stats.accepted, stats.opened), (21, 0, 0));
    assert_eq!(kit.cx().connections().count(), 0);
    // The first that gets a slot gets the first slot.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let conn = kit.connect(listener.local_addr().unwrap());
    assert_eq!(slot_of(conn), "c0");
    kit.end();
}

// L8
#[test]
fn peers_above_the_cap_are_refused_without_asking() {
    let mut config = Config::default();
    config.max_connections = 3;
    let mut kit = Kit::with_config(config, echo);
    let addr = kit.listen();
    let mut five = peers(addr, 5);
    kit.until("three are open", |log| log.count("open") == 3);
    for mut refused in five.split_off(3) {
        let end = spawn(move || refused.read(&mut [0; 8]).unwrap_or(0));
        assert_eq!(kit.until_done(end), 0);
    }
    assert_eq!((kit.log().accepts, kit.cx().stats().refused), (3, 2));
    // When one has left, there is room for one.
    drop(five.pop());
    kit.until("one left", |log| log.closed() == 1);
    five.extend(peers(addr, 1));
    all_are_served(&mut kit, five);
    kit.until_all_closed();
    assert_eq!(kit.log().accepts, 4);
    kit.end();
}

// L8
#[test]
fn a_connection_made_in_on_accept_may_take_the_last_place() {
    let mut config = Config::default();
    config.max_connections = 1;
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = target.local_addr().unwrap();
    let made: Rc<Cell<Option<ConnId>>> = Rc::default();
    let first = made.clone();
    let mut kit = Kit::with_config(config, move |cx, event| {
        if let EventKind::Accept { .. } = event {
            first.set(Some(cx.connect(addr)));
        }
        echo(cx, event);
    });
    let here = kit.listen();
    let refused = peer(here);
    let end = spawn(move || read_all(refused));
    assert_eq!(kit.until_done(end), b"");
    let made = made.get().unwrap();
    kit.until("the connect opens", |log| {
        log.ids.contains(&made) && log.life(made).count("open") == 1
    });
    assert_eq!(kit.log().ids, [made]);
    kit.end();
}

#[test]
fn an_ipv4_peer_of_a_listener_for_both_families_has_its_ipv4_address() {
    let mut seen = Vec::new();
    let mut kit = Kit::new(|cx, event| {
        match &event {
            EventKind::Accept { peer, .. } => seen.push(peer.to_string()),
            EventKind::Open { conn, .. } => {
                seen.push(cx.peer_addr(*conn).unwrap().to_string());
                seen.push(cx.local_addr(*conn).unwrap().to_string());
            }
            _ => {}
        }
        default(cx, event);
    });
    let Ok(listener) = kit.reactor.listen(Listen::new("[::]:0").only_v6(false)) else {
        return; // no IPv6 here
    };
    let local = kit.cx().listener_addr(listener).unwrap().clone();
    assert!(local.to_string().starts_with("[::]:"), "{local}");
    let here = SocketAddr::from(([127, 0, 0, 1], local.ip().unwrap().port()));
    let peer = peer(here);
    kit.until("it is open", |log| log.count("open") == 1);
    let there = peer.local_addr().unwrap().to_string();
    kit.end();
    assert_eq!(seen, [there.clone(), there, here.to_string()]);
}
