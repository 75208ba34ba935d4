//! What Windows has by another name, and what it has not.

use super::sockets::unsupported;
use crate::addr::Addr;
use crate::options::Listen;
use mio::event::Source;
use mio::{Interest, Registry, Token};
use socket2::{SockAddr, SockRef, Socket, TcpKeepalive};
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::windows::io::{AsSocket, BorrowedSocket};
use std::path::Path;
use std::time::Duration;

const WSAEMFILE: i32 = 10024;
const WSAENOBUFS: i32 = 10055;

/// The system knows no such family of addresses (WSAEAFNOSUPPORT).
pub(super) const NO_SUCH_FAMILY: i32 = 10047;

/// Which of its listener's options an accepted socket has is nowhere said, so all are set.
pub(super) const IP_INHERITS: bool = false;

pub(super) fn receive(mut socket: impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    socket.read(buffer)
}

pub(super) fn send(mut socket: impl Write, bytes: &[u8]) -> io::Result<usize> {
    socket.write(bytes)
}

pub(super) fn send_vectored(mut socket: impl Write, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    socket.write_vectored(slices)
}

/// Has the process, or the system, used up its descriptors? Winsock has no other code.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    error.raw_os_error() == Some(WSAEMFILE)
}

/// Is the system short of memory for now? It says so of a send or a receive, too.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory || error.raw_os_error() == Some(WSAENOBUFS)
}

/// Wine asks for the peer's name as it accepts, and says that one who has reset has none.
pub(super) fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | NetworkDown
            | NetworkUnreachable
            | NotConnected
    )
}

/// Is a connect under way?
pub(super) fn is_in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// Leaves the socket as it is: here the option would let others take the port over.
pub(super) fn allow_reuse(_: &Socket, _: &Listen) -> io::Result<()> {
    Ok(())
}

/// Keeps an accepted socket from the programs that this one starts: while one of them has it, the
/// peer is told of no end. Sockets of our own are made like that, and std accepts them otherwise.
pub(super) fn keep_from_programs(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_no_inherit(true)
}

/// When a silent peer is probed. How often is the system's affair: only a recent Windows can be
/// told.
pub(super) fn keep_alive(idle: Duration, interval: Duration, _: u32) -> TcpKeepalive {
    TcpKeepalive::new().with_time(idle).with_interval(interval)
}

// ---- Unix sockets, of which there are none: mio cannot wait for them here ----

fn no_unix_sockets() -> io::Error {
    unsupported("a Unix socket")
}

pub(super) fn unix_socket() -> io::Result<Socket> {
    Err(no_unix_sockets())
}

pub(super) fn unix_stream(_: Socket) -> io::Result<UnixStream> {
    Err(no_unix_sockets())
}

pub(super) fn unix_addr(_: &SockAddr) -> Addr {
    Addr::Unix(None)
}

/// Nobody has one, so whatever is done with it need not be written.
pub(crate) enum SocketFile {}

impl SocketFile {
    pub(super) fn listen(_: &Socket, _: &Path, _: &Listen) -> io::Result<SocketFile> {
        Err(no_unix_sockets())
    }

    pub(super) fn path(&self) -> &Path {
        match *self {}
    }
}

/// Nobody has one.
pub(crate) enum UnixStream {}

impl UnixStream {
    pub(super) fn try_io<T>(&self, _: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match *self {}
    }

    pub(super) fn shutdown(&self, _: Shutdown) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match *self {}
    }
}

pub(super) fn accept(listener: &UnixStream) -> io::Result<(Socket, SockAddr)> {
    match *listener {}
}

impl AsSocket for UnixStream {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        match *self {}
    }
}

impl Read for &UnixStream {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match **self {}
    }
}

impl Write for &UnixStream {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match **self {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match **self {}
    }
}

impl Source for UnixStream {
    fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        match *self {}
    }

    fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        match *self {}
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        match *self {}
    }
}
