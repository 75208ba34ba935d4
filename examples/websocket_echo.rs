//! A WebSocket that says everything again.
//!
//! It teaches the upgrade, which exchanges the connection's decoder in mid-stream, messages that go
//! back from where they lie, and what is said to a peer that breaks the rules.
//!
//! Try it: `cargo run --features websocket --example websocket_echo`, then, in the console of a
//! browser: `s = new WebSocket("ws://127.0.0.1:7021"); s.onmessage = m => console.log(m.data)` and
//! `s.send("hello")`.

#[path = "tls/mod.rs"]
mod tls;

use clap::Parser;
use sockeye::codec::websocket::{self, CloseCode, Message, Refusal, Requests, WebSocket};
use sockeye::{ConnId, Context, Frames, Handler, Input, Listen, Origin, Reactor, Sent};
use std::io::{self, Write};
use std::time::Duration;

#[derive(Parser)]
#[command(about = "Sends back each WebSocket message: ws://127.0.0.1:7021")]
struct Args {
    /// Where to listen: IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7021")]
    listen: String,
    /// Largest message, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 16)]
    max: usize,
    #[command(flatten)]
    tls: tls::Server,
}

struct Echo {
    /// Each connection begins with a request ...
    requests: Frames<Requests>,
    /// ... and those that were granted one go on with a WebSocket.
    sockets: Frames<WebSocket>,
    max: usize,
}

/// A request comes at once, or not at all.
const REQUEST: Duration = Duration::from_secs(10);

impl Handler for Echo {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        cx.set_deadline(conn, 0, REQUEST);
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        // The first loop ends with the upgrade, and the second goes on behind it.
        loop {
            let refusal = match self.requests.try_next(cx, conn, input) {
                Ok(None) => break,
                Ok(Some(request)) => match request.upgrade() {
                    Ok(upgrade) => {
                        cx.send(conn, upgrade.answer());
                        cx.clear_deadline(conn, 0);
                        self.requests.remove(cx, conn);
                        self.sockets.set(cx, conn, WebSocket::server(self.max));
                        continue;
                    }
                    Err(refusal) => refusal,
                },
                Err(error) => Refusal::of(&error),
            };
            cx.send(conn, refusal.answer());
            cx.close_because(conn, refusal);
        }
        loop {
            match self.sockets.try_next(cx, conn, input) {
                Ok(None) => break,
                Ok(Some(message)) => answer(cx, conn, message),
                Err(error) => {
                    cx.send(conn, websocket::close(CloseCode::of(&error), ""));
                    cx.close_because(conn, error);
                }
            }
        }
    }

    /// The server goes down.
    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        if self.sockets.get_mut(cx, conn).is_some() {
            cx.send(conn, websocket::close(CloseCode::GOING_AWAY, ""));
        }
        cx.close(conn);
    }
}

fn answer(cx: &mut Context, conn: ConnId, message: Message<'_>) {
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
        cx.pause_until_drained(conn); // it does not read: then it is not read either
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut reactor = Reactor::new()?;
    let listener = reactor.listen(args.tls.over(Listen::new(args.listen))?)?;
    if let Some(addr) = reactor.context().listener_addr(listener) {
        // `println` would panic if nobody can read it.
        let _ = writeln!(io::stdout(), "listening on {addr}");
    }
    reactor.run(&mut Echo {
        requests: Frames::new(Requests::new(8192)),
        sockets: Frames::default(),
        max: args.max << 20,
    })?;
    Ok(())
}
