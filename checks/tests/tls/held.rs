//! What a session holds of a connection's output counts as pending: S2, S4.

use crate::simulated::*;
use sockeye::sim::{Node, World};
use sockeye::{
    Broadcast, Closed, Config, ConnId, Context, Handler, Input, Listen, Origin, Overflow, Sent,
    Source,
};
use std::sync::Arc;

/// Does nothing but what the test has it do; when something comes, everybody is told `line`.
#[derive(Default)]
struct Server {
    conns: Vec<ConnId>,
    line: &'static str,
    told: Broadcast,
    closed: Vec<String>,
}

impl Handler for Server {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
        self.conns.push(conn);
    }

    fn on_data(&mut self, cx: &mut Context, _: ConnId, input: &mut Input) {
        input.take_all();
        self.told = cx.broadcast(self.conns.iter().copied(), self.line);
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, closed: Closed) {
        self.closed.push(closed.to_string());
    }
}

struct Room {
    world: World,
    node: Node<Server>,
    guest: Guest,
    conn: ConnId,
}

impl Room {
    /// A guest whose handshake is through.
    fn new(config: Config) -> Room {
        let authority = Authority::new();
        let mut world = World::new();
        world.send_buffers(1000, 1000);
        let tls = Arc::new(authority.server());
        let node = world.start_with("server", config, Server::default(), move |reactor| {
            reactor.listen(Listen::new(ADDR).tls(tls)).map(drop)
        });
        let mut guest = Guest::new(&mut world, &authority);
        guest.peer.receive_buffer(1000);
        guest.settle(&mut world).unwrap();
        let conn = world.app(node).conns[0];
        Room {
            world,
            node,
            guest,
            conn,
        }
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut Context, ConnId) -> R) -> R {
        let conn = self.conn;
        let done = self.world.with(self.node, |_, cx| act(cx, conn));
        self.world.settle();
        done
    }

    /// What is pending, and what the system has taken.
    fn pending(&mut self) -> (usize, usize) {
        self.with(|cx, conn| (cx.pending(conn), cx.stats().bytes_out as usize))
    }

    /// The guest has not read until then.
    fn breaks_a_rule_and_ends(&mut self) {
        self.guest.peer.send("GET / HTTP/1.1\r\n\r\n");
        self.world.settle();
        self.guest.peer.hear();
        self.world.settle();
        self.guest.peer.shutdown();
        self.world.settle();
    }

    fn hears(&mut self) -> Vec<u8> {
        self.guest.peer.hear();
        self.guest.settle(&mut self.world).unwrap()
    }
}

// S2, J5
#[test]
fn each_byte_is_pending_or_with_the_system_and_the_hard_limit_counts_both() {
    let mut config = Config::default();
    config.limits.hard_limit = 300_000;
    config.limits.overflow = Overflow::DropNewest;
    let high = config.limits.high_watermark;
    let mut room = Room::new(config);
    room.guest.peer.ignore();
    let (mut sent, mut dropped) = (0, 0);
    for _ in 0..40 {
        let before = room.pending().0;
        let answer = room.with(|cx, conn| cx.send(conn, &[7; 10_000]));
        // Whoever was below the high mark was not told to wait.
        let is_too_much = before > high && before + 10_000 > 300_000;
        assert_eq!(answer == Sent::Dropped, is_too_much, "{before} {answer:?}");
        match answer {
            Sent::Dropped => dropped += 1,
            _ => sent += 10_000,
        }
        let (pending, out) = room.pending();
        assert_eq!(pending + out, sent);
    }
    assert!(dropped > 3 && sent >= 300_000, "{dropped} {sent}");
    assert_eq!(room.hears(), vec![7; sent]);
    assert_eq!(room.pending(), (0, sent));
}

// S2
#[test]
fn what_is_broadcast_in_one_turn_may_be_more_than_a_session_takes() {
    let mut config = Config::default();
    config.limits.high_watermark = 1_000_000;
    let mut room = Room::new(config);
    let told = room.with(|cx, conn| {
        let told = (0..10).map(|round| cx.broadcast([conn], vec![round; 15_000]).queued);
        told.sum::<usize>()
    });
    assert_eq!(told, 10);
    let wanted: Vec<u8> = (0..10).flat_map(|round| vec![round; 15_000]).collect();
    assert!(room.hears() == wanted);
}

// S2
#[test]
fn a_broadcast_counts_what_the_session_holds_already() {
    let mut config = Config::default();
    (config.limits.high_watermark, config.limits.low_watermark) = (20_000, 100);
    let mut room = Room::new(config);
    room.guest.peer.ignore();
    assert_eq!(
        room.with(|cx, conn| cx.broadcast([conn], &[7; 15_000]))
            .queued,
        1
    );
    assert_eq!(room.with(|cx, conn| cx.pending(conn)), 15_000);
    // There is room again, and more to be sent at the same moment.
    room.world.app_mut(room.node).line = "a line";
    let words = room.guest.client.send(b"hello");
    room.guest.peer.read(500);
    room.guest.peer.send(words);
    room.world.settle();
    assert_eq!(room.world.app(room.node).told.queued, 1);
    assert_eq!(room.hears(), [&[7; 15_000][..], b"a line"].concat());
}

// S2, F4
#[test]
fn a_source_is_asked_for_no_more_than_what_the_session_leaves_room_for() {
    let mut config = Config::default();
    (config.limits.high_watermark, config.limits.low_watermark) = (20_000, 5_000);
    let mut room = Room::new(config);
    room.guest.peer.ignore();
    // The session holds a little when the source comes.
    room.with(|cx, conn| cx.send(conn, &[7; 4_000]));
    let pieces = std::iter::repeat_n(vec![7; 1_000], 196);
    room.with(|cx, conn| cx.send_from(conn, Source::each(pieces)));
    let mut heard = Vec::new();
    for _ in 0..1_000 {
        let (pending, out) = room.pending();
        assert!(pending <= 21_000 && pending + out <= 200_000, "{pending}");
        room.guest.peer.read(700);
        room.world.settle();
        let bytes = room.guest.peer.received_bytes();
        heard.extend(room.guest.client.hears(&bytes).unwrap());
    }
    assert_eq!(heard, vec![7; 200_000]);
    assert_eq!(room.pending(), (0, 200_000));
}

// S4
#[test]
fn what_was_not_sealed_when_the_peer_breaks_a_rule_is_lost_and_waited_for_by_nobody() {
    let mut room = Room::new(Config::default());
    room.guest.peer.ignore();
    room.with(|cx, conn| cx.send(conn, &[7; 200_000]));
    room.breaks_a_rule_and_ends();
    let closed = &room.world.app(room.node).closed;
    assert!(closed[0].starts_with("TLS: "), "{closed:?}");
    assert!(closed[0].ends_with(" bytes undelivered"), "{closed:?}");
}

// S2
#[test]
fn a_source_is_dropped_when_the_peer_breaks_a_rule() {
    let mut room = Room::new(Config::default());
    room.guest.peer.ignore();
    let pieces = std::iter::repeat_n(vec![7; 1_000], 1_000);
    room.with(|cx, conn| cx.send_from(conn, Source::each(pieces)));
    room.breaks_a_rule_and_ends();
    assert_eq!(room.world.app(room.node).closed.len(), 1);
}
