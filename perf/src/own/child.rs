//! Parts of a benchmark that run in a process of their own: for a clean measure of memory and of
//! a server's CPU time, and because one process may have too few descriptors for both ends.
//!
//! The child is this very program, told by its arguments what to be. A server says where
//! it listens, and then its CPU time whenever it is asked.

use super::measure::process_cpu;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use crate::Result;
use crate::child::{Cores, on_core};

/// What a child may be, by its first word; it gets the others.
type Part = (&'static str, fn(&[String]) -> Result<()>);

const PARTS: [Part; 5] = [
    ("busy", super::busy::child),
    ("timers", super::timers::child),
    ("idle", super::idle::child),
    ("deaf", super::deaf::child),
    ("storm", super::storm::child),
];

/// This process is a child: plays its part.
pub(crate) fn play(words: &[String]) -> Result<()> {
    let name = words.first().ok_or("which part?")?;
    let known = PARTS.iter().find(|(known, _)| known == name);
    let (_, play) = known.ok_or_else(|| format!("there is no part {name}"))?;
    play(&words[1..])
}

/// Runs a child to its end and gives what it printed, one number a line.
pub(crate) fn numbers(role: &str) -> Result<Vec<f64>> {
    let output = Command::new(env::current_exe()?)
        .arg("part")
        .args(role.split(' '))
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{role}: {}", output.status).into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// A child that serves.
pub(crate) struct Server {
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    pub(crate) addrs: Vec<SocketAddr>,
}

impl Server {
    /// Starts it on the core of the servers.
    pub(crate) fn start(role: &str) -> Result<Server> {
        Server::start_under(&[], role)
    }

    /// The same below another program, such as valgrind.
    pub(crate) fn start_under(wrapper: &[String], role: &str) -> Result<Server> {
        let exe = env::current_exe()?.into_os_string();
        let mut words = wrapper.iter().map(Into::into).chain([exe]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg("part").args(role.split(' '));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = on_core(Cores::allowed()?.server, || Ok(command.spawn()?))?;
        let (ask, answers) = (child.stdin.take(), child.stdout.take());
        let answers = BufReader::new(answers.ok_or("no stdout")?);
        let mut server = Server {
            child,
            ask,
            answers,
            addrs: Vec::new(),
        };
        let line = server.line()?;
        server.addrs = line.split_whitespace().flat_map(str::parse).collect();
        Ok(server)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line)? {
            0 => Err("the server is gone".into()),
            _ => Ok(line),
        }
    }

    /// The CPU time it has used.
    pub(crate) fn cpu(&mut self) -> Result<Duration> {
        if let Some(ask) = &mut self.ask {
            ask.write_all(b"cpu\n")?;
        }
        let nanos = self.line()?.trim().parse()?;
        Ok(Duration::from_nanos(nanos))
    }

    /// Ends it, and waits until it has ended.
    pub(crate) fn end(mut self) -> Result<()> {
        self.ask.take();
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ask.take();
        // It ends by itself when nobody asks any more; then this fails, and that is all right.
        let _ = self.child.wait();
    }
}

/// User instructions that a server needs for so much work and no more: counted by callgrind, which
/// runs it twice, with twice the work the second time. `None`: it is not there, or fails here.
pub(crate) fn instructions_of<T>(
    role: &str,
    work: usize,
    mut drive: impl FnMut(&mut Server, usize) -> Result<T>,
) -> Option<f64> {
    let mut count = |work| {
        let log = env::temp_dir().join(format!("sockeye-perf-{}.log", std::process::id()));
        let callgrind = [
            "valgrind".to_owned(),
            "--tool=callgrind".to_owned(),
            "--callgrind-out-file=/dev/null".to_owned(),
            format!("--log-file={}", log.display()),
        ];
        let mut server = Server::start_under(&callgrind, role)?;
        // Its connections stay open until the end: what closing them costs is not to be counted.
        let kept = on_server_core(|| drive(&mut server, work))?;
        server.end()?;
        drop(kept);
        let text = fs::read_to_string(&log)?;
        // It is a temporary file: if it cannot be removed, nothing is wrong with the figure.
        let _ = fs::remove_file(&log);
        let collected = text.split("Collected :").nth(1);
        let number = collected.and_then(|rest| rest.split_whitespace().next());
        Result::Ok(number.ok_or("no count")?.parse::<f64>()?)
    };
    Some(-count(work).ok()? + count(2 * work).ok()?)
}

/// Runs a load on the core of the servers: then nothing depends on how one core wakes another.
pub(crate) fn on_server_core<T>(load: impl FnOnce() -> Result<T>) -> Result<T> {
    on_core(Cores::allowed()?.server, load)
}

/// Runs a load, of one thread or several, on the other core, if there is one.
pub(crate) fn on_other_core<T>(load: impl FnOnce() -> Result<T>) -> Result<T> {
    on_core(Cores::allowed()?.load, load)
}

/// For the server: says where it listens, and answers from a thread of its own, which costs nothing
/// while nobody asks. The process ends when the parent's end of the pipe is closed.
pub(crate) fn answer(addrs: &[SocketAddr]) -> Result<()> {
    let line: Vec<String> = addrs.iter().map(ToString::to_string).collect();
    println!("{}", line.join(" "));
    thread::Builder::new().spawn(|| {
        for line in io::stdin().lines() {
            if line.is_err() {
                break;
            }
            println!("{}", process_cpu().as_nanos());
        }
        std::process::exit(0);
    })?;
    Ok(())
}
