//! A handler on its reactor, and what the world asks of them.

use super::trace::{NodeTrace, Traced};
use super::working::Working;
use crate::backend::Backend;
use crate::backend::simnet::{SharedNet, Sim};
use crate::config::Config;
use crate::context::Context;
use crate::handler::Handler;
use crate::mailbox::Sender;
use crate::reactor::Reactor;
use crate::stats::{BudgetHits, Report, Stats, Turn};
use crate::workers::WorkerReport;
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
    /// Where its events wait. `None`: it is over, and takes no more.
    fn poller(&self) -> Option<usize>;
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
    /// One of several workers.
    working: Option<Working<H, M>>,
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
            working: None,
        }
    }

    /// One of several workers.
    pub(super) fn worker(
        reactor: Reactor<M>,
        app: Traced<H>,
        poller: usize,
        working: Working<H, M>,
    ) -> Running<H, M> {
        Running {
            working: Some(working),
            ..Running::of(reactor, app, poller)
        }
    }

    /// The report of a worker that is over.
    pub(super) fn worker_report(&self) -> Option<WorkerReport> {
        let working = self.working.as_ref().filter(|working| working.is_over());
        working.map(Working::report)
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

    /// For messages: to a worker, as its team has it, for who is away or over hears nobody.
    pub(super) fn sender(&mut self) -> Sender<M> {
        let of_team = self.working.as_ref().map(Working::sender);
        of_team.unwrap_or_else(|| self.reactor().sender())
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

/// One of several workers.
impl<H: Handler<M> + 'static, M: 'static> Running<H, M> {
    /// A turn of a worker, or the beginning of its next handler.
    fn turn_of_worker(&mut self, mut working: Working<H, M>) -> Turn {
        let (mut turn, mut ended) = (Turn::default(), None);
        match working.begin() {
            Some((reactor, app)) => {
                self.reactor = reactor;
                match app {
                    Ok(Some(app)) => self.app.begin_again(app),
                    Ok(None) => ended = Some(Ok(Report::default())),
                    Err(panic) => ended = Some(Err(panic)),
                }
            }
            None => match working.guard(|| self.turn_reactor()) {
                Ok(its) => {
                    turn = its;
                    let end = match turn.stopped {
                        true => Some(Report::default()),
                        false => self.reactor.end_turn(),
                    };
                    ended = end.map(Ok);
                }
                Err(panic) => ended = Some(Err(panic)),
            },
        }
        if let Some(ended) = ended {
            let (none, poller) = working.no_reactor();
            let reactor = std::mem::replace(&mut self.reactor, none);
            self.app.note(match ended {
                Ok(_) => "is over",
                Err(_) => "has panicked",
            });
            self.poller = working.end(reactor, ended.map(Ok)).unwrap_or(poller);
        }
        self.working = Some(working);
        turn
    }

    fn turn_reactor(&mut self) -> Turn {
        let result = self.reactor.turn(&mut self.app, Some(Duration::ZERO));
        result.expect("a simulated wait does not fail")
    }

    /// When it has something to do.
    fn next_turn(&self) -> Option<Instant> {
        let away = self.working.as_ref().is_some_and(Working::is_away);
        match away {
            // At once: that is long past.
            true => Some(self.reactor.questions().schedule().created()),
            false => self.reactor.next_turn(),
        }
    }
}

impl<H: Handler<M> + 'static, M: 'static> AnyNode for Running<H, M> {
    fn turn(&mut self) -> Result<(), String> {
        let turn = match self.working.take_if(|working| !working.is_over()) {
            Some(working) => self.turn_of_worker(working),
            None => self.turn_reactor(),
        };
        self.asleep = Some(self.next_turn());
        if let Some(check) = &mut self.check {
            check(&mut self.app.inner, self.reactor.questions());
        }
        self.watch_for_spin(turn)
    }

    fn wakes_at(&mut self) -> Option<Instant> {
        if self.asleep.is_none() {
            self.asleep = Some(self.next_turn());
        }
        self.asleep.flatten()
    }

    fn poller(&self) -> Option<usize> {
        Some(self.poller)
    }

    fn leaks(&self) -> String {
        self.reactor.leaks()
    }
}
