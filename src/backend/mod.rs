//! The edge: everything that is a socket, a thread or a clock is below this line.
//!
//! Above it the loop knows a [`Stream`] that reads and writes without blocking, an [`Acceptor`]
//! that gives streams, and a [`Backend`] that waits for readiness. They are enums and not trait
//! objects, for they are called once per read and write; without a second backend compiled in, the
//! match on them costs nothing.
//!
//! # The contract
//!
//! Whoever stands in for the system keeps what is said here and at each call; the loop relies on
//! nothing else. So a stand-in may also wrap another, and pass on what that answers.
//!
//! - **Nothing blocks** but [`Backend::wait`], and [`Backend::addresses`], which looks a name up.
//!   What cannot go on answers `WouldBlock`.
//! - **`WouldBlock` is a debt.** When the call of a stream or an acceptor need no longer block, an
//!   event says so. Before that the loop does not ask again, but for a deadline that is due.
//! - **An event need not be told again** before a call has met `WouldBlock`, or a short count that
//!   is proof ([`Stream::short_is_proof`]). Who stops earlier keeps it in mind.
//! - **An event may be wrong.** Then the call meets `WouldBlock`, and no harm is done. One for a
//!   slot in which nobody is, or somebody else by now, does none either.
//! - **`Interrupted` means that nothing happened**, and the call may be made again. No event
//!   follows.
//! - **An error of a socket is told once**, by the first call that meets it, whichever that is. To
//!   those who make no call an event says that there is one.
//! - **Slots are the loop's names**, and no call needs more. One slot stands for one socket of a
//!   kind at a time, until that is dropped. An attempt of a connect has a slot of its own kind, and
//!   the one that wins is given its connection's ([`Backend::promote`]).
//! - **Whatever is dropped is closed**, without blocking, and its registration goes with it.

mod handed;
#[cfg(unix)]
mod handing;
mod naming;
mod os;
#[cfg(test)]
pub(crate) mod script;
#[cfg(feature = "sim")]
pub(crate) mod simnet;

#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll)
))]
pub(crate) use os::Alarm;
pub(crate) use os::{Thread, cores, pin_thread, pins_threads};
pub(crate) use os::{is_exhaustion, is_lack, is_of_file, is_shortage, read_file};

use crate::addr::Addr;
#[cfg(unix)]
use crate::addr::Credentials;
use crate::options::{Connect, Listen};
use crate::readiness::Readiness;
use std::fs::File;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant, SystemTime};

/// Whom an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Conn(u32),
    /// One of several attempts of a connect.
    Attempt(u32),
    Listener(u32),
    #[cfg_attr(
        not(unix),
        allow(dead_code, reason = "descriptors are watched on Unix only")
    )]
    Watch(u32),
    /// A message came: the wait has returned, and that is all.
    Wake,
}

/// Wakes the loop from another thread. It may be called at any time, also when the loop is gone.
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
    /// Another loop has the socket.
    Handed(handed::Handed),
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

/// The clock alone: it goes on while its backend is in use, and is that of its backend's timeouts.
pub(crate) enum Clock {
    Os,
    #[cfg(test)]
    Script(script::Script),
    #[cfg(feature = "sim")]
    Sim(simnet::SharedNet),
}

impl Clock {
    /// The time, which never goes back. Asked seldom: on a real system it is a call.
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

    /// What the clocks on the walls say. Nothing in the loop goes by it.
    pub(crate) fn wall(&self) -> SystemTime {
        match self {
            Clock::Os => SystemTime::now(),
            #[cfg(test)]
            Clock::Script(script) => script.wall(),
            #[cfg(feature = "sim")]
            Clock::Sim(net) => net.lock().wall(),
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
    /// Moves what has come into `buffer`, which is never empty, and answers how much.
    ///
    /// All that the peer sent comes in its order, then its end or an error. 0 is the peer's end and
    /// nothing else; to read on gives 0 again, or the error that followed. With an error nothing
    /// was moved, and the loop reads no more.
    #[inline]
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        on!(Stream, self, stream => stream.read(buffer))
    }

    /// Takes bytes from the beginning of `bytes`, and answers how many: from then on they are on
    /// their way, once and in this order.
    ///
    /// 0 stands for `WouldBlock`. With an error nothing was taken; the loop writes no more, but
    /// reads on. No signal is raised. The loop writes only when the connect is through, and not
    /// after `shutdown_write`.
    #[inline(always)]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        on!(Stream, self, stream => stream.write(bytes))
    }

    /// Writes the slices as if they were one; the answer counts over all of them, and may end
    /// within any.
    #[inline]
    pub(crate) fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        on!(Stream, self, stream => stream.write_vectored(slices))
    }

    /// Takes at most `most` bytes of a file, from this position on, as if they were written; 0 says
    /// that the file ends there. `most` is never zero.
    ///
    /// Fewer than asked for prove nothing. An error of the file is known by [`is_of_file`]; so is
    /// that it cannot be done, and then nothing was taken. Asked only of streams that do it.
    pub(crate) fn send_file(&mut self, file: &File, at: u64, most: usize) -> io::Result<usize> {
        on!(Stream, self, stream => stream.send_file(file, at, most))
    }

    /// What is written is ciphertext from now on, which differs from run to run: a simulated
    /// network notes no more of it than its length.
    #[cfg(feature = "tls")]
    pub(crate) fn carry_ciphertext(&mut self) {
        match self {
            #[cfg(feature = "sim")]
            Stream::Sim(stream) => stream.carry_ciphertext(),
            _ => {}
        }
    }

    /// Can it take files, without a signal? The answer never changes.
    pub(crate) fn sends_files(&self) -> bool {
        on!(Stream, self, stream => stream.sends_files())
    }

    /// Sends the FIN, behind all that was taken. Reads go on. Called once, when the connect is
    /// through.
    ///
    /// An error says that the connection is gone, of which a read then tells more.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        on!(Stream, self, stream => stream.shutdown_write())
    }

    /// Makes the coming drop a reset: RST instead of FIN, and what is unsent is dropped.
    ///
    /// Where there is no reset (Unix sockets), or nobody to hear it, nothing happens. Called any
    /// number of times.
    pub(crate) fn reset_on_drop(&mut self) {
        on!(Stream, self, stream => stream.reset_on_drop());
    }

    /// Is the connect through? `false`: not yet, and an event tells when to ask again.
    ///
    /// An error is the connect's, and asking consumes it. After `true` the stream reads and writes.
    /// Asked only until then, after each event: writable is not connected.
    pub(crate) fn is_connected(&mut self) -> io::Result<bool> {
        on!(Stream, self, stream => stream.is_connected())
    }

    /// The socket's error (`SO_ERROR`), if it has one. Asking consumes it, and nothing else: no
    /// byte is moved. `None` proves nothing, for a call may have met the error before.
    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        on!(Stream, self, stream => stream.take_error())
    }

    /// The address of this side, which never changes once the connect is through.
    pub(crate) fn local_addr(&self) -> io::Result<Addr> {
        on!(Stream, self, stream => stream.local_addr())
    }

    /// Who is at the other end of a Unix socket, as the system has known it at the connect. `None`:
    /// the system does not say, or it is no Unix socket.
    #[cfg(unix)]
    pub(crate) fn peer_credentials(&self) -> Option<Credentials> {
        match self {
            Stream::Os(stream) => stream.peer_credentials(),
            #[cfg(any(test, feature = "sim"))]
            _ => None,
        }
    }

    /// Does a read or write that moves less than was asked prove that the next would block?
    ///
    /// `true`: a short count is as good as a `WouldBlock`, an event follows it too. But not for
    /// reads once an end, an error or urgent data was told of. The answer never changes: reads go
    /// by the one that was given before the first of them.
    #[inline]
    pub(crate) fn short_is_proof(&self) -> bool {
        on!(Stream, self, stream => stream.short_is_proof())
    }
}

impl Acceptor {
    /// Takes the next peer that waits, and its address.
    ///
    /// The stream has its options, and is connected; it is not registered yet, and costs nothing
    /// when dropped. One event may stand for many peers: the loop asks until `WouldBlock`, though
    /// not all at once. `ConnectionAborted` is an error of one peer, whatever the system calls it,
    /// and does not come for ever; any other error is the listener's, which then rests, and is
    /// asked again without an event.
    #[inline(always)]
    pub(crate) fn accept(&mut self) -> io::Result<(Stream, Addr)> {
        match self {
            Acceptor::Os(acceptor) => acceptor
                .accept()
                .map(|(stream, addr)| (Stream::Os(stream), addr)),
            Acceptor::Handed(handed) => handed.accept(),
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

    /// Where it listens, with the port that was chosen for port 0.
    pub(crate) fn local_addr(&self) -> io::Result<Addr> {
        match self {
            Acceptor::Os(acceptor) => acceptor.local_addr(),
            Acceptor::Handed(handed) => Ok(handed.local_addr()),
            #[cfg(test)]
            Acceptor::Script(acceptor) => acceptor.local_addr(),
            #[cfg(feature = "sim")]
            Acceptor::Sim(acceptor) => acceptor.local_addr(),
        }
    }
}

impl Backend {
    /// The operating system's.
    pub(crate) fn os(events_per_wait: usize, busy_poll: Duration) -> io::Result<Backend> {
        os::Os::new(events_per_wait, busy_poll).map(Backend::Os)
    }

    /// Does somebody else move the clock, so that a loop which waits by itself would wait for ever?
    #[cfg(feature = "sim")]
    pub(crate) fn is_simulated(&self) -> bool {
        matches!(self, Backend::Sim(_))
    }

    /// The clock that this backend's timeouts go by.
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
    ///
    /// A call that comes before the wait is not lost, and several may end one wait.
    pub(crate) fn wake(&self) -> Wake {
        on!(Backend, self, backend => backend.wake())
    }

    /// Waits for readiness, and hands each event on. Answers how many there were, and whether the
    /// batch was full, so that more may be there.
    ///
    /// It returns when there are events, when it is woken, when `timeout` has passed (`None`: never
    /// by that), or for no reason, as after a signal; the loop looks at the clock itself. With a
    /// timeout of zero it does not sleep. A slot may be told of twice, and events in any order.
    /// What did not fit into the batch comes with the next one. An error is one of the
    /// waiting itself, and ends the turn.
    #[inline(always)]
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        each: impl FnMut(Source, Readiness),
    ) -> io::Result<(usize, bool)> {
        on!(Backend, self, backend => backend.wait(timeout, each))
    }

    /// Binds to the address and listens at once, and reports to `slot`.
    ///
    /// Whoever waits when it returns is told of as a later one would be. With an error nothing is
    /// left: no socket, no file, no event. That the system has no such family or address is known
    /// by [`is_lack`].
    pub(crate) fn listen(
        &mut self,
        listen: &Listen,
        addr: &Addr,
        slot: u32,
    ) -> io::Result<Acceptor> {
        addr.check()?;
        listen.socket.check()?;
        if listen.mode.is_some() && addr.path().is_none() {
            let text = "mode is for Unix paths";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        match self {
            Backend::Os(os) => os.listen(listen, addr, slot).map(Acceptor::Os),
            #[cfg(test)]
            Backend::Script(script) => script.listen(listen, addr, slot).map(Acceptor::Script),
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => sim.listen(listen, addr, slot).map(Acceptor::Sim),
        }
    }

    /// Begins to connect, and reports to `to`, which is a connection or an attempt. `true`: it is
    /// through already.
    ///
    /// The stream is registered, for its whole life. With an error nothing is left, and the call
    /// may be made again; that there are no descriptors is known by [`is_exhaustion`].
    pub(crate) fn connect(
        &mut self,
        connect: &Connect,
        addr: &Addr,
        to: Source,
    ) -> io::Result<(Stream, bool)> {
        addr.check_peer()?;
        connect.socket.check()?;
        connect.route.check(addr)?;
        match self {
            Backend::Os(os) => os
                .connect(connect, addr, to)
                .map(|(stream, done)| (Stream::Os(stream), done)),
            #[cfg(test)]
            Backend::Script(script) => script
                .connect(connect, addr, to)
                .map(|(stream, done)| (Stream::Script(stream), done)),
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => sim
                .connect(connect, addr, to)
                .map(|(stream, done)| (Stream::Sim(stream), done)),
        }
    }

    /// An attempt is now the stream of a connection, and reports to its `slot`.
    ///
    /// What is ready now is told again, for what the attempt was told counts for nothing. With an
    /// error no event will come, and the stream is dropped.
    pub(crate) fn promote(&mut self, stream: &mut Stream, slot: u32) -> io::Result<()> {
        match (self, stream) {
            (Backend::Os(os), Stream::Os(stream)) => os.promote(stream, slot),
            #[cfg(test)]
            (Backend::Script(script), Stream::Script(stream)) => script.register(stream, slot),
            #[cfg(feature = "sim")]
            (Backend::Sim(sim), Stream::Sim(stream)) => sim.register(stream, slot),
            #[cfg(any(test, feature = "sim"))]
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The one registration of an accepted stream, for its whole life.
    ///
    /// What has come already is told by the next wait, for the loop reads no stream of which it was
    /// told nothing. That there is room to write it takes for granted. With an error no event will
    /// come, and the stream is dropped. The stream comes from one of this backend's acceptors.
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

/// Descriptors that are not sockets of the loop. Where there is no system, there are none.
#[cfg(unix)]
mod watched {
    use super::*;
    use crate::readiness::Interest;
    use std::os::fd::OwnedFd;

    impl Backend {
        /// Tells `slot` when the descriptor is ready. The caller keeps it open until `unwatch`.
        ///
        /// An error of the kind `PermissionDenied` says that it is of a kind that is always ready.
        pub(crate) fn watch(&mut self, fd: &OwnedFd, what: Interest, slot: u32) -> io::Result<()> {
            match self {
                Backend::Os(os) => os.watch(fd, what, slot),
                #[cfg(any(test, feature = "sim"))]
                _ => Err(io::ErrorKind::Unsupported.into()),
            }
        }

        /// Tells again what is ready now, also what was told before. An error says that the system
        /// no longer knows of the descriptor.
        pub(crate) fn rearm(&mut self, fd: &OwnedFd, what: Interest, slot: u32) -> io::Result<()> {
            match self {
                Backend::Os(os) => os.rearm(fd, what, slot),
                #[cfg(any(test, feature = "sim"))]
                _ => Err(io::ErrorKind::Unsupported.into()),
            }
        }

        /// Tells of it no more. It never fails: what the system has forgotten is forgotten.
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
    /// Readable when a wait would find an event, for which a wake counts too. A backend that
    /// somebody else drives has none, and panics.
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
