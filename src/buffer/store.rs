//! The bytes under an input: where they lie, which of them are taken, and what hides them.

use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::pool::{Pool, Pooled};

/// Whether the input of the running callback looks empty: one flag of a loop, which its context
/// sets and its inputs read. It is atomic so that a reactor may move to another thread, and for
/// nothing else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hidden(Arc<AtomicBool>);

impl Hidden {
    #[inline]
    fn get(&self) -> bool {
        self.0.load(Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, hidden: bool) {
        self.0.store(hidden, Relaxed);
    }

    /// Is it the flag of the same loop?
    #[inline]
    fn is(&self, other: &Hidden) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Bytes, and which of them have been taken.
pub(crate) struct Store {
    /// The bytes, and more room: all of it is initialized. Empty when they are shared.
    pub(super) buffer: Vec<u8>,
    /// Some of it was kept by the handler or by a queue, without a copy: then here is all of it.
    pub(super) shared: Option<Bytes>,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Bytes from which a chunk is shared instead of copied. What is shared pins the whole buffer,
    /// so it must be a fair part of it.
    pub(super) share_from: usize,
    pub(super) pool: Pool,
    /// Nothing will come behind these bytes.
    pub(super) ended: bool,
    pub(super) hidden: Hidden,
}

impl Store {
    /// How many bytes there are, seen or not.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// All that is there, seen or not.
    #[inline]
    pub(super) fn untaken(&self) -> &[u8] {
        self.range(self.start..self.end)
    }

    /// Where the bytes are that the handler sees.
    #[inline]
    pub(super) fn seen(&self) -> Range<usize> {
        match self.hidden.get() {
            false => self.start..self.end,
            true => self.start..self.start,
        }
    }

    /// Are these the bytes of the loop with this flag?
    #[inline]
    pub(crate) fn is_of(&self, hidden: &Hidden) -> bool {
        self.hidden.is(hidden)
    }

    /// Bytes that were taken and lent: they stay where they are until the next read.
    #[inline]
    pub(super) fn range(&self, range: Range<usize>) -> &[u8] {
        match self.buffer.get(range.clone()) {
            Some(bytes) => bytes,
            None => self.shared_range(range),
        }
    }

    #[cold]
    fn shared_range(&self, range: Range<usize>) -> &[u8] {
        let shared = self.shared.as_ref();
        shared
            .and_then(|bytes| bytes.get(range))
            .unwrap_or_default()
    }

    #[inline]
    pub(super) fn range_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        self.unshare();
        self.buffer.get_mut(range).unwrap_or_default()
    }

    /// Copies what is shared, for what others have kept must not change.
    #[inline]
    pub(super) fn unshare(&mut self) {
        if let Some(shared) = self.shared.take() {
            self.buffer = shared.slice(..self.end).to_vec();
        }
    }

    pub(super) fn share(&mut self, start: usize, end: usize) -> Bytes {
        let (buffer, pool) = (&mut self.buffer, &self.pool);
        let shared = self.shared.get_or_insert_with(|| {
            Bytes::from_owner(Pooled::new(std::mem::take(buffer), pool.clone()))
        });
        shared.slice(start..end)
    }
}
