//! The ways in which a connection ends.

use super::{Context, Due};
use crate::clock::{NEVER, after};
use crate::closed::{Deadline, Reason};
use crate::conn::{Flags, Phase, Written};
use crate::id::ConnId;
use std::io;

impl Context {
    /// Finishes sending: FIN after the last pending byte (shutdown(2), `SHUT_WR`). Reading goes on;
    /// when the peer finishes too, `on_close` comes with `Eof`. Sends answer `Gone` from now on.
    /// `false`: no such connection, or it is closing.
    pub fn shutdown_write(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(id.0).filter(|conn| conn.is_live()) else {
            return false;
        };
        self.lending.disturb();
        if conn.raise(Flags::SHUT_ASKED) {
            Context::list_dirty(conn, id.0.slot, &mut self.dirty);
        }
        true
    }

    /// Closes after a flush: what is pending is sent, then FIN; input is discarded. From now on
    /// only
    /// `on_close` comes, with reason `Local`, or `Eof` if the peer had finished before.
    ///
    /// It comes when the peer has finished too, or has been silent for
    /// [`Limits::linger_silence`](crate::Limits::linger_silence): a socket that is closed earlier
    /// answers what still arrives with a reset, which destroys what the peer has not read yet. A
    /// peer that takes nothing is given up after
    /// [`Limits::close_flush`](crate::Limits::close_flush). A connection that is still connecting
    /// goes on only if bytes are pending. `false`: no such connection, or it is closing already.
    pub fn close(&mut self, conn: ConnId) -> bool {
        let eof = self
            .conns
            .get(conn.0)
            .is_some_and(|conn| conn.has(Flags::EOF));
        self.close_with(conn, if eof { Reason::Eof } else { Reason::Local })
    }

    /// Closes as `close` does, with reason `Protocol(error)`: for peers that break the rules.
    /// `error` may be a text. `false`: as `close`.
    pub fn close_because(
        &mut self,
        conn: ConnId,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> bool {
        self.close_with(conn, Reason::Protocol(io::Error::other(error)))
    }

    /// Closes as `close` does, with reason `TimedOut(which)`: what `on_deadline` does by default,
    /// for handlers that say something first. `false`: as `close`.
    pub fn close_timed_out(&mut self, conn: ConnId, which: Deadline) -> bool {
        self.close_with(conn, Reason::TimedOut(which))
    }

    pub(crate) fn close_with(&mut self, id: ConnId, reason: Reason) -> bool {
        let slot = id.0.slot;
        let Some(conn) = self.live(id) else {
            return false;
        };
        conn.blame(reason);
        conn.deadline = NEVER;
        if conn.phase() == Phase::Connecting {
            match conn.pending() {
                0 => self.end(slot, Reason::Local),
                _ => conn.set(Flags::CLOSE_ASKED),
            }
            return true;
        }
        self.begin_closing(slot);
        true
    }

    /// From open to closing. The flush phase does the rest.
    pub(super) fn begin_closing(&mut self, slot: u32) {
        let now = self.fresh_tick();
        let Some(conn) = self.conns.peek(slot) else {
            return;
        };
        self.lending.disturb();
        conn.enter(Phase::Closing);
        conn.input = None;
        conn.clear(Flags::PAUSED);
        conn.restart_limit(now);
        conn.deadline = after(now, conn.limits.close_time);
        if conn.has(Flags::WRITE_FAILED) {
            return self.end(slot, Reason::Local);
        }
        // If the flush phase cannot end it, it arms the timer. What is there to be read is
        // discarded: a peer that reads only when it has sent all must be able to.
        Context::list_dirty(conn, slot, &mut self.dirty);
        Context::list_ready(conn, slot, &mut self.ready);
    }

    /// Ends it now: RST to the peer, what is pending is dropped, `on_close` with reason `Aborted`.
    /// A Unix socket has no RST: its peer sees an end.
    /// `false`: no such connection, or it is over already. A closing one can be aborted.
    pub fn abort(&mut self, id: ConnId) -> bool {
        let over = |phase| phase == Phase::Dead;
        if self.conns.get(id.0).is_none_or(|conn| over(conn.phase())) {
            return false;
        }
        self.reset(id.0.slot, Reason::Aborted);
        true
    }

    /// Ends it with a RST: the peer must not take what it has got for the whole.
    pub(crate) fn reset(&mut self, slot: u32, reason: Reason) {
        if let Some(stream) = self
            .conns
            .at(slot)
            .and_then(|(_, conn)| conn.stream.as_mut())
        {
            stream.reset_on_drop();
        }
        self.end(slot, reason);
    }

    /// It is over. `on_close` comes in the reap phase, and the descriptor goes with it: by a RST if
    /// bytes are lost, for an error may be the system's own (`ENOBUFS`) and the peer alive.
    pub(crate) fn end(&mut self, slot: u32, reason: Reason) {
        let Some(conn) = self.conns.peek(slot) else {
            return;
        };
        if conn.phase() == Phase::Dead {
            return;
        }
        conn.blame(reason);
        conn.enter(Phase::Dead);
        self.dead += 1;
        conn.input = None;
        conn.lost += (conn.pending() + self.lending.forget(slot)) as u64;
        conn.take_part();
        if conn.lost > 0
            && let Some(stream) = &mut conn.stream
        {
            stream.reset_on_drop();
        }
        if let Some(timer) = conn.timer.take() {
            self.timers.cancel(timer);
        }
        if let Some(queue) = conn.queue.take() {
            self.spare_queues.keep(queue);
        }
        self.ended.push(slot);
    }

    /// A queue that is empty, or whose bytes nobody will get, goes back to the spare ones.
    pub(super) fn release_queue(&mut self, slot: u32) {
        if let Some(conn) = self.conns.peek(slot)
            && let Some(queue) = conn.queue.take()
        {
            self.spare_queues.keep(queue);
        }
    }

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
                Context::list_dirty(conn, slot, &mut self.dirty);
            }
            if conn.limit_at == NEVER {
                conn.restart_limit(self.time.fresh(&self.backend));
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
        Context::list_ready(conn, slot, &mut self.ready);
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

    pub(crate) fn end_if_both_shut(&mut self, slot: u32) {
        let Some(conn) = self.conns.peek(slot) else {
            return;
        };
        if conn.phase() == Phase::Open && conn.has(Flags::SHUT) && conn.has(Flags::EOF) {
            self.end(slot, Reason::Eof);
        }
    }

    /// Its timer fired. Answers whether a deadline has passed by the clock, and prepares to ask the
    /// connection: what the last wait told may be old. A callback may have taken long, the process
    /// may have been stopped, or the batch of events was full; the peer must not pay for that.
    pub(crate) fn is_overdue(&mut self, slot: u32) -> bool {
        let now = self.tick();
        let Some(conn) = self.conns.peek(slot) else {
            return false;
        };
        conn.timer = None;
        let overdue = conn.phase() != Phase::Dead && conn.next_deadline() <= now;
        if overdue {
            conn.doubt_readiness();
        }
        overdue
    }

    /// It has been asked, if it was overdue. Answers the deadline to tell the handler of.
    pub(crate) fn expire_conn(&mut self, slot: u32) -> Option<(ConnId, Deadline)> {
        use crate::conn::Expired;
        let (now, fresh) = (self.tick(), self.fresh_tick());
        let (key, conn) = self.conns.at(slot)?;
        let told = match conn.expire(now, fresh) {
            Expired::Nothing => None,
            Expired::Tell(which) => {
                self.stats.deadlines += 1;
                Some((ConnId(key), which))
            }
            Expired::End(reason) => {
                self.stats.deadlines += 1;
                log::warn!(target: "sockeye", "{} {}: {reason}", ConnId(key), conn.peer);
                self.reset(slot, reason);
                return None;
            }
            Expired::Lingered => {
                self.end(slot, Reason::Local);
                return None;
            }
            // The error that was first is the reason.
            Expired::Gone => {
                self.end(slot, Reason::Reset);
                return None;
            }
        };
        self.arm(slot);
        told
    }

    /// The grace of `finish` is over.
    pub(crate) fn end_grace(&mut self) {
        let slots: Vec<u32> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.phase() != Phase::Dead)
            .map(|(key, _)| key.slot)
            .collect();
        for slot in slots {
            // Whoever lingers has got everything.
            if self
                .conns
                .peek(slot)
                .is_some_and(|conn| conn.phase() == Phase::Lingering)
            {
                self.end(slot, Reason::Local);
                continue;
            }
            if let Some(finishing) = &mut self.finishing {
                finishing.report.aborted += 1;
            }
            self.reset(slot, Reason::Finished);
        }
    }

    /// Arms the connection's one timer for its earliest deadline. A deadline that has moved away
    /// leaves the timer where it is: it fires, finds nothing due, and is armed anew. So progress is
    /// a store, and no work for the heap.
    pub(crate) fn arm(&mut self, slot: u32) {
        let Some(conn) = self.conns.peek(slot) else {
            return;
        };
        let at = conn.next_deadline();
        if at == NEVER || conn.phase() == Phase::Dead {
            return;
        }
        let now = self.time.tick(&self.backend);
        match conn.timer {
            None => conn.timer = Some(self.timers.set(at.max(now), Due::Conn(slot))),
            Some(timer) if self.timers.at(timer).is_some_and(|set| at < set) => {
                self.timers.reset(timer, at.max(now));
            }
            Some(_) => {}
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
            assert!(!reactor.context().dirty.is_empty());
            assert_eq!(reactor.context().block.len(), 0);
        }
    }
}
