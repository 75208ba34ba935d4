//! A peer on real sockets that a scenario plays in its own thread.

use super::places::is_acked;
use socket2::{Domain, SockAddr, Socket, Type};
use sockeye::Addr;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// A non-blocking peer, TCP or Unix, which moves when it is pumped.
pub struct RealPeer {
    /// `None`: closed, or the connect was refused.
    stream: Option<Socket>,
    out: VecDeque<u8>,
    heard: Vec<u8>,
    deaf: bool,
    shut: bool,
    shut_sent: bool,
    fin: bool,
    error: Option<ErrorKind>,
    /// A write was told of it, and no read will be.
    failed: Option<ErrorKind>,
}

impl RealPeer {
    pub fn new(stream: impl Into<Socket>) -> RealPeer {
        let stream = stream.into();
        stream.set_nonblocking(true).unwrap();
        // Not on a Unix socket.
        let _ = stream.set_tcp_nodelay(true);
        RealPeer {
            stream: Some(stream),
            out: VecDeque::new(),
            heard: Vec::new(),
            deaf: false,
            shut: false,
            shut_sent: false,
            fin: false,
            error: None,
            failed: None,
        }
    }

    pub fn connect(addr: &Addr, buffers: Option<usize>) -> RealPeer {
        let (domain, to): (_, SockAddr) = match (addr.ip(), addr.path()) {
            (Some(ip), _) => (Domain::for_address(ip), ip.into()),
            (_, path) => (Domain::UNIX, SockAddr::unix(path.unwrap()).unwrap()),
        };
        let stream = Socket::new(domain, Type::STREAM, None).unwrap();
        if let Some(buffers) = buffers {
            stream.set_recv_buffer_size(buffers).unwrap();
            stream.set_send_buffer_size(buffers).unwrap();
        }
        match stream.connect(&to) {
            Ok(()) => RealPeer::new(stream),
            Err(error) => RealPeer {
                stream: None,
                error: Some(error.kind()),
                ..RealPeer::new(stream)
            },
        }
    }

    /// Writes and reads what is possible. Answers whether something moved.
    pub fn pump(&mut self) -> bool {
        let before = (self.out.len(), self.heard.len(), self.fin, self.error);
        self.write_some();
        if !self.deaf {
            self.read_some();
        }
        before != (self.out.len(), self.heard.len(), self.fin, self.error)
    }

    fn write_some(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        while !self.out.is_empty() {
            match stream.write(self.out.as_slices().0) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.failed = Some(error.kind());
                    self.out.clear();
                }
            }
        }
        if self.shut && !std::mem::replace(&mut self.shut_sent, true) {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    fn read_some(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let mut buffer = [0; 16 * 1024];
        if self.fin && self.failed.is_some() {
            self.error = self.failed;
        }
        while !self.fin && self.error.is_none() {
            match stream.read(&mut buffer) {
                Ok(0) => self.fin = true,
                Ok(count) => self.heard.extend(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => self.error = Some(error.kind()),
            }
        }
        // After an end no read tells of a reset.
        if let Ok(Some(error)) = stream.take_error() {
            self.error = Some(error.kind());
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        if self.stream.is_some() && !self.shut {
            self.out.extend(bytes);
            self.write_some();
        }
    }

    pub fn shutdown(&mut self) {
        self.shut = true;
        self.write_some();
    }

    pub fn close(&mut self) {
        self.write_some();
        assert!(
            self.out.is_empty(),
            "a close would lose what waits to be sent"
        );
        self.stream = None;
    }

    pub fn reset(&mut self) {
        self.write_some();
        if let Some(stream) = self.stream.take() {
            settle_sent(&stream);
            let _ = stream.set_linger(Some(Duration::ZERO));
        }
    }

    pub fn ignore(&mut self) {
        self.deaf = true;
    }

    pub fn hear(&mut self) {
        self.deaf = false;
        self.pump();
    }

    pub fn is_closed(&self) -> bool {
        self.fin || self.error.is_some()
    }

    pub fn was_reset(&self) -> bool {
        self.error.is_some()
    }

    pub fn unsent(&self) -> usize {
        self.out.len()
    }

    pub fn received_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.heard)
    }
}

/// Waits until the other kernel has what was written, if it has room: a reset could overtake what
/// is on its way through another processor's queue.
fn settle_sent(stream: &Socket) {
    let Ok(stream) = stream.try_clone().map(TcpStream::from) else {
        return;
    };
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(50) {
        if is_acked(&stream).unwrap_or(true) {
            return;
        }
        std::thread::yield_now();
    }
}
