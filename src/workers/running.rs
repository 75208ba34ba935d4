//! Workers that run: a thread for each, and what they say at the end.

use super::{Blueprint, Parts, Team, Worker, cannot};
use crate::backend::{Thread, pin_thread};
use crate::context::{Chair, Context, Order};
use crate::handler::Handler;
use crate::quietly::drop_quietly;
use crate::reactor::Reactor;
use crate::stats::{Report, Stats};
use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Workers that have been started. Dropped, they go on; [`join`](Running::join) waits for their
/// end.
pub struct Running<M = ()> {
    team: Team<M>,
    threads: Vec<Thread<WorkerReport>>,
    front: Thread<io::Result<()>>,
}

impl<M> fmt::Debug for Running<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("workers", &self.threads.len())
            .finish_non_exhaustive()
    }
}

/// How all workers came to their end: what [`Running::join`] answers.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct WorkersReport {
    /// The reports of all workers, summed up. It has `finished` if each of them has finished.
    pub report: Report,
    /// Each worker by itself, by number.
    pub workers: Vec<WorkerReport>,
    /// Why the loop that accepts has ended before its time, if it has.
    pub error: Option<io::Error>,
}

/// How one worker came to its end.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct WorkerReport {
    /// What `run` of its reactor would have answered; the last one's, if it was restarted. All zero
    /// if that one has panicked: connections that a panic closes are counted nowhere in it.
    pub report: Report,
    /// What its reactor has done; the last one's, if it was restarted.
    pub stats: Stats,
    /// What its handlers have panicked with, in turn; more than one, if it was restarted.
    pub panics: Vec<String>,
    /// What made waiting impossible, or a restart.
    pub error: Option<io::Error>,
}

/// `12 closed, 3 aborted, 0 bytes lost; worker 1 panicked: no such room`.
impl fmt::Display for WorkersReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.report)?;
        for (number, worker) in self.workers.iter().enumerate() {
            for panic in &worker.panics {
                write!(f, "; worker {number} panicked: {panic}")?;
            }
            if let Some(error) = &worker.error {
                write!(f, "; worker {number}: {error}")?;
            }
        }
        match &self.error {
            Some(error) => write!(f, "; accepting: {error}"),
            None => Ok(()),
        }
    }
}

impl WorkersReport {
    pub(crate) fn of(workers: Vec<WorkerReport>, error: Option<io::Error>) -> WorkersReport {
        let mut report = Report {
            finished: workers.iter().all(|worker| worker.report.finished),
            ..Report::default()
        };
        for worker in &workers {
            report.closed += worker.report.closed;
            report.aborted += worker.report.aborted;
            report.bytes_lost += worker.report.bytes_lost;
        }
        WorkersReport {
            report,
            workers,
            error,
        }
    }
}

impl<M> Running<M> {
    /// All workers, to be told something: clone it, and give it to whoever waits for signals.
    pub fn team(&self) -> &Team<M> {
        &self.team
    }

    /// Waits until all workers are over: after [`Team::finish`] or [`Team::stop`], or when each has
    /// ended by itself, by its own `finish` or `stop` or by a panic. That it has no connection left
    /// ends no worker.
    pub fn join(self) -> WorkersReport {
        let joined = self.threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|panic| WorkerReport {
                panics: vec![told_by(panic)],
                ..WorkerReport::default()
            })
        });
        let workers = joined.collect();
        let front = self.front.join();
        let front = front.unwrap_or_else(|panic| Err(io::Error::other(told_by(panic))));
        WorkersReport::of(workers, front.err())
    }
}

pub(super) fn start<M, H, F>(parts: Parts<M>, pin: bool, factory: Arc<F>) -> io::Result<Running<M>>
where
    M: Send + 'static,
    H: Handler<M>,
    F: Fn(&mut Worker<'_, M>) -> H + Send + Sync + 'static,
{
    let Parts {
        blueprint,
        restarts,
        front,
        seats,
        team,
    } = parts;
    let mut threads = Vec::new();
    for (chair, cx) in seats {
        let (factory, name) = (factory.clone(), format!("sockeye-{}", chair.number));
        let life = Life::new(chair, team.clone(), blueprint.clone(), restarts);
        let thread = Thread::spawn(name, move || life.live(cx, pin, &*factory));
        threads.push(thread.map_err(|error| no_thread(&error, &team))?);
    }
    let front = Thread::spawn("sockeye-accept".to_owned(), move || front.run());
    let front = front.map_err(|error| no_thread(&error, &team))?;
    Ok(Running {
        team,
        threads,
        front,
    })
}

/// Those that have a thread end.
fn no_thread<M>(error: &io::Error, team: &Team<M>) -> io::Error {
    team.stop();
    cannot("start a thread for each worker", error)
}

/// What something came to, or what it panicked with.
pub(crate) type Ended<T> = Result<T, Box<dyn Any + Send>>;

/// The life of a worker, over all its handlers.
pub(crate) struct Life<M> {
    chair: Chair,
    team: Team<M>,
    blueprint: Arc<Blueprint>,
    restarts: usize,
    report: WorkerReport,
}

impl<M> Life<M> {
    pub(crate) fn new(
        chair: Chair,
        team: Team<M>,
        blueprint: Arc<Blueprint>,
        restarts: usize,
    ) -> Life<M> {
        Life {
            chair,
            team,
            blueprint,
            restarts,
            report: WorkerReport::default(),
        }
    }

    fn live<H, F>(mut self, cx: Context, pin: bool, factory: &F) -> WorkerReport
    where
        H: Handler<M>,
        F: Fn(&mut Worker<'_, M>) -> H,
    {
        let number = self.chair.number;
        if let Some(error) = pin.then(|| pin_thread(number).err()).flatten() {
            log::warn!(target: "sockeye", "worker {number} is not bound to a processor: {error}");
        }
        let mut next = Some(cx);
        while let Some(cx) = next {
            let (mut reactor, mut app) = (self.sit(cx), None);
            let run = || self.run(&mut reactor, &mut app, factory);
            let ended = catch_unwind(AssertUnwindSafe(run));
            // However it has ended: to drop a handler may take long, and what waits is for others.
            reactor.be_gone(None);
            // When the unwinding is over: a handler that panics as it is dropped (at a mutex that
            // its callback has poisoned, say) would in it end the process.
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(app)));
            next = self.end(reactor, ended);
            self.has_dropped(dropped);
        }
        self.report
    }

    /// A reactor for its next handler.
    pub(crate) fn sit(&self, mut cx: Context) -> Reactor<M> {
        cx.sit(&self.chair);
        Reactor::of_worker(cx, &self.team[self.chair.number])
    }

    /// Makes the next handler, and runs it; it is the caller's to drop.
    fn run<H, F>(
        &self,
        reactor: &mut Reactor<M>,
        app: &mut Option<H>,
        factory: &F,
    ) -> io::Result<Report>
    where
        H: Handler<M>,
        F: Fn(&mut Worker<'_, M>) -> H,
    {
        *app = self.begin(reactor, factory);
        match app {
            Some(app) => reactor.run(app),
            None => Ok(Report::default()),
        }
    }

    /// What was dropped may have panicked in that.
    fn has_dropped(&mut self, dropped: Ended<()>) {
        self.report.panics.extend(dropped.err().map(told_by));
    }

    /// Makes the next handler. `None`: the worker was told to stop, or nobody is there who would
    /// tell it to.
    pub(crate) fn begin<H, F>(&self, reactor: &mut Reactor<M>, factory: &F) -> Option<H>
    where
        F: Fn(&mut Worker<'_, M>) -> H + ?Sized,
    {
        // One that was away when all were told to stop has not heard it.
        if self.team.is_stopping() {
            return None;
        }
        self.chair.front.send(Order::Back(self.chair.number)).ok()?;
        Some(self.make(reactor, factory))
    }

    /// Makes a handler.
    pub(crate) fn make<H, F>(&self, reactor: &mut Reactor<M>, factory: &F) -> H
    where
        F: Fn(&mut Worker<'_, M>) -> H + ?Sized,
    {
        factory(&mut Worker {
            number: self.chair.number,
            reactor,
            team: &self.team,
        })
    }

    /// A handler is over, in one way or another. Answers what the next one begins with, if there
    /// is to be one.
    pub(crate) fn end(
        &mut self,
        mut reactor: Reactor<M>,
        ended: Ended<io::Result<Report>>,
    ) -> Option<Context> {
        let number = self.chair.number;
        self.report.stats = reactor.context().stats().clone();
        let mut returns = false;
        match ended {
            Ok(Ok(last)) => self.report.report = last,
            Ok(Err(error)) => self.report.error = Some(error),
            Err(panic) => {
                let text = told_by(panic);
                log::error!(target: "sockeye", "worker {number} panicked: {text}");
                self.report.panics.push(text);
                returns = self.restarts > 0;
                returns &= !reactor.finishes() && !self.team.is_ending();
                // It was asked to end in the turn in which it panicked, and has seen that or not.
                returns &= !self.team[number].has_stopped() && !reactor.is_stopping();
            }
        }
        // What waits for it goes to others, unless it has gone already.
        reactor.be_gone(Some(returns));
        // Before it is there again, for its mailbox is closed with it. A message or a source in it
        // may panic as it is dropped: no reason for the others to wait for this one.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(reactor)));
        self.has_dropped(dropped);
        if !returns {
            return None;
        }
        self.restarts -= 1;
        match self.blueprint.context() {
            Ok(cx) => Some(cx),
            Err(error) => {
                self.report.error = Some(error);
                self.tell(Order::Gone {
                    worker: number,
                    sockets: Vec::new(),
                    returns: false,
                });
                None
            }
        }
    }

    /// What others tell it by.
    #[cfg(feature = "sim")]
    pub(crate) fn sender(&self) -> crate::mailbox::Sender<M> {
        self.team[self.chair.number].clone()
    }

    /// How it has gone until now.
    #[cfg(feature = "sim")]
    pub(crate) fn report(&self) -> WorkerReport {
        let report = &self.report;
        let error = report.error.as_ref();
        WorkerReport {
            report: report.report,
            stats: report.stats.clone(),
            panics: report.panics.clone(),
            error: error.map(|error| io::Error::new(error.kind(), error.to_string())),
        }
    }

    fn tell(&self, order: Order) {
        // With nobody to hear it, all is over.
        drop(self.chair.front.send(order));
    }
}

/// What a panic said. What it carries is the user's, and may panic as it is dropped.
fn told_by(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("without a message").to_owned();
    drop_quietly(panic);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::Workers;
    use crate::{ConnId, Context, Input};

    struct Nothing;

    impl Handler for Nothing {
        fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
    }

    // Nobody would tell it to end.
    #[test]
    fn with_no_loop_that_accepts_a_worker_does_not_begin() {
        let parts = Workers::new(1).unwrap().into_parts::<()>();
        let Parts {
            blueprint,
            team,
            mut seats,
            front,
            ..
        } = parts;
        drop(front);
        let (chair, cx) = seats.remove(0);
        let life = Life::new(chair, team, blueprint, 1);
        let made = std::cell::Cell::new(false);
        let report = life.live(cx, false, &|_: &mut Worker<'_, ()>| {
            made.set(true);
            Nothing
        });
        assert!(!made.get() && report.panics.is_empty() && report.error.is_none());
    }
}
