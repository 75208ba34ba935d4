//! A single-threaded, callback-driven reactor for non-blocking sockets.
//!
//! One thread, one loop, every socket. sockeye owns listeners and connections (TCP and Unix
//! stream sockets, plain or with TLS) with their read and write buffers, and calls your program
//! when something has happened. Your program needs no `async`, no `Arc<Mutex>`, no `'static` bound
//! and no lifetime in its types.
//!
//! # An echo server
//!
//! ```no_run
//! use sockeye::{ConnId, Context, Handler, Input, Reactor, Sent};
//! use std::io;
//!
//! struct Echo;
//!
//! impl Handler for Echo {
//!     fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
//!         if cx.send(conn, input.take_all()) == Sent::Wait {
//!             cx.pause_until_drained(conn); // the peer does not read: neither do we
//!         }
//!     }
//! }
//!
//! fn main() -> io::Result<()> {
//!     let mut reactor = Reactor::new()?;
//!     reactor.listen("127.0.0.1:7000")?;
//!     reactor.run(&mut Echo)?;
//!     Ok(())
//! }
//! ```
//!
//! [`guide::echo`] takes it apart, line by line.
//!
//! # The one idea
//!
//! **Callbacks only change state; the loop does the I/O.** A command such as [`Context::send`]
//! puts bytes into a queue. It never touches the socket and never calls your program. So no
//! callback ever runs inside another one, the order of all that happens is fixed, and `&mut self`
//! is enough.
//!
//! # What to look at first
//!
//! | item | what it is |
//! |---|---|
//! | [`Handler`] | the callbacks: your program implements it; only `on_data` has no default |
//! | [`Context`] | the commands (`send`, `close`, `connect`, …) and the questions |
//! | [`Reactor`] | the loop: [`run`](Reactor::run), or [`turn`](Reactor::turn) in a loop of yours |
//! | `Driver` | the reactor behind one descriptor, for use in another event loop (Linux) |
//! | [`Input`], [`Chunk`] | what was received and not yet consumed, and what you take of it |
//! | [`InputBuffer`] | an input of your own, for testing a decoder |
//! | [`Frames`], [`Framed`], [`codec`] | whole messages instead of bytes: lines, prefixes, … |
//! | [`Payload`], [`Sent`] | what `send` takes, and what became of it |
//! | [`Source`], [`Pull`] | what `send_from` takes: output that the loop asks for |
//! | [`Closed`], [`Reason`] | how a connection ended |
//! | [`ConnId`], [`ConnMap`] | the name of a connection, and your state for each |
//! | [`Listen`], [`Connect`] | options of a listener, and of an outbound connection |
//! | [`Config`], [`Limits`] | every number that the loop goes by, with its reason |
//! | [`Builder`] | makes a reactor with some of these numbers changed |
//! | [`Sender`] | posts messages from other threads |
//! | [`Workers`], [`Team`] | several reactors, one a thread; a message to all of them |
//! | [`Event`], [`Tag`] | several protocols in one loop |
//! | [`Stats`], [`Report`], [`Turn`] | what the reactor has done |
//!
//! The [`guide`] explains one idea a page. It begins with [first steps](guide::echo), and has pages
//! for those who come [from a socket how-to](guide::how_to) or [from libuv, asyncio, tokio or
//! mio][coming-from].
//!
//! # The architecture in brief
//!
//! A *turn* is one pass of the loop: wait, accept, read, deliver, expire, flush, reap. Each phase
//! is bounded. What it leaves over goes on a list, and then the next wait does not sleep.
//! [`Reactor::turn`] says which callbacks belong to which phase.
//!
//! Each socket is registered once, edge-triggered, for both directions. Readiness is kept as
//! state: an edge sets a flag, and only a call that would block clears it (or one that moves less
//! than asked, where that proves the same). Slots are freed only in the last phase, so an event
//! never reaches the wrong connection.
//!
//! Everything that is a socket, a thread or a clock is behind one internal edge. The rest is
//! plain state machines, tested without an operating system. `docs/architecture.md` in the
//! repository has the details, and `docs/design.md` the reasons.
//!
//! # Limits and platforms
//!
//! - A reactor uses one thread. For several cores there are [`Workers`], which share nothing.
//! - Stream sockets only: no UDP. [`Context::connect`] looks host names up off the loop;
//!   [`Context::listen`] blocks while it does.
//! - The memory that a peer can use is bounded for each connection: see [`Limits`]. The number of
//!   connections is bounded only by [`Config::max_connections`], and the number of waiting messages
//!   only by [`Config::message_limit`]; by default both are unlimited.
//! - Tested on Linux, with epoll and with mio's poll(2) selector
//!   (`--cfg mio_unsupported_force_poll_poll`), and as a Windows program under wine. Unix sockets,
//!   `Context::watch` and the reactor's own descriptor (`AsFd`) are for Unix.
//!   `docs/platforms.md` says how far each system is checked.
//! - No unsafe code in this crate.
//!
//! # Features
//!
//! - `sim`, off by default: the module `sim`, a simulated network with a virtual clock. Your
//!   handler runs on it as it is, with scripted peers, links that delay and fail, and no sleeps;
//!   one seed repeats everything.
//! - `tls`, off by default: `Listen::tls`, `Connect::tls`, `Context::start_tls`, by rustls; the
//!   guide has a page on it.
//! - `tokio-util`, off by default: `codec::TokioCodec`, for codecs that were written for
//!   `tokio_util::codec`.
//! - `websocket`, off by default: `codec::websocket`, both sides of RFC 6455.
//!
//! Log records go to the `log` crate, with the target `sockeye`; they never contain what peers
//! send.
//!
// A page of a feature: without it, the list of all pages names it.
#![cfg_attr(feature = "websocket", doc = "[coming-from]: guide::coming_from")]
#![cfg_attr(not(feature = "websocket"), doc = "[coming-from]: guide")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod addr;
mod backend;
mod buffer;
mod clock;
mod closed;
pub mod codec;
mod config;
mod conn;
mod context;
mod framed;
mod frames;
pub mod guide;
mod handler;
mod hold;
mod id;
mod listener;
mod mailbox;
mod names;
mod options;
mod post;
mod quietly;
mod reactor;
mod readiness;
#[cfg(feature = "sim")]
pub mod sim;
mod stats;
mod tables;
mod transport;
mod watch;
mod workers;

#[cfg(test)]
mod tests;

/// The crate that [`Input`] (`bytes::Buf`) and shared payloads (`bytes::Bytes`) come from.
pub use bytes;

#[cfg(unix)]
pub use addr::Credentials;
pub use addr::{Addr, AddrParseError, AnyAddr, ToAddr};
pub use buffer::input::{Chunk, Input, InputBuffer};
pub use buffer::payload::{Payload, ToPayload};
pub use buffer::source::{Output, Pull, Pulled, Source};
#[cfg(unix)]
pub use closed::Released;
pub use closed::{Closed, ConnectError, ConnectStep, Deadline, Reason};
pub use config::{Config, ConfigError, Limits, Overflow};
pub use conn::Origin;
pub use context::{Broadcast, Context, Sent};
pub use framed::{FrameHandler, Framed};
pub use frames::Frames;
pub use handler::{Accept, Event, EventKind, Handler};
pub use hold::Hold;
pub use id::{ConnId, ListenerId, Tag, TimerId, WatchId};
pub use mailbox::{SendError, Sender};
pub use names::{Lookup, Resolver, StaticNames};
#[cfg(unix)]
pub use options::Adopt;
#[cfg(feature = "tls")]
pub use options::StartTls;
pub use options::{Connect, KeepAlive, Listen, ToConnect, ToListen};
#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll)
))]
pub use reactor::Driver;
pub use reactor::{Builder, Reactor};
pub use readiness::{Interest, Readiness};
pub use stats::{BudgetHits, ClosedStats, Report, Stats, TlsStats, Turn};
pub use tables::conn_map::ConnMap;
#[cfg(feature = "tls")]
pub use transport::{TlsInfo, TlsVersion};
pub use workers::{HandOver, Running, Team, Worker, WorkerReport, Workers, WorkersReport};

/// The programs of the README are compiled too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
