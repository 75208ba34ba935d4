//! The promises of docs/promises.md on both edges: each scenario runs on real sockets, on the
//! simulated network, and there again with faults that lose nothing, from one description.
//!
//! So the simulation cannot drift from the kernel. What is here is what both can show;
//! `tests/promises` shows the rest on real sockets.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../kit/mod.rs"]
mod kit;

/// Three tests for each scenario.
macro_rules! on_both_edges {
    ($($name:ident,)*) => {$(
        mod $name {
            use crate::kit::edge::On;

            #[test]
            fn on_real_sockets() {
                super::$name(On::Real);
            }

            #[test]
            fn on_the_simulated_network() {
                super::$name(On::Sim);
            }

            #[test]
            fn on_the_simulated_network_with_faults() {
                for seed in 0..6 {
                    super::$name(On::Faulty(seed));
                }
            }
        }
    )*};
}

mod closing;
mod frames;
mod looping;
mod opening;
mod parts;
mod reading;
mod sources;
mod time;
mod writing;
