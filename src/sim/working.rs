//! A node that is one of several workers: how its handlers are made, and what ends with them.

use crate::backend::Backend;
use crate::backend::simnet::{SharedNet, Sim};
use crate::config::Config;
use crate::context::Context;
use crate::handler::Handler;
use crate::mailbox::Sender;
use crate::reactor::Reactor;
use crate::stats::Report;
use crate::workers::{Ended, Life, Worker, WorkerReport};
use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

/// Makes the handlers of workers.
pub(super) type Factory<H, M> = Rc<dyn Fn(&mut Worker<'_, M>) -> H>;

/// The pollers that were made for workers; the last one is the newest.
pub(super) type Pollers = Arc<Mutex<Vec<usize>>>;

/// What all workers of a start have in common.
pub(super) struct Shop<H, M> {
    pub(super) factory: Factory<H, M>,
    pub(super) pollers: Pollers,
    pub(super) net: SharedNet,
    pub(super) host: IpAddr,
    /// A panic of theirs does not come out of the world.
    pub(super) catches: Rc<Cell<bool>>,
}

impl<H, M> Clone for Shop<H, M> {
    fn clone(&self) -> Shop<H, M> {
        Shop {
            factory: self.factory.clone(),
            pollers: self.pollers.clone(),
            net: self.net.clone(),
            host: self.host,
            catches: self.catches.clone(),
        }
    }
}

impl<H, M> Shop<H, M> {
    /// The poller of a worker, at first.
    pub(super) fn poller(&self, number: usize) -> usize {
        self.pollers.lock().unwrap_or_else(PoisonError::into_inner)[number]
    }
}

/// A worker's life in a world.
pub(super) struct Working<H, M> {
    life: Life<M>,
    shop: Shop<H, M>,
    /// What its next handler begins with, a turn later: until then it is away.
    next: Option<Context>,
    over: bool,
}

/// A reactor and the handler for it, or no handler: it was told to stop.
type Begun<H, M> = (Reactor<M>, Ended<Option<H>>);

impl<H: Handler<M>, M> Working<H, M> {
    pub(super) fn new(life: Life<M>, shop: Shop<H, M>) -> Working<H, M> {
        Working {
            life,
            shop,
            next: None,
            over: false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Is it between two handlers?
    pub(super) fn is_away(&self) -> bool {
        self.next.is_some()
    }

    pub(super) fn sender(&self) -> Sender<M> {
        self.life.sender()
    }

    pub(super) fn report(&self) -> WorkerReport {
        self.life.report()
    }

    /// Does something, and catches a panic if the world is to: see `World::catch_panics`.
    pub(super) fn guard<R>(&self, act: impl FnOnce() -> R) -> Ended<R> {
        let done = catch_unwind(AssertUnwindSafe(act));
        match done {
            Err(panic) if !self.shop.catches.get() => resume_unwind(panic),
            done => done,
        }
    }

    /// Begins again, if it is to.
    pub(super) fn begin(&mut self) -> Option<Begun<H, M>> {
        let cx = self.next.take()?;
        let life = &self.life;
        let mut reactor = life.sit(cx);
        let app = self.guard(|| life.begin(&mut reactor, &*self.shop.factory));
        Some((reactor, app))
    }

    /// Ends the life of a handler. Answers the poller of the next one, if there is to be one.
    pub(super) fn end(
        &mut self,
        reactor: Reactor<M>,
        ended: Ended<io::Result<Report>>,
    ) -> Option<usize> {
        self.next = self.life.end(reactor, ended);
        self.over = self.next.is_none();
        let pollers = self.shop.pollers.lock();
        let pollers = pollers.unwrap_or_else(PoisonError::into_inner);
        self.next.as_ref().and(pollers.last().copied())
    }

    /// A reactor with nothing in it, for a worker that is over or away, and its poller: nothing
    /// wakes it.
    pub(super) fn no_reactor(&self) -> (Reactor<M>, usize) {
        let config = Config::default();
        let sim = Sim::new(&self.shop.net, self.shop.host, config.events_per_wait);
        let poller = sim.poller();
        (Reactor::on_backend(Backend::Sim(sim), config), poller)
    }
}
