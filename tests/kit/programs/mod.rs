//! Runs an example as a process: its addresses, its log, its memory, and its end.

pub mod chat;
pub mod system;

pub use system::Signal;

use socket2::{Domain, Socket, Type};
use sockeye::Addr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Longer than anything here takes; a test that waits so long has failed. Under wine each call goes
/// through one server, which gets its turn among whatever else runs: a crowd may take a minute.
pub const PATIENCE: Duration = Duration::from_secs(if cfg!(windows) { 120 } else { 30 });

/// Where cargo puts an example. `cargo test` builds it first, `cargo test --test NAME` does not: so
/// one that is older than its sources is refused, for it would be tested in vain.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().and_then(|deps| deps.parent()).unwrap();
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path = target.join("examples").join(file);
    // What it was built from, as cargo writes it down for make(1).
    let sources = fs::read_to_string(path.with_extension("d")).unwrap_or_default();
    let newest = sources.split_whitespace().skip(1).filter_map(changed).max();
    assert!(
        newest.is_some() && newest <= changed(&path),
        "{} is not there or is old: run `cargo build --examples` first",
        path.display()
    );
    path
}

fn changed(path: impl AsRef<Path>) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// Runs an example that ends by itself.
pub fn run(name: &str, args: &[&str]) -> Output {
    let output = system::start(|| Command::new(example(name)).args(args).output());
    output.unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A running example. It is killed when a test fails, and its log is then shown.
pub struct Process {
    name: String,
    child: Child,
    stdout: Receiver<String>,
    stderr: Arc<Mutex<String>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Process {
    pub fn start(name: &str, args: &[&str]) -> Process {
        Process::start_with(name, args, Stdio::null())
    }

    /// The same with something to read; for `Stdio::piped()` see `stdin`.
    pub fn start_with(name: &str, args: &[&str], stdin: Stdio) -> Process {
        Process::spawn(name, Command::new(example(name)).args(args), stdin)
    }

    /// The same by a command that may wrap it.
    pub fn spawn(name: &str, command: &mut Command, stdin: Stdio) -> Process {
        let command = system::with_own_console(command)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = system::start(|| command.spawn()).unwrap();
        let (sender, stdout) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let stderr = Arc::new(Mutex::new(String::new()));
        let (log, mut from) = (stderr.clone(), child.stderr.take().unwrap());
        let reader = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]);
                log.lock().unwrap().push_str(&text);
            }
        });
        let name = name.to_owned();
        Process {
            name,
            child,
            stdout,
            stderr,
            reader: Some(reader),
        }
    }

    /// The writing end of what it reads, once.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// The next line that it prints.
    #[track_caller]
    pub fn line(&mut self) -> String {
        self.stdout
            .recv_timeout(PATIENCE)
            .expect("a line on stdout")
    }

    /// The address in its next line: `listening on ADDR...`.
    #[track_caller]
    pub fn addr(&mut self) -> Addr {
        let line = self.line();
        let (_, addr) = line.split_once("listening on ").expect(&line);
        let end = addr.find([';', ' ']).unwrap_or(addr.len());
        addr[..end].parse().expect(&line)
    }

    #[track_caller]
    pub fn ip(&mut self) -> SocketAddr {
        self.addr().ip().unwrap()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until its log satisfies a condition.
    #[track_caller]
    pub fn until_log(&self, what: &str, mut condition: impl FnMut(&str) -> bool) {
        until(what, || condition(&self.stderr.lock().unwrap()));
    }

    pub fn signal(&self, signal: Signal) {
        system::send(&self.child, signal);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap(); // the log is complete
        }
        status.unwrap()
    }

    /// A line of `/proc/PID/status`, in KiB: `VmRSS` is its memory now, `VmHWM` the most it had.
    /// Nothing, where there are no such lines: there no test sees how much it takes.
    pub fn memory(&self, what: &str) -> usize {
        if cfg!(not(target_os = "linux")) {
            return 0;
        }
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        let words = line.split_whitespace().nth(1).unwrap();
        words.parse().unwrap()
    }

    /// A loop with nothing to do sleeps. One that spins is always running or about to, however
    /// little of the processor it gets.
    #[track_caller]
    pub fn sleeps(&self) {
        until("it sleeps for 100 ms", || is_asleep(&self.child));
    }

    /// Its state as `/proc/PID/stat` has it: `S` sleeps, `R` runs or is about to, `T` is stopped.
    pub fn state(&self) -> char {
        state(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("---- log of {}:\n{}----", self.name, self.log());
        }
    }
}

fn state(child: &Child) -> char {
    state_in(&fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap())
}

fn state_in(stat: &str) -> char {
    let (_, state) = stat.rsplit_once(") ").unwrap();
    state.chars().next().unwrap()
}

/// Do all its threads sleep for 100 ms? Only Linux says so; elsewhere it is taken for granted.
pub fn is_asleep(child: &Child) -> bool {
    cfg!(not(target_os = "linux")) || (0..10).all(|_| all_sleep(child) && pause())
}

fn all_sleep(child: &Child) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    // One that has just ended has no state.
    let mut stats = threads.filter_map(|it| fs::read_to_string(it.ok()?.path().join("stat")).ok());
    stats.all(|stat| state_in(&stat) == 'S')
}

/// A moment between two looks at a condition that nothing can wait for.
fn pause() -> bool {
    thread::park_timeout(Duration::from_millis(10));
    true
}

/// Waits until a condition holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        pause();
    }
}

/// Connects a blocking peer that waits for nothing longer than [`PATIENCE`].
pub fn peer(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn read_all(mut stream: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

pub fn read_line(stream: &TcpStream) -> String {
    let mut line = String::new();
    BufReader::with_capacity(1, stream)
        .read_line(&mut line)
        .unwrap();
    line
}

/// An address where nobody listens, as long as the socket lives.
pub fn nobody() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}
