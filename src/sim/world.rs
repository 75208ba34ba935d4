//! The world: who is in it, what lies between them, and what happened.

mod nodes;
mod time;
mod workers;

use super::node::AnyNode;
use super::peer::{Peer, PeerListener};
use super::seeds::seed_asked_for;
use super::trace::Trace;
use crate::addr::{Target, ToAddr};
use crate::backend::simnet::faults::{Faults, Link};
use crate::backend::simnet::{Net, SharedNet};
use crate::mailbox::Round;
use crate::options::Listen;
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Handlers, peers, the network between them, and the clock.
pub struct World {
    /// Tells it from others.
    id: u64,
    net: SharedNet,
    nodes: Vec<Box<dyn AnyNode>>,
    names: Vec<String>,
    seed: u64,
    trace: Trace,
    /// Turns made since the world began.
    turns: u64,
    /// A panic of a worker ends the worker, and not the test.
    catches: Rc<Cell<bool>>,
    /// Who is being turned, for messages of workers; and their mailboxes, when all were.
    round: Arc<Round>,
    mailboxes: Vec<EndRound>,
}

/// Ends a round for one mailbox, with somebody who chooses.
type EndRound = Box<dyn Fn(&mut dyn FnMut(usize) -> usize)>;

impl Default for World {
    fn default() -> World {
        World::new()
    }
}

impl World {
    /// A world whose seed is that of the environment (`SOCKEYE_SEED`), or 1. Nothing goes wrong in
    /// it unless you say so.
    ///
    /// # Panics
    ///
    /// When `SOCKEYE_SEED` is no number.
    #[track_caller]
    pub fn new() -> World {
        World::seeded(seed_asked_for().unwrap_or(1), Faults::default())
    }

    /// A world of this seed, with these faults.
    pub fn seeded(seed: u64, faults: Faults) -> World {
        static WORLDS: AtomicU64 = AtomicU64::new(0);
        World {
            id: WORLDS.fetch_add(1, Ordering::Relaxed),
            net: SharedNet::new(Net::new(seed, faults)),
            nodes: Vec::new(),
            names: Vec::new(),
            seed,
            trace: Trace::default(),
            turns: 0,
            catches: Rc::default(),
            round: Arc::default(),
            mailboxes: Vec::new(),
        }
    }

    // ---- Peers ----

    /// Connects a scripted peer, from 10.1.0.1. It reads at once whatever comes. If nobody listens
    /// there, [`Peer::was_reset`] says so, and nothing can be sent.
    ///
    /// # Panics
    ///
    /// When it is no address.
    #[track_caller]
    pub fn connect(&mut self, addr: impl ToAddr) -> Peer {
        self.connect_from(Ipv4Addr::new(10, 1, 0, 1).into(), addr)
    }

    /// Connects a scripted peer from a host of your choice, for links of its own; see
    /// [`connect`](World::connect).
    ///
    /// # Panics
    ///
    /// When it is no address.
    #[track_caller]
    pub fn connect_from(&mut self, host: IpAddr, addr: impl ToAddr) -> Peer {
        Peer::connect(&self.net, host, addr.into())
    }

    /// A scripted server on a host of its own (the address's), for handlers that connect.
    ///
    /// # Panics
    ///
    /// When somebody listens there already, or it is no address.
    #[track_caller]
    pub fn listen(&mut self, listen: impl Into<Listen>) -> PeerListener {
        let listen = listen.into();
        let host = match &listen.target {
            Target::Addr(addr) => addr.ip().map(|addr| addr.ip()),
            Target::Host(..) | Target::Text(_) => None,
        };
        let somewhere = Ipv4Addr::new(10, 1, 0, 2).into();
        let host = host.filter(|ip| !ip.is_unspecified()).unwrap_or(somewhere);
        PeerListener::listen(&self.net, host, &listen)
    }

    // ---- The network ----

    /// Gives a name its addresses, the best one first, for handlers that connect to it. The name of
    /// a node is that of its host without being asked. Names are looked up within a millisecond,
    /// unless [`Faults`] say otherwise.
    pub fn name(&mut self, name: &str, addrs: impl IntoIterator<Item = IpAddr>) {
        self.net.lock().name(name, addrs);
    }

    /// Sets what lies between two hosts.
    pub fn link(&mut self, one: IpAddr, other: IpAddr, link: Link) {
        self.net.lock().set_link(one, other, link);
    }

    /// Sets what lies between all hosts that have no link of their own.
    pub fn default_link(&mut self, link: Link) {
        self.net.lock().set_default_link(link);
    }

    /// Cuts the link between two hosts, until `heal`.
    pub fn cut(&mut self, one: IpAddr, other: IpAddr) {
        let link = Link {
            cut: true,
            ..self.net.lock().link(one, other).clone()
        };
        self.link(one, other, link);
    }

    /// Ends a cut: what was sent meanwhile arrives.
    pub fn heal(&mut self, one: IpAddr, other: IpAddr) {
        let link = Link {
            cut: false,
            ..self.net.lock().link(one, other).clone()
        };
        self.link(one, other, link);
    }

    /// Changes what goes wrong from now on.
    pub fn faults(&mut self, faults: Faults) {
        self.net.lock().faults = faults;
    }

    /// What the send buffers of the system hold at first, and what they grow to with use, for
    /// connections that begin from now on and whose options say nothing else; 64 KiB and 4 MiB
    /// unless you say so (Linux's `tcp_wmem`). A socket is reported writable when a third of its
    /// buffer is free, as Linux has it; so the larger that is, the longer a peer that reads slowly
    /// moves no edge.
    pub fn send_buffers(&mut self, first: usize, most: usize) {
        self.net.lock().set_send_buffers(first, most);
    }

    // ---- What happened ----

    /// The seed that everything follows from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Faults so far: how often a chance of [`Faults`] came true.
    pub fn faults_met(&self) -> u64 {
        self.net.lock().random.hits
    }

    /// Turns of all reactors so far.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// Every callback so far, a line each: `server c1 open accepted`, `server c1 data "hi"`. Data
    /// of more than 60 bytes is told by its length, and after 1 MiB the text ends with `...`;
    /// `trace_hash` goes on.
    pub fn trace(&self) -> String {
        self.trace.text()
    }

    /// A number that is the same exactly if the trace is, and all that the handlers have sent: to
    /// whom, when, and each byte; by TLS, how many.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash() ^ self.net.lock().hash
    }

    /// # Panics
    ///
    /// When a reactor has a connection, or the network a socket that nobody closed. So a connection
    /// that both a handler and your peer hold open is a leak: close one of them first. Listeners
    /// are none, nor is a peer whose other end has closed.
    #[track_caller]
    pub fn assert_no_leaks(&self) {
        let open: Vec<String> = self.net.lock().open_sockets();
        let open: Vec<_> = open
            .iter()
            .filter(|name| !name.ends_with("(listening)"))
            .collect();
        assert!(
            open.is_empty(),
            "open sockets: {open:?} (seed {})",
            self.seed
        );
        for (node, name) in self.nodes.iter().zip(&self.names) {
            let leaks = node.leaks();
            assert!(leaks.is_empty(), "{name} has {leaks} (seed {})", self.seed);
        }
    }
}

/// A failing test says how to repeat it; whether it asks for the variable, nobody knows here.
impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "sockeye::sim: repeat this with SOCKEYE_SEED={}, \
                 if the test takes its seeds from sim::seeds or World::new",
                self.seed
            );
        }
    }
}
