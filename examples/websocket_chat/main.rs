//! A chat in the browser: one port serves a page and the WebSocket that it opens, and another one
//! serves lines, for `nc`. Both kinds of members share the rooms.
//!
//! It teaches several framings over one state (`Frames`, one field each), an upgrade in mid-stream,
//! a broadcast in two encodings, pings to peers that are silent, and lines with numbers, so that a
//! page that was offline asks for what it has missed.
//!
//! Try it: `cargo run --features websocket --example websocket_chat`, then open
//! `http://127.0.0.1:7022/?name=ann` in a browser, and `nc 127.0.0.1 7023` in a terminal.
//!
//! This file serves connections; `room.rs` is the chat.

mod room;
#[path = "../tls/mod.rs"]
mod tls;

use clap::Parser;
use room::Rooms;
use sockeye::codec::websocket::{
    self, CloseCode, Message, Refusal, Request, Requests, Upgrade, WebSocket,
};
use sockeye::codec::{CodecError, Encoder, Lines};
use sockeye::{
    Closed, ConnId, Context, Deadline, Frames, Handler, Input, Limits, Listen, Origin, Reactor, Tag,
};
use std::io::{self, Write};
use std::time::Duration;

#[derive(Parser)]
#[command(about = "A chat in the browser. Open http://127.0.0.1:7022, or: nc 127.0.0.1 7023")]
struct Args {
    /// Where to serve the page and its WebSocket: IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7022")]
    listen: String,
    /// Where to listen for members that send lines: IP:PORT or unix:PATH
    #[arg(
        long = "listen-lines",
        value_name = "ADDR",
        default_value = "127.0.0.1:7023"
    )]
    listen_lines: String,
    /// Seconds of silence before a member is pinged
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..))]
    ping: u64,
    #[command(flatten)]
    tls: tls::Server,
}

const WEB: Tag = Tag(0);
const LINES: Tag = Tag(1);

/// Characters of a line, which may have four bytes each.
const LINE: usize = 1000;

const PAGE: &str = include_str!("page.html");

/// The keys of deadlines: a request is late, a pong is late.
const REQUEST: u32 = 0;
const PONG: u32 = 1;

struct Chat {
    requests: Frames<Requests>,
    sockets: Frames<WebSocket>,
    lines: Frames<Lines>,
    rooms: Rooms,
}

impl Handler for Chat {
    /// The listener says how a connection begins.
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        if cx.tag(conn) == Some(LINES) {
            self.lines.set(cx, conn, Lines::new(4 * LINE));
            return self.rooms.join(cx, conn, false, "lobby", "", None);
        }
        self.requests.set(cx, conn, Requests::new(8192));
        cx.set_deadline(conn, REQUEST, Duration::from_secs(10));
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        cx.clear_deadline(conn, PONG);
        loop {
            match self.requests.try_next(cx, conn, input) {
                Ok(None) => break,
                Ok(Some(request)) => self.answer(cx, conn, request),
                Err(error) => refuse(cx, conn, Refusal::of(&error)),
            }
        }
        loop {
            match self.sockets.try_next(cx, conn, input) {
                Ok(None) => break,
                Ok(Some(message)) => self.hear(cx, conn, message),
                Err(error) => bye(cx, conn, CloseCode::of(&error), error),
            }
        }
        while let Some(line) = self.lines.next(cx, conn, input) {
            self.rooms.said(cx, conn, &String::from_utf8_lossy(&line));
        }
    }

    fn on_deadline(&mut self, cx: &mut Context, conn: ConnId, which: Deadline) {
        let is_socket = self.sockets.get_mut(cx, conn).is_some();
        match (which, websocket::ping("")) {
            // A machine that was switched off sends no end, and a ping finds out.
            (Deadline::Idle, Ok(ping)) if is_socket => {
                cx.send(conn, ping);
                cx.set_deadline(conn, PONG, Duration::from_secs(20));
            }
            (Deadline::Idle, _) if self.lines.get_mut(cx, conn).is_some() => {}
            _ => drop(cx.close_timed_out(conn, which)),
        }
    }

    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        if self.sockets.get_mut(cx, conn).is_some() {
            cx.send(conn, websocket::close(CloseCode::GOING_AWAY, ""));
        }
        cx.close(conn);
    }

    fn on_close(&mut self, cx: &mut Context, conn: ConnId, _: Closed) {
        self.rooms.leave(cx, conn, "has gone");
    }
}

impl Chat {
    fn answer(&mut self, cx: &mut Context, conn: ConnId, request: Request<'_>) {
        match (request.method(), request.path()) {
            ("GET", "/") => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n";
                let len = format!("Cache-Control: no-store\r\nContent-Length: {}", PAGE.len());
                cx.send(conn, ((head, len), ("\r\n\r\n", PAGE)));
                cx.set_deadline(conn, REQUEST, Duration::from_secs(60)); // and another one
            }
            ("GET", "/chat") => match upgrade(&request) {
                Ok(upgrade) => {
                    cx.send(conn, upgrade.answer());
                    cx.clear_deadline(conn, REQUEST);
                    self.requests.remove(cx, conn);
                    self.sockets.set(cx, conn, WebSocket::server(4 * LINE));
                    let value = |name| value(request.target(), name).unwrap_or_default();
                    let since = value("since").parse().ok();
                    let (room, name) = (value("room"), value("name"));
                    self.rooms.join(cx, conn, true, &room, &name, since);
                }
                Err(refusal) => refuse(cx, conn, refusal),
            },
            _ => refuse(cx, conn, Refusal::NOT_FOUND),
        }
    }

    fn hear(&mut self, cx: &mut Context, conn: ConnId, message: Message<'_>) {
        match message {
            Message::Text(text) => self.rooms.said(cx, conn, text.as_str()),
            Message::Binary(data) => {
                let error = CodecError::malformed("a message that is no text", &data);
                bye(cx, conn, CloseCode::UNSUPPORTED, error);
            }
            Message::Ping(ping) => drop(cx.send(conn, websocket::pong(ping))),
            Message::Pong(_) => {}
            Message::Close(close) => {
                cx.send(conn, websocket::close(close.code, ""));
                cx.close(conn);
            }
        }
    }
}

/// The upgrade, for our own page only: a browser sends its user's name along wherever a page of
/// another site asks it to.
fn upgrade<'i>(request: &Request<'i>) -> Result<Upgrade<'i>, Refusal> {
    let origin = request
        .field("Origin")
        .and_then(|origin| origin.split_once("://"));
    // Who is no browser has no origin, and no user whose name could be abused.
    match origin {
        Some((_, host)) if request.field("Host") != Some(host) => Err(Refusal::ORIGIN),
        _ => request.upgrade(),
    }
}

fn refuse(cx: &mut Context, conn: ConnId, refusal: Refusal) {
    cx.send(conn, refusal.answer());
    cx.close_because(conn, refusal);
}

fn bye(cx: &mut Context, conn: ConnId, code: CloseCode, error: CodecError) {
    cx.send(conn, websocket::close(code, ""));
    cx.close_because(conn, error);
}

/// A value of a query: `a+b%21` is `a b!`.
fn value(target: &str, name: &str) -> Option<String> {
    let (_, query) = target.split_once('?')?;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(other, _)| *other == name)?;
    let (mut bytes, mut rest) = (Vec::new(), value.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten();
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = after;
            }
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A line for members without a browser.
fn line(text: &str) -> Vec<u8> {
    let mut line = Vec::new();
    // What has an end of a line in it was refused before.
    let _ = Lines::new(8 * LINE).encode(text.as_bytes(), &mut line);
    line
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut reactor = Reactor::new()?;
    let limits = Limits::default()
        .at_most_pending(256 * 1024)
        .idle(Some(Duration::from_secs(args.ping)));
    for (addr, tag) in [(&args.listen, WEB), (&args.listen_lines, LINES)] {
        let listen = Listen::new(addr.as_str()).tag(tag).limits(limits.clone());
        let listener = reactor.listen(args.tls.over(listen)?)?;
        if let Some(addr) = reactor.context().listener_addr(listener) {
            // `println` would panic if nobody can read it.
            let _ = writeln!(io::stdout(), "listening on {addr}");
        }
    }
    reactor.run(&mut Chat {
        requests: Frames::default(),
        sockets: Frames::default(),
        lines: Frames::default(),
        rooms: Rooms::default(),
    })?;
    Ok(())
}
