//! One scenario, two edges: real sockets and the simulated network, with TCP or Unix sockets.
//!
//! An [`Edge`] is a reactor with the recording handler, and scripted peers around it. What a
//! scenario says to it means the same on both, and only conditions are waited for: on real sockets
//! by turning until they hold, on the simulated network by letting its clock run.

use super::ends::End;
pub use super::ends::{Peer, Server};
use super::layer::{Layer, MakeLayer, Session};
use super::places::{black_hole, listening, refusing};
use super::real_peer::RealPeer;
use super::{App, Kit, Log, PATIENCE, unix_path};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use sockeye::sim::{Faults, Link, Node, World};
use sockeye::{Addr, Config, ConnId, Context, EventKind, Listen, Reactor, Sender};
use sockeye::{ToConnect, ToListen};
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::{Duration, Instant};

#[allow(unused_imports, reason = "not every shelf has scenarios")]
pub(crate) use super::every::{on_both_edges, on_every_edge};

/// What the handler does with an event.
pub type React = Box<dyn FnMut(&mut Context, EventKind<'_>)>;

/// Where a scenario runs.
#[derive(Clone, Copy, Debug)]
pub enum On {
    Real,
    Sim,
    /// The same with Unix sockets, wherever a scenario does not name an address.
    Unix,
    SimUnix,
    /// The simulated network with this seed, and faults that lose nothing.
    Faulty(u64),
    /// With a layer between the handler and its peers: on real sockets, on the simulated network,
    /// and there with faults.
    RealUnder(MakeLayer),
    SimUnder(MakeLayer),
    FaultyUnder(u64, MakeLayer),
}

/// What may go wrong although every byte arrives.
pub fn lossless() -> Faults {
    let mut faults = Faults::some();
    faults.accept_fails = 0;
    faults.accept_aborted = 0;
    faults.connect_fails = 0;
    faults.resets = 0;
    faults.stalls = 0;
    faults
}

impl On {
    pub fn edge(self, react: impl FnMut(&mut Context, EventKind<'_>) + 'static) -> Edge {
        self.edge_with(Config::default(), react)
    }

    pub fn edge_with(
        self,
        config: Config,
        react: impl FnMut(&mut Context, EventKind<'_>) + 'static,
    ) -> Edge {
        let react: React = Box::new(react);
        let (seed, faults) = match self {
            On::Real | On::Unix | On::RealUnder(_) => {
                let side = Side::Real(Box::new(RealSide {
                    kit: Kit::with_config(config, react),
                    peers: Vec::new(),
                    held: Vec::new(),
                }));
                return Edge::new(side, self);
            }
            On::Sim | On::SimUnix | On::SimUnder(_) => (1, Faults::default()),
            On::Faulty(seed) | On::FaultyUnder(seed, _) => (seed, lossless()),
        };
        let mut world = World::seeded(seed, faults);
        let node = world.start_with("app", config, App::new(react), |_| Ok(()));
        Edge::new(Side::Sim(world, node), self)
    }

    pub fn is_real(self) -> bool {
        matches!(self, On::Real | On::Unix | On::RealUnder(_))
    }

    pub fn is_unix(self) -> bool {
        matches!(self, On::Unix | On::SimUnix)
    }

    /// Faults make turns of their own.
    pub fn is_faulty(self) -> bool {
        matches!(self, On::Faulty(_) | On::FaultyUnder(..))
    }

    /// Is there a layer between the handler and its peers?
    pub fn is_under(self) -> bool {
        self.layer().is_some()
    }

    fn layer(self) -> Option<Box<dyn Layer>> {
        match self {
            On::RealUnder(make) | On::SimUnder(make) | On::FaultyUnder(_, make) => Some(make()),
            _ => None,
        }
    }

    /// Are there Unix sockets?
    pub fn has_unix(self) -> bool {
        !self.is_real() || cfg!(unix)
    }
}

pub struct Edge {
    side: Side,
    is_unix: bool,
    layer: Option<Box<dyn Layer>>,
    connected: Vec<ConnId>,
    /// Those of the simulated network, to be closed at the end.
    peers: Vec<Peer>,
}

enum Side {
    Real(Box<RealSide>),
    Sim(World, Node<App<React>, u64>),
}

struct RealSide {
    kit: Kit<React>,
    peers: Vec<Rc<RefCell<RealPeer>>>,
    /// Sockets that hold a port.
    held: Vec<Box<dyn std::any::Any>>,
}

impl RealSide {
    /// One turn, and what the peers do meanwhile. It sleeps only if nothing moves.
    fn turn(&mut self, at_most: Duration) {
        let mut moved = false;
        for peer in &self.peers {
            moved |= peer.borrow_mut().pump();
        }
        let wait = if moved { Duration::ZERO } else { at_most };
        let wait = wait.min(Duration::from_millis(1));
        let kit = &mut self.kit;
        kit.reactor.turn(&mut kit.app, Some(wait)).unwrap();
    }
}

impl Edge {
    fn new(side: Side, on: On) -> Edge {
        Edge {
            side,
            is_unix: on.is_unix(),
            layer: on.layer(),
            connected: Vec::new(),
            peers: Vec::new(),
        }
    }

    // ---- The handler ----

    pub fn app(&mut self) -> &mut App<React> {
        match &mut self.side {
            Side::Real(real) => &mut real.kit.app,
            Side::Sim(world, node) => world.app_mut(*node),
        }
    }

    pub fn log(&mut self) -> &mut Log {
        &mut self.app().log
    }

    pub fn reactor(&mut self) -> &mut Reactor<u64> {
        match &mut self.side {
            Side::Real(real) => &mut real.kit.reactor,
            Side::Sim(world, node) => world.reactor(*node),
        }
    }

    pub fn cx(&mut self) -> &mut Context {
        self.reactor().context()
    }

    pub fn sender(&mut self) -> Sender<u64> {
        self.reactor().sender()
    }

    /// The id that was seen first, second and so on.
    pub fn id(&mut self, index: usize) -> ConnId {
        self.log().ids[index]
    }

    /// Listens on a free port, or a path that nobody has.
    pub fn listen(&mut self) -> Addr {
        self.listen_with(|listen| listen)
    }

    /// The same with an option or two.
    pub fn listen_with(&mut self, change: impl FnOnce(Listen) -> Listen) -> Addr {
        let listen = match self.is_unix {
            true => Listen::new(Addr::unix(unix_path())),
            false => Listen::new("127.0.0.1:0"),
        };
        let listen = match &self.layer {
            Some(layer) => layer.listens(change(listen)),
            None => change(listen),
        };
        self.listen_on(listen)
    }

    pub fn listen_on(&mut self, listen: impl ToListen) -> Addr {
        let listener = self.reactor().listen(listen).unwrap();
        self.cx().listener_addr(listener).unwrap().clone()
    }

    pub fn connect(&mut self, connect: impl ToConnect) -> ConnId {
        let conn = self.cx().connect(connect);
        self.connected.push(conn);
        conn
    }

    // ---- Who it talks to ----

    pub fn peer(&mut self, addr: &Addr) -> Peer {
        self.add_peer(addr, None)
    }

    /// A peer whose buffers are soon full.
    pub fn small_peer(&mut self, addr: &Addr) -> Peer {
        self.add_peer(addr, Some(4096))
    }

    fn add_peer(&mut self, addr: &Addr, buffers: Option<usize>) -> Peer {
        let end = match &mut self.side {
            Side::Real(real) => {
                let peer = RealPeer::connect(addr, buffers);
                let peer = Rc::new(RefCell::new(peer));
                real.peers.push(peer.clone());
                End::Real(peer)
            }
            Side::Sim(world, _) => {
                let peer = world.connect(addr.clone());
                buffers
                    .into_iter()
                    .for_each(|size| peer.receive_buffer(size));
                End::Sim(Rc::new(peer))
            }
        };
        let session = self.layer.as_ref().map(|layer| layer.session());
        self.keep(end, session)
    }

    fn keep(&mut self, end: End, session: Option<Box<dyn Session>>) -> Peer {
        let peer = Peer::new(end, session);
        self.peers.push(peer.clone());
        peer
    }

    /// A server on a Unix path.
    pub fn unix_server(&mut self) -> Server {
        let path = unix_path();
        match &mut self.side {
            Side::Real(_) => {
                let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
                listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
                listener.listen(128).unwrap();
                listener.set_nonblocking(true).unwrap();
                Server::Unix(listener, Addr::unix(path))
            }
            Side::Sim(world, _) => Server::Sim(world.listen(path)),
        }
    }

    /// A server for the handler to connect to.
    pub fn server(&mut self) -> Server {
        match &mut self.side {
            _ if self.is_unix => self.unix_server(),
            Side::Real(_) => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                listener.set_nonblocking(true).unwrap();
                Server::Real(listener)
            }
            Side::Sim(world, _) => Server::Sim(world.listen("127.0.0.1:0")),
        }
    }

    /// The same, whose system takes little for a peer that does not read.
    pub fn small_server(&mut self) -> Server {
        let server = self.server();
        if let Server::Real(listener) = &server {
            // Those that are accepted have it, too.
            let listener = SockRef::from(listener);
            listener.set_recv_buffer_size(8192).unwrap();
        }
        server
    }

    /// A server with a backlog of this size.
    pub fn server_holding(&mut self, backlog: u32) -> Server {
        match &mut self.side {
            Side::Real(_) => Server::Real(listening(backlog)),
            Side::Sim(world, _) => {
                Server::Sim(world.listen(Listen::new("127.0.0.1:0").backlog(backlog)))
            }
        }
    }

    /// Posts a message from another thread, at any moment.
    pub fn post(&mut self, message: u64) {
        match &mut self.side {
            Side::Real(real) => {
                let sender = real.kit.sender();
                std::thread::spawn(move || sender.send(message).unwrap());
            }
            Side::Sim(world, node) => world.post(*node, message),
        }
    }

    pub fn try_accept(&mut self, server: &Server) -> Option<Peer> {
        let stream: Option<Socket> = match server {
            Server::Real(listener) => Some(listener.accept().ok()?.0.into()),
            Server::Unix(listener, _) => Some(listener.accept().ok()?.0),
            Server::Sim(_) => None,
        };
        let end = match (server, &mut self.side) {
            (_, Side::Real(real)) => {
                let peer = Rc::new(RefCell::new(RealPeer::new(stream?)));
                real.peers.push(peer.clone());
                End::Real(peer)
            }
            (Server::Sim(listener), _) => End::Sim(Rc::new(listener.accept()?)),
            _ => unreachable!("a server of the other edge"),
        };
        // The handler has connected plainly.
        Some(self.keep(end, None))
    }

    /// Accepts one from the handler.
    #[track_caller]
    pub fn accept(&mut self, server: &Server) -> Peer {
        let mut peer = None;
        self.until("somebody connects", |edge| {
            peer = edge.try_accept(server);
            peer.is_some()
        });
        peer.unwrap()
    }

    /// An address that refuses.
    pub fn refusing(&mut self) -> Addr {
        match &mut self.side {
            Side::Real(real) => {
                let (socket, addr) = refusing();
                real.held.push(Box::new(socket));
                Addr::Ip(addr)
            }
            Side::Sim(..) => "127.0.0.1:9".parse().unwrap(),
        }
    }

    /// An address that never answers.
    pub fn black_hole(&mut self) -> Addr {
        match &mut self.side {
            Side::Real(real) => {
                let (socket, stream, addr) = black_hole();
                real.held.push(Box::new((socket, stream)));
                Addr::Ip(addr)
            }
            Side::Sim(world, node) => {
                let hole: IpAddr = Ipv4Addr::new(10, 9, 9, 9).into();
                world.link(node.host(), hole, Link::latency(Duration::ZERO));
                world.cut(node.host(), hole);
                Addr::Ip(SocketAddr::new(hole, 9))
            }
        }
    }

    /// On the simulated network a byte takes this long from now on; on real sockets it takes what
    /// it takes.
    pub fn slow_link(&mut self, latency: Duration) {
        if let Side::Sim(world, _) = &mut self.side {
            world.default_link(Link::latency(latency));
        }
    }

    /// Changes what goes wrong on the simulated network, for a promise that no loop could keep
    /// otherwise.
    pub fn spare(&mut self, on: On, change: impl FnOnce(&mut Faults)) {
        if let (true, Side::Sim(world, _)) = (on.is_faulty(), &mut self.side) {
            let mut faults = lossless();
            change(&mut faults);
            world.faults(faults);
        }
    }

    // ---- Time ----

    pub fn now(&self) -> Instant {
        match &self.side {
            Side::Real(_) => Instant::now(),
            Side::Sim(world, _) => world.now(),
        }
    }

    /// Lets everybody go on until a condition holds.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut condition: impl FnMut(&mut Edge) -> bool) {
        let start = self.now();
        loop {
            self.settle();
            if condition(self) {
                return;
            }
            let late = self.now().saturating_duration_since(start) > PATIENCE;
            assert!(!late, "never: {what}; {:?}", self.log().lives);
            match &mut self.side {
                Side::Real(real) => real.turn(PATIENCE),
                Side::Sim(world, _) => world.advance(Duration::from_micros(100)),
            }
        }
    }

    #[track_caller]
    pub fn until_all_closed(&mut self) {
        self.until("all are closed", |edge| {
            let log = edge.log();
            log.ids.iter().all(|id| log.is_closed(*id))
        });
    }

    /// Turns until so many connections are open.
    #[track_caller]
    pub fn until_open(&mut self, count: usize) {
        self.until("they are open", |edge| edge.log().count("open") >= count);
    }

    /// Lets sessions go on, and on the simulated network everybody, for as long as time stands
    /// still there.
    fn settle(&mut self) {
        loop {
            if let Side::Sim(world, _) = &mut self.side {
                world.settle();
            }
            let moved = self.peers.iter().filter(|peer| peer.pump()).count() > 0;
            if !moved || matches!(self.side, Side::Real(_)) {
                return;
            }
        }
    }

    /// Lets some time pass.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now() + time;
        while let Some(left) = end.checked_duration_since(self.now()) {
            self.settle();
            let is_under = self.layer.is_some();
            match &mut self.side {
                Side::Real(real) => real.turn(left),
                Side::Sim(world, _) if is_under => {
                    world.advance(left.min(Duration::from_micros(100)));
                }
                Side::Sim(world, _) => world.advance(left),
            }
            if left.is_zero() {
                return;
            }
        }
    }

    /// A few turns that do not sleep, so that what was asked for has at least been tried.
    pub fn turn_a_few_times(&mut self) {
        match &mut self.side {
            Side::Real(real) => (0..3).for_each(|_| real.turn(Duration::ZERO)),
            Side::Sim(world, _) => world.settle(),
        }
    }

    /// Turns that the loop makes by itself while nothing happens for 200 ms.
    pub fn turns_at_rest(&mut self) -> usize {
        self.settle();
        match &mut self.side {
            Side::Real(real) => real.kit.turn_for(Duration::from_millis(200)),
            Side::Sim(world, _) => {
                let before = world.turns();
                world.advance(Duration::from_millis(200));
                (world.turns() - before) as usize
            }
        }
    }

    /// One `on_close` for every id, no spin, and nothing is left.
    #[track_caller]
    pub fn end(mut self) {
        if let Side::Sim(world, _) = &mut self.side {
            world.faults(Faults::default());
            world.advance(Duration::from_millis(10));
        }
        let turns = self.turns_at_rest();
        assert!(turns <= 20, "a spin: {turns} turns with nothing to do");
        let mut ids = self.log().ids.clone();
        ids.append(&mut self.connected);
        for id in &ids {
            self.cx().abort(*id);
        }
        self.until("every id is closed", |edge| {
            ids.iter().all(|id| edge.log().is_closed(*id))
        });
        for id in ids {
            let life = self.log().life(id);
            let (opens, closes) = (life.count("open"), life.count("close"));
            assert!(
                opens <= 1 && closes == 1 && life.count("eof") <= 1,
                "{life:?}"
            );
        }
        assert_eq!(self.cx().connections().count(), 0);
        if let Side::Sim(world, _) = &mut self.side {
            self.peers.iter().for_each(Peer::close);
            world.advance(Duration::from_millis(10));
            world.assert_no_leaks();
        }
    }
}
