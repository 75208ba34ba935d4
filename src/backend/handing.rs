//! Sockets that come from elsewhere, and those that are given away.

use super::{Acceptor, Backend, Stream, os};
use crate::addr::Addr;
use std::io;
use std::os::fd::OwnedFd;

impl Backend {
    /// Are its sockets descriptors of the system?
    pub(crate) fn has_descriptors(&self) -> bool {
        matches!(self, Backend::Os(_))
    }

    /// Refuses what is no connected stream. Nothing of it is changed.
    pub(crate) fn check_stream(&self, socket: &OwnedFd) -> io::Result<()> {
        match self {
            Backend::Os(_) => os::check_stream(socket),
            #[cfg(any(test, feature = "sim"))]
            _ => Err(no_descriptors()),
        }
    }

    /// A connected stream that was made elsewhere, and its peer: registered for its whole life, as
    /// one that was accepted.
    pub(crate) fn adopt(&mut self, socket: OwnedFd, slot: u32) -> io::Result<(Stream, Addr)> {
        match self {
            Backend::Os(os) => {
                let (stream, peer) = os.adopt(socket, slot)?;
                Ok((Stream::Os(stream), peer))
            }
            #[cfg(any(test, feature = "sim"))]
            _ => Err(no_descriptors()),
        }
    }

    /// A listener that was made elsewhere. Whoever waits is told of as a later one would be. With
    /// an error nothing of it is changed; it is closed.
    pub(crate) fn adopt_listener(&mut self, socket: OwnedFd, slot: u32) -> io::Result<Acceptor> {
        match self {
            Backend::Os(os) => os.adopt_listener(socket, slot).map(Acceptor::Os),
            #[cfg(any(test, feature = "sim"))]
            _ => Err(no_descriptors()),
        }
    }

    /// Gives a stream away. No event of it comes any more.
    pub(crate) fn release(&mut self, stream: Stream) -> io::Result<OwnedFd> {
        match (self, stream) {
            (Backend::Os(os), Stream::Os(stream)) => os.release(stream),
            #[cfg(any(test, feature = "sim"))]
            _ => Err(no_descriptors()),
        }
    }
}

#[cfg(any(test, feature = "sim"))]
fn no_descriptors() -> io::Error {
    let text = "there are no descriptors in a simulation";
    io::Error::new(io::ErrorKind::Unsupported, text)
}
