//! What a callback may do: commands that change state, and questions about it.
//!
//! A command never calls the handler and never moves a socket's bytes: it changes state, and the
//! loop acts on it in the phase that is for it. So no callback ever runs inside another one.

mod accepting;
mod closing;
mod connecting;
mod dialing;
mod finishing;
mod flushing;
#[cfg(unix)]
mod handing;
mod lending;
mod lingering;
mod listening;
mod lists;
mod naming;
mod pausing;
mod questions;
mod reading;
mod schedule;
mod seat;
#[cfg(feature = "tls")]
mod securing;
mod sourcing;
mod timing;
mod waiting;
#[cfg(unix)]
mod watching;
mod writing;

pub(crate) use accepting::{Accepted, Newcomer};
use dialing::Attempt;
pub(crate) use finishing::Finishing;
use lending::Lending;
use lingering::Lingerers;
pub(crate) use lists::{Lists, Ready};
use naming::Names;
pub(crate) use reading::{Next, Step};
pub(crate) use schedule::{Due, Schedule};
use seat::Seat;
pub(crate) use seat::{Chair, Load, Mail, Order, Places, Socket};
pub use writing::{Broadcast, Sent};

use crate::backend::Backend;
use crate::buffer::outbox::Outbox;
use crate::config::{Config, ConfigError, Limits};
use crate::conn::Conn;
use crate::id::{ConnId, Tag};
use crate::listener::Listener;
use crate::stats::Stats;
use crate::tables::slots::Slots;
use crate::watch::Watch;
use std::io;
use std::sync::Arc;

/// The loop as its callbacks see it: every command and every question.
///
/// Commands given with a stale id do nothing and say so; they never reach another connection and
/// never panic. Outside callbacks, [`Reactor::context`](crate::Reactor::context) gives the same
/// thing.
///
/// | command | its outcome is reported by |
/// |---|---|
/// | [`listen`](Self::listen) | its result, at once; then `on_accept`, `on_open` |
/// | [`unlisten`](Self::unlisten) | its result |
/// | [`pause_accepts`](Self::pause_accepts) | nothing: nobody is accepted until `resume_accepts` |
/// | [`resume_accepts`](Self::resume_accepts) | `on_accept`, `on_open` |
/// | [`connect`](Self::connect) | `on_open`; or `on_close`: `ConnectFailed`, `ConnectTimedOut` |
/// | [`set_resolver`](Self::set_resolver) | nothing |
/// | [`send`](Self::send), [`broadcast`](Self::broadcast) | [`Sent`]; after `Wait`: `on_drain` |
/// | [`send_from`](Self::send_from) | [`Sent`]; then `on_drain`, or `on_close`: `Source` |
/// | [`wake_source`](Self::wake_source) | its result |
/// | [`shutdown_write`](Self::shutdown_write) | `on_close`, once the peer has sent its end too |
/// | [`close`](Self::close), [`close_because`](Self::close_because) | `on_close`, after a flush |
/// | [`close_timed_out`](Self::close_timed_out) | the same |
/// | [`abort`](Self::abort) | `on_close` |
/// | [`pause_reads`](Self::pause_reads) | nothing: no data and no end until `resume_reads` |
/// | [`resume_reads`](Self::resume_reads) | `on_data`, `on_eof`, if there is something |
/// | [`pause_reads_for`](Self::pause_reads_for) | nothing, until `resume_reads_for` |
/// | [`resume_reads_for`](Self::resume_reads_for) | `on_data`, `on_eof`, if no reason is left |
/// | [`pause_until_drained`](Self::pause_until_drained) | its result; then `on_data`, `on_eof` |
/// | [`raise_input_limit`](Self::raise_input_limit) | nothing |
/// | [`set_deadline`](Self::set_deadline), [`set_idle`](Self::set_idle) | `on_deadline` |
/// | [`clear_deadline`](Self::clear_deadline), [`cancel_timer`](Self::cancel_timer) | its result |
/// | [`set_timer`](Self::set_timer), [`reset_timer`](Self::reset_timer) | `on_timer` |
/// | [`set_interval`](Self::set_interval) | `on_timer`, again and again |
/// | [`watch`](Self::watch), [`rearm`](Self::rearm) | `on_ready` |
/// | `start_tls` (feature `tls`) | `on_secure` |
/// | [`finish`](Self::finish) | `on_finish` for each connection; then `run` returns |
/// | [`stop`](Self::stop) | `run` returns |
///
/// On Unix besides: [`adopt`](Self::adopt) (its result, then `on_open`),
/// [`adopt_listener`](Self::adopt_listener) (its result, then `on_accept`), and
/// [`release`](Self::release) (its result, then `on_close` with `Released`).
pub struct Context {
    backend: Backend,
    config: Config,
    /// The limits of connections that name no others.
    limits: Arc<Limits>,

    conns: Slots<Conn>,
    listeners: Slots<Listener>,
    watches: Slots<Watch>,
    /// The attempts of connects that dial.
    attempts: Slots<Attempt>,
    /// Who looks names up, once one was to be.
    names: Option<Box<Names>>,

    lists: Lists,
    lingerers: Lingerers,
    outbox: Outbox,
    lending: Lending,
    schedule: Schedule,
    /// The tag of the event whose callback runs: what the callback creates inherits it.
    current_tag: Tag,
    stats: Stats,
    stopping: bool,
    finishing: Option<Finishing>,
    /// What one of several workers has; `None`: there is only this one.
    seat: Option<Box<Seat>>,
    #[cfg(feature = "tls")]
    handshakes: Handshakes,
}

/// Parts of the loop, each its own owner, as the phases work with them.
pub(crate) struct Parts<'a> {
    pub(crate) backend: &'a mut Backend,
    pub(crate) config: &'a Config,
    pub(crate) stats: &'a mut Stats,
    pub(crate) lists: &'a mut Lists,
    pub(crate) schedule: &'a mut Schedule,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) lending: &'a mut Lending,
    /// What the running callback creates inherits it.
    pub(crate) tag: &'a mut Tag,
    /// `stop` was called.
    pub(crate) stopping: &'a mut bool,
    /// A graceful stop is under way.
    pub(crate) finishing: bool,
}

/// The TLS handshakes of peers that are under way.
#[cfg(feature = "tls")]
#[derive(Default)]
struct Handshakes {
    under_way: usize,
    from: std::collections::HashMap<std::net::IpAddr, usize>,
    /// Steps in this turn.
    steps: usize,
    /// There were too many for this turn, and that was counted.
    is_full: bool,
}

/// Limits that make no sense, as an error of the command that they were given to.
fn invalid(error: ConfigError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

/// There is no place for one more.
fn full() -> io::Error {
    io::Error::other("`max_connections` reached")
}

impl Context {
    pub(crate) fn new(backend: Backend, config: Config) -> Context {
        Context {
            schedule: Schedule::new(backend.clock()),
            backend,
            limits: Arc::new(config.limits.clone()),
            config,
            conns: Slots::new(),
            listeners: Slots::new(),
            watches: Slots::new(),
            attempts: Slots::new(),
            names: None,
            lists: Lists::default(),
            lingerers: Lingerers::default(),
            outbox: Outbox::default(),
            lending: Lending::new(),
            current_tag: Tag::default(),
            stats: Stats::default(),
            stopping: false,
            finishing: None,
            seat: None,
            #[cfg(feature = "tls")]
            handshakes: Handshakes::default(),
        }
    }

    /// Leaves `run` at the end of this turn; from other threads:
    /// [`Sender::stop`](crate::Sender::stop). Connections stay as they are, and `run` may be called
    /// again. Called before `run`, it is remembered: `run` then makes one turn.
    #[doc(alias("uv_stop", "exit"))]
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    // ---- What the reactor needs of it ----

    /// The parts that the phases work with.
    #[inline(always)]
    pub(crate) fn parts(&mut self) -> Parts<'_> {
        Parts {
            backend: &mut self.backend,
            config: &self.config,
            stats: &mut self.stats,
            lists: &mut self.lists,
            schedule: &mut self.schedule,
            outbox: &mut self.outbox,
            lending: &mut self.lending,
            tag: &mut self.current_tag,
            stopping: &mut self.stopping,
            finishing: self.finishing.is_some(),
        }
    }

    /// What is due, and when.
    pub(crate) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Where readiness comes from.
    #[cfg(any(feature = "sim", all(unix, not(mio_unsupported_force_poll_poll))))]
    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Is work left over, so that the loop must not sleep?
    pub(crate) fn has_work(&self) -> bool {
        let to_tell = |finishing: &Finishing| !finishing.to_tell.is_empty();
        self.lists.have_work() || self.finishing.as_ref().is_some_and(to_tell)
    }

    /// The connection, unless the id is stale or the connection is closing.
    pub(crate) fn live(&mut self, conn: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(conn.0).filter(|conn| conn.is_live())
    }
}

/// What the tests of others look at.
#[cfg(feature = "sim")]
impl Context {
    /// What it holds, in words: the sockets first, listeners the very first.
    pub(crate) fn holds(&self) -> [(&'static str, usize); 5] {
        [
            ("listeners", self.listeners.len()),
            ("connections", self.conns.len()),
            ("attempts", self.attempts.len()),
            ("on a list", usize::from(self.lists.have_work())),
            ("deadlines", self.schedule.deadlines()),
        ]
    }
}
