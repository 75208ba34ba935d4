//! Input that goes straight back to where it came from.
//!
//! A handler that answers with a chunk of its input (an echo, a proxy's error, a length-prefixed
//! reply) needs no copy of it: the chunk is lent to the connection until the callback returns, and
//! then written from the receive buffer. Only what the system does not take is queued.

use super::{Context, Sent};
use crate::closed::Reason;
use crate::conn::{Flags, Written};
use crate::id::ConnId;
use crate::input::Input;
use std::ops::Range;

/// No connection: none has this slot.
const NOBODY: u32 = u32::MAX;

/// Who may borrow the input of the running callback, and what it has borrowed.
pub(crate) struct Lending {
    borrower: u32,
    lent: Option<Range<usize>>,
}

impl Lending {
    pub(crate) fn new() -> Lending {
        Lending {
            borrower: NOBODY,
            lent: None,
        }
    }

    /// The callback of this connection begins.
    #[inline]
    pub(crate) fn begin(&mut self, slot: u32) {
        self.borrower = slot;
        self.lent = None;
    }

    /// It has returned.
    #[inline]
    pub(crate) fn end(&mut self) -> Option<Range<usize>> {
        self.borrower = NOBODY;
        self.lent.take()
    }

    /// Bytes lent to this connection: they are pending.
    #[inline]
    pub(super) fn lent_to(&self, slot: u32) -> usize {
        match &self.lent {
            Some(range) if self.borrower == slot => range.len(),
            _ => 0,
        }
    }

    /// The connection is over: what it borrowed is lost.
    pub(super) fn forget(&mut self, slot: u32) -> usize {
        let lent = self.lent_to(slot);
        if lent > 0 {
            self.lent = None;
        }
        lent
    }
}

impl Context {
    /// Lends a chunk of the running callback's input to its own connection, if nothing is queued
    /// that would have to go first. `None`: it has to be queued.
    #[inline]
    pub(super) fn lend(&mut self, id: ConnId, range: Range<usize>) -> Option<Sent> {
        if self.lending.borrower != id.0.slot || self.lending.lent.is_some() {
            return None;
        }
        let conn = self.conns.get_mut(id.0)?;
        if !conn.can_borrow() {
            return None;
        }
        let len = range.len();
        self.lending.lent = Some(range);
        if len <= conn.limits.high_watermark {
            return Some(Sent::Queued);
        }
        conn.set(Flags::WAITING);
        Some(Sent::Wait)
    }

    /// The callback has returned with input lent to its connection: writes it, if the callback has
    /// queued no other bytes, and queues what is left.
    #[inline]
    pub(crate) fn repay(
        &mut self,
        slot: u32,
        input: &mut Input,
        lent: Range<usize>,
        dirty_before: usize,
    ) {
        let Some(conn) = self.conns.peek(slot) else {
            return;
        };
        if self.dirty.len() != dirty_before || !conn.has(Flags::WRITABLE) {
            return self.queue_lent(slot, input, lent);
        }
        match conn.write_slice(input.range(&lent)) {
            Written::Bytes(count) => {
                conn.progress = self.tick;
                self.stats.writes += 1;
                self.stats.bytes_out += count as u64;
                if count == lent.len() && conn.is_at_ease() {
                    return;
                }
                self.queue_rest(slot, input, lent.start + count..lent.end);
            }
            Written::Nothing => self.queue_rest(slot, input, lent),
            Written::Failed(error) => {
                conn.lost += lent.len() as u64;
                self.write_failed(slot, Reason::from_io(error));
            }
        }
        if self.after_flush(slot) {
            self.list_for_drain(slot);
        }
    }

    /// It has to wait for room or for the flush phase, before what was queued after it.
    #[cold]
    fn queue_lent(&mut self, slot: u32, input: &mut Input, lent: Range<usize>) {
        self.queue_rest(slot, input, lent);
        self.list_for_drain(slot);
    }

    fn queue_rest(&mut self, slot: u32, input: &mut Input, rest: Range<usize>) {
        if rest.is_empty() {
            return;
        }
        let chunk = input.chunk_of(rest);
        if let Some(conn) = self.conns.peek(slot) {
            let spare = &mut self.spare_queues;
            let queue = conn
                .queue
                .get_or_insert_with(|| spare.pop().unwrap_or_default());
            queue.push_first(chunk);
        }
    }
}
