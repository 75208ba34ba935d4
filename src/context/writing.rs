//! Writing: what a send or a broadcast does to the queues.

use super::Context;
use crate::buffer::payload::{Part, Parts, Payload, ToPayload};
use crate::buffer::store::Store;
use crate::buffer::write_queue::WriteQueue;
use crate::closed::Reason;
use crate::conn::{Admission, Flags};
use crate::id::ConnId;
use bytes::Bytes;
use std::ops::Range;

/// What became of a send. It may be ignored: the limits hold either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias("backpressure", "EAGAIN", "EWOULDBLOCK"))]
pub enum Sent {
    /// The bytes are queued.
    Queued,
    /// The bytes are queued, but more is pending than the high watermark: send no more until
    /// `on_drain`. Every send until then answers so.
    Wait,
    /// Nothing is queued: what the last flush left has reached the hard limit, and the overflow
    /// policy is `DropNewest`.
    Dropped,
    /// Nothing is queued: no such connection, or it is closing, or its writing side is shut or
    /// failed; or this very send met the hard limit, with the policy `Close`.
    Gone,
}

/// What became of a broadcast: how many members of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broadcast {
    /// Members that have it queued ([`Sent::Queued`]).
    pub queued: usize,
    /// Members that have it queued and read too slowly ([`Sent::Wait`]).
    pub waiting: usize,
    /// Members that read far too slowly and do not get it ([`Sent::Dropped`]).
    pub dropped: usize,
    /// Members that are gone ([`Sent::Gone`]).
    pub gone: usize,
}

impl Broadcast {
    fn count(&mut self, sent: Sent) {
        let counter = match sent {
            Sent::Queued => &mut self.queued,
            Sent::Wait => &mut self.waiting,
            Sent::Dropped => &mut self.dropped,
            Sent::Gone => &mut self.gone,
        };
        *counter += 1;
    }
}

/// Broadcasts of fewer bytes go into the turn's block, and each member remembers its part of it:
/// one copy for all, and one write for each however many they were. Larger ones are shared one by
/// one, so that a member who reads slowly does not get a large copy of its own.
const BLOCK_BELOW: usize = 16 * 1024;

impl Context {
    /// Queues bytes; the loop writes them, as much as the system takes, in the order of the calls.
    ///
    /// Takes `&[u8]`, `&str`, `String`, `Vec<u8>`, `Bytes`, a [`Chunk`](crate::Chunk) of input, or
    /// a pair of these. After [`Sent::Wait`], `on_drain` says when to go on. What is sent after a
    /// `Wait` meets [`Limits::hard_limit`](crate::Limits::hard_limit), which counts what the last
    /// flush left. What was queued since does not count, so until a callback has returned nothing
    /// but `Wait` says that it has sent enough.
    ///
    /// Bytes sent while connecting go out when the connection is open. "Queued" does not mean that
    /// the peer has them: only its answer can say so.
    #[inline]
    #[doc(alias("write", "sendall", "write_all", "uv_write"))]
    pub fn send<'a>(&mut self, conn: ConnId, payload: impl ToPayload<'a>) -> Sent {
        match payload.into().0 {
            Parts::One(Part::Chunk(chunk)) => {
                let (store, start, end) = chunk.into_parts();
                match self.lend(conn, store, start, end) {
                    Some(sent) => sent,
                    None => self.queue_chunk(conn, store, start, end),
                }
            }
            parts => self.send_queued(conn, Payload(parts)),
        }
    }

    /// Apart from `send`, and with arguments that fit into registers: so a handler that answers
    /// with its input needs no stack for it.
    #[inline(never)]
    fn queue_chunk(&mut self, conn: ConnId, store: &mut Store, start: usize, end: usize) -> Sent {
        let chunk = store.chunk_of(start..end);
        self.queue(conn, end - start, |queue, _| queue.push(chunk.into()))
    }

    /// Apart from `send`, which is compiled into every handler.
    #[inline(never)]
    fn send_queued(&mut self, conn: ConnId, payload: Payload<'_>) -> Sent {
        self.queue(conn, payload.len(), |queue, _| queue.push(payload))
    }

    /// Begins a wait on purpose, as a [`Sent::Wait`] does. `on_drain` comes once, when no more than
    /// the low watermark is pending, which may be so already; never from inside this call. Until
    /// then sends answer `Wait`. Use it if you hold back below the high watermark: without a wait
    /// no `on_drain` comes, however much was pending. If a wait is on, nothing changes. `false`: no
    /// such connection, or it is closing.
    pub fn await_drain(&mut self, conn: ConnId) -> bool {
        let slot = conn.0.slot;
        let Some(conn) = self.conns.get_mut(conn.0).filter(|conn| conn.is_live()) else {
            return false;
        };
        conn.set(Flags::WAITING);
        // Who waits borrows nothing; and a flush finds that the wait may be over.
        self.lending.must_queue();
        self.lists.want_flush(slot, conn);
        true
    }

    /// Sends the same bytes to many connections, each within its own limits. The bytes are copied
    /// when few and shared when many. A member that fails does not keep them from the others: its
    /// `on_close` comes later. `conns` may come from [`ConnMap::ids`](crate::ConnMap::ids); an id
    /// that is in it twice gets the bytes twice.
    #[doc(alias("fan-out", "send_all"))]
    pub fn broadcast<'a>(
        &mut self,
        conns: impl IntoIterator<Item = ConnId>,
        frame: impl ToPayload<'a>,
    ) -> Broadcast {
        let payload = frame.into();
        let mut broadcast = Broadcast::default();
        if payload.len() < BLOCK_BELOW && self.outbox.takes_more() {
            // One copy for all: each member remembers its part of the block.
            let range = self.outbox.append(payload);
            self.lending.must_queue();
            let borrower = self.lending.borrower();
            for conn in conns {
                broadcast.count(self.share(conn, &range, borrower));
            }
            if broadcast.queued + broadcast.waiting == 0 {
                self.outbox.take_back(range);
            }
        } else {
            // Shared one by one: a member who reads slowly holds no copy of its own.
            let (frame, frames);
            let parts: &[Bytes] = match payload.0 {
                Parts::One(part) => {
                    frame = part.into_bytes();
                    std::slice::from_ref(&frame)
                }
                parts => {
                    let parts = Payload(parts).into_parts().into_iter();
                    frames = parts.map(Part::into_bytes).collect::<Vec<_>>();
                    &frames
                }
            };
            let len = parts.iter().map(Bytes::len).sum();
            for conn in conns {
                let push = |queue: &mut WriteQueue, _: &[u8]| {
                    parts.iter().for_each(|part| queue.push_bytes(part));
                };
                broadcast.count(self.queue(conn, len, push));
            }
        }
        broadcast
    }

    /// Makes a part of the turn's block pending. Whoever has more pending than what lies right
    /// before it there gets a copy.
    #[inline]
    fn share(&mut self, id: ConnId, range: &Range<usize>, borrower: Option<u32>) -> Sent {
        let slot = id.0.slot;
        if let Some(conn) = self.conns.get_mut(id.0)
            && borrower != Some(slot)
            && let Some(pending) = conn.join_broadcast(range.start as u32, range.end as u32)
        {
            self.lists.want_flush(slot, conn);
            if pending <= conn.limits().high_watermark {
                return Sent::Queued;
            }
            conn.set(Flags::WAITING);
            self.lists.crowd();
            return Sent::Wait;
        }
        let push = |queue: &mut WriteQueue, block: &[u8]| queue.push_slice(&block[range.clone()]);
        self.queue(id, range.len(), push)
    }

    /// A send has met the hard limit, and the policy is to close.
    #[cold]
    pub(super) fn pending_limit(&mut self, id: ConnId) -> Sent {
        let conn = self.conns.listed(id.0.slot);
        let (peer, limit) = (conn.peer(), conn.limits().hard_limit);
        log::debug!(target: "sockeye", "{id} {peer}: pending above `hard_limit`, {limit}");
        self.reset(id.0.slot, Reason::PendingLimit);
        Sent::Gone
    }

    /// Queues what `push` pushes, which may be a part of the turn's block.
    fn queue(&mut self, id: ConnId, len: usize, push: impl FnOnce(&mut WriteQueue, &[u8])) -> Sent {
        let slot = id.0.slot;
        let Some(conn) = self.conns.get_mut(id.0) else {
            return Sent::Gone;
        };
        if !conn.takes_output() {
            return Sent::Gone;
        }
        // The limits first, so that nothing is half queued.
        match conn.admit(len) {
            Admission::Queue => {}
            Admission::Drop => return Sent::Dropped,
            Admission::Close => return self.pending_limit(id),
        }
        // An empty send changes nothing, and asks for no write.
        if len > 0 {
            self.lending.must_queue();
            let pending = conn.push(&mut self.outbox, push) + self.lending.lent_to(slot);
            if pending > conn.limits().high_watermark {
                conn.set(Flags::WAITING);
                // It may well be reading: what others send it must not pile up before a flush. Nor
                // if it does not: only a flush makes that count.
                if conn.has(Flags::WRITABLE) || pending > conn.limits().hard_limit {
                    self.lists.crowd();
                }
            }
            self.lists.want_flush(slot, conn);
        }
        match conn.has(Flags::WAITING) {
            true => Sent::Wait,
            false => Sent::Queued,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Backend, script::Script};
    use crate::config::Config;
    use crate::conn::Conn;
    use crate::id::{Key, ListenerId, Tag};
    use std::sync::Arc;

    /// A loop with one connection.
    fn context(config: Config) -> (Context, ConnId) {
        let limits = Arc::new(config.limits.clone());
        let mut cx = Context::new(Backend::Script(Script::new()), config);
        let by = ListenerId(Key {
            slot: 0,
            generation: 0,
        });
        let conn = Conn::accepted(by, crate::Addr::Unix(None), Tag::default(), limits);
        let id = ConnId(cx.conns.insert(conn));
        (cx, id)
    }

    // J5: others who are sent to must not pile up what a flush would take, or would have count.
    #[test]
    fn a_queue_above_its_mark_asks_for_a_flush_where_that_makes_a_difference() {
        for (is_writable, bytes, sent, crowds) in [
            (true, 10, Sent::Queued, false),
            (true, 11, Sent::Wait, true),
            (false, 11, Sent::Wait, false),
            (false, 20, Sent::Wait, false),
            (false, 21, Sent::Wait, true),
        ] {
            let mut config = Config::default();
            (config.limits.high_watermark, config.limits.low_watermark) = (10, 5);
            config.limits.hard_limit = 20;
            let (mut cx, id) = context(config);
            if !is_writable {
                cx.conns.listed_mut(id.0.slot).clear(Flags::WRITABLE);
            }
            assert_eq!(cx.send(id, &vec![0; bytes][..]), sent, "{bytes}");
            assert_eq!(cx.lists.is_crowded(), crowds, "{is_writable}, {bytes}");
        }
    }

    // W1: the block of a turn is bounded, and a large broadcast is shared and not copied into it.
    #[test]
    fn small_broadcasts_share_the_block_while_it_takes_more() {
        for (len, in_it_before, in_block) in [
            (BLOCK_BELOW - 1, 0, true),
            (BLOCK_BELOW, 0, false),
            (BLOCK_BELOW + 1, 0, false),
            (1, 16 << 20, false),
        ] {
            let (mut cx, id) = context(Config::default());
            cx.outbox.append(vec![0; in_it_before].into());
            assert_eq!(cx.broadcast([id], vec![0; len]).queued, 1);
            let conn = cx.conns.listed(id.0.slot);
            assert_eq!(
                (conn.has_broadcast(), conn.has_queue()),
                (in_block, !in_block)
            );
        }
    }
}
