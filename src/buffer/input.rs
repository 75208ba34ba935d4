//! What a connection has received and its handler not yet consumed.

use bytes::{Buf, Bytes};
use memchr::memchr;
use std::fmt;
use std::ops::{Deref, DerefMut, Range};

use super::payload::SHARE_FROM;
use super::pool::Pool;
use super::store::{Hidden, Store};

/// The bytes that `on_data` is offered: everything received and not yet consumed.
///
/// It derefs to `[u8]` and implements [`Buf`] (`get_u16` reads network byte order). Take what you
/// understand with [`take`](Input::take) or [`advance`](Buf::advance) and leave the rest: it is
/// offered again together with the next bytes, after `resume_reads`, and when the peer has ended
/// ([`is_ended`](Input::is_ended)) in `on_data` and then in `on_eof`; never otherwise.
///
/// ```
/// # use sockeye::{ConnId, Context, Handler, Input};
/// # struct Lines;
/// # impl Handler for Lines {
/// fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
///     while let Some(end) = input.find(b'\n') {
///         match &input.take(end + 1)[..] {
///             b"QUIT\n" => drop(cx.close(conn)), // and the loop ends: the input looks empty
///             line => drop(cx.send(conn, line)),
///         }
///     }
/// }
/// # }
/// ```
///
/// As soon as its connection is closed, aborted or paused it **looks empty** for the rest of the
/// callback, so that nothing that was pipelined behind a QUIT is carried out, and a loop over
/// messages ends by itself. A resume in the same callback brings the bytes back. So look at a
/// message before you pause: the getters of [`Buf`] panic when there is nothing, as always. What
/// you have found you can still `take`.
///
/// It can be edited where it lies (`&mut input[..]`), to unmask or to decrypt it. What is then left
/// is offered again as it is.
///
/// It has no size, and so lives behind a reference only: nobody can put another one in its place,
/// and send from an input that is not where the loop thinks. Its parameter is of no further use.
/// One of your own, to try a decoder on, is an [`InputBuffer`].
///
/// ```compile_fail,E0277
/// # use sockeye::{Input, InputBuffer};
/// fn exchange(input: &mut Input, other: &mut InputBuffer) {
///     let other: &mut Input = other;
///     std::mem::swap(input, other); // error: the size cannot be known
/// }
/// ```
///
/// ```compile_fail,E0277
/// # use sockeye::Input;
/// fn replace(input: &mut Input, other: Box<Input>) {
///     *input = *other; // error: the size cannot be known
/// }
/// ```
pub struct Input<T: ?Sized = [()]> {
    store: Store,
    _behind_a_reference_only: T,
}

/// An input of your own, that owns its bytes: to try a decoder on, for example.
///
/// Wherever an [`Input`] is wanted, a reference to this is one. What is sent from it is copied, and
/// what becomes of a connection does not hide it.
///
/// ```
/// # use sockeye::InputBuffer;
/// let mut input = InputBuffer::from(b"one\ntw".to_vec());
/// assert_eq!(&input.take(4)[..], b"one\n");
/// input.append(b"o\n");
/// assert_eq!(&input[..], b"two\n");
/// ```
pub type InputBuffer = Input<[(); 0]>;

impl From<Vec<u8>> for InputBuffer {
    fn from(bytes: Vec<u8>) -> InputBuffer {
        let end = bytes.len();
        InputBuffer::over(bytes, 0..end, Pool::new(0), Hidden::default())
    }
}

impl InputBuffer {
    /// Appends bytes, as the next read would.
    pub fn append(&mut self, bytes: &[u8]) {
        let store = &mut self.store;
        store.unshare();
        let buffer = &mut store.buffer;
        buffer.truncate(store.end);
        let is_full = buffer.capacity() - buffer.len() < bytes.len() || store.start == store.end;
        if is_full {
            buffer.drain(..store.start);
            store.start = 0;
        }
        buffer.extend_from_slice(bytes);
        store.end = buffer.len();
    }

    /// Nothing will come behind these bytes, as when the peer sends no more.
    pub fn end(&mut self) {
        self.store.ended = true;
    }

    pub(super) fn over(
        buffer: Vec<u8>,
        range: Range<usize>,
        pool: Pool,
        hidden: Hidden,
    ) -> InputBuffer {
        Input {
            store: Store {
                start: range.start,
                end: range.end,
                share_from: SHARE_FROM.max(buffer.len() / 8),
                buffer,
                shared: None,
                pool,
                ended: false,
                hidden,
            },
            _behind_a_reference_only: [],
        }
    }

    /// What the loop does with it, it does behind the handler's back: nothing is hidden there.
    #[inline]
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    #[inline]
    pub(super) fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    pub(super) fn into_store(self) -> Store {
        self.store
    }
}

impl Deref for InputBuffer {
    type Target = Input;

    #[inline]
    fn deref(&self) -> &Input {
        self
    }
}

impl DerefMut for InputBuffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut Input {
        self
    }
}

impl Deref for Input {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.store.range(self.store.seen())
    }
}

/// To change bytes where they lie. If some of the input was kept as [`Bytes`], it is copied first.
impl DerefMut for Input {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let seen = self.store.seen();
        self.store.range_mut(seen)
    }
}

impl<T: ?Sized> fmt::Debug for Input<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = self.store.seen().len();
        f.debug_struct("Input").field("len", &len).finish()
    }
}

impl Buf for Input {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        self
    }

    /// As [`take`](Input::take) it reaches what was found before the input came to look empty.
    ///
    /// # Panics
    ///
    /// Above `len`, as [`Buf`] wants it.
    fn advance(&mut self, count: usize) {
        assert!(
            count <= self.store.len(),
            "advance by {count} of {} bytes of input",
            self.store.len()
        );
        self.store.start += count;
    }
}

impl Input {
    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.store.seen().len()
    }

    /// Is there none?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.store.seen().is_empty()
    }

    /// Will nothing come behind these bytes, for the peer sends no more? Then what is left is half
    /// a message, or one that the end of the stream ends.
    #[inline]
    pub fn is_ended(&self) -> bool {
        self.store.ended
    }

    /// How many bytes are in front of the first such one: of a newline, mostly.
    #[inline]
    pub fn find(&self, byte: u8) -> Option<usize> {
        memchr(byte, self)
    }

    /// Takes the first `count` bytes, or all if there are fewer. They are consumed, whatever you do
    /// with the chunk. If the input has come to look empty, they are there all the same: you have
    /// found them before.
    #[inline]
    pub fn take(&mut self, count: usize) -> Chunk<'_> {
        let store = &mut self.store;
        let start = store.start;
        store.start = start + count.min(store.end - start);
        Chunk {
            start,
            end: store.start,
            store,
        }
    }

    /// Takes all bytes: nothing is left to be offered again.
    #[inline]
    pub fn take_all(&mut self) -> Chunk<'_> {
        self.take(usize::MAX)
    }

    /// Takes the first `count` bytes, and gives those of them from `start` to `end`.
    #[inline]
    pub(crate) fn take_part(&mut self, count: usize, start: usize, end: usize) -> Chunk<'_> {
        let mut chunk = self.take(count);
        chunk.end = chunk.end.min(chunk.start + end);
        chunk.start = chunk.end.min(chunk.start + start);
        chunk
    }
}

/// Bytes taken from an [`Input`]: they deref to `[u8]`, implement [`Buf`], and go as they are into
/// [`send`](crate::Context::send).
///
/// To keep them, turn them into [`Bytes`]: small ones are copied, so that a kept line does not
/// pin the loop's receive buffer; large ones are shared.
pub struct Chunk<'a> {
    store: &'a mut Store,
    start: usize,
    end: usize,
}

impl Store {
    /// What was taken and lent, to be queued.
    pub(crate) fn chunk_of(&mut self, range: Range<usize>) -> Chunk<'_> {
        Chunk {
            start: range.start,
            end: range.end,
            store: self,
        }
    }
}

impl Deref for Chunk<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.store.range(self.start..self.end)
    }
}

/// To change bytes where they lie, and send them on. If some of the input was kept as [`Bytes`], it
/// is copied first.
impl DerefMut for Chunk<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.store.range_mut(self.start..self.end)
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
                let Chunk { store, start, end } = chunk;
                store.share(start, end)
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
        let (store, start, end) = self.into_parts();
        store.range(start..end)
    }

    /// The bytes it is a part of, and from where to where in them.
    #[inline]
    pub(crate) fn into_parts(self) -> (&'a mut Store, usize, usize) {
        (self.store, self.start, self.end)
    }

    /// Is it worth sharing?
    #[inline]
    pub(crate) fn is_large(&self) -> bool {
        self.end - self.start >= self.store.share_from
    }
}

#[cfg(test)]
mod tests {
    // `Buf` has a `take` of its own.
    use super::{Bytes, Hidden, InputBuffer, Pool, SHARE_FROM};

    #[test]
    fn what_is_appended_moves_what_is_left_only_for_lack_of_room() {
        let mut input = InputBuffer::from(Vec::with_capacity(64));
        input.append(&[1; 8]);
        input.take(1);
        let place = |input: &InputBuffer| (input.store.start, input.store.buffer.capacity());
        for _ in 0..7 {
            input.append(&[2; 8]);
            assert_eq!(place(&input), (1, 64));
        }
        input.take(20);
        input.append(&[3; 8]);
        assert_eq!((place(&input), input.len()), ((0, 64), 51));
        input.take(50);
        input.append(&[4; 2]);
        assert_eq!(input[..], [3, 4, 4]);
        input.take_all();
        input.append(&[5; 2]);
        assert_eq!((place(&input), input.len()), ((0, 64), 2));
    }

    #[test]
    fn what_is_a_fair_part_of_an_input_is_shared_and_less_is_copied() {
        for (all, shared) in [(1_000, SHARE_FROM), (80_000, 10_000)] {
            for len in [shared, shared - 1] {
                let bytes = vec![0; all.max(len + 10)];
                let place = bytes.as_ptr();
                let mut input = InputBuffer::from(bytes);
                input.take(10);
                let place = place.wrapping_add(10);
                let kept = Bytes::from(input.take(len));
                assert_eq!(kept.as_ptr() == place, len == shared, "{len} of {all}");
            }
        }
    }

    #[test]
    fn a_part_is_counted_from_where_the_input_begins() {
        let mut input = InputBuffer::from(b"ab<<cd>>ef".to_vec());
        input.take(2);
        assert_eq!(&input.take_part(6, 2, 4)[..], b"cd");
        assert_eq!(&input[..], b"ef");
    }

    #[test]
    fn a_chunk_can_be_cut_short_and_shows_no_bytes() {
        let mut input = InputBuffer::from(b"secret\r\nmore".to_vec());
        assert!(input.take(0).is_empty());
        let mut chunk = input.take(8);
        chunk.truncate(6);
        assert_eq!((&chunk[..], chunk.is_empty()), (&b"secret"[..], false));
        assert_eq!(format!("{chunk:?}"), "Chunk { len: 6 }");
        chunk.truncate(usize::MAX);
        assert_eq!(chunk.len(), 6);
        assert_eq!(
            (format!("{input:?}"), &input[..]),
            ("Input { len: 4 }".into(), &b"more"[..])
        );
    }

    #[test]
    fn what_is_another_loops_is_not_this_ones() {
        let hidden = Hidden::default();
        let of_loop = InputBuffer::over(Vec::new(), 0..0, Pool::new(0), hidden.clone());
        assert!(of_loop.store().is_of(&hidden));
        assert!(!InputBuffer::from(Vec::new()).store().is_of(&hidden));
    }
}
