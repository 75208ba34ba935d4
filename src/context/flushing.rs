//! Flushing: one write for a connection, and what follows from it.

use super::Context;
use crate::clock::{NEVER, after};
use crate::closed::Reason;
use crate::conn::{Flags, Phase, Written};
use crate::id::{ConnId, Tag};

impl Context {
    /// Flushes a connection that has nothing pending but its part of the turn's block. `false`:
    /// there is more to it, which `flush` does.
    #[inline(always)]
    pub(crate) fn flush_part(&mut self, slot: u32) -> bool {
        let Some(conn) = self.conns.peek(slot) else {
            return true;
        };
        let Some(part) = conn.take_plain_part() else {
            return false;
        };
        let len = part.len();
        match conn.write_part(&self.block[part], &mut self.spare_queues) {
            Written::Bytes(count) => {
                if conn.has_idle() {
                    conn.progress = self.time.fresh(&self.backend);
                }
                self.stats.wrote(count);
                conn.clear(Flags::IN_DIRTY);
                return count == len;
            }
            Written::Nothing => {}
            Written::Failed(error) => self.write_failed(slot, Reason::from_io(error)),
        }
        false
    }

    /// Flushes a connection: one write at most, and what follows from an empty queue. Answers
    /// whether an `on_drain` is due.
    #[inline]
    pub(crate) fn flush(&mut self, slot: u32) -> bool {
        let Some(conn) = self.conns.peek(slot) else {
            return false;
        };
        conn.clear(Flags::IN_DIRTY);
        if conn.has(Flags::WRITABLE) && conn.pending() > 0 && conn.is_flushing() {
            let written = match conn.take_part() {
                Some(part) => conn.write_part(&self.block[part], &mut self.spare_queues),
                None => conn.write(),
            };
            match written {
                Written::Bytes(count) => {
                    if conn.has_idle() {
                        conn.progress = self.time.fresh(&self.backend);
                    }
                    self.stats.wrote(count);
                    // As almost always: all of it went out, and nothing waits for that.
                    if conn.pending() == 0 && conn.is_at_ease() {
                        conn.limit_at = NEVER;
                        if let Some(queue) = conn.queue.take() {
                            self.spare_queues.keep(queue);
                        }
                        return false;
                    }
                    conn.restart_limit(self.time.fresh(&self.backend));
                }
                Written::Nothing => {}
                Written::Failed(error) => self.write_failed(slot, Reason::from_io(error)),
            }
        }
        self.after_flush(slot)
    }

    /// What follows from a flush: another one, a FIN, the end, an `on_drain`.
    pub(super) fn after_flush(&mut self, slot: u32) -> bool {
        let Some(conn) = self.conns.peek(slot) else {
            return false;
        };
        let drained = conn.has_drained();
        if !matches!(conn.phase(), Phase::Open | Phase::Closing) || conn.has(Flags::WRITE_FAILED) {
            return drained;
        }
        if conn.pending() > 0 {
            if conn.has(Flags::WRITABLE) {
                self.lists.want_flush(slot, conn);
            }
            if conn.limit_at == NEVER {
                conn.begin_limit(self.time.fresh(&self.backend));
            }
            self.arm(slot);
            return drained;
        }
        let (closing, shut) = (conn.phase() == Phase::Closing, conn.has(Flags::SHUT_ASKED));
        if !closing {
            conn.limit_at = NEVER;
        }
        if let Some(queue) = conn.queue.take() {
            self.spare_queues.keep(queue);
        }
        if closing {
            self.finish_closing(slot);
        } else if shut {
            self.finish_writing(slot);
        }
        drained
    }

    /// A callback has returned: if it queued bytes for its own connection and no other, they go out
    /// now. Otherwise everything waits for the flush phase, where each connection is written once.
    #[inline]
    pub(crate) fn flush_own(&mut self, slot: u32, dirty_before: usize) {
        if self.lists.unlist_own(slot, dirty_before) && self.flush(slot) {
            self.list_for_drain(slot);
        }
    }

    /// Nothing can be sent any more, but input that has arrived is still delivered, and the end
    /// only then. A pause made because of our own backpressure ends with its `on_drain`; another
    /// one must not hide the end for ever.
    pub(super) fn write_failed(&mut self, slot: u32, reason: Reason) {
        let now = self.fresh_tick();
        let Some(conn) = self.conns.peek(slot) else {
            return;
        };
        if conn.has(Flags::WRITE_FAILED) {
            return;
        }
        conn.blame(reason);
        conn.lost += conn.pending() as u64;
        conn.take_part();
        conn.limit_at = after(now, conn.limits.write_stall);
        conn.set(Flags::WRITE_FAILED);
        conn.set(Flags::READABLE);
        conn.set(Flags::DRAIN);
        if conn.phase() == Phase::Closing || conn.has(Flags::EOF) {
            conn.queue = None;
            return self.end(slot, Reason::Local);
        }
        self.lists.want_read(slot, conn);
        self.release_queue(slot);
        self.arm(slot);
    }

    /// The last byte of an open connection is out, and `shutdown_write` was asked for.
    fn finish_writing(&mut self, slot: u32) {
        let Some(conn) = self.conns.peek(slot) else {
            return;
        };
        if conn.raise(Flags::SHUT) {
            // A failure means that the connection is gone already, which a read will tell.
            let _ = conn.stream.as_mut().map(|stream| stream.shutdown_write());
        }
        self.end_if_both_shut(slot);
    }

    /// A queue that is empty, or whose bytes nobody will get, goes back to the spare ones.
    pub(super) fn release_queue(&mut self, slot: u32) {
        if let Some(conn) = self.conns.peek(slot)
            && let Some(queue) = conn.queue.take()
        {
            self.spare_queues.keep(queue);
        }
    }

    /// The flush phase is to look at it: an `on_drain` is due there, and not before.
    pub(crate) fn list_for_drain(&mut self, slot: u32) {
        if let Some(conn) = self.conns.peek(slot) {
            self.lists.want_flush(slot, conn);
        }
    }

    /// The handler is about to be told that the wait is over, unless the flush was the last one.
    pub(crate) fn end_wait(&mut self, slot: u32) -> Option<(ConnId, Tag)> {
        let (key, conn) = self.conns.at(slot)?;
        if !conn.has_drained() {
            return None;
        }
        conn.clear(Flags::WAITING);
        Some((ConnId(key), conn.tag))
    }

    /// Clears the block if nobody has a part of it any more: a stream that always has more to
    /// write keeps the dirty list from being empty. A large one is given back to the allocator.
    pub(crate) fn clear_block(&mut self) {
        const KEEP: usize = 1 << 20;
        let conns = &mut self.conns;
        let mut has_part = |slot| conns.peek(slot).is_some_and(|conn| conn.has_part());
        if self.block.is_empty() || self.lists.dirty().iter().any(|slot| has_part(*slot)) {
            return;
        }
        self.block.clear();
        self.block.shrink_to(KEEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Backend, script::Script};
    use crate::buffer::input::Input;
    use crate::config::Config;
    use crate::handler::Handler;
    use crate::reactor::Reactor;
    use std::time::Duration;

    struct Silent;

    impl Handler for Silent {
        fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
    }

    #[test]
    fn a_broadcast_to_many_leaves_no_queue_for_each() {
        let script = Script::new();
        let backend = Backend::Script(script.clone());
        let mut reactor: Reactor = Reactor::on_backend(backend, Config::default());
        reactor.listen("127.0.0.1:0").unwrap();
        for _ in 0..300 {
            script.incoming();
        }
        while reactor.context().connections().count() < 300 {
            reactor.turn(&mut Silent, Some(Duration::ZERO)).unwrap();
        }
        let cx = reactor.context();
        let all: Vec<ConnId> = cx.connections().collect();
        assert_eq!(cx.broadcast(all, "a line\n").queued, 300);
        reactor.turn(&mut Silent, Some(Duration::ZERO)).unwrap();
        script.socket(299, |socket| assert_eq!(socket.written, b"a line\n"));
        assert!(reactor.context().spare_queues.len() <= 64);
    }

    /// Always has more to send to this connection.
    struct Stream(Option<ConnId>);

    impl Handler for Stream {
        fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

        fn on_drain(&mut self, cx: &mut Context, conn: ConnId) {
            if Some(conn) == self.0 {
                cx.send(conn, "more than the high mark");
            }
        }
    }

    // W1
    #[test]
    fn a_stream_that_is_never_done_does_not_keep_what_was_broadcast() {
        let script = Script::new();
        let mut config = Config::default();
        (config.limits.high_watermark, config.limits.low_watermark) = (1, 1);
        let mut reactor: Reactor = Reactor::on_backend(Backend::Script(script.clone()), config);
        reactor.listen("127.0.0.1:0").unwrap();
        for _ in 0..3 {
            script.incoming();
        }
        let mut app = Stream(None);
        while reactor.context().connections().count() < 3 {
            reactor.turn(&mut app, Some(Duration::ZERO)).unwrap();
        }
        let all: Vec<ConnId> = reactor.context().connections().collect();
        app.0 = Some(all[0]);
        reactor.context().send(all[0], "the beginning");
        for _ in 0..100 {
            let cx = reactor.context();
            assert_eq!(cx.broadcast([all[1], all[2]], "a line\n").waiting, 2);
            reactor.turn(&mut app, Some(Duration::ZERO)).unwrap();
            assert!(!reactor.context().lists.dirty().is_empty());
            assert_eq!(reactor.context().block.len(), 0);
        }
    }
}
