//! A WebSocket from end to end on the simulated network: our client asks our server, the decoder is
//! exchanged in mid-stream, and every message comes back, whatever the network does. F2.

use sockeye::codec::CodecError;
use sockeye::codec::websocket::{
    self, CloseCode, Handshake, Kind, Masks, Message, Requests, WebSocket, begin, binary, end,
    more, text,
};
use sockeye::sim::{Faults, Link, World};
use sockeye::{Closed, ConnId, Context, Frames, Handler, Input, Origin, Reason, Sent};
use std::time::Duration;

const MAX: usize = 300_000;

/// Says each message again, as it came, or what is wrong with it.
struct Echo {
    requests: Frames<Requests>,
    sockets: Frames<WebSocket>,
}

impl Echo {
    fn new() -> Echo {
        Echo {
            requests: Frames::new(Requests::new(8192)),
            sockets: Frames::default(),
        }
    }

    fn say(cx: &mut Context, conn: ConnId, message: Message<'_>) {
        let sent = match message {
            Message::Text(text) => cx.send(conn, text.into_frame()),
            Message::Binary(data) => cx.send(conn, data.into_frame()),
            Message::Ping(ping) => cx.send(conn, websocket::pong(ping)),
            Message::Pong(_) => return,
            Message::Close(close) => {
                cx.send(conn, websocket::close(close.code, ""));
                cx.close(conn);
                return;
            }
        };
        if sent == Sent::Wait {
            cx.pause_until_drained(conn);
        }
    }
}

impl Handler for Echo {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        while let Some(request) = self.requests.next(cx, conn, input) {
            match request.upgrade() {
                Ok(upgrade) => {
                    cx.send(conn, upgrade.answer());
                    self.requests.remove(cx, conn);
                    self.sockets.set(cx, conn, WebSocket::server(MAX));
                }
                Err(refusal) => {
                    cx.send(conn, refusal.answer());
                    cx.close_because(conn, refusal);
                }
            }
        }
        loop {
            match self.sockets.try_next(cx, conn, input) {
                Ok(Some(message)) => Echo::say(cx, conn, message),
                Ok(None) => return,
                Err(error) => {
                    cx.send(conn, websocket::close(CloseCode::of(&error), ""));
                    cx.close_because(conn, error);
                }
            }
        }
    }
}

/// Says what it has to say, in frames of all kinds, and hears it again.
struct Client {
    masks: Masks,
    handshakes: Frames<Handshake>,
    sockets: Frames<WebSocket>,
    said: Vec<Vec<u8>>,
    heard: Vec<Vec<u8>>,
    pongs: usize,
    closed: Option<Closed>,
}

impl Client {
    fn new(seed: u64) -> Client {
        let mut masks = Masks::seeded(seed);
        let say = |i: usize| vec![b'a' + (i % 26) as u8; (seed as usize * 31 + i * i * i) % 5000];
        let mut said: Vec<Vec<u8>> = (0..30).map(say).collect();
        said.push(vec![b'x'; 200_000 + seed as usize]);
        let _ = masks.mask(text("")); // one mask is gone
        Client {
            masks,
            handshakes: Frames::default(),
            sockets: Frames::default(),
            said,
            heard: Vec::new(),
            pongs: 0,
            closed: None,
        }
    }

    /// Without waiting for the answer of the last one.
    fn say_all(&mut self, cx: &mut Context, conn: ConnId) {
        let Client { masks, said, .. } = self;
        let mut wire = Vec::new();
        for (i, message) in said.iter().enumerate() {
            let (a, b) = message.split_at(message.len() / 3);
            match i % 3 {
                0 => masks.mask_into(text(message), &mut wire),
                1 => masks.mask_into(binary(message), &mut wire),
                _ => {
                    masks.mask_into(begin(Kind::Text, a), &mut wire);
                    masks.mask_into(websocket::ping("here").unwrap(), &mut wire);
                    masks.mask_into(more(""), &mut wire);
                    masks.mask_into(end(b), &mut wire);
                }
            }
        }
        cx.send(conn, wire);
    }
}

impl Handler for Client {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        let handshake = Handshake::new("example.org", "/", &mut self.masks);
        cx.send(conn, handshake.request());
        self.handshakes.set(cx, conn, handshake);
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        while self.handshakes.next(cx, conn, input).is_some() {
            self.handshakes.remove(cx, conn);
            self.sockets.set(cx, conn, WebSocket::client(MAX));
            self.say_all(cx, conn);
        }
        while let Some(message) = self.sockets.next(cx, conn, input) {
            match message {
                Message::Text(text) => self.heard.push(text.to_vec()),
                Message::Binary(data) => self.heard.push(data.to_vec()),
                Message::Pong(pong) => self.pongs += usize::from(&pong[..] == b"here"),
                Message::Close(close) => {
                    assert_eq!(close.code, Some(CloseCode::NORMAL));
                    cx.close(conn);
                }
                Message::Ping(_) => panic!("the server has no questions"),
            }
            if self.heard.len() == self.said.len() {
                let close = websocket::close(CloseCode::NORMAL, "that was all");
                cx.send(conn, self.masks.mask(close));
            }
        }
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, closed: Closed) {
        self.closed = Some(closed);
    }
}

// F2, F9, R8
#[test]
fn every_message_comes_back_whatever_the_network_does() {
    let mut whole = 0;
    for seed in 0..40 {
        let faults = if seed % 2 == 0 {
            Faults::some()
        } else {
            Faults::default()
        };
        let mut world = World::seeded(seed, faults);
        world.default_link(Link::latency(Duration::from_millis(seed % 7)));
        world.start("echo", Echo::new(), |reactor| {
            reactor.listen("10.0.0.1:80").map(drop)
        });
        let node = world.start("client", Client::new(seed), |reactor| {
            let server: std::net::SocketAddr = "10.0.0.1:80".parse().unwrap();
            reactor.context().connect(server);
            Ok(())
        });
        world.advance(Duration::from_secs(300));
        let client = world.app(node);
        let closed = client.closed.as_ref().expect("it ends");
        assert!(
            client.said.starts_with(&client.heard),
            "seed {seed}: other messages"
        );
        if closed.is_clean() && client.heard.len() == client.said.len() {
            assert_eq!(client.pongs, client.said.len() / 3, "seed {seed}");
            whole += 1;
        } else {
            // The network may reset and refuse; the codec has nothing to complain of.
            assert!(
                !matches!(closed.reason, Reason::Protocol(_)),
                "seed {seed}: {closed}"
            );
            assert_eq!(seed % 2, 0, "seed {seed}: {closed}");
        }
        world.assert_no_leaks();
    }
    assert!(whole >= 25, "{whole} of 40 were whole");
}

/// What a peer gets that upgrades and then sends these bytes.
fn answers(after: &[u8]) -> Vec<u8> {
    let mut world = World::new();
    world.start("echo", Echo::new(), |reactor| {
        reactor.listen("10.0.0.1:80").map(drop)
    });
    let peer = world.connect("10.0.0.1:80");
    let mut masks = Masks::seeded(1);
    let handshake = Handshake::new("example.org", "/", &mut masks);
    let mut wire = Vec::new();
    handshake.request().put_into(&mut wire);
    // The frames come in the same read as the request.
    wire.extend(after);
    peer.send(wire);
    world.settle();
    assert!(!peer.was_reset());
    let answer = peer.received_bytes();
    let head = answer
        .windows(4)
        .position(|end| end == b"\r\n\r\n")
        .expect("a head");
    peer.close();
    world.settle();
    world.advance(Duration::from_secs(40));
    world.assert_no_leaks();
    answer[head + 4..].to_vec()
}

// F1, F2
#[test]
fn what_is_pipelined_behind_the_upgrade_is_answered_and_what_is_behind_a_close_is_not() {
    let mut masks = Masks::seeded(1);
    let mut wire = masks.mask(text("a"));
    wire.extend(masks.mask(websocket::ping("b").unwrap()));
    wire.extend(masks.mask(websocket::close(CloseCode::GOING_AWAY, "")));
    wire.extend(masks.mask(text("c")));
    assert_eq!(answers(&wire), b"\x81\x01a\x8a\x01b\x88\x02\x03\xe9");
}

// R9, F9
#[test]
fn a_wrong_frame_is_told_by_its_code() {
    assert_eq!(answers(b"\x81\x01a"), b"\x88\x02\x03\xea");
    let mut masks = Masks::seeded(1);
    assert_eq!(answers(&masks.mask(text(b"\xff"))), b"\x88\x02\x03\xef");
    let long = vec![0; MAX + 1];
    assert_eq!(answers(&masks.mask(binary(&long))), b"\x88\x02\x03\xf1");
    let error = CodecError::malformed("anything", b"");
    assert_eq!(CloseCode::of(&error), CloseCode::PROTOCOL);
}
