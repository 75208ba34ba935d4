//! Finishing: the graceful stop of the whole loop.

use super::{Context, Due, Schedule};
use crate::clock::Tick;
use crate::closed::Reason;
use crate::conn::Phase;
use crate::id::{ConnId, Key, ListenerId, Tag};
use crate::stats::Report;
use std::collections::VecDeque;
use std::time::Duration;

/// A graceful stop under way.
pub(crate) struct Finishing {
    /// Connections that are still to be told.
    pub(crate) to_tell: VecDeque<ConnId>,
    /// The timer of the grace.
    grace: Key,
    pub(crate) report: Report,
}

impl Finishing {
    /// Somebody has come after the grace was over: it is over for them at this time.
    pub(super) fn rearm(&mut self, schedule: &mut Schedule, at: Tick) {
        if !schedule.is_set(self.grace) {
            self.grace = schedule.set(at, Due::Grace);
        }
    }
}

impl Context {
    /// Begins to stop gracefully: listeners close at once (those that workers share, when nobody
    /// comes from them any more), new connects fail, and every connection gets `on_finish`, whose
    /// default closes it after a flush. What is still open when the grace ends is aborted, with
    /// reason `Finished`. When no connection is left, `run` returns its [`Report`]; those who call
    /// `turn` ask [`Reactor::take_report`](crate::Reactor::take_report). Timers and watches do not
    /// hold it up, nor do connects that were refused: the `on_close` of the last may come in a
    /// later turn.
    ///
    /// A second call can only shorten the grace. With a grace of zero all is aborted in the next
    /// turn at the latest, if no more timers are due before it than
    /// [`Config::expiries_per_turn`](crate::Config::expiries_per_turn).
    #[doc(alias("shutdown", "graceful shutdown"))]
    pub fn finish(&mut self, grace: Duration) {
        self.begin_to_finish(grace);
    }

    /// Begins to stop gracefully, alone or with all other workers.
    pub(super) fn begin_to_finish(&mut self, grace: Duration) {
        let at = self.schedule.after(grace);
        if let Some(finishing) = &self.finishing {
            return self.schedule.bring_nearer(finishing.grace, at);
        }
        log::debug!(target: "sockeye", "finishing within {grace:?}");
        self.leave_others();
        let listeners: Vec<Key> = self.listeners.iter().map(|(key, _)| key).collect();
        for key in listeners {
            if !self.keeps_listener(key) {
                self.unlisten(ListenerId(key));
            }
        }
        #[cfg(feature = "tls")]
        self.leave_handshakes();
        let to_tell = self.connections().collect();
        let grace = self.schedule.set(at, Due::Grace);
        self.finishing = Some(Finishing {
            to_tell,
            grace,
            report: Report::default(),
        });
    }

    /// The report of a graceful stop that has come to its end; then it is none any more.
    pub(crate) fn take_report(&mut self) -> Option<Report> {
        let report = self.final_report()?;
        let finishing = self.finishing.take()?;
        self.schedule.cancel(finishing.grace);
        Some(report)
    }

    /// The report of a graceful stop that has come to its end.
    pub(crate) fn final_report(&self) -> Option<Report> {
        let finishing = self.finishing.as_ref().filter(|_| self.is_over())?;
        let report = finishing.report;
        Some(Report {
            finished: true,
            // Until here every `on_close` was counted, of those that were aborted too.
            closed: report.closed.saturating_sub(report.aborted),
            ..report
        })
    }

    /// Has a graceful stop come to its end, for no connection is left? Connects that were refused
    /// do not count, or a handler that connects again in `on_close` would keep a reactor that
    /// finishes for ever.
    pub(crate) fn is_over(&self) -> bool {
        let none_left = || {
            self.conns.is_empty()
                || (self.conns.len() == self.lists.ended_len()
                    && self.conns.iter().all(|(_, conn)| conn.was_refused()))
        };
        self.finishing.is_some() && none_left()
    }

    /// The grace of `finish` is over.
    pub(crate) fn abort_remaining(&mut self) {
        for slot in self.remaining() {
            // Whoever lingers has got everything.
            if self
                .conns
                .peek(slot)
                .is_some_and(|conn| conn.phase() == Phase::Lingering)
            {
                self.end(slot, Reason::Local);
                continue;
            }
            // Nobody has heard of one that is in its handshake.
            let is_known = self.conns.peek(slot).is_some_and(|conn| !conn.is_unseen());
            if let Some(finishing) = &mut self.finishing {
                finishing.report.aborted += u64::from(is_known);
            }
            self.reset(slot, Reason::Finished);
        }
    }

    /// The slots of all connections that are not over.
    pub(crate) fn remaining(&self) -> Vec<u32> {
        let alive = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.phase() != Phase::Dead);
        alive.map(|(key, _)| key.slot).collect()
    }

    /// The next connection that is to be told of a graceful stop.
    pub(crate) fn next_to_tell(&mut self) -> Option<(ConnId, Tag)> {
        let to_tell = &mut self.finishing.as_mut()?.to_tell;
        while let Some(conn) = to_tell.pop_front() {
            if let Some(conn_state) = self.conns.get(conn.0).filter(|conn| conn.is_live()) {
                return Some((conn, conn_state.tag()));
            }
        }
        None
    }
}
