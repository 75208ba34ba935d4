//! A simulated network with a virtual clock: the same handler, without sockets, sleeps or flakes.
//!
//! A [`World`] owns handlers, each on a [`Reactor`] of its own, and scripted [`Peer`]s. Everything
//! under test is the real thing (reactor, context, connections, queues, timers); only the edge to
//! the operating system is replaced. All that happens follows from one seed, and happens again with
//! it: `SOCKEYE_SEED=7 cargo test NAME`.
//!
//! ```
//! use sockeye::sim::World;
//! use sockeye::{ConnId, Context, Handler, Input};
//!
//! struct Echo;
//! impl Handler for Echo {
//!     fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
//!         cx.send(conn, input.take_all());
//!     }
//! }
//!
//! let mut world = World::new();
//! world.start("server", Echo, |reactor| reactor.listen("10.0.0.1:7000").map(drop));
//! let ann = world.connect("10.0.0.1:7000");
//! ann.send("hi\n");
//! world.settle();
//! assert_eq!(ann.received(), "hi\n");
//! ann.close();
//! world.settle();
//! world.assert_no_leaks();
//! ```

mod clock;
mod node;
mod peer;
mod trace;

pub use crate::backend::simnet::faults::{Faults, Link};
pub use clock::Clock;
pub use node::Node;
pub use peer::{Pace, Peer, PeerListener, Traffic};

use crate::addr::{Target, ToAddr};
use crate::backend::simnet::{Net, SharedNet};
use crate::clock::after;
use crate::config::Config;
use crate::context::Context;
use crate::handler::Handler;
use crate::mailbox::SendError;
use crate::options::Listen;
use crate::reactor::Reactor;
use node::{AnyNode, Running};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use trace::Trace;

/// Turns at one moment of virtual time after which it is a spin: work is claimed for ever. They are
/// more than the bytes that may be pending, for these may leave one at a time.
const SPIN: usize = 1_000_000;

/// The seeds that a test is to try: these, or the one that the environment names (`SOCKEYE_SEED`),
/// so that a failing test is repeated by what it says.
///
/// ```
/// for seed in sockeye::sim::seeds(0..20) {
///     let mut world = sockeye::sim::World::seeded(seed, sockeye::sim::Faults::some());
///     // ...
/// }
/// ```
///
/// # Panics
///
/// When `SOCKEYE_SEED` is no number.
#[track_caller]
pub fn seeds(seeds: Range<u64>) -> Range<u64> {
    match seed_asked_for() {
        None => seeds,
        Some(u64::MAX) => panic!("SOCKEYE_SEED={}: no range holds it", u64::MAX),
        Some(seed) => seed..seed + 1,
    }
}

#[track_caller]
fn seed_asked_for() -> Option<u64> {
    let text = std::env::var("SOCKEYE_SEED").ok()?;
    match text.parse() {
        Ok(seed) => Some(seed),
        Err(error) => panic!("SOCKEYE_SEED={text:?}: {error}"),
    }
}

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
}

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
        }
    }

    // ---- Who is in it ----

    /// Starts a handler on a reactor of its own, on a host of its own: 10.0.0.1 for the first, then
    /// 10.0.0.2 and so on. `setup` listens and connects. Addresses of 127.0.0.0/8 lead to whoever
    /// listens on them, from everywhere.
    ///
    /// # Panics
    ///
    /// When `setup` fails, or the name is taken.
    #[track_caller]
    pub fn start<H, M>(
        &mut self,
        name: &str,
        app: H,
        setup: impl FnOnce(&mut Reactor<M>) -> io::Result<()>,
    ) -> Node<H, M>
    where
        H: Handler<M> + 'static,
        M: 'static,
    {
        self.start_with(name, Config::default(), app, setup)
    }

    /// Starts a handler on a reactor of its own with a [`Config`] of its own, as
    /// [`start`](World::start) does.
    ///
    /// # Panics
    ///
    /// When `setup` fails, the configuration makes no sense, or the name is taken.
    #[track_caller]
    pub fn start_with<H, M>(
        &mut self,
        name: &str,
        config: Config,
        app: H,
        setup: impl FnOnce(&mut Reactor<M>) -> io::Result<()>,
    ) -> Node<H, M>
    where
        H: Handler<M> + 'static,
        M: 'static,
    {
        self.start_by(name, config, |reactor| setup(reactor).map(|()| app))
    }

    /// Starts a handler that is made with the [`Context`] of its reactor, to set a timer for
    /// example; the rest is as in [`start_with`](World::start_with).
    ///
    /// # Panics
    ///
    /// When `make` fails, the configuration makes no sense, or the name is taken.
    #[track_caller]
    pub fn start_by<H, M>(
        &mut self,
        name: &str,
        config: Config,
        make: impl FnOnce(&mut Reactor<M>) -> io::Result<H>,
    ) -> Node<H, M>
    where
        H: Handler<M> + 'static,
        M: 'static,
    {
        let taken = self.names.iter().any(|taken| taken == name);
        assert!(
            !taken,
            "there is a {name} already: the trace could not tell them apart"
        );
        let index = self.nodes.len();
        let host = Ipv4Addr::from(0x0a00_0001 + index as u32);
        let trace = self.trace.of(name);
        match Running::new(&self.net, host.into(), config, trace, make) {
            Ok(running) => self.nodes.push(Box::new(running)),
            Err(error) => panic!("{name} does not start: {error}"),
        }
        self.names.push(name.to_owned());
        Node::new(self.id, index)
    }

    /// The handler of a node.
    ///
    /// # Panics
    ///
    /// When the node is of another world.
    #[track_caller]
    pub fn app<H: Handler<M> + 'static, M: 'static>(&mut self, node: Node<H, M>) -> &mut H {
        self.running(node).app()
    }

    /// The reactor of a node: commands from outside callbacks, senders. It has no descriptor, and
    /// the world turns it.
    ///
    /// # Panics
    ///
    /// When the node is of another world.
    #[track_caller]
    pub fn reactor<H: Handler<M> + 'static, M: 'static>(
        &mut self,
        node: Node<H, M>,
    ) -> &mut Reactor<M> {
        self.running(node).reactor()
    }

    /// Commands from outside callbacks, with the handler at hand.
    ///
    /// # Panics
    ///
    /// When the node is of another world.
    #[track_caller]
    pub fn with<H: Handler<M> + 'static, M: 'static, R>(
        &mut self,
        node: Node<H, M>,
        act: impl FnOnce(&mut H, &mut Context) -> R,
    ) -> R {
        let (app, cx) = self.running(node).both();
        act(app, cx)
    }

    /// Runs `check` after every turn of a node, with its handler and a [`Context`] for questions:
    /// for what must always hold. There is one; the last is kept.
    ///
    /// # Panics
    ///
    /// When the node is of another world.
    #[track_caller]
    pub fn after_each_turn<H: Handler<M> + 'static, M: 'static>(
        &mut self,
        node: Node<H, M>,
        check: impl FnMut(&mut H, &Context) + 'static,
    ) {
        self.running(node).check_with(Box::new(check));
    }

    /// Posts a message as another thread would: it comes at some point of the next turns, in the
    /// middle of one perhaps, as the seed has it. Messages to full mailboxes are posted again.
    ///
    /// # Panics
    ///
    /// When the node is of another world.
    #[track_caller]
    pub fn post<H, M>(&mut self, node: Node<H, M>, message: M)
    where
        H: Handler<M> + 'static,
        M: Send + 'static,
    {
        let sender = self.running(node).reactor().sender();
        let mut message = Some(message);
        self.net.lock().post(Box::new(move || {
            let result = message.take().map(|message| sender.send(message));
            if let Some(Err(SendError::Full(again))) = result {
                message = Some(again);
            }
            message.is_none()
        }));
    }

    #[track_caller]
    fn running<H: Handler<M> + 'static, M: 'static>(
        &mut self,
        node: Node<H, M>,
    ) -> &mut Running<H, M> {
        let any = self.nodes[node.index(self.id)].as_any();
        any.downcast_mut().expect("a node knows its types")
    }

    /// Connects a scripted peer, from 10.1.0.1. It reads at once whatever comes. If nobody listens
    /// there, [`Peer::was_reset`] says so, and nothing can be sent.
    ///
    /// # Panics
    ///
    /// When it is no address.
    #[track_caller]
    pub fn connect(&mut self, addr: impl Into<ToAddr>) -> Peer {
        self.connect_from(Ipv4Addr::new(10, 1, 0, 1).into(), addr)
    }

    /// Connects a scripted peer from a host of your choice, for links of its own; see
    /// [`connect`](World::connect).
    ///
    /// # Panics
    ///
    /// When it is no address.
    #[track_caller]
    pub fn connect_from(&mut self, host: IpAddr, addr: impl Into<ToAddr>) -> Peer {
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
            Target::Name(_) => None,
        };
        let somewhere = Ipv4Addr::new(10, 1, 0, 2).into();
        let host = host.filter(|ip| !ip.is_unspecified()).unwrap_or(somewhere);
        PeerListener::listen(&self.net, host, &listen)
    }

    // ---- The network ----

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

    // ---- Time ----

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.net.lock().instant()
    }

    /// The clock, for a handler under test: it may look at it, and spend time on it.
    pub fn clock(&self) -> Clock {
        Clock::of(&self.net)
    }

    /// Turns every reactor until nothing moves. Time stands still, so what a link delays stays
    /// away; but with the faults `stalls` and `slow_callbacks` the clock may jump all the same.
    ///
    /// # Panics
    ///
    /// When work is claimed for ever: a spin.
    #[track_caller]
    pub fn settle(&mut self) {
        for _ in 0..SPIN {
            let delivered = self.net.lock().deliver_due();
            let turned = match self.turn_each() {
                Ok(turned) => turned,
                Err(spin) => panic!("{spin}{} (seed {})", self.signals(), self.seed),
            };
            if !delivered && !turned && !self.net.run_posts() {
                return;
            }
        }
        let busy: Vec<usize> = (0..self.nodes.len())
            .filter(|at| self.is_busy(*at))
            .collect();
        let busy: Vec<&str> = busy.iter().map(|at| &*self.names[*at]).collect();
        panic!(
            "{}: a spin: after {SPIN} rounds at one moment there is still work{} (seed {})",
            busy.join(", "),
            self.signals(),
            self.seed
        );
    }

    /// What may be to blame for a spin, rather than a handler.
    fn signals(&self) -> String {
        match self.net.lock().faults.interrupts {
            0 => String::new(),
            often => format!("; Faults::interrupts ends {often} calls in 1000"),
        }
    }

    /// Lets time pass, and everything happen that is due meanwhile. A timer that is always set
    /// again makes this as long as the time is: a year takes long.
    ///
    /// # Panics
    ///
    /// As `settle` does.
    #[track_caller]
    pub fn advance(&mut self, time: Duration) {
        let end = after(self.net.lock().now, time);
        self.settle();
        while self.jump(end) {
            self.settle();
        }
        let mut net = self.net.lock();
        net.now = net.now.max(end);
    }

    /// Lets time pass until nothing more will ever happen by itself, or `horizon` is over. Answers
    /// whether it came to rest.
    ///
    /// # Panics
    ///
    /// As `settle` does.
    #[track_caller]
    pub fn rest(&mut self, horizon: Duration) -> bool {
        let end = after(self.net.lock().now, horizon);
        self.settle();
        while self.jump(end) {
            self.settle();
        }
        self.next_moment().is_none()
    }

    /// Jumps to the next moment at which something happens, if that is not after `end`.
    fn jump(&mut self, end: u64) -> bool {
        match self.next_moment() {
            Some(at) if at <= end => {
                let mut net = self.net.lock();
                net.now = net.now.max(at);
                true
            }
            _ => false,
        }
    }

    fn next_moment(&mut self) -> Option<u64> {
        // Each in turn: a reactor that is asked looks at the network's clock itself.
        let wakeup = self
            .nodes
            .iter_mut()
            .filter_map(|node| node.wakes_at())
            .min();
        let net = self.net.lock();
        let wakeup = wakeup.map(|at| net.tick(at));
        wakeup.into_iter().chain(net.next_arrival()).min()
    }

    /// One turn of each reactor that has a reason for one, in an order of chance.
    fn turn_each(&mut self) -> Result<bool, String> {
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        if order.len() > 1 {
            self.net.lock().random.shuffle(&mut order);
        }
        let mut any = false;
        for index in order {
            if self.is_busy(index) {
                self.nodes[index]
                    .turn()
                    .map_err(|spin| format!("{}: {spin}", self.names[index]))?;
                self.turns += 1;
                any = true;
            }
        }
        Ok(any)
    }

    /// Has it a reason for a turn?
    fn is_busy(&mut self, index: usize) -> bool {
        let node = &mut self.nodes[index];
        let now = self.net.lock().instant();
        let due = node.wakes_at().is_some_and(|at| at <= now);
        due || self.net.lock().has_events(node.poller())
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
    /// whom, when, and each byte.
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
