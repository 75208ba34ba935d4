//! Things that are no sockets, in one loop: the keyboard, a child's input, output and end, signals,
//! and the changes of a directory (Linux). What happens is printed, and told to all who connect.
//!
//! It teaches `watch` and its keys, by which one `on_ready` tells its things apart, and `rearm`:
//! the keyboard is read once for each `on_ready` and asked for again, for it must not be made
//! non-blocking (the shell shares it), and not while the child is behind; the child's input is
//! waited for only while there is something to write.
//!
//! Try it: `cargo run --example things -- sort -r`, in another terminal `nc 127.0.0.1 7014`, and
//! type lines here; Ctrl-D ends the child's input. Make a file in this directory; press Ctrl-C.

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    things::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("inotify and pidfds are Linux's")
}

#[cfg(target_os = "linux")]
mod things {
    use anyhow::Context as _;
    use clap::Parser;
    use rustix::fs::inotify;
    use rustix::io::{Errno, ioctl_fionbio};
    use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::low_level::pipe;
    use sockeye::{
        Closed, ConnId, ConnMap, Context, Handler, Input, Interest, Origin, Reactor, Readiness,
        WatchId,
    };
    use std::io::{self, Read, Write};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;
    use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
    use std::time::Duration;

    #[derive(Parser)]
    #[command(about = "Runs a command, and reports what is typed, printed, signalled and changed.")]
    struct Args {
        /// Where to listen: IP:PORT or unix:PATH
        #[arg(long, default_value = "127.0.0.1:7014")]
        listen: String,
        /// The directory to watch for changes
        #[arg(long, default_value = ".")]
        dir: PathBuf,
        /// The command, which reads what you type
        #[arg(trailing_var_arg = true, default_value = "cat")]
        command: Vec<String>,
    }

    // The keys of `watch`.
    const KEYBOARD: u64 = 0;
    const CHILD_INPUT: u64 = 1;
    const CHILD_OUTPUT: u64 = 2;
    const CHILD_END: u64 = 3;
    const SIGNALS: u64 = 4;
    const CHANGES: u64 = 5;

    /// Bytes that the child may be behind before nothing more is typed.
    const BEHIND: usize = 64 * 1024;
    const GRACE: Duration = Duration::from_secs(2);

    struct Things {
        members: ConnMap<()>,
        keyboard: Option<WatchId>,
        child: Child,
        /// The child's input until it is closed, what it has not taken, and whether more may come.
        input: Option<(ChildStdin, WatchId)>,
        typed: Vec<u8>,
        typing: bool,
        output: ChildStdout,
        /// The beginning of a line that the child has not ended yet.
        begun: Vec<u8>,
        signals: UnixStream,
        changes: OwnedFd,
    }

    pub(crate) fn main() -> anyhow::Result<()> {
        let args = Args::parse();
        let mut reactor = Reactor::new()?;
        let listener = reactor.listen(&*args.listen)?;
        let addr = reactor.context().listener_addr(listener);
        let addr = addr.context("it listens")?.clone();
        let mut things = Things::start(reactor.context(), &args)?;
        // `println` would panic if nobody can read it.
        let _ = writeln!(io::stdout(), "listening on {addr}; type something");
        reactor.run(&mut things)?;
        Ok(())
    }

    impl Things {
        fn start(cx: &mut Context, args: &Args) -> anyhow::Result<Things> {
            let [program, rest @ ..] = &args.command[..] else {
                anyhow::bail!("no command");
            };
            let mut command = Command::new(program);
            command
                .args(rest)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            let mut child = command
                .spawn()
                .with_context(|| format!("cannot run {program}"))?;
            let (input, output) = (child.stdin.take(), child.stdout.take());
            let (input, output) = input.zip(output).context("they are pipes")?;
            // Our ends of the pipes are nobody else's, so they may be non-blocking.
            ioctl_fionbio(&input, true)?;
            ioctl_fionbio(&output, true)?;
            cx.watch(&output, Interest::Readable, CHILD_OUTPUT)?;
            let writes = cx.watch(&input, Interest::Writable, CHILD_INPUT)?;
            // Readable when the process has ended: no signal, and no race with another child.
            let end = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
            // `watch` has a duplicate: this one may go.
            cx.watch(&end, Interest::Readable, CHILD_END)?;
            let (signals, raised) = UnixStream::pair()?;
            signals.set_nonblocking(true)?;
            pipe::register(SIGINT, raised.try_clone()?)?;
            pipe::register(SIGTERM, raised)?;
            cx.watch(&signals, Interest::Readable, SIGNALS)?;
            let changes = inotify::init(inotify::CreateFlags::NONBLOCK)?;
            let what = inotify::WatchFlags::CREATE | inotify::WatchFlags::DELETE;
            inotify::add_watch(&changes, &args.dir, what).context("cannot watch the directory")?;
            cx.watch(&changes, Interest::Readable, CHANGES)?;
            let mut typed = Vec::new();
            let keyboard = match cx.watch(io::stdin(), Interest::Readable, KEYBOARD) {
                // A plain file is always ready, so it needs no loop.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    io::stdin().read_to_end(&mut typed)?;
                    None
                }
                keyboard => Some(keyboard?),
            };
            let (members, typing) = (ConnMap::new(), keyboard.is_some());
            let input = Some((input, writes));
            Ok(Things {
                members,
                keyboard,
                child,
                input,
                typed,
                typing,
                output,
                begun: Vec::new(),
                signals,
                changes,
            })
        }

        fn tell(&self, cx: &mut Context, what: &str, bytes: &[u8]) {
            let text = String::from_utf8_lossy(bytes);
            for line in text.lines() {
                let line = format!("{what}: {line}\n");
                let _ = io::stdout().write_all(line.as_bytes());
                cx.broadcast(self.members.ids(), line);
            }
        }

        /// One read, for it is not made non-blocking: readable is good for one.
        fn type_on(&mut self, cx: &mut Context) -> io::Result<()> {
            let mut bytes = [0; 4096];
            // Not through the buffer of `Stdin`: nobody is told of what waits in there.
            let count = rustix::io::read(io::stdin(), &mut bytes)?;
            self.typed.extend_from_slice(&bytes[..count]);
            self.typing = count > 0;
            if let (Some((_, watch)), true) = (&self.input, count > 0) {
                cx.rearm(*watch, Interest::Writable);
            }
            self.feed(cx)
        }

        /// Writes until it would block. Only then does the loop wait for it.
        fn feed(&mut self, cx: &mut Context) -> io::Result<()> {
            let Some((input, watch)) = &mut self.input else {
                return Ok(());
            };
            while !self.typed.is_empty() {
                match input.write(&self.typed) {
                    Ok(count) => drop(self.typed.drain(..count)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {
                        // The child reads no more.
                        self.typed.clear();
                        self.typing = false;
                    }
                }
            }
            if self.typed.is_empty() && !self.typing {
                // The duplicate would keep the pipe open: the child would never see the end.
                cx.unwatch(*watch);
                self.input = None;
            }
            let has_room = self.typing && self.typed.len() < BEHIND;
            if let (Some(keyboard), true) = (self.keyboard, has_room) {
                cx.rearm(keyboard, Interest::Readable);
            }
            Ok(())
        }

        /// Reads until it would block, so that the next change is told.
        fn read_output(&mut self, cx: &mut Context) -> io::Result<()> {
            let mut bytes = [0; 4096];
            loop {
                match self.output.read(&mut bytes) {
                    Ok(0) => return Ok(()),
                    Ok(count) => {
                        self.begun.extend_from_slice(&bytes[..count]);
                        let end = self.begun.iter().rposition(|byte| *byte == b'\n');
                        let lines: Vec<_> =
                            self.begun.drain(..end.map_or(0, |end| end + 1)).collect();
                        self.tell(cx, "output", &lines);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        }

        fn end(&mut self, cx: &mut Context) -> io::Result<()> {
            let Some(status) = self.child.try_wait()? else {
                return Ok(());
            };
            // What it has printed comes before its end, whichever was told first.
            self.read_output(cx)?;
            let begun = std::mem::take(&mut self.begun);
            self.tell(cx, "output", &begun);
            self.tell(cx, "end", status.to_string().as_bytes());
            cx.finish(GRACE);
            Ok(())
        }

        fn signalled(&mut self, cx: &mut Context) -> io::Result<()> {
            let mut bytes = [0; 64];
            while self.signals.read(&mut bytes).is_ok_and(|count| count > 0) {}
            self.tell(cx, "signal", b"the child is asked to end");
            kill_process(Pid::from_child(&self.child), Signal::TERM)?;
            Ok(())
        }

        fn changed(&mut self, cx: &mut Context) -> io::Result<()> {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(self.changes.as_fd(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => {
                        let name = event.file_name().map(|name| name.to_bytes());
                        self.tell(cx, "changed", name.unwrap_or_default());
                    }
                    Err(Errno::AGAIN) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    impl Handler for Things {
        fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
            self.members.insert(conn, ());
        }

        fn on_data(&mut self, _: &mut Context, _: ConnId, input: &mut Input) {
            input.take_all(); // only this side speaks
        }

        fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
            self.members.remove(conn);
        }

        fn on_ready(&mut self, cx: &mut Context, _: WatchId, key: u64, _: Readiness) {
            let done = match key {
                // A change is told without being asked for.
                KEYBOARD if self.typed.len() >= BEHIND => Ok(()),
                KEYBOARD => self.type_on(cx),
                CHILD_INPUT => self.feed(cx),
                CHILD_OUTPUT => self.read_output(cx),
                CHILD_END => self.end(cx),
                SIGNALS => self.signalled(cx),
                _ => self.changed(cx),
            };
            if let Err(error) = done {
                self.tell(cx, "error", error.to_string().as_bytes());
            }
        }
    }
}
