//! Echo that gives way to a new program while it runs (Unix): no connect is refused meanwhile, and
//! who is connected is served to the end.
//!
//! It teaches how listeners are taken over and handed on: by `LISTEN_FDS`, as systemd passes them
//! (`listenfd` reads it) and as this program passes them to its own successor; `adopt_listener`
//! for them, and `adopt` for one end of a pair of sockets, by which the successor says that it
//! listens. Only then its forerunner finishes. If the successor does not come that far, nothing is
//! lost: the old program goes on.
//!
//! Try it: `cargo run --example upgrade`, then `kill -HUP` with the number that it prints; under a
//! manager: `systemfd -s tcp::7015 -- cargo run --example upgrade`.

#[cfg(unix)]
fn main() -> anyhow::Result<()> {
    upgrade::main()
}

#[cfg(not(unix))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("descriptors are handed over on Unix only")
}

#[cfg(unix)]
mod upgrade {
    use anyhow::Context as _;
    use clap::Parser;
    use listenfd::ListenFd;
    use signal_hook::consts::SIGHUP;
    use signal_hook::iterator::Signals;
    use sockeye::{Adopt, Closed, ConnId, Context, Handler, Input, Reactor, Sent};
    use std::env;
    use std::io::{self, Write};
    use std::net::TcpListener;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::process::{Child, Command};
    use std::thread;
    use std::time::Duration;

    #[derive(Parser)]
    #[command(about = "Sends back what it receives, and hands over to a new program at SIGHUP.")]
    struct Args {
        /// Where to listen, if no listener is handed over: IP:PORT
        #[arg(long, default_value = "127.0.0.1:7015")]
        listen: String,
        /// Seconds for which open connections are served after a new program has taken over
        #[arg(long, value_name = "S", default_value = "60")]
        grace: u64,
        /// Say on standard input, which is a socket, that the listener is taken over
        #[arg(long, hide = true)]
        takes_over: bool,
    }

    /// SIGHUP: a new program is to take over.
    struct Upgrade;

    struct Echo {
        args: Args,
        /// Kept to be handed on: the loop has a descriptor of its own.
        listener: TcpListener,
        /// The new program, and the connection to it, until it listens.
        successor: Option<(ConnId, Child)>,
    }

    impl Echo {
        /// Starts the new program, with the listener and with one end of a connection to this one.
        fn start_successor(&self, cx: &mut Context) -> io::Result<(ConnId, Child)> {
            // By the name that this one was called by: `current_exe` would be the old file, also
            // when a new one has taken its place.
            let program = env::args_os().next().unwrap_or_default();
            let (ours, theirs) = UnixStream::pair()?;
            // A copy that exec(2) does not close.
            let listener = rustix::io::dup(&self.listener)?;
            let child = Command::new(program)
                .args(["--takes-over", "--grace", &self.args.grace.to_string()])
                .env("LISTEN_FDS", "1")
                .env("LISTEN_FDS_FIRST_FD", listener.as_raw_fd().to_string())
                .env_remove("LISTEN_PID")
                .stdin(OwnedFd::from(theirs))
                .spawn()?;
            Ok((cx.adopt(Adopt::new(ours))?, child))
        }

        fn is_successor(&self, conn: ConnId) -> bool {
            let successor = self.successor.as_ref();
            successor.is_some_and(|(successor, _)| *successor == conn)
        }
    }

    impl Handler<Upgrade> for Echo {
        fn on_message(&mut self, cx: &mut Context, _: Upgrade) {
            if self.successor.is_some() {
                return; // one is on its way
            }
            match self.start_successor(cx) {
                Ok(successor) => self.successor = Some(successor),
                Err(error) => warn(&format!("the new program does not start: {error}")),
            }
        }

        fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
            if self.is_successor(conn) {
                // It listens. Nobody is refused, for the socket is the same one.
                input.take_all();
                self.successor = None;
                cx.close(conn);
                cx.finish(Duration::from_secs(self.args.grace));
            } else if cx.send(conn, input.take_all()) == Sent::Wait {
                cx.pause_until_drained(conn);
            }
        }

        /// Who is connected is served until it ends, or the grace does: nothing is cut off.
        fn on_finish(&mut self, _: &mut Context, _: ConnId) {}

        fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
            if self.is_successor(conn)
                && let Some((_, mut child)) = self.successor.take()
            {
                // It has not come as far as to listen, and never will.
                let _ = child.kill();
                match child.wait() {
                    Ok(status) => warn(&format!("the new program has failed: {status}")),
                    Err(error) => warn(&format!("the new program has failed: {error}")),
                }
            }
        }
    }

    fn warn(text: &str) {
        // `eprintln` would panic if nobody can read it.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// The listener that was handed over, or a new one.
    fn listener(args: &Args) -> anyhow::Result<TcpListener> {
        if let Some(listener) = ListenFd::from_env().take_tcp_listener(0)? {
            return Ok(listener);
        }
        TcpListener::bind(&args.listen).with_context(|| args.listen.clone())
    }

    pub(super) fn main() -> anyhow::Result<()> {
        let args = Args::parse();
        let mut reactor = Reactor::with_messages()?;
        let sender = reactor.sender();
        let mut signals = Signals::new([SIGHUP])?;
        thread::spawn(move || {
            let mut all = signals.forever();
            while all.next().is_some() && sender.send(Upgrade).is_ok() {}
        });
        let listener = listener(&args)?;
        let handle = Adopt::new(listener.try_clone()?);
        reactor.context().adopt_listener(handle)?;
        let (addr, process) = (listener.local_addr()?, std::process::id());
        // `println` would panic if nobody can read it.
        let _ = writeln!(io::stdout(), "listening on {addr}; process {process}");
        if args.takes_over {
            rustix::io::write(io::stdin(), b"listening").context("telling the forerunner")?;
        }
        let successor = None;
        reactor.run(&mut Echo {
            args,
            listener,
            successor,
        })?;
        Ok(())
    }
}
