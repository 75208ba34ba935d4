//! Names in a simulated world: who has one, and how long it takes to find out.

use super::SharedNet;
use super::net::Net;
use super::packets::Packet;
use crate::names::{Lookup, Resolver};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

/// The resolver of a simulated reactor.
pub(crate) struct SimNames(pub(super) SharedNet);

/// An answer that is on its way.
pub(super) enum Naming {
    Part(Box<dyn FnOnce() + Send>),
    Last(Lookup, io::Result<Vec<SocketAddr>>),
}

/// A look-up takes up to a millisecond, as one in a cache does, and a slow one up to a minute: for
/// so long the system's resolver may ask a server that does not answer (resolv.conf(5)).
const USUAL: u64 = 1_000_000;
const SLOW: u64 = 60_000_000_000;

/// The two parts of an answer come apart by up to a second: each family is a question of its own.
const APART: u64 = 1_000_000_000;

impl Resolver for SimNames {
    fn look_up(&mut self, lookup: Lookup) {
        self.0.lock().look_up(lookup);
    }
}

impl Net {
    /// A host has this name, and these addresses, the best one first.
    pub(crate) fn name(&mut self, name: &str, addrs: impl IntoIterator<Item = IpAddr>) {
        self.names = std::mem::take(&mut self.names).with(name, addrs);
    }

    fn look_up(&mut self, lookup: Lookup) {
        let mut rest = self.names.find(lookup.host(), lookup.port());
        if self.random.chance(self.faults.lookups_fail) {
            rest = Err(io::Error::new(
                ErrorKind::TimedOut,
                "no name server answers",
            ));
        }
        let within = match self.random.chance(self.faults.slow_lookups) {
            true => SLOW,
            false => USUAL,
        };
        let mut delay = self.random.below(within);
        if let Ok(addrs) = &mut rest
            && self.random.chance(self.faults.partial_lookups)
        {
            let first = self.random.below(addrs.len() as u64 + 1) as usize;
            let part = lookup.part(addrs.drain(..first).collect());
            let part = Naming::Part(Box::new(part));
            self.schedule_in(delay, Packet::Named(Box::new(part)));
            delay = delay.saturating_add(self.random.below(APART));
        }
        let last = Naming::Last(lookup, rest);
        self.schedule_in(delay, Packet::Named(Box::new(last)));
    }

    /// An answer is there. It is given as by another thread, for it wakes the loop.
    pub(super) fn tell_name(&mut self, naming: Naming) {
        let mut naming = Some(naming);
        self.post(Box::new(move || {
            match naming.take() {
                Some(Naming::Part(tell)) => tell(),
                Some(Naming::Last(lookup, rest)) => lookup.answer(rest),
                None => {}
            }
            true
        }));
    }
}
