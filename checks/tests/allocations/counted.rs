//! Guards: heap allocations of the loop in steady state, counted and not timed, so that nothing
//! else on the machine can disturb them.
//!
//! The peers are plain sockets on the same thread. They allocate nothing, so what is counted is the
//! loop's. On the simulated network it would be the network's too, so that is left out.

use crate::kit;
use crate::kit::{PATIENCE, peer};
use allocation_counter::measure;
use sockeye::codec::{Decoder, Delimited, Encoder, LengthPrefixed, Lines, TextLines};
use sockeye::{
    Chunk, Closed, ConnId, Context, FrameHandler, Framed, Handler, Input, Limits, Listen, Origin,
    Overflow, Reactor, Sent, ToListen,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Rounds in which buffers and lists grow to what they need.
const WARM_UP: usize = 5;

/// Rounds that are counted. Under wine one takes so long that twenty of each were seven minutes.
const ROUNDS: usize = if cfg!(windows) { 3 } else { 20 };

/// Runs some rounds, then counts the allocations of some more.
fn count(mut round: impl FnMut()) -> u64 {
    (0..WARM_UP).for_each(|_| round());
    measure(|| (0..ROUNDS).for_each(|_| round())).count_total
}

/// A server and its blocking peers, on one thread.
struct Pair<H, M = ()> {
    reactor: Reactor<M>,
    app: H,
    addr: SocketAddr,
    peers: Vec<TcpStream>,
    /// Bytes that it has answered so far.
    written: u64,
}

impl<H: Handler<M>, M> Pair<H, M> {
    fn new(app: H, listen: impl ToListen, peers: usize) -> Pair<H, M> {
        let mut reactor = Reactor::with_messages().unwrap();
        let listener = reactor.listen(listen).unwrap();
        let addr = reactor.context().listener_addr(listener).unwrap().ip();
        let mut pair = Pair {
            reactor,
            app,
            addr: addr.unwrap(),
            peers: Vec::new(),
            written: 0,
        };
        for _ in 0..peers {
            let stream = peer(pair.addr);
            stream.set_nodelay(true).unwrap();
            pair.peers.push(stream);
        }
        pair.until(|cx| cx.connections().count() == peers);
        pair
    }

    fn turn(&mut self) {
        let wait = Some(Duration::from_millis(5));
        self.reactor.turn(&mut self.app, wait).unwrap();
    }

    fn until(&mut self, mut condition: impl FnMut(&Context) -> bool) {
        let start = Instant::now();
        while !condition(self.reactor.context()) {
            assert!(start.elapsed() < PATIENCE, "the loop stands still");
            self.turn();
        }
    }

    /// Every peer writes these pieces, the loop answers, and each peer reads so many bytes.
    fn round(&mut self, pieces: &[&[u8]], answer: usize) {
        for peer in &mut self.peers {
            for piece in pieces {
                peer.write_all(piece).unwrap();
            }
        }
        self.read_answers(answer);
    }

    /// Turns until so many bytes are written to each peer, and each has read them.
    fn read_answers(&mut self, answer: usize) {
        let all = self.peers.len() * answer;
        self.written += all as u64;
        let end = self.written;
        self.until(|cx| cx.stats().bytes_out >= end);
        self.peers_read(answer);
    }

    fn peers_read(&mut self, bytes: usize) {
        let mut buffer = [0; 4096];
        for peer in &mut self.peers {
            let mut left = bytes;
            while left > 0 {
                let part = left.min(buffer.len());
                peer.read_exact(&mut buffer[..part]).unwrap();
                left -= part;
            }
        }
    }
}

struct Echo;

impl<M> Handler<M> for Echo {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        if cx.send(conn, input.take_all()) == Sent::Wait {
            cx.pause_reads(conn);
        }
    }

    fn on_drain(&mut self, cx: &mut Context, conn: ConnId) {
        cx.resume_reads(conn);
    }
}

/// Each line goes back in two parts: what was the input's, and its end.
struct EchoLines;

impl FrameHandler<Lines> for EchoLines {
    fn on_frame(&mut self, cx: &mut Context, conn: ConnId, line: Chunk<'_>) {
        cx.send(conn, (line, "\n"));
    }
}

/// Counts frames.
#[derive(Default)]
struct Frames(usize);

impl<C: Decoder> FrameHandler<C> for Frames {
    fn on_frame(&mut self, _: &mut Context, _: ConnId, _: C::Frame<'_, '_>) {
        self.0 += 1;
    }
}

/// What comes goes to everybody, as it is read.
#[derive(Default)]
struct Room {
    members: Vec<ConnId>,
    frames: u64,
}

impl Handler for Room {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
        self.members.push(conn);
    }

    fn on_data(&mut self, cx: &mut Context, _: ConnId, input: &mut Input) {
        self.frames += 1;
        cx.broadcast(self.members.iter().copied(), input.take_all());
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        self.members.retain(|member| *member != conn);
    }
}

const ANY: &str = "127.0.0.1:0";

#[test]
fn an_echo_allocates_nothing() {
    let (small, large) = ([b'x'; 64], vec![b'x'; 16 * 1024]);
    let mut pair: Pair<_> = Pair::new(Echo, ANY, 100);
    assert_eq!(count(|| pair.round(&[&small], 64)), 0);
    // Several that lie in the kernel when they are read.
    assert_eq!(count(|| pair.round(&[&small[..]; 16], 1024)), 0);
    // As many of these as find room in the sockets' buffers, so that nothing has to be queued.
    assert_eq!(count(|| pair.round(&[&large], large.len())), 0);
}

#[test]
fn an_echo_of_frames_allocates_nothing() {
    let line = [&[b'x'; 63][..], b"\n"].concat();
    let mut pair: Pair<_> = Pair::new(Framed::new(Lines::new(256), EchoLines), ANY, 100);
    assert_eq!(count(|| pair.round(&[&line], 64)), 0);
    assert_eq!(count(|| pair.round(&[&line[..]; 16], 1024)), 0);
}

// R8: what is left of a message is held in a box with its bytes, until the rest has come.
#[test]
fn half_a_message_costs_no_allocation_either() {
    let line = [&[b'x'; 63][..], b"\n"].concat();
    let mut pair: Pair<_> = Pair::new(Framed::new(Lines::new(256), EchoLines), ANY, 1);
    let allocations = count(|| {
        pair.peers[0].write_all(&line[..30]).unwrap();
        let reads = pair.reactor.context().stats().reads;
        pair.until(|cx| cx.stats().reads > reads);
        pair.round(&[&line[30..]], 64);
    });
    assert_eq!(allocations, 0);
}

#[test]
fn an_idle_deadline_that_every_message_moves_costs_no_allocation() {
    let listen = Listen::new(ANY).idle(Duration::from_secs(60));
    let mut pair: Pair<_> = Pair::new(Echo, listen, 100);
    assert_eq!(count(|| pair.round(&[&[b'x'; 64]], 64)), 0);
}

/// Some peers write so many bytes each, and all peers get them. Answers allocations and frames.
fn broadcast(pair: &mut Pair<Room>, speakers: usize, bytes: &[u8]) -> (u64, u64) {
    let mut frames = 0;
    let allocations = count(|| {
        let stats = pair.reactor.context().stats();
        let (read, before) = (stats.bytes_in, pair.app.frames);
        for peer in &mut pair.peers[..speakers] {
            peer.write_all(bytes).unwrap();
        }
        let all = speakers * bytes.len();
        // The turn that reads the last of it writes it too.
        pair.until(|cx| cx.stats().bytes_in == read + all as u64);
        pair.peers_read(all);
        frames = pair.app.frames - before;
    });
    (allocations, frames * ROUNDS as u64)
}

#[test]
fn a_broadcast_of_lines_allocates_nothing_and_one_of_large_frames_once() {
    let mut pair: Pair<_> = Pair::new(Room::default(), ANY, 100);
    for speakers in [1, 20] {
        assert_eq!(broadcast(&mut pair, speakers, &[b'x'; 64]).0, 0);
    }
    let (allocations, frames) = broadcast(&mut pair, 1, &[b'x'; 32 * 1024]);
    assert!(allocations <= frames, "{allocations} for {frames} frames");
}

// W1: members who do not read hold their limit, and the others' frames cost what they did.
#[test]
fn members_who_do_not_read_add_no_allocation_to_a_broadcast() {
    let mut limits = Limits::default();
    (limits.low_watermark, limits.high_watermark) = (1024, 4096);
    (limits.hard_limit, limits.overflow) = (4096, Overflow::DropNewest);
    let listen = Listen::new(ANY).send_buffer(4096).limits(limits);
    let mut pair: Pair<_> = Pair::new(Room::default(), listen, 20);
    let idle: Vec<_> = (0..5).map(|_| kit::small_peer(pair.addr)).collect();
    pair.until(|cx| cx.connections().count() == 25);
    let line = [b'x'; 64];
    // Those who do not read get all that they may have, and then no more; but the kernel may find
    // room for a little more after a while.
    let to_the_others = 20 * 64 * (ROUNDS + WARM_UP) as u64;
    for _ in 0..40 {
        broadcast(&mut pair, 1, &line);
    }
    for _ in 0..1000 {
        let before = pair.reactor.context().stats().bytes_out;
        let (allocations, _) = broadcast(&mut pair, 1, &line);
        let taken = pair.reactor.context().stats().bytes_out - before;
        if taken == to_the_others {
            assert_eq!(allocations, 0);
            return drop(idle);
        }
    }
    panic!("those who do not read take more and more");
}

/// Sets each timer anew as it fires, and cancels another that it set before.
#[derive(Default)]
struct Clockwork {
    other: Option<sockeye::TimerId>,
    fired: u64,
}

impl Handler for Clockwork {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_timer(&mut self, cx: &mut Context, _: sockeye::TimerId, key: u64) {
        self.fired += 1;
        cx.set_timer(Duration::from_nanos(key), key);
        if let Some(other) = self.other.take() {
            assert!(cx.cancel_timer(other));
        }
        self.other = Some(cx.set_timer(Duration::from_secs(key), key));
    }
}

#[test]
fn timers_that_are_set_again_cost_no_allocation() {
    let mut pair: Pair<_> = Pair::new(Clockwork::default(), ANY, 0);
    for key in 0..1000 {
        pair.reactor.context().set_timer(Duration::ZERO, key);
    }
    let allocations = count(|| {
        let end = pair.app.fired + 2000;
        while pair.app.fired < end {
            pair.turn();
        }
    });
    assert_eq!(allocations, 0);
}

#[test]
fn a_deadline_that_is_set_again_for_each_message_costs_no_allocation() {
    struct Impatient;
    impl Handler for Impatient {
        fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
            cx.set_deadline(conn, 0, Duration::from_secs(60));
            cx.send(conn, input.take_all());
        }
    }
    let mut pair: Pair<_> = Pair::new(Impatient, ANY, 100);
    assert_eq!(count(|| pair.round(&[&[b'x'; 64]], 64)), 0);
}

/// A message on its way: what it holds is its own.
struct Count(u64);

impl Handler<Box<u64>> for Count {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_message(&mut self, _: &mut Context, message: Box<u64>) {
        self.0 += *message;
    }
}

#[test]
fn a_message_allocates_nothing_but_what_it_is() {
    let mut pair: Pair<_, Box<u64>> = Pair::new(Count(0), ANY, 0);
    let sender = pair.reactor.sender();
    // Posted on the same thread, so what posting allocates is counted too.
    let allocations = count(|| {
        (0..100).for_each(|_| sender.send(Box::new(1)).unwrap());
        let end = pair.app.0 + 100;
        while pair.app.0 < end {
            pair.turn();
        }
    });
    assert_eq!(allocations, 100 * ROUNDS as u64);
}

// On Windows mio keeps state of its own beside each stream.
#[cfg(unix)]
#[test]
fn to_accept_serve_and_close_a_connection_allocates_nothing() {
    let mut pair: Pair<_> = Pair::new(Echo, ANY, 0);
    let allocations = count(|| {
        for _ in 0..10 {
            // A stream of std is a descriptor, so what the peer does here allocates nothing.
            let mut stream = TcpStream::connect(pair.addr).unwrap();
            stream.write_all(b"hello").unwrap();
            let closed = pair.reactor.context().stats().closed.total();
            let written = pair.reactor.context().stats().bytes_out;
            pair.until(|cx| cx.stats().bytes_out == written + 5);
            stream.read_exact(&mut [0; 5]).unwrap();
            drop(stream);
            pair.until(|cx| cx.stats().closed.total() > closed);
        }
    });
    assert_eq!(allocations, 0);
}

// R8: whatever the pieces, and whoever is read in between.
#[test]
fn a_frame_in_pieces_allocates_nothing() {
    fn hold<C: Decoder + Clone>(codec: C, frame: &[u8], piece: usize, conns: usize) {
        let bytes = frame.repeat(4096 / frame.len());
        let app = Framed::new(codec, Frames::default());
        let mut pair = Pair::<_, ()>::new(app, "127.0.0.1:0", conns);
        let mut read = 0;
        let used = count(|| {
            for piece in bytes.chunks(piece) {
                for peer in &mut pair.peers {
                    peer.write_all(piece).unwrap();
                }
                read += (piece.len() * conns) as u64;
                pair.until(|cx| cx.stats().bytes_in >= read);
            }
        });
        let frames = (WARM_UP + ROUNDS) * conns * (bytes.len() / frame.len());
        assert_eq!(pair.app.handler().0, frames, "{piece} {conns}");
        assert_eq!(used, 0, "{piece} {conns}");
    }
    let line = [&[b'x'; 63][..], b"\n"].concat();
    let mut frame = Vec::new();
    let prefixed = LengthPrefixed::u32(1024);
    prefixed.encode(&[7; 1020], &mut frame).unwrap();
    for piece in [100, 1000, 4096] {
        for conns in [1, 2, 16] {
            hold(Lines::new(64), &line, piece, conns);
            hold(TextLines::new(64), &line, piece, conns);
            hold(Delimited::new("\n", 64), &line, piece, conns);
            hold(prefixed, &frame, piece, conns);
        }
    }
}

/// Each message of a WebSocket goes back as one frame.
#[cfg(feature = "websocket")]
struct EchoMessages;

#[cfg(feature = "websocket")]
impl FrameHandler<sockeye::codec::websocket::WebSocket> for EchoMessages {
    fn on_frame(
        &mut self,
        cx: &mut Context,
        conn: ConnId,
        message: sockeye::codec::websocket::Message<'_>,
    ) {
        if let sockeye::codec::websocket::Message::Binary(data) = message {
            cx.send(conn, data.into_frame());
        }
    }
}

#[cfg(feature = "websocket")]
#[test]
fn an_echo_of_a_websocket_allocates_nothing() {
    use sockeye::codec::websocket::{Masks, WebSocket, binary};
    for len in [64, 16 * 1024] {
        let frame = Masks::seeded(1).mask(binary(vec![7; len]));
        let app = Framed::new(WebSocket::server(1 << 20), EchoMessages);
        let mut pair: Pair<_> = Pair::new(app, ANY, 16);
        assert_eq!(count(|| pair.round(&[&frame], frame.len() - 4)), 0);
        if len == 64 {
            assert_eq!(
                count(|| pair.round(&[&frame[..]; 16], 16 * (frame.len() - 4))),
                0
            );
        }
        // In two pieces, with others between.
        let pieces = |pair: &mut Pair<_>| {
            for part in [&frame[..len / 2], &frame[len / 2..]] {
                let read = pair.reactor.context().stats().bytes_in + 16 * part.len() as u64;
                for peer in &mut pair.peers {
                    peer.write_all(part).unwrap();
                }
                pair.until(|cx| cx.stats().bytes_in >= read);
            }
            pair.read_answers(frame.len() - 4);
        };
        if len == 64 {
            assert_eq!(count(|| pieces(&mut pair)), 0);
        }
    }
}

/// What an idle session holds, beside what rustls holds for it.
// On Windows a stream is larger.
#[cfg(all(feature = "tls", unix))]
mod idle_sessions {
    use super::*;
    use crate::authority::{Authority, name};
    use rustls::{ClientConnection, ServerConnection};
    use std::sync::Arc;

    /// Those that are counted, and those before: so many fill a table that doubles.
    const SESSIONS: usize = 256 - FIRST;
    const FIRST: usize = 16;

    struct Echo;

    impl Handler for Echo {
        fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
            cx.send(conn, input.take_all());
        }
    }

    /// A handshake, and a byte there and back. `serve` hears and answers; what it allocates and
    /// keeps is counted.
    fn session(
        client: &mut ClientConnection,
        mut serve: impl FnMut(&[u8], &mut Vec<u8>) -> i64,
    ) -> i64 {
        let (mut kept, mut is_said, mut back) = (0, false, [0; 8]);
        let (mut up, mut down) = (Vec::new(), Vec::with_capacity(16 * 1024));
        loop {
            up.clear();
            while client.wants_write() {
                client.write_tls(&mut up).unwrap();
            }
            down.clear();
            kept += serve(&up, &mut down);
            let mut heard = &down[..];
            while !heard.is_empty() {
                client.read_tls(&mut heard).unwrap();
                client.process_new_packets().unwrap();
            }
            if !client.is_handshaking() && !std::mem::replace(&mut is_said, true) {
                client.writer().write_all(b"x").unwrap();
            }
            if client
                .reader()
                .read(&mut back)
                .is_ok_and(|count| count == 1)
            {
                return kept;
            }
        }
    }

    fn client(authority: &Authority) -> ClientConnection {
        ClientConnection::new(Arc::new(authority.client()), name()).unwrap()
    }

    /// Bytes for each session that rustls keeps by itself.
    fn bare(authority: &Authority) -> i64 {
        let config = Arc::new(authority.server());
        let mut servers = Vec::with_capacity(FIRST + SESSIONS);
        let mut kept = 0;
        for count in 0..FIRST + SESSIONS {
            let mut server = None;
            let each = session(&mut client(authority), |mut up, down| {
                let answer = || {
                    let server = server.get_or_insert_with(|| {
                        Box::new(ServerConnection::new(config.clone()).unwrap())
                    });
                    let mut byte = [0; 8];
                    while !up.is_empty() {
                        server.read_tls(&mut up).unwrap();
                        server.process_new_packets().unwrap();
                        if server
                            .reader()
                            .read(&mut byte)
                            .is_ok_and(|count| count == 1)
                        {
                            server.writer().write_all(&byte[..1]).unwrap();
                        }
                    }
                    while server.wants_write() {
                        server.write_tls(down).unwrap();
                    }
                };
                measure(answer).bytes_current
            });
            servers.push(server);
            kept += if count < FIRST { 0 } else { each };
        }
        kept / SESSIONS as i64
    }

    /// And for each that a loop keeps: its tables and lists are in it.
    fn ours(authority: &Authority) -> i64 {
        let listen = Listen::new("127.0.0.1:0").tls(Arc::new(authority.server()));
        let mut pair = Pair::new(Echo, listen, 0);
        let mut kept = 0;
        for count in 0..FIRST + SESSIONS {
            let mut stream = peer(pair.addr);
            stream.set_nonblocking(true).unwrap();
            let each = session(&mut client(authority), |up, down| {
                stream.write_all(up).unwrap();
                let mut kept = 0;
                let start = Instant::now();
                let mut is_heard = false;
                while !is_heard {
                    assert!(start.elapsed() < PATIENCE, "the loop stands still");
                    kept += measure(|| pair.turn()).bytes_current;
                    let mut some = [0; 4096];
                    while let Ok(bytes) = stream.read(&mut some) {
                        down.extend_from_slice(&some[..bytes]);
                        is_heard = true;
                    }
                }
                kept
            });
            assert_eq!(pair.reactor.context().connections().count(), count + 1);
            pair.peers.push(stream);
            kept += if count < FIRST { 0 } else { each };
        }
        kept / SESSIONS as i64
    }

    // S3
    #[test]
    fn an_idle_session_costs_512_bytes_beside_what_rustls_keeps() {
        let authority = Authority::new();
        let (bare, ours) = (bare(&authority), ours(&authority));
        println!("{ours} bytes each, of which {bare} are of rustls");
        assert!(
            bare > 4096 && ours <= 8192 && ours <= bare + 512,
            "{ours}, and {bare} by rustls alone"
        );
    }
}
