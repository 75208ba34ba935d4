//! TCP and Unix stream sockets: made with socket2, which knows the options, and driven with mio.

#[cfg(target_os = "linux")]
use super::files;
use super::lost_peers::LostPeers;
use super::route;
use super::system::{self, SocketFile, UnixStream};
use crate::addr::Addr;
#[cfg(unix)]
use crate::addr::Credentials;
use crate::options::{Connect, KeepAlive, Listen, SocketOptions};
use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::fs::File;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// Reads and writes with epoll say by moving less than asked that the next would block, until the
/// next edge. mio re-arms on `WouldBlock` alone on Windows and in its poll(2) selector. And kqueue
/// tells nothing of urgent data, at whose mark a read stops: what lies behind it would wait.
const SHORT_IS_PROOF: bool = cfg!(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll)
));

pub(crate) enum Stream {
    Tcp(TcpStream),
    /// On Windows there is none, and this costs nothing.
    Unix(UnixStream),
}

macro_rules! on {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
        }
    };
}

impl Stream {
    /// `true`: connected already, as Unix sockets are.
    pub(super) fn connect(connect: &Connect, addr: &Addr) -> io::Result<(Stream, bool)> {
        let (socket, addr): (Socket, SockAddr) = match addr {
            Addr::Ip(ip) => (
                Socket::new(Domain::for_address(*ip), Type::STREAM, None)?,
                (*ip).into(),
            ),
            Addr::Unix(Some(path)) => (system::unix_socket()?, SockAddr::unix(path)?),
            Addr::Unix(None) => return Err(unsupported("a Unix socket needs a path")),
        };
        socket.set_nonblocking(true)?;
        set_options(&SockRef::from(&socket), &connect.socket, addr.is_unix())?;
        if !connect.route.is_free() {
            route::set(&socket, &connect.route, addr.is_ipv6())?;
        }
        let done = match socket.connect(&addr) {
            Ok(()) => true,
            Err(error) if !addr.is_unix() && system::is_in_progress(&error) => false,
            Err(error) => return Err(error),
        };
        let stream = match addr.is_unix() {
            true => system::unix_stream(socket).map(Stream::Unix)?,
            false => Stream::Tcp(TcpStream::from_std(socket.into())),
        };
        Ok((stream, done))
    }

    /// One that is connected already, and its peer.
    #[cfg(unix)]
    pub(super) fn adopt(socket: Socket) -> io::Result<(Stream, Addr)> {
        let peer = socket.peer_addr()?;
        Ok(match peer.as_socket() {
            Some(addr) => {
                let stream = TcpStream::from_std(socket.into());
                (Stream::Tcp(stream), Addr::from_system(addr))
            }
            None => (
                Stream::Unix(system::unix_stream(socket)?),
                system::unix_addr(&peer),
            ),
        })
    }

    #[cfg(unix)]
    pub(super) fn into_descriptor(self) -> std::os::fd::OwnedFd {
        on!(self, stream => stream.into())
    }

    pub(super) fn source(&mut self) -> &mut dyn Source {
        on!(self, stream => stream)
    }

    #[inline]
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        on!(self, stream => stream.try_io(|| system::receive(&*stream, buffer)))
    }

    #[inline(always)]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        on!(self, stream => stream.try_io(|| system::send(&*stream, bytes)))
    }

    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        on!(self, stream => stream.try_io(|| system::send_vectored(&*stream, slices)))
    }

    pub(crate) fn send_file(&mut self, file: &File, at: u64, most: usize) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        return on!(self, stream => stream.try_io(|| files::send_file(&*stream, file, at, most)));
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (file, at, most);
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    pub(crate) fn sends_files(&self) -> bool {
        #[cfg(target_os = "linux")]
        return files::sends_files();
        #[cfg(not(target_os = "linux"))]
        false
    }

    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        on!(self, stream => stream.shutdown(Shutdown::Write))
    }

    /// A linger time of zero, and there is no other: with one, close(2) blocks.
    pub(crate) fn reset_on_drop(&mut self) {
        // A socket that is gone already cannot be told, and need not be.
        let _ = on!(self, stream => SockRef::from(&*stream).set_linger(Some(Duration::ZERO)));
    }

    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        // A socket that cannot be asked has nothing to say.
        on!(self, stream => stream.take_error().ok().flatten())
    }

    /// Writable is not connected, and neither is a hang-up: `SO_ERROR` says whether it failed, and
    /// only a peer address says that it is through (connect(2); cr.yp.to/docs/connect.html).
    pub(crate) fn is_connected(&mut self) -> io::Result<bool> {
        let known = on!(self, stream => {
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            SockRef::from(&*stream).peer_addr()
        });
        match known {
            Ok(peer) if self.is_itself(&peer) => {
                // Its port may be the one that the server wants: a reset leaves no TIME_WAIT.
                self.reset_on_drop();
                let text = "nobody listens there: it was connected to itself";
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, text))
            }
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A connect to a port that nobody listens on may get that very port as its own. The handshake
    /// then meets itself, which TCP allows (RFC 9293, section 3.5, "simultaneous open").
    fn is_itself(&self, peer: &SockAddr) -> bool {
        match self {
            Stream::Tcp(stream) => {
                let local = stream.local_addr().ok();
                local.is_some() && local == peer.as_socket()
            }
            Stream::Unix(_) => false,
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<Addr> {
        match self {
            Stream::Tcp(stream) => stream.local_addr().map(Addr::from_system),
            Stream::Unix(stream) => SockRef::from(stream)
                .local_addr()
                .map(|addr| system::unix_addr(&addr)),
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) fn peer_credentials(&self) -> Option<Credentials> {
        let Stream::Unix(stream) = self else {
            return None;
        };
        let known = rustix::net::sockopt::socket_peercred(stream).ok()?;
        Some(Credentials {
            uid: known.uid.as_raw(),
            gid: known.gid.as_raw(),
            pid: known.pid.as_raw_nonzero().get(),
        })
    }

    #[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
    pub(crate) fn peer_credentials(&self) -> Option<Credentials> {
        None
    }

    /// Unix sockets stop a read at passed descriptors, so there a short one proves nothing.
    #[inline]
    pub(crate) fn short_is_proof(&self) -> bool {
        SHORT_IS_PROOF && matches!(self, Stream::Tcp(_))
    }
}

pub(crate) enum Acceptor {
    Tcp(TcpListener, Heirs),
    /// The file goes first: as long as the socket lives, no other can have its inode. The listener
    /// is held as mio's stream, which has `try_io`, where mio's listener can only `accept`. An
    /// abstract name has no file, and neither has a socket that was made elsewhere.
    Unix(Option<SocketFile>, UnixStream, Heirs),
}

impl Acceptor {
    pub(super) fn bind(listen: &Listen, addr: &Addr) -> io::Result<Acceptor> {
        match addr {
            Addr::Ip(addr) => Acceptor::bind_ip(listen, *addr),
            Addr::Unix(Some(path)) => Acceptor::bind_unix(listen, path),
            Addr::Unix(_) => Err(unsupported("a Unix socket needs a path")),
        }
    }

    fn bind_ip(listen: &Listen, addr: SocketAddr) -> io::Result<Acceptor> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if let (Some(only_v6), true) = (listen.only_v6, addr.is_ipv6()) {
            socket.set_only_v6(only_v6)?;
        }
        system::allow_reuse(&socket, listen)?;
        set_options(&SockRef::from(&socket), &listen.socket, false)?;
        socket.bind(&addr.into())?;
        socket.listen(listen.backlog)?;
        Ok(Acceptor::Tcp(
            TcpListener::from_std(socket.into()),
            Heirs::of(listen),
        ))
    }

    /// One that listens already. Those whom it accepts have its options and no others.
    #[cfg(unix)]
    pub(super) fn adopt(socket: Socket) -> io::Result<Acceptor> {
        let mut listen = Listen::new("");
        listen.socket.nodelay = false;
        let heirs = Heirs::of(&listen);
        Ok(match socket.local_addr()?.as_socket() {
            Some(_) => Acceptor::Tcp(TcpListener::from_std(socket.into()), heirs),
            None => Acceptor::Unix(None, system::unix_stream(socket)?, heirs),
        })
    }

    fn bind_unix(listen: &Listen, path: &Path) -> io::Result<Acceptor> {
        let socket = system::unix_socket()?;
        socket.set_nonblocking(true)?;
        set_options(&SockRef::from(&socket), &listen.socket, true)?;
        let file = match path.as_os_str().as_encoded_bytes() {
            [0, ..] => {
                socket.bind(&SockAddr::unix(path)?)?;
                socket.listen(listen.backlog)?;
                None
            }
            _ => Some(SocketFile::listen(&socket, path, listen)?),
        };
        let heirs = Heirs::of(listen);
        system::unix_stream(socket).map(|listener| Acceptor::Unix(file, listener, heirs))
    }

    pub(super) fn source(&mut self) -> &mut dyn Source {
        match self {
            Acceptor::Tcp(listener, _) => listener,
            Acceptor::Unix(_, listener, _) => listener,
        }
    }

    #[inline(always)]
    pub(crate) fn accept(&mut self) -> io::Result<(Stream, Addr)> {
        match self {
            Acceptor::Tcp(listener, heirs) => {
                let (stream, addr) = heirs.lost.name(listener.accept())?;
                if !system::IP_INHERITS {
                    heirs.pass_on(&SockRef::from(&stream), false);
                }
                Ok((Stream::Tcp(stream), Addr::from_system(addr)))
            }
            Acceptor::Unix(_, listener, heirs) => {
                let accepted = listener.try_io(|| system::accept(&*listener));
                let (socket, addr) = heirs.lost.name(accepted)?;
                // Unix sockets inherit nothing from their listener.
                heirs.pass_on(&SockRef::from(&socket), true);
                let stream = system::unix_stream(socket).map(Stream::Unix)?;
                Ok((stream, system::unix_addr(&addr)))
            }
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<Addr> {
        match self {
            Acceptor::Tcp(listener, _) => listener.local_addr().map(Addr::from_system),
            Acceptor::Unix(Some(file), ..) => Ok(Addr::unix(file.path())),
            Acceptor::Unix(None, listener, _) => SockRef::from(listener)
                .local_addr()
                .map(|addr| system::unix_addr(&addr)),
        }
    }
}

/// Sets all options; the error is the first one, with the name of its option.
fn set_options(socket: &SockRef<'_>, options: &SocketOptions, is_unix: bool) -> io::Result<()> {
    let keep_alive = options.keep_alive.filter(|_| !is_unix).map(tcp_keep_alive);
    let receive_buffer = options.receive_buffer;
    let send_buffer = options.send_buffer;
    [
        receive_buffer.map(|bytes| ("receive_buffer", socket.set_recv_buffer_size(bytes))),
        send_buffer.map(|bytes| ("send_buffer", socket.set_send_buffer_size(bytes))),
        (options.nodelay && !is_unix).then(|| ("nodelay", socket.set_tcp_nodelay(true))),
        keep_alive.map(|times| ("keep_alive", socket.set_tcp_keepalive(&times))),
    ]
    .into_iter()
    .flatten()
    .try_for_each(|(name, result)| result.map_err(|error| named(name, &error)))
}

pub(super) fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

/// Of those whom a listener accepts: what they are to have, where they do not inherit it, and how
/// many were lost.
pub(crate) struct Heirs {
    options: SocketOptions,
    lost: LostPeers,
    /// A failure to set an option was told. Once is enough: peers must not be able to fill a log.
    told: bool,
}

impl Heirs {
    fn of(listen: &Listen) -> Heirs {
        Heirs {
            options: listen.socket.clone(),
            lost: LostPeers::default(),
            told: false,
        }
    }

    /// A failure costs the option and not the connection. The listener has taken the same options,
    /// so it most likely means that the peer is gone (Apple's systems refuse them then).
    fn pass_on(&mut self, socket: &SockRef<'_>, is_unix: bool) {
        let kept = system::keep_from_programs(socket);
        if let Err(error) = set_options(socket, &self.options, is_unix).and(kept)
            && !std::mem::replace(&mut self.told, true)
        {
            log::warn!(target: "sockeye", "cannot set an option of an accepted socket: {error}");
        }
    }
}

/// In whole seconds, for a part of one would be cut off.
fn tcp_keep_alive(keep_alive: KeepAlive) -> TcpKeepalive {
    let whole = |time: Duration| {
        let up = u64::from(time.subsec_nanos() > 0);
        Duration::from_secs(time.as_secs().saturating_add(up))
    };
    let (idle, interval) = (whole(keep_alive.idle), whole(keep_alive.interval));
    system::keep_alive(idle, interval, keep_alive.count)
}

pub(super) fn unsupported(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{what} is not supported on this system"),
    )
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    // J10
    #[test]
    fn keep_alive_counts_a_part_of_a_second_as_a_whole_one() {
        let peer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = Addr::Ip(peer.local_addr().unwrap());
        let times = KeepAlive {
            idle: Duration::from_millis(1),
            interval: Duration::from_millis(2500),
            count: 3,
        };
        let connect = Connect::new(&addr).keep_alive(times);
        let (stream, _) = Stream::connect(&connect, &addr).unwrap();
        let Stream::Tcp(stream) = &stream else {
            panic!("it is TCP");
        };
        let socket = SockRef::from(stream);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(1));
        let interval = socket.tcp_keepalive_interval().unwrap();
        assert_eq!(interval, Duration::from_secs(3));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
    }

    // J10: where they are not inherited, they are passed on.
    #[test]
    fn whoever_is_accepted_has_the_options_of_the_listener() {
        let times = KeepAlive {
            idle: Duration::from_secs(61),
            interval: Duration::from_secs(7),
            count: 4,
        };
        let listen = Listen::new("127.0.0.1:0").nodelay(true).keep_alive(times);
        let has_all = |socket: &SockRef<'_>| {
            assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), times.idle);
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), times.interval);
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), times.count);
        };
        let addr = "127.0.0.1:0".parse().unwrap();
        let mut acceptor = Acceptor::bind_ip(&listen, addr).unwrap();
        let Addr::Ip(addr) = acceptor.local_addr().unwrap() else {
            panic!("it is TCP");
        };
        let peer = std::net::TcpStream::connect(addr).unwrap();
        let (Stream::Tcp(stream), _) = acceptor.accept().unwrap() else {
            panic!("it is TCP");
        };
        has_all(&SockRef::from(&stream));
        // One that has none of them by itself.
        Heirs::of(&listen).pass_on(&SockRef::from(&peer), false);
        has_all(&SockRef::from(&peer));
    }

    // J7
    #[test]
    fn a_connection_to_itself_is_refused() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let addr: SocketAddr = addr.parse().unwrap();
            let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
            if addr.is_ipv6() && socket.bind(&addr.into()).is_err() {
                continue; // no IPv6 here
            } else if addr.is_ipv4() {
                socket.bind(&addr.into()).unwrap();
            }
            let local = socket.local_addr().unwrap();
            socket.connect(&local).unwrap();
            let mut stream = Stream::Tcp(TcpStream::from_std(socket.into()));
            let error = stream.is_connected().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
            drop(stream);
            std::net::TcpListener::bind(local.as_socket().unwrap()).unwrap();
        }
    }

    // J9: the names that local_addr is asked for need not be ours.
    #[test]
    fn a_name_that_fills_the_address_is_shown_whole() {
        let dir = std::env::temp_dir().join(format!("sockeye-full-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let start = dir.join("").as_os_str().len();
        let path = dir.join("z".repeat(108 - start));
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        let name = rustix::net::SocketAddrUnix::new(&path).unwrap();
        rustix::net::bind(&socket, &name).unwrap();
        let stream = Stream::Unix(system::unix_stream(socket).unwrap());
        assert_eq!(stream.local_addr().unwrap(), Addr::unix(&path));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
