//! One service, in plain and by TLS, in each kind of host, on real sockets: sources, frames,
//! half-closes, a broadcast, a deadline and `finish` are the same to its handler and its client.

use crate::authority::{self, Authority};
use rustix::event::{PollFd, PollFlags, poll};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use sockeye::codec::Lines;
use sockeye::{
    Chunk, Closed, Config, ConnId, Context, Deadline, FrameHandler, Framed, Listen, Origin,
    Reactor, Report, Source,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const LONG: usize = 3_000_000;

/// What a client asks for, a line each; it goes when the last client has.
#[derive(Default)]
struct Service {
    clients: Vec<ConnId>,
    unclean: Vec<Closed>,
}

/// A file of some length.
const LOCK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i ^ (i >> 8)) as u8).collect()
}

impl FrameHandler<Lines> for Service {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
        self.clients.push(conn);
    }

    fn on_frame(&mut self, cx: &mut Context, conn: ConnId, line: Chunk<'_>) {
        match &line[..] {
            b"file" => {
                let file = std::fs::File::open(LOCK).unwrap();
                let len = file.metadata().unwrap().len();
                cx.send_from(conn, Source::file(file, 0..len));
                cx.send(conn, "behind it\n");
            }
            b"each" => {
                let pieces = pattern(LONG)
                    .chunks(1000)
                    .map(<[u8]>::to_vec)
                    .collect::<Vec<_>>();
                cx.send_from(conn, Source::each(pieces));
            }
            b"all" => drop(cx.broadcast(self.clients.clone(), "to all\n")),
            b"late" => drop(cx.set_deadline(conn, 1, Duration::from_millis(20))),
            b"finish" => cx.finish(Duration::from_secs(20)),
            _ => drop(cx.send(conn, (line, "\n"))),
        }
    }

    fn on_deadline(&mut self, cx: &mut Context, conn: ConnId, _: Deadline) {
        cx.send(conn, "it is late\n");
    }

    fn on_eof(&mut self, cx: &mut Context, conn: ConnId) {
        cx.send(conn, pattern(LONG)); // one way is over, and the other is not
        cx.close(conn);
    }

    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        cx.send(conn, "goodbye\n");
        cx.close(conn);
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, closed: Closed) {
        self.clients.retain(|one| *one != conn);
        self.unclean
            .extend(Some(closed).filter(|closed| !closed.is_clean()));
    }
}

#[derive(Clone, Copy, Debug)]
enum Host {
    Run,
    BusyPoll,
    Driver,
}

/// Runs it until it has finished.
fn serve(host: Host, listen: Listen, client: impl FnOnce(SocketAddr) + Send + 'static) -> Report {
    let mut config = Config::default();
    config.receive_buffer = 1000;
    if let Host::BusyPoll = host {
        config.busy_poll = Duration::from_millis(1);
    }
    let mut reactor = Reactor::with_config(config).unwrap();
    let listener = reactor.listen(listen).unwrap();
    let addr = reactor
        .context()
        .listener_addr(listener)
        .unwrap()
        .ip()
        .unwrap();
    let client = thread::spawn(move || client(addr));
    let mut service = Framed::new(Lines::new(100), Service::default());
    let report = match host {
        Host::Run | Host::BusyPoll => reactor.run(&mut service).unwrap(),
        Host::Driver => {
            let mut driver = reactor.into_driver().unwrap();
            loop {
                poll(&mut [PollFd::new(&driver.as_fd(), PollFlags::IN)], None).unwrap();
                if let Some(report) = driver.turn(&mut service).unwrap().report {
                    break report;
                }
            }
        }
    };
    client.join().unwrap();
    let unclean = service.into_handler().unclean;
    assert!(unclean.is_empty(), "{unclean:?}");
    report
}

/// A client, in plain or not.
enum Client {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Client::Plain(stream) => stream.read(buffer),
            Client::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Client {
    fn new(addr: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> BufReader<Client> {
        let stream = TcpStream::connect(addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        BufReader::new(match tls {
            None => Client::Plain(stream),
            Some(tls) => {
                let session = ClientConnection::new(tls.clone(), authority::name()).unwrap();
                Client::Tls(Box::new(StreamOwned::new(session, stream)))
            }
        })
    }

    fn say(&mut self, text: &str) {
        match self {
            Client::Plain(stream) => stream.write_all(text.as_bytes()).unwrap(),
            Client::Tls(stream) => {
                stream.write_all(text.as_bytes()).unwrap();
                stream.flush().unwrap();
            }
        }
    }

    /// It sends no more.
    fn end(&mut self) {
        match self {
            Client::Plain(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Client::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            }
        }
    }
}

fn line(client: &mut BufReader<Client>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line
}

/// All of it, seen from the other side.
fn talk(addr: SocketAddr, tls: Option<&Arc<ClientConfig>>) {
    let (mut one, mut two) = (Client::new(addr, tls), Client::new(addr, tls));
    for client in [&mut one, &mut two] {
        client.get_mut().say("hel");
        client.get_mut().say("lo\nagain\n");
        assert_eq!(
            (line(client), line(client)),
            ("hello\n".into(), "again\n".into())
        );
    }
    one.get_mut().say("file\n");
    let file = std::fs::read(LOCK).unwrap();
    let mut came = vec![0; file.len()];
    one.read_exact(&mut came).unwrap();
    assert!(came == file);
    assert_eq!(line(&mut one), "behind it\n");
    one.get_mut().say("each\n");
    let mut came = vec![0; LONG];
    one.read_exact(&mut came).unwrap();
    assert!(came == pattern(LONG));
    two.get_mut().say("all\nlate\n");
    assert_eq!(line(&mut one), "to all\n");
    assert_eq!(
        (line(&mut two), line(&mut two)),
        ("to all\n".into(), "it is late\n".into())
    );
    // An end is told as one on this side, too: rustls would say if close_notify was missing.
    one.get_mut().end();
    let mut rest = Vec::new();
    one.read_to_end(&mut rest).unwrap();
    assert!(rest == pattern(LONG));
    drop(one);
    two.get_mut().say("finish\n");
    let mut rest = String::new();
    two.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "goodbye\n");
}

// S2
#[test]
fn a_service_is_the_same_in_plain_and_by_tls_in_every_host() {
    let authority = Authority::new();
    let (server, client) = (Arc::new(authority.server()), Arc::new(authority.client()));
    for host in [Host::Run, Host::BusyPoll, Host::Driver] {
        for secure in [false, true] {
            let listen = Listen::new("127.0.0.1:0");
            let (listen, tls) = match secure {
                true => (listen.tls(server.clone()), Some(client.clone())),
                false => (listen, None),
            };
            let report = serve(host, listen, move |addr| talk(addr, tls.as_ref()));
            assert_eq!(report.bytes_lost, 0, "{host:?} {secure}");
        }
    }
}
