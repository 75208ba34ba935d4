//! The loop ends a connection because of a time: was it right to?
//!
//! What the peer's system knows is the truth (`Peer::traffic`), and every time is that of the very
//! moment: that of a byte, of a command, of an attempt to read or to write.

use super::actor::{Actor, Asked, Life};
use sockeye::sim::{Peer, Traffic};
use sockeye::{Closed, ConnId, Context, Deadline, Reason};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A reset has arrived after this time, if nothing is cut and nothing goes wrong.
const ARRIVES: Duration = Duration::from_secs(2);

/// The later of a time and of one that may not have been.
fn later(one: Instant, other: Option<Instant>) -> Instant {
    other.map_or(one, |other| one.max(other))
}

impl Actor {
    /// Is it a reason for which this connection may have ended?
    pub fn check_reason(&self, conn: ConnId, life: &Life, reason: &Reason) {
        let asked = life.asked;
        let fits = match reason {
            Reason::Local => asked == Some(Asked::Close),
            Reason::Eof => life.at_end(),
            Reason::Aborted => asked == Some(Asked::Abort),
            Reason::TimedOut(Deadline::CloseFlush) if self.plan.patient => asked.is_some(),
            Reason::TimedOut(_) | Reason::ConnectTimedOut => !self.plan.patient,
            Reason::InputLimit => asked == Some(Asked::InputLimit),
            Reason::PendingLimit => life.over_limit,
            Reason::Protocol(_) => asked.is_some(),
            Reason::Finished => self.finishing.is_some(),
            Reason::ConnectFailed(_) => !life.opened,
            Reason::Reset => true,
            // Whose peer leaves in the handshake, or ends without a word.
            #[cfg(feature = "tls")]
            Reason::Tls(error) => {
                let left = error.kind() == std::io::ErrorKind::UnexpectedEof;
                life.secure && !life.opened && left
            }
            #[cfg(feature = "tls")]
            Reason::Truncated => life.secure && life.opened,
            Reason::Source(_) => life.sources.iter().any(super::sources::Given::fails),
            _ => false,
        };
        let (opened, eof) = (life.opened, life.eof);
        assert!(
            fits,
            "{conn}: closed with {reason:?}; opened: {opened}, end seen: {eof}, asked: {asked:?}"
        );
    }

    /// The scripted peer at the other end, if it means to go on, and what has passed between them.
    fn traffic(&self, life: &Life) -> Option<(Rc<Peer>, Traffic)> {
        // Not every byte of TLS is one of the connection.
        let end = life.end.filter(|_| !life.secure)?;
        let peer = self.ledger.borrow_mut().peer_of(end)?;
        let alive = !peer.was_reset();
        let traffic = peer.traffic().filter(|_| alive)?;
        Some((peer, traffic))
    }

    /// A connection by TLS is over: who has left in peace has said its end, and who was not told
    /// the other's is told so.
    pub fn ends_well(&self, life: &Life, closed: &Closed) {
        let Some(end) = life.end.filter(|_| life.secure && life.opened) else {
            return;
        };
        let mut ledger = self.ledger.borrow_mut();
        match closed.reason {
            Reason::Local | Reason::Eof if closed.undelivered == 0 => ledger.said(end),
            #[cfg(feature = "tls")]
            Reason::Truncated => {
                assert!(
                    !life.eof,
                    "{end:?}: told the end, and then that there was none"
                );
                ledger.cut_off(end);
            }
            _ => {}
        }
    }

    /// `on_deadline` with `Idle`: not before its time, and not before the connection was asked.
    pub fn told_idle(&mut self, cx: &Context, conn: ConnId) {
        let now = self.clock.now();
        let Some(life) = self.lives.get_mut(&conn) else {
            return;
        };
        let Some(idle) = life.idle else {
            panic!("{conn}: idle without an idle time");
        };
        let from = std::mem::replace(&mut life.idle_from, now);
        let (paused, eof) = (life.is_held(), life.at_end());
        assert!(now >= from + idle, "{conn}: told idle too early");
        let Some((_, traffic)) = self.lives.get(&conn).and_then(|life| self.traffic(life)) else {
            return;
        };
        let due = later(later(from, traffic.read), traffic.written) + idle;
        assert!(now >= due, "{conn}: told idle too early after a byte");
        let asked = |tried: Option<Instant>| tried.is_some_and(|tried| tried >= due);
        assert!(
            paused || eof || asked(traffic.read_tried),
            "{conn}: told idle, and nobody looked whether there is input"
        );
        assert!(
            cx.pending(conn) == 0 || self.has_source(conn) || asked(traffic.write_tried),
            "{conn}: told idle, and nobody tried to write"
        );
    }

    /// `on_close`: if a time was over, it was.
    pub fn was_right_to_end(&mut self, conn: ConnId, life: &Life, closed: &Closed) {
        let now = self.clock.now();
        let limits = self.limits();
        // What a source did, and when, the peer's system does not know.
        let had_source = !life.sources.is_empty();
        match closed.reason {
            Reason::TimedOut(_) | Reason::Finished if had_source => {}
            Reason::TimedOut(Deadline::WriteStall) => {
                let from = life.pending_from;
                // A session has words of its own that may stall.
                assert!(
                    life.secure || now >= from + limits.write_stall,
                    "{conn}: a stall too early"
                );
                if let Some((_, traffic)) = self.traffic(life) {
                    let due = later(from, traffic.written) + limits.write_stall;
                    refused(conn, now, due, &traffic);
                }
            }
            Reason::TimedOut(Deadline::CloseFlush) => {
                let Some(from) = life.asked_at else {
                    return;
                };
                // The limit of a whole close holds also against a peer that reads, but slowly.
                if now >= from + limits.close_time {
                    return;
                }
                if let Some(end) = life.end.filter(|_| self.plan.patient) {
                    self.ledger.borrow_mut().given_up(end);
                }
                let early = now < from + limits.close_flush;
                assert!(!early, "{conn}: given up too early after a close");
                if let Some((_, traffic)) = self.traffic(life) {
                    let due = later(from, traffic.written) + limits.close_flush;
                    refused(conn, now, due, &traffic);
                }
            }
            Reason::Local => self.has_lingered(conn, life, now),
            Reason::Finished => self.was_asked_at_the_end(conn, life, closed),
            _ => {}
        }
    }

    /// The grace of a finish was over, and only then the connection was asked a last time.
    fn was_asked_at_the_end(&self, conn: ConnId, life: &Life, closed: &Closed) {
        let (Some(end), Some((_, traffic))) = (self.finishing, self.traffic(life)) else {
            return;
        };
        let asked = |tried: Option<Instant>| tried.is_some_and(|tried| tried >= end);
        let spared = !life.opened || life.is_held() || life.eof || life.left > 0;
        assert!(
            spared || asked(traffic.read_tried),
            "{conn}: aborted at the end of the grace, and nobody looked whether there is input"
        );
        assert!(
            !life.opened || closed.undelivered == 0 || asked(traffic.write_tried),
            "{conn}: aborted at the end of the grace, and nobody tried to write"
        );
    }

    /// It was closed, and not because of an error: its peer has ended, or was silent for long, or
    /// it took too long in all.
    fn has_lingered(&self, conn: ConnId, life: &Life, now: Instant) {
        let limits = self.limits();
        let gave_way =
            self.finishing.is_some() || self.plan.gives_way || life.at_end() || !life.opened;
        let Some(from) = life.asked_at.filter(|_| !gave_way) else {
            return;
        };
        let other_ends = |end| self.ledger.borrow_mut().other(end).finished;
        let Some((_, traffic)) = self.traffic(life) else {
            return;
        };
        let flushed = later(from, traffic.written);
        if life.end.is_some_and(other_ends) || now >= flushed + limits.linger_time {
            return;
        }
        let silent = later(flushed, traffic.read) + limits.linger_silence;
        assert!(
            now >= silent,
            "{conn}: closed, and its peer has neither ended nor been silent for long"
        );
        let asked = traffic.read_tried.is_some_and(|tried| tried >= silent);
        assert!(
            asked,
            "{conn}: closed for its silence, and nobody looked whether there is input"
        );
    }

    /// Everything that was on its way has arrived. Of those who have paused and whose peer has
    /// reset the connection, nobody is left after the time of a stall.
    pub fn nobody_hides_an_end(&self) {
        let now = self.clock.now();
        let stall = self.limits().write_stall;
        for (conn, life) in &self.lives {
            let hides = life.opened && life.paused && life.asked.is_none() && !life.shut;
            let Some(end) = life.end.filter(|_| hides) else {
                continue;
            };
            let reset = self.ledger.borrow_mut().other(end).reset_at;
            let most = stall + ARRIVES;
            let late = reset.is_some_and(|at| now > at + most + self.late_since(at));
            assert!(!late, "{conn}: paused, and its peer is gone for long");
        }
    }

    /// For how long callbacks have kept the loops since then.
    fn late_since(&self, since: Instant) -> Duration {
        let ledger = self.ledger.borrow();
        let after = ledger.slow.iter().filter(|(at, _)| *at > since);
        after.map(|(_, took)| *took).sum()
    }

    /// What a close may take in all has a bound that nothing moves, not even a peer that reads and
    /// sends on: its flush, then its lingering.
    pub fn no_close_is_endless(&self) {
        let now = self.clock.now();
        let limits = self.limits();
        // A loop that is late now and then sees it later.
        let most = limits.close_time + limits.linger_time + ARRIVES;
        for (conn, life) in &self.lives {
            let closes = matches!(life.asked, Some(Asked::Close | Asked::Because));
            // One with a source takes as long as that.
            let closes = closes && life.sources.is_empty();
            let since = life.asked_at.filter(|_| closes && life.opened);
            let endless = since.is_some_and(|since| now > since + most + self.late_since(since));
            assert!(!endless, "{conn}: a close takes longer than it may in all");
        }
    }

    /// Nothing of the peer's is on its way to a socket that is closed: then it gets everything.
    pub fn owes(&mut self, life: &Life, reason: &Reason) {
        let well = matches!(reason, Reason::Local) && life.asked == Some(Asked::Close);
        let Some(end) = life.end.filter(|_| well && !self.plan.gives_way) else {
            return;
        };
        let owed = self
            .traffic(life)
            .is_some_and(|(_, traffic)| traffic.unread == 0);
        self.ledger.borrow_mut().half(end).owed = owed;
    }
}

/// The time was over, and only then a write was refused.
#[track_caller]
fn refused(conn: ConnId, now: Instant, due: Instant, traffic: &Traffic) {
    assert!(now >= due, "{conn}: given up too early after a byte");
    let asked = traffic.write_tried.is_some_and(|tried| tried >= due);
    assert!(asked, "{conn}: given up, and nobody tried to write");
}
