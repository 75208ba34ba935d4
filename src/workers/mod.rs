//! Several reactors, one a thread, and one loop that accepts for all of them.

mod front;
mod running;
mod team;

pub(crate) use front::Front;
#[cfg(feature = "sim")]
pub(crate) use running::{Ended, Life};
pub use running::{Running, WorkerReport, WorkersReport};
pub use team::{Team, Worker};

use crate::addr::{Addr, Target};
use crate::backend::{Backend, cores, pins_threads};
use crate::config::Config;
use crate::context::{Chair, Context, Load, Places};
use crate::handler::Handler;
use crate::id::{Key, ListenerId};
use crate::mailbox::{Mailbox, Sender};
use crate::options::{Listen, ToListen};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Several reactors, each on its own thread and with its own handler: for more than one core.
///
/// All workers share their listeners. A loop on another thread accepts, and hands each socket to
/// one of the workers, where `on_accept` and everything that follows is called. The workers share
/// nothing but counters; they communicate by messages.
///
/// ```no_run
/// use sockeye::{ConnId, Context, Handler, Input, Sent, Workers};
/// use std::io;
///
/// struct Echo;
///
/// impl Handler for Echo {
///     fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
///         if cx.send(conn, input.take_all()) == Sent::Wait {
///             cx.pause_until_drained(conn);
///         }
///     }
/// }
///
/// fn main() -> io::Result<()> {
///     let mut workers = Workers::per_core()?;
///     workers.listen("127.0.0.1:7000")?;
///     workers.run(|_| Echo)?;
///     Ok(())
/// }
/// ```
///
/// If a callback panics, its worker ends: its connections are closed, the other workers go on, and
/// the report says so. [`restarts`](Workers::restarts) lets it start again with a new handler.
#[doc(alias("threads", "multi-core", "SO_REUSEPORT"))]
pub struct Workers {
    blueprint: Blueprint,
    /// Accepts for all.
    front: Context,
    /// The context of each worker, with the listeners so far.
    contexts: Vec<Context>,
    /// The listeners of the loop that accepts, and what the workers call them.
    listeners: Vec<(ListenerId, Key)>,
    hand_over: HandOver,
    pin: bool,
    restarts: usize,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("workers", &self.contexts.len())
            .field("hand_over", &self.hand_over)
            .finish_non_exhaustive()
    }
}

/// Which worker gets a new connection: [`Workers::hand_over`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandOver {
    /// The one that has the fewest connections; among equals, each in turn.
    #[default]
    LeastConnections,
    /// Each in turn.
    RoundRobin,
    /// The one that the system chooses: each worker has its own socket at the same address
    /// (`SO_REUSEPORT`, socket(7)), and nothing is handed over.
    ///
    /// This costs the least for each connection, but the system goes by a hash: the shares are
    /// uneven, and a busy worker gets as many as an idle one. Peers that wait in the backlog of a
    /// worker that ends are reset. At [`Config::max_connections`] only who lingers at the worker
    /// that was chosen gives way. TCP only, and not on Windows: there the second socket fails with
    /// `AddrInUse`.
    ReusePort,
}

/// How the context of a worker is made, at first and again.
pub(crate) struct Blueprint {
    config: Config,
    listeners: Vec<Planned>,
    backend: Box<dyn Fn() -> io::Result<Backend> + Send + Sync>,
}

/// A listener of all workers.
struct Planned {
    listen: Listen,
    addrs: Vec<Addr>,
    /// Each worker has a socket of its own.
    each: bool,
}

impl Planned {
    fn add_to(&self, cx: &mut Context) -> io::Result<ListenerId> {
        match self.each {
            true => cx.listen_too(&self.listen, &self.addrs),
            false => cx.listen_by(&self.listen, &self.addrs),
        }
    }
}

impl Blueprint {
    fn context(&self) -> io::Result<Context> {
        let mut cx = Context::new((self.backend)()?, self.config.clone());
        for planned in &self.listeners {
            planned.add_to(&mut cx)?;
        }
        Ok(cx)
    }
}

impl Workers {
    /// Makes so many workers, at least one, with the default [`Config`].
    ///
    /// # Errors
    ///
    /// The system's error, usually that no descriptors are left. A worker needs two.
    pub fn new(workers: usize) -> io::Result<Workers> {
        Workers::with_config(workers, Config::default())
    }

    /// Makes as many workers as this process may use processors, with the default [`Config`].
    ///
    /// # Errors
    ///
    /// As [`new`](Workers::new).
    pub fn per_core() -> io::Result<Workers> {
        Workers::new(cores())
    }

    /// Makes so many workers with a [`Config`] of yours. [`Config::max_connections`] is for all of
    /// them together; every other number applies to each worker.
    ///
    /// # Errors
    ///
    /// `InvalidInput` with a [`ConfigError`](crate::ConfigError), or the system's error.
    pub fn with_config(workers: usize, config: Config) -> io::Result<Workers> {
        config
            .check()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let (events, busy_poll) = (config.events_per_wait, config.busy_poll);
        // The loop that accepts does not keep a processor busy while it waits.
        let front = Backend::os(events, Duration::ZERO)?;
        let backend = Box::new(move || Backend::os(events, busy_poll));
        Workers::on_backends(workers, config, front, backend)
    }

    pub(crate) fn on_backends(
        workers: usize,
        config: Config,
        front: Backend,
        backend: Box<dyn Fn() -> io::Result<Backend> + Send + Sync>,
    ) -> io::Result<Workers> {
        let front = Context::new(front, config.clone());
        let blueprint = Blueprint {
            config,
            listeners: Vec::new(),
            backend,
        };
        let context = |number| {
            let made = blueprint.context();
            made.map_err(|error| cannot(&format!("make worker {number}"), &error))
        };
        let contexts = (0..workers.max(1)).map(context);
        Ok(Workers {
            contexts: contexts.collect::<io::Result<_>>()?,
            blueprint,
            front,
            listeners: Vec::new(),
            hand_over: HandOver::default(),
            pin: false,
            restarts: 0,
        })
    }

    /// Which worker gets a new connection. Default: the one with the fewest. `ReusePort` is for
    /// listeners that are made after it.
    pub fn hand_over(mut self, hand_over: HandOver) -> Workers {
        self.hand_over = hand_over;
        self
    }

    /// Binds each worker's thread to a processor of its own (sched_setaffinity(2)), of those that
    /// this process may use. Linux only: elsewhere `start` fails. Default: the system chooses.
    ///
    /// It helps if nothing else runs. Beside other busy threads a bound worker waits for its
    /// processor even while another one is free.
    pub fn pin(mut self, pin: bool) -> Workers {
        self.pin = pin;
        self
    }

    /// How often a worker whose handler has panicked starts again, with a new handler from the
    /// factory and no connections. Default: never. Between two handlers, and after the last,
    /// messages come back to their senders. A worker that was told to end, by [`Sender::stop`] too,
    /// does not start again.
    ///
    /// It starts again at once: with many restarts a factory that always panics keeps a processor
    /// busy, and each panic is a line in the log and in the report.
    pub fn restarts(mut self, most: usize) -> Workers {
        self.restarts = most;
        self
    }

    /// Listens for all workers, at once, like [`Context::listen`]; the listener has the same id in
    /// all of them. What a worker does with the id concerns only that worker: if it calls
    /// `unlisten`, it gets no more of this listener's connections, and the others do. When all
    /// workers that are there have called it, the listener is closed for good: a worker that starts
    /// again later has the id too, and gets nobody from it. If one calls `pause_accepts`, its share
    /// of the new peers waits until it resumes, although others are free. A worker may also listen
    /// by itself.
    ///
    /// # Errors
    ///
    /// As [`Context::listen`]. Then no worker listens.
    pub fn listen(&mut self, listen: impl ToListen) -> io::Result<ListenerId> {
        let listen: Listen = listen.into();
        let each = self.hand_over == HandOver::ReusePort;
        let (first, others) = match self.contexts.split_at_mut(usize::from(each)) {
            ([first], others) => (first, others),
            (_, all) => (&mut self.front, all),
        };
        let listen = match each {
            true if matches!(listen.target, Target::Addr(Addr::Unix(_))) => {
                let text = "`HandOver::ReusePort` supports TCP only";
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
            true => listen.reuse_port(true),
            false => listen,
        };
        let made = first.listen(listen.clone())?;
        let planned = Planned {
            listen,
            addrs: first.listener_addrs(made).cloned().collect(),
            each,
        };
        let mut ids = Vec::new();
        for cx in others.iter_mut() {
            match planned.add_to(cx) {
                Ok(id) => ids.push(id),
                Err(error) => {
                    // For all, or for none.
                    first.listen_no_more(made);
                    let listening = others.iter_mut().zip(ids);
                    listening.for_each(|(cx, id)| cx.listen_no_more(id));
                    return Err(error);
                }
            }
        }
        let id = if each { made } else { ids[0] };
        debug_assert!(ids.iter().all(|other| *other == id));
        if !each {
            self.listeners.push((made, id.0));
        }
        self.blueprint.listeners.push(planned);
        Ok(id)
    }

    /// Where a listener listens, with the port that the system chose for port 0; of a name with
    /// several addresses, at the first.
    pub fn listener_addr(&self, listener: ListenerId) -> Option<&Addr> {
        self.contexts[0].listener_addr(listener)
    }

    /// Starts the workers, each on its own thread, and the loop that accepts.
    ///
    /// Each worker calls the factory in its thread, to make its handler; the factory may use the
    /// worker's reactor and has the senders of all workers. A handler need not be `Send`. A panic
    /// in the factory counts as a panic of the handler. A worker gets its share of connections from
    /// the start, and again as it begins again: they wait until its factory returns, so do before
    /// `start` what takes long.
    ///
    /// # Errors
    ///
    /// The system's error, usually that it has no threads left. Workers that already have a thread
    /// end then.
    pub fn start<M, H, F>(self, factory: F) -> io::Result<Running<M>>
    where
        M: Send + 'static,
        H: Handler<M>,
        F: Fn(&mut Worker<'_, M>) -> H + Send + Sync + 'static,
    {
        if self.pin && !pins_threads() {
            let text = "binding threads to processors is not supported on this system";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        let pin = self.pin;
        running::start(self.into_parts(), pin, Arc::new(factory))
    }

    /// Starts the workers, and waits until all of them are over: after [`Team::finish`], or
    /// [`Team::stop`], or when each has ended by itself.
    ///
    /// # Errors
    ///
    /// As [`start`](Workers::start).
    pub fn run<M, H, F>(self, factory: F) -> io::Result<WorkersReport>
    where
        M: Send + 'static,
        H: Handler<M>,
        F: Fn(&mut Worker<'_, M>) -> H + Send + Sync + 'static,
    {
        self.start(factory).map(Running::join)
    }

    pub(crate) fn into_parts<M>(self) -> Parts<M> {
        let config = &self.blueprint.config;
        let orders = Mailbox::new(usize::MAX, self.front.wake());
        let places = match config.max_connections {
            usize::MAX => None,
            most => Some(Arc::new(Places::new(most))),
        };
        let chairs: Vec<Chair> = (0..self.contexts.len())
            .map(|number| Chair {
                number,
                mail: Sender::detached(usize::MAX),
                front: orders.sender(),
                load: Arc::new(Load::default()),
                places: places.clone(),
            })
            .collect();
        let limit = config.message_limit;
        let senders = chairs.iter().map(|_| Sender::detached(limit)).collect();
        let team = Team::new(senders, orders.sender());
        let front = Front::new(self.front, orders, self.listeners, &chairs, self.hand_over);
        let seats = chairs.into_iter().zip(self.contexts);
        Parts {
            blueprint: Arc::new(self.blueprint),
            restarts: self.restarts,
            front,
            seats: seats.collect(),
            team,
        }
    }
}

/// An error that says what could not be done.
fn cannot(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what}: {error}"))
}

/// What workers are made of, before they have threads.
pub(crate) struct Parts<M> {
    pub(crate) blueprint: Arc<Blueprint>,
    pub(crate) restarts: usize,
    pub(crate) front: Front,
    pub(crate) seats: Vec<(Chair, Context)>,
    pub(crate) team: Team<M>,
}
