//! What a connection has been given to send and the operating system has not yet taken.

use super::input::Chunk;
use super::payload::{Part, Parts, Payload, SHARE_FROM};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Bytes in the order they were sent: large ones shared, runs of small ones joined.
///
/// The blocks come first, then the tail; `taken` bytes of the tail are already gone.
#[derive(Default)]
pub(crate) struct WriteQueue {
    blocks: VecDeque<Bytes>,
    tail: Vec<u8>,
    taken: usize,
    len: usize,
    /// Bytes that the last flush has left.
    offered: usize,
}

/// Entries of one system call; the limit of the system (IOV_MAX, 1024 on Linux) is far above it.
pub(crate) const SLICES: usize = 32;

/// A tail that has grown to this is sealed into a block, so that growing never copies much.
const BLOCK: usize = 64 * 1024;

/// A tail above this is given back to the allocator when the queue is empty.
const KEEP: usize = 16 * 1024;

impl WriteQueue {
    /// Bytes pending.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that the last flush has left: the peer has had its chance to take them.
    #[inline]
    pub(crate) fn offered(&self) -> usize {
        self.offered
    }

    /// A flush has left what is here.
    #[inline]
    pub(crate) fn note_offered(&mut self) {
        self.offered = self.len;
    }

    #[inline]
    pub(crate) fn push(&mut self, payload: Payload<'_>) {
        match payload.0 {
            Parts::One(part) => self.push_part(part),
            Parts::Two(parts) => parts.into_iter().for_each(|part| self.push_part(part)),
            Parts::Many(parts) => parts.into_iter().for_each(|part| self.push_part(part)),
        }
    }

    #[inline]
    fn push_part(&mut self, part: Part<'_>) {
        match part {
            Part::Lent(slice) => self.push_slice(slice),
            Part::Given(bytes) if bytes.len() >= SHARE_FROM => self.push_block(bytes),
            Part::Given(bytes) => self.push_slice(&bytes),
            Part::Shared(bytes) => self.push_bytes(bytes),
            Part::Chunk(chunk) if chunk.is_large() => self.push_block(chunk.into()),
            Part::Chunk(chunk) => self.push_slice(&chunk),
            Part::Header(header) => self.push_slice(header.as_slice()),
        }
    }

    /// Copies.
    #[inline]
    pub(crate) fn push_slice(&mut self, slice: &[u8]) {
        if self.tail.len() + slice.len() > BLOCK {
            self.make_room(slice.len());
        }
        self.tail.extend_from_slice(slice);
        self.len += slice.len();
    }

    /// Copies what is small, shares what is large.
    pub(crate) fn push_bytes(&mut self, bytes: &Bytes) {
        match bytes.len() < SHARE_FROM {
            true => self.push_slice(bytes),
            false => self.push_block(bytes.clone()),
        }
    }

    /// Puts bytes before all others: input that was lent and has to be queued after all.
    pub(crate) fn push_first(&mut self, chunk: Chunk<'_>) {
        match self.len {
            0 => self.push_part(Part::Chunk(chunk)),
            _ if self.blocks.is_empty() && self.tail.len() + chunk.len() <= KEEP => {
                self.insert(&chunk);
            }
            _ => {
                self.len += chunk.len();
                self.blocks.push_front(chunk.into());
            }
        }
    }

    /// Few bytes go in front of few by a move, so that they leave in one piece: the first answer of
    /// several, mostly.
    fn insert(&mut self, bytes: &[u8]) {
        let (old, start) = (self.tail.len(), self.taken);
        self.tail.resize(old + bytes.len(), 0);
        self.tail.copy_within(start..old, start + bytes.len());
        self.tail[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Has `read` append at most so many bytes to the tail.
    pub(crate) fn read_in<R>(&mut self, most: usize, read: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        if self.tail.len() + most > BLOCK {
            self.make_room(most);
        }
        let before = self.tail.len();
        let result = read(&mut self.tail);
        self.len += self.tail.len() - before;
        result
    }

    /// Puts all of another queue behind this one.
    pub(crate) fn append(&mut self, mut other: WriteQueue) {
        match other.blocks.is_empty() {
            true => self.push_slice(&other.tail[other.taken..]),
            false => {
                self.seal();
                self.blocks.append(&mut other.blocks);
                (self.tail, self.taken) = (other.tail, other.taken);
                self.len += other.len;
            }
        }
    }

    /// Moves everything behind these bytes, in its order.
    #[cfg(unix)]
    pub(crate) fn drain_into(&mut self, bytes: &mut Vec<u8>) {
        bytes.reserve(self.len);
        self.blocks
            .iter()
            .for_each(|block| bytes.extend_from_slice(block));
        bytes.extend_from_slice(&self.tail[self.taken..]);
        self.reset();
    }

    fn push_block(&mut self, block: Bytes) {
        self.seal();
        self.len += block.len();
        self.blocks.push_back(block);
    }

    #[cold]
    fn make_room(&mut self, wanted: usize) {
        let left = self.tail.len() - self.taken;
        if left + wanted <= BLOCK && left <= self.taken {
            // What is left is the smaller half, so this moves each byte once at most.
            self.tail.drain(..self.taken);
            self.taken = 0;
        } else {
            self.seal();
            // So much is waiting already that the next block will be full too.
            self.tail.reserve(BLOCK.max(wanted));
        }
    }

    /// Turns the tail into a block. One that is worth sharing goes as it is; of others the bytes
    /// are copied, and the memory stays for the next ones.
    fn seal(&mut self) {
        let left = &self.tail[self.taken..];
        if left.len() >= SHARE_FROM {
            let mut block = Bytes::from(std::mem::take(&mut self.tail));
            block.advance(self.taken);
            self.blocks.push_back(block);
        } else if !left.is_empty() {
            self.blocks.push_back(Bytes::copy_from_slice(left));
        }
        self.tail.clear();
        self.taken = 0;
    }

    /// All of it, if it is in one piece.
    #[inline]
    pub(crate) fn as_slice(&self) -> Option<&[u8]> {
        match self.blocks.len() {
            0 => Some(&self.tail[self.taken..]),
            1 if self.tail.len() == self.taken => Some(&self.blocks[0]),
            _ => None,
        }
    }

    /// The first pieces of it, and how many.
    pub(crate) fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let pieces = self.blocks.iter().map(|block| &block[..]);
        let tail = Some(&self.tail[self.taken..]).filter(|tail| !tail.is_empty());
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces.chain(tail)) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    /// The system took the first `count` bytes.
    #[inline]
    pub(crate) fn take(&mut self, count: usize) {
        self.len -= count;
        match self.len == 0 && self.blocks.is_empty() {
            true => {
                self.tail.clear();
                self.taken = 0;
            }
            false => self.take_pieces(count),
        }
    }

    fn take_pieces(&mut self, mut count: usize) {
        while let Some(block) = self.blocks.front_mut() {
            if count < block.len() {
                block.advance(count);
                return;
            }
            count -= block.len();
            self.blocks.pop_front();
        }
        self.taken += count;
        if self.taken == self.tail.len() {
            self.tail.clear();
            self.taken = 0;
        }
    }

    /// Forgets everything, and keeps a little memory for the next connection.
    pub(crate) fn reset(&mut self) {
        self.blocks.clear();
        self.tail.clear();
        if self.tail.capacity() > KEEP {
            self.tail.shrink_to(KEEP);
        }
        if self.blocks.capacity() > SLICES {
            self.blocks.shrink_to(SLICES);
        }
        (self.taken, self.len, self.offered) = (0, 0, 0);
    }

    /// Bytes that it takes when it is empty.
    fn memory(&self) -> usize {
        let blocks = self.blocks.capacity() * size_of::<Bytes>();
        size_of::<WriteQueue>() + blocks + self.tail.capacity()
    }
}

/// Empty queues with a little memory each, to be used again: after a broadcast of large frames
/// there is one for everybody.
#[derive(Default)]
pub(crate) struct Spare {
    #[allow(
        clippy::vec_box,
        reason = "a queue moves between here and its connection by its box"
    )]
    queues: Vec<Box<WriteQueue>>,
    /// What they hold.
    bytes: usize,
}

impl Spare {
    /// Bytes that they may hold: a few queues of bulk data, or some thousands of small ones.
    const MOST: usize = 1 << 20;

    #[inline]
    pub(crate) fn get(&mut self) -> Box<WriteQueue> {
        match self.queues.pop() {
            Some(queue) => {
                self.bytes -= queue.memory();
                queue
            }
            None => Box::default(),
        }
    }

    #[inline]
    pub(crate) fn keep(&mut self, mut queue: Box<WriteQueue>) {
        queue.reset();
        let memory = queue.memory();
        if self.bytes + memory <= Spare::MOST {
            self.bytes += memory;
            self.queues.push(queue);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.queues.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::InputBuffer;
    use super::*;

    fn contents(queue: &WriteQueue) -> Vec<u8> {
        let mut all = queue
            .blocks
            .iter()
            .fold(Vec::new(), |all, block| [all, block.to_vec()].concat());
        all.extend_from_slice(&queue.tail[queue.taken..]);
        all
    }

    /// Every way to put bytes in, every way to take them out, against a plain vector.
    #[test]
    fn what_is_taken_is_what_was_pushed_in_that_order_whatever_the_cuts() {
        let (mut queue, mut model) = (WriteQueue::default(), Vec::new());
        let mut random = 7u64;
        for _ in 0..2_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let size =
                [1, 60, 5_000, 70_000][(random >> 60) as usize % 4] + (random >> 56) as usize % 9;
            let bytes: Vec<u8> = (0..size).map(|i| (random >> 20) as u8 ^ i as u8).collect();
            match (random >> 40) % 3 {
                0 => queue.push(Payload::from(&bytes[..])),
                1 => queue.push(Payload::from(bytes.clone())),
                _ => queue.push(Payload::from((
                    &bytes[..size / 2],
                    bytes[size / 2..].to_vec(),
                ))),
            }
            model.extend_from_slice(&bytes);
            let cut = (random >> 30) as usize % (model.len() + 1);
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = queue.gather(&mut slices);
            let gathered = slices[..count]
                .iter()
                .flat_map(|s| s.to_vec())
                .collect::<Vec<_>>();
            assert_eq!(gathered, model[..gathered.len()]);
            assert!(count == SLICES || gathered.len() == model.len());
            assert!(queue.as_slice().is_none_or(|slice| slice == model));
            let cut = cut.min(gathered.len());
            queue.take(cut);
            model.drain(..cut);
            assert_eq!(queue.len(), model.len());
        }
        assert_eq!(contents(&queue), model);
    }

    #[test]
    fn what_was_lent_goes_in_front_and_few_bytes_in_one_piece() {
        let few_and_many = [
            (5, 0, 3, 1),
            (5, 2, 3, 1),
            (200, 0, 200, 1),
            (20_000, 0, 3, 2),
        ];
        for (behind, taken, first, pieces) in few_and_many {
            let mut queue = WriteQueue::default();
            queue.push(Payload::from(&vec![b'x'; behind][..]));
            queue.take(taken);
            queue.push_first(InputBuffer::from(vec![b'a'; first]).take_all());
            let wanted = [vec![b'a'; first], vec![b'x'; behind - taken]].concat();
            assert_eq!(
                (contents(&queue), queue.len()),
                (wanted.clone(), wanted.len())
            );
            let mut slices = [IoSlice::new(&[]); SLICES];
            assert_eq!(queue.gather(&mut slices), pieces);
            queue.take(wanted.len());
            assert_eq!((queue.len(), queue.tail.len()), (0, 0));
        }
    }

    #[test]
    fn a_hundred_thousand_single_bytes_are_a_few_blocks() {
        let mut queue = WriteQueue::default();
        (0..100_000).for_each(|_| queue.push(Payload::from("x")));
        assert_eq!((queue.len(), queue.blocks.len()), (100_000, 1));
    }

    #[test]
    fn spare_queues_are_many_when_small_and_bounded_in_memory() {
        let kept = |bytes: usize| {
            let (mut spare, frame) = (Spare::default(), vec![0; bytes]);
            for _ in 0..5_000 {
                let mut queue = Box::<WriteQueue>::default();
                queue.push(Payload::from(&frame));
                queue.push(Payload::from(Bytes::from_static(&[0; SHARE_FROM])));
                spare.keep(queue);
            }
            let all: Vec<_> = spare.queues.iter().map(|queue| queue.memory()).collect();
            assert_eq!(spare.bytes, all.iter().sum::<usize>());
            assert!(spare.bytes <= Spare::MOST);
            (0..5_000).for_each(|_| drop(spare.get()));
            assert_eq!((spare.bytes, spare.len()), (0, 0));
            all.len()
        };
        assert!(kept(64) > 1_000 && kept(60_000) >= 32);
    }

    #[test]
    fn a_large_payload_is_shared_and_a_small_one_is_copied() {
        let (large, small) = (
            Bytes::from(vec![1; SHARE_FROM]),
            Bytes::from_static(b"small"),
        );
        let mut queue = WriteQueue::default();
        queue.push(Payload::from(&small));
        queue.push(Payload::from(&large));
        assert_eq!(queue.blocks[1].as_ptr(), large.as_ptr());
        assert_ne!(queue.blocks[0].as_ptr(), small.as_ptr());
        for (len, blocks) in [(SHARE_FROM - 1, 0), (SHARE_FROM, 1)] {
            let mut queue = WriteQueue::default();
            queue.push(Payload::from(vec![1; len]));
            assert_eq!(queue.blocks.len(), blocks);
            let (mut queue, bytes) = (WriteQueue::default(), vec![1; len]);
            let place = bytes.as_ptr();
            queue.push_first(InputBuffer::from(bytes).take_all());
            let shared = queue.blocks.iter().filter(|b| b.as_ptr() == place);
            assert_eq!((shared.count(), queue.blocks.len()), (blocks, blocks));
        }
    }

    fn queue_of(bytes: usize, taken: usize) -> WriteQueue {
        let mut queue = WriteQueue::default();
        queue.push_slice(&vec![0; bytes]);
        queue.take(taken);
        queue
    }

    #[test]
    fn a_tail_is_sealed_when_it_would_grow_above_a_block_and_not_before() {
        for (more, blocks) in [(BLOCK - 10, 0), (BLOCK - 9, 1)] {
            let mut queue = queue_of(10, 0);
            queue.push_slice(&vec![0; more]);
            assert_eq!(queue.blocks.len(), blocks);
            let mut queue = queue_of(10, 0);
            queue.read_in(more, |tail| tail.push(0));
            assert_eq!((queue.blocks.len(), queue.len()), (blocks, 11));
        }
    }

    #[test]
    fn room_is_made_by_a_move_if_the_smaller_half_is_left() {
        for (taken, left, blocks) in [(50_000, 10_000, 0), (10_000, 50_000, 1)] {
            let mut queue = queue_of(60_000, taken);
            queue.push_slice(&[0; 10_000]);
            assert_eq!((queue.blocks.len(), queue.taken), (blocks, 0));
            assert_eq!(queue.len(), left + 10_000);
        }
    }

    #[test]
    fn a_seal_shares_what_is_large_and_keeps_the_memory_of_what_is_small() {
        for bytes in [SHARE_FROM, SHARE_FROM - 1] {
            let mut queue = queue_of(bytes, 0);
            let place = queue.tail.as_ptr();
            queue.seal();
            assert_eq!(queue.blocks[0].as_ptr() == place, bytes == SHARE_FROM);
            assert_eq!(queue.tail.capacity() >= bytes, bytes < SHARE_FROM);
        }
    }

    #[test]
    fn what_is_in_one_piece_is_seen_as_one() {
        let mut queue = queue_of(5, 2);
        assert_eq!(queue.as_slice(), Some(&[0; 3][..]));
        queue.take(3);
        queue.push_block(Bytes::from_static(b"block"));
        assert_eq!(queue.as_slice(), Some(&b"block"[..]));
        queue.push_slice(b"x");
        assert_eq!(queue.as_slice(), None);
        queue.take(5);
        assert_eq!(queue.as_slice(), Some(&b"x"[..]));
    }

    #[test]
    fn an_empty_queue_keeps_a_little_memory_and_says_how_much() {
        let mut queue = queue_of(60_000, 0);
        (0..100).for_each(|_| queue.push_block(Bytes::from_static(b"block")));
        queue.push_slice(&[0; 60_000]);
        queue.reset();
        assert_eq!(
            (queue.tail.capacity(), queue.blocks.capacity()),
            (KEEP, SLICES)
        );
        let memory = size_of::<WriteQueue>() + KEEP + SLICES * size_of::<Bytes>();
        assert_eq!(queue.memory(), memory);
        let mut spare = Spare::default();
        spare.keep(Box::new(queue));
        spare.keep(Box::default());
        drop(spare.get());
        assert_eq!(spare.bytes, memory);
    }
}
