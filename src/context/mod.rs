//! What a callback may do: commands that change state, and questions about it.
//!
//! A command never calls the handler and never moves a socket's bytes: it changes state, and the
//! loop acts on it in the phase that is for it. So no callback ever runs inside another one.

mod ending;
mod io;
mod lending;
mod lingering;
mod opening;
mod questions;
mod sending;
mod time;
#[cfg(unix)]
mod watching;

pub(crate) use io::{Accepted, Newcomer, Next};
use lending::Lending;
use lingering::Lingerers;
pub use sending::{Broadcast, Sent};
pub(crate) use time::{Due, TurnTime};

use crate::backend::Backend;
use crate::buffer::write_queue::Spare;
use crate::config::{Config, Limits};
use crate::conn::{Conn, Flags};
use crate::id::{ConnId, Key, Tag};
use crate::listener::Listener;
use crate::readiness::Readiness;
use crate::stats::{Report, Stats};
use crate::tables::slots::Slots;
use crate::tables::timers::Timers;
use crate::watch::Watch;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

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
/// | [`connect`](Self::connect) | `on_open`; or `on_close`: `ConnectFailed`, `ConnectTimedOut` |
/// | [`send`](Self::send), [`broadcast`](Self::broadcast) | [`Sent`]; after `Wait`: `on_drain` |
/// | [`shutdown_write`](Self::shutdown_write) | `on_close`, once the peer has finished too |
/// | [`close`](Self::close), [`close_because`](Self::close_because) | `on_close`, after a flush |
/// | [`close_timed_out`](Self::close_timed_out) | the same |
/// | [`abort`](Self::abort) | `on_close` |
/// | [`pause_reads`](Self::pause_reads) | nothing: no data and no end until `resume_reads` |
/// | [`resume_reads`](Self::resume_reads) | `on_data`, `on_eof`, if there is something |
/// | [`raise_input_limit`](Self::raise_input_limit) | nothing |
/// | [`set_deadline`](Self::set_deadline), [`set_idle`](Self::set_idle) | `on_deadline` |
/// | [`clear_deadline`](Self::clear_deadline), [`cancel_timer`](Self::cancel_timer) | its result |
/// | [`set_timer`](Self::set_timer), [`reset_timer`](Self::reset_timer) | `on_timer` |
/// | [`watch`](Self::watch), [`rearm`](Self::rearm) | `on_ready` |
/// | [`finish`](Self::finish) | `on_finish` for each connection; then `run` returns |
/// | [`stop`](Self::stop) | `run` returns |
pub struct Context {
    pub(crate) backend: Backend,
    pub(crate) config: Config,
    /// The limits of connections that name no others.
    limits: Arc<Limits>,

    pub(crate) conns: Slots<Conn>,
    pub(crate) listeners: Slots<Listener>,
    pub(crate) watches: Slots<Watch>,
    pub(crate) timers: Timers<Due>,

    /// Connections with something to read: the software ready list.
    pub(crate) ready: Vec<Ready>,
    /// Connections with something to flush.
    pub(crate) dirty: Vec<u32>,
    /// Connections that are over, and whose `on_close` is still to come.
    pub(crate) ended: Vec<u32>,
    /// How many connections are over and hold their slot until then.
    pub(crate) dead: usize,
    lingerers: Lingerers,
    /// Listeners behind which connections may wait.
    pub(crate) accepting: VecDeque<u32>,
    /// Watches with readiness to report.
    pub(crate) reporting: VecDeque<u32>,
    /// The last wait gave a full batch of events: more may be there, of which a foreign loop that
    /// is told of edges hears nothing.
    pub(crate) batch_full: bool,
    /// More timers are due than the budget allowed.
    pub(crate) expiries_left: bool,
    /// A connection that takes bytes has more pending than its high watermark: flush soon.
    pub(crate) crowded: bool,
    /// What is broadcast in a turn, one piece after the other: see `sending`. Every connection that
    /// has a part of it is on the dirty list.
    pub(crate) block: Vec<u8>,
    /// Write queues to be used again: an idle connection has none.
    spare_queues: Spare,
    pub(crate) lending: Lending,
    /// Whose leftover still lies in the receive buffer, for a read behind it.
    pub(crate) in_place: Option<Key>,
    pub(crate) time: TurnTime,
    /// The tag of the event whose callback runs: what the callback creates inherits it.
    pub(crate) current_tag: Tag,
    pub(crate) stats: Stats,
    pub(crate) stopping: bool,
    pub(crate) finishing: Option<Finishing>,
}

/// An entry of the ready list.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) slot: u32,
    /// What the system has said and the connection does not know yet, if this comes from a wait.
    pub(crate) news: Readiness,
}

/// A graceful stop under way.
pub(crate) struct Finishing {
    /// Connections that are still to be told.
    pub(crate) to_tell: VecDeque<ConnId>,
    /// The end of the grace.
    grace: Key,
    pub(crate) report: Report,
}

impl Context {
    pub(crate) fn new(backend: Backend, config: Config) -> Context {
        let now = backend.now();
        Context {
            backend,
            limits: Arc::new(config.limits.clone()),
            config,
            conns: Slots::new(),
            listeners: Slots::new(),
            watches: Slots::new(),
            timers: Timers::new(),
            ready: Vec::new(),
            dirty: Vec::new(),
            ended: Vec::new(),
            dead: 0,
            lingerers: Lingerers::default(),
            accepting: VecDeque::new(),
            reporting: VecDeque::new(),
            batch_full: false,
            expiries_left: false,
            crowded: false,
            block: Vec::new(),
            spare_queues: Spare::default(),
            lending: Lending::new(),
            in_place: None,
            time: TurnTime::new(now),
            current_tag: Tag::default(),
            stats: Stats::default(),
            stopping: false,
            finishing: None,
        }
    }

    /// Leaves `run` at the end of this turn. Connections stay as they are, and `run` may be called
    /// again. Called before `run`, it is remembered: `run` then makes one turn.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Begins to stop gracefully: listeners close at once, new connects fail, and every connection
    /// gets `on_finish`, whose default closes it after a flush. What is still open when the grace
    /// ends is aborted, with reason `Finished`. When no connection is left, `run` returns its
    /// [`Report`]; those who call `turn` ask
    /// [`Reactor::take_report`](crate::Reactor::take_report). Timers and watches do not hold it up,
    /// nor do connects that were refused: the `on_close` of the last may come in a later turn.
    ///
    /// A second call can only shorten the grace. With a grace of zero all is aborted in the next
    /// turn at the latest.
    pub fn finish(&mut self, grace: Duration) {
        let end = self.deadline_after(grace);
        if let Some(finishing) = &self.finishing {
            if self.timers.at(finishing.grace).is_some_and(|at| end < at) {
                self.timers.reset(finishing.grace, end);
            }
            return;
        }
        log::debug!(target: "sockeye", "finishing within {grace:?}");
        let listeners: Vec<u32> = self.listeners.iter().map(|(key, _)| key.slot).collect();
        for slot in listeners {
            self.remove_listener(slot);
        }
        let to_tell = self.connections().collect();
        let grace = self.timers.set(end, Due::Grace);
        self.finishing = Some(Finishing {
            to_tell,
            grace,
            report: Report::default(),
        });
    }

    /// A graceful stop has come to its end.
    pub(crate) fn end_finishing(&mut self) -> Option<Report> {
        let finishing = self.finishing.take()?;
        self.timers.cancel(finishing.grace);
        let report = finishing.report;
        Some(Report {
            finished: true,
            // Until here every `on_close` was counted, of those that were aborted too.
            closed: report.closed.saturating_sub(report.aborted),
            ..report
        })
    }

    /// Is `run` to be left?
    pub(crate) fn is_leaving(&self) -> bool {
        self.stopping || (self.finishing.is_some() && self.has_finished())
    }

    /// Is no connection left? Connects that were refused do not count, or a handler that connects
    /// again in `on_close` would keep a reactor that finishes for ever.
    pub(crate) fn has_finished(&self) -> bool {
        self.conns.is_empty()
            || (self.conns.len() == self.ended.len()
                && self.conns.iter().all(|(_, conn)| conn.stream.is_none()))
    }

    /// Is work left over, so that the loop must not sleep?
    pub(crate) fn has_work(&self) -> bool {
        let listed = self.ready.len()
            | self.dirty.len()
            | self.ended.len()
            | self.accepting.len()
            | self.reporting.len();
        let to_tell = |finishing: &Finishing| !finishing.to_tell.is_empty();
        let left = self.batch_full | self.expiries_left;
        listed > 0 || left || self.finishing.as_ref().is_some_and(to_tell)
    }

    /// Clears the block if nobody has a part of it any more: a stream that always has more to
    /// write keeps the dirty list from being empty. A large one is given back to the allocator.
    pub(crate) fn clear_block(&mut self) {
        const KEEP: usize = 1 << 20;
        let conns = &mut self.conns;
        let mut has_part = |slot| conns.peek(slot).is_some_and(|conn| conn.has_part());
        if self.block.is_empty() || self.dirty.iter().any(|slot| has_part(*slot)) {
            return;
        }
        self.block.clear();
        self.block.shrink_to(KEEP);
    }

    /// Puts a connection on the ready list if there is something to read and it is not there yet.
    #[inline]
    pub(crate) fn list_ready(conn: &mut Conn, slot: u32, ready: &mut Vec<Ready>) {
        if conn.wants_read() && conn.raise(Flags::IN_READY) {
            let news = Readiness::default();
            ready.push(Ready { slot, news });
        }
    }

    /// The same for the list of connections to flush.
    #[inline]
    pub(crate) fn list_for_flush(conn: &mut Conn, slot: u32, dirty: &mut Vec<u32>) {
        if conn.wants_flush() && conn.has(Flags::WRITABLE) {
            Context::list_dirty(conn, slot, dirty);
        }
    }

    #[inline]
    pub(crate) fn list_dirty(conn: &mut Conn, slot: u32, dirty: &mut Vec<u32>) {
        if conn.raise(Flags::IN_DIRTY) {
            dirty.push(slot);
        }
    }

    /// The connection, unless the id is stale or the connection is closing.
    fn live(&mut self, conn: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(conn.0).filter(|conn| conn.is_live())
    }
}
