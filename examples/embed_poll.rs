//! The reactor inside a foreign loop: a bare poll(2) that waits for standard input and for the
//! reactor at the same time. What you type goes to every client.
//!
//! It teaches the three rules of embedding, which hold on every Unix. (On Linux a `Driver` makes
//! one of them: see `examples/hosts`.)
//!
//! - wait for the reactor's descriptor to become readable, along with your own;
//! - wait no longer than until `next_wakeup`, which is where timers and left-over work show;
//! - then `turn` with a timeout of zero. The handler is only lent: between turns it is yours.
//!
//! Try it: `cargo run --example embed_poll`, in other terminals `nc 127.0.0.1 7006`, and type here.
//! Ctrl-D closes all connections and ends it.

use clap::Parser;
use sockeye::{Closed, ConnId, ConnMap, Context, Handler, Input, Origin, Reactor};
use std::io::{self, Write, stdin};
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "Sends what you type to every client. Try it with: nc 127.0.0.1 7006")]
struct Args {
    /// Where to listen: IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7006")]
    listen: String,
}

#[derive(Default)]
struct App {
    clients: ConnMap<()>,
}

impl Handler for App {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
        self.clients.insert(conn, ());
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, input: &mut Input) {
        input.take_all(); // only this side speaks
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        self.clients.remove(conn);
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut reactor = Reactor::new()?;
    let listener = reactor.listen(args.listen)?;
    if let Some(addr) = reactor.context().listener_addr(listener) {
        // `println` would panic if nobody can read it.
        let _ = writeln!(io::stdout(), "listening on {addr}; type something");
    }
    let (mut app, mut typing) = (App::default(), true);
    loop {
        // Who types waits for whoever reads slowest, instead of filling the queues.
        let cx = reactor.context();
        let is_slow = app.clients.ids().any(|client| cx.is_waiting(client));
        let [ours, typed] = wait(&reactor, typing && !is_slow)?;
        if typed {
            let mut bytes = [0; 4096];
            // Not through the buffer of `Stdin`: poll(2) does not know what waits in there.
            let count = rustix::io::read(stdin(), &mut bytes)?;
            let cx = reactor.context();
            cx.broadcast(app.clients.ids(), &bytes[..count]);
            if count == 0 {
                typing = false;
                cx.finish(Duration::from_secs(2));
            }
        }
        let due = reactor.next_wakeup().is_some_and(|at| at <= Instant::now());
        if ours || due {
            reactor.turn(&mut app, Some(Duration::ZERO))?;
        }
        if reactor.take_report().is_some() {
            return Ok(());
        }
    }
}

/// Waits for either; answers whether the reactor and whether standard input can be read.
#[cfg(not(mio_unsupported_force_poll_poll))]
fn wait(reactor: &Reactor, typing: bool) -> io::Result<[bool; 2]> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let wakeup = reactor.next_wakeup();
    let timeout = wakeup
        .map(|at| at.saturating_duration_since(Instant::now()))
        .and_then(|timeout| Timespec::try_from(timeout).ok());
    let stdin = stdin();
    let mut fds = [
        PollFd::new(reactor, PollFlags::IN),
        PollFd::new(&stdin, PollFlags::IN),
    ];
    let watched = if typing { &mut fds[..] } else { &mut fds[..1] };
    match poll(watched, timeout.as_ref()) {
        Err(rustix::io::Errno::INTR) => return Ok([false; 2]), // a signal: look again
        result => result?,
    };
    Ok(fds.map(|fd| !fd.revents().is_empty()))
}

/// mio on top of poll(2), for tests: the reactor has no descriptor to wait for.
#[cfg(mio_unsupported_force_poll_poll)]
fn wait(_: &Reactor, _: bool) -> io::Result<[bool; 2]> {
    Err(io::ErrorKind::Unsupported.into())
}
