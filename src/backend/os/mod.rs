//! The operating system, through mio, socket2 and rustix: the only place that names them.

#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll)
))]
mod alarm;
mod calls;
mod lost_peers;
#[cfg(unix)]
mod socket_file;
mod sockets;
#[cfg(unix)]
mod start_lock;

#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll)
))]
pub(crate) use alarm::Alarm;
pub(super) use sockets::{Acceptor, Stream};

use super::{Source, Wake};
use crate::addr::Addr;
use crate::options::{Connect, Listen};
use crate::readiness::Readiness;
use mio::{Events, Interest, Poll, Token, Waker};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) struct Os {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    busy_poll: Duration,
}

/// Has the process, or the system, used up its descriptors?
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    #[cfg(unix)]
    let codes =
        [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(|code| code.raw_os_error());
    // WSAEMFILE: Winsock has no other.
    #[cfg(not(unix))]
    let codes = [10024];
    error
        .raw_os_error()
        .is_some_and(|code| codes.contains(&code))
}

/// Is the system short of memory for now? It says so of a send or a receive, too.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    #[cfg(unix)]
    let code = rustix::io::Errno::NOBUFS.raw_os_error();
    #[cfg(not(unix))]
    let code = 10055; // WSAENOBUFS
    error.kind() == io::ErrorKind::OutOfMemory || error.raw_os_error() == Some(code)
}

/// Bits of a token that say what kind of thing it is for; the slot is above them.
const KIND_BITS: u32 = 3;
const KIND: usize = (1 << KIND_BITS) - 1;

/// A slot and its kind in one token. No generation: a stale event can only come for a descriptor
/// that a forked child keeps open, and then it is a spurious readiness, which harms nobody.
fn token(source: Source) -> Token {
    let (slot, kind) = match source {
        Source::Conn(slot) => (slot, 0),
        Source::Listener(slot) => (slot, 1),
        Source::Watch(slot) => (slot, 2),
        Source::Wake => (0, 3),
    };
    Token((slot as usize) << KIND_BITS | kind)
}

/// A connection's slot, as almost always.
#[inline]
fn conn_of(token: Token) -> Option<u32> {
    (token.0 & KIND == 0).then_some((token.0 >> KIND_BITS) as u32)
}

#[cold]
fn source(token: Token) -> Source {
    let slot = (token.0 >> KIND_BITS) as u32;
    match token.0 & KIND {
        0 => Source::Conn(slot),
        1 => Source::Listener(slot),
        2 => Source::Watch(slot),
        _ => Source::Wake,
    }
}

#[inline]
fn readiness(event: &mio::event::Event) -> Readiness {
    let usual = Readiness::READABLE.when(event.is_readable())
        | Readiness::WRITABLE.when(event.is_writable());
    // On Linux a closed writing side always shows as one of the others.
    let write_closed = cfg!(not(target_os = "linux")) && event.is_write_closed();
    let hang_up = event.is_read_closed() || write_closed;
    if !hang_up && !event.is_error() && !event.is_priority() {
        return usual;
    }
    usual
        | Readiness::ERROR.when(event.is_error())
        | Readiness::HANG_UP.when(hang_up)
        | Readiness::URGENT.when(event.is_priority())
}

/// Both directions from the start: edge-triggered interest in writability costs nothing, and arming
/// it per message would cost a system call each. Urgent data must be asked for to be heard of.
fn both() -> Interest {
    let both = Interest::READABLE | Interest::WRITABLE;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let both = both | Interest::PRIORITY;
    both
}

impl Os {
    pub(crate) fn new(events_per_wait: usize, busy_poll: Duration) -> io::Result<Os> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), token(Source::Wake))?);
        Ok(Os {
            poll,
            events: Events::with_capacity(events_per_wait),
            waker,
            busy_poll,
        })
    }

    pub(crate) fn wake(&self) -> Wake {
        let waker = self.waker.clone();
        Box::new(move || {
            if let Err(error) = waker.wake() {
                log::error!(target: "sockeye", "cannot wake the loop: {error}");
            }
        })
    }

    #[inline]
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut each: impl FnMut(Source, Readiness),
    ) -> io::Result<(usize, bool)> {
        let polled = match self.busy_poll {
            Duration::ZERO => self.poll.poll(&mut self.events, timeout),
            _ => self.poll_busily(timeout),
        };
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok((0, false)),
            result => result?,
        }
        let mut count = 0;
        for event in self.events.iter() {
            let (token, readiness) = (event.token(), readiness(event));
            match conn_of(token) {
                Some(slot) => each(Source::Conn(slot), readiness),
                None => each(source(token), readiness),
            }
            count += 1;
        }
        Ok((count, count >= self.events.capacity()))
    }

    /// Asks again and again, and sleeps for the rest of the timeout if there was nothing.
    fn poll_busily(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let started = Instant::now();
        let mut remaining = timeout;
        while remaining != Some(Duration::ZERO) {
            self.poll.poll(&mut self.events, Some(Duration::ZERO))?;
            let spent = started.elapsed();
            if !self.events.is_empty() {
                return Ok(());
            }
            remaining = timeout.map(|timeout| timeout.saturating_sub(spent));
            if spent >= self.busy_poll {
                break;
            }
        }
        self.poll.poll(&mut self.events, remaining)
    }

    pub(crate) fn listen(&mut self, listen: &Listen, slot: u32) -> io::Result<Acceptor> {
        let mut acceptor = Acceptor::bind(listen)?;
        let token = token(Source::Listener(slot));
        self.poll
            .registry()
            .register(acceptor.source(), token, Interest::READABLE)?;
        Ok(acceptor)
    }

    pub(crate) fn connect(
        &mut self,
        connect: &Connect,
        addr: &Addr,
        slot: u32,
    ) -> io::Result<(Stream, bool)> {
        let (mut stream, done) = Stream::connect(connect, addr)?;
        self.register(&mut stream, slot)?;
        Ok((stream, done))
    }

    pub(crate) fn register(&mut self, stream: &mut Stream, slot: u32) -> io::Result<()> {
        let token = token(Source::Conn(slot));
        self.poll
            .registry()
            .register(stream.source(), token, both())
    }
}

#[cfg(unix)]
mod watched {
    use super::{Os, Source, token};
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
}

#[cfg(all(unix, not(mio_unsupported_force_poll_poll)))]
impl Os {
    pub(crate) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(self.poll.registry())
    }
}
