//! Places to connect to, and a process of one's own for tests that use up what a process has.

use super::PATIENCE;
use socket2::{Domain, SockAddr, Socket, Type};
use sockeye::{Addr, Context};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A directory that goes away at the end of the test.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("sockeye-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        TempDir(dir)
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Connects a blocking peer on a Unix path.
#[cfg(unix)]
pub fn unix_peer(path: impl AsRef<std::path::Path>) -> std::os::unix::net::UnixStream {
    let stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A server of the other kind: on a Unix path in a directory, or, where there are none, on a port.
pub fn other_server(dir: &TempDir) -> (Socket, Addr) {
    let place = match cfg!(unix) {
        true => Addr::unix(dir.file("s")),
        false => super::other_place(),
    };
    let (domain, at) = match (place.ip(), place.path()) {
        (Some(ip), _) => (Domain::for_address(ip), ip.into()),
        (_, path) => (Domain::UNIX, SockAddr::unix(path.unwrap()).unwrap()),
    };
    let socket = Socket::new(domain, Type::STREAM, None).unwrap();
    socket.bind(&at).unwrap();
    socket.listen(128).unwrap();
    let ip = socket.local_addr().unwrap().as_socket();
    (socket, ip.map_or(place, Addr::Ip))
}

/// Watches a pipe that is ready, or one on which nothing ever comes. It is there for as long as
/// what is given. Nothing is watched where there is no `watch`.
#[cfg(unix)]
pub fn watch_pipe(cx: &mut Context, ready: bool) -> impl Sized + use<> {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    if ready {
        rustix::io::write(&writer, b"ready").unwrap();
    }
    cx.watch(&reader, sockeye::Interest::Readable, 0).unwrap();
    (reader, writer)
}

#[cfg(not(unix))]
pub fn watch_pipe(_: &mut Context, _: bool) -> impl Sized + use<> {}

fn socket_at(addr: &str) -> (Socket, SocketAddr) {
    let addr: SocketAddr = addr.parse().unwrap();
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    socket.bind(&addr.into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

/// A port that refuses: bound, so that no other test gets it, but nobody listens.
pub fn refusing() -> (Socket, SocketAddr) {
    refusing_at("127.0.0.1:0")
}

/// The same on an address of your choice.
pub fn refusing_at(addr: &str) -> (Socket, SocketAddr) {
    socket_at(addr)
}

/// A listener with a backlog of this size.
pub fn listening(backlog: u32) -> TcpListener {
    let (socket, _) = socket_at("127.0.0.1:0");
    socket.listen(backlog as i32).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

/// A port that stays silent: its backlog is full, so that the kernel drops every further SYN.
pub fn black_hole() -> (Socket, TcpStream, SocketAddr) {
    let (socket, addr) = socket_at("127.0.0.1:0");
    socket.listen(0).unwrap();
    let only_one = TcpStream::connect(addr).unwrap();
    (socket, only_one, addr)
}

/// Waits until the other side's kernel has all that was written, so that a reset cannot overtake
/// it. It may be on its way through another processor's queue.
pub fn until_acked(stream: &TcpStream) {
    let start = Instant::now();
    while !is_acked(stream).expect("it is no IPv4 socket") {
        assert!(start.elapsed() < PATIENCE, "never acknowledged");
        std::thread::yield_now();
    }
}

/// Does the other side's kernel have all that was written? `None`: it is no IPv4 socket, or gone.
/// Where the system does not say, some time must do.
pub fn is_acked(stream: &TcpStream) -> Option<bool> {
    let here = stream.local_addr().ok()?.port();
    let there = stream.peer_addr().ok()?.port();
    let ends = [format!(":{here:04X}"), format!(":{there:04X}")];
    let Ok(table) = std::fs::read_to_string("/proc/net/tcp") else {
        super::let_pass(Duration::from_millis(20));
        return Some(true);
    };
    let mut lines = table.lines().map(|line| line.split_whitespace());
    let queues = lines.find_map(|mut words| {
        let (local, remote) = (words.nth(1)?, words.next()?);
        let mine = local.ends_with(&ends[0]) && remote.ends_with(&ends[1]);
        mine.then(|| words.nth(1).map(str::to_owned))?
    });
    queues.map(|queues| queues.starts_with("00000000:"))
}

const OWN_PROCESS: &str = "SOCKEYE_TEST_IN_OWN_PROCESS";

/// The rest of the test runs in a process of its own, for it counts or changes what belongs to the
/// whole process. The first call starts the same test there, and ends it here.
#[allow(unused_macros, reason = "not every shelf has such tests")]
macro_rules! go_on_alone {
    () => {
        fn here() {}
        if !crate::kit::places::goes_on_alone(std::any::type_name_of_val(&here)) {
            return;
        }
    };
}

#[allow(unused_imports, reason = "not every shelf has such tests")]
pub(crate) use go_on_alone;

/// Are we there? If not, the test passes there. Takes the path of a function in it.
#[track_caller]
pub fn goes_on_alone(inside: &str) -> bool {
    let there = is_own_process();
    if !there {
        let (_crate, path) = inside.split_once("::").unwrap();
        let (test, _here) = path.rsplit_once("::").unwrap();
        passes(own_process(test));
    }
    there
}

/// Runs an ignored test of this file in a process of its own, for it changes what belongs to the
/// whole process. The test asks `is_own_process` first, in case somebody runs all ignored ones.
#[track_caller]
pub fn in_own_process(test: &str) {
    passes(own_process(test));
}

/// The same by a command that takes what it is to run, with its arguments, at the end of its own.
#[track_caller]
pub fn in_own_process_by(mut command: Command, test: &str) {
    let plain = own_process(test);
    command.arg(plain.get_program()).args(plain.get_args());
    command.env(OWN_PROCESS, "1").stdin(Stdio::null());
    passes(command);
}

#[track_caller]
fn passes(mut command: Command) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{command:?}: {text}{errors}"
    );
}

/// Can this command, which is not everywhere, run another? If not, says so past the test harness,
/// which would keep it for a failure.
pub fn can_run(mut command: Command) -> bool {
    let output = command.arg("true").stdin(Stdio::null()).output();
    let can = output.is_ok_and(|output| output.status.success());
    if !can {
        let note = format!("note: not tested, for this cannot be done here: {command:?}\n");
        let _ = std::io::stderr().write_all(note.as_bytes());
    }
    can
}

/// The same, to be started and talked to.
pub fn own_process(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--include-ignored", "--nocapture"])
        .env(OWN_PROCESS, "1");
    command
}

pub fn is_own_process() -> bool {
    std::env::var_os(OWN_PROCESS).is_some()
}

/// Ends this process if its test does not: a loop that hangs cannot look at a clock.
pub fn end_in_time() {
    std::thread::spawn(|| {
        super::let_pass(PATIENCE);
        eprintln!("the test hangs");
        std::process::exit(1);
    });
}

/// A file with these bytes, that nobody else can open.
pub fn file(bytes: &[u8]) -> std::fs::File {
    let path = super::unix_path();
    let mut options = std::fs::OpenOptions::new();
    options.create_new(true).read(true).write(true);
    let mut file = options.open(&path).unwrap();
    file.write_all(bytes).unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}
