//! Sockets of the load generator, and the bytes that it sends and expects.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use socket2::{Domain, Protocol, Socket, Type};

use crate::Result;

/// The period of the bytes: a prime, so that no power of two hides a shift.
const PERIOD: usize = 32_749;

/// As much is read, and compared, at once.
pub(super) const READ: usize = 256 * 1024;

/// Endless bytes that repeat themselves; each connection starts at another place.
pub(super) struct Pattern {
    bytes: Vec<u8>,
}

impl Pattern {
    pub(super) fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        let period: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
        let bytes = period.iter().cycle().take(PERIOD + READ);
        Self {
            bytes: bytes.copied().collect(),
        }
    }

    /// `len` bytes from `at` on, or fewer; never none.
    pub(super) fn slice(&self, at: u64, len: u64) -> &[u8] {
        let start = (at % PERIOD as u64) as usize;
        let len = usize::try_from(len).unwrap_or(READ).min(READ);
        &self.bytes[start..start + len]
    }
}

/// A connection whose bytes follow the pattern, in both directions.
pub(super) struct Pipe {
    pub(super) stream: TcpStream,
    /// Where in the pattern this connection begins.
    base: u64,
    /// Bytes sent, bytes to be sent, bytes received and right.
    pub(super) sent: u64,
    pub(super) due: u64,
    pub(super) received: u64,
    readable: bool,
    writable: bool,
}

impl Pipe {
    pub(super) fn new(stream: TcpStream, number: usize) -> Self {
        Self {
            stream,
            base: number as u64 * 7_919,
            sent: 0,
            due: 0,
            received: 0,
            readable: false,
            writable: true,
        }
    }

    pub(super) fn ready(&mut self, flags: EventFlags) {
        self.readable |= !flags.difference(EventFlags::OUT).is_empty();
        self.writable |= flags.contains(EventFlags::OUT);
    }

    /// Reads what is there, and checks it.
    pub(super) fn receive(&mut self, pattern: &Pattern, buffer: &mut [u8]) -> Result<()> {
        while self.readable {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("read: {error}").into()),
            };
            self.readable = read == buffer.len();
            let want = pattern.slice(self.base + self.received, read as u64);
            if buffer[..read] != *want {
                let at = self.received;
                return Err(format!("wrong bytes after {at} right ones").into());
            }
            self.received += read as u64;
            if self.received > self.sent {
                return Err("more came back than was sent".into());
            }
        }
        Ok(())
    }

    /// Sends what is due.
    pub(super) fn send(&mut self, pattern: &Pattern) -> Result<()> {
        while self.writable && self.sent < self.due {
            let data = pattern.slice(self.base + self.sent, self.due - self.sent);
            match self.stream.write(data) {
                Ok(n) => self.sent += n as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("write: {error}").into()),
            }
        }
        Ok(())
    }
}

/// A connected socket that does not block.
pub(super) fn connect(addr: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(addr).map_err(|error| format!("connect: {error}"))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// A socket that is being connected.
pub(super) fn connecting(addr: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(
        Domain::IPV4,
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&addr.into()) {
        Err(error) if !is_in_progress(&error) => Err(format!("connect: {error}").into()),
        _ => Ok(socket.into()),
    }
}

fn is_in_progress(error: &io::Error) -> bool {
    let in_progress = rustix::io::Errno::INPROGRESS.raw_os_error();
    error.raw_os_error() == Some(in_progress) || error.kind() == ErrorKind::WouldBlock
}

/// Registers a socket for both directions, edge-triggered.
pub(super) fn register(poll: &OwnedFd, stream: &TcpStream, number: usize) -> Result<()> {
    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    epoll::add(poll, stream, EventData::new_u64(number as u64), flags)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_follow_one_another() {
        let pattern = Pattern::new();
        let at = 5 * PERIOD as u64 - 100;
        let whole = pattern.slice(at, 300);
        assert_eq!(whole.len(), 300);
        assert_eq!(&whole[200..], pattern.slice(at + 200, 100));
        assert_eq!(pattern.slice(7, u64::MAX).len(), READ);
    }
}
