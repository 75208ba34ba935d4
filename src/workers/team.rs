//! The workers as others see them, and as one of them sees itself.

use crate::context::{Context, Order};
use crate::mailbox::Sender;
use crate::reactor::Reactor;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// All workers, to be told something: from any thread, also from their handlers. Clone it freely.
///
/// It is a slice of their senders, by number: `team[2].send(message)`.
pub struct Team<M> {
    senders: Arc<[Sender<M>]>,
    front: Sender<Order>,
    ending: Arc<Ending>,
}

/// What all were told, for one that is between two lives and hears nothing.
#[derive(Default)]
struct Ending {
    finishes: AtomicBool,
    stops: AtomicBool,
}

impl<M> Clone for Team<M> {
    fn clone(&self) -> Team<M> {
        Team {
            senders: self.senders.clone(),
            front: self.front.clone(),
            ending: self.ending.clone(),
        }
    }
}

impl<M> fmt::Debug for Team<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team")
            .field("workers", &self.senders.len())
            .finish_non_exhaustive()
    }
}

impl<M> Deref for Team<M> {
    type Target = [Sender<M>];

    fn deref(&self) -> &[Sender<M>] {
        &self.senders
    }
}

impl<M> Team<M> {
    pub(super) fn new(senders: Arc<[Sender<M>]>, front: Sender<Order>) -> Team<M> {
        Team {
            senders,
            front,
            ending: Arc::default(),
        }
    }

    /// Were all told to end? Then nobody begins again.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.finishes.load(SeqCst) || self.is_stopping()
    }

    /// Were all told to stop? A mailbox that was closed at that moment does not know.
    pub(super) fn is_stopping(&self) -> bool {
        self.ending.stops.load(SeqCst)
    }

    /// Posts a message to every worker, also to the one that calls it: each has a clone, which for
    /// bytes that are many should be a shared one (`bytes::Bytes`). Answers how many have taken it;
    /// those whose mailbox is full have not, nor those that are over.
    ///
    /// What one thread posts comes to each worker in the order of posting. What several threads
    /// post may come to two workers in two orders.
    pub fn broadcast(&self, message: M) -> usize
    where
        M: Clone,
    {
        let posted = self.iter().filter(|to| to.send(message.clone()).is_ok());
        posted.count()
    }

    /// Stops all workers gracefully, as [`Context::finish`] does one: first nobody is accepted any
    /// more, and then each connection gets `on_finish`, those too that were accepted and not open
    /// yet; but who is in a handshake of TLS, or before it, is dropped, as at any finish. When no
    /// worker has a connection left, all of them are over. A second call can only shorten the
    /// grace. No worker that panics from then on begins again. `false`: they are over already.
    ///
    /// [`Context::finish`] called by a handler is for its own worker alone: it ends, the others go
    /// on, and what was in its mail comes to them. The last one opens what no other takes.
    pub fn finish(&self, grace: Duration) -> bool {
        self.ending.finishes.store(true, SeqCst);
        self.front.send(Order::Finish(grace)).is_ok()
    }

    /// Stops all workers at once, as [`Sender::stop`] does one: their connections end with no word
    /// to anybody. `false`: they are over already.
    pub fn stop(&self) -> bool {
        self.ending.stops.store(true, SeqCst);
        // Each is told, whatever the one before it says.
        self.iter().filter(|worker| worker.stop()).count() > 0
    }
}

/// A worker that is about to begin, for the factory that makes its handler.
pub struct Worker<'a, M = ()> {
    pub(crate) number: usize,
    pub(crate) reactor: &'a mut Reactor<M>,
    pub(crate) team: &'a Team<M>,
}

impl<M> fmt::Debug for Worker<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl<M> Worker<'_, M> {
    /// The number of the worker: 0 for the first. One that is restarted has the number it had.
    pub fn number(&self) -> usize {
        self.number
    }

    /// How many workers there are.
    pub fn count(&self) -> usize {
        self.team.len()
    }

    /// All workers, this one too. Messages that are posted now wait for those that have not begun.
    pub fn team(&self) -> &Team<M> {
        self.team
    }

    /// Commands and questions of the worker's reactor, to set a timer, to connect, or to listen.
    pub fn context(&mut self) -> &mut Context {
        self.reactor.context()
    }
}
