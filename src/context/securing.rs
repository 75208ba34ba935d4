//! TLS: `start_tls`, what a session has come to, and handshakes: how many, how they go on and end.

use super::accepting::Newcomer;
use super::reading::Next;
use super::{Context, Handshakes};
use crate::buffer::receive::{Leftover, Receive};
use crate::closed::{Deadline, Reason};
use crate::conn::{Conn, Flags, Phase, Read};
use crate::id::ConnId;
use crate::options::StartTls;
use crate::transport::{Sealed, TlsInfo};
use std::io;
use std::net::IpAddr;

impl Handshakes {
    /// May a peer with this address begin one?
    pub(super) fn has_room(&self, peer: Option<IpAddr>, most: usize, from_one: usize) -> bool {
        let here = peer.and_then(|peer| self.from.get(&peer));
        self.under_way < most && here.is_none_or(|here| *here < from_one)
    }

    fn begin(&mut self, peer: Option<IpAddr>) {
        self.under_way += 1;
        if let Some(peer) = peer {
            *self.from.entry(peer).or_insert(0) += 1;
        }
    }

    fn end(&mut self, peer: Option<IpAddr>) {
        self.under_way -= 1;
        if let Some(peer) = peer
            && let Some(here) = self.from.get_mut(&peer)
        {
            *here -= 1;
            if *here == 0 {
                self.from.remove(&peer);
            }
        }
    }
}

/// The address that handshakes of one peer are counted by: a Unix socket has none.
fn address(conn: &Conn) -> Option<IpAddr> {
    conn.peer().ip().map(|addr| addr.ip())
}

impl Context {
    /// Turns to TLS in mid-stream, as STARTTLS of SMTP (RFC 3207) and its kin do. What was sent
    /// before goes out in plain, and what is sent from now on is sealed, when the handshake is
    /// through; then comes `on_secure`. If it fails, `on_close` comes, with reason
    /// [`Tls`](Reason::Tls).
    ///
    /// Input that was not taken yet belongs to the session: in a callback of this connection the
    /// rest of it looks empty from now on. So a command that an attacker has put behind the
    /// STARTTLS, in plain, is a broken record, and never a command.
    ///
    /// # Errors
    ///
    /// No such connection, or one that is not open, or that sends or receives no more; one that
    /// speaks TLS already, or has a source that is not at its end; a configuration that makes no
    /// sense. Nothing has changed then.
    #[doc(alias("starttls", "SSL", "upgrade"))]
    pub fn start_tls(&mut self, id: ConnId, side: StartTls) -> io::Result<()> {
        let slot = id.0.slot;
        let lent = self.lending.lent_to(slot);
        let now = self.schedule.fresh();
        let conn = self.conns.get_mut(id.0);
        let Some(conn) = conn.filter(|conn| conn.is_live() && conn.phase() == Phase::Open) else {
            let text = "no such connection, or it is not open";
            return Err(io::Error::new(io::ErrorKind::NotConnected, text));
        };
        if conn.has_any(Flags::SHUT_ASKED, Flags::EOF) || !conn.takes_output() {
            let text = "the connection has already ended in one direction";
            return Err(io::Error::new(io::ErrorKind::NotConnected, text));
        }
        if conn.has_source() {
            let text = "a source has not ended yet: TLS would begin in the middle of its output";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        conn.secure(side, lent)?;
        conn.bound_handshake(now);
        // What was lent goes out before the session, and what is left of the input is its own.
        self.lending.must_queue();
        self.lending.hide(slot, true);
        self.lists.want_flush(slot, conn);
        self.lists.want_read(slot, conn);
        self.schedule.arm(slot, conn);
        Ok(())
    }

    /// What the TLS session of a connection has come to. `None`: it has none, or is no more.
    pub fn tls(&self, conn: ConnId) -> Option<TlsInfo<'_>> {
        self.conns.get(conn.0)?.tls()
    }

    /// Is there room for the handshake of one who has connected? If not, the peer is refused.
    pub(crate) fn may_begin_handshake(&mut self, newcomer: &Newcomer) -> bool {
        // One of several workers may be handed a peer late.
        if newcomer.is_secure() && self.finishing.is_some() {
            return false;
        }
        let (most, from_one) = (
            self.config.max_handshakes,
            self.config.max_handshakes_from_one,
        );
        let peer = newcomer.peer.ip().map(|addr| addr.ip());
        let may = !newcomer.is_secure() || self.handshakes.has_room(peer, most, from_one);
        if !may {
            self.stats.tls.refused += 1;
            // Anybody who can connect causes it: it is told at the first, second, fourth of them.
            if self.stats.tls.refused.is_power_of_two() {
                let (listener, refused) = (newcomer.listener, self.stats.tls.refused);
                log::warn!(
                    target: "sockeye",
                    "{listener}: too many handshakes in progress ({refused} refused so far)"
                );
            }
        }
        may
    }

    /// The socket is there; its handshake begins.
    pub(super) fn begin_handshake(&mut self, slot: u32) {
        let now = self.schedule.fresh();
        let conn = self.conns.listed_mut(slot);
        conn.begin_handshake(now);
        // Those only whom anybody can bring about.
        if conn.is_unseen() {
            conn.take_place();
            self.handshakes.begin(address(conn));
        }
        self.lists.want_flush(slot, conn);
        self.lists.want_read(slot, conn);
        self.schedule.arm(slot, conn);
    }

    /// A step of a handshake. Answers what is to be told: that the connection is open, or, after
    /// `start_tls`, secure.
    pub(super) fn shake_hands(
        &mut self,
        slot: u32,
        receive: &mut Receive,
    ) -> Option<(Next, Option<Leftover>)> {
        // Each step may cost a signature: those who are connected do not wait for all of them.
        let conn = self.conns.listed_mut(slot);
        if self.handshakes.steps >= self.config.handshakes_per_turn {
            self.stats.budget_hits.handshakes += u64::from(!self.handshakes.is_full);
            self.handshakes.is_full = true;
            self.lists.want_read(slot, conn);
            return None;
        }
        self.handshakes.steps += 1;
        let step = conn.shake_hands(receive);
        self.lists.want_answer(slot, conn);
        match step {
            Read::Data(_) => return self.secured(slot).map(|next| (next, None)),
            Read::Eof => self.break_off(slot, Broken::Left),
            read => self.no_input(slot, read),
        }
        None
    }

    /// A handshake is through.
    fn secured(&mut self, slot: u32) -> Option<Next> {
        let conn = self.conns.listed_mut(slot);
        let was_unsecured = conn.is_unsecured();
        if conn.give_place_up() {
            self.handshakes.end(address(conn));
        }
        conn.be_secured();
        self.stats.tls.secured += 1;
        self.stats.tls.resumed += u64::from(conn.tls().is_some_and(|tls| tls.is_resumed()));
        // What was sent meanwhile goes out, and a shutdown that was asked for.
        self.lists.want_flush(slot, conn);
        if !was_unsecured {
            self.schedule.arm(slot, conn);
            return (conn.phase() == Phase::Open).then_some(Next::Secure);
        }
        conn.open(self.schedule.fresh());
        if conn.has(Flags::CLOSE_ASKED) {
            self.begin_closing(slot);
            return None;
        }
        self.stats.opened += 1;
        log::debug!(target: "sockeye", "{} is open: TLS handshake done", conn.peer());
        // The timer of the handshake would have each turn read the clock, until it fires.
        if let Some(timer) = conn.take_timer() {
            self.schedule.cancel(timer);
        }
        self.schedule.arm(slot, conn);
        // `on_accept` itself may have begun to finish.
        let (key, _) = self.conns.listed_key(slot);
        if let Some(finishing) = &mut self.finishing {
            finishing.to_tell.push_back(ConnId(key));
        }
        Some(Next::Open)
    }

    /// No more can come of a session. Its last word, an alert, goes out with what it holds.
    #[cold]
    pub(super) fn break_off(&mut self, slot: u32, broken: Broken) {
        let conn = self.conns.listed_mut(slot);
        let is_new = conn.is_handshaking() || conn.is_unsecured();
        // It may linger for long with its alert, and no handshake is under way any more.
        if conn.give_place_up() {
            self.handshakes.end(address(conn));
        }
        match broken {
            // In a handshake nothing was said that could be cut off.
            Broken::Left if is_new => {
                let text = "the peer has left in the handshake";
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, text);
                return self.end(slot, Reason::Tls(error));
            }
            Broken::Left => {
                conn.blame(Reason::Truncated);
                conn.set(Flags::EOF);
            }
            Broken::Rule(error) => {
                conn.blame(Reason::Tls(error));
                // What is not sealed yet never will be.
                conn.drop_queue(&mut self.outbox);
            }
        }
        match conn.phase() {
            Phase::Handshaking | Phase::Open => self.begin_closing(slot),
            Phase::Closing => self.lists.want_flush(slot, conn),
            Phase::Connecting | Phase::Lingering | Phase::Dead => {}
        }
    }

    /// A write through a session: what follows if anything has moved. Answers whether all is out
    /// and nothing waits for that, as almost always.
    #[inline]
    pub(super) fn note_sealed(&mut self, slot: u32, sealed: &Sealed) -> bool {
        if !sealed.moved {
            return false;
        }
        let conn = self.conns.listed_mut(slot);
        if conn.has_idle() {
            conn.note_progress(self.schedule.fresh());
        }
        self.stats.wrote(sealed.out);
        let is_done = conn.is_all_out() && conn.is_secure_at_ease();
        match is_done {
            true => {
                conn.lift_limit();
                conn.release_queue(&mut self.outbox);
            }
            false => conn.restart_limit(self.schedule.fresh()),
        }
        is_done
    }

    /// A graceful stop has begun: nobody has heard of those who are in their handshake.
    pub(super) fn leave_handshakes(&mut self) {
        let unseen = self.conns.iter().filter(|(_, conn)| conn.is_unseen());
        let unseen: Vec<u32> = unseen.map(|(key, _)| key.slot).collect();
        for slot in unseen {
            self.end(slot, Reason::Local);
        }
    }

    /// A connection is over whose handshake was not through.
    #[cold]
    pub(super) fn handshake_failed(&mut self, slot: u32) {
        let conn = self.conns.listed_mut(slot);
        if conn.give_place_up() {
            self.handshakes.end(address(conn));
        }
        let stats = &mut self.stats.tls;
        let counter = match conn.reason() {
            Some(Reason::Tls(error)) if error.kind() == io::ErrorKind::InvalidData => {
                &mut stats.failed
            }
            Some(Reason::TimedOut(Deadline::Handshake)) => &mut stats.timed_out,
            _ => &mut stats.left,
        };
        *counter += 1;
    }
}

/// Why no more can come of a session.
pub(super) enum Broken {
    /// The stream has ended, and the session has not.
    Left,
    Rule(io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_counted_in_all_and_by_the_address_and_forgotten() {
        let mut handshakes = Handshakes::default();
        let [one, other] = [1, 2].map(|last| Some(IpAddr::from([127, 0, 0, last])));
        let room = |handshakes: &Handshakes, peer| handshakes.has_room(peer, 4, 2);
        for peer in [one, one, other] {
            assert!(room(&handshakes, peer));
            handshakes.begin(peer);
        }
        assert!(!room(&handshakes, one) && room(&handshakes, other));
        // A Unix socket has no address.
        handshakes.begin(None);
        assert!(!room(&handshakes, other) && !room(&handshakes, None));
        handshakes.end(None);
        handshakes.end(one);
        assert!(room(&handshakes, one));
        handshakes.begin(one);
        assert!(!room(&handshakes, one));
        for peer in [one, one, other] {
            handshakes.end(peer);
        }
        assert_eq!((handshakes.under_way, handshakes.from.len()), (0, 0));
    }
}
