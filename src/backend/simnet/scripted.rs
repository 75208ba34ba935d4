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
        if let Some((_, every)) = socket.hears_at {
            socket.slow = true;
            return self.schedule_in(every, Packet::Hear(id));
        }
        if self.random.chance(self.faults.slow_peers) {
            self.socket(id).slow = true;
            let delay = self.random.below(10_000_000);
            return self.schedule_in(delay, Packet::Hear(id));
        }
        self.hear(id);
    }

    /// A slow peer reads, and if it always is, the next piece later.
    pub(super) fn peer_hears_late(&mut self, id: SockId) {
        let socket = self.socket(id);
        socket.slow = false;
        if socket.owner != Owner::Peer || socket.deaf {
            return;
        }
        let count = socket.hears_at.map_or(usize::MAX, |(count, _)| count);
        self.peer_read(id, count);
        if !self.socket(id).inbox.is_empty() {
            self.peer_hears(id);
        }
    }

    /// From now on it reads at this pace; `None`: at once.
    pub(crate) fn peer_hears_at(&mut self, id: SockId, pace: Option<(usize, u64)>) {
        let socket = self.socket(id);
        (socket.hears_at, socket.deaf) = (pace, false);
        match pace {
            None => self.hear(id),
            Some(_) if !self.socket(id).inbox.is_empty() => self.peer_hears(id),
            Some(_) => {}
        }
    }

    /// Sends, without a limit: what does not fit on the way waits here. After what it is still to
    /// send at a pace.
    pub(crate) fn peer_send(&mut self, id: SockId, bytes: &[u8]) {
        let socket = self.socket(id);
        if socket.dead || socket.shut {
            return;
        }
        if !socket.drip.is_empty() {
            return socket.drip.extend(bytes);
        }
        socket.outbox.extend(bytes);
        self.transmit(id);
    }

    /// Sends so many bytes at a time.
    pub(crate) fn peer_drips(&mut self, id: SockId, bytes: &[u8], pace: (usize, u64)) {
        let socket = self.socket(id);
        if socket.dead || socket.shut || bytes.is_empty() {
            return;
        }
        let drips = !socket.drip.is_empty();
        socket.drip.extend(bytes);
        socket.drips_at = pace;
        if !drips {
            self.schedule_in(pace.1, Packet::Drip(id));
        }
    }

    pub(super) fn drip(&mut self, id: SockId) {
        let socket = self.socket(id);
        if socket.dead || socket.shut {
            socket.drip.clear();
        }
        let (count, every) = socket.drips_at;
        let count = count.min(socket.drip.len());
        let bytes: Vec<u8> = socket.drip.drain(..count).collect();
        let more = !socket.drip.is_empty();
        socket.outbox.extend(bytes);
        self.transmit(id);
        if more {
            self.schedule_in(every, Packet::Drip(id));
        }
    }

    pub(crate) fn peer_hurries(&mut self, id: SockId) {
        self.hurry(id);
        self.transmit(id);
    }

    /// What a peer is still to send at a pace goes at once.
    pub(super) fn hurry(&mut self, id: SockId) {
        let socket = self.socket(id);
        if !socket.dead {
            let unsent = std::mem::take(&mut socket.drip);
            socket.outbox.extend(unsent);
        }
    }

    pub(crate) fn peer_deaf(&mut self, id: SockId, deaf: bool) {
        self.socket(id).deaf = deaf;
        if !deaf {
            self.peer_hears_at(id, None);
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
