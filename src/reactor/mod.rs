//! The loop: `run`, `turn`, and what an embedding application needs.

mod builder;
#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll)
))]
mod driver;
mod phases;
mod working;

pub use builder::Builder;
#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll)
))]
pub use driver::Driver;

use crate::backend::Backend;
use crate::buffer::receive::Receive;
use crate::config::Config;
use crate::context::Context;
use crate::handler::Handler;
use crate::id::{ListenerId, Tag};
use crate::mailbox::{Mailbox, Sender};
use crate::options::ToListen;
use crate::quietly::drop_quietly;
use crate::stats::{Report, Turn};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// One thread, one loop, every socket.
///
/// The reactor owns listeners and connections with their buffers, and calls a [`Handler`] when
/// something has happened. The handler is lent to [`run`](Reactor::run) or
/// [`turn`](Reactor::turn): the application keeps its own state. `M` is the type of the messages
/// that other threads may post.
///
/// Dropping it closes every descriptor without any callback, and drops what was posted.
///
/// A panic in a callback leaves `run` or `turn` as a panic. If you catch it, drop the reactor, too:
/// nothing leaks, but the turn is only half done. So every later turn is an error, no wakeup is due
/// any more, and other threads get their messages back.
#[doc(alias("epoll", "kqueue", "select", "poll", "event loop", "uv_loop_t"))]
pub struct Reactor<M = ()> {
    cx: Context,
    mailbox: Mailbox<M>,
    /// The loop's one receive buffer.
    receive: Receive,
    /// What the current turn has done.
    turn: Turn,
    /// A turn has begun and not ended: a callback has panicked in it, if another one begins.
    in_turn: bool,
}

impl<M> fmt::Debug for Reactor<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("stats", self.cx.stats())
            .finish_non_exhaustive()
    }
}

impl Reactor {
    /// A reactor without messages from other threads, with the default [`Config`].
    ///
    /// # Errors
    ///
    /// The system's error, usually that no descriptors are left.
    pub fn new() -> io::Result<Reactor> {
        Reactor::with_config(Config::default())
    }

    /// A reactor without messages from other threads, with a [`Config`] of yours.
    ///
    /// # Errors
    ///
    /// `InvalidInput` with a [`ConfigError`](crate::ConfigError), or the system's error.
    pub fn with_config(config: Config) -> io::Result<Reactor> {
        Reactor::with_messages_and_config(config)
    }
}

impl<M> Reactor<M> {
    /// A reactor to which other threads may post an `M`, with the default [`Config`].
    ///
    /// # Errors
    ///
    /// The system's error, usually that no descriptors are left.
    pub fn with_messages() -> io::Result<Reactor<M>> {
        Reactor::with_messages_and_config(Config::default())
    }

    /// A reactor to which other threads may post an `M`, with a [`Config`] of yours.
    ///
    /// # Errors
    ///
    /// `InvalidInput` with a [`ConfigError`](crate::ConfigError), or the system's error.
    pub fn with_messages_and_config(config: Config) -> io::Result<Reactor<M>> {
        config
            .check()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let backend = Backend::os(config.events_per_wait, config.busy_poll)?;
        Ok(Reactor::on_backend(backend, config))
    }

    pub(crate) fn on_backend(backend: Backend, config: Config) -> Reactor<M> {
        let mailbox = Mailbox::new(config.message_limit, backend.wake());
        Reactor::with_parts(Context::new(backend, config), mailbox)
    }

    fn with_parts(mut cx: Context, mailbox: Mailbox<M>) -> Reactor<M> {
        let capacity = cx.parts().config.receive_buffer;
        Reactor {
            receive: Receive::new(capacity, cx.parts().lending.hidden()),
            cx,
            mailbox,
            turn: Turn::default(),
            in_turn: false,
        }
    }

    /// Listens: [`Context::listen`], which every program needs before it runs.
    ///
    /// # Errors
    ///
    /// As [`Context::listen`].
    pub fn listen(&mut self, listen: impl ToListen) -> io::Result<ListenerId> {
        self.cx.listen(listen)
    }

    /// Every command and question, outside callbacks. An embedding application asks
    /// [`next_wakeup`](Reactor::next_wakeup) again after a command.
    pub fn context(&mut self) -> &mut Context {
        // The last turn may be long ago: a timeout that begins now must not begin back then.
        self.cx.parts().schedule.forget();
        &mut self.cx
    }

    /// The other threads' end of the mailbox: clone it and give it away.
    pub fn sender(&self) -> Sender<M> {
        self.mailbox.sender()
    }

    /// Turns until [`Context::stop`] is called, or until a [`Context::finish`] has ended; the
    /// [`Report`] says which. You may call it again. Without either it never returns, even if there
    /// is nothing left to wait for.
    ///
    /// # Errors
    ///
    /// Only errors that make waiting impossible. What happens to connections and listeners is
    /// reported to the handler.
    #[doc(alias("uv_run", "run_forever"))]
    pub fn run<H: Handler<M>>(&mut self, app: &mut H) -> io::Result<Report> {
        // It would wait for ever for a clock that only the world moves.
        #[cfg(feature = "sim")]
        if self.cx.backend().is_simulated() {
            let text = "a simulated reactor does not `run`: its world turns it";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        // A stop from before `run` does not wait for anything. In a foreign loop it means nothing.
        let leaves = *self.cx.parts().stopping || self.cx.is_over();
        let mut timeout = leaves.then_some(Duration::ZERO);
        loop {
            self.pass(app, timeout.take())?;
            if std::mem::take(self.cx.parts().stopping) {
                return Ok(Report::default());
            }
            if let Some(report) = self.cx.end_turn() {
                return Ok(report);
            }
        }
    }

    /// The report of a graceful stop that has ended: no connection is left.
    ///
    /// For applications that call [`turn`](Reactor::turn) themselves; `run` returns it. Ask after
    /// every turn, or when [`Turn::report`] is set: [`next_wakeup`](Reactor::next_wakeup) is due
    /// until the report is taken.
    pub fn take_report(&mut self) -> Option<Report> {
        self.cx.take_report()
    }

    /// One pass of the loop, which sleeps for at most `timeout`; `None`: until there is something
    /// to do.
    ///
    /// Every phase is bounded. What a budget leaves over goes on a list, and then the next wait
    /// does not sleep.
    ///
    /// 1. **wait**: block until readiness, a deadline, a message or `timeout`, or not at all if
    ///    work is left over; a signal (EINTR) is not an error
    /// 2. **accept**: listeners behind which connections wait; `on_accept`, `on_open`,
    ///    `on_accept_error`
    /// 3. **read**: connections with something to read, one receive buffer each; `on_data`,
    ///    `on_eof`, for connects `on_open`, for watches `on_ready`
    /// 4. **deliver**: messages from other threads, those that wait now; `on_message`, `on_finish`
    /// 5. **expire**: timers and deadlines due at the turn's `now`; `on_timer`, `on_deadline`
    /// 6. **flush**: connections with something to write, one write each; `on_drain`
    /// 7. **reap**: connections that are over; `on_close`, and the slots are free. 6 and 7 repeat
    ///    a bounded number of times
    ///
    /// # Errors
    ///
    /// Only errors that make waiting impossible, or that a callback panicked in an earlier turn.
    #[doc(alias("run_once", "uv_run"))]
    pub fn turn<H: Handler<M>>(
        &mut self,
        app: &mut H,
        timeout: Option<Duration>,
    ) -> io::Result<Turn> {
        self.pass(app, timeout)?;
        self.turn.more = self.has_work();
        self.turn.stopped = std::mem::take(self.cx.parts().stopping);
        self.turn.report = self.cx.final_report();
        Ok(self.turn)
    }

    fn pass<H: Handler<M>>(&mut self, app: &mut H, timeout: Option<Duration>) -> io::Result<()> {
        if self.in_turn {
            // What the system has told is taken, or a host would be woken by it for ever.
            self.cx
                .parts()
                .backend
                .wait(Some(Duration::ZERO), |_, _| {})?;
            let text = "a callback panicked: this reactor can only be dropped";
            return Err(io::Error::other(text));
        }
        self.turn = Turn::default();
        self.wait(timeout)?;
        self.in_turn = true;
        let phases = AssertUnwindSafe(|| self.phases(app));
        if let Err(panic) = catch_unwind(phases) {
            // Whoever sees that a worker has panicked may end another: what waited for it is on its
            // way to others by then. Whether it returns is not known yet.
            self.be_gone(None);
            // Nothing will be delivered any more: other threads get their messages back. What those
            // that wait do as they are dropped does not hide what the callback has panicked with.
            let waiting = self.mailbox.close_and_take();
            waiting.into_iter().for_each(drop_quietly);
            resume_unwind(panic);
        }
        self.in_turn = false;
        Ok(())
    }

    /// The phases of a turn, after the wait.
    #[inline]
    fn phases<H: Handler<M>>(&mut self, app: &mut H) {
        // A phase that has nothing to do costs a comparison.
        if self.cx.parts().lists.listeners_len() > 0 {
            self.accept(app);
        }
        self.read(app);
        if self.mailbox.has_messages() || self.cx.parts().finishing {
            self.deliver(app);
        }
        if !self.cx.schedule().is_empty() {
            self.expire(app);
        }
        if self.cx.parts().lists.have_seldom_work() {
            self.do_seldom_work(app);
        }
        // A block of broadcasts is to be cleared, too.
        let parts = self.cx.parts();
        if parts.lists.have_flushes() || !parts.outbox.is_clear() {
            self.flush_and_reap(app);
        }
        // What is created outside of callbacks inherits nothing from the last one.
        *self.cx.parts().tag = Tag::default();
    }

    /// When the next `turn` is due even if the descriptor is not readable. If work is left over, or
    /// a graceful stop has ended and its report was not taken, this is a time long past (when the
    /// reactor was made); otherwise it is when the earliest timer fires. `None`: not at all, or a
    /// callback has panicked.
    ///
    /// Ask after every turn, and after every command given outside of one.
    pub fn next_wakeup(&self) -> Option<Instant> {
        if self.in_turn {
            return None;
        }
        // A host may have read its clock before it asks: "now" would be later than that.
        match self.cx.is_over() {
            true => Some(self.cx.schedule().created()),
            false => self.next_turn(),
        }
    }

    /// When a turn has something to do, whether or not somebody takes a report.
    pub(crate) fn next_turn(&self) -> Option<Instant> {
        match self.has_work() {
            true => Some(self.cx.schedule().created()),
            false => self.cx.schedule().next(),
        }
    }

    /// What is left although every connection should be gone, in words; empty: nothing.
    #[cfg(feature = "sim")]
    pub(crate) fn leaks(&self) -> String {
        let messages = ("messages", self.mailbox.waiting());
        let [_, held @ ..] = self.cx.holds();
        let left = held.into_iter().chain([messages]);
        left.filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{count} {what}; "))
            .collect()
    }

    /// Connections and listeners.
    #[cfg(feature = "sim")]
    pub(crate) fn sockets(&self) -> usize {
        let [(_, listeners), (_, connections), (_, attempts), ..] = self.cx.holds();
        listeners + connections + attempts
    }

    /// For questions only: `context` would end the time of the last turn.
    #[cfg(feature = "sim")]
    pub(crate) fn questions(&self) -> &Context {
        &self.cx
    }

    #[cfg(feature = "sim")]
    pub(crate) fn stats(&self) -> &crate::stats::Stats {
        self.cx.stats()
    }

    /// Is work left over, so that a turn would have something to do without waiting? Then
    /// [`next_wakeup`](Reactor::next_wakeup) is due too; [`Turn::more`] is the same of that turn.
    ///
    /// It does not ask the system, and knows nothing about what is due by the clock. A report that
    /// was not taken does not count as work.
    pub fn has_work(&self) -> bool {
        !self.in_turn && (self.cx.has_work() || self.mailbox.has_messages())
    }
}

/// Readable when the kernel has something for the reactor, or a message has come: then `turn` it.
/// Timers and left-over work do not show here but in [`Reactor::next_wakeup`]; on Linux a `Driver`
/// has a descriptor that says everything.
#[cfg(all(unix, not(mio_unsupported_force_poll_poll)))]
impl<M> std::os::fd::AsFd for Reactor<M> {
    #[track_caller]
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.cx.backend().as_fd()
    }
}

#[cfg(all(unix, not(mio_unsupported_force_poll_poll)))]
impl<M> std::os::fd::AsRawFd for Reactor<M> {
    #[track_caller]
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.cx.backend().as_fd().as_raw_fd()
    }
}
