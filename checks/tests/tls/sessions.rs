//! TLS under the connection: S1, S2, S5.

use crate::simulated::*;
use sockeye::codec::Lines;
use sockeye::sim::{Faults, World, seeds};
use sockeye::{
    Chunk, Config, ConnId, Connect, Context, FrameHandler, Framed, Handler, Input, Listen, Origin,
    Reactor, Source, StartTls,
};
use std::sync::Arc;
use std::time::Duration;

/// The whole of what a client says, in order, with the answers it gets: cut anywhere.
fn say_in_pieces(piece: usize) {
    let authority = Authority::new();
    let mut world = World::new();
    let mut config = Config::default();
    config.receive_buffer = 64;
    let seen = server(&mut world, &authority, config);
    let mut guest = Guest {
        peer: world.connect(ADDR),
        client: Client::new(authority.client()),
    };
    let mut plain = Vec::new();
    let mut sent = false;
    for _ in 0..100 {
        let said = guest.client.says();
        for piece in said.chunks(piece) {
            guest.peer.send(piece);
            world.settle();
        }
        let heard = guest.peer.received_bytes();
        plain.extend(guest.client.hears(&heard).unwrap());
        if !guest.client.session.is_handshaking() && !sent {
            sent = true;
            std::io::Write::write_all(&mut guest.client.session.writer(), &[7; 1000]).unwrap();
        }
    }
    assert_eq!(plain, [7; 1000], "{:?}", seen.borrow());
}

/// Answers each line with its length.
struct Lengths;

impl FrameHandler<Lines> for Lengths {
    fn on_frame(&mut self, cx: &mut Context, conn: ConnId, line: Chunk<'_>) {
        cx.send(conn, format!("{}\n", line.len()));
    }
}

/// Sends what comes to everybody, sealed or not.
#[derive(Default)]
struct Room(Vec<ConnId>);

impl Handler for Room {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
        self.0.push(conn);
    }

    fn on_data(&mut self, cx: &mut Context, _: ConnId, input: &mut Input) {
        let line = input.take_all().to_vec();
        cx.broadcast(self.0.iter().copied(), line);
    }
}

// S1, S2
#[test]
fn a_session_may_come_in_single_bytes_and_into_a_buffer_of_64() {
    for piece in [1, 2, 5, 63, 64, 1000] {
        say_in_pieces(piece);
    }
}

// S2: what a handler left is there when more comes, be it a record for each byte.
#[test]
fn a_line_may_come_in_many_records() {
    let authority = Authority::new();
    for size in [1, 3, 40, 300] {
        let mut world = World::new();
        let mut config = Config::default();
        config.receive_buffer = 64;
        let (lines, tls) = (Lines::new(1000), Arc::new(authority.server()));
        let lengths = Framed::new(lines, Lengths);
        world.start_with("server", config, lengths, move |reactor| {
            reactor.listen(Listen::new(ADDR).tls(tls)).map(drop)
        });
        let mut guest = Guest::new(&mut world, &authority);
        guest.settle(&mut world).unwrap();
        let line = [b'x'; 600];
        for piece in line.chunks(size) {
            let piece = guest.client.send(piece);
            guest.peer.send(piece);
            assert_eq!(guest.settle(&mut world).unwrap(), b"");
        }
        let end = guest.client.send(b"\nshort\nhal");
        guest.peer.send(end);
        assert_eq!(guest.settle(&mut world).unwrap(), b"600\n5\n");
    }
}

// S1, S2
#[test]
fn both_sides_are_ours_and_no_byte_is_lost_whatever_the_network_does() {
    let authority = Authority::new();
    for seed in seeds(0..100) {
        let mut faults = Faults::some();
        (faults.resets, faults.connect_fails) = (0, 0);
        (faults.accept_fails, faults.accept_aborted) = (0, 0);
        let mut world = World::seeded(seed, faults);
        let mut config = Config::default();
        config.receive_buffer = [64, 1000, 70_000][seed as usize % 3];
        let seen = server(&mut world, &authority, config);
        let total = [0, 1, 5000, 300_000][seed as usize % 4];
        let node = connects(&mut world, "client", authority.client(), Sender::of(total));
        world.rest(Duration::from_secs(100));
        let sender = world.app(node);
        assert_eq!(sender.received, total, "{seed}: {:?}", seen.borrow());
        assert_eq!(
            sender.closed.as_deref(),
            Some("closed by peer"),
            "{seed} {}",
            world.trace()
        );
        let last = seen.borrow().last().cloned();
        assert_eq!(last.as_deref(), Some("close closed by peer"), "{seed}");
        world.assert_no_leaks();
    }
}

/// Sends a file, and then wants the rest sealed: the session would cut it in two.
struct Cutting(StartTls);

impl Handler for Cutting {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        input.take_all();
        cx.send_from(conn, Source::each(["plain"; 3]));
        let refused = cx.start_tls(conn, self.0.clone()).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::Unsupported);
        cx.close(conn);
    }
}

// S5
#[test]
fn start_tls_is_refused_while_a_source_has_something_to_give() {
    let mut world = World::new();
    let side = StartTls::server(Arc::new(Authority::new().server()));
    let listens = |reactor: &mut Reactor| reactor.listen(ADDR).map(drop);
    world.start("server", Cutting(side), listens);
    let peer = world.connect(ADDR);
    peer.send("go");
    world.settle();
    assert_eq!(peer.received_bytes(), b"plainplainplain");
}

// S5
#[test]
fn start_tls_seals_what_comes_after_it_and_a_command_behind_it_is_none() {
    let authority = Authority::new();
    for behind in [&b""[..], b"DELE 1\n"] {
        let mut world = World::new();
        let echo = Echo {
            secure: Some(StartTls::server(Arc::new(authority.server()))),
            ..Echo::default()
        };
        let seen = echo.seen.clone();
        world.start("server", echo, |reactor| reactor.listen(ADDR).map(drop));
        let peer = world.connect(ADDR);
        peer.send([b"STARTTLS\n", behind].concat());
        world.settle();
        let heard = peer.received_bytes();
        assert!(heard.starts_with(b"ready\n"));
        let mut guest = Guest {
            peer,
            client: Client::new(authority.client()),
        };
        let hello = guest.client.says();
        guest.peer.send(hello);
        let plain = guest.client.hears(&heard[6..]);
        let plain = plain.and_then(|_| guest.settle(&mut world));
        let seen = seen.borrow();
        match behind.is_empty() {
            true => {
                assert_eq!(plain.unwrap(), b"welcome\n");
                assert_eq!(*seen, ["open None", "starttls", "secure"]);
                drop(seen);
                // What there was for the handshake is over, and the time of it too.
                world.advance(Duration::from_secs(60));
                assert!(guest.peer.is_open(), "{}", world.trace());
            }
            false => {
                assert!(plain.is_err(), "{seen:?} {plain:?} {}", world.trace());
                assert_eq!(seen[..2], ["open None", "starttls"]);
                assert!(
                    !seen.iter().any(|word| word.starts_with("data")),
                    "{seen:?}"
                );
            }
        }
    }
}

// S3, S5
#[test]
fn the_handshake_of_start_tls_has_its_time_too() {
    let mut world = World::new();
    let echo = Echo {
        secure: Some(StartTls::server(Arc::new(Authority::new().server()))),
        ..Echo::default()
    };
    let seen = echo.seen.clone();
    world.start("server", echo, |reactor| reactor.listen(ADDR).map(drop));
    let peer = world.connect(ADDR);
    peer.send("STARTTLS\n");
    let time = Config::default().limits.handshake;
    world.advance(time - Duration::from_secs(1));
    assert!(peer.is_open(), "{}", world.trace());
    world.advance(Duration::from_secs(2));
    assert!(!peer.is_open(), "{}", world.trace());
    let last = seen.borrow().last().cloned();
    assert_eq!(last.as_deref(), Some("close timed out (TLS handshake)"));
}

// S2
#[test]
fn a_broadcast_goes_to_members_in_plain_and_by_tls() {
    let authority = Authority::new();
    let mut world = World::new();
    let tls = Arc::new(authority.server());
    world.start("server", Room::default(), move |reactor| {
        reactor.listen("10.0.0.1:80")?;
        reactor.listen(Listen::new(ADDR).tls(tls)).map(drop)
    });
    let plain = world.connect("10.0.0.1:80");
    let mut guests: Vec<Guest> = (0..3).map(|_| Guest::new(&mut world, &authority)).collect();
    for guest in &mut guests {
        guest.settle(&mut world).unwrap();
    }
    for round in 0..3 {
        let words = format!("round {round}\n");
        plain.send(&words);
        world.settle();
        assert_eq!(plain.received(), words);
        for guest in &mut guests {
            assert_eq!(guest.settle(&mut world).unwrap(), words.as_bytes());
        }
        let words = guests[0].client.send(b"a guest\n");
        guests[0].peer.send(words);
        world.settle();
        assert_eq!(plain.received(), "a guest\n");
        for guest in &mut guests {
            assert_eq!(guest.settle(&mut world).unwrap(), b"a guest\n");
        }
    }
}

// S2: a pause before it is open does not keep the handshake from going on, nor does one later.
#[test]
fn a_handshake_goes_on_in_a_pause() {
    let authority = Authority::new();
    let mut world = World::new();
    server(&mut world, &authority, Config::default());
    let node = world.start("client", Sender::of(500), |_| Ok(()));
    let client = Arc::new(authority.client());
    let conn = world.with(node, |_, cx| {
        let conn = cx.connect(Connect::new(ADDR).tls(client, name()));
        assert!(cx.pause_reads(conn));
        conn
    });
    world.settle();
    assert_eq!(world.app(node).conn, Some(conn), "it is open");
    assert_eq!(world.app(node).received, 0);
    world.with(node, |_, cx| cx.resume_reads(conn));
    world.settle();
    assert_eq!(world.app(node).received, 500);
}
