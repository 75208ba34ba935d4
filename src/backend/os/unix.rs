//! What only Unix has, and what is called by another name there: the calls that move bytes, the one
//! that accepts on Unix sockets, and the errors that the loop tells apart.
//!
//! rustix moves the bytes: on Linux that is an instruction in the loop, where libc has functions
//! that first look whether the thread is to be cancelled.

mod socket_file;
mod start_lock;
mod watching;

pub(super) use mio::net::UnixStream;
pub(super) use socket_file::SocketFile;

use crate::addr::Addr;
use crate::options::Listen;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send as send_to, sendmsg};
use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

/// The system knows no such family of addresses.
pub(super) const NO_SUCH_FAMILY: i32 = Errno::AFNOSUPPORT.raw_os_error();

/// Has an accepted TCP socket all options of its listener? Apple's kernel leaves out after how much
/// silence a peer is probed (`tcp_input()`), NetBSD's all times of probes (`syn_cache_get()`).
pub(super) const IP_INHERITS: bool = cfg!(any(
    target_os = "android",
    target_os = "freebsd",
    target_os = "linux",
));

/// Keeps a write to a closed peer from raising SIGPIPE (send(2)). On Apple's systems the socket
/// itself is told (`SO_NOSIGPIPE`).
#[cfg(not(target_vendor = "apple"))]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const NO_SIGNAL: SendFlags = SendFlags::empty();

#[inline(always)]
pub(super) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    // The first count is cut to the buffer, which only `MSG_TRUNC` would call for.
    let (_, count) = recv(socket, buffer, RecvFlags::empty())?;
    Ok(count)
}

#[inline(always)]
pub(super) fn send(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(send_to(socket, bytes, NO_SIGNAL)?)
}

pub(super) fn send_vectored(socket: impl AsFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut control = SendAncillaryBuffer::default();
    Ok(sendmsg(socket, slices, &mut control, NO_SIGNAL)?)
}

/// Keeps an accepted socket from the programs that this one starts. It was accepted like that.
pub(super) fn keep_from_programs(_: &SockRef<'_>) -> io::Result<()> {
    Ok(())
}

/// Accepts a peer whose socket does not block and is closed by exec. socket2 keeps the address
/// in a buffer that is larger than any that a peer can give itself. mio and rustix do not: they
/// panic at a path that fills `sun_path` (108 bytes on Linux), whose length the system gives
/// with a NUL that is not there (unix(7), "Pathname sockets").
#[cfg(any(
    target_os = "android",
    target_os = "dragonfly",
    target_os = "freebsd",
    target_os = "fuchsia",
    target_os = "illumos",
    target_os = "linux",
    target_os = "netbsd",
    target_os = "openbsd",
))]
pub(super) fn accept(listener: &impl AsFd) -> io::Result<(Socket, SockAddr)> {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    SockRef::from(listener).accept4(flags.bits() as std::ffi::c_int)
}

/// Accepts in two steps, where there is no accept4(2).
#[cfg(not(any(
    target_os = "android",
    target_os = "dragonfly",
    target_os = "freebsd",
    target_os = "fuchsia",
    target_os = "illumos",
    target_os = "linux",
    target_os = "netbsd",
    target_os = "openbsd",
)))]
pub(super) fn accept(listener: &impl AsFd) -> io::Result<(Socket, SockAddr)> {
    let (socket, addr) = SockRef::from(listener).accept()?;
    socket.set_nonblocking(true)?;
    Ok((socket, addr))
}

/// Has the process, or the system, used up its descriptors?
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    let codes = [Errno::MFILE, Errno::NFILE].map(|code| code.raw_os_error());
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}

/// Is the system short of memory for now? It says so of a send or a receive, too.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let code = Errno::NOBUFS.raw_os_error();
    error.kind() == io::ErrorKind::OutOfMemory || error.raw_os_error() == Some(code)
}

/// Linux passes on errors that the new socket already has, and those of a firewall (accept(2),
/// "Error handling").
pub(super) fn is_of_one_peer(error: &io::Error) -> bool {
    // What mio says of an address of no family: Apple's systems give one for a peer that has left.
    let Some(code) = error.raw_os_error() else {
        return error.kind() == io::ErrorKind::InvalidInput;
    };
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if code == Errno::NONET.raw_os_error() {
        return true;
    }
    [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::NOPROTOOPT,
        Errno::OPNOTSUPP,
        Errno::PERM,
        Errno::PROTO,
        Errno::TIMEDOUT,
    ]
    .iter()
    .any(|errno| errno.raw_os_error() == code)
}

/// Is a connect under way? It has no stable `ErrorKind`.
pub(super) fn is_in_progress(error: &io::Error) -> bool {
    let code = Errno::INPROGRESS.raw_os_error();
    error.raw_os_error() == Some(code) || error.kind() == io::ErrorKind::WouldBlock
}

pub(super) fn allow_reuse(socket: &Socket, listen: &Listen) -> io::Result<()> {
    socket.set_reuse_address(listen.reuse_address)?;
    socket.set_reuse_port(listen.reuse_port)
}

/// When a silent peer is probed. On OpenBSD a socket has no times of its own: sysctl(2) has them.
#[cfg(not(target_os = "openbsd"))]
pub(super) fn keep_alive(idle: Duration, interval: Duration, count: u32) -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(idle)
        .with_interval(interval)
        .with_retries(count)
}

#[cfg(target_os = "openbsd")]
pub(super) fn keep_alive(_: Duration, _: Duration, _: u32) -> TcpKeepalive {
    TcpKeepalive::new()
}

pub(super) fn unix_socket() -> io::Result<Socket> {
    Socket::new(Domain::UNIX, Type::STREAM, None)
}

/// A stream of a socket; here that never fails.
pub(super) fn unix_stream(socket: Socket) -> io::Result<UnixStream> {
    Ok(UnixStream::from(OwnedFd::from(socket)))
}

/// A name of another family is none.
pub(super) fn unix_addr(addr: &SockAddr) -> Addr {
    if let Some(name) = addr.as_abstract_namespace() {
        let name = [b"\0", name].concat();
        return Addr::unix(OsStr::from_bytes(&name));
    }
    Addr::Unix(addr.as_pathname().map(Arc::from))
}
