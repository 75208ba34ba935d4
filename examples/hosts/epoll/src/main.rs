//! A bare epoll loop, level-triggered, or edge-triggered with `--edge`.

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::retry_on_intr;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use scenario::{Net, TICK};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

// The glue.
fn host(mut net: Net, how: EventFlags) -> io::Result<()> {
    let (epoll, ticks) = (epoll::create(epoll::CreateFlags::CLOEXEC)?, ticks()?);
    for (fd, name) in [(net.driver.as_fd(), 0), (ticks.as_fd(), 1)] {
        epoll::add(&epoll, fd, EventData::new_u64(name), how)?;
    }
    let mut events = Vec::with_capacity(8);
    loop {
        // A signal ends a wait, Ctrl-Z and `fg` too.
        retry_on_intr(|| epoll::wait(&epoll, spare_capacity(&mut events), None))?;
        for event in events.drain(..) {
            if event.data.u64() == 1 {
                rustix::io::read(&ticks, &mut [0; 8])?;
                net.outside();
            } else if net.driver.turn(&mut net.room)?.report.is_some() {
                return Ok(());
            }
        }
    }
}
// End of the glue.

/// The host's own timer.
fn ticks() -> io::Result<OwnedFd> {
    let ticks = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    let tick = TICK.try_into().map_err(io::Error::other)?;
    let each = Itimerspec {
        it_interval: tick,
        it_value: tick,
    };
    timerfd_settime(&ticks, TimerfdTimerFlags::empty(), &each)?;
    Ok(ticks)
}

fn main() -> ExitCode {
    let edges = std::env::args().any(|arg| arg == "--edge");
    let how = if edges {
        EventFlags::ET
    } else {
        EventFlags::empty()
    };
    scenario::play(|net| host(net, EventFlags::IN | how))
}
