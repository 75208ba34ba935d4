//! Names and dials on the simulated network: the times are exact there.

use sockeye::sim::{Faults, Link, Node, PeerListener, World};
use sockeye::{Closed, ConnId, ConnectStep, Context, Handler, Input, Origin, Reason};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Notes when its connections open and close, and why.
#[derive(Default)]
struct Client {
    opened: Vec<(ConnId, Instant, SocketAddr)>,
    closed: Vec<(ConnId, Instant, Closed)>,
}

impl Handler for Client {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        let peer = cx.peer_addr(conn).and_then(|peer| peer.ip()).unwrap();
        self.opened.push((conn, cx.now(), peer));
        cx.send(conn, "hello");
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, input: &mut Input) {
        input.take_all();
    }

    fn on_close(&mut self, cx: &mut Context, conn: ConnId, closed: Closed) {
        self.closed.push((conn, cx.now(), closed));
    }
}

const MS: Duration = Duration::from_millis(1);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// What an address does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    Refuses,
    Connects(u32),
    Silent,
}

use Host::{Connects, Refuses, Silent};

/// A client, and hosts that do what is said, behind one name; the families take turns.
fn world(hosts: &[Host], seed: u64, faults: Faults) -> (World, Node<Client>, Vec<PeerListener>) {
    let mut world = World::seeded(seed, faults);
    let client = world.start("client", Client::default(), |_| Ok(()));
    let mut listeners = Vec::new();
    let mut addrs = Vec::new();
    for (at, host) in hosts.iter().enumerate() {
        let addr = match at % 2 {
            0 => ip(&format!("fd00::{}", at + 1)),
            _ => ip(&format!("10.2.0.{}", at + 1)),
        };
        addrs.push(addr);
        match host {
            Refuses => {}
            Silent => world.cut(client.host(), addr),
            Connects(after) => {
                // There and back.
                world.link(client.host(), addr, Link::latency(*after * MS / 2));
                listeners.push(world.listen(SocketAddr::new(addr, 80)));
            }
        }
    }
    world.name("db", addrs);
    (world, client, listeners)
}

// N2
#[test]
fn a_dial_follows_its_table_on_the_network_too() {
    let seconds = 10_000;
    let table: [(&[Host], usize, Option<usize>, u32); 9] = [
        (&[Connects(100), Connects(0)], 1, Some(0), 100),
        (&[Refuses, Connects(0)], 2, Some(1), 0),
        (&[Silent, Connects(100)], 2, Some(1), 350),
        (&[Connects(300), Refuses], 2, Some(0), 300),
        (&[Connects(300), Connects(0)], 2, Some(1), 250),
        (&[Silent, Connects(300), Refuses], 3, Some(1), 550),
        (&[Refuses, Refuses, Refuses], 3, None, 0),
        (
            &[Silent, Silent, Silent, Silent, Silent, Connects(0)],
            4,
            None,
            seconds,
        ),
        (
            &[Silent, Refuses, Silent, Refuses, Silent, Connects(0)],
            6,
            Some(5),
            750,
        ),
    ];
    for (hosts, attempts, winner, after) in table {
        let (mut world, client, _listeners) = world(hosts, 1, Faults::default());
        let start = world.now();
        world.with(client, |_, cx| cx.connect("db:80"));
        world.advance(20 * 1000 * MS);
        // The look-up itself takes up to a millisecond.
        let about = |at: Instant| {
            let took = at - start;
            assert!(
                took >= after * MS && took <= after * MS + MS,
                "{hosts:?}: {took:?}"
            );
        };
        let app = world.app(client);
        match winner {
            Some(winner) => {
                assert!(app.closed.is_empty() && app.opened.len() == 1, "{hosts:?}");
                let (_, at, peer) = app.opened[0];
                about(at);
                let last = u8::try_from(winner + 1).unwrap();
                let digit = peer.ip().to_string().ends_with(&format!("{last}"));
                assert!(digit, "{hosts:?}: {peer}");
            }
            None => {
                assert!(app.opened.is_empty() && app.closed.len() == 1, "{hosts:?}");
                let (_, at, closed) = &app.closed[0];
                about(*at);
                match &closed.reason {
                    Reason::ConnectFailed(error) => {
                        assert_eq!(
                            (error.step, usize::from(error.attempts)),
                            (ConnectStep::Dial, attempts)
                        );
                    }
                    Reason::ConnectTimedOut => assert_eq!(after, seconds),
                    other => panic!("{other:?}"),
                }
            }
        }
        let cx_attempts = world.with(client, |_, cx| cx.stats().attempts);
        assert_eq!(cx_attempts, attempts as u64, "{hosts:?}");
    }
}

// N2, N3: whatever goes wrong, an id has one end, and nothing is left.
#[test]
fn a_dial_ends_once_and_leaves_nothing_whatever_goes_wrong() {
    let (mut opened, mut failed, mut late) = (0, 0, 0);
    for seed in 0..600u64 {
        let kinds = [Refuses, Connects(0), Connects(100), Connects(300), Silent];
        let mut chance = seed;
        let mut draw = |below: usize| {
            chance = (chance * 7919 + 104_729) % 1_000_003;
            chance as usize % below
        };
        let hosts: Vec<Host> = (0..draw(12)).map(|_| kinds[draw(5)]).collect();
        let (mut world, client, listeners) = world(&hosts, seed, Faults::some());
        let conns = 1 + draw(5);
        let ids: Vec<ConnId> = (0..conns)
            .map(|_| world.with(client, |_, cx| cx.connect("db:80")))
            .collect();
        // One of them is given up at some moment.
        world.advance(draw(700) as u32 * MS);
        world.with(client, |_, cx| cx.close(ids[0]));
        world.advance(90 * 1000 * MS);
        let app = world.app(client);
        for id in &ids {
            let ends = app.closed.iter().filter(|(conn, ..)| conn == id).count();
            let opens = app.opened.iter().filter(|(conn, ..)| conn == id).count();
            assert!(
                opens <= 1 && ends <= 1 && opens + ends >= 1,
                "{hosts:?} seed {seed}"
            );
        }
        opened += app.opened.len();
        for (.., closed) in &app.closed {
            failed += usize::from(matches!(closed.reason, Reason::ConnectFailed(_)));
            late += usize::from(matches!(closed.reason, Reason::ConnectTimedOut));
        }
        world.with(client, |_, cx| {
            let open: Vec<ConnId> = cx.connections().collect();
            assert!(open.into_iter().all(|conn| cx.abort(conn)));
        });
        world.faults(Faults::default());
        for listener in &listeners {
            while let Some(peer) = listener.accept() {
                peer.close();
            }
        }
        world.advance(1000 * MS);
        world.assert_no_leaks();
    }
    assert!(
        opened > 300 && failed > 50 && late > 20,
        "{opened} {failed} {late}"
    );
}

// N3
#[test]
fn two_hundred_addresses_cost_eight_attempts() {
    let mut world = World::new();
    let client = world.start("client", Client::default(), |_| Ok(()));
    world.name("many", (0..200).map(|at| ip(&format!("10.3.0.{at}"))));
    let conn = world.with(client, |_, cx| cx.connect("many:80"));
    world.advance(1000 * MS);
    let stats = world.with(client, |_, cx| cx.stats().clone());
    assert_eq!((stats.lookups, stats.attempts), (1, 8));
    let (id, _, closed) = &world.app(client).closed[0];
    assert_eq!(*id, conn);
    assert!(matches!(&closed.reason, Reason::ConnectFailed(error) if error.attempts == 8));
}

// N3: out of descriptors in the middle of it.
#[test]
fn without_a_descriptor_that_attempt_alone_fails() {
    let mut faults = Faults::default();
    faults.connect_fails = 500;
    let mut won = 0;
    for seed in 0..50 {
        let hosts = [Connects(0), Connects(0), Connects(0)];
        let (mut world, client, _listeners) = world(&hosts, seed, faults.clone());
        world.with(client, |_, cx| cx.connect("db:80"));
        world.advance(1000 * MS);
        let app = world.app(client);
        assert_eq!(app.opened.len() + app.closed.len(), 1);
        won += app.opened.len();
    }
    // Three attempts, of which half fail.
    assert!((35..50).contains(&won), "{won}");
}

// N1
#[test]
fn a_node_is_found_by_its_name_and_a_name_that_nobody_has_is_not() {
    struct Echo;
    impl Handler for Echo {
        fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
            cx.send(conn, input.take_all());
        }
    }
    let mut world = World::new();
    world.start("echo", Echo, |reactor| reactor.listen("echo:7").map(drop));
    let client = world.start("client", Client::default(), |_| Ok(()));
    world.with(client, |_, cx| {
        cx.connect("echo:7");
        cx.connect("nobody:7");
    });
    world.advance(1000 * MS);
    let app = world.app(client);
    assert_eq!(app.opened[0].2, "10.0.0.1:7".parse().unwrap());
    let failed = &app.closed[0].2.reason;
    assert!(matches!(failed, Reason::ConnectFailed(error) if error.step == ConnectStep::LookUp));
}

// N1
#[test]
fn a_slow_look_up_times_out_with_its_connect() {
    let mut faults = Faults::default();
    faults.slow_lookups = 1000;
    let (mut slow, mut opened) = (0, 0);
    for seed in 0..30 {
        let (mut world, client, _listeners) = world(&[Connects(0)], seed, faults.clone());
        let start = world.now();
        world.with(client, |_, cx| cx.connect("db:80"));
        world.advance(120 * 1000 * MS);
        let app = world.app(client);
        opened += app.opened.len();
        for (_, at, closed) in &app.closed {
            assert!(matches!(closed.reason, Reason::ConnectTimedOut));
            assert_eq!(*at - start, 10_000 * MS);
            slow += 1;
        }
    }
    assert!(slow > 15 && opened > 0, "{slow} {opened}");
}
