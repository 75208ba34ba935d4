//! For the tests of TLS in the simulated world: an authority, and a client and a server of others.

#![allow(dead_code, unreachable_pub, reason = "each file uses a part of it")]

pub use crate::authority::*;
use rustls::{ClientConfig, ClientConnection, ServerConfig};
use sockeye::sim::{Node, Peer, World};
use sockeye::{
    Closed, Config, ConnId, Connect, Context, Handler, Input, Listen, Origin, Sent, StartTls,
};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::Arc;

/// A client of rustls without a socket: what it says, and what it is told.
pub struct Client {
    pub session: ClientConnection,
}

impl Client {
    pub fn new(config: ClientConfig) -> Client {
        let session = ClientConnection::new(Arc::new(config), name()).unwrap();
        Client { session }
    }

    /// What it has to say now.
    pub fn says(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut said).unwrap();
        }
        said
    }

    /// Hears this, and answers the plaintext in it.
    pub fn hears(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let mut plain = Vec::new();
        while !bytes.is_empty() {
            self.session.read_tls(&mut bytes).unwrap();
            self.session.process_new_packets()?;
            let _ = self.session.reader().read_to_end(&mut plain);
        }
        Ok(plain)
    }

    pub fn send(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.session.writer().write_all(bytes).unwrap();
        self.says()
    }
}

pub const ADDR: &str = "10.0.0.1:443";

/// What the handler was told, a word each.
pub type Seen = Rc<RefCell<Vec<String>>>;

/// Sends everything back, and says what it has heard.
#[derive(Clone, Default)]
pub struct Echo {
    pub seen: Seen,
    pub secure: Option<StartTls>,
}

impl Echo {
    pub fn note(&self, word: impl Into<String>) {
        self.seen.borrow_mut().push(word.into());
    }
}

impl Handler for Echo {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        let version = cx.tls(conn).and_then(|tls| tls.version());
        self.note(format!("open {version:?}"));
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        if input.starts_with(b"STARTTLS\n")
            && let Some(side) = self.secure.take()
        {
            input.take(9);
            self.note("starttls");
            cx.send(conn, "ready\n");
            cx.start_tls(conn, side).unwrap();
            assert!(input.is_empty());
            // Nor does a resume bring back what is the session's.
            cx.pause_reads(conn);
            cx.resume_reads(conn);
            assert!(input.is_empty());
            return;
        }
        self.note(format!("data {}", input.len()));
        if cx.send(conn, input.take_all()) == Sent::Wait {
            cx.pause_until_drained(conn);
        }
    }

    fn on_secure(&mut self, cx: &mut Context, conn: ConnId) {
        self.note("secure");
        cx.send(conn, "welcome\n");
    }

    fn on_eof(&mut self, cx: &mut Context, conn: ConnId, _: &mut Input) {
        self.note("eof");
        cx.close(conn);
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, closed: Closed) {
        self.note(format!("close {closed}"));
    }
}

/// An echo server on TLS, and what it sees.
pub fn server(world: &mut World, authority: &Authority, config: Config) -> Seen {
    server_with(world, Arc::new(authority.server()), config)
}

pub fn server_with(world: &mut World, tls: Arc<ServerConfig>, config: Config) -> Seen {
    let echo = Echo::default();
    let seen = echo.seen.clone();
    world.start_with("server", config, echo, move |reactor| {
        reactor.listen(Listen::new(ADDR).tls(tls)).map(drop)
    });
    seen
}

/// A raw peer that is a client by rustls.
pub struct Guest {
    pub peer: Peer,
    pub client: Client,
}

impl Guest {
    pub fn new(world: &mut World, authority: &Authority) -> Guest {
        let mut guest = Guest {
            peer: world.connect(ADDR),
            client: Client::new(authority.client()),
        };
        let hello = guest.client.says();
        guest.peer.send(hello);
        guest
    }

    /// Says and hears until nothing moves; answers the plaintext.
    pub fn settle(&mut self, world: &mut World) -> Result<Vec<u8>, rustls::Error> {
        let mut plain = Vec::new();
        loop {
            world.settle();
            let heard = self.peer.received_bytes();
            plain.extend(self.client.hears(&heard)?);
            let said = self.client.says();
            if said.is_empty() {
                return Ok(plain);
            }
            self.peer.send(said);
        }
    }
}

/// A client of ours: sends this much, and counts what comes back.
#[derive(Default)]
pub struct Sender {
    pub total: usize,
    pub sent: usize,
    pub received: usize,
    pub closed: Option<String>,
    pub conn: Option<ConnId>,
    pub stays: bool,
}

impl Sender {
    pub fn of(total: usize) -> Sender {
        Sender {
            total,
            ..Sender::default()
        }
    }

    /// One that stays.
    pub fn waiting() -> Sender {
        Sender {
            stays: true,
            ..Sender::default()
        }
    }

    pub fn send(&mut self, cx: &mut Context, conn: ConnId) {
        while self.sent < self.total {
            let len = (self.total - self.sent).min(3000);
            let bytes: Vec<u8> = (self.sent..self.sent + len)
                .map(|n| (n / 3) as u8)
                .collect();
            self.sent += len;
            if cx.send(conn, bytes) == Sent::Wait {
                return;
            }
        }
        if !self.stays {
            cx.shutdown_write(conn);
        }
    }
}

impl Handler for Sender {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        self.conn = Some(conn);
        self.send(cx, conn);
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, input: &mut Input) {
        for byte in &input.take_all()[..] {
            assert_eq!(*byte, (self.received / 3) as u8);
            self.received += 1;
        }
    }

    fn on_drain(&mut self, cx: &mut Context, conn: ConnId) {
        self.send(cx, conn);
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, closed: Closed) {
        self.closed = Some(closed.to_string());
    }
}

/// Connects with TLS from a node of its own; what it sees is its trace.
pub fn connects(
    world: &mut World,
    node: &str,
    config: ClientConfig,
    sender: Sender,
) -> Node<Sender> {
    let config = Arc::new(config);
    world.start(node, sender, move |reactor| {
        let connect = Connect::new(ADDR).tls(config, name());
        reactor.context().connect(connect);
        Ok(())
    })
}
