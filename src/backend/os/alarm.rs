//! A descriptor that is readable when the reactor has events, when a time has come, or when it is
//! told to be: an epoll(7) over the reactor's descriptor, a timerfd and an eventfd.
//!
//! Nobody waits on this epoll. What is ready in it is looked at anew whenever it is asked whether
//! it is readable, and whatever becomes ready in it passes on as an edge: so it serves hosts of
//! either kind.

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

pub(crate) struct Alarm {
    outer: OwnedFd,
    timer: OwnedFd,
    /// Not the timer, set for at once: that would be an interrupt, and may be a tick late.
    bell: OwnedFd,
    rings: bool,
    /// Calls that set the timer, and that wrote to the bell or read it.
    #[cfg(test)]
    pub(crate) calls: (usize, usize),
}

impl Alarm {
    pub(crate) fn new(reactor: BorrowedFd<'_>) -> io::Result<Alarm> {
        let outer = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        // The clock of `Instant`.
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Level-triggered: an edge that nobody takes from here would be the last one.
        let nobody = epoll::EventData::new_u64(0);
        for fd in [reactor, timer.as_fd(), bell.as_fd()] {
            epoll::add(&outer, fd, nobody, epoll::EventFlags::IN)?;
        }
        Ok(Alarm {
            outer,
            timer,
            bell,
            rings: false,
            #[cfg(test)]
            calls: (0, 0),
        })
    }

    /// Makes it readable until `hush`, and tells those again who wait for an edge.
    pub(crate) fn ring(&mut self) -> io::Result<()> {
        #[cfg(test)]
        (self.calls.1 += 1);
        self.rings = true;
        match rustix::io::write(&self.bell, &1u64.to_ne_bytes()) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()), // it has rung 2^64 times, and is readable
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the ringing.
    pub(crate) fn hush(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.rings) {
            return Ok(());
        }
        #[cfg(test)]
        (self.calls.1 += 1);
        match rustix::io::read(&self.bell, &mut [0; 8]) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes it readable after that time, and not for what was set before; `None`: not by time.
    pub(crate) fn set(&mut self, delay: Option<Duration>) -> io::Result<()> {
        #[cfg(test)]
        (self.calls.0 += 1);
        // A time of zero would stop the timer.
        let delay = delay.map_or(Duration::ZERO, |delay| delay.max(Duration::from_nanos(1)));
        let new = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(delay).map_err(io::Error::other)?,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &new)?;
        Ok(())
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.outer.as_fd()
    }
}
