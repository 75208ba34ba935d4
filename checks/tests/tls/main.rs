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
