//! Sources: output that the loop asks for, when little is pending.

use super::{Context, Sent};
use crate::buffer::source::Source;
use crate::closed::Reason;
use crate::conn::{Admission, SOURCE_WEIGHT, Sourced, Written};
use crate::id::ConnId;

impl Context {
    /// Queues a source: the loop asks it for bytes whenever no more than the low watermark is
    /// pending, and writes them, until the source ends. So a file of any size costs no more memory
    /// than the high watermark, and you need not refill in `on_drain`.
    ///
    /// It begins a wait, as [`await_drain`](Self::await_drain) does, and answers [`Sent::Wait`].
    /// `on_drain` comes once, when all sources of the connection have ended and what they gave has
    /// drained; not before. What is sent meanwhile queues behind the source, and counts for
    /// [`Limits::hard_limit`](crate::Limits::hard_limit) at once; each source counts as 4 KiB.
    /// [`pause_until_drained`](Self::pause_until_drained) keeps the next request waiting until the
    /// answer is out.
    ///
    /// The source is dropped at its end, or when the connection is over or a write has failed,
    /// before the `on_close`. If it fails or panics, the connection is reset at once, with
    /// [`Reason::Source`](crate::Reason::Source). In one turn all sources together give at most
    /// [`Config::source_bytes_per_turn`](crate::Config::source_bytes_per_turn); those that had no
    /// chance come first in the next turn.
    ///
    /// - [`shutdown_write`](Self::shutdown_write) and [`close`](Self::close) take effect after its
    ///   end. After a close it has [`Limits::close_flush`](crate::Limits::close_flush) for each
    ///   step, and [`Limits::close_time`](crate::Limits::close_time) begins only when it has ended;
    ///   a source that never ends keeps its connection.
    /// - [`finish`](Self::finish) closes, and resets what has not ended within the grace period.
    /// - [`abort`](Self::abort) drops it, and so does a peer that is gone: what it would have given
    ///   is not counted as lost, but the peer sees a reset.
    /// - A pause holds back reads, not sources.
    /// - While the source has nothing, [`Limits::write_stall`](crate::Limits::write_stall) does not
    ///   run, and the idle time does.
    ///
    /// [`Sent::Gone`] and [`Sent::Dropped`]: as for `send`, and the source is dropped.
    #[doc(alias("sendfile", "stream"))]
    pub fn send_from(&mut self, id: ConnId, source: Source) -> Sent {
        let slot = id.0.slot;
        let Some(conn) = self.conns.get_mut(id.0).filter(|conn| conn.takes_output()) else {
            return Sent::Gone;
        };
        match conn.admit(SOURCE_WEIGHT) {
            Admission::Queue => {}
            Admission::Drop => return Sent::Dropped,
            Admission::Close => return self.pending_limit(id),
        }
        // What was lent goes out before it.
        self.lending.must_queue();
        conn.push_source(source, &mut self.outbox);
        self.lists.want_flush(slot, conn);
        Sent::Wait
    }

    /// Wakes a source that had nothing to give: the loop asks it again, because it has something
    /// now or has ended. It does nothing for a source that has not been asked yet, or that still
    /// had something. Another thread posts a message, and `on_message` calls this.
    /// `false`: no source has waited for it.
    pub fn wake_source(&mut self, id: ConnId) -> bool {
        let slot = id.0.slot;
        let Some(conn) = self.conns.get_mut(id.0) else {
            return false;
        };
        let woken = conn.wake_source();
        if woken {
            self.lending.must_queue();
            self.lists.want_flush(slot, conn);
        }
        woken
    }

    /// Asks the sources of a connection, and makes one write. `None`: the connection is over.
    #[cold]
    pub(super) fn flush_source(&mut self, slot: u32) -> Option<Written> {
        let limit = self.config.slow_callback;
        let started = limit.map(|_| self.schedule.clock_now());
        let (key, conn) = self.conns.listed_key(slot);
        let sourced = conn.write_from_source(&mut self.outbox);
        if let (Some(limit), Some(started)) = (limit, started) {
            let took = self.schedule.clock_now().saturating_duration_since(started);
            if took > limit {
                let (id, peer) = (ConnId(key), conn.peer());
                log::warn!(target: "sockeye", "slow source: a pull for {id} {peer} took {took:?}");
            }
        }
        match sourced {
            Sourced::Written(written) => Some(written),
            Sourced::NextTurn => {
                self.stats.budget_hits.sources += 1;
                let conn = self.conns.listed_mut(slot);
                self.lists.put_flush_off(slot, conn);
                Some(Written::Nothing)
            }
            Sourced::Broken(error) => {
                self.reset(slot, Reason::Source(error));
                None
            }
        }
    }
}
