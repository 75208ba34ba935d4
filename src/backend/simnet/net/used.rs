//! What is in use: ports, and sockets that nobody has closed.

use super::super::socket::{Owner, Socket, State};
use super::Net;
use crate::addr::Addr;
use std::collections::BTreeSet;

impl Net {
    pub(super) fn free_port(&mut self) -> u16 {
        // When all are in use, one is used twice: sockets are told apart by their ids.
        for _ in 0..=u16::MAX {
            self.next_port = self.next_port.wrapping_add(1).max(10_000);
            if self.next_port == 10_000 {
                self.taken = self.ports_in_use();
            }
            let port = self.next_port;
            let listens = |addr: &Addr| addr.ip().is_some_and(|ip| ip.port() == port);
            if !self.taken.contains(&port) && !self.listeners.keys().any(listens) {
                break;
            }
        }
        self.next_port
    }

    fn ports_in_use(&self) -> BTreeSet<u16> {
        let used = |socket: &&Socket| socket.state != State::Closed && !socket.dead;
        let sockets = self.sockets.iter().filter(used);
        sockets
            .filter_map(|socket| Some(socket.local.ip()?.port()))
            .collect()
    }

    /// Sockets that an application has not closed: what a test would call a leak.
    pub(crate) fn open_sockets(&self) -> Vec<String> {
        let open = |socket: &&Socket| socket.state != State::Closed && socket.owner != Owner::Peer;
        let name = |socket: &Socket| match socket.other {
            Some(other) => {
                let other = &self.sockets[other.0];
                let played = match other.owner == Owner::Peer {
                    true => " (a peer that the test has not closed)",
                    false => "",
                };
                format!("{} - {}{played}", socket.local, other.local)
            }
            None => format!("{} (connecting)", socket.local),
        };
        let listening = self
            .listeners
            .values()
            .map(|listener| format!("{} (listening)", listener.local));
        self.sockets
            .iter()
            .filter(open)
            .map(name)
            .chain(listening)
            .collect()
    }
}
