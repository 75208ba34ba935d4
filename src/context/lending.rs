//! Input that goes straight back to where it came from.
//!
//! A handler that answers with a chunk of its input (an echo, a proxy's error, a length-prefixed
//! reply) needs no copy of it: the chunk is lent to the connection until the callback returns, and
//! then written from the receive buffer. Only what the system does not take is queued.

use super::{Context, Sent};
use crate::buffer::receive::Receive;
use crate::buffer::store::{Hidden, Store};
use crate::closed::Reason;
use crate::conn::{Conn, Flags, Written};
use crate::id::{ConnId, Key};
use std::ops::Range;

/// Who may borrow the input of the running callback, and what it has borrowed.
pub(crate) struct Lending {
    /// The flag of the loop's own input, by which it is known: a callback may send from others.
    hidden: Hidden,
    /// The borrower may borrow from it: nothing is lent or queued yet.
    is_offered: bool,
    state: State,
    /// The connection whose callback runs.
    borrower: Key,
    /// What is lent, by its places in the input.
    lent: (u32, u32),
    /// Bytes above which the borrower has to wait: its high watermark.
    high: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing is lent.
    Nothing,
    /// Some of the input is lent.
    Lent,
    /// Input is lent, and something was queued or ended since: what is lent goes through the queue.
    MustQueue,
}

impl Lending {
    pub(crate) fn new() -> Lending {
        Lending {
            hidden: Hidden::default(),
            borrower: Key {
                slot: 0,
                generation: 0,
            },
            is_offered: false,
            state: State::Nothing,
            lent: (0, 0),
            high: 0,
        }
    }

    /// If there is input for a callback, it will be that of this connection, and in sight.
    #[inline]
    pub(super) fn show_to(&mut self, key: Key) {
        self.borrower = key;
        self.hidden.set(false);
    }

    /// Offers what was read for the coming callback to its own connection.
    #[inline]
    pub(super) fn offer(&mut self, conn: &Conn) {
        self.is_offered = conn.can_borrow();
        self.high = conn.limits().high_watermark;
    }

    /// Something is queued, for whomever, or a connection changes its state: nothing more is lent,
    /// and what is lent goes through the queue.
    #[inline]
    pub(super) fn must_queue(&mut self) {
        self.is_offered = false;
        if self.state == State::Lent {
            self.state = State::MustQueue;
        }
    }

    /// The connection wants no more input, or again: if it is the one whose callback runs, what it
    /// is offered looks empty, or no longer. For another one it means nothing: each callback begins
    /// with its input in sight.
    pub(super) fn hide(&self, slot: u32, hidden: bool) {
        if self.borrower.slot == slot {
            self.hidden.set(hidden);
        }
    }

    /// The callback has returned, and borrowed nothing.
    #[inline]
    pub(crate) fn close(&mut self) {
        self.is_offered = false;
    }

    /// Is something lent?
    #[inline]
    pub(crate) fn has_lent(&self) -> bool {
        self.state != State::Nothing
    }

    /// Whom something is lent to, by its slot.
    #[inline]
    pub(super) fn borrower(&self) -> Option<u32> {
        self.has_lent().then_some(self.borrower.slot)
    }

    /// Bytes lent to this connection: they are pending.
    #[inline]
    pub(super) fn lent_to(&self, slot: u32) -> usize {
        match self.has_lent() && self.borrower.slot == slot {
            true => (self.lent.1 - self.lent.0) as usize,
            false => 0,
        }
    }

    /// The connection is over: what it borrowed is lost.
    pub(super) fn forget(&mut self, slot: u32) -> usize {
        let lent = self.lent_to(slot);
        match lent {
            0 => self.must_queue(),
            _ => self.state = State::Nothing,
        }
        lent
    }
}

impl Lending {
    /// The flag by which the input is hidden from a handler that has closed or paused.
    pub(crate) fn hidden(&self) -> Hidden {
        self.hidden.clone()
    }
}

impl Context {
    /// Lends a chunk of the running callback's input to its own connection, once. `None`: it has
    /// to be queued.
    #[inline]
    pub(super) fn lend(
        &mut self,
        id: ConnId,
        store: &Store,
        start: usize,
        end: usize,
    ) -> Option<Sent> {
        let lending = &mut self.lending;
        let len = end - start;
        let is_ours = store.is_of(&lending.hidden);
        // A call that writes nothing would tell of room that nobody needs.
        if !lending.is_offered || !is_ours || lending.borrower != id.0 || len == 0 {
            return None;
        }
        lending.is_offered = false;
        lending.state = State::Lent;
        lending.lent = (start as u32, end as u32);
        match len <= lending.high {
            true => Some(Sent::Queued),
            // The borrower has to wait.
            false => {
                self.conns.get_mut(id.0)?.set(Flags::WAITING);
                Some(Sent::Wait)
            }
        }
    }

    /// The callback has returned with input lent to its connection: writes it, if the callback has
    /// queued nothing else, and queues what is left.
    #[inline(always)]
    pub(crate) fn repay(&mut self, slot: u32, receive: &mut Receive, dirty_before: usize) {
        // The loan is over first: what follows may send, and must find nothing lent.
        let (start, end) = (self.lending.lent.0 as usize, self.lending.lent.1 as usize);
        let state = std::mem::replace(&mut self.lending.state, State::Nothing);
        if state == State::MustQueue {
            return self.queue_lent(slot, receive, start..end, dirty_before);
        }
        let Some(conn) = self.conns.peek(slot) else {
            return;
        };
        // Nothing else is queued, so this may overtake the queue.
        let bytes = receive.range(start..end);
        match conn.write_slice(bytes) {
            Written::Bytes(count) => {
                if conn.has_idle() {
                    conn.note_progress(self.schedule.fresh());
                }
                self.stats.wrote(count);
                // As almost always: all is out, and nothing waits for that.
                if count == bytes.len() && conn.is_at_ease() {
                    return;
                }
                conn.push_first(&mut self.outbox, receive.chunk_of(start + count..end));
            }
            #[cfg(feature = "tls")]
            Written::Sealed(sealed) => {
                let chunk = receive.chunk_of(start + sealed.taken..end);
                conn.push_first(&mut self.outbox, chunk);
                if self.note_sealed(slot, &sealed) {
                    return;
                }
            }
            Written::Nothing => conn.push_first(&mut self.outbox, receive.chunk_of(start..end)),
            Written::Later => {
                conn.push_first(&mut self.outbox, receive.chunk_of(start..end));
                let (key, conn) = self.conns.listed_key(slot);
                self.schedule.retry_later(key, conn);
            }
            Written::Failed(error) => {
                conn.lose(bytes.len());
                self.write_failed(slot, Reason::from_io(error));
            }
        }
        // As after any write: a FIN, an `on_drain`, another write.
        if self.after_flush(slot) {
            self.lists.want_flush(slot, self.conns.listed_mut(slot));
        }
    }

    /// What was lent waits for the flush phase, before what was queued after it.
    #[cold]
    fn queue_lent(&mut self, slot: u32, receive: &mut Receive, lent: Range<usize>, before: usize) {
        let conn = self.conns.listed_mut(slot);
        conn.push_first(&mut self.outbox, receive.chunk_of(lent));
        self.lists.want_flush(slot, self.conns.listed_mut(slot));
        self.flush_if_alone(slot, before);
    }
}
