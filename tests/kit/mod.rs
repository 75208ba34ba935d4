//! What the tests on real sockets share: a reactor with a recording handler that checks the
//! lifecycle of every id, and blocking peers from `std::net`.

#![allow(dead_code, reason = "each shelf uses a part of it")]
#![allow(unreachable_pub, reason = "it is a part of each shelf")]
#![allow(clippy::type_complexity, reason = "a boxed closure, once")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(feature = "sim")]
pub mod edge;
#[cfg(feature = "sim")]
mod ends;
#[cfg(feature = "sim")]
pub mod every;
#[cfg(feature = "sim")]
pub mod frames;
#[cfg(feature = "sim")]
pub mod layer;
pub mod places;
pub mod programs;
#[cfg(feature = "sim")]
mod real_peer;
pub mod workers;

use socket2::{Domain, SockRef, Socket, Type};
use sockeye::{
    Accept, Addr, Closed, Config, ConnId, ConnMap, Context, Event, EventKind, Handler, Listen,
    Reactor, Reason, Sender, ToConnect, ToListen,
};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than anything here takes; a test that waits so long has failed. Under wine each call goes
/// through one server, which gets its turn among whatever else runs: a crowd may take a minute.
pub const PATIENCE: Duration = Duration::from_secs(if cfg!(windows) { 120 } else { 30 });

/// What the recorder has seen of one connection.
#[derive(Default, Debug)]
pub struct Life {
    /// The callbacks, a word each: `open data data eof close`.
    pub callbacks: Vec<&'static str>,
    /// Bytes that `on_data` offered for the first time, if the handler consumes them all.
    pub received: Vec<u8>,
    pub closed: Option<Closed>,
}

impl Life {
    pub fn count(&self, callback: &str) -> usize {
        self.callbacks
            .iter()
            .filter(|name| **name == callback)
            .count()
    }

    pub fn reason(&self) -> &Reason {
        &self.closed.as_ref().expect("it is still open").reason
    }
}

/// Everything that the recorder has seen.
#[derive(Default, Debug)]
pub struct Log {
    pub lives: ConnMap<Life>,
    /// The ids in the order in which they were first seen, and those of `connect`.
    pub ids: Vec<ConnId>,
    /// Lives of ids whose slot has a new owner.
    pub past: HashMap<ConnId, Life>,
    /// The latest id of each slot.
    owners: HashMap<String, ConnId>,
    pub timers: Vec<u64>,
    pub messages: Vec<u64>,
    pub accepts: usize,
    pub accept_errors: usize,
    pub ready: usize,
    /// A callback runs now: no other may begin.
    busy: bool,
}

impl Log {
    pub fn life(&self, conn: ConnId) -> &Life {
        self.lives
            .get(conn)
            .or_else(|| self.past.get(&conn))
            .expect("this id was never seen")
    }

    pub fn is_closed(&self, conn: ConnId) -> bool {
        self.lives
            .get(conn)
            .is_some_and(|life| life.closed.is_some())
            || self.past.contains_key(&conn)
    }

    /// How often a callback came, over all connections.
    pub fn count(&self, callback: &str) -> usize {
        self.lives
            .iter()
            .map(|(_, life)| life)
            .chain(self.past.values())
            .map(|life| life.count(callback))
            .sum()
    }

    pub fn closed(&self) -> usize {
        self.count("close")
    }

    fn note(&mut self, conn: ConnId, callback: &'static str) -> &mut Life {
        if !self.lives.contains(conn) {
            if let Some(old) = self.owners.insert(slot_of(conn), conn) {
                let life = self.lives.remove(old).unwrap();
                assert!(
                    life.closed.is_some(),
                    "{old}: its slot has a new owner before on_close"
                );
                self.past.insert(old, life);
            }
            self.ids.push(conn);
        }
        let life = self.lives.get_or_insert_with(conn, Life::default);
        assert!(life.closed.is_none(), "{conn}: {callback} after close");
        let after_eof = life.count("eof") > 0;
        match callback {
            "open" => assert!(
                life.callbacks
                    .iter()
                    .all(|n| matches!(*n, "deadline" | "finish"))
            ),
            "data" | "eof" => assert!(!after_eof && life.count("open") == 1, "{conn}: {life:?}"),
            _ => {}
        }
        life.callbacks.push(callback);
        life
    }
}

/// The slot in an id, as it prints: `c7` of `c7.1`.
pub fn slot_of(id: ConnId) -> String {
    let text = id.to_string();
    text.split('.').next().unwrap_or_default().to_owned()
}

/// What a handler does by default with an event.
pub fn default(cx: &mut Context, event: EventKind<'_>) {
    struct Nothing;
    impl Handler for Nothing {
        fn on_data(&mut self, _: &mut Context, _: ConnId, input: &mut sockeye::Input) {
            input.take_all();
        }
    }
    match event {
        EventKind::Data { conn, input } => Nothing.on_data(cx, conn, input),
        EventKind::Eof { conn, input } => Nothing.on_eof(cx, conn, input),
        EventKind::Deadline { conn, which } => Nothing.on_deadline(cx, conn, which),
        EventKind::Finish { conn } => Nothing.on_finish(cx, conn),
        EventKind::Accept { verdict, .. } => *verdict = Accept::Keep,
        _ => {}
    }
}

/// An event in a word.
pub fn name(event: &EventKind<'_>) -> &'static str {
    match event {
        EventKind::Accept { .. } => "accept",
        EventKind::Open { .. } => "open",
        EventKind::Data { .. } => "data",
        EventKind::Drain { .. } => "drain",
        EventKind::Eof { .. } => "eof",
        EventKind::Deadline { .. } => "deadline",
        EventKind::Finish { .. } => "finish",
        EventKind::Close { .. } => "close",
        EventKind::Timer { .. } => "timer",
        EventKind::AcceptError { .. } => "accept error",
        EventKind::Ready { .. } => "ready",
        other => panic!("unknown event {other:?}"),
    }
}

/// Sends back what comes, with backpressure.
pub fn echo(cx: &mut Context, event: EventKind<'_>) {
    match event {
        EventKind::Data { conn, input } => {
            if cx.send(conn, input.take_all()) == sockeye::Sent::Wait {
                cx.pause_reads(conn);
            }
        }
        EventKind::Drain { conn } => drop(cx.resume_reads(conn)),
        other => default(cx, other),
    }
}

/// Records, checks the lifecycle, and does what the test's closure says.
pub struct App<F> {
    pub log: Log,
    react: F,
    pub on_message: Option<Box<dyn FnMut(&mut Context, u64)>>,
}

impl<F: FnMut(&mut Context, EventKind<'_>)> Handler<u64> for App<F> {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut sockeye::Input) {
        unreachable!("on_event handles everything");
    }

    fn on_message(&mut self, cx: &mut Context, message: u64) {
        self.log.messages.push(message);
        if let Some(on_message) = &mut self.on_message {
            on_message(cx, message);
        }
    }

    fn on_event(&mut self, cx: &mut Context, event: Event<'_>) {
        assert!(
            !std::mem::replace(&mut self.log.busy, true),
            "a callback inside a callback"
        );
        let log = &mut self.log;
        match event.kind {
            EventKind::Accept { .. } => log.accepts += 1,
            EventKind::AcceptError { .. } => log.accept_errors += 1,
            EventKind::Timer { key, .. } => log.timers.push(key),
            EventKind::Ready { .. } => log.ready += 1,
            EventKind::Open { conn, .. } => drop(log.note(conn, "open").count("")),
            EventKind::Drain { conn } => drop(log.note(conn, "drain").count("")),
            EventKind::Deadline { conn, .. } => drop(log.note(conn, "deadline").count("")),
            EventKind::Finish { conn } => drop(log.note(conn, "finish").count("")),
            EventKind::Data { conn, ref input } => {
                let life = log.note(conn, "data");
                life.received.extend_from_slice(input);
            }
            EventKind::Eof { conn, .. } => drop(log.note(conn, "eof").count("")),
            EventKind::Close { conn, closed } => {
                log.note(conn, "close").closed = Some(closed);
                // The closure gets a copy without the error itself.
                let closed = Closed {
                    reason: Reason::Local,
                    undelivered: 0,
                };
                (self.react)(cx, EventKind::Close { conn, closed });
                self.log.busy = false;
                return;
            }
            ref other => panic!("unknown event {other:?}"),
        }
        (self.react)(cx, event.kind);
        self.log.busy = false;
    }
}

impl<F> App<F> {
    pub fn new(react: F) -> App<F> {
        App {
            log: Log::default(),
            react,
            on_message: None,
        }
    }
}

/// A reactor on real sockets with a recording handler.
pub struct Kit<F> {
    pub reactor: Reactor<u64>,
    pub app: App<F>,
    /// Every id that `connect` gave, to be checked at the end.
    connected: Vec<ConnId>,
}

impl<F: FnMut(&mut Context, EventKind<'_>)> Kit<F> {
    pub fn new(react: F) -> Kit<F> {
        Kit::with_config(Config::default(), react)
    }

    pub fn with_config(config: Config, react: F) -> Kit<F> {
        let reactor = Reactor::with_messages_and_config(config).unwrap();
        Kit {
            reactor,
            app: App::new(react),
            connected: Vec::new(),
        }
    }

    pub fn cx(&mut self) -> &mut Context {
        self.reactor.context()
    }

    pub fn log(&self) -> &Log {
        &self.app.log
    }

    pub fn sender(&self) -> Sender<u64> {
        self.reactor.sender()
    }

    /// Listens on a free port of 127.0.0.1.
    pub fn listen(&mut self) -> SocketAddr {
        self.listen_on(Listen::new("127.0.0.1:0")).ip().unwrap()
    }

    pub fn listen_on(&mut self, listen: impl ToListen) -> Addr {
        let listener = self.reactor.listen(listen).unwrap();
        self.cx().listener_addr(listener).unwrap().clone()
    }

    /// A listener, a peer of it, and the connection, which is open.
    pub fn accept(&mut self) -> (TcpStream, ConnId) {
        let peer = peer(self.listen());
        let opened = self.log().count("open");
        self.until("it is open", |log| log.count("open") > opened);
        (peer, *self.log().ids.last().unwrap())
    }

    pub fn connect(&mut self, connect: impl ToConnect) -> ConnId {
        let conn = self.cx().connect(connect);
        self.connected.push(conn);
        conn
    }

    /// One turn that does not sleep.
    pub fn turn(&mut self) -> sockeye::Turn {
        self.reactor
            .turn(&mut self.app, Some(Duration::ZERO))
            .unwrap()
    }

    /// Turns until the log satisfies a condition.
    #[track_caller]
    pub fn until(&mut self, what: &str, condition: impl Fn(&Log) -> bool) {
        self.until_cx(what, |log, _| condition(log));
    }

    /// Turns until the log or the context satisfies a condition.
    #[track_caller]
    pub fn until_cx(&mut self, what: &str, mut condition: impl FnMut(&Log, &mut Context) -> bool) {
        let start = Instant::now();
        while !condition(&self.app.log, self.reactor.context()) {
            let log = &self.app.log;
            assert!(
                start.elapsed() < PATIENCE,
                "never: {what}; {} closed",
                log.closed()
            );
            self.reactor
                .turn(&mut self.app, Some(Duration::from_millis(5)))
                .unwrap();
        }
    }

    /// Turns until a peer's thread has ended, and gives its result.
    #[track_caller]
    pub fn until_done<T>(&mut self, peer: JoinHandle<T>) -> T {
        self.until_cx("the peer's thread ends", |_, _| peer.is_finished());
        peer.join().unwrap()
    }

    /// Turns until it is closed.
    #[track_caller]
    pub fn until_closed(&mut self, conn: ConnId) {
        self.until("it closes", |log| log.is_closed(conn));
    }

    /// Turns until everything seen so far is closed.
    #[track_caller]
    pub fn until_all_closed(&mut self) {
        self.until("all are closed", |log| {
            log.ids.iter().all(|id| log.is_closed(*id))
        });
    }

    /// Turns for some time; answers how many turns that took.
    pub fn turn_for(&mut self, time: Duration) -> usize {
        let (start, mut turns) = (Instant::now(), 0);
        while let Some(left) = time
            .checked_sub(start.elapsed())
            .filter(|left| !left.is_zero())
        {
            self.reactor.turn(&mut self.app, Some(left)).unwrap();
            turns += 1;
        }
        turns
    }

    /// The two assertions that every test ends with: no spin, and one `on_close` for every id.
    #[track_caller]
    pub fn end(mut self) {
        let turns = self.turn_for(Duration::from_millis(200));
        assert!(
            turns <= 20,
            "a spin: {turns} turns in 200 ms with nothing to do"
        );
        let mut ids = self.app.log.ids.clone();
        ids.append(&mut self.connected);
        for id in &ids {
            self.reactor.context().abort(*id);
        }
        self.until("every id is closed", |log| {
            ids.iter().all(|id| log.is_closed(*id))
        });
        for id in ids {
            let life = self.app.log.life(id);
            assert_eq!(life.count("close"), 1, "{id}: {life:?}");
            assert!(
                life.count("open") <= 1 && life.count("eof") <= 1,
                "{id}: {life:?}"
            );
        }
        assert_eq!(self.reactor.context().connections().count(), 0);
    }
}

/// Connects a blocking peer that waits for nothing longer than [`PATIENCE`].
pub fn peer(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The same with small buffers, so that the other side soon meets `WouldBlock`.
pub fn small_peer(addr: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    socket.connect(&addr.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Resets a connection: `SO_LINGER` of zero, and drop.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Runs a peer in a thread of its own.
pub fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(run)
}

/// Reads to the end.
pub fn read_all(mut stream: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

/// Reads exactly so many bytes.
pub fn read_n(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

pub fn write(stream: &mut impl Write, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).unwrap();
}

/// Bytes that differ from place to place, so that a lost or doubled one is seen.
pub fn pattern(count: usize) -> Vec<u8> {
    (0..count)
        .map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8)
        .collect()
}

/// The descriptors that this process has open. Only Linux lists them; elsewhere there are none, and
/// no test sees a leak.
pub fn descriptors() -> usize {
    match cfg!(target_os = "linux") {
        true => std::fs::read_dir("/proc/self/fd").unwrap().count(),
        false => 0,
    }
}

/// Lets time pass without a turn. For deadlines that are to pass together; never for hoping that
/// something has happened meanwhile.
pub fn let_pass(time: Duration) {
    let (_silent, channel) = std::sync::mpsc::channel::<()>();
    let _ = channel.recv_timeout(time);
}

/// A path for a Unix socket that nobody else uses; its file goes with the listener.
pub fn unix_path() -> std::path::PathBuf {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("sockeye-{}-{count}.sock", std::process::id()))
}

/// A place for a listener of the other kind: a Unix path. Where there are none, another port.
pub fn other_place() -> Addr {
    match cfg!(unix) {
        true => Addr::unix(unix_path()),
        false => Addr::Ip(([127, 0, 0, 1], 0).into()),
    }
}

/// The same test on a TCP listener and on a Unix one, both with small buffers.
pub fn both(run: impl Fn(Listen)) {
    for listen in [Listen::new("127.0.0.1:0"), Listen::new(other_place())] {
        run(listen.send_buffer(4096).receive_buffer(4096));
    }
}

/// A blocking peer with small buffers, for a listener of either kind.
pub fn any_peer(addr: &Addr) -> Socket {
    connected(addr, |socket| {
        socket.set_recv_buffer_size(4096).unwrap();
        socket.set_send_buffer_size(4096).unwrap();
    })
}

/// A blocking peer as the system makes it, for a listener of either kind.
pub fn peer_at(addr: &Addr) -> Socket {
    connected(addr, |_| {})
}

fn connected(addr: &Addr, prepare: impl Fn(&Socket)) -> Socket {
    let (domain, to) = match (addr.ip(), addr.path()) {
        (Some(ip), _) => (Domain::for_address(ip), ip.into()),
        (_, path) => (
            Domain::UNIX,
            socket2::SockAddr::unix(path.unwrap()).unwrap(),
        ),
    };
    let socket = Socket::new(domain, Type::STREAM, None).unwrap();
    prepare(&socket);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.connect(&to).unwrap();
    socket
}
