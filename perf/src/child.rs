//! Servers and load generators as children, each on its core.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;
use crate::load::{Options, Sample};
use crate::peers::{Kind, Mode, Peer, in_c::output};

/// Where the two sides run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) load: usize,
}

impl Cores {
    /// Both on one core: nothing depends on how one core wakes another.
    pub(crate) fn same(self) -> Self {
        Self {
            server: self.server,
            load: self.server,
        }
    }

    pub(crate) fn are_two(self) -> bool {
        self.server != self.load
    }

    /// The first cores that this process may use.
    pub(crate) fn allowed() -> Result<Self> {
        let set = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core));
        let server = cores.next().ok_or("no core at all")?;
        Ok(Self {
            server,
            load: cores.next().unwrap_or(server),
        })
    }
}

/// A server that can be started.
pub(crate) struct Ready {
    pub(crate) peer: &'static Peer,
    /// The program, and its arguments before the mode.
    program: PathBuf,
    arguments: Vec<String>,
}

impl Ready {
    /// Builds what has to be built; or says why this server cannot be had.
    pub(crate) fn prepare(peer: &'static Peer) -> Result<Self> {
        let (program, arguments) = match &peer.kind {
            Kind::C(program) => (program.build()?, Vec::new()),
            Kind::Rust(_) => {
                let words = ["serve", peer.name, "--mode"];
                (env::current_exe()?, words.map(str::to_owned).to_vec())
            }
        };
        Ok(Self {
            peer,
            program,
            arguments,
        })
    }

    /// Starts it on a core, or wherever it likes, as the argument of the programs in `wrap`.
    pub(crate) fn start(
        &self,
        mode: Mode,
        core: impl Into<Option<usize>>,
        wrap: &[&str],
    ) -> Result<Server> {
        let program = self.program.display().to_string();
        let mut words: Vec<&str> = wrap.to_vec();
        words.push(&program);
        words.extend(self.arguments.iter().map(String::as_str));
        words.push(mode.name());
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = on_core(core, || Ok(command.spawn()?))?;
        let mut server = Server {
            child,
            addr: SocketAddr::from(([0; 4], 0)),
        };
        let mut line = String::new();
        if let Some(out) = server.child.stdout.as_mut() {
            BufReader::new(out).read_line(&mut line)?;
        }
        match line.trim().parse() {
            Ok(addr) => server.addr = addr,
            Err(_) => return Err(format!("did not start: {}", server.end()?).into()),
        }
        Ok(server)
    }
}

/// A server that runs, until this is dropped.
pub(crate) struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    /// Loads it, and answers what the load generator has seen.
    pub(crate) fn load(
        &self,
        load: &Options,
        extra: &[String],
        core: impl Into<Option<usize>>,
    ) -> Result<Sample> {
        let mut command = Command::new(env::current_exe()?);
        if let Some(words) = batch() {
            command = Command::new(words[0]);
            command.args(&words[1..]).arg(env::current_exe()?);
        }
        command.arg("load").args(load.arguments()).args(extra);
        command.args(["--addr", &self.addr.to_string()]);
        command.args(["--pid", &self.child.id().to_string()]);
        let done = on_core(core, || Ok(command.output()?))?;
        let text = String::from_utf8_lossy(&done.stdout);
        match Sample::parse(text.trim()) {
            Some(sample) if done.status.success() => Ok(sample),
            _ => Err(String::from_utf8_lossy(&done.stderr).trim().into()),
        }
    }

    /// Ends it as a user would, and answers what it wrote to stderr.
    pub(crate) fn end(mut self) -> Result<String> {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // It may be gone already.
            let _ = kill_process(pid, Signal::TERM);
        }
        let start = Instant::now();
        while self.child.try_wait()?.is_none() && start.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(5));
        }
        self.child.kill()?;
        let mut text = String::new();
        if let Some(mut err) = self.child.stderr.take() {
            err.read_to_string(&mut text)?;
        }
        Ok(text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `start` while this thread is bound to a core: a child inherits that, from its first
/// thread on. Without a core it is bound to none.
pub(crate) fn on_core<T>(
    core: impl Into<Option<usize>>,
    start: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let Some(core) = core.into() else {
        return start();
    };
    let before = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    one.set(core);
    sched_setaffinity(None, &one)?;
    let result = start();
    sched_setaffinity(None, &before)?;
    result
}

/// The words that start a program as a batch job. On one core neither side then preempts the
/// other as it is woken, so that each works until it has nothing left to do.
pub(crate) fn batch() -> Option<&'static [&'static str]> {
    const WORDS: &[&str] = &["chrt", "--batch", "0"];
    static FOUND: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let found = FOUND.get_or_init(|| output("chrt", &["--batch", "0", "true"]).is_some());
    found.then_some(WORDS)
}
