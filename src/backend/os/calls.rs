//! The calls that move bytes, and the one that accepts on Unix sockets.
//!
//! On Unix rustix moves the bytes: on Linux that is an instruction in the loop, where libc has
//! functions that first look whether the thread is to be cancelled.

#[cfg(not(unix))]
pub(super) use elsewhere::{receive, send, send_vectored};
#[cfg(unix)]
pub(super) use unix::{accept, receive, send, send_vectored};

#[cfg(unix)]
mod unix {
    use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send as send_to, sendmsg};
    use socket2::{SockAddr, SockRef, Socket};
    use std::io::{self, IoSlice};
    use std::os::fd::AsFd;

    /// Keeps a write to a closed peer from raising SIGPIPE (send(2)). On Apple's systems the socket
    /// itself is told (`SO_NOSIGPIPE`).
    #[cfg(not(target_vendor = "apple"))]
    const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
    #[cfg(target_vendor = "apple")]
    const NO_SIGNAL: SendFlags = SendFlags::empty();

    #[inline(always)]
    pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
        // The first count is cut to the buffer, which only `MSG_TRUNC` would call for.
        let (_, count) = recv(socket, buffer, RecvFlags::empty())?;
        Ok(count)
    }

    #[inline(always)]
    pub(crate) fn send(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
        Ok(send_to(socket, bytes, NO_SIGNAL)?)
    }

    pub(crate) fn send_vectored(socket: impl AsFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut control = SendAncillaryBuffer::default();
        Ok(sendmsg(socket, slices, &mut control, NO_SIGNAL)?)
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
    pub(crate) fn accept(listener: &impl AsFd) -> io::Result<(Socket, SockAddr)> {
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
    pub(crate) fn accept(listener: &impl AsFd) -> io::Result<(Socket, SockAddr)> {
        let (socket, addr) = SockRef::from(listener).accept()?;
        socket.set_nonblocking(true)?;
        Ok((socket, addr))
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use std::io::{self, IoSlice, Read, Write};

    pub(crate) fn receive(mut socket: impl Read, buffer: &mut [u8]) -> io::Result<usize> {
        socket.read(buffer)
    }

    pub(crate) fn send(mut socket: impl Write, bytes: &[u8]) -> io::Result<usize> {
        socket.write(bytes)
    }

    pub(crate) fn send_vectored(
        mut socket: impl Write,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        socket.write_vectored(slices)
    }
}
