//! What the hand-written servers in Rust share: everything but the loop.
//!
//! It does what a C programmer would: one receive buffer, a write at once and a queue only for
//! what the socket does not take, a short read that ends the reading. Broadcast lines are
//! collected for the whole batch of events and written once to each member.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;

use super::lines::Lines;
use super::{Mode, SHARED_BUFFER};

/// A socket.
pub(super) trait Stream {
    fn read(&self, into: &mut [u8]) -> io::Result<usize>;
    fn write(&self, from: &[u8]) -> io::Result<usize>;
}

macro_rules! stream {
    ($type:ty) => {
        impl Stream for $type {
            fn read(&self, into: &mut [u8]) -> io::Result<usize> {
                let mut stream: &_ = &*self;
                Read::read(&mut stream, into)
            }

            fn write(&self, from: &[u8]) -> io::Result<usize> {
                let mut stream: &_ = &*self;
                Write::write(&mut stream, from)
            }
        }
    };
}

stream!(TcpStream);
stream!(mio::net::TcpStream);

impl Stream for Rc<TcpStream> {
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        Stream::read(&**self, into)
    }

    fn write(&self, from: &[u8]) -> io::Result<usize> {
        Stream::write(&**self, from)
    }
}

struct Conn<S> {
    stream: S,
    /// An edge came, and no read has shown since that nothing is left.
    readable: bool,
    /// The peer has finished: a short read proves nothing.
    ending: bool,
    /// What the socket has not taken, from `sent` on.
    queue: Vec<u8>,
    sent: usize,
    lines: Lines,
}

/// What an event said.
#[derive(Clone, Copy)]
pub(super) struct Ready {
    pub(super) readable: bool,
    pub(super) writable: bool,
    pub(super) ending: bool,
}

pub(super) struct Server<S> {
    mode: Mode,
    conns: Vec<Option<Conn<S>>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
    /// The lines of this batch of events.
    block: Vec<u8>,
}

impl<S: Stream> Server<S> {
    pub(super) fn new(mode: Mode) -> Self {
        Self {
            mode,
            conns: Vec::new(),
            free: Vec::new(),
            buffer: vec![0; SHARED_BUFFER],
            block: Vec::new(),
        }
    }

    /// The number that the next connection will have.
    pub(super) fn next(&self) -> usize {
        self.free.last().copied().unwrap_or(self.conns.len())
    }

    pub(super) fn insert(&mut self, stream: S) {
        let conn = Some(Conn {
            stream,
            readable: false,
            ending: false,
            queue: Vec::new(),
            sent: 0,
            lines: Lines::default(),
        });
        match self.free.pop() {
            Some(index) => self.conns[index] = conn,
            None => self.conns.push(conn),
        }
    }

    /// Handles an event. False: the connection is over and its socket closed.
    #[inline(always)]
    pub(super) fn event(&mut self, index: usize, ready: Ready) -> bool {
        let Some(conn) = self.conns.get_mut(index).and_then(Option::as_mut) else {
            return false;
        };
        conn.readable |= ready.readable;
        conn.ending |= ready.ending;
        let block = (self.mode == Mode::Broadcast).then_some(&mut self.block);
        let alive = conn.work(ready.writable, &mut self.buffer, block);
        if alive.is_err() {
            self.remove(index);
        }
        alive.is_ok()
    }

    /// Sends the lines of the batch to every member.
    pub(super) fn end_of_batch(&mut self) {
        if self.block.is_empty() {
            return;
        }
        for index in 0..self.conns.len() {
            let Some(conn) = &mut self.conns[index] else {
                continue;
            };
            if conn.send(&self.block).is_err() {
                self.remove(index);
            }
        }
        self.block.clear();
    }

    fn remove(&mut self, index: usize) {
        self.conns[index] = None;
        self.free.push(index);
    }
}

// In line: where the system call is in line too, nothing returns between it and the next one.
impl<S: Stream> Conn<S> {
    /// An error says that the connection is over.
    #[inline(always)]
    fn work(
        &mut self,
        writable: bool,
        buffer: &mut [u8],
        mut block: Option<&mut Vec<u8>>,
    ) -> io::Result<()> {
        if writable && !self.queue.is_empty() {
            self.flush()?;
        }
        // Who does not read his echo is not read from.
        while self.readable && (block.is_some() || self.queue.is_empty()) {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let drained = read == 0 || (read < buffer.len() && !self.ending);
            self.readable = !drained;
            match &mut block {
                Some(block) => self.lines.complete(&buffer[..read], block),
                None => self.send(&buffer[..read])?,
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn send(&mut self, data: &[u8]) -> io::Result<()> {
        let taken = if self.queue.is_empty() {
            write(&self.stream, data)?
        } else {
            0
        };
        self.queue.extend_from_slice(&data[taken..]);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sent += write(&self.stream, &self.queue[self.sent..])?;
        if self.sent == self.queue.len() {
            self.queue = Vec::new();
            self.sent = 0;
        }
        Ok(())
    }
}

/// How much the socket took. Less than all of it: an edge will tell when it takes more.
#[inline(always)]
fn write<S: Stream>(stream: &S, data: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < data.len() {
        match stream.write(&data[taken..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                taken += n;
                if taken < data.len() {
                    continue;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}
