//! Timers and deadlines: how they are set, and what follows when one has passed.

use super::{Context, Due};
use crate::closed::{Deadline, Reason};
use crate::conn::{Expired, Phase};
use crate::id::{ConnId, Key, TimerId};
use std::time::Duration;

impl Context {
    /// Calls `on_timer` once, not before `delay` has passed, with `key`, which is yours. Timers due
    /// at the same time fire in the order in which they were set. A delay of zero fires in the next
    /// turn at the latest, if [`Config::expiries_per_turn`](crate::Config::expiries_per_turn)
    /// allows. A delay too long for the clock (`Duration::MAX`) never ends.
    #[doc(alias("setTimeout", "call_later", "uv_timer_start", "sleep"))]
    pub fn set_timer(&mut self, delay: Duration, key: u64) -> TimerId {
        let at = self.schedule.after(delay);
        TimerId(self.schedule.set(
            at,
            Due::Timer {
                tag: self.current_tag,
                key,
            },
        ))
    }

    /// Calls `on_timer` whenever another `period` has passed, with `key`, until the timer is
    /// cancelled; its id stays the same. It does not drift: ticks are due at whole periods from
    /// now, however late one of them is reported. If a late loop has missed several ticks, one is
    /// reported, and [`missed_ticks`](Self::missed_ticks) says how many were not. A period of zero
    /// is one nanosecond: a tick in every turn.
    #[doc(alias("setInterval", "uv_timer_start", "periodic"))]
    pub fn set_interval(&mut self, period: Duration, key: u64) -> TimerId {
        let tag = self.current_tag;
        TimerId(self.schedule.set_periodic(period, tag, key))
    }

    /// Moves a timer to `delay` from now, as if it were cancelled and set again with the same key;
    /// its id stays. A periodic timer ticks then for the first time, and continues by its period
    /// from there; `on_timer` reports both. `false`: it has fired, or was cancelled before, and is
    /// not set now.
    pub fn reset_timer(&mut self, timer: TimerId, delay: Duration) -> bool {
        let at = self.schedule.after(delay);
        self.schedule.reset(timer.0, at)
    }

    /// Cancels a timer: it will not fire, even if it is due in this very turn. A periodic timer may
    /// be cancelled in its own `on_timer`.
    /// `false`: it has fired, or was cancelled before.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.schedule.cancel(timer.0)
    }

    /// Calls `on_deadline` with `Set(key)` once, after `delay`, whatever moves meanwhile. So a peer
    /// that sends one byte a minute cannot stretch it. It is the timer of a connection: it is
    /// cancelled when the connection closes, and never fires after that.
    ///
    /// `key` is yours, one for each purpose: a connection may have several deadlines, and setting
    /// one again moves it. By default `on_deadline` closes the connection for every key; write an
    /// arm for keys that should do something else. Of several that are due at once the earliest
    /// comes first, one in each turn.
    /// `false`: no such connection, or it is closing.
    #[doc(alias("timeout", "settimeout"))]
    pub fn set_deadline(&mut self, conn: ConnId, key: u32, delay: Duration) -> bool {
        let at = self.schedule.after(delay);
        let Some(state) = self.conns.get_mut(conn.0).filter(|conn| conn.is_live()) else {
            return false;
        };
        state.set_deadline(key, at);
        self.schedule.arm(conn.0.slot, state);
        true
    }

    /// Cancels the deadline that `set_deadline` set with this key; the others stay.
    /// `false`: no such connection, or it is closing.
    pub fn clear_deadline(&mut self, conn: ConnId, key: u32) -> bool {
        self.live(conn)
            .map(|conn| conn.clear_deadline(key))
            .is_some()
    }

    /// Calls `on_deadline` with `Idle` whenever no byte has moved in either direction for so long;
    /// `None` or zero: never. It counts from now, and again when `on_deadline` leaves the
    /// connection open. `false`: no such connection, or it is closing.
    pub fn set_idle(&mut self, conn: ConnId, idle: Option<Duration>) -> bool {
        let now = self.schedule.fresh();
        let Some(state) = self.conns.get_mut(conn.0).filter(|conn| conn.is_live()) else {
            return false;
        };
        state.set_idle(idle, now);
        self.schedule.arm(conn.0.slot, state);
        true
    }

    /// Tries again after a shortage, if the connection is still there.
    pub(crate) fn retry(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        conn.end_shortage();
        self.lists.want_read(key.slot, conn);
        self.lists.want_flush_if_writable(key.slot, conn);
        // A deadline may have passed meanwhile.
        self.schedule.arm(key.slot, conn);
    }

    /// A connection's timer fired, or (`grace`) the grace of a finish is over. If a deadline has
    /// passed by the clock, or in any case for the grace, asks the connection by one write, and
    /// answers that it is to be asked by a read, too: what the last wait told may be old. A
    /// callback may have taken long, the process may have been stopped, or the batch of events was
    /// full; the peer must not pay for that.
    pub(crate) fn ask_overdue(&mut self, slot: u32, grace: bool) -> bool {
        let now = self.schedule.tick();
        let conn = self.conns.listed_mut(slot);
        if !grace {
            conn.take_timer();
        }
        if conn.phase() == Phase::Dead || !grace && conn.next_deadline() > now {
            return false;
        }
        conn.doubt_readiness();
        // Not off the list of those to be flushed, if it is on it: this is no entry of that.
        if self.flush_now(slot) {
            self.lists.want_flush(slot, self.conns.listed_mut(slot));
        }
        true
    }

    /// A connection has been asked, if it was overdue. Answers the deadline to tell the handler of.
    pub(crate) fn judge_overdue(&mut self, slot: u32) -> Option<(ConnId, Deadline)> {
        // Judged by the time of the turn, which is never too late; what begins anew, from now.
        let (now, fresh) = (self.schedule.tick(), self.schedule.fresh());
        let (key, conn) = self.conns.listed_key(slot);
        let mut told = None;
        match conn.expire(now, fresh) {
            Expired::Nothing => {}
            Expired::Tell(which) => {
                self.stats.deadlines += 1;
                told = Some((ConnId(key), which));
            }
            Expired::End(reason) => {
                self.stats.deadlines += 1;
                log::debug!(target: "sockeye", "{} {}: {reason}", ConnId(key), conn.peer());
                self.reset(slot, reason);
            }
            Expired::Lingered => self.end(slot, Reason::Local),
            // The error that was first is the reason.
            Expired::Gone => self.end(slot, Reason::Reset),
        }
        // For the next of its deadlines, or for this one if it has moved away.
        self.schedule.arm(slot, self.conns.listed_mut(slot));
        told
    }
}
