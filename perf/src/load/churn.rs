//! Connect, one message, close: as many at a time as are asked for.

use std::net::SocketAddr;

use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;

use super::drive::{Tally, Work};
use super::wire::{Pattern, Pipe, connecting, register};
use super::{Options, Target};
use crate::Result;

pub(super) struct Churn {
    addr: SocketAddr,
    poll: OwnedFd,
    conns: Vec<Option<Conn>>,
    pattern: Pattern,
    buffer: Vec<u8>,
    size: u64,
}

struct Conn {
    pipe: Pipe,
    began: u64,
}

impl Churn {
    pub(super) fn new(options: &Options, target: &Target, poll: &OwnedFd) -> Result<Self> {
        Ok(Self {
            addr: target.addr,
            poll: poll.try_clone()?,
            conns: (0..options.conns).map(|_| None).collect(),
            pattern: Pattern::new(),
            buffer: vec![0; options.size + 1],
            size: options.size as u64,
        })
    }

    fn open(&mut self, number: usize, tally: &mut Tally) -> Result<()> {
        if !tally.may_start() {
            return Ok(());
        }
        let began = tally.now();
        let stream = connecting(self.addr)?;
        register(&self.poll, &stream, number)?;
        let mut pipe = Pipe::new(stream, number);
        pipe.due = self.size;
        self.conns[number] = Some(Conn { pipe, began });
        Ok(())
    }
}

impl Work for Churn {
    fn begin(&mut self, tally: &mut Tally) -> Result<()> {
        (0..self.conns.len()).try_for_each(|number| self.open(number, tally))
    }

    fn event(&mut self, number: usize, flags: EventFlags, tally: &mut Tally) -> Result<()> {
        let Some(conn) = &mut self.conns[number] else {
            return Ok(());
        };
        let pipe = &mut conn.pipe;
        if let Some(error) = flags
            .contains(EventFlags::ERR)
            .then(|| pipe.stream.take_error())
        {
            return Err(format!("connect: {error:?}").into());
        }
        pipe.ready(flags);
        if flags.contains(EventFlags::OUT) {
            pipe.send(&self.pattern)?;
        }
        pipe.receive(&self.pattern, &mut self.buffer)?;
        if pipe.received == self.size {
            let began = conn.began;
            self.conns[number] = None; // which closes it
            tally.times.record(tally.now() - began);
            tally.ops += 1;
            self.open(number, tally)?;
        }
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        self.conns.iter().all(Option::is_none)
    }
}
