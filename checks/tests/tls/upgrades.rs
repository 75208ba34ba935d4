//! `start_tls` where something is under way, and the ends of a session: S3, S5.

use crate::simulated::*;
use sockeye::sim::{Faults, Node, World, seeds};
use sockeye::{Closed, Config, ConnId, Connect, Context, Handler, Input, Listen, Origin, StartTls};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Takes so many bytes of each input, and does what the test has it do.
#[derive(Default)]
struct Quiet {
    take: usize,
    echoes: bool,
    secure: Option<StartTls>,
    conns: Vec<ConnId>,
    seen: Vec<String>,
    /// What is sent when the end of the input is in sight.
    last_word: &'static str,
}

impl Handler for Quiet {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
        self.conns.push(conn);
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        self.seen.push(format!("data {}", input.len()));
        let taken = input.take(self.take.min(input.len()));
        if self.echoes {
            cx.send(conn, taken);
        }
        if input.is_ended() {
            cx.send(conn, self.last_word);
        }
        if let Some(side) = self.secure.take() {
            cx.start_tls(conn, side).unwrap();
        }
    }

    fn on_eof(&mut self, _: &mut Context, _: ConnId, input: &mut Input) {
        self.seen.push(format!("eof {}", input.len()));
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, closed: Closed) {
        self.seen.push(format!("close {closed}"));
    }
}

struct Room {
    world: World,
    node: Node<Quiet>,
    authority: Authority,
}

impl Room {
    fn new(world: World, tls: bool, quiet: Quiet) -> Room {
        let (mut world, authority) = (world, Authority::new());
        let config = Arc::new(authority.server());
        let node = world.start_with("server", Config::default(), quiet, move |reactor| {
            let listen = Listen::new(ADDR);
            let listen = if tls { listen.tls(config) } else { listen };
            reactor.listen(listen).map(drop)
        });
        Room {
            world,
            node,
            authority,
        }
    }

    fn side(&self) -> StartTls {
        StartTls::server(Arc::new(self.authority.server()))
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut Context, ConnId) -> R) -> R {
        let conn = self.world.app(self.node).conns[0];
        let done = self.world.with(self.node, |_, cx| act(cx, conn));
        self.world.settle();
        done
    }

    fn seen(&self) -> &[String] {
        &self.world.app(self.node).seen
    }

    /// A client that has sent `before`, and begins a session then.
    fn guest(&mut self, before: &[u8]) -> Guest {
        let (peer, client) = (
            self.world.connect(ADDR),
            Client::new(self.authority.client()),
        );
        let mut guest = Guest { peer, client };
        let hello = guest.client.says();
        guest.peer.send([before, &hello].concat());
        guest
    }
}

/// The rest of what a client does that was sent `plain` first.
fn goes_on(guest: &mut Guest, world: &mut World, plain: &[u8]) -> Vec<u8> {
    world.settle();
    let heard = guest.peer.received_bytes();
    assert!(heard.starts_with(plain), "{heard:?}");
    let mut said = guest.client.hears(&heard[plain.len()..]).unwrap();
    let answer = guest.client.says();
    guest.peer.send(answer);
    said.extend(guest.settle(world).unwrap());
    said
}

// S5
#[test]
fn a_hello_that_came_with_the_command_is_the_sessions_and_an_echo_goes_before_it() {
    for echoes in [false, true] {
        let quiet = Quiet {
            take: 9,
            echoes,
            ..Quiet::default()
        };
        let mut room = Room::new(World::new(), false, quiet);
        room.world.app_mut(room.node).secure = Some(room.side());
        let mut guest = room.guest(b"STARTTLS\n");
        let plain: &[u8] = if echoes { b"STARTTLS\n" } else { b"" };
        goes_on(&mut guest, &mut room.world, plain);
        assert!(!guest.client.session.is_handshaking());
        room.with(|cx, conn| cx.send(conn, "sealed"));
        assert_eq!(guest.settle(&mut room.world).unwrap(), b"sealed");
    }
}

// S5
#[test]
fn what_is_sent_behind_start_tls_is_delivered_before_a_close() {
    let mut room = Room::new(World::new(), false, Quiet::default());
    let (peer, client) = (
        room.world.connect(ADDR),
        Client::new(room.authority.client()),
    );
    room.world.settle();
    let side = room.side();
    room.with(|cx, conn| {
        cx.start_tls(conn, side).unwrap();
        cx.send(conn, "secret");
        cx.close(conn);
    });
    let mut guest = Guest { peer, client };
    assert_eq!(guest.settle(&mut room.world).unwrap(), b"secret");
    guest.peer.close();
    room.world.settle();
    assert_eq!(room.seen(), ["close closed locally"]);
}

// S5
#[test]
fn start_tls_is_refused_where_a_session_could_not_begin() {
    let mut room = Room::new(World::new(), false, Quiet::default());
    let refused = |room: &mut Room| {
        let side = room.side();
        let error = room.with(|cx, conn| cx.start_tls(conn, side)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    };
    // The peer has ended; then this side has, too; then it is over.
    let peer = room.world.connect(ADDR);
    peer.shutdown();
    room.world.settle();
    assert_eq!(room.seen(), ["eof 0"]);
    refused(&mut room);
    room.with(|cx, conn| cx.shutdown_write(conn));
    refused(&mut room);
    // One that only this side has ended.
    let other = room.world.connect(ADDR);
    room.world.settle();
    room.world.app_mut(room.node).conns.remove(0);
    room.with(|cx, conn| cx.shutdown_write(conn));
    refused(&mut room);
    // One that connects, to nobody who answers.
    let side = room.side();
    room.with(|cx, _| {
        let conn = cx.connect(Connect::new("10.7.7.7:7"));
        let error = cx.start_tls(conn, side).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        cx.abort(conn);
    });
    drop(other);
}

// S3, S5
#[test]
fn a_peer_who_leaves_in_a_handshake_is_told_of_as_such_and_counted() {
    let left = "close TLS: the peer has left in the handshake";
    let mut room = Room::new(World::new(), false, Quiet::default());
    let peer = room.world.connect(ADDR);
    room.world.settle();
    let side = room.side();
    room.with(|cx, conn| cx.start_tls(conn, side)).unwrap();
    peer.shutdown();
    room.world.settle();
    assert_eq!(room.seen(), [left]);
    // Nobody is told of one whose connection begins with it.
    let mut room = Room::new(World::new(), true, Quiet::default());
    room.world.connect(ADDR).shutdown();
    room.world.settle();
    let node = room.node;
    room.world.with(node, |quiet, cx| {
        assert!(quiet.seen.is_empty());
        let tls = &cx.stats().tls;
        assert_eq!((tls.left, tls.failed, tls.timed_out), (1, 0, 0));
    });
}

// S2
#[test]
fn what_was_left_of_a_session_is_offered_again_after_a_pause() {
    let quiet = Quiet {
        take: 1,
        ..Quiet::default()
    };
    let mut room = Room::new(World::new(), true, quiet);
    let mut guest = room.guest(b"");
    guest.settle(&mut room.world).unwrap();
    let words = guest.client.send(b"abc");
    guest.peer.send(words);
    room.world.settle();
    room.with(|cx, conn| cx.pause_reads(conn));
    room.with(|cx, conn| cx.resume_reads(conn));
    assert_eq!(room.seen(), ["data 3", "data 2"]);
    // In a pause nothing is offered, whatever comes.
    room.with(|cx, conn| cx.pause_reads(conn));
    let words = guest.client.send(b"d");
    guest.peer.send(words);
    room.world.settle();
    assert_eq!(room.seen().len(), 2);
    room.with(|cx, conn| cx.resume_reads(conn));
    assert_eq!(room.seen()[2..], ["data 1", "data 1"]);
}

// S3
#[test]
fn handshakes_take_turns() {
    let mut world = World::new();
    let (authority, guests) = (Authority::new(), 3);
    let tls = Arc::new(authority.server());
    let config = Config::default().handshakes_per_turn(1);
    let node = world.start_with("server", config, Echo::default(), move |reactor| {
        reactor.listen(Listen::new(ADDR).tls(tls)).map(drop)
    });
    let mut all: Vec<Guest> = (0..guests)
        .map(|_| Guest::new(&mut world, &authority))
        .collect();
    world.settle();
    let client = connects(&mut world, "client", authority.client(), Sender::of(10));
    for guest in &mut all {
        guest.settle(&mut world).unwrap();
        assert!(!guest.client.session.is_handshaking());
    }
    assert_eq!(world.app(client).received, 10);
    world.with(node, |_, cx| {
        assert_eq!(cx.stats().tls.secured, guests + 1);
        assert_eq!(cx.stats().connected, 0);
        // All three hellos came together: two waited in one turn, and one in the next.
        assert_eq!(cx.stats().budget_hits.handshakes, 2);
    });
    world.with(client, |_, cx| assert_eq!(cx.stats().connected, 1));
}

fn says(guest: &mut Guest, bytes: &[u8]) {
    let sealed = guest.client.send(bytes);
    guest.peer.send(sealed);
}

// S4
#[test]
fn a_reset_behind_the_end_of_a_session_is_its_end() {
    let quiet = Quiet {
        last_word: "a last word",
        ..Quiet::default()
    };
    let mut room = Room::new(World::new(), true, quiet);
    let mut guest = room.guest(b"");
    guest.settle(&mut room.world).unwrap();
    says(&mut guest, b"abc");
    guest.client.session.send_close_notify();
    let end = guest.client.says();
    guest.peer.send(end);
    guest.peer.reset();
    room.world.settle();
    let end = room.seen().last().unwrap();
    assert!(end.starts_with("close reset by peer"), "{:?}", room.seen());
}

// S2, X5: what comes behind a close is read, and nobody wants it.
#[test]
fn all_that_a_client_says_behind_a_close_is_discarded_whatever_the_network_does() {
    for seed in seeds(0..20) {
        let mut faults = Faults::default();
        (faults.short_io, faults.no_proof) = (300, 1000);
        let mut room = Room::new(World::seeded(seed, faults), true, Quiet::default());
        let mut guest = room.guest(b"");
        guest.settle(&mut room.world).unwrap();
        room.with(|cx, conn| cx.close(conn));
        let read = |room: &mut Room| {
            let node = room.node;
            room.world.with(node, |_, cx| cx.stats().bytes_in)
        };
        let before = read(&mut room);
        let sealed = guest.client.send(&[7; 50_000]);
        guest.peer.send(&sealed);
        room.world.settle();
        assert_eq!(read(&mut room) - before, sealed.len() as u64, "seed {seed}");
        guest.peer.close();
        room.world.rest(Duration::from_secs(60));
        room.world.assert_no_leaks();
    }
}

// S5, W10: there is a block of the turn for them, and in a handshake nothing is taken from it.
#[test]
fn what_is_broadcast_in_a_handshake_waits_for_its_end() {
    for second in ["short\n", "a line that is longer than the first one\n"] {
        let mut room = Room::new(World::new(), false, Quiet::default());
        let client = Client::new(room.authority.client());
        let peer = room.world.connect(ADDR);
        room.world.settle();
        let side = room.side();
        room.with(|cx, conn| cx.start_tls(conn, side).unwrap());
        room.with(|cx, conn| cx.broadcast([conn], "a long line\n"));
        room.with(|cx, conn| cx.broadcast([conn], second));
        let mut guest = Guest { peer, client };
        let heard = guest.settle(&mut room.world).unwrap();
        assert_eq!(heard, ["a long line\n", second].concat().as_bytes());
    }
}

// S1: as if they had come in two reads.
#[test]
fn what_came_before_a_broken_record_is_told_first() {
    for good in ["QUIT\n", ""] {
        let quiet = Quiet {
            take: 99,
            ..Quiet::default()
        };
        let mut room = Room::new(World::new(), true, quiet);
        let mut guest = room.guest(b"");
        guest.settle(&mut room.world).unwrap();
        let mut words = match good {
            "" => Vec::new(),
            good => guest.client.send(good.as_bytes()),
        };
        words.extend([23, 3, 3, 0, 32]);
        words.extend([0; 32]);
        guest.peer.send(words);
        room.world.settle();
        let seen = room.seen();
        assert_eq!(
            seen.first().is_some_and(|seen| seen == "data 5"),
            !good.is_empty()
        );
        room.world.advance(Duration::from_secs(120));
        let seen = room.seen();
        assert!(seen.last().unwrap().starts_with("close TLS"), "{seen:?}");
        assert_eq!(seen.len(), 1 + usize::from(!good.is_empty()), "{seen:?}");
    }
}
