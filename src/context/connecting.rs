//! Connects: how one begins, and how it comes through or fails.

use super::reading::Next;
use super::{Context, senseless};
use crate::addr::{Addr, AddrParseError, Target, has_host_and_port};
use crate::backend::is_exhaustion;
use crate::closed::Reason;
use crate::conn::{Conn, Flags};
use crate::id::ConnId;
use crate::options::{Connect, ToConnect};
use std::io;
use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
use std::net::{Ipv4Addr, SocketAddr};

/// Where to connect to: an address, for names are not looked up here.
fn address(target: &Target) -> io::Result<&Addr> {
    let text = match target {
        Target::Addr(addr) => return Ok(addr),
        Target::Name(name) if has_host_and_port(name) => format!(
            "{name:?}: host names are not looked up here; look it up first \
             (std::net::ToSocketAddrs), or write IP:PORT or unix:PATH"
        ),
        Target::Name(name) => AddrParseError(name.clone()).to_string(),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

impl Context {
    /// Begins to connect, with or without options: see [`Connect`]. It never fails here: the id is
    /// good from now on, and the outcome is reported later, by `on_open` or by `on_close`
    /// (`ConnectFailed` with the system's error, `ConnectTimedOut`).
    ///
    /// You may `send` and `shutdown_write` at once: it is done when the connection is open. Host
    /// names are not looked up: they fail with an error that says so. It fails
    /// above [`Config::max_connections`](crate::Config::max_connections) too, and after `finish`.
    pub fn connect(&mut self, connect: impl ToConnect) -> ConnId {
        let connect: Connect = connect.into();
        let peer = match &connect.target {
            Target::Addr(addr) => addr.clone(),
            Target::Name(_) => Addr::Ip(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
        };
        // Senseless limits are reported as any other failure: by `on_close`.
        let tag = connect.tag.unwrap_or(self.current_tag);
        let (limits, refused) = match self.limits.or(&connect.limits, connect.idle) {
            Ok(limits) => (limits, None),
            Err(error) => (self.limits.clone(), Some(senseless(error))),
        };
        let timeout = connect.timeout.unwrap_or(limits.connect_timeout);
        let until = self.schedule.after(timeout);
        let conn = Conn::connecting(peer, tag, limits, until);
        let target = match refused {
            Some(error) => Err(error),
            None if self.finishing.is_some() => Err(io::Error::other("the reactor is finishing")),
            None => address(&connect.target),
        };
        // Who lingers gives way only to one that can begin. Asked before this takes a place itself.
        let target = match target {
            Ok(_) if !self.has_room(true) => Err(io::Error::other(
                "as many connections as max_connections allows",
            )),
            target => target,
        };
        let id = ConnId(self.conns.insert(conn));
        let started = target.and_then(|addr| self.start_connect(id, &connect, addr));
        // The id is good either way: what is over already is told from the loop.
        match started {
            Ok(()) => {
                let slot = id.0.slot;
                self.schedule.arm(slot, self.conns.listed_mut(slot));
            }
            Err(error) => self.end(id.0.slot, Reason::ConnectFailed(error)),
        }
        id
    }

    fn start_connect(&mut self, id: ConnId, connect: &Connect, addr: &Addr) -> io::Result<()> {
        log::debug!(target: "sockeye", "{id} connects to {addr}");
        let slot = id.0.slot;
        let mut begun = self.backend.connect(connect, addr, slot);
        // Who only waits for a peer's end gives its descriptor to one who wants to begin.
        if begun.as_ref().is_err_and(is_exhaustion) && self.release_lingering(1) > 0 {
            begun = self.backend.connect(connect, addr, slot);
        }
        let (stream, connected) = begun?;
        if let Some(conn) = self.conns.peek(slot) {
            conn.attach(stream);
            #[cfg(feature = "tls")]
            if let Some(side) = &connect.tls {
                conn.secure(side.clone(), 0)?;
            }
            if connected {
                // It is reported from the loop all the same, and not from in here.
                conn.set(Flags::WRITABLE);
                self.lists.want_read(slot, conn);
            }
        }
        Ok(())
    }

    /// A connect may be through, or have failed.
    pub(super) fn come_through(&mut self, slot: u32) -> Option<Next> {
        let conn = self.conns.listed_mut(slot);
        let mut reset = false;
        let connected = conn.is_connected().or_else(|error| {
            // A connect that is not through is refused, never reset: so this one was through, and
            // the peer may have said why it left. Asking consumed the error; no read will tell it.
            reset = matches!(error.kind(), ConnectionReset | BrokenPipe);
            if reset { Ok(true) } else { Err(error) }
        });
        match connected {
            Err(error) => {
                self.end(slot, Reason::ConnectFailed(error));
                None
            }
            Ok(false) => {
                // Readiness that was none: an edge will tell.
                conn.clear(Flags::READABLE);
                conn.clear(Flags::WRITABLE);
                None
            }
            #[cfg(feature = "tls")]
            Ok(true) if conn.is_handshaking() && !reset => {
                self.stats.connected += 1;
                self.begin_handshake(slot);
                None
            }
            Ok(true) => {
                conn.open(self.schedule.fresh());
                self.stats.connected += 1;
                // What was sent meanwhile goes out, and a shutdown that was asked for.
                self.lists.want_flush(slot, conn);
                if reset {
                    self.write_failed(slot, Reason::Reset);
                }
                let conn = self.conns.listed_mut(slot);
                if conn.has(Flags::CLOSE_ASKED) {
                    self.begin_closing(slot);
                    return None;
                }
                self.stats.opened += 1;
                log::debug!(target: "sockeye", "{} is open: connected", conn.peer());
                self.schedule.arm(slot, conn);
                Some(Next::Open)
            }
        }
    }
}
