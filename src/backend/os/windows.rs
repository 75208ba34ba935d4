//! What Windows has by another name, and what it has not.

use std::io::{self, IoSlice, Read, Write};

const WSAEMFILE: i32 = 10024;
const WSAENOBUFS: i32 = 10055;

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

pub(super) fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | NetworkDown | NetworkUnreachable
    )
}

/// Is a connect under way?
pub(super) fn is_in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
