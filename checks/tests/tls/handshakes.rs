//! TLS handshakes and what comes of them: S3, S4.

use crate::kit::reset;
use crate::simulated::*;
use sockeye::sim::{Peer, World};
use sockeye::{
    Accept, Addr, Closed, Config, ConnId, Connect, Context, Handler, Input, Listen, ListenerId,
    Origin, Reactor, TlsVersion,
};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

// S4
#[test]
fn a_client_of_rustls_is_answered_and_the_session_is_known() {
    let authority = Authority::new();
    let mut world = World::new();
    let seen = server(&mut world, &authority, Config::default());
    let mut guest = Guest::new(&mut world, &authority);
    guest.settle(&mut world).unwrap();
    assert_eq!(*seen.borrow(), ["open Some(V1_3)"]);
    let hello = guest.client.send(b"hello");
    guest.peer.send(hello);
    assert_eq!(guest.settle(&mut world).unwrap(), b"hello");
    guest.client.session.send_close_notify();
    guest.settle(&mut world).unwrap();
    guest.peer.shutdown();
    world.settle();
    let expected = ["open Some(V1_3)", "data 5", "eof", "close closed by peer"];
    assert_eq!(*seen.borrow(), expected);
    world.assert_no_leaks();
}

// S3
#[test]
fn plaintext_to_a_tls_port_is_an_alert_and_nobody_hears_of_it() {
    let authority = Authority::new();
    let mut world = World::new();
    let seen = server(&mut world, &authority, Config::default());
    let peer = world.connect(ADDR);
    peer.send("GET / HTTP/1.1\r\n\r\n");
    world.settle();
    assert!(seen.borrow().is_empty());
    assert_eq!(peer.received_bytes()[0], 21, "an alert: RFC 8446, 5.1");
    world.advance(Duration::from_secs(10));
    assert!(peer.is_closed());
    world.assert_no_leaks();
}

// S3
#[test]
fn a_handshake_that_does_not_go_on_ends_in_time_whatever_drips() {
    let authority = Authority::new();
    let mut world = World::new();
    let seen = server(&mut world, &authority, Config::default());
    let silent = world.connect(ADDR);
    let dripping = world.connect(ADDR);
    let hello = Client::new(authority.client()).says();
    for byte in hello.chunks(1).take(11) {
        dripping.send(byte);
        world.advance(Duration::from_secs(1));
    }
    assert!(silent.was_reset() && dripping.was_reset());
    assert!(seen.borrow().is_empty());
    world.assert_no_leaks();
}

// S4
#[test]
fn what_both_have_agreed_on_is_known_at_both_ends() {
    let authority = Authority::new();
    let mut world = World::new();
    let mut config = authority.strict_server();
    config.alpn_protocols = vec![b"chat/2".to_vec(), b"chat/1".to_vec()];
    let config = Arc::new(config);
    let node = world.start("server", Echo::default(), move |reactor| {
        reactor.listen(Listen::new(ADDR).tls(config)).map(drop)
    });
    let mut client = authority.known_client("ann");
    client.alpn_protocols = vec![b"chat/1".to_vec()];
    let ann = connects(&mut world, "ann", client, Sender::waiting());
    world.settle();
    world.with(node, |_, cx| {
        let conn = cx.connections().next().unwrap();
        let tls = cx.tls(conn).unwrap();
        assert!(tls.is_secured() && !tls.is_resumed());
        assert_eq!(tls.version(), Some(TlsVersion::V1_3));
        assert_eq!(tls.alpn(), Some(&b"chat/1"[..]));
        assert_eq!(tls.server_name(), Some(NAME));
        assert_eq!(tls.peer_certificates().count(), 1);
        assert!(tls.cipher_suite().unwrap().starts_with("TLS13_"));
        assert_eq!((cx.stats().tls.secured, cx.stats().opened), (1, 1));
    });
    world.with(ann, |ann, cx| {
        let tls = cx.tls(ann.conn.unwrap()).unwrap();
        assert_eq!(tls.alpn(), Some(&b"chat/1"[..]));
        assert_eq!(tls.peer_certificates().count(), 1);
    });
}

// S4
#[test]
fn a_session_is_resumed() {
    let authority = Authority::new();
    let mut world = World::new();
    let config = Arc::new(authority.server());
    let node = world.start("server", Echo::default(), move |reactor| {
        reactor.listen(Listen::new(ADDR).tls(config)).map(drop)
    });
    let client = authority.client();
    for name in ["one", "two"] {
        connects(&mut world, name, client.clone(), Sender::of(100));
        world.settle();
        world.advance(Duration::from_secs(1));
    }
    world.with(node, |_, cx| {
        assert_eq!((cx.stats().tls.secured, cx.stats().tls.resumed), (2, 1));
    });
}

// S3
#[test]
fn who_does_not_trust_the_other_says_so_and_is_told_so() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut world = World::new();
    let config = Arc::new(authority.server());
    let node = world.start("server", Echo::default(), move |reactor| {
        reactor.listen(Listen::new(ADDR).tls(config)).map(drop)
    });
    let ann = connects(&mut world, "ann", other.client(), Sender::of(10));
    world.settle();
    world.advance(Duration::from_secs(40));
    let closed = world.app(ann).closed.clone().unwrap();
    assert!(
        closed.starts_with("TLS: invalid peer certificate"),
        "{closed}"
    );
    assert!(world.app(ann).conn.is_none(), "no on_open");
    world.with(node, |echo, cx| {
        assert!(echo.seen.borrow().is_empty());
        assert_eq!((cx.stats().tls.failed, cx.stats().tls.secured), (1, 0));
        assert_eq!((cx.stats().accepted, cx.stats().opened), (1, 0));
    });
    world.assert_no_leaks();
}

// S3
#[test]
fn handshakes_under_way_are_bounded_in_all_and_for_each_address() {
    let authority = Authority::new();
    for (most, from_one, expected) in [(5, 100, 5), (100, 3, 3)] {
        let mut world = World::new();
        let config = Config::default()
            .max_handshakes(most)
            .max_handshakes_from_one(from_one);
        let tls = Arc::new(authority.server());
        let node = world.start_with("server", config, Echo::default(), move |reactor| {
            reactor.listen(Listen::new(ADDR).tls(tls)).map(drop)
        });
        let host = "10.9.9.9".parse().unwrap();
        let silent: Vec<Peer> = (0..8).map(|_| world.connect_from(host, ADDR)).collect();
        world.settle();
        let refused = silent.iter().filter(|peer| peer.is_closed()).count();
        assert_eq!(refused, 8 - expected);
        world.with(node, |_, cx| {
            assert_eq!(cx.stats().tls.refused as usize, refused);
            assert_eq!(cx.connections().count(), 0, "nobody has heard of them");
        });
        // Their time is over: others have room again.
        world.advance(Duration::from_secs(10));
        // And who is through gives up his place, for as many as come one after the other.
        let guests: Vec<Guest> = (0..8)
            .map(|_| {
                let mut guest = Guest::new(&mut world, &authority);
                guest.settle(&mut world).unwrap();
                guest
            })
            .collect();
        world.with(node, |echo, cx| {
            assert_eq!(cx.stats().tls.timed_out as usize, expected);
            assert_eq!(*echo.seen.borrow(), ["open Some(V1_3)"; 8]);
            assert_eq!(cx.connections().count(), guests.len());
        });
    }
}

// S3
#[test]
fn one_that_has_failed_gives_its_place_up_while_it_lingers() {
    let authority = Authority::new();
    let mut world = World::new();
    let config = Config::default()
        .max_handshakes(1)
        .max_handshakes_from_one(1);
    let seen = server(&mut world, &authority, config);
    let failed = world.connect(ADDR);
    failed.send("GET / HTTP/1.1\r\n\r\n");
    world.settle();
    assert_eq!(failed.received_bytes()[0], 21, "an alert: RFC 8446, 5.1");
    // Twice: a place that is given up twice would be one too many.
    for _ in 0..2 {
        Guest::new(&mut world, &authority)
            .settle(&mut world)
            .unwrap();
        let silent = world.connect(ADDR);
        world.settle();
        assert!(!silent.is_closed());
        let refused = world.connect(ADDR);
        world.settle();
        assert!(refused.is_closed());
        world.advance(Duration::from_secs(20));
        assert!(failed.is_closed() && silent.is_closed());
    }
    let opened = |word: &&String| word.starts_with("open");
    assert_eq!(seen.borrow().iter().filter(opened).count(), 2);
}

// S3
#[test]
fn connects_of_ones_own_take_no_place_of_a_peer() {
    let authority = Authority::new();
    let mut world = World::new();
    let silent = world.listen("10.0.0.9:443");
    let config = Config::default().max_handshakes(1);
    let (tls, client) = (Arc::new(authority.server()), Arc::new(authority.client()));
    world.start_with("server", config, Echo::default(), move |reactor| {
        for _ in 0..3 {
            let connect = Connect::new("10.0.0.9:443").tls(client.clone(), name());
            reactor.context().connect(connect);
        }
        reactor.listen(Listen::new(ADDR).tls(tls)).map(drop)
    });
    world.settle();
    assert!(silent.accept().is_some());
    let mut guest = Guest::new(&mut world, &authority);
    let words = guest
        .settle(&mut world)
        .map(|_| guest.client.send(b"hello"));
    guest.peer.send(words.unwrap());
    assert_eq!(guest.settle(&mut world).unwrap(), b"hello");
}

// S3
#[test]
fn a_graceful_stop_leaves_those_who_are_in_their_handshake() {
    let authority = Authority::new();
    let mut world = World::new();
    let tls = Arc::new(authority.server());
    let node = world.start("server", Echo::default(), move |reactor| {
        reactor.listen(Listen::new(ADDR).tls(tls)).map(drop)
    });
    let silent = world.connect(ADDR);
    let mut guest = Guest::new(&mut world, &authority);
    guest.settle(&mut world).unwrap();
    world.with(node, |_, cx| cx.finish(Duration::from_secs(5)));
    world.settle();
    assert!(silent.is_closed());
    guest.settle(&mut world).unwrap();
    guest.peer.shutdown();
    world.settle();
    let report = world.reactor(node).take_report().unwrap();
    assert_eq!((report.closed, report.aborted), (1, 0));
    world.assert_no_leaks();
}

// S4
#[test]
fn who_asks_for_key_updates_and_says_nothing_is_left() {
    let authority = Authority::new();
    let mut world = World::new();
    world.send_buffers(1000, 1000);
    let seen = server(&mut world, &authority, Config::default());
    let mut guest = Guest::new(&mut world, &authority);
    guest.settle(&mut world).unwrap();
    guest.peer.ignore();
    for _ in 0..200 {
        guest.client.session.refresh_traffic_keys().unwrap();
        let said = guest.client.says();
        guest.peer.send(said);
        world.settle();
    }
    // 32 of them, and no word beside: then it is over.
    world.advance(Duration::from_secs(60));
    let last = seen.borrow().last().cloned().unwrap_or_default();
    assert!(last.starts_with("close TLS: "), "{last}");
    world.assert_no_leaks();
}

// S4
#[test]
fn a_listener_of_workers_speaks_tls_in_each_of_them() {
    let authority = Authority::new();
    let mut world = World::new();
    let config = Arc::new(authority.server());
    let (nodes, team) = world.start_workers(
        "server",
        (2, Config::default()),
        |mut workers| {
            workers.listen(Listen::new(ADDR).tls(config))?;
            Ok(workers)
        },
        |_| Echo::default(),
    );
    let mut guests: Vec<Guest> = (0..4).map(|_| Guest::new(&mut world, &authority)).collect();
    for guest in &mut guests {
        guest.settle(&mut world).unwrap();
        let hello = guest.client.send(b"hello");
        guest.peer.send(hello);
        assert_eq!(guest.settle(&mut world).unwrap(), b"hello");
    }
    for node in nodes {
        assert_eq!(world.reactor(node).context().connections().count(), 2);
    }
    // A handshake that is under way when all finish is left, as in a single loop.
    let late = world.connect(ADDR);
    team.finish(Duration::from_secs(1));
    world.advance(Duration::from_secs(60));
    assert!(late.is_closed());
    guests.iter().for_each(|guest| guest.peer.close());
    world.advance(Duration::from_secs(60));
    world.assert_no_leaks();
}

/// Counts what it is told of.
#[derive(Default)]
struct Counts {
    opens: usize,
    closes: Vec<String>,
}

impl Handler for Counts {
    fn on_open(&mut self, _: &mut Context, _: ConnId, _: Origin) {
        self.opens += 1;
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_close(&mut self, _: &mut Context, _: ConnId, closed: Closed) {
        self.closes.push(closed.to_string());
    }
}

// S3, C2
#[test]
fn a_reset_right_after_the_connect_opens_no_session() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut reactor = Reactor::new().unwrap();
    let connect = Connect::new(listener.local_addr().unwrap());
    let client = Arc::new(authority.client());
    reactor.context().connect(connect.tls(client, name()));
    reset(listener.accept().unwrap().0);
    let mut counts = Counts::default();
    while counts.closes.is_empty() {
        reactor.turn(&mut counts, None).unwrap();
    }
    assert_eq!(
        (counts.opens, counts.closes.len()),
        (0, 1),
        "{:?}",
        counts.closes
    );
}

/// Finishes when the second peer comes, and keeps both.
#[derive(Default)]
struct Last(usize);

impl Handler for Last {
    fn on_accept(&mut self, cx: &mut Context, _: ListenerId, _: &Addr) -> Accept {
        self.0 += 1;
        if self.0 == 2 {
            cx.finish(Duration::from_secs(1));
        }
        Accept::Keep
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
}

// S3, X10
#[test]
fn who_is_in_a_handshake_at_the_end_of_the_grace_is_not_in_the_report() {
    let authority = Authority::new();
    let mut world = World::new();
    let tls = Arc::new(authority.server());
    let node = world.start("server", Last::default(), move |reactor| {
        reactor.listen(Listen::new(ADDR).tls(tls)).map(drop)
    });
    let mut guest = Guest::new(&mut world, &authority);
    guest.settle(&mut world).unwrap();
    let silent = world.connect(ADDR);
    world.settle();
    guest.settle(&mut world).unwrap();
    guest.peer.shutdown();
    world.advance(Duration::from_secs(2));
    assert!(silent.is_closed());
    let report = world.reactor(node).take_report().unwrap();
    assert_eq!((report.closed, report.aborted), (1, 0));
}
