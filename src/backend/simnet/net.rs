//! The network: its clock, its sockets, and what each reactor is told of them.

mod polling;
mod used;

use super::super::Source;
use super::Post;
use super::faults::{Faults, Link, exhausted};
use super::packets::Packet;
use super::random::Random;
use super::socket::{BUFFER, Owner, SockId, Socket, State};
use crate::addr::{Addr, Target};
use crate::names::StaticNames;
use crate::options::{Connect, Listen, SocketOptions};
use polling::Poller;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

pub(crate) struct Net {
    /// Nanoseconds since the world began.
    pub(crate) now: u64,
    epoch: Instant,
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    pub(super) sockets: Vec<Socket>,
    /// By their key: where they are on the network.
    listeners: BTreeMap<Addr, Listener>,
    pollers: Vec<Poller>,
    /// What is on its way, by the time of its arrival and the order of sending.
    pub(super) packets: BTreeMap<(u64, u64), Packet>,
    /// What waits behind a link that is cut, by the order of sending.
    pub(super) held: BTreeMap<u64, Packet>,
    pub(super) sent: u64,
    /// Of all that reactors have written, and when.
    pub(crate) hash: u64,
    links: BTreeMap<(IpAddr, IpAddr), Link>,
    default_link: Link,
    /// When a direction of a link with limited bandwidth is free again.
    pub(super) busy: BTreeMap<(IpAddr, IpAddr), u64>,
    /// What a send buffer holds at first, and what it grows to with use.
    send_buffers: (usize, usize),
    next_port: u16,
    /// Ports in use when the numbers began anew.
    taken: BTreeSet<u16>,
    /// What other threads are to do.
    pub(super) posts: VecDeque<Post>,
    /// The names of hosts.
    pub(super) names: StaticNames,
}

struct Listener {
    /// The address, as it was asked for.
    local: Addr,
    /// `None`: a scripted peer listens.
    poller: Option<usize>,
    slot: u32,
    host: IpAddr,
    options: SocketOptions,
    backlog: VecDeque<SockId>,
    limit: usize,
    edge: bool,
    /// The edge was late once.
    late: bool,
}

/// A process is stopped, and a callback takes time, for less than this: a second.
const LONG: u64 = 1_000_000_000;

/// The wall clock when a world begins: the first second of the year 2000, in UTC.
const BEGINNING: Duration = Duration::from_secs(946_684_800);

/// What a send buffer grows to (tcp(7), `tcp_wmem`).
const SEND_MOST: usize = 4 * 1024 * 1024;

/// A time in ticks of the network's clock; the longest stand for ever.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Net {
    pub(crate) fn new(seed: u64, faults: Faults) -> Net {
        Net {
            now: 0,
            epoch: Instant::now(),
            random: Random::new(seed),
            faults,
            sockets: Vec::new(),
            listeners: BTreeMap::new(),
            pollers: Vec::new(),
            packets: BTreeMap::new(),
            held: BTreeMap::new(),
            sent: 0,
            hash: 0,
            links: BTreeMap::new(),
            default_link: Link::default(),
            busy: BTreeMap::new(),
            send_buffers: (BUFFER, SEND_MOST),
            next_port: 40_000,
            taken: BTreeSet::new(),
            posts: VecDeque::new(),
            names: StaticNames::new(),
        }
    }

    pub(crate) fn instant(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.now)
    }

    pub(crate) fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + BEGINNING + Duration::from_nanos(self.now)
    }

    pub(crate) fn at(&self, tick: u64) -> Instant {
        self.epoch + Duration::from_nanos(tick)
    }

    /// The tick of an instant that a reactor named.
    pub(crate) fn tick(&self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.epoch))
    }

    /// When the next packet arrives.
    pub(crate) fn next_arrival(&self) -> Option<u64> {
        self.packets.keys().next().map(|(at, _)| *at)
    }

    // ---- Links ----

    pub(crate) fn set_link(&mut self, one: IpAddr, other: IpAddr, link: Link) {
        let healed = !link.cut;
        self.links.insert((one.min(other), one.max(other)), link);
        if healed {
            self.release();
        }
    }

    /// Where two hosts have none of their own.
    pub(crate) fn set_default_link(&mut self, link: Link) {
        self.default_link = link;
        self.release();
    }

    /// What was held sets out again, and what the same end sent later does not overtake it; what is
    /// still cut will be held again.
    fn release(&mut self) {
        let mut first = BTreeMap::new();
        for (order, packet) in std::mem::take(&mut self.held) {
            let mut at = self.now;
            if let Some(host) = self.origin(&packet) {
                let link = self.link(host, self.destination(&packet));
                at = at.saturating_add(nanos(link.latency));
            }
            if let Some(from) = self.sender(&packet) {
                let last = &mut self.sockets[from.0].last_arrival;
                *last = at.max(*last);
                first.insert(from, at);
            }
            self.packets.insert((at, order), packet);
        }
        for ((at, order), packet) in std::mem::take(&mut self.packets) {
            let from = self.sender(&packet).and_then(|from| first.get(&from));
            self.packets
                .insert((from.map_or(at, |first| at.max(*first)), order), packet);
        }
    }

    pub(crate) fn link(&self, one: IpAddr, other: IpAddr) -> &Link {
        let link = self.links.get(&(one.min(other), one.max(other)));
        link.unwrap_or(&self.default_link)
    }

    /// Of sockets that begin from now on.
    pub(crate) fn set_send_buffers(&mut self, first: usize, most: usize) {
        self.send_buffers = (first, most);
    }

    /// Time passes while a process is busy, or stopped: the network goes on meanwhile.
    pub(crate) fn pass(&mut self, time: u64) {
        let until = self.now.saturating_add(time);
        while let Some(at) = self.next_arrival().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.deliver_due();
        }
        self.now = self.now.max(until);
    }

    /// A callback has taken long, perhaps.
    pub(crate) fn after_callback(&mut self) {
        if self.random.chance(self.faults.slow_callbacks) {
            let time = self.random.below(LONG);
            self.pass(time);
        }
    }

    // ---- Other threads ----

    /// Another thread does something at the next call that a reactor makes.
    pub(crate) fn post(&mut self, post: Post) {
        self.posts.push_back(post);
    }

    /// Does another thread do something now?
    pub(super) fn next_post(&mut self) -> Option<Post> {
        let now = !self.posts.is_empty() && self.random.below(4) == 0;
        now.then(|| self.posts.pop_front()).flatten()
    }

    // ---- Listening ----

    /// Answers the listener's key, and its address.
    pub(crate) fn listen(
        &mut self,
        poller: usize,
        listen: &Listen,
        addr: &Addr,
        slot: u32,
    ) -> io::Result<(Addr, Addr)> {
        let host = self.pollers[poller].host;
        if let Addr::Ip(addr) = addr {
            let ip = addr.ip();
            if ip != host && !ip.is_loopback() && !ip.is_unspecified() {
                let said = format!("{ip} is not here: this host is {host}");
                return Err(io::Error::new(ErrorKind::AddrNotAvailable, said));
            }
        }
        self.listen_for(Some(poller), host, listen, addr, slot)
    }

    /// A scripted peer listens.
    pub(crate) fn peer_listen(
        &mut self,
        host: IpAddr,
        listen: &Listen,
    ) -> io::Result<(Addr, Addr)> {
        let Target::Addr(addr) = &listen.target else {
            let said = format!("{} is no IP address: peers have no names", listen.target);
            return Err(io::Error::new(ErrorKind::InvalidInput, said));
        };
        self.listen_for(None, host, listen, addr, 0)
    }

    fn listen_for(
        &mut self,
        poller: Option<usize>,
        host: IpAddr,
        listen: &Listen,
        addr: &Addr,
        slot: u32,
    ) -> io::Result<(Addr, Addr)> {
        let addr = match addr {
            Addr::Ip(ip) if ip.port() == 0 => Addr::Ip(SocketAddr::new(ip.ip(), self.free_port())),
            addr => addr.clone(),
        };
        // All addresses of a host are one.
        let key = match &addr {
            Addr::Ip(ip) if ip.ip().is_unspecified() => Addr::Ip(SocketAddr::new(host, ip.port())),
            addr => addr.clone(),
        };
        if self.listeners.contains_key(&key) {
            return Err(ErrorKind::AddrInUse.into());
        }
        let listener = Listener {
            local: addr.clone(),
            poller,
            slot,
            host,
            options: listen.socket.clone(),
            backlog: VecDeque::new(),
            // One more than was asked for, as Linux has it: sk_acceptq_is_full() in sock.h.
            limit: usize::try_from(listen.backlog).unwrap_or(0) + 1,
            edge: false,
            late: false,
        };
        self.listeners.insert(key.clone(), listener);
        Ok((key, addr))
    }

    /// Those who wait to be accepted are reset (close(2) of a listening socket).
    pub(crate) fn unlisten(&mut self, key: &Addr) {
        let backlog = self.listeners.remove(key).map(|listener| listener.backlog);
        for id in backlog.unwrap_or_default() {
            self.reset_waiting(id);
        }
    }

    pub(crate) fn accept(&mut self, key: &Addr) -> io::Result<(SockId, Addr)> {
        if self.random.chance(self.faults.interrupts) {
            return Err(ErrorKind::Interrupted.into());
        }
        let listener = self.listeners.get_mut(key).ok_or(ErrorKind::NotFound)?;
        let waiting = *listener.backlog.front().ok_or(ErrorKind::WouldBlock)?;
        if self.random.chance(self.faults.would_block) {
            self.listener_edge_later(key.clone());
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.random.chance(self.faults.accept_fails) {
            return Err(exhausted(&mut self.random));
        }
        listener.backlog.pop_front();
        if self.random.chance(self.faults.accept_aborted) {
            self.reset_waiting(waiting);
            return Err(ErrorKind::ConnectionAborted.into());
        }
        let other = self.sockets[waiting.0].other;
        let peer = other.map_or(Addr::Unix(None), |other| {
            self.sockets[other.0].local.clone()
        });
        Ok((waiting, peer))
    }

    /// A scripted peer accepts whoever waits.
    pub(crate) fn peer_accept(&mut self, key: &Addr) -> Option<SockId> {
        let id = self.listeners.get_mut(key)?.backlog.pop_front()?;
        self.sockets[id.0].owner = Owner::Peer;
        self.peer_deaf(id, false);
        Some(id)
    }

    pub(crate) fn register(&mut self, poller: usize, id: SockId, slot: u32) {
        self.sockets[id.0].owner = Owner::Reactor(poller, Some(Source::Conn(slot)));
        self.edge(id);
    }

    // ---- Connecting ----

    /// A reactor connects. `true`: it is through at once, as with Unix sockets.
    pub(crate) fn connect(
        &mut self,
        poller: usize,
        connect: &Connect,
        addr: &Addr,
        to: Source,
    ) -> io::Result<(SockId, bool)> {
        if self.random.chance(self.faults.connect_fails) {
            return Err(exhausted(&mut self.random));
        }
        let (host, owner) = (self.pollers[poller].host, Owner::Reactor(poller, Some(to)));
        let local = connect.route.local;
        let here = local.map_or(host, |local| local.ip());
        if here != host && !here.is_loopback() && !here.is_unspecified() {
            let said = format!("{here} is not here: this host is {host}");
            return Err(io::Error::new(ErrorKind::AddrNotAvailable, said));
        }
        let (id, started) = self.begin_connect(owner, host, addr, &connect.socket);
        started?;
        if let Some(port) = local.map(|local| local.port()).filter(|port| *port != 0) {
            self.sockets[id.0].local = Addr::Ip(SocketAddr::new(host, port));
        }
        Ok((id, self.sockets[id.0].state == State::Open))
    }

    /// The first packet of a connection, or all of it for a Unix socket.
    pub(crate) fn begin_connect(
        &mut self,
        owner: Owner,
        host: IpAddr,
        addr: &Addr,
        options: &SocketOptions,
    ) -> (SockId, io::Result<()>) {
        let local = match addr {
            Addr::Ip(_) => Addr::Ip(SocketAddr::new(host, self.free_port())),
            Addr::Unix(_) => Addr::Unix(None),
        };
        let id = self.add_socket(owner, local, host, options);
        if let Addr::Unix(_) = addr {
            self.sockets[id.0].proof = false;
            match self.welcome(id, addr) {
                Some(server) => {
                    self.sockets[server.0].proof = false;
                    self.sockets[id.0].state = State::Open;
                    self.edge(id);
                }
                None => {
                    let full = self.listeners.contains_key(addr);
                    let socket = &mut self.sockets[id.0];
                    (socket.state, socket.dead) = (State::Closed, true);
                    socket.error = Some(ErrorKind::ConnectionRefused);
                    // There is no file: those of listeners go with them.
                    let nowhere = ErrorKind::NotFound;
                    let error = if full { ErrorKind::WouldBlock } else { nowhere };
                    return (id, Err(error.into()));
                }
            }
        } else {
            self.send(
                id,
                Packet::Syn {
                    from: id,
                    to: addr.clone(),
                },
                0,
            );
        }
        (id, Ok(()))
    }

    fn add_socket(
        &mut self,
        owner: Owner,
        local: Addr,
        host: IpAddr,
        options: &SocketOptions,
    ) -> SockId {
        let mut socket = Socket::new(owner, local, host);
        socket.inbox_limit = options.receive_buffer.unwrap_or(socket.inbox_limit).max(1);
        // One that was asked for keeps its size (SOCK_SNDBUF_LOCK).
        let (first, most) = match options.send_buffer {
            Some(bytes) => (bytes, bytes),
            None => self.send_buffers,
        };
        (socket.outbox_limit, socket.outbox_most) = (first.max(1), most.max(first).max(1));
        // Where a short one is proof none lies. So who asks for these alone means all.
        let all = self.faults.short_io > 0 && self.faults.no_proof == 0;
        socket.proof = !(all || self.random.chance(self.faults.no_proof));
        self.sockets.push(socket);
        SockId(self.sockets.len() - 1)
    }

    /// Who listens where this address leads: exactly there, or for a loopback address on that port
    /// of all addresses. Answers the key.
    pub(super) fn find_listener(&self, addr: &Addr) -> Option<Addr> {
        if self.listeners.contains_key(addr) {
            return Some(addr.clone());
        }
        let ip = addr.ip().filter(|ip| ip.ip().is_loopback())?;
        let listens = |(_, listener): &(&Addr, &Listener)| {
            let everywhere = |local: SocketAddr| local.ip().is_unspecified();
            let local = listener.local.ip().filter(|local| everywhere(*local));
            local.is_some_and(|local| local.port() == ip.port())
        };
        self.listeners
            .iter()
            .find(listens)
            .map(|(key, _)| key.clone())
    }

    /// On which host the listener for this address is.
    pub(super) fn listener_host(&self, addr: &Addr) -> Option<IpAddr> {
        let key = self.find_listener(addr)?;
        self.listeners.get(&key).map(|listener| listener.host)
    }

    /// A listener takes a connection into its backlog. `None`: there is no room, or no listener.
    pub(super) fn welcome(&mut self, client: SockId, addr: &Addr) -> Option<SockId> {
        let key = self.find_listener(addr)?;
        let listener = &self.listeners[&key];
        if listener.backlog.len() >= listener.limit {
            return None;
        }
        let (host, options) = (listener.host, listener.options.clone());
        let id = self.add_socket(Owner::Nobody, addr.clone(), host, &options);
        self.sockets[id.0].state = State::Open;
        self.sockets[id.0].other = Some(client);
        self.sockets[client.0].other = Some(id);
        self.listeners.get_mut(&key)?.backlog.push_back(id);
        self.listener_edge(&key);
        Some(id)
    }

    pub(crate) fn local_addr(&self, id: SockId) -> Addr {
        self.sockets[id.0].local.clone()
    }

    pub(crate) fn short_is_proof(&self, id: SockId) -> bool {
        self.sockets[id.0].proof
    }
}
