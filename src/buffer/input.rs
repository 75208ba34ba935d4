//! What a connection has received and its handler not yet consumed.

use bytes::{Buf, Bytes};
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::payload::SHARE_FROM;
use super::pool::{Pool, Pooled};

/// The bytes that `on_data` is offered: everything received and not yet consumed.
///
/// It derefs to `[u8]` and implements [`Buf`] (`get_u16` reads network byte order). Take what you
/// understand with [`take`](Input::take) or [`advance`](Buf::advance) and leave the rest: it is
/// offered again together with the next bytes, after `resume_reads`, and in `on_eof`; never
/// otherwise. Another one in its place (`mem::replace`) is what you leave: its bytes are offered
/// again. But what was sent from this one in the same callback could then not go out any more, so
/// the connection is reset ([`Aborted`](crate::Reason::Aborted)).
///
/// ```
/// # use sockeye::{ConnId, Context, Handler, Input};
/// # struct Lines;
/// # impl Handler for Lines {
/// fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
///     while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
///         let line = input.take(end + 1);
///         cx.send(conn, line);
///     }
/// }
/// # }
/// ```
pub struct Input {
    /// The bytes, and more room: all of it is initialized. Empty when they are shared.
    own: Vec<u8>,
    /// Some of it was kept by the handler or by a queue, without a copy: then here is all of it.
    shared: Option<Bytes>,
    start: usize,
    end: usize,
    /// Bytes from which a chunk is shared instead of copied. What is shared pins the whole buffer,
    /// so it must be a fair part of it.
    share_from: usize,
    pool: Pool,
    /// Bytes of one read: the size of the receive buffer.
    capacity: usize,
    /// Bytes in front of them that reads leave free, for what was left of the last one, ...
    headroom: usize,
    /// ... and a few more, so that a read goes to the start of a cache line: here.
    base: usize,
    /// The length of the buffer if it is all here: not shared, and with nothing appended to it.
    whole: usize,
    /// Which of all receive buffers of the process it is; zero: none.
    serial: usize,
    /// Leftovers that are used up, to be filled again.
    spare: Vec<Leftover>,
}

impl Deref for Input {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.range(self.start, self.end)
    }
}

/// An input to try a decoder on; the loop makes its own.
///
/// ```
/// # use sockeye::Input;
/// let mut input = Input::from(b"one\ntw".to_vec());
/// assert_eq!(&input.take(4)[..], b"one\n");
/// input.append(b"o\n");
/// assert_eq!(&input[..], b"two\n");
/// ```
impl From<Vec<u8>> for Input {
    fn from(bytes: Vec<u8>) -> Input {
        let end = bytes.len();
        Input::over(bytes, 0, end, Pool::new(0))
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("len", &self.len()).finish()
    }
}

impl Buf for Input {
    fn remaining(&self) -> usize {
        self.end - self.start
    }

    fn chunk(&self) -> &[u8] {
        self
    }

    /// # Panics
    ///
    /// Above `len`, as [`Buf`] wants it.
    fn advance(&mut self, count: usize) {
        assert!(
            count <= self.len(),
            "advance by {count} of {} bytes of input",
            self.len()
        );
        self.start += count;
    }
}

impl Input {
    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Is there none?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes the first `count` bytes, or all if there are fewer. They are consumed, whatever you do
    /// with the chunk.
    #[inline]
    pub fn take(&mut self, count: usize) -> Chunk<'_> {
        let start = self.start;
        self.start = start + count.min(self.end - start);
        Chunk {
            start,
            end: self.start,
            input: self,
        }
    }

    /// Takes all bytes: nothing is left to be offered again.
    #[inline]
    pub fn take_all(&mut self) -> Chunk<'_> {
        self.take(usize::MAX)
    }

    /// Appends bytes, as the next read would. For tests of decoders.
    pub fn append(&mut self, bytes: &[u8]) {
        if let Some(shared) = self.shared.take() {
            self.own = shared.to_vec();
        }
        let own = &mut self.own;
        own.truncate(self.end);
        let is_full = own.capacity() - own.len() < bytes.len() || self.start == self.end;
        // In the loop what was taken may be lent, so it stays where it is.
        if is_full && self.serial == 0 {
            own.drain(..self.start);
            self.start = 0;
        }
        own.extend_from_slice(bytes);
        self.end = own.len();
    }

    /// Takes the first `count` bytes, and gives those of them from `start` to `end`.
    #[inline]
    pub(crate) fn take_part(&mut self, count: usize, start: usize, end: usize) -> Chunk<'_> {
        let mut chunk = self.take(count);
        chunk.end = chunk.end.min(chunk.start + end);
        chunk.start = chunk.end.min(chunk.start + start);
        chunk
    }

    fn share(&mut self, start: usize, end: usize) -> Bytes {
        let (own, pool) = (&mut self.own, &self.pool);
        let shared = self.shared.get_or_insert_with(|| {
            Bytes::from_owner(Pooled::new(std::mem::take(own), pool.clone()))
        });
        shared.slice(start..end)
    }
}

/// Bytes taken from an [`Input`]: they deref to `[u8]`, implement [`Buf`], and go as they are into
/// [`send`](crate::Context::send).
///
/// To keep them, turn them into [`Bytes`]: small ones are copied, so that a kept line does not
/// pin the loop's receive buffer; large ones are shared.
pub struct Chunk<'a> {
    input: &'a mut Input,
    start: usize,
    end: usize,
}

impl Deref for Chunk<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.input.range(self.start, self.end)
    }
}

impl fmt::Debug for Chunk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk").field("len", &self.len()).finish()
    }
}

impl AsRef<[u8]> for Chunk<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Chunk<'_>> for Bytes {
    fn from(chunk: Chunk<'_>) -> Bytes {
        match chunk.is_large() {
            false => Bytes::copy_from_slice(&chunk),
            true => {
                let Chunk { input, start, end } = chunk;
                input.share(start, end)
            }
        }
    }
}

/// `get_u16` and its like read network byte order, and panic when there are too few bytes;
/// `try_get_u16` does not.
impl Buf for Chunk<'_> {
    fn remaining(&self) -> usize {
        self.end - self.start
    }

    fn chunk(&self) -> &[u8] {
        self
    }

    /// # Panics
    ///
    /// Above `len`, as [`Buf`] wants it.
    fn advance(&mut self, count: usize) {
        assert!(
            count <= self.len(),
            "advance by {count} of a chunk of {} bytes",
            self.len()
        );
        self.start += count;
    }
}

impl<'a> Chunk<'a> {
    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Is there none?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Shortens it to its first `len` bytes, to leave out a delimiter for example. What is cut off
    /// is consumed all the same.
    pub fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start.saturating_add(len));
    }

    /// The bytes, for as long as the input is borrowed: for decoders that make something else of a
    /// frame that another one gives.
    pub fn into_slice(self) -> &'a [u8] {
        let (input, start, end) = self.into_parts();
        input.range(start, end)
    }

    /// The input, and from where to where in it.
    #[inline]
    pub(crate) fn into_parts(self) -> (&'a mut Input, usize, usize) {
        (self.input, self.start, self.end)
    }

    /// Is it worth sharing?
    #[inline]
    pub(crate) fn is_large(&self) -> bool {
        self.end - self.start >= self.input.share_from
    }
}

/// Input that a handler left, held by its connection until there is more.
#[derive(Default)]
pub(crate) struct Leftover(Box<Left>);

#[derive(Default)]
struct Left {
    bytes: Vec<u8>,
    start: usize,
}

impl Leftover {
    pub(crate) fn len(&self) -> usize {
        self.0.bytes.len() - self.0.start
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

/// Spare leftovers kept.
const SPARE_LEFTOVERS: usize = 16;

/// The loop's side of an input.
impl Input {
    /// An input over a receive buffer of `capacity` bytes, and a quarter more in front of it: room
    /// for what was left of the last read.
    pub(crate) fn new(capacity: usize) -> Input {
        static SERIAL: AtomicUsize = AtomicUsize::new(1);
        let headroom = capacity / 4;
        let pool = Pool::new(LINE - 1 + headroom + capacity);
        let mut input = Input::over(Vec::new(), 0, 0, pool);
        input.serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        input.capacity = capacity;
        input.headroom = headroom;
        input.share_from = SHARE_FROM.max(capacity / 8);
        input.renew();
        input
    }

    fn over(own: Vec<u8>, start: usize, end: usize, pool: Pool) -> Input {
        Input {
            start,
            end,
            share_from: SHARE_FROM.max(own.len() / 8),
            own,
            shared: None,
            pool,
            capacity: 0,
            headroom: 0,
            base: 0,
            whole: 0,
            serial: 0,
            spare: Vec::new(),
        }
    }

    /// Forgets what is in it, before a read that has nothing to do with the last one.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.start = self.base;
        self.end = self.base;
    }

    /// Makes room for a read behind what was left of the last one. `false`: there is none.
    #[inline]
    pub(crate) fn make_room(&mut self) -> bool {
        if self.own.len() != self.whole {
            return false;
        }
        let is_warm = self.end <= self.base + WARM.min(self.headroom);
        is_warm || self.make_more_room()
    }

    #[inline(never)]
    fn make_more_room(&mut self) -> bool {
        let (len, base) = (self.len(), self.base);
        let has_room = self.own.len() - self.end >= (2 * self.headroom).max(1);
        // Each byte that moves makes up for one that was taken since the last move.
        let is_cheap = self.start >= base + len;
        if len <= self.headroom && (is_cheap || !has_room) {
            let start = base - len;
            self.own.copy_within(self.start..self.end, start);
            (self.start, self.end) = (start, base);
            return true;
        }
        has_room
    }

    /// The receive buffer, to read into, behind what is there; `filled` says how much was read.
    #[inline]
    pub(crate) fn buffer(&mut self) -> &mut [u8] {
        if self.own.len() != self.whole {
            self.renew();
        }
        &mut self.own[self.end..]
    }

    #[cold]
    fn renew(&mut self) {
        // First drop our share: if it was the last one, the same buffer comes back.
        self.shared = None;
        self.own = self.pool.get();
        // Nothing but the place of the bytes in memory depends on this padding, so that a simulated
        // run is the same wherever they are.
        let place = self.own.as_ptr().addr() + self.headroom;
        self.base = self.headroom + (place.next_multiple_of(LINE) - place);
        self.whole = self.base + self.capacity;
        self.own.truncate(self.whole);
        self.clear();
    }

    /// What tells it from every other receive buffer, and from other inputs; never zero there.
    #[inline]
    pub(crate) fn serial(&self) -> usize {
        self.serial
    }

    /// `count` bytes were read into the buffer.
    #[inline]
    pub(crate) fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// Puts what was left before in front of what was just read. It is given back if that would
    /// cost too much: no byte is copied but for one that is new.
    #[inline(never)]
    pub(crate) fn put_in_front(&mut self, left: Option<Leftover>) -> Option<Leftover> {
        let left = left?;
        let len = left.len();
        let room = self.start - (self.base - self.headroom);
        if len > self.len() || len > room {
            return Some(left);
        }
        let start = self.start - len;
        self.own[start..self.start].copy_from_slice(&left.0.bytes[left.0.start..]);
        self.start = start;
        self.put_by(left);
        None
    }

    /// What is to be offered: what was left before, then what was just read.
    ///
    /// The new bytes are appended to the old ones and not the other way round: a message that comes
    /// one byte at a time costs one copied byte each.
    pub(crate) fn prepend(&mut self, mut left: Leftover) -> Input {
        let Left { mut bytes, start } = std::mem::take(&mut *left.0);
        self.put_by(left);
        bytes.extend_from_slice(self);
        let end = bytes.len();
        Input::over(bytes, start, end, self.pool.clone())
    }

    /// Bytes that were taken and lent: they stay where they are until the next read.
    #[inline]
    pub(crate) fn range(&self, start: usize, end: usize) -> &[u8] {
        match self.own.get(start..end) {
            Some(bytes) => bytes,
            None => self.shared_range(start, end),
        }
    }

    #[cold]
    fn shared_range(&self, start: usize, end: usize) -> &[u8] {
        let shared = self.shared.as_ref();
        shared
            .and_then(|bytes| bytes.get(start..end))
            .unwrap_or(&[])
    }

    /// The same, to be queued.
    pub(crate) fn chunk_of(&mut self, range: Range<usize>) -> Chunk<'_> {
        Chunk {
            start: range.start,
            end: range.end,
            input: self,
        }
    }

    /// What the handler left, to be kept in as little memory as it needs.
    #[inline(never)]
    pub(crate) fn leftover(&mut self) -> Option<Leftover> {
        let len = self.len();
        if len == 0 {
            return None;
        }
        let mut left = match len <= SPARE_CAPACITY {
            true => self.spare.pop().unwrap_or_default(),
            false => Leftover::default(),
        };
        left.0.bytes.reserve_exact(len);
        left.0.bytes.extend_from_slice(self);
        Some(left)
    }

    /// What the handler left of an input made by `prepend`: its memory is kept, unless that is much
    /// and most of it is used up.
    pub(crate) fn leftover_of(&mut self, mut joined: Input) -> Option<Leftover> {
        let (len, mut start) = (joined.len(), joined.start);
        let is_small = joined.own.capacity() <= SPARE_CAPACITY;
        if joined.shared.is_some() || !(is_small || len > joined.own.len() / 2) {
            return joined.leftover();
        }
        let mut bytes = joined.own;
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
