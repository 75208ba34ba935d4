//! Workers that run: a thread for each, and what they say at the end.

use super::{Blueprint, Parts, Team, Worker};
use crate::backend::{Thread, pin_thread};
use crate::context::{Chair, Context, Order};
use crate::handler::Handler;
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
    /// What `run` of its reactor would have answered; the last one's, if it was restarted.
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
    fn of(workers: Vec<WorkerReport>, error: Option<io::Error>) -> WorkersReport {
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

    /// Waits until all workers are over. Only an end that somebody has asked for comes: one by
    /// [`Team::finish`] or [`Team::stop`], or of each worker by itself.
    pub fn join(self) -> WorkersReport {
        let joined = self.threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|panic| WorkerReport {
                panics: vec![text(&*panic)],
                ..WorkerReport::default()
            })
        });
        let workers = joined.collect();
        let front = self.front.join();
        let front = front.unwrap_or_else(|panic| Err(io::Error::other(text(&*panic))));
        WorkersReport::of(workers, front.err())
    }
}

pub(super) fn start<M, H, F>(
    parts: Parts<M>,
    pin: bool,
    restarts: usize,
    factory: Arc<F>,
) -> io::Result<Running<M>>
where
    M: Send + 'static,
    H: Handler<M>,
    F: Fn(&mut Worker<'_, M>) -> H + Send + Sync + 'static,
{
    let Parts {
        blueprint,
        front,
        seats,
        team,
    } = parts;
    let blueprint = Arc::new(blueprint);
    let mut threads = Vec::new();
    for (chair, cx) in seats {
        let life = Life {
            chair,
            team: team.clone(),
            blueprint: blueprint.clone(),
            pin,
            restarts,
        };
        let (factory, name) = (factory.clone(), format!("sockeye-{}", life.chair.number));
        let thread = Thread::spawn(name, move || life.live(cx, &*factory));
        threads.push(thread.inspect_err(|_| _ = team.stop())?);
    }
    let front = Thread::spawn("sockeye-accept".to_owned(), move || front.run());
    let front = front.inspect_err(|_| _ = team.stop())?;
    Ok(Running {
        team,
        threads,
        front,
    })
}

/// The life of a worker, over all its handlers.
struct Life<M> {
    chair: Chair,
    team: Team<M>,
    blueprint: Arc<Blueprint>,
    pin: bool,
    restarts: usize,
}

impl<M> Life<M> {
    fn live<H, F>(self, mut cx: Context, factory: &F) -> WorkerReport
    where
        H: Handler<M>,
        F: Fn(&mut Worker<'_, M>) -> H,
    {
        let number = self.chair.number;
        if let Some(error) = self.pin.then(|| pin_thread(number).err()).flatten() {
            log::warn!(target: "sockeye", "worker {number} is not bound to a processor: {error}");
        }
        let mut report = WorkerReport::default();
        loop {
            cx.sit(&self.chair);
            let mut reactor = Reactor::of_worker(cx, &self.team[number]);
            let ended = catch_unwind(AssertUnwindSafe(|| self.run(&mut reactor, factory)));
            report.stats = reactor.context().stats().clone();
            let mut returns = false;
            match ended {
                Ok(Ok(last)) => report.report = last,
                Ok(Err(error)) => report.error = Some(error),
                Err(panic) => {
                    let text = text(&*panic);
                    log::error!(target: "sockeye", "worker {number} panicked: {text}");
                    report.panics.push(text);
                    returns = report.panics.len() <= self.restarts;
                    returns &= !reactor.finishes() && !self.team.is_ending();
                    // It was asked to end in the turn in which it panicked.
                    returns &= !self.team[number].has_stopped();
                }
            }
            // What waits for it goes to others.
            reactor.leave(returns);
            // Before it is there again: its mailbox is closed with it. What it holds of a user's
            // may panic in that, and is no reason for the others to wait for this one.
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(reactor)));
            report
                .panics
                .extend(dropped.err().map(|panic| text(&*panic)));
            if !returns {
                return report;
            }
            cx = match self.blueprint.context() {
                Ok(cx) => cx,
                Err(error) => {
                    report.error = Some(error);
                    self.tell(Order::Gone {
                        worker: number,
                        sockets: Vec::new(),
                        returns: false,
                    });
                    return report;
                }
            };
        }
    }

    fn run<H, F>(&self, reactor: &mut Reactor<M>, factory: &F) -> io::Result<Report>
    where
        H: Handler<M>,
        F: Fn(&mut Worker<'_, M>) -> H,
    {
        // One that was away when all were told to stop has not heard it.
        if self.team.is_stopping() {
            return Ok(Report::default());
        }
        self.tell(Order::Back(self.chair.number));
        let mut app = factory(&mut Worker {
            number: self.chair.number,
            reactor,
            team: &self.team,
        });
        reactor.run(&mut app)
    }

    fn tell(&self, order: Order) {
        // With nobody to hear it, all is over.
        drop(self.chair.front.send(order));
    }
}

/// What a panic said.
fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_owned()
}
