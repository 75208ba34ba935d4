//! Writing to one connection: what is pending, what a send may add, and what a call says.

use super::{Conn, Flags, Phase};
use crate::backend::{Stream, is_shortage};
use crate::buffer::input::Chunk;
use crate::buffer::outbox::Outbox;
use crate::buffer::write_queue::{SLICES, Spare, WriteQueue};
use crate::clock::Tick;
use crate::config::Overflow;
use crate::transport::Transport;
use std::io::{self, IoSlice};
use std::ops::Range;

/// What a write did.
pub(crate) enum Written {
    Bytes(usize),
    Nothing,
    /// The system is short of memory, and no edge will tell that this is over.
    Later,
    Failed(io::Error),
}

/// What becomes of a send.
pub(crate) enum Admission {
    Queue,
    Drop,
    Close,
}

impl Conn {
    /// May more be sent?
    #[inline]
    pub(crate) fn takes_output(&self) -> bool {
        self.is_live() && self.flags.0 & (Flags::SHUT_ASKED.0 | Flags::WRITE_FAILED.0) == 0
    }

    /// Bytes that were sent and the system has not taken yet.
    #[inline]
    pub(crate) fn pending(&self) -> usize {
        self.queued() + self.transport.as_ref().map_or(0, Transport::held)
    }

    /// Those of them that the transport has not taken either.
    #[inline]
    fn queued(&self) -> usize {
        let broadcast = (self.broadcast.1 - self.broadcast.0) as usize;
        self.queue.as_ref().map_or(broadcast, |queue| queue.len())
    }

    /// Pending bytes that the last flush has left.
    #[inline]
    fn offered(&self) -> usize {
        let queued = self.queue.as_ref().map_or(0, |queue| queue.offered());
        queued + self.transport.as_ref().map_or(0, Transport::held)
    }

    /// A flush has come to the connection: what is pending now it did not take, be it that the
    /// system had no room, or that there is no connection yet.
    #[inline]
    pub(crate) fn note_offered(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.note_offered();
        }
    }

    /// Has the system taken everything, the transport's own words too?
    #[inline]
    pub(crate) fn is_all_out(&self) -> bool {
        self.queued() == 0 && !self.owes()
    }

    /// Is there something to be written that is not, or not only, the connection's own?
    #[inline]
    pub(crate) fn owes(&self) -> bool {
        self.transport.as_ref().is_some_and(Transport::owes)
    }

    /// If nothing more is to come, and the transport has all there was, it may tell the peer so.
    #[inline]
    pub(crate) fn announce_eof(&mut self) {
        let is_last = self.phase == Phase::Closing || self.has(Flags::SHUT_ASKED);
        if is_last
            && self.queued() == 0
            && let Some(transport) = &mut self.transport
        {
            transport.announce_eof();
        }
    }

    /// What becomes of a send of so many bytes. The hard limit governs only what is sent after a
    /// `Wait`, and it judges the peer by what the last flush left, not by what it had no chance to
    /// take yet. Where that is below the high mark, a send is taken whatever its size.
    #[inline]
    pub(crate) fn admit(&self, bytes: usize) -> Admission {
        if !self.has(Flags::WAITING) || bytes == 0 {
            return Admission::Queue;
        }
        let (offered, limits) = (self.offered(), &self.limits);
        // The high mark may be zero.
        let is_fresh = offered == 0 || offered < limits.high_watermark;
        if is_fresh || offered.saturating_add(bytes) <= limits.hard_limit {
            return Admission::Queue;
        }
        match limits.overflow {
            Overflow::Close => Admission::Close,
            Overflow::DropNewest => Admission::Drop,
        }
    }

    /// Is a wait over, so that an `on_drain` is due, or the end of a pause?
    #[inline]
    pub(crate) fn has_drained(&self) -> bool {
        self.has_any(Flags::WAITING, Flags::UNTIL_DRAINED)
            && self.phase == Phase::Open
            && self.pending() <= self.limits.low_watermark
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
            true => self.queue.is_some() || self.owes(),
            false => self.phase == Phase::Closing,
        }
    }

    /// Is it open, with nothing that would follow from an empty queue?
    #[inline]
    pub(crate) fn is_at_ease(&self) -> bool {
        use Flags as F;
        self.is(&[F::OPEN], &[F::WAITING, F::UNTIL_DRAINED, F::SHUT_ASKED])
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

    /// Queues what `push` pushes, which may be a part of the turn's block. Answers how much is
    /// pending then.
    #[inline]
    pub(crate) fn push(
        &mut self,
        outbox: &mut Outbox,
        push: impl FnOnce(&mut WriteQueue, &[u8]),
    ) -> usize {
        let range = self.take_broadcast();
        let (block, spare) = outbox.split();
        let queue = self.queue.get_or_insert_with(|| spare.get());
        // Its part of the block came first.
        if let Some(range) = range {
            queue.push_slice(&block[range]);
        }
        push(queue, block);
        self.pending()
    }

    /// Queues a chunk in front of everything else: it was lent before that was sent.
    pub(crate) fn push_first(&mut self, outbox: &mut Outbox, chunk: Chunk<'_>) {
        if !chunk.is_empty() {
            let queue = self.queue.get_or_insert_with(|| outbox.queue());
            queue.push_first(chunk);
        }
    }

    pub(crate) fn has_queue(&self) -> bool {
        self.queue.is_some()
    }

    /// A queue that is empty goes back to the spare ones.
    #[inline]
    pub(crate) fn release_queue(&mut self, outbox: &mut Outbox) {
        if let Some(queue) = self.queue.take() {
            outbox.keep(queue);
        }
    }

    /// What is pending is lost.
    pub(crate) fn drop_output(&mut self, outbox: &mut Outbox) {
        self.lose(self.pending());
        if let Some(transport) = &mut self.transport {
            transport.drop_held();
        }
        self.take_broadcast();
        self.release_queue(outbox);
    }

    /// Nothing can be sent any more: a write has failed, or the socket has an error. Reads go on,
    /// and if they are paused, not for ever.
    pub(crate) fn fail_writing(&mut self, now: Tick, outbox: &mut Outbox) {
        self.drop_output(outbox);
        self.set(Flags::WRITE_FAILED);
        self.set(Flags::READABLE);
        self.set(Flags::READ_ON);
        self.wait_for_reads(now);
    }

    /// Makes a broadcast that lies here in the turn's block the next bytes to go out, if that is
    /// all there is to do: the connection sends as usual, and nothing but what lies right before it
    /// in the block is pending. Answers how much is pending then.
    #[inline]
    pub(crate) fn join_broadcast(&mut self, start: u32, end: u32) -> Option<usize> {
        use Flags as F;
        let usual = self.is(
            &[F::OPEN, F::WRITABLE],
            &[F::SHUT_ASKED, F::WAITING, F::WRITE_FAILED],
        );
        let is_first = self.broadcast.0 == self.broadcast.1;
        if !usual || self.queue.is_some() || !(is_first || self.broadcast.1 == start) {
            return None;
        }
        if is_first {
            self.broadcast.0 = start;
        }
        self.broadcast.1 = end;
        Some((end - self.broadcast.0) as usize)
    }

    pub(crate) fn has_broadcast(&self) -> bool {
        self.broadcast.0 < self.broadcast.1
    }

    /// Takes the part of the turn's block away from the connection.
    #[inline]
    fn take_broadcast(&mut self) -> Option<Range<usize>> {
        let (start, end) = std::mem::take(&mut self.broadcast);
        (start < end).then_some(start as usize..end as usize)
    }

    /// Takes the part of the turn's block away, if that is all there is to flush.
    #[inline]
    pub(crate) fn take_plain_broadcast(&mut self) -> Option<Range<usize>> {
        use Flags as F;
        let unusual = [F::SHUT_ASKED, F::WAITING, F::UNTIL_DRAINED];
        match self.is(&[F::OPEN, F::WRITABLE], &unusual) {
            true => self.take_broadcast(),
            false => None,
        }
    }

    /// One write of what is pending: of its part of the block, or of its queue.
    #[inline]
    pub(crate) fn write_pending(&mut self, outbox: &mut Outbox) -> Written {
        match self.take_broadcast() {
            Some(range) => self.write_broadcast(range, outbox),
            None => self.write_queue(),
        }
    }

    #[inline]
    fn write_queue(&mut self) -> Written {
        let (Some(Transport::Plain(stream)), Some(queue)) = (&mut self.transport, &mut self.queue)
        else {
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
        let Some(Transport::Plain(stream)) = &mut self.transport else {
            return Written::Nothing;
        };
        let result = stream.write(slice);
        self.judge(slice.len(), result)
    }

    /// One write of its part of the block; what the system does not take is queued.
    #[inline(always)]
    pub(crate) fn write_broadcast(&mut self, range: Range<usize>, outbox: &mut Outbox) -> Written {
        let (block, spare) = outbox.split();
        let bytes = &block[range];
        let written = self.write_slice(bytes);
        match written {
            Written::Bytes(count) if count == bytes.len() => {}
            Written::Bytes(count) => self.queue_untaken(&bytes[count..], spare),
            Written::Nothing | Written::Later | Written::Failed(_) => {
                self.queue_untaken(bytes, spare);
            }
        }
        written
    }

    #[cold]
    fn queue_untaken(&mut self, untaken: &[u8], spare: &mut Spare) {
        self.queue.insert(spare.get()).push_slice(untaken);
    }

    /// What a write says about the next one.
    #[inline(always)]
    fn judge(&mut self, offered: usize, result: io::Result<usize>) -> Written {
        match result {
            Ok(count) if count == offered => Written::Bytes(count),
            Ok(count) => {
                if count == 0
                    || self
                        .transport
                        .as_ref()
                        .is_some_and(Transport::short_is_proof)
                {
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
                _ if is_shortage(&error) => {
                    self.clear(Flags::WRITABLE);
                    Written::Later
                }
                _ => Written::Failed(error),
            },
        }
    }
}

/// Several pieces in one call. Apart from `write_queue`, so that this does not pay for the array.
#[inline(never)]
fn write_pieces(stream: &mut Stream, queue: &WriteQueue) -> (usize, io::Result<usize>) {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let count = queue.gather(&mut slices);
    let offered = slices[..count].iter().map(|slice| slice.len()).sum();
    (offered, stream.write_vectored(&slices[..count]))
}
