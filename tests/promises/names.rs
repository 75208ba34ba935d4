//! Connecting and listening by name, on real sockets.

use crate::kit;
use crate::kit::places::{black_hole, in_own_process, is_own_process, refusing};
use crate::kit::{Kit, default, descriptors};
use sockeye::{ConnId, Connect, ConnectStep, EventKind, Lookup, Reason, Resolver};
use sockeye::{Source, StaticNames};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A resolver that gives what a test says, at once.
struct Answers(Vec<SocketAddr>);

impl Resolver for Answers {
    fn look_up(&mut self, lookup: Lookup) {
        lookup.answer(Ok(self.0.clone()));
    }
}

/// A resolver that hands its look-ups to the test.
struct Held(mpsc::Sender<Lookup>);

impl Resolver for Held {
    fn look_up(&mut self, lookup: Lookup) {
        self.0.send(lookup).unwrap();
    }
}

fn server() -> (TcpListener, SocketAddr) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    (server, addr)
}

#[track_caller]
fn failed(reason: &Reason) -> (ConnectStep, u8, ErrorKind) {
    match reason {
        Reason::ConnectFailed(error) => (error.step, error.attempts, error.kind()),
        other => panic!("{other:?}"),
    }
}

// N1, N4
#[test]
fn localhost_and_literals_ask_no_resolver() {
    let (_server, addr) = server();
    let mut kit = Kit::new(default);
    let (held, asked) = mpsc::channel();
    kit.cx().set_resolver(Held(held));
    let port = addr.port();
    for host in ["localhost", "LOCALHOST.", "127.0.0.1", "app.localhost"] {
        let conn = kit.connect((host, port));
        kit.until("it is open", |log| {
            log.lives
                .get(conn)
                .is_some_and(|life| life.count("open") == 1)
        });
        // On this port nobody listens at ::1.
        assert_eq!(kit.cx().peer_addr(conn).unwrap().ip(), Some(addr));
        kit.cx().abort(conn);
        kit.until_closed(conn);
    }
    assert_eq!(kit.cx().stats().lookups, 0);
    assert_eq!(asked.try_iter().count(), 0);
    kit.end();
}

// N1: the answer comes in the very turn in which its connection ends.
#[test]
fn an_answer_for_one_that_is_over_in_the_same_turn_begins_no_attempt() {
    let (_server, addr) = server();
    let mut kit = Kit::new(|cx, event| match event {
        EventKind::Timer { .. } => {
            let all: Vec<ConnId> = cx.connections().collect();
            assert!(all.into_iter().all(|conn| cx.abort(conn)));
        }
        other => default(cx, other),
    });
    let (held, asked) = mpsc::channel();
    kit.cx().set_resolver(Held(held));
    let conn = kit.connect("db.example:80");
    kit.cx().set_timer(Duration::ZERO, 0);
    asked.recv().unwrap().answer(Ok(vec![addr]));
    kit.until_closed(conn);
    assert_eq!(kit.cx().stats().attempts, 0);
    kit.end();
}

// N2: the first is dead, the second answers.
#[test]
fn a_dead_address_costs_no_time_and_the_peer_is_the_one_that_answered() {
    let (server, addr) = server();
    let (_held, dead) = refusing();
    let mut kit = Kit::new(default);
    kit.cx().set_resolver(Answers(vec![dead, addr]));
    let start = Instant::now();
    let conn = kit.connect("db.example:80");
    assert_eq!(kit.cx().peer_addr(conn), None);
    kit.until("it is open", |log| log.count("open") == 1);
    assert!(
        start.elapsed() < Duration::from_millis(250),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(kit.cx().peer_addr(conn).unwrap().ip(), Some(addr));
    let stats = kit.cx().stats();
    assert_eq!((stats.lookups, stats.attempts, stats.connected), (1, 2, 1));
    kit.cx().close(conn);
    drop(server);
    kit.until_closed(conn);
    assert_eq!(kit.log().life(conn).callbacks, ["open", "close"]);
    kit.end();
}

// N2: the first is silent.
#[test]
fn a_black_hole_costs_a_quarter_of_a_second() {
    let (_server, addr) = server();
    let (_held, _filler, hole) = black_hole();
    let mut kit = Kit::new(default);
    kit.cx().set_resolver(Answers(vec![hole, addr]));
    let start = Instant::now();
    let conn = kit.connect("db.example:80");
    kit.until("it is open", |log| log.count("open") == 1);
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(250), "{took:?}");
    assert_eq!(kit.cx().peer_addr(conn).unwrap().ip(), Some(addr));
    kit.cx().abort(conn);
    kit.end();
}

// N2
#[test]
fn if_all_refuse_there_is_one_close_that_says_how_many() {
    let held: Vec<_> = (0..3).map(|_| refusing()).collect();
    let mut kit = Kit::new(default);
    let addrs = held.iter().map(|(_, addr)| *addr).collect();
    kit.cx().set_resolver(Answers(addrs));
    let conn = kit.connect(("db.example", 80));
    kit.cx().send(conn, "lost");
    kit.until_closed(conn);
    let life = kit.log().life(conn);
    assert_eq!(life.callbacks, ["close"]);
    let refused = (ConnectStep::Dial, 3, ErrorKind::ConnectionRefused);
    assert_eq!(failed(life.reason()), refused);
    let said = life.reason().to_string();
    assert!(said.ends_with("after 3 attempts"), "{said}");
    assert_eq!(life.closed.as_ref().unwrap().undelivered, 4);
    kit.end();
}

// C5 by name: what is sent meanwhile arrives.
#[test]
fn what_is_sent_during_the_look_up_arrives_behind_the_open() {
    let (server, addr) = server();
    let mut kit = Kit::new(default);
    let (held, asked) = mpsc::channel();
    kit.cx().set_resolver(Held(held));
    let conn = kit.connect("db.example:80");
    kit.cx().send(conn, "one ");
    kit.cx().send_from(conn, Source::each(["t", "w", "o"]));
    kit.cx().shutdown_write(conn);
    kit.turn();
    let lookup = asked.recv().unwrap();
    assert_eq!((lookup.host(), lookup.port()), ("db.example", 80));
    let answer = std::thread::spawn(move || lookup.answer(Ok(vec![addr])));
    let reader = kit::spawn(move || kit::read_all(server.accept().unwrap().0));
    assert_eq!(kit.until_done(reader), b"one two");
    answer.join().unwrap();
    kit.until_closed(conn);
    assert_eq!(
        kit.log().life(conn).callbacks,
        ["open", "drain", "eof", "close"]
    );
    kit.end();
}

// N1
#[test]
fn a_look_up_that_is_stuck_times_out_and_its_answer_reaches_nobody() {
    let (server, addr) = server();
    server.set_nonblocking(true).unwrap();
    let mut kit = Kit::new(default);
    let (held, asked) = mpsc::channel();
    kit.cx().set_resolver(Held(held));
    let start = Instant::now();
    let timeout = Duration::from_millis(40);
    let stuck = kit.connect(Connect::new("db.example:80").timeout(timeout));
    let closed = kit.connect("db.example:80");
    let lookups: Vec<Lookup> = asked.try_iter().collect();
    assert!(lookups.iter().all(Lookup::is_wanted));
    kit.cx().close(closed);
    kit.until_closed(stuck);
    assert!(start.elapsed() >= timeout);
    assert!(matches!(
        kit.log().life(stuck).reason(),
        Reason::ConnectTimedOut
    ));
    assert!(matches!(kit.log().life(closed).reason(), Reason::Local));
    assert!(!lookups.iter().any(Lookup::is_wanted));
    // Their slots have new owners, who are asked for nothing.
    let (_held, hole) = refusing();
    let others = [
        kit.connect("other.example:80"),
        kit.connect("other.example:80"),
    ];
    lookups
        .into_iter()
        .for_each(|lookup| lookup.answer(Ok(vec![addr])));
    kit.turn();
    kit.turn();
    assert_eq!(server.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    asked
        .try_iter()
        .for_each(|lookup| lookup.answer(Ok(vec![hole])));
    others.iter().for_each(|conn| kit.until_closed(*conn));
    kit.end();
}

// N1
#[test]
fn a_look_up_that_fails_says_so_and_one_that_finds_nothing_too() {
    let mut kit = Kit::new(default);
    kit.cx().set_resolver(StaticNames::new().with("empty", []));
    for (name, kind) in [
        ("no.such.name", ErrorKind::NotFound),
        ("empty", ErrorKind::NotFound),
    ] {
        let conn = kit.connect((name, 80));
        kit.until_closed(conn);
        let said = failed(kit.log().life(conn).reason());
        assert_eq!(said, (ConnectStep::LookUp, 0, kind), "{name}");
    }
    assert_eq!(kit.cx().stats().lookups_failed, 1);
    kit.end();
}

// N4
#[test]
fn what_can_be_no_name_is_an_error_without_a_look_up() {
    let mut kit = Kit::new(default);
    let (held, asked) = mpsc::channel();
    kit.cx().set_resolver(Held(held));
    let long = "a".repeat(300);
    for name in [
        "",
        ".",
        "a\0b",
        "a b",
        "bücher.example",
        &long,
        "fe80::1%no-such-if",
    ] {
        let conn = kit.connect((name, 80));
        kit.until_closed(conn);
        let (step, attempts, _) = failed(kit.log().life(conn).reason());
        assert_eq!((step, attempts), (ConnectStep::Begin, 0), "{name:?}");
    }
    assert_eq!(asked.try_iter().count(), 0);
    // Nobody listens on port 0, whatever the name is.
    kit.cx()
        .set_resolver(StaticNames::new().with("a", [Ipv4Addr::LOCALHOST.into()]));
    for target in ["127.0.0.1:0", "localhost:0", "a:0"] {
        let conn = kit.connect(target);
        kit.until_closed(conn);
        let (_, _, kind) = failed(kit.log().life(conn).reason());
        assert_eq!(kind, ErrorKind::InvalidInput, "{target}");
    }
    kit.end();
}

// N4: RFC 4007.
#[test]
#[cfg(target_os = "linux")]
fn a_scope_may_be_the_name_of_an_interface() {
    let mut kit = Kit::new(default);
    let conn = kit.connect("[fe80::1%lo]:9");
    let addr = kit.cx().peer_addr(conn).unwrap().ip().unwrap();
    assert!(
        matches!(addr, SocketAddr::V6(v6) if v6.scope_id() > 0),
        "{addr}"
    );
    kit.cx().close(conn);
    kit.until_closed(conn);
    kit.end();
}

// N2
#[test]
#[ignore = "counts descriptors: in a process of its own"]
fn of_a_thousand_dials_nothing_stays() {
    if !is_own_process() {
        return;
    }
    let (server, addr) = server();
    server.set_nonblocking(true).unwrap();
    let (_held, dead) = refusing();
    let (_other, _filler, hole) = black_hole();
    let mut kit = Kit::new(default);
    kit.cx().set_resolver(Answers(vec![dead, hole, addr]));
    let mut before = 0;
    // Many at a time, for each waits a quarter of a second for the black hole.
    for round in 0..10 {
        let conns: Vec<ConnId> = (0..100).map(|_| kit.connect("db.example:80")).collect();
        kit.until("all are open", |log| log.count("open") == 100 * (round + 1));
        while server.accept().is_ok() {}
        conns.iter().for_each(|conn| assert!(kit.cx().abort(*conn)));
        conns.iter().for_each(|conn| kit.until_closed(*conn));
        if round == 0 {
            before = descriptors();
        }
    }
    assert_eq!(descriptors(), before);
    assert_eq!(kit.cx().stats().attempts, 3000);
    kit.end();
}

// N2
#[test]
fn a_thousand_dials_leak_nothing() {
    in_own_process("names::of_a_thousand_dials_nothing_stays");
}

// L6: every address of the name, with one port.
#[test]
fn a_listener_by_name_listens_on_every_address_with_one_port() {
    let has_v6 = TcpListener::bind("[::1]:0").is_ok();
    let mut kit = Kit::new(kit::echo);
    let listener = kit.reactor.listen("localhost:0").unwrap();
    let addrs: Vec<SocketAddr> = kit
        .cx()
        .listener_addrs(listener)
        .map(|addr| addr.ip().unwrap())
        .collect();
    let ips: Vec<IpAddr> = addrs.iter().map(SocketAddr::ip).collect();
    let port = addrs[0].port();
    assert!(addrs.iter().all(|addr| addr.port() == port && port != 0));
    assert!(ips.contains(&Ipv4Addr::LOCALHOST.into()));
    assert_eq!(ips.len(), 1 + usize::from(has_v6), "{ips:?}");
    for addr in &addrs {
        let mut peer = kit::peer(*addr);
        kit::write(&mut peer, "hi");
        let reader = kit::spawn(move || kit::read_n(&mut peer, 2));
        assert_eq!(kit.until_done(reader), b"hi");
    }
    // It is one listener: all ids of connections name it, and it ends as one.
    for conn in kit.log().ids.clone() {
        if let Some(origin) = kit.cx().origin(conn) {
            assert_eq!(origin, sockeye::Origin::Accepted(listener));
        }
    }
    kit.until_all_closed();
    assert!(kit.cx().pause_accepts(listener) && kit.cx().resume_accepts(listener));
    assert!(kit.cx().unlisten(listener) && !kit.cx().unlisten(listener));
    let refused = |addr: &SocketAddr| std::net::TcpStream::connect(addr).is_err();
    assert!(addrs.iter().all(refused));
    kit.end();
}

// L6
#[test]
fn a_name_whose_port_is_taken_leaves_no_half_of_a_listener() {
    let (_server, addr) = server();
    let mut kit = Kit::new(default);
    let error = kit.reactor.listen(("localhost", addr.port())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains("localhost"), "{error}");
    if let Ok(v6) = TcpListener::bind(("::1", addr.port())) {
        drop(v6);
    }
    kit.end();
}

// N1: the system's own resolver, with a name that is sure to be in no network.
#[test]
fn the_system_is_asked_off_the_loop() {
    let mut kit = Kit::new(default);
    let conn = kit.connect("no-such-host.invalid:80");
    let turns = kit.cx().stats().turns;
    kit.turn();
    assert!(kit.cx().stats().turns > turns);
    kit.until_closed(conn);
    match kit.log().life(conn).reason() {
        Reason::ConnectFailed(error) => assert_eq!(error.step, ConnectStep::LookUp),
        Reason::ConnectTimedOut => {} // there is a resolv.conf, and nobody at its address
        other => panic!("{other:?}"),
    }
    kit.end();
}

// N1
#[test]
fn a_resolver_that_forgets_has_answered() {
    struct Forgets;
    impl Resolver for Forgets {
        fn look_up(&mut self, _: Lookup) {}
    }
    let mut kit = Kit::new(default);
    kit.cx().set_resolver(Forgets);
    let conn = kit.connect("a:1");
    kit.until_closed(conn);
    let said = failed(kit.log().life(conn).reason());
    assert_eq!((said.0, said.1), (ConnectStep::LookUp, 0));
    kit.end();
}
