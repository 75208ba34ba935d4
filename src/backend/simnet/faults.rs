//! What may go wrong on the simulated network.

use super::random::Random;
use std::io;
use std::time::Duration;

/// How often things go wrong: each a chance in thousand, 0 for never, which is the default.
///
/// A real kernel does all of this, seldom. With a seed it happens often, and the same way again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Faults {
    /// Of a read or write: it moves fewer bytes than it could, down to one. Only on connections
    /// where a short one proves nothing (as Unix sockets, or systems other than Linux). Without
    /// `no_proof` these are all that begin while this is set.
    pub short_io: u16,
    /// Of a new connection, each of its ends: it is one of those. 0 with `short_io`: all are.
    pub no_proof: u16,
    /// Of a read, write, accept, or look whether a connect is through: it would block, although it
    /// need not; an edge follows later. Reads of a socket whose own side is shut are spared: the
    /// loop trusts the last read before a close, as it may trust a kernel.
    pub would_block: u16,
    /// Of a read or write: the system is short of buffers or memory (ENOBUFS, ENOMEM), and no edge
    /// tells that it has some again.
    pub shortages: u16,
    /// Of a wait: readiness is reported for a connection or listener that has none.
    pub spurious: u16,
    /// Of readiness: it is reported late, by up to a millisecond, and once.
    pub late_edges: u16,
    /// Of a wait with several events: they come in another order.
    pub reordered: u16,
    /// Of a wait, read, write or accept: a signal ends it (EINTR). With 1000 no call ever succeeds,
    /// which ends as a spin.
    pub interrupts: u16,
    /// Of an accept: no descriptors, buffers or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM); who waits
    /// stays in the backlog.
    pub accept_fails: u16,
    /// Of an accept: the peer is gone (ECONNABORTED).
    pub accept_aborted: u16,
    /// Of a connect: no descriptors, buffers or memory.
    pub connect_fails: u16,
    /// Of a look-up of a name: no server of names answers.
    pub lookups_fail: u16,
    /// Of a look-up of a name: it takes up to a minute. A usual one takes up to a millisecond.
    pub slow_lookups: u16,
    /// Of a look-up of a name: the answer comes in two parts.
    pub partial_lookups: u16,
    /// Of a piece of data that arrives: the connection is reset, at any byte of it.
    pub resets: u16,
    /// Of a piece of data that is sent: it travels in two.
    pub splits: u16,
    /// Of data that arrives at a scripted peer: it reads late, by up to ten milliseconds.
    pub slow_peers: u16,
    /// Of a wait: the process is stopped, for up to a second, and the network goes on meanwhile. It
    /// is stopped before the wait, which then tells all; or after it, and what came meanwhile is
    /// for the next one; or in it, which a signal ends then, without an event.
    pub stalls: u16,
    /// Of a callback: it takes long, up to a second, and the network goes on meanwhile. The time
    /// passes when the callback has done everything; for one in which it passes earlier there is
    /// [`Clock::spend`](crate::sim::Clock::spend).
    pub slow_callbacks: u16,
}

impl Faults {
    /// A little of everything: what the loop itself is tested with.
    pub fn some() -> Faults {
        Faults {
            short_io: 200,
            no_proof: 500,
            would_block: 50,
            shortages: 5,
            spurious: 50,
            late_edges: 100,
            reordered: 500,
            interrupts: 20,
            accept_fails: 50,
            accept_aborted: 20,
            connect_fails: 20,
            lookups_fail: 50,
            slow_lookups: 50,
            partial_lookups: 300,
            resets: 5,
            splits: 200,
            slow_peers: 50,
            stalls: 2,
            slow_callbacks: 2,
        }
    }
}

/// The errors of a process, or a system, that has used up what it has.
const EXHAUSTED: [(i32, &str); 4] = [
    (EMFILE, "EMFILE"),
    (ENFILE, "ENFILE"),
    (ENOBUFS, "ENOBUFS"),
    (ENOMEM, "ENOMEM"),
];

#[cfg(not(windows))]
const EMFILE: i32 = 24;
#[cfg(not(windows))]
const ENFILE: i32 = 23;
#[cfg(not(windows))]
const ENOMEM: i32 = 12;
#[cfg(any(target_os = "linux", target_os = "android"))]
const ENOBUFS: i32 = 105;
#[cfg(not(any(windows, target_os = "linux", target_os = "android")))]
const ENOBUFS: i32 = 55;

// Winsock has no other name for "too many open files", and none for "out of memory".
#[cfg(windows)]
const EMFILE: i32 = 10024;
#[cfg(windows)]
const ENFILE: i32 = EMFILE;
#[cfg(windows)]
const ENOBUFS: i32 = 10055;
#[cfg(windows)]
const ENOMEM: i32 = ENOBUFS;

/// One of the errors of a system that has run out of something.
pub(super) fn exhausted(random: &mut Random) -> io::Error {
    let which = random.below(EXHAUSTED.len() as u64) as usize;
    io::Error::from_raw_os_error(EXHAUSTED[which].0)
}

/// One of the errors of a system that is short of memory for now.
pub(super) fn short(random: &mut Random) -> io::Error {
    let which = 2 + random.below(2) as usize;
    io::Error::from_raw_os_error(EXHAUSTED[which].0)
}

/// The name of such an error: its text and its number are the system's own.
pub(crate) fn name_of_exhausted(error: &io::Error) -> Option<&'static str> {
    let code = error.raw_os_error()?;
    let known = EXHAUSTED.iter().find(|(known, _)| *known == code);
    known.map(|(_, name)| *name)
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

    /// This link with so much jitter.
    pub fn jitter(self, jitter: Duration) -> Link {
        Link { jitter, ..self }
    }

    /// This link with so many bytes a second, one way.
    pub fn bandwidth(self, bytes: u64) -> Link {
        let bandwidth = Some(bytes);
        Link { bandwidth, ..self }
    }
}
