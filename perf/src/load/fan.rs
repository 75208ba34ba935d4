//! Lines that go to every member of a room. An operation is one line delivered to one member.
//!
//! Each member must get each line of each sender, in the sender's order, once, and whole.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;

use super::drive::{Tally, Work};
use super::wire::{READ, register};
use super::{Options, Target};
use crate::Result;

/// A line begins with its sender and its number, in so many digits each.
const SENDER: usize = 3;
const NUMBER: usize = 10;

pub(super) struct Fan {
    members: Vec<Member>,
    /// The first members send.
    senders: Vec<Sender>,
    buffer: Vec<u8>,
    size: usize,
}

struct Member {
    stream: TcpStream,
    readable: bool,
    writable: bool,
    /// The beginning of a line whose end has not come.
    part: Vec<u8>,
    /// The number that comes next from each sender.
    next: Vec<u64>,
}

struct Sender {
    /// Lines under way, the oldest first; `first` is its number.
    lines: Vec<Line>,
    first: u64,
    count: u64,
    queue: Vec<u8>,
}

/// A line that is under way, in a ring.
#[derive(Clone, Default)]
struct Line {
    text: Vec<u8>,
    sent: u64,
    /// How many members have it.
    got: usize,
}

impl Fan {
    pub(super) fn new(options: &Options, target: &Target, poll: &OwnedFd) -> Result<Self> {
        if options.size < SENDER + NUMBER + 3 || options.senders > options.conns {
            return Err("lines have 16 bytes at least, and senders are members".into());
        }
        let streams = enter(target, options.conns)?;
        let mut members = Vec::new();
        for (number, stream) in streams.into_iter().enumerate() {
            stream.set_nonblocking(true)?;
            register(poll, &stream, number)?;
            members.push(Member {
                stream,
                readable: false,
                writable: true,
                part: Vec::new(),
                next: vec![0; options.senders],
            });
        }
        Ok(Self {
            members,
            senders: (0..options.senders)
                .map(|_| Sender::new(options.depth))
                .collect(),
            buffer: vec![0; READ],
            size: options.size,
        })
    }

    /// Starts as many lines of a sender as may be under way.
    fn start(&mut self, number: usize, tally: &mut Tally) -> Result<()> {
        let sender = &mut self.senders[number];
        while sender.count - sender.first < sender.lines.len() as u64 && tally.may_start() {
            let at = sender.count as usize % sender.lines.len();
            let line = &mut sender.lines[at];
            line.sent = tally.now();
            line.got = 0;
            write_line(&mut line.text, number, sender.count, self.size);
            sender.queue.extend_from_slice(&line.text);
            sender.count += 1;
        }
        self.members[number].send(&mut sender.queue)
    }

    /// Takes the lines of `data`, which begins with a line's beginning; answers what is left.
    fn take(&mut self, member: usize, data: &[u8], tally: &mut Tally) -> Result<usize> {
        let mut at = 0;
        while data.len() - at >= self.size {
            self.line(member, &data[at..at + self.size], tally)?;
            at += self.size;
        }
        Ok(data.len() - at)
    }

    fn line(&mut self, member: usize, text: &[u8], tally: &mut Tally) -> Result<()> {
        let wrong = || format!("wrong line for member {member}: {}", text.escape_ascii());
        let from = decimal(&text[..SENDER]).ok_or_else(wrong)? as usize;
        let members = self.members.len();
        let sender = self.senders.get_mut(from).ok_or_else(wrong)?;
        let number = self.members[member].next[from];
        let at = number as usize % sender.lines.len();
        let line = &mut sender.lines[at];
        // The number is part of the text, so this finds lost, doubled and swapped lines too.
        if number >= sender.count || line.text != text {
            return Err(wrong().into());
        }
        self.members[member].next[from] += 1;
        line.got += 1;
        tally.ops += 1;
        if line.got == members {
            tally.times.record(tally.now() - line.sent);
        }
        let first = &sender.lines[sender.first as usize % sender.lines.len()];
        if number == sender.first && first.got == members {
            sender.first += 1;
            self.start(from, tally)?;
        }
        Ok(())
    }
}

impl Sender {
    fn new(depth: usize) -> Self {
        Self {
            lines: vec![Line::default(); depth],
            first: 0,
            count: 0,
            queue: Vec::new(),
        }
    }
}

impl Member {
    fn send(&mut self, queue: &mut Vec<u8>) -> Result<()> {
        while self.writable && !queue.is_empty() {
            match self.stream.write(queue) {
                Ok(n) => drop(queue.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("write: {error}").into()),
            }
        }
        Ok(())
    }
}

impl Work for Fan {
    fn begin(&mut self, tally: &mut Tally) -> Result<()> {
        (0..self.senders.len()).try_for_each(|number| self.start(number, tally))
    }

    fn event(&mut self, number: usize, flags: EventFlags, tally: &mut Tally) -> Result<()> {
        let member = &mut self.members[number];
        member.readable |= !flags.difference(EventFlags::OUT).is_empty();
        if flags.contains(EventFlags::OUT) {
            member.writable = true;
            if let Some(sender) = self.senders.get_mut(number) {
                member.send(&mut sender.queue)?;
            }
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        while self.members[number].readable {
            let member = &mut self.members[number];
            let kept = member.part.len();
            buffer[..kept].copy_from_slice(&member.part);
            member.part.clear();
            let read = match member.stream.read(&mut buffer[kept..]) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => 0,
                Err(error) => return Err(format!("read: {error}").into()),
            };
            member.readable = kept + read == buffer.len();
            let data = &buffer[..kept + read];
            let left = self.take(number, data, tally)?;
            let part = &data[data.len() - left..];
            self.members[number].part.extend_from_slice(part);
        }
        self.buffer = buffer;
        Ok(())
    }

    fn is_quiet(&self) -> bool {
        self.senders
            .iter()
            .all(|sender| sender.first == sender.count)
    }
}

/// Connects the members one by one. Each sends a line, and the next one comes when all who are
/// there have it: who has his own line is a member, whenever a server takes him for one.
fn enter(target: &Target, count: usize) -> Result<Vec<TcpStream>> {
    let mut members: Vec<TcpStream> = Vec::with_capacity(count);
    for number in 0..count {
        let mut newcomer = TcpStream::connect(target.addr)?;
        newcomer.set_nodelay(true)?;
        let hello = format!("member {number}\n").into_bytes();
        newcomer.write_all(&hello)?;
        let mut got = vec![0; hello.len()];
        for member in &mut members {
            member.read_exact(&mut got)?;
            if got != hello {
                return Err(wrong_line(&got));
            }
        }
        // A server of several threads may still tell it what it has told those who were there.
        loop {
            let line = one_line(&mut newcomer)?;
            if line == hello {
                break;
            }
            if !line.starts_with(b"member ") {
                return Err(wrong_line(&line));
            }
        }
        members.push(newcomer);
    }
    Ok(members)
}

/// Reads a line, its end included, and nothing behind it.
fn one_line(from: &mut TcpStream) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(line)
}

fn wrong_line(line: &[u8]) -> Box<dyn std::error::Error + Send + Sync> {
    format!("wrong line: {}", line.escape_ascii()).into()
}

/// A line: its sender, its number, and letters that follow from both.
fn write_line(text: &mut Vec<u8>, sender: usize, number: u64, size: usize) {
    text.clear();
    let head = format!("{sender:0SENDER$} {number:0NUMBER$} ");
    text.extend_from_slice(head.as_bytes());
    while text.len() < size - 1 {
        let mixed = (number + text.len() as u64 * 7).wrapping_mul(sender as u64 + 11);
        text.push(b'a' + (mixed % 26) as u8);
    }
    text.push(b'\n');
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
