//! One connection: its state, and how it moves on in life.
//!
//! Nothing here calls a handler or knows another connection. Readiness is state: an edge sets a
//! flag, and only a call that would block (or a short one, where that is proof) clears it.

mod deadlines;
pub(crate) mod dial;
mod flags;
#[cfg(feature = "tls")]
mod layered;
mod output;
mod rare;
mod reading;
mod sources;
mod writing;

pub(crate) use deadlines::Expired;
pub(crate) use flags::Flags;
pub(crate) use output::Admission;
use rare::Rare;
pub(crate) use reading::Read;
pub(crate) use sources::{SOURCE_WEIGHT, Sourced};
pub(crate) use writing::Written;

use crate::addr::Addr;
#[cfg(unix)]
use crate::addr::Credentials;
use crate::backend::Stream;
use crate::buffer::outbox::Outbox;
use crate::buffer::receive::Leftover;
use crate::buffer::write_queue::WriteQueue;
use crate::clock::{NEVER, Tick, after, nanos};
use crate::closed::{Closed, ConnectError, ConnectStep, Reason};
use crate::config::Limits;
use crate::id::{Key, ListenerId, Tag};
use crate::transport::Transport;
use std::io;
use std::sync::Arc;

/// Where a connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A listener accepted the connection.
    Accepted(ListenerId),
    /// `connect` made the connection.
    Connected,
    /// `adopt` took the connection over: it was made elsewhere.
    #[cfg(unix)]
    Adopted,
}

/// Where a connection is in its life; it only ever moves down this list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    /// The handshake is not through.
    Connecting,
    /// The socket is connected, and its transport is not.
    #[cfg_attr(
        not(feature = "tls"),
        allow(dead_code, reason = "a plain stream has no handshake")
    )]
    Handshaking,
    Open,
    /// `close` was asked for: what is pending is flushed, and input is discarded.
    Closing,
    /// Flushed and shut; input is discarded until the peer ends, so that no RST overtakes what was
    /// sent.
    Lingering,
    /// Over; `on_close` is all that comes.
    Dead,
}

/// The handshake that a connection has begun with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// There was none, or it is through.
    Over,
    #[cfg(feature = "tls")]
    Handshake,
    /// One that has a place among those of peers.
    #[cfg(feature = "tls")]
    HandshakeInPlace,
}

/// How far it has come with the end of its input.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// There may be more.
    Far,
    /// The peer sends no more. What is left of the input is to be offered once more.
    Seen,
    /// That was done; the end is to be told.
    LastOffered,
}

pub(crate) struct Conn {
    /// `None`: the connect failed at once, or the descriptor was wanted by another.
    transport: Option<Transport>,
    peer: Addr,
    origin: Origin,
    tag: Tag,
    limits: Arc<Limits>,
    phase: Phase,
    flags: Flags,
    queue: Option<Box<WriteQueue>>,
    /// Which bytes of the turn's block of broadcasts are pending here; none beside a queue.
    broadcast: (u32, u32),
    /// Input that the handler left, to be offered again.
    left: Option<Leftover>,
    reason: Option<Reason>,
    /// When a byte last moved.
    progress: Tick,
    /// The idle time, in ticks; `NEVER`: none.
    idle: Tick,
    /// The earliest of those that `set_deadline` set; after a close, when its flush or its
    /// lingering has taken long enough in all.
    deadline: Tick,
    /// The key of the deadline above.
    deadline_key: u32,
    /// The deadline of the phase: connect, write stall, close flush or linger.
    limit_at: Tick,
    /// The one timer of all these deadlines.
    timer: Option<Key>,
    /// The reasons for which the handler has paused reads, a bit each; see `Flags::PAUSED`.
    holds: u8,
    /// The system was short of memory at a read or a write, and a timer is set to try again.
    is_short: bool,
    /// The system has reported an error of the socket, and nobody has asked for it yet.
    is_faulted: bool,
    beginning: Beginning,
    end: End,
    /// What few connections have.
    rare: Option<Box<Rare>>,
}

/// Who it is, and what it is allowed.
impl Conn {
    /// One that a listener has accepted: it is open.
    pub(crate) fn accepted(by: ListenerId, peer: Addr, tag: Tag, limits: Arc<Limits>) -> Conn {
        let mut conn = Conn::new(Origin::Accepted(by), peer, tag, limits, Phase::Open);
        conn.set(Flags::WRITABLE);
        conn.set(Flags::OPEN);
        conn
    }

    /// One that connects, until this time at most.
    pub(crate) fn connecting(peer: Addr, tag: Tag, limits: Arc<Limits>, until: Tick) -> Conn {
        let mut conn = Conn::new(Origin::Connected, peer, tag, limits, Phase::Connecting);
        conn.limit_at = until;
        conn
    }

    /// One that was made elsewhere: it comes through in the next turn, as a connect does.
    #[cfg(unix)]
    pub(crate) fn adopted(peer: Addr, tag: Tag, limits: Arc<Limits>, until: Tick) -> Conn {
        let mut conn = Conn::new(Origin::Adopted, peer, tag, limits, Phase::Connecting);
        conn.limit_at = until;
        conn
    }

    fn new(origin: Origin, peer: Addr, tag: Tag, limits: Arc<Limits>, phase: Phase) -> Conn {
        Conn {
            transport: None,
            peer,
            origin,
            tag,
            phase,
            flags: Flags::default(),
            queue: None,
            broadcast: (0, 0),
            left: None,
            reason: None,
            progress: 0,
            idle: limits.idle.map_or(NEVER, nanos),
            deadline: NEVER,
            deadline_key: 0,
            limit_at: NEVER,
            timer: None,
            holds: 0,
            is_short: false,
            is_faulted: false,
            beginning: Beginning::Over,
            end: End::Far,
            rare: None,
            limits,
        }
    }

    pub(crate) fn peer(&self) -> &Addr {
        &self.peer
    }

    /// The address that it has reached, of those that its name has.
    pub(crate) fn set_peer(&mut self, peer: Addr) {
        self.peer = peer;
    }

    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    #[inline]
    pub(crate) fn tag(&self) -> Tag {
        self.tag
    }

    #[inline]
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn local_addr(&self) -> Option<Addr> {
        self.transport.as_ref()?.local_addr().ok()
    }

    #[cfg(unix)]
    pub(crate) fn peer_credentials(&self) -> Option<Credentials> {
        self.transport.as_ref()?.peer_credentials()
    }
}

/// The flags of a connection.
impl Conn {
    #[inline]
    pub(crate) fn has(&self, flag: Flags) -> bool {
        self.flags.0 & flag.0 != 0
    }

    #[inline]
    pub(crate) fn has_any(&self, one: Flags, other: Flags) -> bool {
        self.flags.0 & (one.0 | other.0) != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, flag: Flags) {
        self.flags.0 |= flag.0;
    }

    #[inline]
    pub(crate) fn clear(&mut self, flag: Flags) {
        self.flags.0 &= !flag.0;
    }

    /// Sets the flag, and says whether it was clear.
    #[inline]
    pub(crate) fn raise(&mut self, flag: Flags) -> bool {
        let was_clear = !self.has(flag);
        self.set(flag);
        was_clear
    }

    /// Clears the flag, and says whether it was set.
    #[inline]
    pub(crate) fn take(&mut self, flag: Flags) -> bool {
        let was_set = self.has(flag);
        self.clear(flag);
        was_set
    }

    /// Are these flags set and those not?
    #[inline]
    fn is(&self, set: &[Flags], clear: &[Flags]) -> bool {
        let set = set.iter().fold(0, |bits, flag| bits | flag.0);
        let clear = clear.iter().fold(0, |bits, flag| bits | flag.0);
        self.flags.0 & (set | clear) == set
    }
}

/// The life of a connection: each of these moves it on, and none back.
impl Conn {
    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// May callbacks still come, and do commands still mean something?
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.phase <= Phase::Open && !self.has(Flags::CLOSE_ASKED)
    }

    /// Was it accepted, and nobody told of it, for its handshake is not through?
    pub(crate) fn is_unseen(&self) -> bool {
        self.beginning != Beginning::Over && self.origin != Origin::Connected
    }

    /// Gives it its stream.
    pub(crate) fn attach(&mut self, stream: Stream) {
        if !stream.short_is_proof() {
            self.set(Flags::READ_ON);
        }
        self.transport = Some(Transport::Plain(stream));
    }

    /// The connect is through.
    pub(crate) fn open(&mut self, now: Tick) {
        self.enter(Phase::Open);
        self.set(Flags::OPEN);
        self.set(Flags::WRITABLE);
        self.progress = now;
        self.restart_limit(now);
    }

    /// `close` was asked for while it connects, and bytes are pending: it goes on, and closes then.
    pub(crate) fn ask_to_close(&mut self) {
        self.forget_deadlines();
        self.set(Flags::CLOSE_ASKED);
    }

    /// Was its connect refused before anything was begun?
    pub(crate) fn was_refused(&self) -> bool {
        let refused = |failed: &ConnectError| failed.step == ConnectStep::Begin;
        matches!(&self.reason, Some(Reason::ConnectFailed(failed)) if refused(failed))
    }

    /// From open to closing. Its times begin when a flush finds that it cannot write all at once.
    pub(crate) fn begin_closing(&mut self) {
        self.enter(Phase::Closing);
        // An end that was read and not told is not waited for.
        if self.is_at_end() {
            self.set(Flags::EOF);
        }
        self.left = None;
        self.forget_holds();
        self.limit_at = NEVER;
        self.forget_deadlines();
    }

    /// From closing to lingering: everything is out.
    pub(crate) fn begin_lingering(&mut self, now: Tick) {
        self.shut();
        self.enter(Phase::Lingering);
        self.restart_limit(now);
        self.deadline = after(now, self.limits.linger_time);
    }

    /// The connection is over, with this reason unless it has a better one. Bytes that are still
    /// pending are lost, and what a source would have given; the peer sees a reset then, and does
    /// not take a part for the whole.
    pub(crate) fn die(&mut self, reason: Reason, outbox: &mut Outbox) {
        self.blame(reason);
        self.enter(Phase::Dead);
        self.left = None;
        self.drop_output(outbox);
        let shows_loss = self.transport.as_ref().is_some_and(Transport::shows_loss);
        if (self.lost() > 0 || self.is_cut_short()) && !shows_loss {
            self.reset_on_drop();
        }
    }

    fn enter(&mut self, phase: Phase) {
        debug_assert!(self.phase < phase, "from {:?} to {phase:?}", self.phase);
        self.phase = phase;
        self.clear(Flags::OPEN);
    }

    /// The first error wins; what is no error gives way to one.
    #[inline]
    pub(crate) fn blame(&mut self, reason: Reason) {
        match &self.reason {
            None => self.reason = Some(reason),
            // The end of most connections. It has nothing in it to drop, which the compiler does
            // not see: it would cost a call.
            Some(_) if matches!(reason, Reason::Local | Reason::Eof) => std::mem::forget(reason),
            Some(_) => self.blame_again(reason),
        }
    }

    #[cold]
    fn blame_again(&mut self, reason: Reason) {
        if !reason.is_clean() && self.reason.as_ref().is_none_or(Reason::is_clean) {
            self.reason = Some(reason);
        }
    }

    /// Why it is over, or about to be.
    #[cfg(feature = "tls")]
    pub(crate) fn reason(&self) -> Option<&Reason> {
        self.reason.as_ref()
    }

    /// What its `on_close` is told. It is over.
    pub(crate) fn closed(&mut self) -> Closed {
        Closed {
            reason: match self.reason.take() {
                Some(reason) => reason,
                None => Reason::Local,
            },
            undelivered: self.lost(),
        }
    }
}

/// The socket of a connection, apart from reading and writing.
impl Conn {
    /// Sends the FIN, once.
    pub(crate) fn shut(&mut self) {
        if self.raise(Flags::SHUT)
            && let Some(transport) = &mut self.transport
            && transport.shutdown_write().is_err()
        {
            // It is gone already, of which a read tells.
            self.set(Flags::READABLE);
        }
    }

    /// The coming end is a RST and not a FIN.
    pub(crate) fn reset_on_drop(&mut self) {
        if let Some(transport) = &mut self.transport {
            transport.reset_on_drop();
        }
    }

    /// Is its connect through? `false`: not yet.
    pub(crate) fn is_connected(&mut self) -> io::Result<bool> {
        self.transport
            .as_mut()
            .map_or(Ok(false), Transport::is_connected)
    }

    /// Takes the error that the socket has, if it has one: asking consumes it.
    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        self.is_faulted = false;
        self.transport.as_mut()?.take_error()
    }

    /// Takes its stream away. `None`: there is none, or more than bytes lies between.
    #[cfg(unix)]
    pub(crate) fn take_stream(&mut self) -> Option<Stream> {
        match self.transport.take()? {
            Transport::Plain(stream) => Some(stream),
            #[cfg(feature = "tls")]
            Transport::Tls(_) => None,
        }
    }

    /// Gives the descriptor back before the slot.
    pub(crate) fn release_stream(&mut self) {
        self.transport = None;
    }
}

// mio's poll(2) selector keeps state of its own beside each socket, and so it does on Windows.
#[cfg(all(test, unix, not(mio_unsupported_force_poll_poll)))]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_costs_less_than_its_budget() {
        // 192 bytes per idle connection, the slab's bookkeeping and the generation included.
        assert!(size_of::<Conn>() <= 184, "{}", size_of::<Conn>());
    }
}
