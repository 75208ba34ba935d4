//! The deadlines of one connection: which is next, and what follows when one has passed.

use super::{Conn, Flags, Phase};
use crate::clock::{NEVER, Tick, after};
use crate::closed::{Deadline, Reason};

/// What a deadline asks for.
pub(crate) enum Expired {
    Nothing,
    /// Tell the handler.
    Tell(Deadline),
    /// The connection is over, with this reason.
    End(Reason),
    /// It has lingered long enough.
    Lingered,
}

impl Conn {
    /// When the earliest of its deadlines passes.
    #[inline]
    pub(crate) fn next_deadline(&self) -> Tick {
        match self.is_live() {
            true => self.limit_at.min(self.deadline).min(self.idle_at()),
            false => self.limit_at,
        }
    }

    /// When it has been idle for its idle time. A connect has a timeout of its own.
    #[inline]
    fn idle_at(&self) -> Tick {
        match self.has(Flags::OPEN) {
            true => self.progress.saturating_add(self.idle),
            false => NEVER,
        }
    }

    /// Its timer fired: which deadline is it, if any? A deadline that moved on is none.
    pub(crate) fn expire(&mut self, now: Tick) -> Expired {
        if self.limit_at <= now {
            // The peer has made room, and the flush phase of this very turn uses it: the loop was
            // late, not the peer.
            if self.phase >= Phase::Open && self.has(Flags::WRITABLE) && self.pending() > 0 {
                self.restart_limit(now);
                return Expired::Nothing;
            }
            self.limit_at = NEVER;
            return match self.phase {
                Phase::Connecting => Expired::End(Reason::ConnectTimedOut),
                Phase::Open => Expired::End(Reason::TimedOut(Deadline::WriteStall)),
                Phase::Closing => Expired::End(Reason::TimedOut(Deadline::CloseFlush)),
                Phase::Lingering => Expired::Lingered,
                Phase::Dead => Expired::Nothing,
            };
        }
        if !self.is_live() {
            return Expired::Nothing;
        }
        if self.deadline <= now {
            self.deadline = NEVER;
            return Expired::Tell(Deadline::Set);
        }
        if self.idle_at() <= now {
            self.progress = now;
            // Bytes that wait for their turn are progress too: data wins over a deadline.
            let waits = self.has(Flags::READABLE) && self.wants_read();
            return if waits {
                Expired::Nothing
            } else {
                Expired::Tell(Deadline::Idle)
            };
        }
        Expired::Nothing
    }

    /// Starts the clock of its phase anew: bytes moved, or a new phase begins.
    #[inline]
    pub(crate) fn restart_limit(&mut self, now: Tick) {
        self.limit_at = match self.phase {
            Phase::Connecting => after(now, self.limits.connect_timeout),
            Phase::Open if self.pending() > 0 => after(now, self.limits.write_stall),
            Phase::Closing => after(now, self.limits.close_flush),
            Phase::Lingering => after(now, self.limits.linger_time),
            Phase::Open | Phase::Dead => NEVER,
        };
    }
}
