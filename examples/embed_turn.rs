//! The reactor inside a loop that has a rhythm of its own, as games and instruments have: a ball
//! moves, and whoever connects sees it. It works on every platform; on Windows, where the reactor
//! is no descriptor that a foreign loop could wait for, it is the way to embed one.
//!
//! It teaches the two halves of that:
//!
//! - until its next step the loop sleeps in `turn`, with the time that is left as the timeout: so
//!   what comes from the network is served at once, and not a step later;
//! - what else there is to wait for (here the keyboard) has a thread of its own, which posts it
//!   through a `Sender`: that ends the sleep, too.
//!
//! Try it: `cargo run --example embed_turn`, in other terminals `nc 127.0.0.1 7011`, and press
//! Enter there: the ball turns round. What you type here goes to all. Ctrl-D ends it.

use clap::Parser;
use sockeye::{
    Closed, ConnId, ConnMap, Context, Handler, Input, Limits, Listen, Origin, Overflow, Reactor,
    Sender,
};
use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "Shows a moving ball to every client. Try it with: nc 127.0.0.1 7011")]
struct Args {
    /// Where to listen: IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7011")]
    listen: String,
    /// Milliseconds between two steps of the ball
    #[arg(long, value_name = "MS", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..))]
    step: u64,
}

/// The places of the ball.
const WIDTH: usize = 40;

/// Bytes of a typed line that are sent at a time.
const LONGEST_LINE: u64 = 4096;

/// A line that was typed; empty: the end. The next one is read when the second part is dropped.
type Typed = (Vec<u8>, mpsc::Sender<()>);

#[derive(Default)]
struct App {
    clients: ConnMap<()>,
    place: usize,
    goes_back: bool,
}

impl App {
    /// What a game would do for each frame: change the world, and show it.
    fn step(&mut self, cx: &mut Context) {
        self.goes_back = match self.place {
            0..=1 => false,
            WIDTH.. => true,
            _ => self.goes_back,
        };
        self.place = match self.goes_back {
            true => self.place - 1,
            false => self.place + 1,
        };
        let line = format!("{:>1$}\n", "o", self.place);
        // For whoever reads too slowly some are left out: the next one is as good.
        cx.broadcast(self.clients.ids(), line);
    }
}

impl Handler<Typed> for App {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
        self.clients.insert(conn, ());
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, input: &mut Input) {
        input.take_all();
        self.goes_back = !self.goes_back;
    }

    fn on_message(&mut self, cx: &mut Context, (line, _hold): Typed) {
        match line.is_empty() {
            true => cx.finish(Duration::from_secs(2)),
            false => drop(cx.broadcast(self.clients.ids(), line)),
        }
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        self.clients.remove(conn);
    }
}

/// Posts what is typed, until its end.
fn read_keyboard(app: &Sender<Typed>) {
    loop {
        let mut line = Vec::new();
        let mut keyboard = io::stdin().lock().take(LONGEST_LINE);
        // A keyboard that cannot be read has come to its end.
        let is_end = keyboard.read_until(b'\n', &mut line).is_err() || line.is_empty();
        let (hold, released) = mpsc::channel();
        if app.send((line, hold)).is_err() || is_end {
            return;
        }
        let _ = released.recv(); // an error, at last: `hold` was dropped
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut reactor = Reactor::with_messages()?;
    let mut limits = Limits::default();
    limits.overflow = Overflow::DropNewest;
    let listener = reactor.listen(Listen::new(args.listen.as_str()).limits(limits))?;
    if let Some(addr) = reactor.context().listener_addr(listener) {
        // `println` would panic if nobody can read it.
        let _ = writeln!(io::stdout(), "listening on {addr}; type something");
    }
    let sender = reactor.sender();
    thread::spawn(move || read_keyboard(&sender));

    let step = Duration::from_millis(args.step);
    let (mut app, mut next) = (App::default(), Instant::now() + step);
    loop {
        let left = next.saturating_duration_since(Instant::now());
        reactor.turn(&mut app, Some(left))?;
        if reactor.take_report().is_some() {
            return Ok(());
        }
        if Instant::now() >= next {
            app.step(reactor.context());
            next += step;
        }
    }
}
