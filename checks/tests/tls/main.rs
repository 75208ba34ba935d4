//! TLS under a connection, in the simulated world and on real sockets.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../tests/kit/mod.rs"]
mod kit;

#[cfg(feature = "tls")]
mod authority;
#[cfg(all(feature = "tls", feature = "sim"))]
mod cuts;
#[cfg(feature = "tls")]
mod examples;
#[cfg(all(feature = "tls", feature = "sim"))]
mod handshakes;
#[cfg(all(feature = "tls", feature = "sim"))]
mod held;
#[cfg(all(
    feature = "tls",
    target_os = "linux",
    not(mio_unsupported_force_poll_poll)
))]
mod hosts;
#[cfg(all(feature = "tls", feature = "sim"))]
mod sessions;
#[cfg(all(feature = "tls", feature = "sim"))]
mod simulated;
#[cfg(all(feature = "tls", feature = "sim"))]
mod upgrades;

// The scenarios, by TLS.
#[cfg(all(feature = "tls", feature = "sim"))]
mod over_tls;
#[cfg(all(feature = "tls", feature = "sim"))]
use over_tls::{on_both_edges, on_every_edge};
#[cfg(all(feature = "tls", feature = "sim"))]
#[path = "../../../tests/scenarios/closing.rs"]
mod closing;
#[cfg(all(feature = "tls", feature = "sim"))]
#[path = "../../../tests/scenarios/closing_ways.rs"]
mod closing_ways;
#[cfg(all(feature = "tls", feature = "sim"))]
#[path = "../../../tests/scenarios/fairness.rs"]
mod fairness;
#[cfg(all(feature = "tls", feature = "sim"))]
#[path = "../../../tests/scenarios/finishing.rs"]
mod finishing;
#[cfg(all(feature = "tls", feature = "sim"))]
#[path = "../../../tests/scenarios/frames.rs"]
mod frames;
#[cfg(all(feature = "tls", feature = "sim"))]
#[path = "../../../tests/scenarios/listening.rs"]
mod listening;
#[cfg(all(feature = "tls", feature = "sim"))]
#[path = "../../../tests/scenarios/looping.rs"]
mod looping;
#[cfg(all(feature = "tls", feature = "sim"))]
#[path = "../../../tests/scenarios/parts.rs"]
mod parts;
#[cfg(all(feature = "tls", feature = "sim"))]
#[path = "../../../tests/scenarios/reading.rs"]
mod reading;
#[cfg(all(feature = "tls", feature = "sim"))]
#[path = "../../../tests/scenarios/sources.rs"]
mod sources;
#[cfg(all(feature = "tls", feature = "sim"))]
#[path = "../../../tests/scenarios/time.rs"]
mod time;
#[cfg(all(feature = "tls", feature = "sim"))]
#[path = "../../../tests/scenarios/writing.rs"]
mod writing;
#[cfg(all(feature = "tls", feature = "sim"))]
#[path = "../../../tests/scenarios/writing_many.rs"]
mod writing_many;
