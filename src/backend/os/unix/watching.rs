//! Descriptors that are not sockets of the loop, and the one that is the loop itself.

use crate::backend::Source;
use crate::backend::os::{Os, token};
use crate::readiness::Interest;
use mio::Interest as MioInterest;
use mio::unix::SourceFd;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

fn interest(what: Interest) -> MioInterest {
    match what {
        Interest::Readable => MioInterest::READABLE,
        Interest::Writable => MioInterest::WRITABLE,
        Interest::Both => MioInterest::READABLE | MioInterest::WRITABLE,
    }
}

impl Os {
    pub(crate) fn watch(&mut self, fd: &OwnedFd, what: Interest, slot: u32) -> io::Result<()> {
        let registry = self.poll.registry();
        let token = token(Source::Watch(slot));
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, interest(what))
    }

    /// Asks again, whatever was reported. mio's poll(2) selector forgets a descriptor that hung
    /// up, so it may have to be registered anew.
    pub(crate) fn rearm(&mut self, fd: &OwnedFd, what: Interest, slot: u32) -> io::Result<()> {
        let registry = self.poll.registry();
        let token = token(Source::Watch(slot));
        match registry.reregister(&mut SourceFd(&fd.as_raw_fd()), token, interest(what)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.watch(fd, what, slot),
            result => result,
        }
    }

    pub(crate) fn unwatch(&mut self, fd: &OwnedFd) {
        // It is about to be closed, so a failure could only say that it is forgotten already.
        let _ = self
            .poll
            .registry()
            .deregister(&mut SourceFd(&fd.as_raw_fd()));
    }
}

#[cfg(not(mio_unsupported_force_poll_poll))]
impl Os {
    pub(crate) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(self.poll.registry())
    }
}
