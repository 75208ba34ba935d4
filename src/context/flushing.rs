//! Flushing: one write for a connection, and what follows from it.

use super::Context;
use crate::closed::Reason;
use crate::conn::{Flags, Phase, Written};
use crate::id::{ConnId, Tag};

impl Context {
    /// Flushes a connection that has nothing pending but its part of the turn's block. `false`:
    /// there is more to it, which `flush` does.
    #[inline(always)]
    pub(crate) fn flush_broadcast(&mut self, slot: u32) -> bool {
        let conn = self.conns.listed_mut(slot);
        let Some(range) = conn.take_plain_broadcast() else {
            return false;
        };
        let len = range.len();
        match conn.write_broadcast(range, &mut self.outbox) {
            Written::Bytes(count) => {
                // Progress counts for those only who have an idle time: the others read no clock.
                if conn.has_idle() {
                    conn.note_progress(self.schedule.fresh());
                }
                self.stats.wrote(count);
                conn.clear(Flags::IN_DIRTY);
                return count == len;
            }
            Written::Nothing => {}
            // What is plain only.
            #[cfg(feature = "tls")]
            Written::Sealed(_) => {}
            Written::Later => {
                let (key, conn) = self.conns.listed_key(slot);
                self.schedule.retry_later(key, conn);
            }
            Written::Failed(error) => self.write_failed(slot, Reason::from_io(error)),
        }
        false
    }

    /// Flushes a connection: one write at most, and what follows from an empty queue. Answers
    /// whether an `on_drain` is due.
    #[inline]
    pub(crate) fn flush(&mut self, slot: u32) -> bool {
        // Off the list first: what follows may list it again.
        self.conns.listed_mut(slot).clear(Flags::IN_DIRTY);
        self.flush_now(slot)
    }

    /// Flushes a connection, and leaves the list alone on which it may be.
    #[inline(always)]
    pub(super) fn flush_now(&mut self, slot: u32) -> bool {
        let conn = self.conns.listed_mut(slot);
        if conn.has(Flags::WRITABLE) && conn.has_output() && conn.is_flushing() {
            let written = match conn.has_source() {
                false => conn.write_pending(&mut self.outbox),
                true => match self.flush_source(slot) {
                    Some(written) => written,
                    None => return false,
                },
            };
            let conn = self.conns.listed_mut(slot);
            match written {
                Written::Bytes(count) => {
                    if conn.has_idle() {
                        conn.note_progress(self.schedule.fresh());
                    }
                    self.stats.wrote(count);
                    // As almost always: all of it went out, and nothing waits for that.
                    if conn.is_all_out() && conn.is_at_ease() {
                        conn.lift_limit();
                        conn.release_queue(&mut self.outbox);
                        return false;
                    }
                    // The peer takes bytes: it is given its time anew.
                    conn.restart_limit(self.schedule.fresh());
                }
                Written::Nothing => {}
                #[cfg(feature = "tls")]
                Written::Sealed(sealed) => {
                    if self.note_sealed(slot, &sealed) {
                        return false;
                    }
                }
                Written::Later => {
                    let (key, conn) = self.conns.listed_key(slot);
                    self.schedule.retry_later(key, conn);
                }
                Written::Failed(error) => self.write_failed(slot, Reason::from_io(error)),
            }
        }
        #[cfg(feature = "tls")]
        self.keep_broadcast(slot);
        self.after_flush(slot)
    }

    /// A session that takes no bytes now, for its handshake is not through or it is broken, has
    /// left its part of the block there, which is cleared when the turn ends.
    #[cfg(feature = "tls")]
    #[inline]
    fn keep_broadcast(&mut self, slot: u32) {
        let conn = self.conns.listed_mut(slot);
        if conn.has_broadcast() {
            conn.push(&mut self.outbox, |_, _| {});
        }
    }

    /// What follows from a flush: another one, a FIN, the end, an `on_drain`.
    pub(super) fn after_flush(&mut self, slot: u32) -> bool {
        let conn = self.conns.listed_mut(slot);
        conn.note_offered();
        // Asked before the end of a close can come of it: then no `on_drain` is told.
        let drained = conn.has_drained();
        if !conn.is_flushing() || conn.has(Flags::WRITE_FAILED) {
            return drained;
        }
        conn.announce_eof();
        if !conn.is_all_out() {
            // Either the system may take more, or an edge will tell when it does; or a source has
            // nothing now, and is woken.
            if conn.has(Flags::WRITABLE) && conn.has_output() {
                self.lists.want_flush(slot, conn);
            }
            // The time of the phase begins with the first write that leaves something.
            if !conn.has_limit() {
                conn.restart_limit(self.schedule.fresh());
            }
            self.schedule.arm(slot, conn);
            return drained;
        }
        conn.release_queue(&mut self.outbox);
        // All is out: that is what a close or a shutdown has waited for.
        match conn.phase() {
            Phase::Closing => self.linger_or_end(slot),
            // The peer's turn.
            Phase::Handshaking => {}
            _ => {
                conn.lift_limit();
                // Its end belongs into the session, if one is to come.
                if conn.has(Flags::SHUT_ASKED) && !conn.is_handshaking() {
                    conn.shut();
                    // If that failed, a read tells why, and perhaps no edge.
                    self.lists.want_read(slot, conn);
                    self.end_if_over(slot);
                }
            }
        }
        drained
    }

    /// A callback has returned: if it queued bytes for its own connection and no other, they go out
    /// now. Otherwise everything waits for the flush phase, where each connection is written once.
    #[inline]
    pub(crate) fn flush_if_alone(&mut self, slot: u32, dirty_before: usize) {
        if self.lists.unlist_if_alone(slot, dirty_before) && self.flush(slot) {
            self.lists.want_flush(slot, self.conns.listed_mut(slot));
        }
    }

    /// Nothing can be sent any more, but input that has arrived is still delivered, and the end
    /// only then. A pause made because of our own backpressure ends with its `on_drain`; another
    /// one must not hide the end for ever.
    pub(super) fn write_failed(&mut self, slot: u32, reason: Reason) {
        let now = self.schedule.fresh();
        let conn = self.conns.listed_mut(slot);
        if conn.has(Flags::WRITE_FAILED) {
            return;
        }
        conn.blame(reason);
        conn.fail_writing(now, &mut self.outbox);
        // Where nothing more can be read, there is nothing to wait for.
        if conn.phase() == Phase::Closing || conn.has(Flags::EOF) {
            return self.end(slot, Reason::Local);
        }
        self.lists.want_read(slot, conn);
        self.schedule.arm(slot, conn);
    }

    /// A wait is over, unless the flush was the last one: a pause for it ends, and the handler is
    /// about to be told, if it was answered to wait.
    pub(crate) fn take_drain(&mut self, slot: u32) -> Option<(ConnId, Tag)> {
        let (key, conn) = self.conns.at(slot)?;
        if !conn.has_drained() {
            return None;
        }
        let is_told = conn.take(Flags::WAITING);
        let told = (ConnId(key), conn.tag());
        // First, so that a pause which its `on_drain` begins is another one.
        if conn.release_drained() {
            self.lists.want_read(slot, conn);
        }
        is_told.then_some(told)
    }

    /// Clears the block if nobody has a part of it any more: a stream that always has more to
    /// write keeps the list of those to be flushed from being empty.
    pub(crate) fn clear_block(&mut self) {
        let has_broadcast = |slot: &u32| self.conns.listed(*slot).has_broadcast();
        if !self.outbox.is_clear() && !self.lists.dirty().iter().any(has_broadcast) {
            self.outbox.clear();
        }
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

    /// So many connections that have come and are open.
    fn accepted<H: Handler>(
        reactor: &mut Reactor,
        app: &mut H,
        script: &Script,
        count: usize,
    ) -> Vec<ConnId> {
        for _ in 0..count {
            script.incoming();
        }
        for _ in 0..count {
            reactor.turn(app, Some(Duration::ZERO)).unwrap();
        }
        let all: Vec<ConnId> = reactor.context().connections().collect();
        assert_eq!(all.len(), count);
        all
    }

    #[test]
    fn a_broadcast_to_many_leaves_no_queue_for_each() {
        let script = Script::new();
        let backend = Backend::Script(script.clone());
        let mut reactor: Reactor = Reactor::on_backend(backend, Config::default());
        reactor.listen("127.0.0.1:0").unwrap();
        let all = accepted(&mut reactor, &mut Silent, &script, 300);
        assert_eq!(reactor.context().broadcast(all, "a line\n").queued, 300);
        reactor.turn(&mut Silent, Some(Duration::ZERO)).unwrap();
        script.socket(299, |socket| assert_eq!(socket.written, b"a line\n"));
        assert!(reactor.context().outbox.spare_queues() <= 64);
    }

    // W1
    #[test]
    fn what_is_broadcast_to_nobody_is_not_kept() {
        let (mut reactor, _) = Script::reactor(Config::default());
        let nobody = ConnId::from_u64(7);
        for conns in [&[][..], &[nobody]] {
            let cx = reactor.context();
            cx.broadcast(conns.iter().copied(), "a line\n");
            assert!(cx.outbox.is_clear());
        }
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
        let mut app = Stream(None);
        let all = accepted(&mut reactor, &mut app, &script, 3);
        app.0 = Some(all[0]);
        reactor.context().send(all[0], "the beginning");
        for _ in 0..100 {
            let cx = reactor.context();
            assert_eq!(cx.broadcast([all[1], all[2]], "a line\n").waiting, 2);
            reactor.turn(&mut app, Some(Duration::ZERO)).unwrap();
            assert!(!reactor.context().lists.dirty().is_empty());
            assert!(reactor.context().outbox.is_clear());
        }
    }
}
