//! A single-threaded, callback-driven reactor for non-blocking sockets.
#![forbid(unsafe_code)]

mod addr;
mod backend;
mod clock;
mod closed;
mod config;
mod conn;
mod conn_map;
mod context;
pub mod guide;
mod handler;
mod id;
mod input;
mod listener;
mod mailbox;
mod options;
mod payload;
mod reactor;
mod readiness;
#[cfg(feature = "sim")]
pub mod sim;
mod slots;
mod stats;
mod timers;
mod watch;
mod write_queue;

#[cfg(test)]
mod tests;

pub use addr::{Addr, AddrParseError, ToAddr};
pub use closed::{Closed, Deadline, Reason};
pub use config::{Config, ConfigError, Limits, Overflow};
pub use conn::Origin;
pub use conn_map::ConnMap;
pub use context::{Broadcast, Context, Sent};
pub use handler::{Accept, Event, EventKind, Handler};
pub use id::{ConnId, ListenerId, Tag, TimerId, WatchId};
pub use input::{Chunk, Input};
pub use mailbox::{SendError, Sender};
pub use options::{Connect, KeepAlive, Listen};
pub use payload::Payload;
pub use reactor::Reactor;
pub use readiness::{Interest, Readiness};
pub use stats::{BudgetHits, ClosedStats, Report, Stats, Turn};
