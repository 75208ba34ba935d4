//! Messages that come back: as fast as they do, or at a fixed rate.

use std::collections::VecDeque;

use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;

use super::drive::{Tally, Work};
use super::wire::{Pattern, Pipe, READ, connect, register};
use super::{Options, Target};
use crate::Result;

pub(super) struct Echo {
    conns: Vec<Conn>,
    pattern: Pattern,
    buffer: Vec<u8>,
    size: u64,
    depth: usize,
    pace: Option<Pace>,
    under_way: u64,
}

struct Conn {
    pipe: Pipe,
    /// The bytes of the messages that have come back whole.
    done: u64,
    /// When each message that is under way was sent, or should have been.
    times: VecDeque<u64>,
}

/// Messages at fixed times, on each connection in turn. A message that had to wait counts from
/// when it should have been sent: else a server that stops would look fast.
struct Pace {
    nanos: u64,
    next: u64,
    conn: usize,
}

impl Echo {
    pub(super) fn new(options: &Options, target: &Target, poll: &OwnedFd) -> Result<Self> {
        let mut conns = Vec::new();
        for number in 0..options.conns {
            let stream = connect(target.addr)?;
            register(poll, &stream, number)?;
            conns.push(Conn {
                pipe: Pipe::new(stream, number),
                done: 0,
                times: VecDeque::with_capacity(options.depth),
            });
        }
        Ok(Self {
            conns,
            pattern: Pattern::new(),
            buffer: vec![0; READ],
            size: options.size as u64,
            depth: options.depth,
            pace: options.rate.map(|rate| Pace {
                nanos: 1_000_000_000 / rate.max(1),
                next: 0,
                conn: 0,
            }),
            under_way: 0,
        })
    }
}

impl Work for Echo {
    fn begin(&mut self, tally: &mut Tally) -> Result<()> {
        if self.pace.is_some() {
            return Ok(());
        }
        for conn in &mut self.conns {
            let now = tally.now();
            for _ in 0..self.depth {
                if tally.may_start() {
                    self.under_way += 1;
                    conn.start(now, self.size);
                }
            }
            conn.pipe.send(&self.pattern)?;
        }
        Ok(())
    }

    fn event(&mut self, number: usize, flags: EventFlags, tally: &mut Tally) -> Result<()> {
        let conn = &mut self.conns[number];
        conn.pipe.ready(flags);
        conn.pipe.receive(&self.pattern, &mut self.buffer)?;
        let now = tally.now();
        while conn.pipe.received - conn.done >= self.size {
            conn.done += self.size;
            let began = conn.times.pop_front().unwrap_or(now);
            tally.times.record(now.saturating_sub(began));
            tally.ops += 1;
            self.under_way -= 1;
            if self.pace.is_none() && tally.may_start() {
                self.under_way += 1;
                conn.start(now, self.size);
            }
        }
        conn.pipe.send(&self.pattern)
    }

    fn tick(&mut self, tally: &mut Tally) -> Result<()> {
        let Some(pace) = &mut self.pace else {
            return Ok(());
        };
        let now = tally.now();
        while pace.next <= now && tally.may_start() {
            let conn = &mut self.conns[pace.conn];
            conn.start(pace.next, self.size);
            conn.pipe.send(&self.pattern)?;
            self.under_way += 1;
            pace.next += pace.nanos;
            pace.conn = (pace.conn + 1) % self.conns.len();
        }
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        self.under_way == 0
    }
}

impl Conn {
    fn start(&mut self, now: u64, size: u64) {
        self.pipe.due += size;
        self.times.push_back(now);
    }
}
