//! Questions. They change nothing, and answer inside `on_close` too.

use super::Context;
use crate::addr::Addr;
#[cfg(unix)]
use crate::addr::Credentials;
use crate::conn::{Conn, Flags, Origin, Phase};
use crate::id::{ConnId, ListenerId, Tag, TimerId};
use crate::stats::Stats;
use std::time::{Instant, SystemTime};

impl Context {
    /// The time of this turn, from the monotonic clock; virtual in a simulation. It is read when it
    /// is first asked for, and then stands still until the next turn begins; outside callbacks, for
    /// as long as one call of [`Reactor::context`](crate::Reactor::context) is used.
    pub fn now(&self) -> Instant {
        self.schedule.now()
    }

    /// The date and the time of day, for logs and for what is sent. It is read at each call. It may
    /// jump, in both directions, when the system's clock is set: nothing in the loop goes by it. In
    /// a simulation it is virtual, and every world begins with the year 2000, in UTC.
    pub fn wall_clock(&self) -> SystemTime {
        self.schedule.wall_clock()
    }

    /// Ticks of a periodic timer that were missed before its last `on_timer`, because the loop was
    /// late for longer than a period; 0 for a timer that is not periodic, or is not set.
    pub fn missed_ticks(&self, timer: TimerId) -> u64 {
        self.schedule.missed_ticks(timer.0)
    }

    /// Bytes queued and not yet taken by the system; 0 for a stale id.
    ///
    /// If you pause by this number, begin a wait with [`await_drain`](Context::await_drain),
    /// because `on_drain` comes only at the end of a wait.
    #[doc(alias("uv_stream_get_write_queue_size", "get_write_buffer_size"))]
    pub fn pending(&self, conn: ConnId) -> usize {
        let lent = self.lending.lent_to(conn.0.slot);
        self.conns
            .get(conn.0)
            .map_or(0, |conn| conn.pending() + lent)
    }

    /// Is a wait on, which an `on_drain` will end? A [`Sent::Wait`](crate::Sent::Wait) has begun
    /// it, or [`await_drain`](Context::await_drain).
    pub fn is_waiting(&self, conn: ConnId) -> bool {
        self.conns
            .get(conn.0)
            .is_some_and(|conn| conn.is_live() && conn.has(Flags::WAITING))
    }

    /// Is a connection open: connected, and neither closing nor closed?
    pub fn is_open(&self, conn: ConnId) -> bool {
        self.conns
            .get(conn.0)
            .is_some_and(|conn| conn.is_live() && conn.phase() == Phase::Open)
    }

    /// May `on_data` still come: neither paused, nor closing, nor at its end?
    pub fn wants_input(&self, conn: ConnId) -> bool {
        self.conns
            .get(conn.0)
            .is_some_and(|conn| conn.is_live() && !conn.has(Flags::PAUSED) && !conn.has(Flags::EOF))
    }

    /// Is a frame wanted of it: is it neither closing nor paused? An end makes no difference, for
    /// the last frame comes with it. Lets so many bytes wait for the rest of one.
    #[inline]
    pub(crate) fn wants_frames(&mut self, conn: ConnId, max_input: usize) -> bool {
        let Some(conn) = self.conns.get_mut(conn.0).filter(|conn| conn.is_live()) else {
            return false;
        };
        conn.raise_input_limit(max_input);
        !conn.has(Flags::PAUSED)
    }

    /// Are reads paused, for whatever reason? `false` for a stale id, and after a close.
    pub fn is_paused(&self, conn: ConnId) -> bool {
        self.conns
            .get(conn.0)
            .is_some_and(|conn| conn.is_live() && conn.has(Flags::PAUSED))
    }

    /// Which part of the application it belongs to; `None` for a stale id.
    pub fn tag(&self, conn: ConnId) -> Option<Tag> {
        self.conns.get(conn.0).map(Conn::tag)
    }

    /// Was a connection accepted, and by whom, or made by `connect`? `None` for a stale id.
    pub fn origin(&self, conn: ConnId) -> Option<Origin> {
        self.conns.get(conn.0).map(Conn::origin)
    }

    /// The address of the other end (getpeername(2)). For a connect to an address it is that
    /// address; for a connect to a name, the address that answered. `None` for a stale id, and
    /// until an address has answered.
    #[doc(alias = "getpeername")]
    pub fn peer_addr(&self, conn: ConnId) -> Option<&Addr> {
        let peer = self.conns.get(conn.0).map(Conn::peer);
        peer.filter(|peer| **peer != Addr::NONE)
    }

    /// The address of this end (getsockname(2)). `None` for a stale id, for a connect that failed
    /// at once, and for a connection that lingered after its close and had to give up its
    /// descriptor.
    #[doc(alias = "getsockname")]
    pub fn local_addr(&self, conn: ConnId) -> Option<Addr> {
        self.conns.get(conn.0)?.local_addr()
    }

    /// The user, group and process at the other end of a Unix socket, as they were at the connect.
    /// `None` for other kinds of sockets, for a stale id, in a simulation, and on systems that do
    /// not say (all but Linux).
    #[cfg(unix)]
    pub fn peer_credentials(&self, conn: ConnId) -> Option<Credentials> {
        self.conns.get(conn.0)?.peer_credentials()
    }

    /// Where a listener listens, with the port that the system chose for port 0; of a name with
    /// several addresses, at the first. `None` for a stale id.
    #[doc(alias = "getsockname")]
    pub fn listener_addr(&self, listener: ListenerId) -> Option<&Addr> {
        self.listener_addrs(listener).next()
    }

    pub(crate) fn listener_tag(&self, listener: ListenerId) -> Option<Tag> {
        self.listeners.get(listener.0).map(|listener| listener.tag)
    }

    /// All addresses that a listener listens on: several, if it was given a name that has several.
    /// None for a stale id.
    pub fn listener_addrs(&self, listener: ListenerId) -> impl Iterator<Item = &Addr> {
        let all = self.listeners.get(listener.0).into_iter();
        all.flat_map(|first| {
            let others = first.others.iter().map(|key| self.listeners.get(*key));
            std::iter::once(&first.local).chain(others.flatten().map(|other| &other.local))
        })
    }

    /// All connections that are not closing, connecting ones too, by slot.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> {
        self.conns
            .iter()
            .filter(|(_, conn)| conn.is_live() && !conn.is_unseen())
            .map(|(key, _)| ConnId(key))
    }

    /// What the reactor has done so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}
