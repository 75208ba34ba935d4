//! Input that goes straight back to where it came from.
//!
//! A handler that answers with a chunk of its input (an echo, a proxy's error, a length-prefixed
//! reply) needs no copy of it: the chunk is lent to the connection until the callback returns, and
//! then written from the receive buffer. Only what the system does not take is queued.

use super::{Context, Sent};
use crate::closed::Reason;
use crate::conn::{Conn, Flags, Written};
use crate::id::{ConnId, Key};
use crate::input::Input;
use std::ops::Range;

/// Who may borrow the input of the running callback, and what it has borrowed.
pub(crate) struct Lending {
    /// The connection whose callback runs, while nothing is queued that would have to go first.
    borrower: Option<Key>,
    /// Whose input is lent.
    slot: u32,
    lent: Option<Range<usize>>,
    /// Bytes above which the borrower has to wait: its high watermark.
    high: usize,
    /// Something was queued or ended since: what is lent cannot simply go out.
    disturbed: bool,
}

impl Lending {
    pub(crate) fn new() -> Lending {
        Lending {
            borrower: None,
            slot: 0,
            lent: None,
            high: 0,
            disturbed: false,
        }
    }

    /// Offers the input of the coming callback to its own connection.
    #[inline]
    pub(super) fn begin(&mut self, key: Key, conn: &Conn) {
        self.borrower = conn.can_borrow().then_some(key);
        self.slot = key.slot;
        self.lent = None;
        self.high = conn.limits.high_watermark;
        self.disturbed = false;
    }

    /// Something is queued, for whomever, or a connection changes its state.
    #[inline]
    pub(super) fn disturb(&mut self) {
        self.borrower = None;
        self.disturbed = true;
    }

    /// The callback has returned.
    #[inline]
    pub(crate) fn end(&mut self) -> Option<Range<usize>> {
        self.borrower = None;
        self.lent.take()
    }

    /// Bytes lent to this connection: they are pending.
    #[inline]
    pub(super) fn lent_to(&self, slot: u32) -> usize {
        match &self.lent {
            Some(range) if self.slot == slot => range.len(),
            _ => 0,
        }
    }

    /// The connection is over: what it borrowed is lost.
    pub(super) fn forget(&mut self, slot: u32) -> usize {
        self.disturb();
        let lent = self.lent_to(slot);
        if lent > 0 {
            self.lent = None;
        }
        lent
    }
}

impl Context {
    /// Lends a chunk of the running callback's input to its own connection, once. `None`: it has
    /// to be queued.
    #[inline]
    pub(super) fn lend(&mut self, id: ConnId, range: Range<usize>) -> Option<Sent> {
        let lending = &mut self.lending;
        if lending.borrower != Some(id.0) {
            return None;
        }
        let len = range.len();
        lending.borrower = None;
        lending.lent = Some(range);
        if len <= lending.high {
            return Some(Sent::Queued);
        }
        self.conns.get_mut(id.0)?.set(Flags::WAITING);
        Some(Sent::Wait)
    }

    /// The callback has returned with input lent to its connection: writes it, if the callback has
    /// queued nothing else, and queues what is left.
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
        if self.lending.disturbed {
            return self.queue_lent(slot, input, lent, dirty_before);
        }
        let bytes = input.range(&lent);
        let len = bytes.len();
        match conn.write_slice(bytes) {
            Written::Bytes(count) => {
                conn.progress = self.tick;
                self.stats.writes += 1;
                self.stats.bytes_out += count as u64;
                if count == len && conn.is_at_ease() {
                    return;
                }
                self.queue_rest(slot, input, lent.start + count..lent.end);
            }
            Written::Nothing => self.queue_rest(slot, input, lent),
            Written::Failed(error) => {
                conn.lost += len as u64;
                self.write_failed(slot, Reason::from_io(error));
            }
        }
        if self.after_flush(slot) {
            self.list_for_drain(slot);
        }
    }

    /// It has to wait for room or for the flush phase, before what was queued after it.
    #[cold]
    fn queue_lent(&mut self, slot: u32, input: &mut Input, lent: Range<usize>, before: usize) {
        self.queue_rest(slot, input, lent);
        self.list_for_drain(slot);
        self.flush_own(slot, before);
    }

    fn queue_rest(&mut self, slot: u32, input: &mut Input, rest: Range<usize>) {
        if rest.is_empty() {
            return;
        }
        let chunk = input.chunk_of(rest);
        if let Some(conn) = self.conns.peek(slot) {
            let spare = &mut self.spare_queues;
            let queue = conn.queue.get_or_insert_with(|| spare.get());
            queue.push_first(chunk);
        }
    }
}
