//! Listeners and connects.

use super::{Context, Due};
use crate::addr::{Addr, Target};
use crate::backend::is_exhaustion;
use crate::clock::after;
use crate::closed::Reason;
use crate::config::Limits;
use crate::conn::{Conn, Flags, Origin};
use crate::id::{ConnId, ListenerId};
use crate::listener::Listener;
use crate::options::{Connect, Listen};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

impl Context {
    /// Listens on an address, with or without options: see [`Listen`]. Connections come to
    /// `on_accept` and `on_open`, from the next turn on.
    ///
    /// Host names are looked up, here and now. A Unix path whose server is gone is replaced; one
    /// whose server lives is in use. Whether it lives is found out by connecting to it: it sees a
    /// real connection, which ends at once.
    ///
    /// # Errors
    ///
    /// What the system says (`AddrInUse`, `PermissionDenied`), with the address; senseless limits;
    /// or that `finish` has begun.
    pub fn listen(&mut self, listen: impl Into<Listen>) -> io::Result<ListenerId> {
        let listen = listen.into();
        let failed = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("cannot listen on {}: {error}", listen.target),
            )
        };
        if self.finishing.is_some() {
            return Err(failed(io::Error::other("the reactor is finishing")));
        }
        let limits = self
            .limits_for(&listen.limits, listen.idle)
            .map_err(failed)?;
        let key = self.listeners.next_key();
        let acceptor = self.backend.listen(&listen, key.slot).map_err(failed)?;
        let local = acceptor.local_addr().map_err(failed)?;
        log::debug!(target: "sockeye", "{} listens on {local}", ListenerId(key));
        self.listeners.insert(Listener {
            acceptor,
            local,
            tag: listen.tag.unwrap_or(self.current_tag),
            limits,
            ready: false,
            listed: false,
            rest: None,
        });
        Ok(ListenerId(key))
    }

    /// Closes a listener at once: it accepts nothing more, and its id is stale. Connections that it
    /// accepted stay. `false`: the id was stale already.
    pub fn unlisten(&mut self, listener: ListenerId) -> bool {
        let known = self.listeners.get(listener.0).is_some();
        if known {
            self.remove_listener(listener.0.slot);
        }
        known
    }

    pub(super) fn remove_listener(&mut self, slot: u32) {
        if let Some(listener) = self.listeners.remove(slot) {
            log::debug!(target: "sockeye", "no longer listening on {}", listener.local);
            if let Some(timer) = listener.rest {
                self.timers.cancel(timer);
            }
        }
    }

    /// Begins to connect, with or without options: see [`Connect`]. It never fails here: the id is
    /// good from now on, and the outcome is reported later, by `on_open` or by `on_close`
    /// (`ConnectFailed` with the system's error, `ConnectTimedOut`).
    ///
    /// You may `send` and `shutdown_write` at once: it is done when the connection is open. Host
    /// names are not looked up: they fail with an error that says so. It fails
    /// above [`Config::max_connections`](crate::Config::max_connections) too, and after `finish`.
    pub fn connect(&mut self, connect: impl Into<Connect>) -> ConnId {
        let connect = connect.into();
        let peer = match &connect.target {
            Target::Addr(addr) => addr.clone(),
            Target::Name(_) => Addr::Ip(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
        };
        let tag = connect.tag.unwrap_or(self.current_tag);
        let (limits, refused) = match self.limits_for(&connect.limits, connect.idle) {
            Ok(limits) => (limits, None),
            Err(error) => (self.limits.clone(), Some(error)),
        };
        let timeout = connect.timeout.unwrap_or(limits.connect_timeout);
        let mut conn = Conn::new(Origin::Connected, peer, tag, limits);
        conn.limit_at = after(self.fresh_tick(), timeout);
        let full = !self.make_room();
        let id = ConnId(self.conns.insert(conn));
        let started = match refused {
            Some(error) => Err(error),
            None if full => Err(io::Error::other(
                "as many connections as max_connections allows",
            )),
            None => self.start_connect(id, &connect),
        };
        match started {
            Ok(()) => self.arm(id.0.slot),
            Err(error) => self.end(id.0.slot, Reason::ConnectFailed(error)),
        }
        id
    }

    fn start_connect(&mut self, id: ConnId, connect: &Connect) -> io::Result<()> {
        if self.finishing.is_some() {
            return Err(io::Error::other("the reactor is finishing"));
        }
        let addr = match &connect.target {
            Target::Addr(addr) => addr,
            Target::Name(name) => {
                let text =
                    format!("{name:?}: host names are not looked up; write IP:PORT or unix:PATH");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        };
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
            if connected {
                // It is reported from the loop all the same, and not from in here.
                conn.set(Flags::WRITABLE);
                Context::list_ready(conn, slot, &mut self.ready);
            }
        }
        Ok(())
    }

    fn limits_for(
        &self,
        limits: &Option<Limits>,
        idle: Option<Duration>,
    ) -> io::Result<Arc<Limits>> {
        if limits.is_none() && idle.is_none() {
            return Ok(self.limits.clone());
        }
        let mut limits = limits
            .clone()
            .unwrap_or_else(|| Limits::clone(&self.limits));
        limits.idle = idle.or(limits.idle);
        limits
            .check()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Arc::new(limits))
    }

    /// Lets a listener rest until a timer fires.
    pub(super) fn rest(&mut self, slot: u32) {
        let at = self.deadline_after(self.config.accept_backoff);
        let timer = self.timers.set(at, Due::Rested(slot));
        if let Some(listener) = self.listeners.peek(slot) {
            listener.rest = Some(timer);
        }
    }

    /// It has rested: whoever waited in its backlog meanwhile needs no new edge.
    pub(crate) fn rested(&mut self, slot: u32) {
        if let Some(listener) = self.listeners.peek(slot) {
            listener.rest = None;
            listener.ready = true;
        }
        self.list_accepting(slot);
    }

    pub(crate) fn list_accepting(&mut self, slot: u32) {
        if let Some(listener) = self.listeners.peek(slot)
            && listener.ready
            && listener.rest.is_none()
            && !listener.listed
        {
            listener.listed = true;
            self.accepting.push_back(slot);
        }
    }
}
