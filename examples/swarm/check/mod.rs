//! The swarm without its command line: what one seed does and checks. `tests/sim/swarm.rs` uses
//! it too.

#![allow(
    unreachable_pub,
    unused_imports,
    reason = "a program and a test have it, each with uses of its own"
)]

mod actor;
mod acts;
mod dials;
mod echo;
mod judge;
mod ledger;
mod more;
mod plan;
mod player;
mod random;
mod run;
mod secure;
mod shrink;
mod sources;
mod team;

pub use plan::{Cut, Plan};
pub use run::{Outcome, run, run_traced};
pub use shrink::shrink;
