//! What an operation allocates, counted.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../tests/kit/mod.rs"]
mod kit;

#[cfg(feature = "tls")]
#[path = "../tls/authority.rs"]
mod authority;
#[cfg(feature = "sim")]
mod claims;
// mio's poll(2) selector allocates in each wait.
#[cfg(not(mio_unsupported_force_poll_poll))]
mod counted;
