//! The loop's receive buffer: what a read goes into, what is offered of it, and what is left then.

use std::ops::Range;

use super::input::{Chunk, Input, InputBuffer};
use super::payload::SHARE_FROM;
use super::pool::Pool;
use super::store::{Hidden, Store};
use crate::id::Key;

/// Input that a handler left, held by its connection until there is more.
#[derive(Default)]
pub(crate) struct Leftover(Box<Left>);

#[derive(Default)]
struct Left {
    bytes: Vec<u8>,
    start: usize,
}

impl Leftover {
    /// All of it, for somebody else.
    #[cfg(unix)]
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let Left { mut bytes, start } = *self.0;
        bytes.drain(..start);
        bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.0.bytes.len() - self.0.start
    }

    #[cfg(feature = "tls")]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.bytes[self.0.start..]
    }
}

/// A leftover that takes no more than this is kept to be filled again, also with less: to make it
/// fit would cost more time than the memory is worth.
const SPARE_CAPACITY: usize = 2048;

/// As far as this small reads follow each other in the receive buffer before they begin anew at its
/// start, where memory is in the processor's nearest cache.
const WARM: usize = 8 * 1024;

/// Bytes of a cache line. The kernel's copy into a large buffer may take a fifth longer where that
/// begins 16 bytes behind the start of a page, which is where malloc(3) puts it (x86-64;
/// `cargo bench --bench calls`).
const LINE: usize = 64;

/// Bytes of ciphertext in one call, at least and at most.
#[cfg(feature = "tls")]
const SCRATCH: Range<usize> = 4096..64 * 1024;

/// Spare leftovers kept.
const SPARE_LEFTOVERS: usize = 16;

/// One buffer of so many bytes for all reads, and a quarter more in front of it: room for what was
/// left of the last read.
///
/// What is left of an input stays there until somebody else is read; then it moves to its
/// connection as a [`Leftover`], which the next read of that one is joined with. A read, in order:
///
/// 1. [`owner`](Receive::owner): whose leftover lies here? Nobody's: [`clear`](Receive::clear).
///    Somebody's: [`make_way`](Receive::make_way), whose answer is that connection's to keep.
/// 2. [`buffer`](Receive::buffer) is read into, and [`filled`](Receive::filled) says how much.
/// 3. [`put_in_front`](Receive::put_in_front) of it what the connection has kept, and
///    [`offer`](Receive::offer) it, with what there was no room for.
/// 4. After the callback, [`keep_for`](Receive::keep_for) it, or take
///    [`leftover`](Receive::leftover); the latter always if [`is_joined`](Receive::is_joined).
pub(crate) struct Receive {
    /// What is read into, and offered as it lies there.
    input: InputBuffer,
    /// Whose leftover lies there, for a read behind it.
    owner: Option<Key>,
    /// What is offered in its place, for one callback: a leftover, and then what was read.
    joined: Option<InputBuffer>,
    /// Bytes of one read.
    capacity: usize,
    /// Bytes in front of them that reads leave free, for what was left of the last one, ...
    headroom: usize,
    /// ... and a few more, so that a read goes to the start of a cache line: here.
    base: usize,
    /// The length of the buffer if it is all here: not shared, and not copied to be changed.
    full_len: usize,
    /// Leftovers that are used up, to be filled again.
    spare: Vec<Leftover>,
    /// For ciphertext, of one call.
    #[cfg(feature = "tls")]
    scratch: Vec<u8>,
}

impl Receive {
    /// With the flag by which the context hides the input from the handler.
    pub(crate) fn new(capacity: usize, hidden: Hidden) -> Receive {
        let headroom = capacity / 4;
        let pool = Pool::new(LINE - 1 + headroom + capacity);
        let mut input = InputBuffer::over(Vec::new(), 0..0, pool, hidden);
        input.store_mut().share_from = SHARE_FROM.max(capacity / 8);
        let mut receive = Receive {
            input,
            owner: None,
            joined: None,
            capacity,
            headroom,
            base: 0,
            full_len: 0,
            spare: Vec::new(),
            #[cfg(feature = "tls")]
            scratch: Vec::new(),
        };
        receive.renew();
        receive
    }

    /// Forgets what is in it, before a read that has nothing to do with the last one.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.owner = None;
        let base = self.base;
        let store = self.input.store_mut();
        store.start = base;
        store.end = base;
    }

    /// Whose leftover lies here?
    #[inline]
    pub(crate) fn owner(&self) -> Option<Key> {
        self.owner
    }

    /// Somebody's leftover lies here. It stays if its owner is read now and there is room behind
    /// it, and moves out if not.
    pub(crate) fn make_way(&mut self, is_read: bool) -> Option<Leftover> {
        self.owner = None;
        if is_read && self.make_room() {
            return None;
        }
        let left = self.leftover();
        self.clear();
        left
    }

    /// What is left here, if anything is, stays for now: the next read may be of the same
    /// connection.
    #[inline]
    pub(crate) fn keep_for(&mut self, owner: Key) {
        self.owner = (!self.is_empty()).then_some(owner);
    }

    /// Makes room for a read behind what was left of the last one. `false`: there is none.
    #[inline]
    fn make_room(&mut self) -> bool {
        let store = self.input.store();
        if store.buffer.len() != self.full_len {
            return false;
        }
        let is_warm = store.end <= self.base + WARM.min(self.headroom);
        is_warm || self.make_more_room()
    }

    #[inline(never)]
    fn make_more_room(&mut self) -> bool {
        let (base, headroom) = (self.base, self.headroom);
        let store = self.input.store_mut();
        let len = store.len();
        let has_room = store.buffer.len() - store.end >= (2 * headroom).max(1);
        // Each byte that moves makes up for one that was taken since the last move.
        let is_cheap = store.start >= base + len;
        if len <= headroom && (is_cheap || !has_room) {
            let start = base - len;
            store.buffer.copy_within(store.start..store.end, start);
            (store.start, store.end) = (start, base);
            return true;
        }
        has_room
    }

    /// The receive buffer, to read into, behind what is there; `filled` says how much was read.
    #[inline]
    pub(crate) fn buffer(&mut self) -> &mut [u8] {
        if self.input.store().buffer.len() != self.full_len {
            self.renew();
        }
        let store = self.input.store_mut();
        &mut store.buffer[store.end..]
    }

    #[cold]
    fn renew(&mut self) {
        let store = self.input.store_mut();
        // First drop our share: if it was the last one, the same buffer comes back.
        store.shared = None;
        store.buffer = store.pool.get();
        // Nothing but the place of the bytes in memory depends on this padding, so that a simulated
        // run is the same wherever they are.
        let place = store.buffer.as_ptr().addr() + self.headroom;
        self.base = self.headroom + (place.next_multiple_of(LINE) - place);
        self.full_len = self.base + self.capacity;
        store.buffer.truncate(self.full_len);
        self.clear();
    }

    /// The receive buffer, as above, and one beside it for ciphertext.
    #[cfg(feature = "tls")]
    pub(crate) fn buffers(&mut self) -> (&mut [u8], &mut [u8]) {
        if self.scratch.is_empty() {
            self.scratch = vec![0; self.capacity.clamp(SCRATCH.start, SCRATCH.end)];
        }
        if self.input.store().buffer.len() != self.full_len {
            self.renew();
        }
        let store = self.input.store_mut();
        (&mut store.buffer[store.end..], &mut self.scratch)
    }

    /// `count` bytes were read into the buffer.
    #[inline]
    pub(crate) fn filled(&mut self, count: usize) {
        self.input.store_mut().end += count;
    }

    /// Puts what was left before in front of what was just read. It is given back if that would
    /// cost too much: no byte is copied but for one that is new.
    #[inline(never)]
    pub(crate) fn put_in_front(&mut self, left: Option<Leftover>) -> Option<Leftover> {
        let left = left?;
        let len = left.len();
        let store = self.input.store_mut();
        let room = store.start - (self.base - self.headroom);
        if len > store.len() || len > room {
            return Some(left);
        }
        let start = store.start - len;
        store.buffer[start..store.start].copy_from_slice(&left.0.bytes[left.0.start..]);
        store.start = start;
        self.put_by(left);
        None
    }

    /// The input of the coming callback: what was read, behind what was left before.
    #[inline]
    pub(crate) fn offer(&mut self, left: Option<Leftover>) -> &mut Input {
        match left {
            None => &mut self.input,
            Some(left) => self.join(left),
        }
    }

    /// The input of the coming callback: what was left before, behind which nothing will come. It
    /// is the last that is read of its connection, so `forget_end` follows it.
    pub(crate) fn offer_last(&mut self, left: Option<Leftover>) -> &mut Input {
        let input = match left {
            None => &mut self.input,
            Some(left) => {
                self.join(left);
                self.joined.as_mut().unwrap_or(&mut self.input)
            }
        };
        input.end();
        input
    }

    /// What is offered next is not at its end.
    pub(crate) fn forget_end(&mut self) {
        self.input.store_mut().ended = false;
    }

    /// The new bytes are appended to the old ones and not the other way round: a message that comes
    /// one byte at a time costs one copied byte each.
    #[inline(never)]
    fn join(&mut self, mut left: Leftover) -> &mut Input {
        let Left { mut bytes, start } = std::mem::take(&mut *left.0);
        self.put_by(left);
        let store = self.input.store();
        bytes.extend_from_slice(store.untaken());
        let (range, pool, hidden) = (start..bytes.len(), store.pool.clone(), &store.hidden);
        let joined = InputBuffer::over(bytes, range, pool, hidden.clone());
        self.joined.insert(joined)
    }

    /// Is something in the receive buffer not taken yet?
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.input.store().len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Was something else offered than what lies in the receive buffer?
    #[inline]
    pub(crate) fn is_joined(&self) -> bool {
        self.joined.is_some()
    }

    /// Bytes in the receive buffer that were taken and lent.
    #[inline]
    pub(crate) fn range(&self, range: Range<usize>) -> &[u8] {
        self.input.store().range(range)
    }

    /// Bytes in the receive buffer that were taken and lent, as a chunk to be queued.
    pub(crate) fn chunk_of(&mut self, range: Range<usize>) -> Chunk<'_> {
        self.input.store_mut().chunk_of(range)
    }

    /// What the handler left of what it was offered, to be kept in as little memory as it needs.
    #[inline]
    pub(crate) fn leftover(&mut self) -> Option<Leftover> {
        // As almost always: all was taken.
        match self.joined.is_none() && self.input.store().len() == 0 {
            true => None,
            false => self.take_leftover(),
        }
    }

    #[inline(never)]
    fn take_leftover(&mut self) -> Option<Leftover> {
        match self.joined.take() {
            None => {
                let store = self.input.store();
                copied(store, &mut self.spare)
            }
            Some(joined) => self.leftover_of(joined.into_store()),
        }
    }

    /// What is left of a joined input: its memory is kept, unless that is much and most of it is
    /// used up.
    fn leftover_of(&mut self, joined: Store) -> Option<Leftover> {
        let (len, mut start) = (joined.len(), joined.start);
        let is_small = joined.buffer.capacity() <= SPARE_CAPACITY;
        if joined.shared.is_some() || !(is_small || len > joined.buffer.len() / 2) {
            return copied(&joined, &mut self.spare);
        }
        let mut bytes = joined.buffer;
        bytes.truncate(joined.end);
        if len <= start {
            bytes.drain(..start);
            start = 0;
        }
        let mut left = self.spare.pop().unwrap_or_default();
        *left.0 = Left { bytes, start };
        if len > 0 {
            return Some(left);
        }
        self.put_by(left);
        None
    }

    /// Keeps the memory of a leftover that is used up.
    #[inline(never)]
    fn put_by(&mut self, mut left: Leftover) {
        let Left { bytes, start } = &mut *left.0;
        if bytes.capacity() <= SPARE_CAPACITY && self.spare.len() < SPARE_LEFTOVERS {
            bytes.clear();
            *start = 0;
            self.spare.push(left);
        }
    }
}

fn copied(store: &Store, spare: &mut Vec<Leftover>) -> Option<Leftover> {
    let len = store.len();
    if len == 0 {
        return None;
    }
    let mut left = match len <= SPARE_CAPACITY {
        true => spare.pop().unwrap_or_default(),
        false => Leftover::default(),
    };
    left.0.bytes.reserve_exact(len);
    left.0.bytes.extend_from_slice(store.untaken());
    Some(left)
}

#[cfg(test)]
mod tests;
