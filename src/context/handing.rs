//! Handing over: sockets that come from elsewhere, and connections that are given away.

use super::{Context, senseless};
use crate::backend::Acceptor;
use crate::buffer::receive::Receive;
use crate::closed::{Reason, Released};
use crate::conn::{Conn, Flags, Phase};
use crate::id::{ConnId, ListenerId};
use crate::listener::Listener;
use crate::options::Adopt;
use std::io;

impl Context {
    /// Takes a connected stream over that was made elsewhere: std's, one that another process has
    /// handed over, one end of a socketpair(2). Then it is as one of our own: `on_open` comes from
    /// the next turn on, with [`Origin::Adopted`](crate::Origin::Adopted), and what has come before
    /// is read. It is made non-blocking, which holds for all who share the open socket (fcntl(2)),
    /// and closed by exec(2); nothing else of it is changed.
    ///
    /// # Errors
    ///
    /// What is no socket, or one of datagrams, or listens, or is not connected (or not any more, or
    /// not yet) is refused with a text that says so, and nothing of it is changed; senseless
    /// limits; above [`Config::max_connections`](crate::Config::max_connections); after `finish`.
    /// It is closed then: `try_clone` it before if you want to keep it.
    pub fn adopt(&mut self, adopt: Adopt) -> io::Result<ConnId> {
        let limits = self.limits.or(&adopt.limits, adopt.idle);
        let limits = limits.map_err(senseless)?;
        if self.finishing.is_some() {
            return Err(io::Error::other("the reactor is finishing"));
        }
        let slot = self.conns.next_key().slot;
        // Asked before anybody who lingers gives way to it.
        self.backend.check_stream(&adopt.socket)?;
        if !self.has_room(true) {
            let text = "as many connections as max_connections allows";
            return Err(io::Error::other(text));
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

    /// Takes a listener over that was made elsewhere: std's, or one that the system's manager of
    /// services or an older process has handed over. Who waits in its backlog is accepted from the
    /// next turn on. The file of a Unix path is not ours, and stays when the listener is closed. It
    /// is made non-blocking and closed by exec(2), as in [`adopt`](Self::adopt).
    ///
    /// # Errors
    ///
    /// What does not listen for streams is refused with a text that says so, and closed; senseless
    /// limits; after `finish`.
    pub fn adopt_listener(&mut self, adopt: Adopt) -> io::Result<ListenerId> {
        let limits = self.limits.or(&adopt.limits, adopt.idle);
        let limits = limits.map_err(senseless)?;
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
    pub fn release(&mut self, id: ConnId) -> io::Result<()> {
        let refuse = |kind, text: &str| Err(io::Error::new(kind, text));
        let Some(conn) = self.conns.get_mut(id.0).filter(|conn| conn.is_live()) else {
            return refuse(io::ErrorKind::NotFound, "there is no such connection");
        };
        if conn.phase() != Phase::Open {
            return refuse(io::ErrorKind::NotConnected, "it is still connecting");
        }
        if conn.has(Flags::LAYERED) {
            let text = "it speaks TLS: the socket alone is of no use";
            return refuse(io::ErrorKind::Unsupported, text);
        }
        if conn.has_source() {
            let text = "a source gives it output, which the loop cannot hand over";
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
