//! The operating system, through mio, socket2 and rustix: the only place that names them.

#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll)
))]
mod alarm;
mod files;
#[cfg(unix)]
mod handing;
mod lost_peers;
mod resolve;
mod route;
mod sockets;
mod threads;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(mio_unsupported_force_poll_poll)
))]
pub(crate) use alarm::Alarm;
pub(crate) use files::{is_of_file, read_file};
#[cfg(unix)]
pub(super) use handing::check_stream;
pub(super) use resolve::{SystemNames, addresses, interface};
pub(super) use sockets::{Acceptor, Stream};
pub(crate) use threads::{Thread, cores, pin_thread, pins_threads};

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

pub(crate) use system::{is_exhaustion, is_shortage};

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

/// Has the system no network of this family, or no such address of its own? So it says nothing of
/// a peer.
pub(crate) fn is_lack(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, NetworkUnreachable, Unsupported};
    matches!(
        error.kind(),
        AddrNotAvailable | NetworkUnreachable | Unsupported
    ) || error.raw_os_error() == Some(system::NO_SUCH_FAMILY)
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
        Source::Attempt(slot) => (slot, 4),
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
        4 => Source::Attempt(slot),
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

    #[cfg(unix)]
    fn registry(&self) -> &mio::Registry {
        self.poll.registry()
    }

    pub(crate) fn wake(&self) -> Wake {
        let waker = self.waker.clone();
        Box::new(move || {
            if let Err(error) = waker.wake() {
                log::error!(target: "sockeye", "cannot wake the loop: {error}");
            }
        })
    }

    #[inline(always)]
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

    pub(crate) fn listen(
        &mut self,
        listen: &Listen,
        addr: &Addr,
        slot: u32,
    ) -> io::Result<Acceptor> {
        let mut acceptor = Acceptor::bind(listen, addr)?;
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
        to: Source,
    ) -> io::Result<(Stream, bool)> {
        let (mut stream, done) = Stream::connect(connect, addr)?;
        let registry = self.poll.registry();
        registry.register(stream.source(), token(to), both())?;
        Ok((stream, done))
    }

    /// To change a registration is to ask anew what is ready: EPOLL_CTL_MOD looks (epoll_ctl(2)).
    pub(crate) fn promote(&mut self, stream: &mut Stream, slot: u32) -> io::Result<()> {
        let token = token(Source::Conn(slot));
        self.poll
            .registry()
            .reregister(stream.source(), token, both())
    }

    pub(crate) fn register(&mut self, stream: &mut Stream, slot: u32) -> io::Result<()> {
        let token = token(Source::Conn(slot));
        self.poll
            .registry()
            .register(stream.source(), token, both())
    }
}
