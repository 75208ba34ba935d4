//! A line client for the chat server, or for any other server of lines.
//!
//! It teaches how a blocking source gets into the loop (a thread reads the keyboard and posts what
//! it reads through a `Sender`, no faster than the server takes it), how to connect again when the
//! server is gone, ever less often, and how to end with a status that a script can trust.
//!
//! Try it: `cargo run --example chat_server`, then `cargo run --example chat_client`.

#[path = "tls/mod.rs"]
mod tls;

use anyhow::anyhow;
use clap::Parser;
use sockeye::codec::Lines;
use sockeye::{Chunk, Closed, ConnId, Connect, Context, FrameHandler, Framed, Origin, Reactor};
use sockeye::{Sender, Sent, TimerId};
use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

#[derive(Parser)]
#[command(about = "Sends each line that you type, and prints what it receives. Ctrl-D leaves.")]
struct Args {
    /// Where the server listens: NAME:PORT, IP:PORT or unix:PATH
    #[arg(default_value = "127.0.0.1:7004")]
    server: String,
    /// Milliseconds before it reconnects; doubled after each failure in a row, up to 30 s
    #[arg(long, value_name = "MS", default_value = "500")]
    retry: u64,
    #[command(flatten)]
    tls: tls::Client,
}

/// Bytes of a line from the server at most; what is typed goes in parts that are no longer.
const LONGEST_LINE: usize = 16 * 1024;

/// The longest wait between two attempts.
const LONGEST: Duration = Duration::from_secs(30);

/// What is typed: a line with its end, or nothing at the end of all. The next one is read when the
/// second part is dropped.
type Typed = (io::Result<Vec<u8>>, mpsc::Sender<()>);

/// Posts what is typed, until its end.
fn read_keyboard(client: &Sender<Typed>) {
    loop {
        let mut line = Vec::new();
        let mut keyboard = io::stdin().lock().take(LONGEST_LINE as u64);
        let line = keyboard.read_until(b'\n', &mut line).map(|_| line);
        let is_end = line.as_ref().map_or(true, Vec::is_empty);
        let (hold, released) = mpsc::channel();
        if client.send((line, hold)).is_err() || is_end {
            return;
        }
        let _ = released.recv(); // an error, at last: `hold` was dropped
    }
}

struct Client<C> {
    args: Args,
    /// How it connects: with TLS, or without.
    over: C,
    conn: ConnId,
    /// When to connect again; `None`: it was never open, and the address may be no good.
    next_retry: Option<Duration>,
    /// The user has left, or is about to.
    leaving: bool,
    /// Keeps the keyboard waiting while the server does not read.
    hold: Option<mpsc::Sender<()>>,
    result: anyhow::Result<()>,
}

impl<C: Fn(Connect) -> Connect> FrameHandler<Lines, Typed> for Client<C> {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        self.next_retry = Some(Duration::from_millis(self.args.retry.max(1)));
        if let Some(peer) = cx.peer_addr(conn) {
            // `eprintln` would panic if nobody can read it.
            let _ = writeln!(io::stderr(), "[connected to {peer}]");
        }
    }

    fn on_frame(&mut self, cx: &mut Context, _: ConnId, line: Chunk<'_>) {
        // The server should do this, but whoever prints has to: no escape sequence gets through.
        let line = String::from_utf8_lossy(&line).replace(char::is_control, "\u{fffd}");
        if let Err(error) = writeln!(io::stdout(), "{line}") {
            // Whoever read it has gone, as `head` does: that is no failure.
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.result = Err(anyhow!("standard output: {error}"));
            }
            cx.stop();
        }
    }

    fn on_message(&mut self, cx: &mut Context, (line, hold): Typed) {
        let line = line.unwrap_or_else(|error| {
            self.result = Err(anyhow!("standard input: {error}"));
            Vec::new()
        });
        let is_end = line.is_empty();
        self.leaving |= is_end || line.trim_ascii_end() == b"/quit";
        match cx.send(self.conn, line) {
            // Half-closed: what the server still has to say comes before its end.
            Sent::Queued | Sent::Wait if is_end => drop(cx.shutdown_write(self.conn)),
            Sent::Queued => {}
            Sent::Wait => self.hold = Some(hold),
            // Closing already: `on_close` is still to come.
            _ if self.leaving && cx.origin(self.conn).is_some() => {}
            _ if self.leaving => cx.stop(), // it is away, and need not come back
            _ => {
                let _ = writeln!(io::stderr(), "[not connected: that was not sent]");
                self.result = Err(anyhow!("not all was sent"));
            }
        }
    }

    fn on_drain(&mut self, _: &mut Context, _: ConnId) {
        self.hold = None;
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, closed: Closed) {
        self.hold = None;
        let server = &self.args.server;
        let again = self.next_retry.filter(|_| !self.leaving);
        if !closed.is_clean() && (again.is_none() || closed.undelivered > 0) {
            self.result = Err(anyhow!("{server}: {closed}"));
        }
        let Some(retry) = again else {
            return cx.stop();
        };
        let _ = writeln!(io::stderr(), "[{server}: {closed}; again in {retry:?}]");
        cx.set_timer(retry, 0);
        self.next_retry = Some(LONGEST.min(retry * 2));
    }

    fn on_timer(&mut self, cx: &mut Context, _: TimerId, _: u64) {
        self.conn = cx.connect((self.over)(Connect::new(&self.args.server)));
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut reactor = Reactor::with_messages()?;
    let sender = reactor.sender();
    thread::spawn(move || read_keyboard(&sender));
    let over = args.tls.over()?;
    let to = over(Connect::new(&args.server));
    let client = Client {
        conn: reactor.context().connect(to),
        args,
        over,
        next_retry: None,
        leaving: false,
        hold: None,
        result: Ok(()),
    };
    // What the server sends may be a little longer than what it takes.
    let mut client = Framed::new(Lines::new(LONGEST_LINE).or_eof(), client);
    reactor.run(&mut client)?;
    client.into_handler().result
}
