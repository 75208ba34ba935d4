//! Closing: the ways in which a connection ends, and what its `on_close` is told.

use super::Context;
use crate::closed::{Closed, Deadline, Discreet, Reason};
use crate::conn::{Flags, Phase};
use crate::id::{ConnId, Tag};
use std::io;

impl Context {
    /// Sends no more: FIN after the last pending byte (shutdown(2), `SHUT_WR`). Reading goes on;
    /// when the peer does the same, `on_close` comes with `Eof`. Sends answer `Gone` from now on.
    /// `false`: no such connection, or it is closing.
    #[doc(alias("shutdown", "half-close", "SHUT_WR", "write_eof", "uv_shutdown"))]
    pub fn shutdown_write(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(id.0).filter(|conn| conn.is_live()) else {
            return false;
        };
        // What was lent goes out before the FIN.
        self.lending.must_queue();
        if conn.raise(Flags::SHUT_ASKED) {
            self.lists.want_flush(id.0.slot, conn);
        }
        true
    }

    /// Closes after a flush: what is pending is sent, then FIN; input is discarded, and in a
    /// callback of this connection the rest of it looks empty. From now on only `on_close` comes,
    /// with reason `Local`, or `Eof` if the peer had sent its end before.
    ///
    /// It comes when the peer has sent its end too, or has been silent for
    /// [`Limits::linger_silence`](crate::Limits::linger_silence): a socket that is closed earlier
    /// answers what still arrives with a reset, which destroys what the peer has not read yet. A
    /// peer that takes nothing is given up after
    /// [`Limits::close_flush`](crate::Limits::close_flush). A connection that is still connecting
    /// goes on only if bytes are pending. `false`: no such connection, or it is closing already.
    pub fn close(&mut self, conn: ConnId) -> bool {
        let eof = self
            .conns
            .get(conn.0)
            .is_some_and(|conn| conn.has(Flags::EOF) || conn.is_at_end());
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

    /// Ends a connection now: RST to the peer, what is pending is dropped, `on_close` with reason
    /// `Aborted`. A Unix socket has no RST: its peer sees an end. While a child of fork(2) without
    /// exec(2) lives, it has the socket too: the RST, and the FIN of a close after the peer's end,
    /// come with the last close(2) only.
    /// `false`: no such connection, or it is over already. A closing one can be aborted.
    #[doc(alias("RST", "reset", "uv_close", "SO_LINGER"))]
    pub fn abort(&mut self, id: ConnId) -> bool {
        let over = |phase| phase == Phase::Dead;
        if self.conns.get(id.0).is_none_or(|conn| over(conn.phase())) {
            return false;
        }
        self.reset(id.0.slot, Reason::Aborted);
        true
    }

    pub(crate) fn close_with(&mut self, id: ConnId, reason: Reason) -> bool {
        let slot = id.0.slot;
        let Some(conn) = self.live(id) else {
            return false;
        };
        conn.blame(reason);
        if conn.phase() == Phase::Open {
            self.begin_closing(slot);
        } else if !conn.is_all_out() {
            // "Connect, send, close" means: deliver this.
            conn.ask_to_close();
        } else {
            self.end(slot, Reason::Local);
        }
        true
    }

    /// From open to closing. The flush phase does the rest.
    pub(super) fn begin_closing(&mut self, slot: u32) {
        let conn = self.conns.listed_mut(slot);
        self.lending.must_queue();
        self.lending.hide(slot, true);
        conn.begin_closing();
        if conn.has(Flags::WRITE_FAILED) {
            return self.end(slot, Reason::Local);
        }
        // If the flush phase cannot end it, it arms the timer. What is there to be read is
        // discarded: a peer that reads only when it has sent all must be able to.
        self.lists.want_flush(slot, conn);
        self.lists.want_read(slot, conn);
    }

    /// Ends a connection with a RST: the peer must not take what it has got for the whole.
    pub(crate) fn reset(&mut self, slot: u32, reason: Reason) {
        self.conns.listed_mut(slot).reset_on_drop();
        self.end(slot, reason);
    }

    /// A connection is over. `on_close` comes in the reap phase, and the descriptor goes with it:
    /// by a RST if bytes are lost, for an error may be this system's own (`EPERM`) and the peer
    /// alive.
    pub(crate) fn end(&mut self, slot: u32, reason: Reason) {
        let mut conn = self.conns.listed_mut(slot);
        if conn.phase() == Phase::Dead {
            return;
        }
        if conn.phase() == Phase::Lingering {
            self.lingerers.one_is_over();
        }
        if conn.phase() == Phase::Connecting {
            self.hang_up(slot);
            conn = self.conns.listed_mut(slot);
            // An answer may still come in this turn.
            conn.end_dialing();
        }
        // What was lent counts as pending, and is lost with the rest.
        conn.lose(self.lending.forget(slot));
        self.lending.hide(slot, true);
        conn.die(reason, &mut self.outbox);
        if let Some(timer) = conn.take_timer() {
            self.schedule.cancel(timer);
        }
        self.lists.want_burial(slot, conn);
        #[cfg(feature = "tls")]
        if conn.is_unsecured() {
            self.handshake_failed(slot);
        }
    }

    /// Answers how many are over. They leave the other lists, for their slots are about to be free.
    pub(crate) fn begin_reap(&mut self) -> usize {
        // Almost never is one of them on another list: one pass for all of them then.
        if self.lists.take_stale() {
            let conns = &self.conns;
            self.lists
                .forget(|slot| conns.listed(slot).phase() == Phase::Dead);
        }
        self.lists.ended_len()
    }

    /// What `on_close` is told of a connection that is over.
    pub(crate) fn last_words(&mut self, slot: u32) -> Option<(ConnId, Tag, Closed)> {
        let (key, conn) = self.conns.at(slot)?;
        let closed = conn.closed();
        let text = Discreet(&closed);
        // Nobody has heard of it.
        #[cfg(feature = "tls")]
        if conn.is_unseen() {
            log::debug!(target: "sockeye", "handshake with {} failed: {text}", conn.peer());
            return None;
        }
        log::debug!(target: "sockeye", "{} {}: {text}", ConnId(key), conn.peer());
        self.stats.closed.count(&closed.reason);
        self.stats.bytes_lost += closed.undelivered;
        if let Some(finishing) = &mut self.finishing {
            finishing.report.bytes_lost += closed.undelivered;
            finishing.report.closed += 1;
        }
        Some((ConnId(key), conn.tag(), closed))
    }

    /// An `on_close` has returned: the slot is free, and the descriptor goes.
    pub(crate) fn bury(&mut self, slot: u32) {
        self.conns.free(slot);
        self.lists.buried();
    }
}
