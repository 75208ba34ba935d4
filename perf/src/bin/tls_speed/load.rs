//! Clients: blocking ones of rustls.

use super::certificates::Files;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};

pub struct Client(StreamOwned<ClientConnection, TcpStream>);

fn config(files: &Files) -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    CONFIG.get_or_init(|| files.client()).clone()
}

fn session(files: &Files) -> ClientConnection {
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(config(files), name).expect("a session")
}

impl Client {
    pub fn new(files: &Files, addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).expect("a server");
        stream.set_nodelay(true).expect("an option");
        let mut client = Client(StreamOwned::new(session(files), stream));
        let StreamOwned { conn, sock } = &mut client.0;
        while conn.is_handshaking() {
            conn.complete_io(sock).expect("a handshake");
        }
        client
    }

    pub fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("a write");
    }

    pub fn hear(&mut self, buffer: &mut [u8]) {
        self.0.read_exact(buffer).expect("an answer");
    }

    /// The length of an answer with a body of 1 KiB.
    pub fn answer_len(&mut self, ask: &[u8]) -> usize {
        self.say(ask);
        let mut answer = Vec::new();
        loop {
            let mut some = [0; 4096];
            let count = self.0.read(&mut some).expect("an answer");
            answer.extend_from_slice(&some[..count]);
            let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(head) = head
                && answer.len() >= head + 4 + 1024
            {
                return answer.len();
            }
        }
    }

    /// Ends, and waits for the server's end.
    pub fn finish(mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().expect("an end");
        let _ = self.0.sock.shutdown(std::net::Shutdown::Write);
        let _ = self.0.sock.read(&mut [0; 1024]);
    }
}

impl Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

/// So many connect at once, and each says something.
pub fn storm(files: &Files, addr: SocketAddr, count: usize) {
    let mut all: Vec<(ClientConnection, TcpStream)> = (0..count)
        .map(|_| {
            let mut stream = TcpStream::connect(addr).expect("a server");
            let mut session = session(files);
            session.write_tls(&mut stream).expect("a hello");
            (session, stream)
        })
        .collect();
    for (session, stream) in &mut all {
        while session.is_handshaking() {
            session.complete_io(stream).expect("a handshake");
        }
    }
    for (session, stream) in all {
        Client(StreamOwned::new(session, stream)).finish();
    }
}

/// The server's side of so many handshakes without a socket, the client's beside it.
pub fn bare_handshakes(files: &Files, count: usize) {
    let config = files.server();
    for _ in 0..count {
        let mut client = session(files);
        let (mut server, mut up, mut down) = (None, Vec::new(), Vec::new());
        client.write_tls(&mut up).expect("a hello");
        bare_step(&config, &mut server, &up, &mut down, false);
        let mut heard = &down[..];
        while !heard.is_empty() {
            client.read_tls(&mut heard).expect("bytes");
            client.process_new_packets().expect("records");
        }
        up.clear();
        client.send_close_notify();
        while client.wants_write() {
            client.write_tls(&mut up).expect("bytes");
        }
        bare_step(&config, &mut server, &up, &mut down, true);
    }
}

/// What is counted of it: a session is made, or answers, and is dropped with its end.
#[inline(never)]
fn bare_step(
    config: &Arc<ServerConfig>,
    place: &mut Option<Box<ServerConnection>>,
    mut up: &[u8],
    down: &mut Vec<u8>,
    is_last: bool,
) {
    let server = place
        .get_or_insert_with(|| Box::new(ServerConnection::new(config.clone()).expect("a session")));
    while !up.is_empty() {
        server.read_tls(&mut up).expect("bytes");
        server.process_new_packets().expect("records");
    }
    if is_last {
        server.send_close_notify();
    }
    while server.wants_write() {
        server.write_tls(down).expect("bytes");
    }
    if is_last {
        *place = None;
    }
}
