//! Output of one connection that waits to be written: what a send may add, and where it lies.

use super::{Conn, Flags};
use crate::buffer::input::Chunk;
use crate::buffer::outbox::Outbox;
use crate::buffer::write_queue::{Spare, WriteQueue};
use crate::config::Overflow;
use crate::transport::Transport;
use std::ops::Range;

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
        let pending = self.queued() + self.held();
        match self.has_source() {
            false => pending,
            true => pending + self.behind().0,
        }
    }

    /// Those of them that the transport has taken.
    #[inline(always)]
    fn held(&self) -> usize {
        self.transport.as_ref().map_or(0, Transport::held)
    }

    /// Those of them that are next, with no source before them, and that the transport has not
    /// taken either.
    #[inline]
    pub(super) fn queued(&self) -> usize {
        let broadcast = (self.broadcast.1 - self.broadcast.0) as usize;
        self.queue.as_ref().map_or(broadcast, |queue| queue.len())
    }

    /// Pending bytes that the last flush has left, and what has queued up behind a source.
    #[inline]
    fn offered(&self) -> usize {
        let queued = self.queue.as_ref().map_or(0, |queue| queue.offered());
        let offered = queued + self.held();
        match self.has_source() {
            false => offered,
            // The peer has no part in it, but there must be an end to it.
            true => offered + self.behind().0 + self.behind().1,
        }
    }

    /// A flush has come to the connection: what is pending now it did not take, be it that the
    /// system had no room, or that there is no connection yet.
    #[inline]
    pub(crate) fn note_offered(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.note_offered();
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

    /// May it borrow input: open, nothing pending, and sending as usual?
    #[inline]
    pub(crate) fn can_borrow(&self) -> bool {
        use Flags as F;
        let unusual = [F::SHUT_ASKED, F::WAITING, F::WRITE_FAILED, F::IN_DIRTY];
        // The read phase lists whoever can write what is queued, so that is told by the flags.
        debug_assert!(
            self.queue.is_none()
                || !self.has(F::WRITABLE)
                || self.has(F::IN_DIRTY)
                || self.has_source()
        );
        self.is(&[F::OPEN, F::WRITABLE], &unusual) && self.held() == 0
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
        if self.has_source() {
            return self.push_behind(|queue| push(queue, block));
        }
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

    /// Takes all that is pending away from it, in its order.
    #[cfg(unix)]
    pub(crate) fn take_output(&mut self, outbox: &mut Outbox) -> Vec<u8> {
        let mut output = Vec::new();
        if let Some(range) = self.take_broadcast() {
            output.extend_from_slice(&outbox.split().0[range]);
        }
        if let Some(queue) = &mut self.queue {
            queue.drain_into(&mut output);
        }
        self.release_queue(outbox);
        output
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
    #[inline]
    pub(crate) fn drop_output(&mut self, outbox: &mut Outbox) {
        if self.queue.is_some() || !self.is_all_out() {
            self.drop_pending(outbox);
        }
    }

    #[cold]
    fn drop_pending(&mut self, outbox: &mut Outbox) {
        self.lose(self.pending());
        self.drop_sources();
        if let Some(transport) = &mut self.transport {
            transport.drop_held();
        }
        self.take_broadcast();
        self.release_queue(outbox);
    }

    /// What waits and no transport has taken is lost, and what sources would have given.
    #[cfg(feature = "tls")]
    pub(crate) fn drop_queue(&mut self, outbox: &mut Outbox) {
        self.lose(self.queued() + self.behind().0);
        self.drop_sources();
        self.take_broadcast();
        self.release_queue(outbox);
    }

    /// Makes a broadcast that lies here in the turn's block the next bytes to go out, if that is
    /// all there is to do: the connection sends as usual, and nothing but what lies right before it
    /// in the block is to be written. Answers how much is pending then.
    #[inline]
    pub(crate) fn join_broadcast(&mut self, start: u32, end: u32) -> Option<usize> {
        use Flags as F;
        let usual = self.is(
            &[F::OPEN, F::WRITABLE],
            &[F::SHUT_ASKED, F::CLOSE_ASKED, F::WAITING, F::WRITE_FAILED],
        );
        let is_first = self.broadcast.0 == self.broadcast.1;
        if !usual || self.queue.is_some() || !(is_first || self.broadcast.1 == start) {
            return None;
        }
        if is_first {
            self.broadcast.0 = start;
        }
        self.broadcast.1 = end;
        Some((end - self.broadcast.0) as usize + self.held())
    }

    pub(crate) fn has_broadcast(&self) -> bool {
        self.broadcast.0 < self.broadcast.1
    }

    /// Takes the part of the turn's block away from the connection.
    #[inline]
    pub(super) fn take_broadcast(&mut self) -> Option<Range<usize>> {
        let (start, end) = std::mem::take(&mut self.broadcast);
        (start < end).then_some(start as usize..end as usize)
    }

    #[cold]
    pub(super) fn queue_untaken(&mut self, untaken: &[u8], spare: &mut Spare) {
        self.queue.insert(spare.get()).push_slice(untaken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::id::{Key, ListenerId, Tag};
    use std::net::SocketAddr;
    use std::sync::Arc;

    fn open(change: impl FnOnce(&mut Limits)) -> Conn {
        let mut limits = Limits::default();
        change(&mut limits);
        let listener = ListenerId(Key {
            slot: 0,
            generation: 0,
        });
        let peer = SocketAddr::from(([127, 0, 0, 1], 1)).into();
        Conn::accepted(listener, peer, Tag::default(), Arc::new(limits))
    }

    /// One that was told to wait, and whose last flush has left so many bytes.
    fn waiting(left: usize, high: usize, hard: usize) -> Conn {
        let mut conn = open(|limits| {
            (limits.high_watermark, limits.hard_limit) = (high, hard);
        });
        let mut outbox = Outbox::default();
        conn.push(&mut outbox, |queue, _| queue.push_slice(&vec![0; left]));
        conn.note_offered();
        conn.set(Flags::WAITING);
        conn
    }

    // J5
    #[test]
    fn the_hard_limit_judges_from_the_high_mark_on_and_never_the_first_send() {
        for (left, high, hard, bytes, is_queued) in [
            (9, 10, 30, 1_000, true),
            (10, 10, 30, 20, true),
            (10, 10, 30, 21, false),
            (11, 10, 30, 0, true),
            (0, 0, 30, 1_000, true),
            (1, 0, 30, 30, false),
        ] {
            let admission = waiting(left, high, hard).admit(bytes);
            let queued = matches!(admission, Admission::Queue);
            assert_eq!(queued, is_queued, "{left}, {high}, {bytes}");
        }
    }

    #[test]
    fn a_broadcast_joins_only_what_lies_right_before_it() {
        let mut conn = open(|_| {});
        assert!(!conn.has_broadcast());
        assert_eq!(conn.join_broadcast(3, 5), Some(2));
        assert_eq!((conn.has_broadcast(), conn.pending()), (true, 2));
        assert_eq!(conn.join_broadcast(5, 8), Some(5));
        assert_eq!((conn.join_broadcast(9, 11), conn.pending()), (None, 5));
        assert_eq!(conn.take_plain_broadcast(), Some(3..8));
        assert_eq!((conn.has_broadcast(), conn.pending()), (false, 0));
        let mut conn = waiting(1, 10, 30);
        conn.clear(Flags::WAITING);
        assert_eq!(conn.join_broadcast(0, 5), None);
    }

    #[test]
    fn who_sends_as_usual_with_nothing_pending_borrows() {
        let conn = open(|_| {});
        assert!(conn.can_borrow() && conn.is_at_ease() && !conn.has_queue());
        assert!(!conn.wants_flush());
        let conn = waiting(1, 10, 30);
        assert!(conn.has_queue() && conn.wants_flush() && !conn.is_at_ease());
        let mut conn = open(|_| {});
        conn.set(Flags::IN_DIRTY);
        assert!(!conn.can_borrow());
    }

    #[test]
    fn who_has_lost_nothing_and_waits_for_nothing_has_nothing_rare() {
        let (mut conn, mut outbox) = (open(|_| {}), Outbox::default());
        conn.lose(0);
        conn.raise_input_limit(conn.input_limit());
        assert!(!conn.has_rare() && !conn.has_drained() && !conn.has_idle());
        conn.lose(1);
        assert!(conn.has_rare());
        conn.drop_output(&mut outbox);
        assert_eq!(conn.pending(), 0);
    }
}
