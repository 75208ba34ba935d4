//! TCP as a program sees it: what reads and writes do, and what travels between the two ends.

use super::faults::{Link, short};
use super::names::Naming;
use super::net::{Net, nanos};
use super::socket::{Owner, SockId, Socket, State};
use crate::addr::Addr;
use std::io::{self, ErrorKind};
use std::net::IpAddr;

/// What travels, and to whom.
pub(super) enum Packet {
    Syn {
        from: SockId,
        to: Addr,
    },
    SynAck(SockId),
    Data(SockId, Vec<u8>),
    Fin(SockId),
    Rst(SockId),
    /// A RST that answers a SYN, from a host on which nobody listens.
    Refusal(SockId, IpAddr),
    /// The other end has read: there is room again.
    Window(SockId),
    /// Readiness that is told late. It travels nowhere, and neither do the next.
    Edge(SockId),
    ListenerEdge(Addr),
    /// A slow peer reads.
    Hear(SockId),
    /// A peer sends some more.
    Drip(SockId),
    /// A look-up is answered, or a part of it.
    Named(Box<Naming>),
}

/// A SYN without an answer is sent again after a second, as Linux does (tcp(7), `tcp_syn_retries`).
const SYN_RETRY: u64 = 1_000_000_000;

impl Net {
    pub(super) fn socket(&mut self, id: SockId) -> &mut Socket {
        &mut self.sockets[id.0]
    }

    // ---- What a program does ----

    pub(crate) fn read(&mut self, id: SockId, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket(id).times.read_tried = Some(self.now);
        if self.random.chance(self.faults.interrupts) {
            return Err(ErrorKind::Interrupted.into());
        }
        if self.random.chance(self.faults.shortages) {
            return Err(short(&mut self.random));
        }
        // The loop's last read before a close decides whether it lingers, so it must not be lied
        // to; no kernel does (docs/simulation.md).
        if !self.socket(id).shut && self.blocks_for_once(id) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let available = self.socket(id).inbox.len().min(buffer.len());
        if available > 0 {
            let count = self.maybe_short(id, available);
            let taken = self.socket(id).inbox.drain(..count);
            buffer
                .iter_mut()
                .zip(taken)
                .for_each(|(to, byte)| *to = byte);
            self.socket(id).times.read = Some(self.now);
            self.tell_window(id);
            return Ok(count);
        }
        let socket = self.socket(id);
        // After the other side's end a read says no more, though a reset follows: SOCK_DONE comes
        // before sk_err in tcp_recvmsg_locked(). Not so in unix_stream_read_generic().
        if socket.fin_received && !(socket.is_unix() && socket.error.is_some()) {
            return Ok(0);
        }
        if let Some(error) = socket.error.take() {
            return Err(error.into());
        }
        match socket.dead {
            true => Ok(0),
            false => Err(ErrorKind::WouldBlock.into()),
        }
    }

    pub(crate) fn write(&mut self, id: SockId, bytes: &[u8]) -> io::Result<usize> {
        self.socket(id).times.write_tried = Some(self.now);
        if self.random.chance(self.faults.interrupts) {
            return Err(ErrorKind::Interrupted.into());
        }
        if self.random.chance(self.faults.shortages) {
            return Err(short(&mut self.random));
        }
        if self.blocks_for_once(id) {
            // The edge that follows may find no room: then there is another one when there is.
            self.socket(id).starved = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let socket = self.socket(id);
        if let Some(error) = socket.error.take() {
            return Err(error.into());
        }
        if socket.dead || socket.shut || self.unix_peer_is_gone(id) {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let socket = self.socket(id);
        let room = socket.room().min(bytes.len());
        if room < bytes.len() {
            socket.starved = true;
        }
        if (room == 0 && !bytes.is_empty()) || socket.state == State::Connecting {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.maybe_short(id, room);
        self.socket(id).outbox.extend(&bytes[..count]);
        self.socket(id).times.written = Some(self.now);
        self.note(id, &bytes[..count]);
        self.transmit(id);
        Ok(count)
    }

    /// FNV-1a over words: every write, by whom, when, and its bytes.
    fn note(&mut self, id: SockId, bytes: &[u8]) {
        let told = match self.socket(id).is_sealed {
            true => &[],
            false => bytes,
        };
        let words = told.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        for word in [id.0 as u64, self.now, bytes.len() as u64]
            .into_iter()
            .chain(words)
        {
            self.hash = (self.hash ^ word)
                .wrapping_mul(0x0100_0000_01b3)
                .rotate_left(29);
        }
    }

    pub(crate) fn shutdown_write(&mut self, id: SockId) -> io::Result<()> {
        self.hurry(id);
        self.socket(id).shut = true;
        self.transmit(id);
        match self.socket(id).dead {
            true => Err(ErrorKind::NotConnected.into()),
            false => Ok(()),
        }
    }

    pub(crate) fn is_connected(&mut self, id: SockId) -> io::Result<bool> {
        if self.socket(id).state == State::Open && self.blocks_for_once(id) {
            return Ok(false);
        }
        let socket = self.socket(id);
        match socket.error.take() {
            Some(error) => Err(error.into()),
            None => Ok(socket.state == State::Open && !socket.dead),
        }
    }

    pub(crate) fn reset_on_close(&mut self, id: SockId) {
        self.socket(id).reset_on_close = true;
    }

    /// Closes. With unread input it is a reset (RFC 2525, section 2.17), else a FIN after what is
    /// still to be sent.
    pub(crate) fn close(&mut self, id: SockId) {
        let socket = self.socket(id);
        if socket.state == State::Closed {
            return;
        }
        // Unix sockets know no linger, but they know unread input: unix_release_sock().
        let resets = socket.reset_on_close && !socket.is_unix();
        let rude = resets || !socket.inbox.is_empty();
        let connecting = socket.state == State::Connecting;
        socket.state = State::Closed;
        socket.owner = Owner::Nobody;
        if rude || connecting {
            self.reset_other(id);
        } else {
            self.hurry(id);
            self.socket(id).shut = true;
            self.transmit(id);
        }
        self.socket(id).inbox.clear();
    }

    /// Who waits in a backlog is reset, over a Unix socket too.
    pub(super) fn reset_waiting(&mut self, id: SockId) {
        let socket = self.socket(id);
        socket.state = State::Closed;
        socket.inbox.clear();
        self.reset_other(id);
    }

    // ---- Faults ----

    /// A call would block although it need not. The edge that must follow then does, later.
    fn blocks_for_once(&mut self, id: SockId) -> bool {
        // A socket that is over never blocks: the loop may rely on that.
        let socket = self.socket(id);
        let over = socket.dead || socket.error.is_some();
        let blocks = self.random.chance(self.faults.would_block) && !over;
        if blocks {
            self.edge_later(id);
        }
        blocks
    }

    fn maybe_short(&mut self, id: SockId, count: usize) -> usize {
        match !self.socket(id).proof && self.random.chance(self.faults.short_io) {
            true => 1 + self.random.below(count as u64) as usize,
            false => count,
        }
    }

    // ---- What travels ----

    /// Sends what the other end has room for, and the FIN after the last byte.
    pub(super) fn transmit(&mut self, id: SockId) {
        let Some(other) = self.socket(id).other else {
            return;
        };
        while self.socket(id).state != State::Connecting && !self.socket(id).dead {
            let window = self.socket(other).window();
            let mut count = self.socket(id).outbox.len().min(window);
            if count == 0 {
                break;
            }
            if count > 1 && self.random.chance(self.faults.splits) {
                count = 1 + self.random.below(count as u64 - 1) as usize;
            }
            let bytes: Vec<u8> = self.socket(id).outbox.drain(..count).collect();
            self.socket(id).expand(count);
            self.socket(other).incoming += count;
            self.send(id, Packet::Data(other, bytes), count);
        }
        let socket = self.socket(id);
        let done = socket.outbox.is_empty() && socket.shut && !socket.fin_sent && !socket.dead;
        if done && socket.state != State::Connecting {
            socket.fin_sent = true;
            self.send(id, Packet::Fin(other), 0);
        }
        let socket = self.socket(id);
        if socket.starved && socket.is_roomy() {
            socket.starved = false;
            self.edge(id);
        }
    }

    /// What a Unix socket was written is in the other's queue already, whatever comes then.
    fn flush_unix(&mut self, id: SockId) {
        let socket = self.socket(id);
        // A scripted peer has the rest in its own memory, and loses that.
        let of_system = socket.outbox_limit < usize::MAX;
        if socket.is_unix()
            && of_system
            && !socket.outbox.is_empty()
            && let Some(other) = socket.other
        {
            let bytes: Vec<u8> = socket.outbox.drain(..).collect();
            self.socket(other).incoming += bytes.len();
            self.send(id, Packet::Data(other, bytes), 0);
        }
    }

    /// A Unix socket is told at once that nobody will read what it writes: unix_stream_sendmsg().
    fn unix_peer_is_gone(&mut self, id: SockId) -> bool {
        let socket = self.socket(id);
        let other = socket.other.filter(|_| socket.is_unix());
        other.is_some_and(|other| self.socket(other).state == State::Closed)
    }

    /// RST to the other end, and nothing more from this one.
    fn reset_other(&mut self, id: SockId) {
        self.flush_unix(id);
        let socket = self.socket(id);
        let was_dead = std::mem::replace(&mut socket.dead, true);
        // Both have sent a FIN: there is nothing left to reset (tcp_need_reset() in tcp.c).
        let over = socket.fin_sent && socket.fin_received && !socket.is_unix();
        socket.outbox.clear();
        if let (Some(other), false) = (socket.other, was_dead || over) {
            self.send(id, Packet::Rst(other), 0);
        }
    }

    pub(super) fn tell_window(&mut self, id: SockId) {
        if let Some(other) = self.socket(id).other
            && !self.socket(other).outbox.is_empty()
        {
            self.send(id, Packet::Window(other), 0);
        }
    }

    /// Sends a packet of this end: it arrives after the link's latency, and not before the last
    /// one.
    pub(super) fn send(&mut self, from: SockId, packet: Packet, bytes: usize) {
        let here = self.sockets[from.0].host;
        let link = match self.sockets[from.0].is_unix() {
            true => Link::default(),
            false => self.link(here, self.destination(&packet)).clone(),
        };
        let jitter = self.random.below(nanos(link.jitter));
        let delay = nanos(link.latency).saturating_add(jitter);
        let mut at = self.now.saturating_add(delay);
        if let Some(bandwidth) = link.bandwidth {
            let busy = self
                .busy
                .entry((here, self.destination(&packet)))
                .or_default();
            let start = (*busy).max(self.now);
            *busy = start.saturating_add(bytes as u64 * 1_000_000_000 / bandwidth.max(1));
            at = at.saturating_add(*busy - self.now);
        }
        let at = at.max(self.sockets[from.0].last_arrival);
        self.sockets[from.0].last_arrival = at;
        self.schedule_at(at, packet);
    }

    /// So many nanoseconds from now.
    pub(super) fn schedule_in(&mut self, delay: u64, packet: Packet) {
        self.schedule_at(self.now.saturating_add(delay), packet);
    }

    fn schedule_at(&mut self, at: u64, packet: Packet) {
        self.sent += 1;
        self.packets.insert((at, self.sent), packet);
    }

    pub(super) fn destination(&self, packet: &Packet) -> IpAddr {
        match packet {
            Packet::Syn { to, .. } => self.destination_of(to),
            Packet::SynAck(to)
            | Packet::Data(to, _)
            | Packet::Fin(to)
            | Packet::Rst(to)
            | Packet::Refusal(to, _)
            | Packet::Window(to)
            | Packet::Edge(to)
            | Packet::Hear(to)
            | Packet::Drip(to) => self.sockets[to.0].host,
            Packet::ListenerEdge(at) => self.destination_of(at),
            Packet::Named(_) => self.destination_of(&Addr::Unix(None)),
        }
    }

    /// The end whose packet it is, if it is one and not a matter of a single host.
    pub(super) fn sender(&self, packet: &Packet) -> Option<SockId> {
        match packet {
            Packet::Edge(_) | Packet::ListenerEdge(_) | Packet::Named(_) => None,
            Packet::Hear(_) | Packet::Drip(_) | Packet::Refusal(..) => None,
            Packet::Syn { from, .. } => Some(*from),
            Packet::SynAck(to)
            | Packet::Data(to, _)
            | Packet::Fin(to)
            | Packet::Rst(to)
            | Packet::Window(to) => self.sockets[to.0].other,
        }
    }

    /// The host that it comes from, if it crosses a link.
    pub(super) fn origin(&self, packet: &Packet) -> Option<IpAddr> {
        if let Packet::Refusal(_, host) = packet {
            return Some(*host);
        }
        let from = &self.sockets[self.sender(packet)?.0];
        (!from.is_unix()).then_some(from.host)
    }

    fn is_cut(&self, packet: &Packet) -> bool {
        let origin = self.origin(packet);
        origin.is_some_and(|from| self.link(from, self.destination(packet)).cut)
    }

    /// Lets everything arrive that is due. Answers whether something was.
    pub(crate) fn deliver_due(&mut self) -> bool {
        let mut any = false;
        while let Some(entry) = self.packets.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let ((_, order), packet) = entry.remove_entry();
            match self.is_cut(&packet) {
                true => drop(self.held.insert(order, packet)),
                false => self.arrive(packet),
            }
            any = true;
        }
        any
    }

    fn arrive(&mut self, packet: Packet) {
        match packet {
            Packet::Syn { from, to } => self.syn_arrives(from, to),
            Packet::SynAck(to) => {
                let socket = self.socket(to);
                if socket.state == State::Connecting && !socket.dead {
                    socket.state = State::Open;
                    self.transmit(to);
                    self.edge(to);
                }
            }
            Packet::Data(to, bytes) => self.data_arrives(to, bytes),
            Packet::Fin(to) => {
                let socket = self.socket(to);
                socket.fin_received |= !socket.dead;
                self.edge(to);
            }
            Packet::Rst(to) | Packet::Refusal(to, _) => self.rst_arrives(to),
            Packet::Window(to) => self.transmit(to),
            Packet::Edge(to) => self.late_edge(to),
            Packet::ListenerEdge(key) => self.late_listener_edge(&key),
            Packet::Hear(to) => self.peer_hears_late(to),
            Packet::Drip(to) => self.drip(to),
            Packet::Named(naming) => self.tell_name(*naming),
        }
    }

    fn syn_arrives(&mut self, from: SockId, to: Addr) {
        if self.socket(from).state != State::Connecting {
            return;
        }
        if self.find_listener(&to).is_none() {
            // Nobody listens there: the answer is a RST, and "connection refused".
            let there = self.destination_of(&to);
            let delay = self.link(self.sockets[from.0].host, there).latency;
            return self.schedule_in(nanos(delay), Packet::Refusal(from, there));
        }
        match self.welcome(from, &to) {
            Some(server) => self.send(server, Packet::SynAck(from), 0),
            // The backlog is full: silence, and the client tries again.
            None => self.schedule_in(SYN_RETRY, Packet::Syn { from, to }),
        }
    }

    fn destination_of(&self, to: &Addr) -> IpAddr {
        self.listener_host(to)
            .or(to.ip().map(|ip| ip.ip()))
            .unwrap_or([0, 0, 0, 0].into())
    }

    fn data_arrives(&mut self, to: SockId, bytes: Vec<u8>) {
        let socket = self.socket(to);
        socket.incoming -= bytes.len();
        if socket.state == State::Closed || socket.dead {
            return self.reset_other(to);
        }
        let reset = self.random.chance(self.faults.resets);
        let whole = match reset {
            true => self.random.below(bytes.len() as u64 + 1) as usize,
            false => bytes.len(),
        };
        self.socket(to).inbox.extend(&bytes[..whole]);
        self.socket(to).times.arrived = Some(self.now);
        self.peer_hears(to);
        self.edge(to);
        if reset {
            self.reset_other(to);
            self.rst_arrives_anyway(to);
        }
    }

    fn rst_arrives(&mut self, to: SockId) {
        // Both ends have been received: the socket is closed already, and hears of nothing more.
        let other = self.socket(to).other;
        let acked = other.is_some_and(|other| self.socket(other).fin_received);
        let socket = self.socket(to);
        let over = socket.fin_sent && socket.fin_received && acked && !socket.is_unix();
        if !socket.dead && !over {
            self.rst_arrives_anyway(to);
        }
    }

    /// As Linux does it in tcp_reset(): what was received stays, what was to be sent goes.
    fn rst_arrives_anyway(&mut self, to: SockId) {
        let socket = self.socket(to);
        socket.error = Some(match (socket.state, socket.fin_received) {
            (State::Connecting, _) => ErrorKind::ConnectionRefused,
            (_, true) if !socket.is_unix() => ErrorKind::BrokenPipe,
            _ => ErrorKind::ConnectionReset,
        });
        socket.dead = true;
        socket.outbox.clear();
        self.edge(to);
    }
}
