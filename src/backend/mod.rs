//! The edge: everything that is a socket, a thread or a clock is below this line.
//!
//! Above it the loop knows a [`Stream`] that reads and writes without blocking, an [`Acceptor`]
//! that gives streams, and a [`Backend`] that waits for readiness. They are enums and not trait
//! objects, for they are called once per read and write; without a second backend compiled in, the
//! match on them costs nothing.

mod os;
#[cfg(test)]
pub(crate) mod script;
#[cfg(feature = "sim")]
pub(crate) mod simnet;

pub(crate) use os::is_exhaustion;

use crate::addr::{Addr, Target};
use crate::options::{Connect, Listen};
use crate::readiness::Readiness;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

/// Whom an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Conn(u32),
    Listener(u32),
    #[cfg_attr(
        not(unix),
        allow(dead_code, reason = "descriptors are watched on Unix only")
    )]
    Watch(u32),
    /// A message came: the wait has returned, and that is all.
    Wake,
}

/// Wakes the loop from another thread.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

/// A connection, connecting or connected. Dropping it closes it.
pub(crate) enum Stream {
    Os(os::Stream),
    #[cfg(test)]
    Script(script::Stream),
    #[cfg(feature = "sim")]
    Sim(simnet::Stream),
}

/// A socket that listens. Dropping it closes it.
pub(crate) enum Acceptor {
    Os(os::Acceptor),
    #[cfg(test)]
    Script(script::Acceptor),
    #[cfg(feature = "sim")]
    Sim(simnet::Acceptor),
}

/// Where readiness and time come from.
pub(crate) enum Backend {
    Os(os::Os),
    #[cfg(test)]
    Script(script::Script),
    #[cfg(feature = "sim")]
    Sim(simnet::Sim),
}

/// The clock alone: it goes on while its backend is in use.
pub(crate) enum Clock {
    Os,
    #[cfg(test)]
    Script(script::Script),
    #[cfg(feature = "sim")]
    Sim(simnet::SharedNet),
}

impl Clock {
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        match self {
            Clock::Os => Instant::now(),
            #[cfg(test)]
            Clock::Script(script) => script.now(),
            #[cfg(feature = "sim")]
            Clock::Sim(net) => net.lock().instant(),
        }
    }
}

/// A call on whichever variant of an enum is there.
macro_rules! on {
    ($enum:ident, $self:expr, $inner:ident => $call:expr) => {
        match $self {
            $enum::Os($inner) => $call,
            #[cfg(test)]
            $enum::Script($inner) => $call,
            #[cfg(feature = "sim")]
            $enum::Sim($inner) => $call,
        }
    };
}

impl Stream {
    #[inline]
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        on!(Stream, self, stream => stream.read(buffer))
    }

    #[inline(always)]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        on!(Stream, self, stream => stream.write(bytes))
    }

    #[inline]
    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        on!(Stream, self, stream => stream.write_vectored(slices))
    }

    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        on!(Stream, self, stream => stream.shutdown_write())
    }

    /// Makes the coming drop a reset: RST instead of FIN, and what is unsent is dropped.
    pub(crate) fn reset_on_drop(&mut self) {
        on!(Stream, self, stream => stream.reset_on_drop());
    }

    /// Is the connect through? `false`: not yet, wait for readiness.
    pub(crate) fn finish_connect(&mut self) -> io::Result<bool> {
        on!(Stream, self, stream => stream.finish_connect())
    }

    /// The socket's error (`SO_ERROR`), if it has one. Asking consumes it.
    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        on!(Stream, self, stream => stream.take_error())
    }

    pub(crate) fn local_addr(&self) -> io::Result<Addr> {
        on!(Stream, self, stream => stream.local_addr())
    }

    /// Does a read or write that moves less than was asked prove that the next would block?
    #[inline]
    pub(crate) fn short_is_proof(&self) -> bool {
        on!(Stream, self, stream => stream.short_is_proof())
    }
}

impl Acceptor {
    /// The stream is not registered yet, and costs nothing when dropped.
    pub(crate) fn accept(&mut self) -> io::Result<(Stream, Addr)> {
        match self {
            Acceptor::Os(acceptor) => acceptor
                .accept()
                .map(|(stream, addr)| (Stream::Os(stream), addr)),
            #[cfg(test)]
            Acceptor::Script(acceptor) => acceptor
                .accept()
                .map(|(stream, addr)| (Stream::Script(stream), addr)),
            #[cfg(feature = "sim")]
            Acceptor::Sim(acceptor) => acceptor
                .accept()
                .map(|(stream, addr)| (Stream::Sim(stream), addr)),
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<Addr> {
        on!(Acceptor, self, acceptor => acceptor.local_addr())
    }
}

impl Backend {
    /// The operating system's.
    pub(crate) fn os(events_per_wait: usize, busy_poll: Duration) -> io::Result<Backend> {
        os::Os::new(events_per_wait, busy_poll).map(Backend::Os)
    }

    #[cfg(feature = "sim")]
    pub(crate) fn is_simulated(&self) -> bool {
        matches!(self, Backend::Sim(_))
    }

    pub(crate) fn clock(&self) -> Clock {
        match self {
            Backend::Os(_) => Clock::Os,
            #[cfg(test)]
            Backend::Script(script) => Clock::Script(script.clone()),
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => Clock::Sim(sim.net()),
        }
    }

    /// A function that ends a wait, now or the next one, from any thread.
    pub(crate) fn wake(&self) -> Wake {
        on!(Backend, self, backend => backend.wake())
    }

    /// Waits for readiness, and hands each event on. Answers how many there were, and whether the
    /// batch was full, so that more may be there.
    #[inline]
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        each: impl FnMut(Source, Readiness),
    ) -> io::Result<(usize, bool)> {
        on!(Backend, self, backend => backend.wait(timeout, each))
    }

    /// Binds and listens at once, and reports to `slot`.
    pub(crate) fn listen(&mut self, listen: &Listen, slot: u32) -> io::Result<Acceptor> {
        if let Target::Addr(addr) = &listen.target {
            addr.check()?;
        }
        listen.socket.check()?;
        match self {
            Backend::Os(os) => os.listen(listen, slot).map(Acceptor::Os),
            #[cfg(test)]
            Backend::Script(script) => script.listen(listen, slot).map(Acceptor::Script),
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => sim.listen(listen, slot).map(Acceptor::Sim),
        }
    }

    /// Begins to connect, and reports to `slot`. `true`: it is through already.
    pub(crate) fn connect(
        &mut self,
        connect: &Connect,
        addr: &Addr,
        slot: u32,
    ) -> io::Result<(Stream, bool)> {
        addr.check()?;
        connect.socket.check()?;
        match self {
            Backend::Os(os) => os
                .connect(connect, addr, slot)
                .map(|(stream, done)| (Stream::Os(stream), done)),
            #[cfg(test)]
            Backend::Script(script) => script
                .connect(connect, addr, slot)
                .map(|(stream, done)| (Stream::Script(stream), done)),
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => sim
                .connect(connect, addr, slot)
                .map(|(stream, done)| (Stream::Sim(stream), done)),
        }
    }

    /// The one registration of an accepted stream, for its whole life.
    pub(crate) fn register(&mut self, stream: &mut Stream, slot: u32) -> io::Result<()> {
        match (self, stream) {
            (Backend::Os(os), Stream::Os(stream)) => os.register(stream, slot),
            #[cfg(test)]
            (Backend::Script(script), Stream::Script(stream)) => script.register(stream, slot),
            #[cfg(feature = "sim")]
            (Backend::Sim(sim), Stream::Sim(stream)) => sim.register(stream, slot),
            #[cfg(any(test, feature = "sim"))]
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// Descriptors that are not sockets of the loop.
#[cfg(unix)]
mod watched {
    use super::*;
    use crate::readiness::Interest;
    use std::os::fd::OwnedFd;

    impl Backend {
        pub(crate) fn watch(&mut self, fd: &OwnedFd, what: Interest, slot: u32) -> io::Result<()> {
            match self {
                Backend::Os(os) => os.watch(fd, what, slot),
                #[cfg(any(test, feature = "sim"))]
                _ => Err(io::ErrorKind::Unsupported.into()),
            }
        }

        pub(crate) fn rearm(&mut self, fd: &OwnedFd, what: Interest, slot: u32) -> io::Result<()> {
            match self {
                Backend::Os(os) => os.rearm(fd, what, slot),
                #[cfg(any(test, feature = "sim"))]
                _ => Err(io::ErrorKind::Unsupported.into()),
            }
        }

        pub(crate) fn unwatch(&mut self, fd: &OwnedFd) {
            match self {
                Backend::Os(os) => os.unwatch(fd),
                #[cfg(any(test, feature = "sim"))]
                _ => {}
            }
        }
    }
}

/// The descriptor that a foreign loop waits for. mio's poll(2) selector has none.
#[cfg(all(unix, not(mio_unsupported_force_poll_poll)))]
impl Backend {
    #[track_caller]
    pub(crate) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Backend::Os(os) => os.as_fd(),
            #[cfg(test)]
            Backend::Script(script) => script.as_fd(),
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => sim.as_fd(),
        }
    }
}
