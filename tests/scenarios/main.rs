//! The promises of docs/promises.md on both edges: each scenario runs on real sockets, on the
//! simulated network, and there again with faults that lose nothing, from one description; and over
//! Unix sockets of both, where these are no different. `checks/tests/tls` runs the same files by
//! TLS.
//!
//! So the simulation cannot drift from the kernel. What is here is what both can show;
//! `tests/promises` shows the rest on real sockets.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../kit/mod.rs"]
mod kit;

use kit::edge::{on_both_edges, on_every_edge};

mod closing;
mod closing_ways;
mod connecting;
mod fairness;
mod finishing;
mod frames;
mod listening;
mod looping;
mod parts;
mod reading;
mod sources;
mod time;
mod writing;
mod writing_many;
