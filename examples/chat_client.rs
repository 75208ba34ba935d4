//! A line client for the chat server, or for any other server of lines.
//!
//! It teaches how a blocking source gets into the loop (a thread reads the keyboard and posts what
//! it reads through a `Sender`), and how to connect again when the server is gone, ever less often.
//!
//! Try it: `cargo run --example chat_server`, then `cargo run --example chat_client`.

use clap::Parser;
use sockeye::codec::{Encoder, Lines};
use sockeye::{Chunk, Closed, ConnId, Context, FrameHandler, Framed, Origin, Reactor};
use sockeye::{Sent, TimerId};
use std::io;
use std::thread;
use std::time::Duration;

#[derive(Parser)]
#[command(about = "Sends what you type, a line each, and prints what comes. Ctrl-D leaves.")]
struct Args {
    /// Where the server listens: IP:PORT or unix:PATH
    #[arg(default_value = "127.0.0.1:7004")]
    server: String,
    /// Milliseconds until it connects again; each failure in a row doubles them, up to 30 s
    #[arg(long, value_name = "MS", default_value = "500")]
    retry: u64,
}

/// The codec of both ways; what the server sends may be a little longer than what it takes.
const LINES: Lines = Lines::new(16 * 1024).or_eof();

/// The longest wait between two attempts.
const LONGEST: Duration = Duration::from_secs(30);

struct Client {
    server: String,
    conn: ConnId,
    first_retry: Duration,
    next_retry: Duration,
    /// The user has left, or is about to.
    leaving: bool,
}

impl FrameHandler<Lines, Option<String>> for Client {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        self.next_retry = self.first_retry;
        if let Some(peer) = cx.peer_addr(conn) {
            eprintln!("[connected to {peer}]");
        }
    }

    fn on_frame(&mut self, _: &mut Context, _: ConnId, line: Chunk<'_>) {
        // The server should do this, but whoever prints has to: no escape sequence gets through.
        let line = String::from_utf8_lossy(&line);
        println!("{}", line.replace(char::is_control, "\u{fffd}"));
    }

    /// The keyboard: a line, or its end.
    fn on_message(&mut self, cx: &mut Context, line: Option<String>) {
        let Some(line) = line else {
            self.leaving = true;
            // Half-closed: what the server still has to say comes before its end. And if there is
            // no connection now, there will be none.
            if !cx.shutdown_write(self.conn) {
                cx.stop();
            }
            return;
        };
        self.leaving |= line == "/quit";
        match LINES.frame(&line).map(|frame| cx.send(self.conn, frame)) {
            Ok(Sent::Queued | Sent::Wait) => {}
            Ok(_) => eprintln!("[not connected: that was not sent]"),
            Err(error) => eprintln!("[not sent: {error}]"),
        }
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, closed: Closed) {
        if self.leaving {
            return cx.stop();
        }
        eprintln!("[{closed}; again in {:?}]", self.next_retry);
        cx.set_timer(self.next_retry, 0);
        self.next_retry = LONGEST.min(self.next_retry * 2);
    }

    fn on_timer(&mut self, cx: &mut Context, _: TimerId, _: u64) {
        self.conn = cx.connect(&self.server);
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut reactor = Reactor::with_messages()?;
    let sender = reactor.sender();
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.send(Some(line)).is_err() {
                return;
            }
        }
        let _ = sender.send(None); // if nobody is there to hear it, that is the end too
    });
    let retry = Duration::from_millis(args.retry.max(1));
    let client = Client {
        conn: reactor.context().connect(&args.server),
        server: args.server,
        first_retry: retry,
        next_retry: retry,
        leaving: false,
    };
    reactor.run(&mut Framed::new(LINES, client))?;
    Ok(())
}
