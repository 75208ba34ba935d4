//! How a listener or an outbound connection is asked for.

use crate::addr::{Addr, Target, ToAddr};
use crate::config::Limits;
use crate::id::Tag;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Options of a socket, the same for listeners (whose connections inherit them) and connects.
#[derive(Clone, Debug)]
pub(crate) struct SocketOptions {
    pub(crate) nodelay: bool,
    pub(crate) keep_alive: Option<KeepAlive>,
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) send_buffer: Option<usize>,
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions {
            nodelay: true,
            keep_alive: None,
            receive_buffer: None,
            send_buffer: None,
        }
    }
}

impl SocketOptions {
    /// Refuses what the system would take for something else. It counts in `int`.
    pub(crate) fn check(&self) -> io::Result<()> {
        let refuse = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        let buffers = [
            ("receive_buffer", self.receive_buffer),
            ("send_buffer", self.send_buffer),
        ];
        for (name, bytes) in buffers {
            if let Some(bytes) = bytes.filter(|bytes| i32::try_from(*bytes).is_err()) {
                return refuse(format!("`{name}` ({bytes}) must be at most {}", i32::MAX));
            }
        }
        match self.keep_alive {
            Some(times) if times.idle.is_zero() => {
                refuse("`keep_alive`: `idle` must not be zero".into())
            }
            Some(times) if times.interval.is_zero() => {
                refuse("`keep_alive`: `interval` must not be zero".into())
            }
            Some(times) if times.count == 0 => {
                refuse("`keep_alive`: `count` must not be zero".into())
            }
            _ => Ok(()),
        }
    }
}

/// When the system probes a silent peer, and when it gives the peer up (tcp(7), `TCP_KEEPIDLE`).
///
/// The system counts whole seconds: a part of one counts as a whole one. None of the three may be
/// zero, and Linux takes no more than 32,767 seconds and 127 probes.
///
/// A peer that died without a word is then reported as `Reason::Io` with `ETIMEDOUT`. OpenBSD has
/// one set of times and one count for the whole system, and uses these instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence before the first probe.
    pub idle: Duration,
    /// Time between two probes.
    pub interval: Duration,
    /// Probes without an answer until the peer is given up. Windows uses a count of its own.
    pub count: u32,
}

macro_rules! common_options {
    () => {
        /// The tag of its events. Default: the tag of the event in whose callback it is made.
        pub fn tag(mut self, tag: Tag) -> Self {
            self.tag = Some(tag);
            self
        }

        /// Limits that replace those in [`Config`](crate::Config).
        pub fn limits(mut self, limits: Limits) -> Self {
            self.limits = Some(limits);
            self
        }

        /// No byte in either direction for this long, and `on_deadline` is called with `Idle`.
        pub fn idle(mut self, idle: Duration) -> Self {
            self.idle = Some(idle);
            self
        }

        /// `TCP_NODELAY` (not for Unix sockets); default `true`: the loop itself combines what is
        /// sent within a turn, and Nagle's algorithm would only delay the last segment.
        #[doc(alias("TCP_NODELAY", "Nagle"))]
        pub fn nodelay(mut self, on: bool) -> Self {
            self.socket.nodelay = on;
            self
        }

        /// `SO_KEEPALIVE` with its three values (not for Unix sockets); default off.
        #[doc(alias = "SO_KEEPALIVE")]
        pub fn keep_alive(mut self, keep_alive: KeepAlive) -> Self {
            self.socket.keep_alive = Some(keep_alive);
            self
        }

        /// `SO_RCVBUF`, in bytes; set before the handshake, because it bounds the window (tcp(7)).
        /// Default: the system tunes it. The system has bounds of its own and applies them silently
        /// (on Linux at most `net.core.rmem_max` and at least 2,304 bytes, after doubling the
        /// value). A value of 2 GiB or more is refused.
        #[doc(alias = "SO_RCVBUF")]
        pub fn receive_buffer(mut self, bytes: usize) -> Self {
            self.socket.receive_buffer = Some(bytes);
            self
        }

        /// `SO_SNDBUF`, in bytes. Default: the system tunes it. For its bounds see
        /// `receive_buffer`.
        #[doc(alias = "SO_SNDBUF")]
        pub fn send_buffer(mut self, bytes: usize) -> Self {
            self.socket.send_buffer = Some(bytes);
            self
        }
    };
}

/// Options of [`Context::listen`](crate::Context::listen); often an address alone is enough.
#[derive(Clone, Debug)]
pub struct Listen {
    pub(crate) target: Target,
    pub(crate) tag: Option<Tag>,
    pub(crate) limits: Option<Limits>,
    pub(crate) idle: Option<Duration>,
    pub(crate) socket: SocketOptions,
    pub(crate) backlog: i32,
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) only_v6: Option<bool>,
    pub(crate) last_word: Option<Arc<[u8]>>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<StartTls>,
    pub(crate) mode: Option<u32>,
}

impl Listen {
    /// Listens on this address. Port 0 lets the system choose: ask
    /// [`Context::listener_addr`](crate::Context::listener_addr).
    ///
    /// If several servers start on one Unix path at the same time, one of them gets it, and the
    /// others get the error that it is in use. To decide this, a file `PATH.sockeye-lock` exists
    /// while one of them starts.
    pub fn new(addr: impl ToAddr) -> Listen {
        Listen {
            target: addr.into().0,
            tag: None,
            limits: None,
            idle: None,
            socket: SocketOptions::default(),
            backlog: 1024,
            reuse_address: true,
            reuse_port: false,
            only_v6: None,
            last_word: None,
            #[cfg(feature = "tls")]
            tls: None,
            mode: None,
        }
    }

    common_options!();

    /// What to send to a peer that is refused, by `on_accept` or by
    /// [`Config::max_connections`](crate::Config::max_connections): "503", "too many". Default:
    /// nothing.
    ///
    /// It is one write, followed by the end at once; the loop does not wait for the peer. So it may
    /// be lost, especially if the peer has already sent something, because a close with unread
    /// input is a reset (RFC 2525, 2.17). If you need more, accept the peer, send, and close.
    pub fn last_word(mut self, bytes: impl Into<Vec<u8>>) -> Listen {
        self.last_word = Some(bytes.into().into());
        self
    }

    /// Speaks TLS with those who connect, as the server that this configuration describes: its
    /// certificates (by name too, with a resolver), its versions and suites, ALPN, whether clients
    /// are to show a certificate. Default: plain.
    ///
    /// `on_accept` comes before the handshake, and `on_open` when it is through; what it has come
    /// to is in [`Context::tls`](crate::Context::tls). One that fails is told to nobody:
    /// [`TlsStats`](crate::TlsStats) counts it. From `on_open` on all is as it is without. A peer
    /// that is refused hears no last word, for that would be no TLS.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: Arc<rustls::ServerConfig>) -> Listen {
        self.tls = Some(StartTls::server(config));
        self
    }

    /// The mode of the socket's file, for Unix paths: it says who may connect, 0o600 for this user
    /// alone (unix(7)). Default: 0o777 minus the umask. The mode is set before anybody can connect,
    /// so at no moment can a user connect whom it does not allow.
    pub fn mode(mut self, mode: u32) -> Listen {
        self.mode = Some(mode);
        self
    }

    /// Connections that the system holds until they are accepted; default 1024. Linux caps it at
    /// `net.core.somaxconn` (listen(2)).
    #[doc(alias = "SOMAXCONN")]
    pub fn backlog(mut self, connections: u32) -> Listen {
        self.backlog = i32::try_from(connections).unwrap_or(i32::MAX);
        self
    }

    /// `SO_REUSEADDR` (Unix only): bind even if old connections of this port are in TIME_WAIT;
    /// default `true`.
    #[doc(alias = "SO_REUSEADDR")]
    pub fn reuse_address(mut self, on: bool) -> Listen {
        self.reuse_address = on;
        self
    }

    /// `SO_REUSEPORT` (Unix only): several sockets share the port, and the system spreads
    /// connections over them; default `false`. Each socket has its own backlog: when a listener
    /// closes, the peers waiting in its backlog are reset, even if another listener could take
    /// them, unless Linux moves them there (`net.ipv4.tcp_migrate_req`, ip-sysctl). So close such a
    /// listener only when its process ends anyway.
    #[doc(alias = "SO_REUSEPORT")]
    pub fn reuse_port(mut self, on: bool) -> Listen {
        self.reuse_port = on;
        self
    }

    /// `IPV6_V6ONLY`: whether `[::]` excludes IPv4; default: the system's.
    pub fn only_v6(mut self, on: bool) -> Listen {
        self.only_v6 = Some(on);
        self
    }
}

/// Options of [`Context::connect`](crate::Context::connect); often an address alone is enough.
#[derive(Clone, Debug)]
pub struct Connect {
    pub(crate) target: Target,
    pub(crate) tag: Option<Tag>,
    pub(crate) limits: Option<Limits>,
    pub(crate) idle: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) socket: SocketOptions,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<StartTls>,
    pub(crate) route: Route,
}

/// By which way a connect goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Route {
    pub(crate) local: Option<SocketAddr>,
    pub(crate) device: Option<String>,
    pub(crate) ttl: Option<u32>,
    pub(crate) tos: Option<u32>,
}

impl Route {
    /// Is the way left to the system?
    pub(crate) fn is_free(&self) -> bool {
        self.local.is_none() && self.device.is_none() && self.ttl.is_none() && self.tos.is_none()
    }

    /// Refuses what cannot be the way to this address. That a local address is of the other family
    /// is a lack of this machine, as far as a name with addresses of both is concerned.
    pub(crate) fn check(&self, to: &Addr) -> io::Result<()> {
        let refuse = |kind, text: String| Err(io::Error::new(kind, text));
        let invalid = io::ErrorKind::InvalidInput;
        match (to.ip(), self.local) {
            (None, _) if !self.is_free() => refuse(
                invalid,
                "a Unix socket has no local address, device, ttl or tos".into(),
            ),
            (Some(to), Some(local)) if to.is_ipv4() != local.is_ipv4() => refuse(
                io::ErrorKind::AddrNotAvailable,
                format!("{local} is not of the same address family as {to}"),
            ),
            _ if self.ttl.is_some_and(|ttl| !(1..=255).contains(&ttl)) => {
                refuse(invalid, "`ttl` must be from 1 to 255".into())
            }
            _ if self.tos.is_some_and(|tos| tos > 255) => {
                refuse(invalid, "`tos` must be at most 255".into())
            }
            _ => Ok(()),
        }
    }
}

impl Connect {
    /// Connects to this address.
    pub fn new(addr: impl ToAddr) -> Connect {
        Connect {
            target: addr.into().0,
            tag: None,
            limits: None,
            idle: None,
            timeout: None,
            socket: SocketOptions::default(),
            #[cfg(feature = "tls")]
            tls: None,
            route: Route::default(),
        }
    }

    common_options!();

    /// Speaks TLS with the server, which must show a certificate for this name, as the
    /// configuration demands it. Default: plain.
    ///
    /// `on_open` comes when the handshake is through. One that fails ends the connection, with
    /// reason [`Tls`](crate::Reason::Tls), and with no `on_open`.
    #[cfg(feature = "tls")]
    pub fn tls(
        mut self,
        config: Arc<rustls::ClientConfig>,
        name: rustls::pki_types::ServerName<'static>,
    ) -> Connect {
        self.tls = Some(StartTls::client(config, name));
        self
    }

    /// How long the connect may take. Default:
    /// [`Limits::connect_timeout`](crate::Limits::connect_timeout).
    pub fn timeout(mut self, timeout: Duration) -> Connect {
        self.timeout = Some(timeout);
        self
    }

    /// The local address and port of the connection; port 0 lets the system choose. Default: the
    /// system chooses both. Of a name's addresses only those of the same family are tried. One
    /// local port can have only one connection to the same peer at a time (`AddrInUse`,
    /// `AddrNotAvailable`).
    pub fn local_addr(mut self, addr: SocketAddr) -> Connect {
        self.route.local = Some(addr);
        self
    }

    /// The network device that the connection goes by, whatever the routes say
    /// (`SO_BINDTODEVICE`, socket(7)). Linux only; elsewhere the connect fails.
    pub fn device(mut self, name: &str) -> Connect {
        self.route.device = Some(name.to_owned());
        self
    }

    /// How many routers a packet may pass, 1 to 255 (`IP_TTL`, `IPV6_UNICAST_HOPS`).
    pub fn ttl(mut self, hops: u32) -> Connect {
        self.route.ttl = Some(hops);
        self
    }

    /// The byte by which routers tell kinds of traffic, 0 to 255 (`IP_TOS`, `IPV6_TCLASS`): the
    /// DSCP in its upper six bits.
    pub fn tos(mut self, tos: u32) -> Connect {
        self.route.tos = Some(tos);
        self
    }
}

/// A socket that was made elsewhere, for [`Context::adopt`](crate::Context::adopt) and
/// [`Context::adopt_listener`](crate::Context::adopt_listener) (Unix).
///
/// It is a stream or a listener of std's, of `socket2`, or a descriptor that another process has
/// handed over.
#[cfg(unix)]
#[derive(Debug)]
pub struct Adopt {
    pub(crate) socket: std::os::fd::OwnedFd,
    pub(crate) tag: Option<Tag>,
    pub(crate) limits: Option<Limits>,
    pub(crate) idle: Option<Duration>,
}

#[cfg(unix)]
impl Adopt {
    /// Takes a socket over: a `TcpStream`, a `UnixStream`, a listener of either, an `OwnedFd`.
    pub fn new(socket: impl Into<std::os::fd::OwnedFd>) -> Adopt {
        Adopt {
            socket: socket.into(),
            tag: None,
            limits: None,
            idle: None,
        }
    }

    /// The tag of its events. Default: the tag of the event in whose callback it is adopted.
    pub fn tag(mut self, tag: Tag) -> Adopt {
        self.tag = Some(tag);
        self
    }

    /// Limits of its own instead of those in [`Config`](crate::Config).
    pub fn limits(mut self, limits: Limits) -> Adopt {
        self.limits = Some(limits);
        self
    }

    /// No byte in either direction for this long, and `on_deadline` is called with `Idle`.
    pub fn idle(mut self, idle: Duration) -> Adopt {
        self.idle = Some(idle);
        self
    }
}

/// What [`Context::listen`](crate::Context::listen) takes: an address in any form of
/// [`AnyAddr`](crate::AnyAddr), or a [`Listen`].
///
/// ```compile_fail,E0277
/// # fn listens(cx: &mut sockeye::Context) {
/// cx.listen(7000); // error: `{integer}` is not an address to listen on
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an address to listen on",
    label = "not an address",
    note = "write \"0.0.0.0:7000\", (\"127.0.0.1\", 7000), \"localhost:7000\" or \
            \"unix:/run/chat.sock\"; or give a `SocketAddr`, a `Path`, an `Addr` or a `Listen`"
)]
pub trait ToListen: Into<Listen> {}

/// What [`Context::connect`](crate::Context::connect) takes: an address in any form of
/// [`AnyAddr`](crate::AnyAddr), or a [`Connect`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an address to connect to",
    label = "not an address",
    note = "expected \"127.0.0.1:7000\", (\"127.0.0.1\", 7000) or \"unix:/run/chat.sock\"; \
            or give a `SocketAddr`, a `Path`, an `Addr` or a `Connect`"
)]
pub trait ToConnect: Into<Connect> {}

// Or the compiler would speak of `From`.
#[diagnostic::do_not_recommend]
impl<L: Into<Listen>> ToListen for L {}

#[diagnostic::do_not_recommend]
impl<C: Into<Connect>> ToConnect for C {}

impl<A: ToAddr> From<A> for Listen {
    fn from(addr: A) -> Listen {
        Listen::new(addr)
    }
}

impl<A: ToAddr> From<A> for Connect {
    fn from(addr: A) -> Connect {
        Connect::new(addr)
    }
}

/// Which side of a TLS session a connection is to be: what
/// [`Context::start_tls`](crate::Context::start_tls) takes.
#[cfg(feature = "tls")]
#[derive(Clone, Debug)]
pub struct StartTls(pub(crate) TlsSide);

#[cfg(feature = "tls")]
#[derive(Clone, Debug)]
pub(crate) enum TlsSide {
    Server(Arc<rustls::ServerConfig>),
    Client(
        Arc<rustls::ClientConfig>,
        rustls::pki_types::ServerName<'static>,
    ),
}

#[cfg(feature = "tls")]
impl StartTls {
    /// The side that shows a certificate.
    pub fn server(config: Arc<rustls::ServerConfig>) -> StartTls {
        StartTls(TlsSide::Server(config))
    }

    /// The side that checks one, which must be for this name.
    pub fn client(
        config: Arc<rustls::ClientConfig>,
        name: rustls::pki_types::ServerName<'static>,
    ) -> StartTls {
        StartTls(TlsSide::Client(config, name))
    }
}
