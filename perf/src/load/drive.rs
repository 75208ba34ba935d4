//! The loop of the load generator, and the measured window.

use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::time::Timespec;

use super::{Sample, Target};
use crate::Result;
use crate::procfs;
use crate::stats::Histogram;

const EVENTS: usize = 512;

/// A server that has not moved for so long has failed.
const STUCK: Duration = Duration::from_secs(20);

/// One kind of load.
pub(super) trait Work {
    /// Starts what may be under way at first.
    fn begin(&mut self, tally: &mut Tally) -> Result<()>;

    fn event(&mut self, number: usize, flags: EventFlags, tally: &mut Tally) -> Result<()>;

    /// Called after each batch of events, and without end if the generator spins.
    fn tick(&mut self, _: &mut Tally) -> Result<()> {
        Ok(())
    }

    /// Whether nothing is under way.
    fn is_quiet(&self) -> bool;
}

/// What is counted, and whether more may be started.
pub(super) struct Tally {
    start: Instant,
    /// How many operations may still be started.
    left: u64,
    /// Operations that came to their end.
    pub(super) ops: u64,
    pub(super) times: Histogram,
}

impl Tally {
    /// Nanoseconds since the generator began.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether another operation may begin; it is then taken for begun.
    pub(super) fn may_start(&mut self) -> bool {
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// The costs so far.
#[derive(Clone, Copy)]
struct Mark {
    at: u64,
    ops: u64,
    server: procfs::Scheduled,
    client: procfs::Scheduled,
}

#[derive(Clone, Copy)]
enum Phase {
    Warm,
    Measure(Mark),
    /// Nothing new is started, and what is under way must come back.
    Drain(Mark, Mark),
}

pub(super) fn drive<W: Work>(
    target: &Target,
    open: impl FnOnce(&OwnedFd) -> Result<W>,
) -> Result<Sample> {
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut work = open(&poll)?;
    let mut tally = Tally {
        start: Instant::now(),
        left: target.count.unwrap_or(u64::MAX),
        ops: 0,
        times: Histogram::default(),
    };
    let warm = nanos(target.warm());
    let window = nanos(target.window());
    let mut phase = Phase::Warm;
    if target.count.is_some() {
        phase = Phase::Measure(mark(target, &tally));
    }
    let mut moved = (0, 0);
    let mut events = Vec::with_capacity(EVENTS);
    work.begin(&mut tally)?;
    loop {
        turn(&poll, &mut events, &mut work, &mut tally, target.spin)?;
        let now = tally.now();
        if tally.ops != moved.0 {
            moved = (tally.ops, now);
        } else if now - moved.1 > nanos(STUCK) {
            return Err(format!("nothing moves after {} operations", tally.ops).into());
        }
        phase = match phase {
            Phase::Warm if now >= warm => {
                tally.times = Histogram::default();
                Phase::Measure(mark(target, &tally))
            }
            Phase::Measure(from) if target.count.is_none() && now - from.at >= window => {
                tally.left = 0;
                Phase::Drain(from, mark(target, &tally))
            }
            Phase::Measure(from) if tally.left == 0 && work.is_quiet() => {
                return sample(from, mark(target, &tally), &tally);
            }
            Phase::Drain(from, to) if work.is_quiet() => return sample(from, to, &tally),
            same => same,
        };
    }
}

fn turn(
    poll: &OwnedFd,
    events: &mut Vec<Event>,
    work: &mut impl Work,
    tally: &mut Tally,
    spin: bool,
) -> Result<()> {
    // Not for ever, so that the end of the window is seen though nothing comes.
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: if spin { 0 } else { 100_000_000 },
    };
    events.clear();
    match epoll::wait(poll, spare_capacity(events), Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    for event in events {
        work.event(event.data.u64() as usize, event.flags, tally)?;
    }
    work.tick(tally)
}

fn mark(target: &Target, tally: &Tally) -> Mark {
    Mark {
        at: tally.now(),
        ops: tally.ops,
        server: procfs::scheduled(target.pid),
        client: procfs::scheduled(std::process::id()),
    }
}

fn sample(from: Mark, to: Mark, tally: &Tally) -> Result<Sample> {
    let ops = to.ops - from.ops;
    if ops == 0 {
        return Err("nothing came back within the window".into());
    }
    Ok(Sample {
        ops: ops as f64,
        wall: (to.at - from.at) as f64,
        server: to.server.ran.saturating_sub(from.server.ran) as f64,
        client: to.client.ran.saturating_sub(from.client.ran) as f64,
        waited: waited(from.server, to.server).max(waited(from.client, to.client)),
        p50: tally.times.quantile(0.5),
        p99: tally.times.quantile(0.99),
        p999: tally.times.quantile(0.999),
        ..Sample::default()
    })
}

fn waited(from: procfs::Scheduled, to: procfs::Scheduled) -> f64 {
    to.waited.saturating_sub(from.waited) as f64
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
