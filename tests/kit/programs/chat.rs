//! A chat server as a process, and somebody who chats with it.

use super::{Process, Signal, peer};
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};

pub const GOODBYE: &str = "* the server stops: goodbye";

/// A chat server, and where to join it.
pub fn server(args: &[&str]) -> (Process, SocketAddr) {
    let mut server = Process::start(
        "chat_server",
        &[&["--listen", "127.0.0.1:0"], args].concat(),
    );
    let addr = server.ip();
    (server, addr)
}

/// Stops it, and gives what it printed at the end and its log.
#[track_caller]
pub fn stop(mut server: Process, signal: Signal) -> (String, String) {
    server.sleeps();
    server.signal(signal);
    let report = server.line();
    assert!(server.wait().success());
    (report, server.log())
}

/// Somebody who chats, line by line.
pub struct User {
    pub stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl User {
    pub fn new(stream: TcpStream) -> User {
        let lines = BufReader::new(stream.try_clone().unwrap());
        User { stream, lines }
    }

    /// Joins, and takes a name.
    #[track_caller]
    pub fn join(addr: SocketAddr, name: &str) -> User {
        let mut user = User::new(peer(addr));
        let welcome = user.hear();
        assert!(welcome.starts_with("* you are guest"), "{welcome}");
        user.say(format!("/nick {name}\n"));
        user.until(&format!(" is now {name}"));
        user
    }

    #[track_caller]
    pub fn say(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).unwrap();
    }

    /// The next line; empty: the end.
    #[track_caller]
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.truncate(line.trim_end_matches('\n').len());
        line
    }

    /// Hears lines until one ends so.
    #[track_caller]
    pub fn until(&mut self, end: &str) -> String {
        loop {
            let line = self.hear();
            assert!(!line.is_empty(), "the end came, and never: {end}");
            if line.ends_with(end) {
                return line;
            }
        }
    }

    #[track_caller]
    pub fn hears(&mut self, lines: &[&str]) {
        lines.iter().for_each(|line| assert_eq!(self.hear(), *line));
    }
}

/// Somebody who never reads, with a small receive buffer.
pub fn deaf(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&addr.into()).unwrap();
    TcpStream::from(socket)
}

/// Reads and forgets, to the end.
pub fn ignore(mut stream: TcpStream) -> JoinHandle<u64> {
    thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or(0))
}
