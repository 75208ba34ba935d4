//! What the connections' output is made of: the turn's block of broadcasts, queues to be used
//! again, and what sources may still give.

use super::payload::Payload;
use super::write_queue::{Spare, WriteQueue};
use std::ops::Range;

/// A block that has grown to this takes no more in this turn.
const BLOCK_LIMIT: usize = 16 << 20;

/// A block larger than this goes back to the allocator after its turn.
const BLOCK_KEPT: usize = 1 << 20;

/// The block of a turn, and the spare queues.
#[derive(Default)]
pub(crate) struct Outbox {
    /// What is broadcast in a turn, one piece after the other. Every connection that has a part of
    /// it is on the list of those to be flushed.
    block: Vec<u8>,
    /// An idle connection has no queue.
    spare: Spare,
    /// Bytes that sources may still give in this turn.
    of_sources: usize,
}

impl Outbox {
    /// May this turn's block take more?
    pub(crate) fn takes_more(&self) -> bool {
        self.block.len() < BLOCK_LIMIT
    }

    /// Puts a broadcast into the block, and says where.
    pub(crate) fn append(&mut self, payload: Payload<'_>) -> Range<usize> {
        let start = self.block.len();
        payload.put_into(&mut self.block);
        start..self.block.len()
    }

    /// Takes the last broadcast out of the block again: nobody has a part of it.
    pub(crate) fn take_back(&mut self, range: Range<usize>) {
        debug_assert!(range.end == self.block.len());
        self.block.truncate(range.start);
    }

    pub(crate) fn is_clear(&self) -> bool {
        self.block.is_empty()
    }

    /// Forgets the block. Nobody has a part of it any more.
    pub(crate) fn clear(&mut self) {
        self.block.clear();
        self.block.shrink_to(BLOCK_KEPT);
    }

    /// The block to read from, and the spare queues to take from.
    #[inline]
    pub(crate) fn split(&mut self) -> (&[u8], &mut Spare) {
        (&self.block, &mut self.spare)
    }

    /// An empty queue.
    #[inline]
    pub(crate) fn queue(&mut self) -> Box<WriteQueue> {
        self.spare.get()
    }

    /// A turn begins, in which sources may give so many bytes.
    pub(crate) fn begin_turn(&mut self, of_sources: usize) {
        self.of_sources = of_sources;
    }

    pub(crate) fn of_sources(&self) -> usize {
        self.of_sources
    }

    /// A source has given so many bytes.
    pub(crate) fn gave(&mut self, count: usize) {
        self.of_sources = self.of_sources.saturating_sub(count);
    }

    /// Takes a queue back that nobody needs.
    #[inline]
    pub(crate) fn keep(&mut self, queue: Box<WriteQueue>) {
        self.spare.keep(queue);
    }

    #[cfg(test)]
    pub(crate) fn spare_queues(&self) -> usize {
        self.spare.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_is_full_takes_no_more_until_it_is_cleared() {
        let mut outbox = Outbox::default();
        assert!(outbox.is_clear());
        outbox.append(vec![0; BLOCK_LIMIT - 1].into());
        assert!(outbox.takes_more() && !outbox.is_clear());
        outbox.append("x".into());
        assert!(!outbox.takes_more());
        outbox.clear();
        assert!(outbox.takes_more() && outbox.is_clear());
        assert_eq!(outbox.block.capacity(), BLOCK_KEPT);
    }

    #[test]
    fn a_queue_that_was_kept_is_the_next_one() {
        let mut outbox = Outbox::default();
        let mut queue = outbox.queue();
        queue.push("x".into());
        let place = &raw const *queue;
        outbox.keep(queue);
        assert_eq!(outbox.spare_queues(), 1);
        let queue = outbox.queue();
        assert_eq!((&raw const *queue, queue.len()), (place, 0));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_drained_comes_in_order_and_leaves_an_empty_queue() {
        let (mut queue, mut bytes) = (WriteQueue::default(), b"before ".to_vec());
        queue.push("taken shared".into());
        queue.take(6);
        queue.push(vec![b'x'; 5_000].into());
        queue.push(" tail".into());
        queue.drain_into(&mut bytes);
        let wanted = [&b"before shared"[..], &[b'x'; 5_000], b" tail"].concat();
        assert_eq!((bytes, queue.len()), (wanted, 0));
    }
}
