//! What each reactor is told of the network, and when.

use super::super::super::Source;
use super::super::packets::Packet;
use super::super::socket::{Owner, SockId, Socket};
use super::{LONG, Listener, Net};
use crate::addr::Addr;
use crate::readiness::Readiness;
use std::net::IpAddr;

/// What a reactor's selector is in a kernel.
pub(super) struct Poller {
    pub(super) host: IpAddr,
    edges: Vec<Edge>,
    /// A wake is among them.
    woken: bool,
    batch: usize,
}

#[derive(Clone)]
enum Edge {
    Wake,
    Conn(SockId),
    Listener(Addr),
}

impl Net {
    pub(crate) fn add_poller(&mut self, host: IpAddr, batch: usize) -> usize {
        self.pollers.push(Poller {
            host,
            edges: Vec::new(),
            woken: false,
            batch,
        });
        self.pollers.len() - 1
    }

    pub(crate) fn wake(&mut self, poller: usize) {
        let poller = &mut self.pollers[poller];
        if !std::mem::replace(&mut poller.woken, true) {
            poller.edges.push(Edge::Wake);
        }
    }

    /// Would a wait of this reactor return now?
    pub(crate) fn has_events(&self, poller: usize) -> bool {
        !self.pollers[poller].edges.is_empty()
    }

    /// The readiness of this end may have changed: its poller tells of it once.
    pub(in super::super) fn edge(&mut self, id: SockId) {
        let socket = &mut self.sockets[id.0];
        if let (Owner::Reactor(poller, Some(_)), false) = (socket.owner, socket.edge) {
            socket.edge = true;
            self.pollers[poller].edges.push(Edge::Conn(id));
        }
    }

    pub(in super::super) fn listener_edge(&mut self, key: &Addr) {
        if let Some(listener) = self.listeners.get_mut(key)
            && let Some(poller) = listener.poller
            && !std::mem::replace(&mut listener.edge, true)
        {
            let edges = &mut self.pollers[poller].edges;
            edges.push(Edge::Listener(key.clone()));
        }
    }

    /// One wait: the events of a batch, and whether the batch was full.
    pub(crate) fn poll(&mut self, poller: usize) -> (Vec<(Source, Readiness)>, bool) {
        if self.random.chance(self.faults.stalls) {
            let time = self.random.below(LONG);
            let when = self.random.below(3);
            let told = match when {
                0 => (Vec::new(), false),
                1 => self.take_events(poller),
                _ => {
                    self.pass(time);
                    return self.take_events(poller);
                }
            };
            self.pass(time);
            return told;
        }
        if self.random.chance(self.faults.interrupts) {
            return (Vec::new(), false);
        }
        self.take_events(poller)
    }

    fn take_events(&mut self, poller: usize) -> (Vec<(Source, Readiness)>, bool) {
        let mut edges = std::mem::take(&mut self.pollers[poller].edges);
        if self.random.chance(self.faults.reordered) {
            self.random.shuffle(&mut edges);
        }
        let mut events = Vec::new();
        let batch = self.pollers[poller].batch;
        let kept = edges.split_off(edges.len().min(batch));
        // A kernel has forgotten a socket that is closed: it fills no batch.
        let full = edges.len() == batch && edges.iter().any(|edge| self.is_live(edge));
        edges
            .into_iter()
            .for_each(|edge| events.extend(self.event(poller, edge)));
        self.pollers[poller].edges.extend(kept);
        events.extend(self.spurious(poller));
        (events, full)
    }

    /// Is it about something that is still there?
    fn is_live(&self, edge: &Edge) -> bool {
        match edge {
            Edge::Wake => true,
            Edge::Listener(addr) => self.listeners.contains_key(addr),
            Edge::Conn(id) => matches!(self.sockets[id.0].owner, Owner::Reactor(_, Some(_))),
        }
    }

    fn event(&mut self, poller: usize, edge: Edge) -> Option<(Source, Readiness)> {
        match edge {
            Edge::Wake => {
                self.pollers[poller].woken = false;
                Some((Source::Wake, Readiness::READABLE))
            }
            Edge::Listener(addr) => {
                let listener = self.listeners.get_mut(&addr)?;
                listener.edge = false;
                let late = std::mem::take(&mut listener.late);
                if !late && self.random.chance(self.faults.late_edges) {
                    self.listener_edge_later(addr);
                    return None;
                }
                let waits = !listener.backlog.is_empty();
                waits.then_some((Source::Listener(listener.slot), Readiness::READABLE))
            }
            Edge::Conn(id) => {
                self.sockets[id.0].edge = false;
                let late = std::mem::take(&mut self.sockets[id.0].late);
                if !late && self.random.chance(self.faults.late_edges) {
                    self.edge_later(id);
                    return None;
                }
                let socket = &self.sockets[id.0];
                let Owner::Reactor(_, Some(to)) = socket.owner else {
                    return None;
                };
                let readiness = socket.readiness();
                (readiness != Readiness::default()).then_some((to, readiness))
            }
        }
    }

    /// This end is looked at again within a millisecond.
    pub(in super::super) fn edge_later(&mut self, id: SockId) {
        let delay = self.random.below(1_000_000);
        self.schedule_in(delay, Packet::Edge(id));
    }

    /// An edge that was late comes now, and is not late a second time.
    pub(in super::super) fn late_edge(&mut self, id: SockId) {
        self.sockets[id.0].late = true;
        self.edge(id);
    }

    pub(in super::super) fn late_listener_edge(&mut self, key: &Addr) {
        if let Some(listener) = self.listeners.get_mut(key) {
            listener.late = true;
            self.listener_edge(key);
        }
    }

    pub(super) fn listener_edge_later(&mut self, key: Addr) {
        let delay = self.random.below(1_000_000);
        self.schedule_in(delay, Packet::ListenerEdge(key));
    }

    /// Readiness that is not there: a kernel may always be wrong about it.
    fn spurious(&mut self, poller: usize) -> Option<(Source, Readiness)> {
        if !self.random.chance(self.faults.spurious) {
            return None;
        }
        let ours = |socket: &Socket| match socket.owner {
            Owner::Reactor(owner, to) if owner == poller => to,
            _ => None,
        };
        let listening = |listener: &Listener| {
            let ours = listener.poller == Some(poller);
            ours.then_some(Source::Listener(listener.slot))
        };
        let conns = self.sockets.iter().filter_map(ours);
        let listeners = self.listeners.values().filter_map(listening);
        let all: Vec<Source> = conns.chain(listeners).collect();
        let source = *all.get(self.random.below(all.len() as u64) as usize)?;
        let both = Readiness::READABLE | Readiness::WRITABLE;
        let all = [
            both,
            Readiness::READABLE,
            Readiness::HANG_UP,
            Readiness::ERROR,
        ];
        let readiness = all[self.random.below(all.len() as u64) as usize];
        Some((source, readiness))
    }
}
