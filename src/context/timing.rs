//! Timers and deadlines: how they are set, and what follows when one has passed.

use super::Context;
use crate::backend::Backend;
use crate::clock::{Epoch, NEVER, Tick, after};
use crate::closed::{Deadline, Reason};
use crate::conn::{Expired, Phase};
use crate::id::{ConnId, Key, Tag, TimerId};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// What a timer of the loop is for.
pub(crate) enum Due {
    /// The application set it.
    Timer { tag: Tag, key: u64 },
    /// The earliest deadline of a connection.
    Conn(u32),
    /// A listener has rested.
    Rested(u32),
    /// The grace of `finish` is over.
    Grace,
}

/// Which timers an expire phase is for.
#[derive(Clone, Copy)]
pub(crate) struct Expiry {
    now: Tick,
    mark: u64,
}

/// The time of this turn: read from the clock when it is first asked for, and then it stands still.
/// A turn that only moves bytes of connections without an idle time asks for none.
pub(crate) struct TurnTime {
    epoch: Epoch,
    now: Cell<Option<(Instant, Tick)>>,
}

impl TurnTime {
    pub(crate) fn new(now: Instant) -> TurnTime {
        TurnTime {
            epoch: Epoch(now),
            now: Cell::new(None),
        }
    }

    /// A new turn begins.
    pub(crate) fn forget(&mut self) {
        self.now.set(None);
    }

    fn read(&self, backend: &Backend) -> (Instant, Tick) {
        self.now.get().unwrap_or_else(|| {
            let now = backend.now();
            let read = (now, self.epoch.tick(now));
            self.now.set(Some(read));
            read
        })
    }

    pub(crate) fn tick(&self, backend: &Backend) -> Tick {
        self.read(backend).1
    }

    pub(crate) fn now(&self, backend: &Backend) -> Instant {
        self.read(backend).0
    }

    /// The tick of this moment: a turn may have taken long, and no deadline may pass early.
    pub(crate) fn fresh(&self, backend: &Backend) -> Tick {
        self.epoch.tick(backend.now())
    }
}

impl Context {
    /// Calls `on_timer` once, not before `delay` has passed, with `key`, which is yours. Equal
    /// deadlines fire in the order of setting. A delay of zero fires in the next turn at the
    /// latest. A delay too long for the clock (`Duration::MAX`) never ends.
    pub fn set_timer(&mut self, delay: Duration, key: u64) -> TimerId {
        let at = self.deadline_after(delay);
        TimerId(self.timers.set(
            at,
            Due::Timer {
                tag: self.current_tag,
                key,
            },
        ))
    }

    /// Moves a timer to `delay` from now, as if it were cancelled and set again with the same key;
    /// its id stays. `false`: it has fired, or was cancelled before, and is not set now.
    pub fn reset_timer(&mut self, timer: TimerId, delay: Duration) -> bool {
        let at = self.deadline_after(delay);
        self.timers.reset(timer.0, at)
    }

    /// Cancels a timer: it will not fire, also if it is due in this very turn.
    /// `false`: it has fired, or was cancelled before.
    pub fn cancel_timer(&mut self, timer: TimerId) -> bool {
        self.timers.cancel(timer.0).is_some()
    }

    /// Calls `on_deadline` with `Set` once, after `delay`, whatever moves meanwhile: so a peer that
    /// sends one byte a minute cannot stretch it. A new deadline replaces the old one.
    /// `false`: no such connection, or it is closing.
    pub fn set_deadline(&mut self, conn: ConnId, delay: Duration) -> bool {
        let at = self.deadline_after(delay);
        let known = self.live(conn).map(|conn| conn.set_deadline(at)).is_some();
        self.arm_id(conn);
        known
    }

    /// Takes back what `set_deadline` set. `false`: no such connection, or it is closing.
    pub fn clear_deadline(&mut self, conn: ConnId) -> bool {
        self.live(conn)
            .map(|conn| conn.set_deadline(NEVER))
            .is_some()
    }

    /// Calls `on_deadline` with `Idle` whenever no byte has moved in either direction for so long;
    /// `None` or zero: never. It counts from now, and anew when `on_deadline` leaves the connection
    /// open.
    /// `false`: no such connection, or it is closing.
    pub fn set_idle(&mut self, conn: ConnId, idle: Option<Duration>) -> bool {
        let now = self.fresh_tick();
        let known = self.live(conn).map(|conn| conn.set_idle(idle, now));
        let known = known.is_some();
        self.arm_id(conn);
        known
    }

    fn arm_id(&mut self, conn: ConnId) {
        if self.conns.get(conn.0).is_some() {
            self.arm(conn.0.slot);
        }
    }

    /// The tick of this turn.
    pub(crate) fn tick(&self) -> Tick {
        self.time.tick(&self.backend)
    }

    /// What comes next is long after the last turn: the time is read anew.
    pub(crate) fn forget_time(&mut self) {
        self.time.forget();
    }

    /// The tick of this moment.
    pub(crate) fn fresh_tick(&self) -> Tick {
        self.time.fresh(&self.backend)
    }

    pub(crate) fn deadline_after(&self, delay: Duration) -> Tick {
        after(self.fresh_tick(), delay)
    }

    /// When the earliest timer is due.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.timers
            .next()
            .and_then(|at| self.time.epoch.instant(at))
    }

    /// How long until the earliest timer, as the clock is now.
    pub(crate) fn until_next_timer(&self) -> Option<Duration> {
        let at = self.timers.next().filter(|at| *at != NEVER)?;
        Some(Duration::from_nanos(at.saturating_sub(self.fresh_tick())))
    }

    pub(crate) fn has_timers(&self) -> bool {
        !self.timers.is_empty()
    }

    /// The expire phase begins: what is due by now, and was set before now.
    pub(crate) fn begin_expiry(&self) -> Expiry {
        Expiry {
            now: self.tick(),
            mark: self.timers.mark(),
        }
    }

    pub(crate) fn next_due(&mut self, expiry: Expiry) -> Option<(Key, Due)> {
        self.timers.pop_due(expiry.now, expiry.mark)
    }

    /// The expire phase has used up its budget: what is left is due in the next turn.
    pub(crate) fn leave_expiries(&mut self, expiry: Expiry) {
        let left = self.timers.next().is_some_and(|at| at <= expiry.now);
        self.lists.leave_expiries(left);
        self.stats.budget_hits.expiries += u64::from(left);
    }

    /// Its timer fired. Answers whether a deadline has passed by the clock, and prepares to ask the
    /// connection: what the last wait told may be old. A callback may have taken long, the process
    /// may have been stopped, or the batch of events was full; the peer must not pay for that.
    pub(crate) fn is_overdue(&mut self, slot: u32) -> bool {
        let now = self.tick();
        let conn = self.conns.listed_mut(slot);
        conn.take_timer();
        let overdue = conn.phase() != Phase::Dead && conn.next_deadline() <= now;
        if overdue {
            conn.doubt_readiness();
        }
        overdue
    }

    /// It has been asked, if it was overdue. Answers the deadline to tell the handler of.
    pub(crate) fn expire_conn(&mut self, slot: u32) -> Option<(ConnId, Deadline)> {
        // Judged by the time of the turn, which is never too late; what begins anew, from now.
        let (now, fresh) = (self.tick(), self.fresh_tick());
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
                log::warn!(target: "sockeye", "{} {}: {reason}", ConnId(key), conn.peer());
                self.reset(slot, reason);
            }
            Expired::Lingered => self.end(slot, Reason::Local),
            // The error that was first is the reason.
            Expired::Gone => self.end(slot, Reason::Reset),
        }
        // For the next of its deadlines, or for this one if it has moved away.
        self.arm(slot);
        told
    }
}
