//! Handing over: sockets that come from elsewhere, and connections that are given away.

use super::{Context, full, invalid};
use crate::backend::Acceptor;
use crate::buffer::receive::Receive;
use crate::closed::{Reason, Released};
use crate::conn::{Conn, Flags, Phase};
use crate::id::{ConnId, ListenerId};
use crate::listener::Listener;
use crate::options::Adopt;
use std::io;

impl Context {
    /// Takes over a connected stream that was made elsewhere: one of std's, one that another
    /// process has handed over, one end of a socketpair(2). From then on it is like any other
    /// connection: `on_open` comes from the next turn on, with
    /// [`Origin::Adopted`](crate::Origin::Adopted), and what arrived before is read. The stream is
    /// made non-blocking, which affects every process that shares the open socket (fcntl(2)), and
    /// close-on-exec; nothing else about it is changed.
    ///
    /// # Errors
    ///
    /// A descriptor that is not a stream socket, or that listens, or that is not connected is
    /// refused with a message that says so, and is not changed. Invalid limits; more connections
    /// than [`Config::max_connections`](crate::Config::max_connections); after `finish`. In all
    /// these cases the stream is closed: `try_clone` it first if you want to keep it.
    #[doc(alias("from_raw_fd", "uv_tcp_open"))]
    pub fn adopt(&mut self, adopt: Adopt) -> io::Result<ConnId> {
        let limits = self.limits.or(&adopt.limits, adopt.idle);
        let limits = limits.map_err(invalid)?;
        if self.finishing.is_some() {
            return Err(io::Error::other("the reactor is finishing"));
        }
        let slot = self.conns.next_key().slot;
        // Asked before anybody who lingers gives way to it.
        self.backend.check_stream(&adopt.socket)?;
        if !self.has_room(true) {
            return Err(full());
        }
        let (stream, peer) = self.backend.adopt(adopt.socket, slot)?;
        let tag = adopt.tag.unwrap_or(self.current_tag);
        let until = self.schedule.after(limits.connect_timeout);
        let mut conn = Conn::adopted(peer, tag, limits, until);
        conn.attach(stream);
        // It is told from the loop, and not from in here.
        conn.set(Flags::WRITABLE);
        let id = ConnId(self.conns.insert(conn));
        log::debug!(target: "sockeye", "{id} is adopted");
        let conn = self.conns.listed_mut(slot);
        self.lists.want_read(slot, conn);
        self.schedule.arm(slot, conn);
        Ok(id)
    }

    /// Takes over a listener that was made elsewhere: one of std's, or one that a service manager
    /// or an older process has handed over. Peers that wait in its backlog are accepted from the
    /// next turn on. The file of a Unix path is not removed when the listener is closed. The
    /// listener is made non-blocking and close-on-exec, as in [`adopt`](Self::adopt).
    ///
    /// # Errors
    ///
    /// What does not listen for streams is refused with a text that says so, and closed; invalid
    /// limits; after `finish`.
    #[doc(alias("LISTEN_FDS", "socket activation"))]
    pub fn adopt_listener(&mut self, adopt: Adopt) -> io::Result<ListenerId> {
        let limits = self.limits.or(&adopt.limits, adopt.idle);
        let limits = limits.map_err(invalid)?;
        if self.finishing.is_some() {
            return Err(io::Error::other("the reactor is finishing"));
        }
        let key = self.listeners.next_key();
        let acceptor: Acceptor = self.backend.adopt_listener(adopt.socket, key.slot)?;
        let local = acceptor.local_addr()?;
        let id = ListenerId(key);
        log::debug!(target: "sockeye", "{id} is adopted: {local}");
        let tag = adopt.tag.unwrap_or(self.current_tag);
        self.listeners
            .insert(Listener::new(id, (acceptor, local), tag, limits));
        Ok(id)
    }

    /// Gives a connection away: at the end of this turn it leaves the loop, and `on_close` comes
    /// with [`Reason::Released`], which has the socket, the input that no callback has taken, and
    /// the output that the system has not taken. Until then nothing more is read from it, and no
    /// other callback comes for it; in a callback of this connection the rest of its input looks
    /// empty, and is handed over with the rest.
    ///
    /// # Errors
    ///
    /// A connection that is not open (stale, connecting, closing) has nothing to give; one that
    /// speaks TLS, or has output to come from a source, is more than its socket and bytes; one in a
    /// simulation has no socket. The text says which; nothing is changed then. If it fails before
    /// the turn ends, or is aborted, `on_close` has that reason, and the socket is lost.
    #[doc(alias("detach", "into_raw_fd"))]
    pub fn release(&mut self, id: ConnId) -> io::Result<()> {
        let refuse = |kind, text: &str| Err(io::Error::new(kind, text));
        let Some(conn) = self.conns.get_mut(id.0).filter(|conn| conn.is_live()) else {
            return refuse(io::ErrorKind::NotFound, "no such connection");
        };
        if conn.phase() != Phase::Open {
            return refuse(
                io::ErrorKind::NotConnected,
                "the connection is not open yet",
            );
        }
        if conn.has(Flags::LAYERED) {
            let text = "a TLS connection cannot be released: its session is not in the socket";
            return refuse(io::ErrorKind::Unsupported, text);
        }
        if conn.has_source() {
            let text = "a connection with a source cannot be released";
            return refuse(io::ErrorKind::Unsupported, text);
        }
        if !self.backend.has_descriptors() {
            let text = "a simulated connection has no descriptor";
            return refuse(io::ErrorKind::Unsupported, text);
        }
        conn.begin_releasing();
        self.lending.must_queue();
        self.lending.hide(id.0.slot, true);
        self.lists.want_release(id);
        Ok(())
    }

    /// Gives those away whose release was asked for. All callbacks that had input of theirs have
    /// returned: what they left is with the connection, or still in the receive buffer.
    pub(super) fn hand_out(&mut self, receive: &mut Receive) {
        for id in self.lists.take_releases() {
            let slot = id.0.slot;
            // It may have ended meanwhile, by an error.
            let conn = self.conns.get_mut(id.0);
            let Some(conn) = conn.filter(|conn| conn.phase() == Phase::Open) else {
                continue;
            };
            if receive.owner() == Some(id.0) {
                conn.put_left(receive.make_way(false));
            }
            let left = conn.take_left();
            let input = left.map(|left| left.into_bytes()).unwrap_or_default();
            let output = conn.take_output(&mut self.outbox);
            let shuts = conn.has(Flags::SHUT_ASKED) && !conn.has(Flags::SHUT);
            let stream = conn
                .take_stream()
                .map(|stream| self.backend.release(stream));
            let reason = match stream {
                Some(Ok(stream)) => Reason::Released(Box::new(Released {
                    stream,
                    input,
                    output,
                    shuts,
                })),
                Some(Err(error)) => Reason::Io(error),
                None => Reason::Local,
            };
            self.end(slot, reason);
        }
    }
}
