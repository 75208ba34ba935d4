//! A typed binary protocol: counters by name, which a server keeps and a client sets and asks for.
//!
//! On the wire, all numbers big endian: four bytes of length, then a byte that says what it is, and
//! what belongs to that. Several requests may be under way; the replies come in their order.
//!
//! Try it: `cargo run --example length_prefixed -- --serve`, then in another terminal
//! `cargo run --example length_prefixed -- apples=3 apples pears`.

use bytes::{Buf, BufMut};
use clap::Parser;
use sockeye::codec::{CodecError, Encoder, LengthPrefixed};
use sockeye::{Chunk, Closed, ConnId, Context, FrameHandler, Framed, Reactor, Sent};
use std::collections::HashMap;
use std::io::{self, Write};

#[derive(Parser)]
#[command(about = "Sets and reads counters. Serve with: length_prefixed --serve")]
struct Args {
    /// Serve the counters instead
    #[arg(long)]
    serve: bool,
    /// Where the server listens: NAME:PORT, IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7003")]
    listen: String,
    /// NAME reads a counter, NAME=NUMBER sets it
    #[arg(required_unless_present = "serve")]
    requests: Vec<String>,
}

/// The frame of every message: a prefix of four bytes, and 1 KiB at most. Both sides refuse more,
/// so nobody can make the other one keep a gigabyte that it has announced.
const CODEC: LengthPrefixed = LengthPrefixed::u32(1024);

#[derive(Debug)]
enum Message {
    /// A request: 1, then the name.
    Get(String),
    /// A request: 2, eight bytes of number, then the name.
    Set(u64, String),
    /// A reply: 3, then eight bytes of number.
    Value(u64),
    /// A reply: 4.
    Unknown,
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Message::Get(name) => {
                bytes.put_u8(1);
                bytes.put_slice(name.as_bytes());
            }
            Message::Set(number, name) => {
                bytes.put_u8(2);
                bytes.put_u64(*number);
                bytes.put_slice(name.as_bytes());
            }
            Message::Value(number) => {
                bytes.put_u8(3);
                bytes.put_u64(*number);
            }
            Message::Unknown => bytes.put_u8(4),
        }
        bytes
    }

    /// The frame is whole, but what is in it may be anything: `get_u64` panics when there are too
    /// few bytes, so ask first.
    fn decode(mut frame: Chunk<'_>) -> Result<Message, CodecError> {
        let bad = |what, frame: &Chunk<'_>| Err(CodecError::malformed(what, frame));
        if !frame.has_remaining() {
            return bad("a message without a kind", &frame);
        }
        let message = match (frame.get_u8(), frame.remaining()) {
            (1, _) => Message::Get(name(frame)?),
            (2, 8..) => Message::Set(frame.get_u64(), name(frame)?),
            (3, 8) => Message::Value(frame.get_u64()),
            (4, 0) => Message::Unknown,
            _ => return bad("a message of no known kind and size", &frame),
        };
        Ok(message)
    }
}

fn name(frame: Chunk<'_>) -> Result<String, CodecError> {
    let name = String::from_utf8(frame.to_vec());
    name.map_err(|_| CodecError::malformed("a name that is no UTF-8", &frame))
}

/// Sends a message as one frame. The length goes before it without a copy of the whole.
fn send(cx: &mut Context, conn: ConnId, message: &Message) -> Result<Sent, CodecError> {
    Ok(cx.send(conn, CODEC.frame(message.encode())?))
}

#[derive(Default)]
struct Server {
    counters: HashMap<String, u64>,
}

impl Server {
    fn answer(&mut self, request: Message) -> Result<Message, CodecError> {
        match request {
            Message::Get(name) => Ok(match self.counters.get(&name) {
                Some(number) => Message::Value(*number),
                None => Message::Unknown,
            }),
            Message::Set(number, name) => {
                self.counters.insert(name, number);
                Ok(Message::Value(number))
            }
            reply => Err(CodecError::malformed(
                "a reply as a request",
                &reply.encode(),
            )),
        }
    }
}

impl FrameHandler<LengthPrefixed> for Server {
    fn on_frame(&mut self, cx: &mut Context, conn: ConnId, frame: Chunk<'_>) {
        let answer = Message::decode(frame).and_then(|request| self.answer(request));
        match answer.and_then(|answer| send(cx, conn, &answer)) {
            // A client that asks and does not read: then it is not read either.
            Ok(Sent::Wait) => drop(cx.pause_until_drained(conn)),
            Ok(_) => {}
            Err(error) => drop(cx.close_because(conn, error)),
        }
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, closed: Closed) {
        if !closed.is_clean() {
            // `eprintln` would panic if nobody can read it.
            let _ = writeln!(io::stderr(), "{conn}: {closed}");
        }
    }
}

/// Prints the replies, and goes when it has all.
struct Client {
    requests: Vec<String>,
    replies: usize,
    printed: io::Result<()>,
    closed: Option<Closed>,
}

impl Client {
    fn ask(&self, cx: &mut Context, conn: ConnId) -> Result<(), CodecError> {
        for request in &self.requests {
            let message = match request.split_once('=') {
                None => Message::Get(request.clone()),
                Some((name, number)) => match number.parse() {
                    Ok(number) => Message::Set(number, name.to_owned()),
                    Err(_) => return Err(CodecError::malformed("no number", number.as_bytes())),
                },
            };
            send(cx, conn, &message)?;
        }
        Ok(())
    }
}

impl FrameHandler<LengthPrefixed> for Client {
    fn on_frame(&mut self, cx: &mut Context, conn: ConnId, frame: Chunk<'_>) {
        let value = match Message::decode(frame) {
            Ok(Message::Value(number)) => number.to_string(),
            Ok(Message::Unknown) => "unknown".to_owned(),
            Ok(request) => {
                cx.close_because(conn, format!("a request as a reply: {request:?}"));
                return;
            }
            Err(error) => {
                cx.close_because(conn, error);
                return;
            }
        };
        let request = &self.requests[self.replies];
        self.printed = writeln!(io::stdout(), "{request}: {value}");
        if self.printed.is_err() {
            return cx.stop();
        }
        self.replies += 1;
        if self.replies == self.requests.len() {
            cx.close(conn);
        }
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, closed: Closed) {
        self.closed = Some(closed);
        cx.stop();
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut reactor = Reactor::new()?;
    if args.serve {
        let listener = reactor.listen(args.listen)?;
        if let Some(addr) = reactor.context().listener_addr(listener) {
            // `println` would panic if nobody can read it.
            let _ = writeln!(io::stdout(), "listening on {addr}");
        }
        reactor.run(&mut Framed::new(CODEC, Server::default()))?;
        return Ok(());
    }
    let server = reactor.context().connect(&args.listen);
    let client = Client {
        requests: args.requests,
        replies: 0,
        printed: Ok(()),
        closed: None,
    };
    // What is sent while it connects goes out as soon as it is open.
    client.ask(reactor.context(), server)?;
    let mut client = Framed::new(CODEC, client);
    reactor.run(&mut client)?;
    let client = client.into_handler();
    match client.printed {
        // Whoever read the replies has gone, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        printed => printed?,
    }
    match client.closed {
        Some(_) if client.replies == client.requests.len() => Ok(()),
        Some(closed) => anyhow::bail!("{}: {closed}", args.listen),
        None => anyhow::bail!("it was stopped"),
    }
}
