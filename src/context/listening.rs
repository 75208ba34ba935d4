//! Listeners: how one begins, pauses and ends.

use super::naming::Place;
use super::{Context, invalid};
use crate::addr::Addr;
use crate::backend::{Acceptor, is_lack};
use crate::config::Limits;
use crate::id::{Key, ListenerId};
use crate::listener::Listener;
use crate::options::{Listen, ToListen};
use std::io;
use std::io::ErrorKind::AddrInUse;
use std::net::SocketAddr;
use std::sync::Arc;

impl Context {
    /// Listens on an address, with or without options: see [`Listen`]. Connections come to
    /// `on_accept` and `on_open`, from the next turn on.
    ///
    /// A host name is looked up at once, which may block for a while. The listener then listens on
    /// all of its addresses with the same port, even for port 0. Addresses and families that this
    /// machine does not have are skipped, as long as one remains. All of them are one listener with
    /// one id; [`listener_addrs`](Self::listener_addrs) returns them. `localhost` has two.
    ///
    /// A Unix path whose server is gone is replaced; one whose server is alive is in use. To find
    /// out, the loop connects to it: a live server sees a connection that ends at once.
    ///
    /// # Errors
    ///
    /// The system's error (`AddrInUse`, `PermissionDenied`), with the address; invalid limits; or
    /// that `finish` has begun.
    #[doc(alias("bind", "uv_listen", "create_server"))]
    pub fn listen(&mut self, listen: impl ToListen) -> io::Result<ListenerId> {
        let listen: Listen = listen.into();
        let failed = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("cannot listen on {}: {error}", listen.target),
            )
        };
        // What can be refused without a socket is refused first.
        if self.finishing.is_some() {
            return Err(failed(io::Error::other("the reactor is finishing")));
        }
        let limits = self.limits.or(&listen.limits, listen.idle);
        let limits = limits.map_err(invalid).map_err(failed)?;
        let addrs = self.addresses(&listen).map_err(failed)?;
        let first = self.listen_on_all(&listen, &addrs, &limits);
        first.map(ListenerId).map_err(failed)
    }

    /// All addresses that it is to listen on.
    fn addresses(&self, listen: &Listen) -> io::Result<Vec<Addr>> {
        let addrs = match self.place(&listen.target)? {
            Place::At(addr) => return Ok(vec![addr]),
            Place::Among(addrs) => addrs,
            Place::Named(host, port) => self.backend.addresses(&host, port)?,
        };
        let mut all: Vec<Addr> = Vec::new();
        for addr in addrs.into_iter().map(Addr::Ip) {
            if !all.contains(&addr) {
                all.push(addr);
            }
        }
        Ok(all)
    }

    /// Answers the listener at the first address that there is.
    fn listen_on_all(
        &mut self,
        listen: &Listen,
        addrs: &[Addr],
        limits: &Arc<Limits>,
    ) -> io::Result<Key> {
        /// A port that is free at one address may be in use at another: how often a new one is
        /// asked for.
        const TRIES: usize = 16;

        let chosen = addrs
            .iter()
            .all(|addr| addr.ip().is_some_and(|ip| ip.port() == 0));
        let mut tried = 0;
        loop {
            let mut all = Vec::new();
            let listened = self.listen_on_each(listen, addrs, limits, &mut all);
            tried += 1;
            if let Ok(first) = listened {
                return Ok(first);
            }
            let luckless = chosen && !all.is_empty() && tried < TRIES;
            self.take_back(&all);
            match listened {
                Err(error) if luckless && error.kind() == AddrInUse => {}
                listened => return listened,
            }
        }
    }

    /// Listens on each address, with the port of the first. With an error `all` are those that
    /// listen already.
    fn listen_on_each(
        &mut self,
        listen: &Listen,
        addrs: &[Addr],
        limits: &Arc<Limits>,
        all: &mut Vec<Key>,
    ) -> io::Result<Key> {
        let mut port = None;
        let mut lack = None;
        for addr in addrs {
            let addr = match (addr, port) {
                (Addr::Ip(ip), Some(port)) => Addr::Ip(SocketAddr::new(ip.ip(), port)),
                _ => addr.clone(),
            };
            match self.listen_at(listen, &addr, limits, all.first().copied()) {
                Ok((key, local)) => {
                    port = port.or(local.ip().map(|ip| ip.port()));
                    all.push(key);
                }
                Err(error) if is_lack(&error) => {
                    log::debug!(target: "sockeye", "cannot listen on {addr}: {error}");
                    lack = lack.or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        match lack {
            Some(lack) if all.is_empty() => Err(lack),
            _ => self.join_listeners(all).map(|first| first.0),
        }
    }

    fn listen_at(
        &mut self,
        listen: &Listen,
        addr: &Addr,
        limits: &Arc<Limits>,
        first: Option<Key>,
    ) -> io::Result<(Key, Addr)> {
        // The slot must be known before the socket is registered for it; nothing is kept of it if
        // the system refuses.
        let key = self.listeners.next_key();
        let acceptor = self.backend.listen(listen, addr, key.slot)?;
        let local = acceptor.local_addr()?;
        log::debug!(target: "sockeye", "{} listens on {local}", ListenerId(key));
        self.keep_listener(listen, acceptor, local.clone(), limits, first);
        Ok((key, local))
    }

    fn keep_listener(
        &mut self,
        listen: &Listen,
        acceptor: Acceptor,
        local: Addr,
        limits: &Arc<Limits>,
        first: Option<Key>,
    ) -> Key {
        let tag = listen.tag.unwrap_or(self.current_tag);
        let id = ListenerId(first.unwrap_or_else(|| self.listeners.next_key()));
        self.listeners.insert(Listener {
            last_word: listen.last_word.clone(),
            #[cfg(feature = "tls")]
            tls: listen.tls.clone(),
            ..Listener::new(id, (acceptor, local), tag, limits.clone())
        })
    }

    /// A listener for whom another loop accepts, at these addresses.
    pub(crate) fn listen_by(&mut self, listen: &Listen, locals: &[Addr]) -> io::Result<ListenerId> {
        let limits = self.limits.or(&listen.limits, listen.idle);
        let limits = limits.map_err(invalid)?;
        let mut all: Vec<Key> = Vec::new();
        for local in locals {
            let acceptor = Acceptor::handed(local.clone());
            let first = all.first().copied();
            all.push(self.keep_listener(listen, acceptor, local.clone(), &limits, first));
        }
        self.join_listeners(&all)
    }

    /// Listens on these addresses, of which another worker has one socket each already: on all of
    /// them, or on none.
    pub(crate) fn listen_too(&mut self, listen: &Listen, addrs: &[Addr]) -> io::Result<ListenerId> {
        let limits = self.limits.or(&listen.limits, listen.idle);
        let limits = limits.map_err(invalid)?;
        let mut all: Vec<Key> = Vec::new();
        for addr in addrs {
            match self.listen_at(listen, addr, &limits, all.first().copied()) {
                Ok((key, _)) => all.push(key),
                Err(error) => {
                    self.take_back(&all);
                    return Err(error);
                }
            }
        }
        self.join_listeners(&all)
    }

    /// A listener of which nobody has heard yet was not to be: the next one gets its id, as in
    /// the other workers.
    pub(crate) fn listen_no_more(&mut self, listener: ListenerId) {
        let all = self.sockets_of(listener);
        self.take_back(&all);
    }

    /// Closes these sockets, the youngest of all, as if they had never been.
    fn take_back(&mut self, all: &[Key]) {
        for key in all.iter().rev() {
            drop(self.listeners.take_back(key.slot));
        }
    }

    /// Makes sockets at several addresses one listener.
    fn join_listeners(&mut self, all: &[Key]) -> io::Result<ListenerId> {
        let Some((first, others)) = all.split_first() else {
            let text = "the name has no addresses";
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        };
        if let Some(listener) = self.listeners.get_mut(*first) {
            listener.others = others.into();
        }
        Ok(ListenerId(*first))
    }

    /// Closes a listener at once: it accepts nothing more, and its id is stale. Connections that it
    /// accepted stay. `false`: the id was stale already.
    pub fn unlisten(&mut self, listener: ListenerId) -> bool {
        let all = self.sockets_of(listener);
        for key in &all {
            let Some(mut listener) = self.listeners.remove(key.slot) else {
                continue;
            };
            self.pass_on(*key, &mut listener);
            log::debug!(target: "sockeye", "no longer listening on {}", listener.local);
            if let Some(timer) = listener.rest {
                self.schedule.cancel(timer);
            }
        }
        !all.is_empty()
    }

    /// Stops accepting from a listener until `resume_accepts`. Peers that connect meanwhile wait in
    /// its backlog; to them they look connected. If the backlog is full, the system turns peers
    /// away or lets them wait, as for any slow server. No callback reports a pause. `false`: the id
    /// is stale. When one of [`Workers`](crate::Workers) finishes there is no pause: accepted peers
    /// that wait and come to no other worker are opened, and told of the finish.
    pub fn pause_accepts(&mut self, listener: ListenerId) -> bool {
        let all = self.sockets_of(listener);
        for key in &all {
            // Opened by a finish already, it stays so: the end would wait for those behind it.
            if !self.keeps_listener(*key)
                && let Some(state) = self.listeners.get_mut(*key)
            {
                state.paused = true;
            }
        }
        !all.is_empty()
    }

    /// Ends a pause of a listener. Peers that wait in its backlog come to `on_accept` and `on_open`
    /// from the next turn on; no new peer is needed. Without a pause it does nothing. `false`: the
    /// id is stale.
    pub fn resume_accepts(&mut self, listener: ListenerId) -> bool {
        let all = self.sockets_of(listener);
        for key in &all {
            if let Some(state) = self.listeners.get_mut(*key) {
                state.paused = false;
                self.lists.want_accept(key.slot, state);
            }
        }
        !all.is_empty()
    }

    /// The sockets of a listener, one for each of its addresses; none for a stale id.
    pub(super) fn sockets_of(&self, listener: ListenerId) -> Vec<Key> {
        let first = self.listeners.get(listener.0);
        let others = first.map(|first| first.others.iter().copied());
        let others = others.into_iter().flatten();
        let others = others.filter(|key| self.listeners.get(*key).is_some());
        first
            .map(|_| listener.0)
            .into_iter()
            .chain(others)
            .collect()
    }
}
