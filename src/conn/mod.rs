//! One connection: its state, and how it moves on in life.
//!
//! Nothing here calls a handler or knows another connection. Readiness is state: an edge sets a
//! flag, and only a call that would block (or a short one, where that is proof) clears it.

mod deadlines;
mod flags;
mod reading;
mod writing;

pub(crate) use deadlines::Expired;
pub(crate) use flags::Flags;
pub(crate) use reading::Read;
pub(crate) use writing::{Admission, Written};

use crate::addr::Addr;
use crate::backend::Stream;
use crate::buffer::input::Leftover;
use crate::buffer::write_queue::WriteQueue;
use crate::clock::{NEVER, Tick, nanos};
use crate::closed::Reason;
use crate::config::Limits;
use crate::id::{Key, ListenerId, Tag};
use std::sync::Arc;

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This listener accepted it.
    Accepted(ListenerId),
    /// `connect` made it.
    Connected,
}

/// Where a connection is in its life; it only ever moves down this list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    /// The handshake is not through.
    Connecting,
    Open,
    /// `close` was asked for: what is pending is flushed, and input is discarded.
    Closing,
    /// Flushed and shut; input is discarded until the peer ends, so that no RST overtakes what was
    /// sent.
    Lingering,
    /// Over; `on_close` is all that comes.
    Dead,
}

pub(crate) struct Conn {
    /// `None`: the connect failed at once.
    pub(crate) stream: Option<Stream>,
    pub(crate) peer: Addr,
    pub(crate) origin: Origin,
    pub(crate) tag: Tag,
    pub(crate) limits: Arc<Limits>,
    phase: Phase,
    flags: Flags,
    pub(crate) queue: Option<Box<WriteQueue>>,
    /// Its part of the turn's block of broadcasts, pending; a connection with a queue has none.
    part: (u32, u32),
    pub(crate) input: Option<Leftover>,
    pub(crate) reason: Option<Reason>,
    /// Bytes that were queued when the write side failed.
    pub(crate) lost: u64,
    /// When a byte last moved.
    pub(crate) progress: Tick,
    /// The idle time, in ticks; `NEVER`: none.
    pub(crate) idle: Tick,
    /// What `set_deadline` set; after a close, when its flush or its lingering has taken long
    /// enough in all.
    pub(crate) deadline: Tick,
    /// The deadline of the phase: connect, write stall, close flush or linger.
    pub(crate) limit_at: Tick,
    /// The one timer of all these deadlines.
    pub(crate) timer: Option<Key>,
    /// Where unconsumed input may be above the one in `limits`; `u32::MAX`: it may be any.
    pub(crate) raised_input: u32,
}

impl Conn {
    pub(crate) fn new(origin: Origin, peer: Addr, tag: Tag, limits: Arc<Limits>) -> Conn {
        let (phase, flags) = match origin {
            Origin::Accepted(_) => (Phase::Open, Flags(Flags::WRITABLE.0 | Flags::OPEN.0)),
            Origin::Connected => (Phase::Connecting, Flags::default()),
        };
        Conn {
            stream: None,
            peer,
            origin,
            tag,
            phase,
            flags,
            queue: None,
            part: (0, 0),
            input: None,
            reason: None,
            lost: 0,
            progress: 0,
            idle: limits.idle.map_or(NEVER, nanos),
            deadline: NEVER,
            limit_at: NEVER,
            timer: None,
            raised_input: 0,
            limits,
        }
    }

    #[inline]
    pub(crate) fn has(&self, flag: Flags) -> bool {
        self.flags.0 & flag.0 != 0
    }

    #[inline]
    pub(crate) fn has_any(&self, one: Flags, other: Flags) -> bool {
        self.flags.0 & (one.0 | other.0) != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, flag: Flags) {
        self.flags.0 |= flag.0;
    }

    #[inline]
    pub(crate) fn clear(&mut self, flag: Flags) {
        self.flags.0 &= !flag.0;
    }

    /// Sets the flag, and says whether it was clear.
    #[inline]
    pub(crate) fn raise(&mut self, flag: Flags) -> bool {
        let was_clear = !self.has(flag);
        self.set(flag);
        was_clear
    }

    /// Has it an idle deadline, so that progress must be noted?
    #[inline]
    pub(crate) fn has_idle(&self) -> bool {
        self.idle != NEVER
    }

    /// May callbacks still come, and do commands still mean something?
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.phase <= Phase::Open && !self.has(Flags::CLOSE_ASKED)
    }

    /// Gives it its stream.
    pub(crate) fn attach(&mut self, stream: Stream) {
        if !stream.short_is_proof() {
            self.set(Flags::DRAIN);
        }
        self.stream = Some(stream);
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Moves on in life.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        match phase {
            Phase::Open => self.set(Flags::OPEN),
            _ => self.clear(Flags::OPEN),
        }
    }

    /// Are these flags set and those not?
    #[inline]
    fn is(&self, set: &[Flags], clear: &[Flags]) -> bool {
        let set = set.iter().fold(0, |bits, flag| bits | flag.0);
        let clear = clear.iter().fold(0, |bits, flag| bits | flag.0);
        self.flags.0 & (set | clear) == set
    }

    /// The first error wins; what is no error gives way to one.
    pub(crate) fn blame(&mut self, reason: Reason) {
        if self
            .reason
            .as_ref()
            .is_none_or(|first| first.is_clean() && !reason.is_clean())
        {
            self.reason = Some(reason);
        }
    }
}

// mio's poll(2) selector keeps state of its own beside each socket.
#[cfg(all(test, not(mio_unsupported_force_poll_poll)))]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_costs_less_than_its_budget() {
        // 192 bytes per idle connection, the slab's bookkeeping and the generation included.
        assert!(size_of::<Conn>() <= 184, "{}", size_of::<Conn>());
    }
}
