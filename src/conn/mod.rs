//! One connection: its state, and what a read or a write does to it.
//!
//! Nothing here calls a handler or knows another connection. Readiness is state: an edge sets a
//! flag, and only a call that would block (or a short one, where that is proof) clears it.

mod deadlines;
mod flags;

pub(crate) use deadlines::Expired;
pub(crate) use flags::Flags;

use crate::addr::Addr;
use crate::backend::Stream;
use crate::buffer::input::{Input, Leftover};
use crate::buffer::write_queue::{SLICES, Spare, WriteQueue};
use crate::clock::{NEVER, Tick, nanos};
use crate::closed::Reason;
use crate::config::{Limits, Overflow};
use crate::id::{Key, ListenerId, Tag};
use crate::readiness::Readiness;
use std::io::{self, IoSlice};
use std::ops::Range;
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

/// What a read gave.
pub(crate) enum Read {
    Data(usize),
    Eof,
    Nothing,
    Failed(io::Error),
}

/// What a write did.
pub(crate) enum Written {
    Bytes(usize),
    Nothing,
    Failed(io::Error),
}

/// What becomes of a send.
pub(crate) enum Admission {
    Queue,
    Drop,
    Close,
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

    /// Bytes that the handler may leave.
    pub(crate) fn input_limit(&self) -> usize {
        let raised = match self.raised_input {
            u32::MAX => usize::MAX,
            raised => raised as usize,
        };
        self.limits.input_limit.max(raised)
    }

    /// Bytes queued and not yet taken by the system.
    #[inline]
    pub(crate) fn pending(&self) -> usize {
        let part = (self.part.1 - self.part.0) as usize;
        self.queue.as_ref().map_or(part, |queue| queue.len())
    }

    /// Makes a broadcast that lies here in the turn's block the next bytes to go out, if that is
    /// all there is to do: the connection sends as usual, and nothing but what lies right before it
    /// in the block is pending. Answers how much is pending then.
    #[inline]
    pub(crate) fn join_part(&mut self, start: u32, end: u32) -> Option<usize> {
        use Flags as F;
        let usual = self.is(
            &[F::OPEN, F::WRITABLE],
            &[F::SHUT_ASKED, F::WAITING, F::WRITE_FAILED],
        );
        let is_first = self.part.0 == self.part.1;
        if !usual || self.queue.is_some() || !(is_first || self.part.1 == start) {
            return None;
        }
        if is_first {
            self.part.0 = start;
        }
        self.part.1 = end;
        Some((end - self.part.0) as usize)
    }

    pub(crate) fn has_part(&self) -> bool {
        self.part.0 < self.part.1
    }

    /// Its part of the turn's block, which it has no longer.
    #[inline]
    pub(crate) fn take_part(&mut self) -> Option<Range<usize>> {
        let (start, end) = std::mem::take(&mut self.part);
        (start < end).then_some(start as usize..end as usize)
    }

    /// The same, if that is all there is to flush.
    #[inline]
    pub(crate) fn take_plain_part(&mut self) -> Option<Range<usize>> {
        use Flags as F;
        match self.is(&[F::OPEN, F::WRITABLE], &[F::SHUT_ASKED, F::WAITING]) {
            true => self.take_part(),
            false => None,
        }
    }

    /// May callbacks still come, and do commands still mean something?
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.phase <= Phase::Open && !self.has(Flags::CLOSE_ASKED)
    }

    /// May more be sent?
    #[inline]
    pub(crate) fn takes_output(&self) -> bool {
        self.is_live() && self.flags.0 & (Flags::SHUT_ASKED.0 | Flags::WRITE_FAILED.0) == 0
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

    /// Is there something that a read phase should do for it?
    #[inline]
    pub(crate) fn wants_read(&self) -> bool {
        self.is_plainly_readable() || self.wants_unusual_read()
    }

    fn wants_unusual_read(&self) -> bool {
        match self.phase {
            // An error is looked for in a pause too: a peer that is gone is not waited for.
            Phase::Open if self.has(Flags::PAUSED) => self.has(Flags::FAULTED),
            Phase::Open => self.has(Flags::RESUMED),
            Phase::Connecting => self.flags.0 & (Flags::READABLE.0 | Flags::WRITABLE.0) != 0,
            Phase::Closing | Phase::Lingering => self.has(Flags::READABLE) && !self.has(Flags::EOF),
            Phase::Dead => false,
        }
    }

    /// Is it open, with input to be read, and nothing out of the ordinary?
    #[inline]
    pub(crate) fn is_plainly_readable(&self) -> bool {
        self.is(
            &[Flags::OPEN, Flags::READABLE],
            &[Flags::RESUMED, Flags::PAUSED],
        )
    }

    /// May it borrow input: open, nothing queued, and sending as usual?
    #[inline]
    pub(crate) fn can_borrow(&self) -> bool {
        use Flags as F;
        let unusual = [F::SHUT_ASKED, F::WAITING, F::WRITE_FAILED, F::IN_DIRTY];
        // The read phase lists whoever can write what is queued, so that is told by the flags.
        debug_assert!(self.queue.is_none() || !self.has(F::WRITABLE) || self.has(F::IN_DIRTY));
        self.is(&[F::OPEN, F::WRITABLE], &unusual)
    }

    /// Is it open, with nothing that would follow from an empty queue?
    #[inline]
    pub(crate) fn is_at_ease(&self) -> bool {
        self.is(&[Flags::OPEN], &[Flags::WAITING, Flags::SHUT_ASKED])
    }

    /// May its bytes go out: neither connecting nor over?
    #[inline]
    pub(crate) fn is_flushing(&self) -> bool {
        self.has(Flags::OPEN) || self.phase == Phase::Closing
    }

    /// Is there something that a flush phase should do for it?
    #[inline]
    pub(crate) fn wants_flush(&self) -> bool {
        match self.has(Flags::OPEN) {
            true => self.queue.is_some(),
            false => self.phase == Phase::Closing,
        }
    }

    /// The read phase has come to it, with news from the wait or without.
    #[inline]
    pub(crate) fn leave_ready_list(&mut self, news: Readiness) {
        // An entry from the wait is not the one that the flag tells of: a callback may have listed
        // the connection since.
        if news == Readiness::default() {
            self.clear(Flags::IN_READY);
        }
        self.flags.0 |= u16::from(news.directions());
        if news.is_unusual() {
            self.on_readiness(news);
        }
    }

    /// An edge. Errors and hang-ups count as readable, errors as writable too: a call meets them.
    #[inline]
    pub(crate) fn on_readiness(&mut self, readiness: Readiness) {
        self.flags.0 |= u16::from(readiness.directions());
        if readiness.is_unusual() {
            self.set(Flags::READABLE);
            self.set(Flags::DRAIN);
            if readiness.is_error() {
                self.set(Flags::WRITABLE);
                self.set(Flags::FAULTED);
            }
        }
    }

    /// One read of one receive buffer.
    #[inline(always)]
    pub(crate) fn read(&mut self, input: &mut Input) -> Read {
        let Some(stream) = &mut self.stream else {
            return Read::Nothing;
        };
        let buffer = input.buffer();
        match stream.read(buffer) {
            Ok(0) => {
                self.clear(Flags::READABLE);
                Read::Eof
            }
            Ok(count) => {
                if count < buffer.len() && !self.has(Flags::DRAIN) {
                    self.clear(Flags::READABLE);
                }
                input.filled(count);
                Read::Data(count)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    self.clear(Flags::READABLE);
                    Read::Nothing
                }
                io::ErrorKind::Interrupted => Read::Nothing,
                _ => Read::Failed(error),
            },
        }
    }

    /// One write of what is pending.
    #[inline]
    pub(crate) fn write(&mut self) -> Written {
        let (Some(stream), Some(queue)) = (&mut self.stream, &mut self.queue) else {
            return Written::Nothing;
        };
        let (offered, result) = match queue.as_slice() {
            Some(slice) => (slice.len(), stream.write(slice)),
            None => write_pieces(stream, queue),
        };
        let written = self.judge(offered, result);
        if let (Written::Bytes(count), Some(queue)) = (&written, &mut self.queue) {
            queue.take(*count);
        }
        written
    }

    /// One write of bytes that are not queued.
    #[inline(always)]
    pub(crate) fn write_slice(&mut self, slice: &[u8]) -> Written {
        let Some(stream) = &mut self.stream else {
            return Written::Nothing;
        };
        let result = stream.write(slice);
        self.judge(slice.len(), result)
    }

    /// One write of its part of the block; what the system does not take is queued.
    #[inline(always)]
    pub(crate) fn write_part(&mut self, part: &[u8], spare: &mut Spare) -> Written {
        let written = self.write_slice(part);
        match written {
            Written::Bytes(count) if count == part.len() => {}
            Written::Bytes(count) => self.queue_part(&part[count..], spare),
            Written::Nothing | Written::Failed(_) => self.queue_part(part, spare),
        }
        written
    }

    #[cold]
    fn queue_part(&mut self, rest: &[u8], spare: &mut Spare) {
        self.queue.insert(spare.get()).push_slice(rest);
    }

    /// What a write says about the next one.
    #[inline(always)]
    fn judge(&mut self, offered: usize, result: io::Result<usize>) -> Written {
        match result {
            Ok(count) if count == offered => Written::Bytes(count),
            Ok(count) => {
                if count == 0 || self.stream.as_ref().is_some_and(|s| s.short_is_proof()) {
                    self.clear(Flags::WRITABLE);
                }
                Written::Bytes(count)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    self.clear(Flags::WRITABLE);
                    Written::Nothing
                }
                io::ErrorKind::Interrupted => Written::Nothing,
                _ => Written::Failed(error),
            },
        }
    }

    /// What becomes of a send of so many bytes, with some of the input lent to it already. The hard
    /// limit governs only what is sent after a `Wait` and above the high mark, so a send below it
    /// is taken whatever its size.
    #[inline]
    pub(crate) fn admit(&self, lent: usize, bytes: usize) -> Admission {
        if !self.has(Flags::WAITING) || bytes == 0 {
            return Admission::Queue;
        }
        let (pending, limits) = (self.pending() + lent, &self.limits);
        if pending < limits.high_watermark || pending.saturating_add(bytes) <= limits.hard_limit {
            return Admission::Queue;
        }
        match limits.overflow {
            Overflow::Close => Admission::Close,
            Overflow::DropNewest => Admission::Drop,
        }
    }

    /// Is an `on_drain` due?
    #[inline]
    pub(crate) fn has_drained(&self) -> bool {
        self.has(Flags::WAITING)
            && self.phase == Phase::Open
            && self.pending() <= self.limits.low_watermark
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

/// Several pieces in one call. Apart from `write`, so that this does not pay for the array.
#[inline(never)]
fn write_pieces(stream: &mut Stream, queue: &WriteQueue) -> (usize, io::Result<usize>) {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let count = queue.gather(&mut slices);
    let offered = slices[..count].iter().map(|slice| slice.len()).sum();
    (offered, stream.write_vectored(&slices[..count]))
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
