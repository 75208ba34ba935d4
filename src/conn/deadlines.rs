//! The deadlines of one connection: which is next, and what follows when one has passed.

use super::{Conn, Flags, Phase};
use crate::clock::{NEVER, Tick, after, nanos};
use crate::closed::{Deadline, Reason};
use crate::id::Key;
use crate::tables::timers::Timers;
use std::time::Duration;

/// What a deadline asks for.
pub(crate) enum Expired {
    Nothing,
    /// Tell the handler.
    Tell(Deadline),
    /// The connection is over, with this reason.
    End(Reason),
    /// The connection has lingered long enough.
    Lingered,
    /// The peer is gone for certain, and nobody has read the rest in time.
    Gone,
}

impl Conn {
    /// Has it an idle time, so that progress must be noted?
    #[inline]
    pub(crate) fn has_idle(&self) -> bool {
        self.idle != NEVER
    }

    /// A byte has moved, or the idle time is to count from now.
    #[inline]
    pub(crate) fn note_progress(&mut self, now: Tick) {
        self.progress = now;
    }

    /// `None`: it may be idle for ever.
    pub(crate) fn set_idle(&mut self, idle: Option<Duration>, now: Tick) {
        self.idle = idle.filter(|idle| !idle.is_zero()).map_or(NEVER, nanos);
        self.progress = now;
    }

    /// Sets the deadline of this key, or moves it.
    pub(crate) fn set_deadline(&mut self, key: u32, at: Tick) {
        self.clear_deadline(key);
        if at >= self.deadline {
            // A time that never comes needs no place.
            if at != NEVER {
                self.rare().deadlines.push((key, at));
            }
            return;
        }
        let earliest = (self.deadline_key, self.deadline);
        (self.deadline_key, self.deadline) = (key, at);
        if earliest.1 != NEVER {
            // In front: it was set before all that are due at its time.
            self.rare().deadlines.insert(0, earliest);
        }
    }

    /// Takes the deadline of this key back, if it is set.
    pub(crate) fn clear_deadline(&mut self, key: u32) {
        if self.deadline_key == key && self.deadline != NEVER {
            self.next_in_line();
        } else if let Some(rare) = &mut self.rare {
            rare.deadlines.retain(|(other, _)| *other != key);
        }
    }

    /// No deadline of the handler's survives a close.
    pub(super) fn forget_deadlines(&mut self) {
        self.deadline = NEVER;
        if let Some(rare) = &mut self.rare {
            rare.deadlines.clear();
        }
    }

    /// The earliest deadline is over: of the others, the first set of the earliest takes its place.
    fn next_in_line(&mut self) {
        self.deadline = NEVER;
        let Some(rare) = &mut self.rare else {
            return;
        };
        let line = rare.deadlines.iter().enumerate();
        if let Some((place, _)) = line.min_by_key(|(_, (_, at))| *at) {
            (self.deadline_key, self.deadline) = rare.deadlines.remove(place);
        }
    }

    /// Has the time of its phase begun?
    pub(crate) fn has_limit(&self) -> bool {
        self.limit_at != NEVER
    }

    /// Everything is out: there is nothing to wait for, and no limit to it.
    #[inline]
    pub(crate) fn lift_limit(&mut self) {
        self.limit_at = NEVER;
    }

    /// Arms its one timer for the earliest of its deadlines. A deadline that has moved away leaves
    /// the timer where it is: it fires, finds nothing due, and is armed anew. So progress is a
    /// store, and no work for the heap.
    pub(crate) fn arm<T>(
        &mut self,
        timers: &mut Timers<T>,
        now: impl FnOnce() -> Tick,
        due: impl FnOnce() -> T,
    ) {
        let at = self.next_deadline();
        if at == NEVER || self.phase == Phase::Dead {
            return;
        }
        if let Some(timer) = self.timer
            && timers.at(timer).is_none_or(|set| at >= set)
        {
            return;
        }
        let now = now();
        // What has passed in a shortage waits for the end of that: to ask at once would spin.
        if at <= now && self.is_short {
            return;
        }
        match self.timer {
            None => self.timer = Some(timers.set(at.max(now), due())),
            Some(timer) => drop(timers.reset(timer, at.max(now))),
        }
    }

    /// The timer has fired, or goes with its connection.
    pub(crate) fn take_timer(&mut self) -> Option<Key> {
        self.timer.take()
    }

    /// When the earliest of its deadlines passes.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Tick {
        let next = self.limit_at.min(self.deadline).min(self.idle_at());
        #[cfg(feature = "tls")]
        let next = next.min(self.handshake_at());
        next
    }

    /// When it has been idle for its idle time. Connecting and closing have timeouts of their own.
    #[inline]
    fn idle_at(&self) -> Tick {
        match self.has(Flags::OPEN) {
            true => self.progress.saturating_add(self.idle),
            false => NEVER,
        }
    }

    /// When the handshake must be through that `start_tls` began.
    #[cfg(feature = "tls")]
    #[inline]
    fn handshake_at(&self) -> Tick {
        let rare = self.rare.as_ref();
        rare.and_then(|rare| rare.handshake_at).unwrap_or(NEVER)
    }

    /// Makes the next write and the next read try, whatever the system has said last: it may have
    /// been long ago, and Linux calls a socket writable only when a third of its buffer is free
    /// (sk_stream_write_space()), while a write takes what there is room for.
    pub(crate) fn doubt_readiness(&mut self) {
        if !self.is_all_out() {
            self.set(Flags::WRITABLE);
        }
        if !self.has(Flags::PAUSED) {
            self.set(Flags::READABLE);
        }
    }

    /// The system is short of memory. Answers whether that is news.
    pub(crate) fn begin_shortage(&mut self) -> bool {
        !std::mem::replace(&mut self.is_short, true)
    }

    /// Tries again what a shortage has kept from being done: a read or a write.
    pub(crate) fn end_shortage(&mut self) {
        self.is_short = false;
        self.set(Flags::READABLE);
        self.set(Flags::WRITABLE);
    }

    /// The timer fired, and the connection has been asked: which deadline has passed, if any? One
    /// that moved on has not. What is told again counts from `fresh`, the time of this moment.
    pub(crate) fn expire(&mut self, now: Tick, fresh: Tick) -> Expired {
        // The limit of its phase comes first: it ends what the others would only tell of.
        // A shortage of memory is no answer, and not the peer's fault: what only bounds a silence
        // is judged when it is over.
        let is_short = self.is_short;
        if self.limit_at <= now && !is_short {
            if self.is_owed_answer() {
                return Expired::Nothing;
            }
            self.limit_at = NEVER;
            return match self.phase {
                Phase::Connecting => Expired::End(Reason::ConnectTimedOut),
                Phase::Handshaking => Expired::End(Reason::TimedOut(Deadline::Handshake)),
                Phase::Open if self.has(Flags::WRITE_FAILED) => self.give_up(fresh),
                Phase::Open => Expired::End(Reason::TimedOut(Deadline::WriteStall)),
                Phase::Closing => Expired::End(Reason::TimedOut(Deadline::CloseFlush)),
                Phase::Lingering => Expired::Lingered,
                Phase::Dead => Expired::Nothing,
            };
        }
        #[cfg(feature = "tls")]
        if self.handshake_at() <= now {
            return Expired::End(Reason::TimedOut(Deadline::Handshake));
        }
        // What was set is told once; after a close the same field bounds the flush, or the
        // lingering, in all.
        if self.deadline <= now {
            let key = self.deadline_key;
            self.next_in_line();
            return match self.phase {
                Phase::Connecting | Phase::Handshaking | Phase::Open => {
                    Expired::Tell(Deadline::Set(key))
                }
                Phase::Closing => Expired::End(Reason::TimedOut(Deadline::CloseFlush)),
                Phase::Lingering => Expired::Lingered,
                Phase::Dead => Expired::Nothing,
            };
        }
        // Told again after another idle time, if the handler leaves it open.
        if self.idle_at() <= now && !self.is_unread() && !self.is_unwritten() && !is_short {
            self.progress = fresh;
            return Expired::Tell(Deadline::Idle);
        }
        Expired::Nothing
    }

    /// A signal came instead of an answer to the question that its limit is about: it is asked
    /// again in the next turn.
    fn is_owed_answer(&self) -> bool {
        match self.phase {
            Phase::Open | Phase::Closing => self.is_unwritten(),
            Phase::Lingering => self.is_unread(),
            Phase::Connecting | Phase::Handshaking | Phase::Dead => false,
        }
    }

    /// May there be something to read that nobody has asked for?
    fn is_unread(&self) -> bool {
        self.has(Flags::READABLE) && !self.has(Flags::PAUSED) && !self.has(Flags::EOF)
    }

    /// Is there output that the system may take and was not given?
    fn is_unwritten(&self) -> bool {
        self.has(Flags::WRITABLE) && self.has_output() && self.is_flushing()
    }

    /// The time is over in which the handler of a connection whose peer is gone may read what there
    /// is. It is for those who have paused; one who reads comes to the end by that.
    fn give_up(&mut self, fresh: Tick) -> Expired {
        if self.has(Flags::PAUSED) {
            return Expired::Gone;
        }
        self.wait_for_reads(fresh);
        Expired::Nothing
    }

    /// The peer is gone: from now on a pause lasts for `write_stall` only.
    pub(super) fn wait_for_reads(&mut self, now: Tick) {
        self.limit_at = after(now, self.limits.write_stall);
    }

    /// Starts the clock of its phase anew, as bytes move or a new phase begins: `now` is that very
    /// moment, for a turn that began long ago must not make it shorter.
    #[inline]
    pub(crate) fn restart_limit(&mut self, now: Tick) {
        // The flush of a close has a time in all, too, which begins once and which nothing moves;
        // with the end of the last source, for a long one takes its time from nobody.
        if self.phase == Phase::Closing && self.deadline == NEVER && !self.has_source() {
            self.deadline = after(now, self.limits.close_time);
        }
        self.limit_at = match self.phase {
            Phase::Connecting => after(now, self.limits.connect_timeout),
            // One that is over in time, whatever moves.
            Phase::Handshaking => return,
            Phase::Open if self.is_waiting_for_peer() => after(now, self.limits.write_stall),
            Phase::Closing => after(now, self.limits.close_flush),
            Phase::Lingering => after(now, self.limits.linger_silence),
            Phase::Open | Phase::Dead => NEVER,
        };
    }
}
