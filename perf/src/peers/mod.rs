//! The servers that are compared: each one echoes, and each one broadcasts lines.
//!
//! *Echo*: bytes come back unchanged. *Broadcast*: every connection is a member from the moment
//! it is accepted, and each complete line, newline included, goes to every member, the sender
//! too. Both must survive members that read slowly.
//!
//! Each is written as its documentation shows it, with the settings that make it fast where it
//! offers any: `TCP_NODELAY` everywhere, one thread for all connections, large read buffers.

mod by_calloop;
mod by_epoll;
mod by_message_io;
mod by_mill_net;
mod by_mio;
pub(crate) mod by_sockeye;
mod by_tokio;
mod by_workers;
pub(crate) mod in_c;
mod lines;
mod plain;

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};

use clap::ValueEnum;
use rustix::process::{Signal, set_parent_process_death_signal};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::Result;

/// What a server does with what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Echo,
    Broadcast,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Broadcast => "broadcast",
        }
    }
}

/// How large a server's read buffer is, where the peer lets us say. One buffer for all
/// connections may be larger than one that each has for itself.
const SHARED_BUFFER: usize = 256 * 1024;
const OWN_BUFFER: usize = 64 * 1024;

pub(crate) struct Peer {
    /// As it is named on the command line and in the plots.
    pub(crate) name: &'static str,
    /// The crate or the library whose version is told.
    pub(crate) package: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    /// Serves in this process, for ever.
    Rust(fn(Mode) -> Result<()>),
    /// A program in C: its source, and the library that `pkg-config` must know.
    C(in_c::Program),
}

/// The name of ours.
pub(crate) const OURS: &str = "sockeye";

/// What all others are compared with.
pub(crate) const BASELINE: &str = "c-epoll";

/// What the baseline is where there is no C compiler.
pub(crate) const SECOND_BASELINE: &str = "epoll";

/// In the order of the tables. `main.rs` has no other list.
pub(crate) const ALL: &[Peer] = &[
    Peer {
        name: BASELINE,
        package: "",
        about: "a hand-written epoll loop in C: edge-triggered, one buffer, one send a turn",
        kind: Kind::C(in_c::EPOLL),
    },
    Peer {
        name: OURS,
        package: "sockeye",
        about: "the handlers of examples/echo.rs and examples/broadcast.rs",
        kind: Kind::Rust(by_sockeye::serve),
    },
    Peer {
        name: "mio",
        package: "mio",
        about: "the same hand-written loop in Rust, on bare mio",
        kind: Kind::Rust(by_mio::serve),
    },
    Peer {
        name: SECOND_BASELINE,
        package: "rustix",
        about: "the same hand-written loop in Rust, on epoll, by rustix: system calls in line",
        kind: Kind::Rust(by_epoll::serve),
    },
    Peer {
        name: "tokio",
        package: "tokio",
        about: "current_thread runtime, a task for each connection, channels to broadcast",
        kind: Kind::Rust(by_tokio::serve),
    },
    Peer {
        name: "calloop",
        package: "calloop",
        about: "a `Generic` source for each connection, edge-triggered",
        kind: Kind::Rust(by_calloop::serve),
    },
    Peer {
        name: "message-io",
        package: "message-io",
        about: "`Transport::Tcp`, `for_each`; it sends at once and spins where a socket is full",
        kind: Kind::Rust(by_message_io::serve),
    },
    Peer {
        name: "mill-net",
        package: "mill-net",
        about: "`TcpServer` on `EventLoop::new_low_latency`, which calls handlers in the loop",
        kind: Kind::Rust(by_mill_net::serve),
    },
    Peer {
        name: "libevent",
        package: "libevent",
        about: "bufferevents, in C; what is due is written after the callbacks",
        kind: Kind::C(in_c::LIBEVENT),
    },
    Peer {
        name: "libuv",
        package: "libuv",
        about: "`uv_try_write` at each read, then `uv_write` for the rest, in C",
        kind: Kind::C(in_c::LIBUV),
    },
    Peer {
        name: "usockets",
        package: "usockets",
        about: "`us_socket_write` at each read, in C; its sources are where `USOCKETS` says",
        kind: Kind::C(in_c::USOCKETS),
    },
];

/// Those of two threads, for `perf workers`. Its figures beside the ones above would mislead: they
/// have two processors.
pub(crate) const OF_TWO: &[Peer] = &[
    Peer {
        name: "workers",
        package: "sockeye",
        about: "two workers, and the loop that accepts for them",
        kind: Kind::Rust(by_workers::serve),
    },
    Peer {
        name: "workers-1",
        package: "sockeye",
        about: "one worker, and the loop that accepts for it",
        kind: Kind::Rust(by_workers::serve_by_one),
    },
    Peer {
        name: "workers-reuse-port",
        package: "sockeye",
        about: "two workers, each with a socket of its own at the port",
        kind: Kind::Rust(by_workers::serve_reuse_port),
    },
    Peer {
        name: "tokio-2",
        package: "tokio",
        about: "the multi-thread runtime with two threads",
        kind: Kind::Rust(by_tokio::serve_by_two),
    },
    Peer {
        name: "c-epoll-2",
        package: "",
        about: "two hand-written loops in C on SO_REUSEPORT",
        kind: Kind::C(in_c::EPOLL_PAIR),
    },
];

pub(crate) fn find(name: &str) -> Result<&'static Peer> {
    let found = ALL.iter().chain(OF_TWO).find(|peer| peer.name == name);
    found.ok_or_else(|| format!("there is no server {name}").into())
}

/// Runs the server `name` in this process, until it is killed.
pub(crate) fn serve(name: &str, mode: Mode) -> Result<()> {
    // However the runner ends, nothing of it stays behind.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    match &find(name)?.kind {
        Kind::Rust(serve) => serve(mode),
        Kind::C(_) => Err(format!("{name} is a program in C").into()),
    }
}

/// The listener of those that do not make their own.
fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    // Accepted sockets inherit it, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0))))?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from(socket);
    announce(listener.local_addr()?)?;
    Ok(listener)
}

/// Tells the runner where to find this server.
fn announce(addr: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{addr}")?;
    out.flush()
}
