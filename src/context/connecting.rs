//! Connects: how one begins, and how it comes through or fails.

use super::dialing::{is_through, take_through};
use super::naming::Place;
use super::reading::Next;
use super::{Context, full, invalid};
use crate::addr::{Addr, Target};
use crate::backend::Source;
use crate::closed::{ConnectError, ConnectStep, Reason};
use crate::conn::{Conn, Flags, Origin, Phase};
use crate::id::ConnId;
use crate::options::{Connect, ToConnect};
use std::io;
use std::time::Duration;

impl Context {
    /// Begins to connect, with or without options: see [`Connect`]. It never fails here: the id is
    /// good from now on, and the outcome is reported later, by `on_open` or by `on_close`
    /// (`ConnectFailed` with the step and the error, `ConnectTimedOut`).
    ///
    /// You may `send` and `shutdown_write` at once: it is done when the connection is open. It
    /// fails above [`Config::max_connections`](crate::Config::max_connections) too, and after
    /// `finish`.
    ///
    /// A name is looked up by the [`Resolver`](crate::Resolver), off the loop; literal addresses
    /// and `localhost` need none. Of a name with several addresses the families take turns; the
    /// next attempt begins when one has failed, or after 250 ms, and earlier ones stay alive: 4 at
    /// a time, 8 in all (RFC 8305). The first that comes through is the connection, with one
    /// `on_open`; the others are closed without a callback. The timeout is for all of it. A Unix
    /// socket whose backlog is full is asked again and again, within the same timeout.
    #[doc(alias("uv_tcp_connect", "create_connection", "getaddrinfo"))]
    pub fn connect(&mut self, connect: impl ToConnect) -> ConnId {
        let connect: Connect = connect.into();
        // Senseless limits are reported as any other failure: by `on_close`.
        let tag = connect.tag.unwrap_or(self.current_tag);
        let (limits, refused) = match self.limits.or(&connect.limits, connect.idle) {
            Ok(limits) => (limits, None),
            Err(error) => (self.limits.clone(), Some(invalid(error))),
        };
        let place = match refused {
            Some(error) => Err(error),
            None if self.finishing.is_some() => Err(io::Error::other("the reactor is finishing")),
            None => match &connect.target {
                Target::Host(_, 0) => Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{}: cannot connect to port 0", connect.target),
                )),
                target => self.place(target),
            },
        };
        let timeout = connect.timeout.unwrap_or(limits.connect_timeout);
        let until = self.schedule.after(timeout);
        // Of a name it is known when one of its addresses has answered.
        let peer = match (&place, &connect.target) {
            (Ok(Place::At(addr)), _) | (_, Target::Addr(addr)) => addr.clone(),
            _ => Addr::NONE,
        };
        let conn = Conn::connecting(peer, tag, limits, until);
        // Who lingers gives way only to one that can begin. Asked before this takes a place itself.
        let place = match place {
            Ok(_) if !self.has_room(true) => Err(full()),
            place => place,
        };
        let id = ConnId(self.conns.insert(conn));
        match place {
            Ok(place) => self.set_out(id, connect, place),
            // The id is good all the same: what is over already is told from the loop.
            Err(error) => {
                let failed = ConnectError::new(ConnectStep::Begin, 0, error);
                self.end(id.0.slot, Reason::ConnectFailed(failed));
            }
        }
        let slot = id.0.slot;
        self.schedule.arm(slot, self.conns.listed_mut(slot));
        id
    }

    fn set_out(&mut self, id: ConnId, connect: Connect, place: Place) {
        log::debug!(target: "sockeye", "{id} connects to {}", connect.target);
        /// A busy server may have room in a moment.
        const PAUSE: Duration = Duration::from_millis(1);

        let slot = id.0.slot;
        match place {
            Place::At(addr) => {
                if let Err(error) = self.start_connect(slot, &connect, &addr) {
                    self.knock(slot, connect, addr, PAUSE, error);
                }
            }
            Place::Among(addrs) => {
                let conn = self.conns.listed_mut(slot);
                conn.begin_dialing(connect);
                if let Some(dialing) = conn.dialing() {
                    dialing.dial.add(addrs);
                    dialing.dial.complete();
                }
                self.dial(slot, None);
            }
            Place::Named(host, port) => {
                self.conns.listed_mut(slot).begin_dialing(connect);
                let wanted = self.look_up(&host, port, id.0);
                if let Some(dialing) = self.conns.listed_mut(slot).dialing() {
                    dialing.lookup = Some(wanted);
                }
            }
        }
    }

    pub(super) fn start_connect(
        &mut self,
        slot: u32,
        connect: &Connect,
        addr: &Addr,
    ) -> io::Result<()> {
        let (stream, connected) = self.begin(connect, addr, Source::Conn(slot))?;
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
        self.ask_attempts(slot);
        let conn = self.conns.listed_mut(slot);
        if conn.phase() == Phase::Dead {
            return None;
        }
        // Asking consumes the error of one that was reset; no read will tell it.
        let through = match take_through(conn) {
            Some(reset) => Ok((true, reset)),
            None => is_through(conn.is_connected()),
        };
        match through {
            Err(error) => {
                let failed = ConnectError::new(ConnectStep::Dial, 1, error);
                self.end(slot, Reason::ConnectFailed(failed));
                None
            }
            Ok((false, _)) => {
                // Readiness that was none: an edge will tell.
                conn.clear(Flags::READABLE);
                conn.clear(Flags::WRITABLE);
                None
            }
            #[cfg(feature = "tls")]
            Ok((true, false)) if conn.is_handshaking() => {
                self.stats.connected += 1;
                self.begin_handshake(slot);
                None
            }
            // No session has begun, so there is nothing to be opened before the end.
            #[cfg(feature = "tls")]
            Ok((true, true)) if conn.is_handshaking() => {
                self.stats.connected += 1;
                self.end(slot, Reason::Reset);
                None
            }
            Ok((true, reset)) => {
                conn.open(self.schedule.fresh());
                match conn.origin() {
                    Origin::Connected => self.stats.connected += 1,
                    _ => self.stats.adopted += 1,
                }
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
                log::debug!(target: "sockeye", "{} is open: {:?}", conn.peer(), conn.origin());
                self.schedule.arm(slot, conn);
                Some(Next::Open)
            }
        }
    }
}
