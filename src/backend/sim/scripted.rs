//! Scripted peers: ends of connections that no reactor has.

use super::net::Net;
use super::packets::Packet;
use super::socket::{Owner, SockId, Socket};

impl Net {
    /// A scripted peer reads what has come, now or, if it is slow, later.
    pub(super) fn peer_hears(&mut self, id: SockId) {
        let socket = self.socket(id);
        if socket.owner != Owner::Peer || socket.deaf || socket.slow {
            return;
        }
        if self.random.chance(self.faults.slow_peers) {
            self.socket(id).slow = true;
            let delay = self.random.below(10_000_000);
            return self.schedule_in(delay, Packet::Hear(id));
        }
        self.hear(id);
    }

    /// Sends, without a limit: what does not fit on the way waits here.
    pub(crate) fn peer_send(&mut self, id: SockId, bytes: &[u8]) {
        let socket = self.socket(id);
        if !socket.dead && !socket.shut {
            socket.outbox.extend(bytes);
            self.transmit(id);
        }
    }

    pub(crate) fn peer_deaf(&mut self, id: SockId, deaf: bool) {
        self.socket(id).deaf = deaf;
        if !deaf {
            self.hear(id);
        }
    }

    /// A scripted peer reads what is there, at most `count` bytes.
    pub(crate) fn peer_read(&mut self, id: SockId, count: usize) {
        let socket = self.socket(id);
        let count = count.min(socket.inbox.len());
        let bytes: Vec<u8> = socket.inbox.drain(..count).collect();
        socket.heard.extend(bytes);
        self.tell_window(id);
    }

    pub(super) fn hear(&mut self, id: SockId) {
        self.peer_read(id, usize::MAX);
    }

    pub(crate) fn peer(&mut self, id: SockId) -> &mut Socket {
        self.socket(id)
    }
}
