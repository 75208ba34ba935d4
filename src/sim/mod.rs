//! A simulated network with a virtual clock: the same handler, without sockets, sleeps or flakes.
//!
//! A [`World`] owns handlers, each on a [`Reactor`] of its own, and scripted [`Peer`]s. Everything
//! under test is the real thing (reactor, context, connections, queues, timers); only the edge to
//! the operating system is replaced. All that happens follows from one seed, and happens again with
//! it: `SOCKEYE_SEED=7 cargo test NAME`.
//!
//! ```
//! use sockeye::sim::World;
//! use sockeye::{ConnId, Context, Handler, Input, Sent};
//!
//! struct Echo;
//! impl Handler for Echo {
//!     fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
//!         if cx.send(conn, input.take_all()) == Sent::Wait {
//!             cx.pause_until_drained(conn);
//!         }
//!     }
//! }
//!
//! let mut world = World::new();
//! world.start("server", Echo, |reactor| reactor.listen("10.0.0.1:7000").map(drop));
//! let ann = world.connect("10.0.0.1:7000");
//! ann.send("hi\n");
//! world.settle();
//! assert_eq!(ann.received(), "hi\n");
//! ann.close();
//! world.settle();
//! world.assert_no_leaks();
//! ```
//!
//! [`Reactor`]: crate::Reactor

mod clock;
mod node;
mod peer;
mod seeds;
mod trace;
mod working;
mod world;

pub use crate::backend::simnet::faults::{Faults, Link};
pub use clock::Clock;
pub use node::Node;
pub use peer::{Pace, Peer, PeerListener, Traffic};
pub use seeds::seeds;
pub use world::World;
