//! A handler on its reactor, and what the world asks of them.

use super::trace::{NodeTrace, Traced};
use crate::backend::Backend;
use crate::backend::simnet::{SharedNet, Sim};
use crate::config::Config;
use crate::context::Context;
use crate::handler::Handler;
use crate::reactor::Reactor;
use crate::stats::{BudgetHits, Stats, Turn};
use std::any::Any;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Names a handler of a world, with its type. Two are equal if they name the same.
pub struct Node<H, M = ()> {
    index: usize,
    /// The place of the node whose host it is on: its own, but for workers.
    host: usize,
    /// The world that the node is in.
    world: u64,
    of: PhantomData<fn() -> (H, M)>,
}

impl<H, M> Clone for Node<H, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H, M> Copy for Node<H, M> {}

impl<H, M> PartialEq for Node<H, M> {
    fn eq(&self, other: &Self) -> bool {
        (self.world, self.index) == (other.world, other.index)
    }
}

impl<H, M> Eq for Node<H, M> {}

impl<H, M> fmt::Debug for Node<H, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({})", self.host())
    }
}

impl<H, M> Node<H, M> {
    pub(super) fn new(world: u64, index: usize, host: usize) -> Node<H, M> {
        Node {
            index,
            host,
            world,
            of: PhantomData,
        }
    }

    /// The place of the node in this world.
    #[track_caller]
    pub(super) fn index(self, world: u64) -> usize {
        assert!(self.world == world, "this node belongs to another world");
        self.index
    }

    /// The address of the node's host: 10.0.0.1 for the first. Workers have one for all.
    pub fn host(self) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a00_0001 + self.host as u32).into()
    }
}

/// A node whose types are forgotten.
pub(super) trait AnyNode: Any {
    /// One turn. An error is a spin.
    fn turn(&mut self) -> Result<(), String>;
    fn wakes_at(&mut self) -> Option<Instant>;
    fn poller(&self) -> usize;
    fn leaks(&self) -> String;
}

pub(super) struct Running<H, M> {
    reactor: Reactor<M>,
    app: Traced<H>,
    poller: usize,
    /// When it wakes if nothing comes, as it found before it fell asleep; outer `None`: it is
    /// awake, and has still to look. Whatever comes later than that has to wake it.
    asleep: Option<Option<Instant>>,
    /// Turns one after the other that claimed work and did none.
    idle_turns: usize,
    stats: Stats,
    check: Option<Check<H>>,
    /// One of several workers, which has not ended.
    is_worker: bool,
}

/// What must hold after every turn.
pub(super) type Check<H> = Box<dyn FnMut(&mut H, &Context)>;

/// Turns without progress that may follow each other while work is claimed: a readiness that was
/// none may cost each connection and listener one, if the budgets are one, and a signal another.
const IDLE_TURNS: usize = 20;

impl<H: Handler<M> + 'static, M: 'static> Running<H, M> {
    #[track_caller]
    pub(super) fn new(
        net: &SharedNet,
        host: IpAddr,
        config: Config,
        trace: NodeTrace,
        make: impl FnOnce(&mut Reactor<M>) -> io::Result<H>,
    ) -> io::Result<Running<H, M>> {
        if let Err(error) = config.check() {
            panic!("{error}");
        }
        let sim = Sim::new(net, host, config.events_per_wait);
        let poller = sim.poller();
        let mut reactor = Reactor::on_backend(Backend::Sim(sim), config);
        let app = make(&mut reactor)?;
        Ok(Running::of(
            reactor,
            Traced::new(app, trace, net.clone()),
            poller,
        ))
    }

    fn of(reactor: Reactor<M>, app: Traced<H>, poller: usize) -> Running<H, M> {
        Running {
            reactor,
            app,
            poller,
            asleep: None,
            idle_turns: 0,
            stats: Stats::default(),
            check: None,
            is_worker: false,
        }
    }

    /// One of several workers.
    pub(super) fn worker(reactor: Reactor<M>, app: Traced<H>, poller: usize) -> Running<H, M> {
        Running {
            is_worker: true,
            ..Running::of(reactor, app, poller)
        }
    }

    pub(super) fn app(&self) -> &H {
        &self.app.inner
    }

    pub(super) fn app_mut(&mut self) -> &mut H {
        &mut self.app.inner
    }

    pub(super) fn check_with(&mut self, check: Check<H>) {
        self.check = Some(check);
    }

    pub(super) fn reactor(&mut self) -> &mut Reactor<M> {
        self.asleep = None;
        &mut self.reactor
    }

    pub(super) fn both(&mut self) -> (&mut H, &mut Context) {
        self.asleep = None;
        (&mut self.app.inner, self.reactor.context())
    }

    /// Work that is claimed for ever and never done is a loop that spins.
    fn watch_for_spin(&mut self, turn: Turn) -> Result<(), String> {
        let mut stats = self.reactor.stats().clone();
        stats.turns = 0;
        stats.budget_hits = BudgetHits::default();
        let moved = turn.events > 0 || turn.callbacks > 0 || stats != self.stats;
        self.stats = stats;
        self.idle_turns = match turn.more && !moved {
            true => self.idle_turns + 1,
            false => 0,
        };
        let most = IDLE_TURNS + 2 * self.reactor.sockets();
        match self.idle_turns > most {
            true => Err(format!("a spin: {most} turns claimed work and did none")),
            false => Ok(()),
        }
    }
}

impl<H: Handler<M> + 'static, M: 'static> AnyNode for Running<H, M> {
    fn turn(&mut self) -> Result<(), String> {
        let result = self.reactor.turn(&mut self.app, Some(Duration::ZERO));
        let turn = result.expect("a simulated wait does not fail");
        if self.is_worker && self.reactor.end_turn_of_worker() {
            self.is_worker = false;
        }
        self.asleep = Some(self.reactor.next_turn());
        if let Some(check) = &mut self.check {
            check(&mut self.app.inner, self.reactor.questions());
        }
        self.watch_for_spin(turn)
    }

    fn wakes_at(&mut self) -> Option<Instant> {
        *self.asleep.get_or_insert_with(|| self.reactor.next_turn())
    }

    fn poller(&self) -> usize {
        self.poller
    }

    fn leaks(&self) -> String {
        self.reactor.leaks()
    }
}
