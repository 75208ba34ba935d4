//! Clients of a WebSocket that echoes: each has so many messages under way, and checks what comes
//! back. For `.ci/websocket`, where other people's servers answer it, and ours beside them.

use clap::Parser;
use sockeye::codec::websocket::{self, CloseCode, Handshake, Masks, Message, WebSocket, text};
use sockeye::{Addr, Closed, ConnId, ConnMap, Context, Frames, Handler, Input, Origin, Reactor};
use std::time::Instant;

#[derive(Parser)]
#[command(about = "Clients of a WebSocket that echoes")]
struct Args {
    /// The server: IP:PORT
    #[arg(long)]
    connect: Addr,
    /// Clients
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Messages of each that are under way at a time
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// Bytes of a message
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Messages in all
    #[arg(long, default_value_t = 100_000)]
    messages: usize,
}

struct Clients {
    args: Args,
    masks: Masks,
    handshakes: Frames<Handshake>,
    sockets: Frames<WebSocket>,
    message: Vec<u8>,
    /// As many frames as are under way at a time, masked.
    wire: Vec<u8>,
    frame: usize,
    /// What each connection has still to send, and to hear.
    left: ConnMap<(usize, usize)>,
    heard: usize,
    start: Option<Instant>,
    wrong: Option<String>,
}

impl Clients {
    fn new(args: Args) -> Clients {
        let (mut masks, mut wire) = (Masks::random(), Vec::new());
        let message: Vec<u8> = (0..args.size).map(|i| b'a' + (i % 26) as u8).collect();
        (0..args.depth).for_each(|_| masks.mask_into(text(&message), &mut wire));
        Clients {
            frame: wire.len() / args.depth,
            args,
            masks,
            handshakes: Frames::default(),
            sockets: Frames::default(),
            message,
            wire,
            left: ConnMap::new(),
            heard: 0,
            start: None,
            wrong: None,
        }
    }

    fn send(&mut self, cx: &mut Context, conn: ConnId, count: usize) {
        let Some((left, _)) = self.left.get_mut(conn) else {
            return;
        };
        let count = count.min(*left);
        *left -= count;
        cx.send(conn, &self.wire[..count * self.frame]);
    }

    fn wrong(&mut self, cx: &mut Context, what: String) {
        self.wrong = Some(what);
        cx.stop();
    }
}

impl Handler for Clients {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        let host = self.args.connect.to_string();
        let handshake = Handshake::new(&host, "/", &mut self.masks);
        cx.send(conn, handshake.request());
        self.handshakes.set(cx, conn, handshake);
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        while self.handshakes.next(cx, conn, input).is_some() {
            self.handshakes.remove(cx, conn);
            self.sockets.set(cx, conn, WebSocket::client(1 << 30));
            let each = self.args.messages / self.args.connections;
            self.left.insert(conn, (each, each));
            if self.left.len() == self.args.connections {
                self.start = Some(Instant::now()); // all are there: now they speak
                let all: Vec<ConnId> = self.left.ids().collect();
                all.iter()
                    .for_each(|conn| self.send(cx, *conn, self.args.depth));
            }
        }
        let mut count = 0;
        while let Some(message) = self.sockets.next(cx, conn, input) {
            match message {
                Message::Text(text) if text[..] == self.message[..] => count += 1,
                Message::Close(close) if close.code == Some(CloseCode::NORMAL) => {
                    cx.close(conn);
                }
                other => return self.wrong(cx, format!("{other:?}")),
            }
        }
        self.heard += count;
        let Some((_, missing)) = self.left.get_mut(conn) else {
            return;
        };
        *missing -= count;
        match *missing {
            0 if count > 0 => {
                let close = self.masks.mask(websocket::close(CloseCode::NORMAL, ""));
                cx.send(conn, close);
            }
            _ => self.send(cx, conn, count),
        }
    }

    fn on_close(&mut self, cx: &mut Context, conn: ConnId, closed: Closed) {
        match self.left.remove(conn) {
            Some((0, 0)) if closed.is_clean() => {}
            left => return self.wrong(cx, format!("{left:?}: {closed}")),
        }
        if self.left.is_empty() && self.heard > 0 {
            cx.stop();
        }
    }
}

fn main() -> anyhow::Result<()> {
    let mut clients = Clients::new(Args::parse());
    let mut reactor = Reactor::new()?;
    for _ in 0..clients.args.connections {
        reactor.context().connect(clients.args.connect.clone());
    }
    reactor.run(&mut clients)?;
    if let Some(wrong) = clients.wrong {
        anyhow::bail!("{wrong}");
    }
    let seconds = clients
        .start
        .map_or(0.0, |start| start.elapsed().as_secs_f64());
    println!("{} messages in {seconds:.3} s", clients.heard);
    Ok(())
}
