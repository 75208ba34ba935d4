//! What may go wrong on the simulated network.

use std::time::Duration;

/// How often things go wrong: each a chance in thousand, 0 for never, which is the default.
///
/// A real kernel does all of this, seldom. With a seed it happens often, and the same way again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Faults {
    /// Of a read or write: it moves fewer bytes than it could, down to one. Only on connections
    /// where a short one proves nothing (as Unix sockets, or systems other than Linux and the
    /// BSDs).
    pub short_io: u16,
    /// Of a new connection: it is one of those.
    pub no_proof: u16,
    /// Of a read or write: it would block, although it could move bytes; an edge follows later.
    pub would_block: u16,
    /// Of a wait: readiness is reported for a connection that has none.
    pub spurious: u16,
    /// Of readiness: it is reported late, by up to a millisecond.
    pub late_edges: u16,
    /// Of a wait with several events: they come in another order.
    pub reordered: u16,
    /// Of a wait: a signal ends it (EINTR).
    pub interrupts: u16,
    /// Of an accept: no descriptors or memory; who waits stays in the backlog.
    pub accept_fails: u16,
    /// Of an accept: the peer is gone (ECONNABORTED).
    pub accept_aborted: u16,
    /// Of a connect: no descriptors or memory.
    pub connect_fails: u16,
    /// Of a piece of data that arrives: the connection is reset instead.
    pub resets: u16,
    /// Of a piece of data that is sent: it travels in two.
    pub splits: u16,
    /// Of a wait: the process was stopped meanwhile, for up to a second.
    pub stalls: u16,
}

impl Faults {
    /// A little of everything: what the loop itself is tested with.
    pub fn some() -> Faults {
        Faults {
            short_io: 200,
            no_proof: 500,
            would_block: 50,
            spurious: 50,
            late_edges: 100,
            reordered: 500,
            interrupts: 20,
            accept_fails: 50,
            accept_aborted: 20,
            connect_fails: 20,
            resets: 5,
            splits: 200,
            stalls: 2,
        }
    }
}

/// What lies between two hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// How long a byte travels, one way; default zero.
    pub latency: Duration,
    /// Up to this much is added to it at random; default zero.
    pub jitter: Duration,
    /// Bytes a second, one way; default `None`: no limit.
    pub bandwidth: Option<u64>,
    /// Is it cut? What is sent meanwhile arrives when it is whole again, as TCP sees to.
    pub cut: bool,
}

impl Default for Link {
    fn default() -> Link {
        Link {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            bandwidth: None,
            cut: false,
        }
    }
}

impl Link {
    /// A link of this latency.
    pub fn latency(latency: Duration) -> Link {
        Link {
            latency,
            ..Link::default()
        }
    }
}
