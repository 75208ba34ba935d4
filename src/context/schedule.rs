//! What is due at a time: the clock, the time of the turn, and the timers.

use crate::backend::Clock;
use crate::clock::{Epoch, NEVER, Tick, after, nanos};
use crate::conn::Conn;
use crate::id::{ConnId, Key, Tag};
use crate::tables::timers::Timers;
use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

/// What a timer of the loop is for.
pub(crate) enum Due {
    /// The application set it.
    Timer { tag: Tag, key: u64 },
    /// The application set it, to fire again and again.
    Periodic(Box<Periodic>),
    /// The earliest deadline of a connection.
    Conn(u32),
    /// The system was short of memory at a read or write of this connection, which may be gone.
    Retry(Key),
    /// The next attempt of a connect is due, if it still dials.
    Dial(Key),
    /// A listener has rested.
    Rested(u32),
    /// The grace of `finish` is over.
    Grace,
}

/// A timer that fires again and again.
pub(crate) struct Periodic {
    tag: Tag,
    key: u64,
    period: Tick,
    /// Ticks that passed before the last one that was told, and that were not told themselves.
    missed: u64,
}

impl Periodic {
    /// The tick of the time `at` is told now. Answers when the next one is due: a whole number of
    /// periods later, so that being late once does not make it late for ever.
    fn tick(&mut self, at: Tick, now: Tick) -> Tick {
        self.missed = now.saturating_sub(at) / self.period;
        at.saturating_add(self.period.saturating_mul(self.missed + 1))
    }
}

/// Which timers an expire phase is for: those that are due by now, and were set before now.
#[derive(Clone, Copy)]
pub(crate) struct Expiry {
    now: Tick,
    mark: u64,
}

/// The clock, the time of this turn, and the timers.
///
/// The time of a turn is read from the clock when it is first asked for, and then it stands still.
/// A turn that only moves bytes of connections without an idle time asks for none.
pub(crate) struct Schedule {
    clock: Clock,
    epoch: Epoch,
    now: Cell<Option<(Instant, Tick)>>,
    timers: Timers<Due>,
}

impl Schedule {
    pub(crate) fn new(clock: Clock) -> Schedule {
        let epoch = Epoch(clock.now());
        Schedule {
            clock,
            epoch,
            now: Cell::new(None),
            timers: Timers::new(),
        }
    }

    // ---- Time ----

    /// A new turn begins, or a command comes long after the last one: the time is read anew.
    pub(crate) fn forget(&mut self) {
        self.now.set(None);
    }

    fn read(&self) -> (Instant, Tick) {
        self.now.get().unwrap_or_else(|| {
            let now = self.clock.now();
            let read = (now, self.epoch.tick(now));
            self.now.set(Some(read));
            read
        })
    }

    /// The tick of this turn.
    pub(crate) fn tick(&self) -> Tick {
        self.read().1
    }

    /// The time of this turn.
    pub(crate) fn now(&self) -> Instant {
        self.read().0
    }

    /// The tick of this moment: a turn may have taken long, and no deadline may pass early.
    #[inline]
    pub(crate) fn fresh(&self) -> Tick {
        self.epoch.tick(self.clock.now())
    }

    /// When it was made: before any time that anybody has read since.
    pub(crate) fn created(&self) -> Instant {
        self.epoch.0
    }

    /// What the clocks on the walls say.
    pub(super) fn wall_clock(&self) -> SystemTime {
        self.clock.wall()
    }

    /// The clock, as it is now.
    pub(crate) fn clock_now(&self) -> Instant {
        self.clock.now()
    }

    /// The tick that is so far away from this moment.
    pub(crate) fn after(&self, delay: Duration) -> Tick {
        after(self.fresh(), delay)
    }

    // ---- Timers ----

    pub(super) fn set(&mut self, at: Tick, due: Due) -> Key {
        self.timers.set(at, due)
    }

    /// Sets a timer that fires whenever so much time has passed.
    pub(super) fn set_periodic(&mut self, period: Duration, tag: Tag, key: u64) -> Key {
        // None of no length: it could not be counted how many were missed.
        let period = nanos(period).max(1);
        let at = self.fresh().saturating_add(period);
        let missed = 0;
        let periodic = Periodic {
            tag,
            key,
            period,
            missed,
        };
        self.set(at, Due::Periodic(Box::new(periodic)))
    }

    /// Ticks that a periodic timer has missed before its last one.
    pub(super) fn missed_ticks(&self, timer: Key) -> u64 {
        match self.timers.get(timer) {
            Some(Due::Periodic(periodic)) => periodic.missed,
            _ => 0,
        }
    }

    /// A read or a write has found the system short of memory (`ENOBUFS`, `ENOMEM`), which says
    /// nothing of the peer. No edge tells that this is over, so a timer does.
    #[cold]
    pub(super) fn retry_later(&mut self, key: Key, conn: &mut Conn) {
        /// Long enough to be no spin, and a delay that a peer hardly notices.
        const PAUSE: Duration = Duration::from_millis(10);

        // One for both directions.
        if conn.begin_shortage() {
            log::debug!(
                target: "sockeye",
                "{} {}: the system is out of memory; will try again", ConnId(key), conn.peer()
            );
            let at = self.after(PAUSE);
            self.set(at, Due::Retry(key));
        }
    }

    /// Moves a timer. `false`: it is not set.
    pub(super) fn reset(&mut self, timer: Key, at: Tick) -> bool {
        self.timers.reset(timer, at)
    }

    /// Moves a timer if that brings it nearer.
    pub(super) fn bring_nearer(&mut self, timer: Key, at: Tick) {
        if self.timers.at(timer).is_some_and(|set| at < set) {
            self.timers.reset(timer, at);
        }
    }

    pub(super) fn is_set(&self, timer: Key) -> bool {
        self.timers.at(timer).is_some()
    }

    /// `false`: it is not set.
    pub(super) fn cancel(&mut self, timer: Key) -> bool {
        self.timers.cancel(timer).is_some()
    }

    /// Arms a connection's one timer for its earliest deadline, if that is nearer than before.
    pub(super) fn arm(&mut self, slot: u32, conn: &mut Conn) {
        let (now, clock, epoch) = (&self.now, &self.clock, self.epoch);
        // The clock is read only if there is something to be armed.
        let now = || match now.get() {
            Some((_, tick)) => tick,
            None => epoch.tick(clock.now()),
        };
        conn.arm(&mut self.timers, now, || Due::Conn(slot));
    }

    /// Sets the timer that ends a listener's rest.
    pub(super) fn rest(&mut self, slot: u32, backoff: Duration) -> Key {
        self.set(self.after(backoff), Due::Rested(slot))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    /// The tick of the earliest timer.
    #[cfg(all(
        any(target_os = "linux", target_os = "android"),
        not(mio_unsupported_force_poll_poll)
    ))]
    pub(crate) fn next_tick(&self) -> Option<Tick> {
        self.timers.next().filter(|at| *at != NEVER)
    }

    /// When the earliest timer is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.timers.next().and_then(|at| self.epoch.instant(at))
    }

    /// How long until the earliest timer, as the clock is now.
    #[inline(always)]
    pub(crate) fn until_next(&self) -> Option<Duration> {
        let at = self.timers.next().filter(|at| *at != NEVER)?;
        Some(Duration::from_nanos(at.saturating_sub(self.fresh())))
    }

    // ---- The expire phase ----

    pub(crate) fn begin_expiry(&self) -> Expiry {
        Expiry {
            now: self.tick(),
            mark: self.timers.mark(),
        }
    }

    pub(crate) fn next_due(&mut self, expiry: Expiry) -> Option<(Key, Due)> {
        if let (timer, at, Due::Periodic(periodic)) = self.timers.due(expiry.now, expiry.mark)? {
            // Set for its next tick before the callback, which may cancel it or move it.
            let (tag, key) = (periodic.tag, periodic.key);
            let next = periodic.tick(at, expiry.now);
            self.timers.reset(timer, next);
            return Some((timer, Due::Timer { tag, key }));
        }
        self.timers.pop_due(expiry.now, expiry.mark)
    }

    /// Is something left that is due by then?
    pub(crate) fn has_due(&self, expiry: Expiry) -> bool {
        self.timers.next().is_some_and(|at| at <= expiry.now)
    }

    /// How many timers are set for connections.
    #[cfg(feature = "sim")]
    pub(super) fn deadlines(&self) -> usize {
        let all = self.timers.values();
        all.filter(|due| matches!(due, Due::Conn(_))).count()
    }
}
