//! A peer on real sockets that a scenario plays in its own thread.

use super::places::is_acked;
use socket2::{Domain, SockRef, Socket, Type};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A non-blocking peer from `std::net`, which moves when it is pumped.
pub struct RealPeer {
    /// `None`: closed, or the connect was refused.
    stream: Option<TcpStream>,
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
    pub fn new(stream: TcpStream) -> RealPeer {
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
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

    pub fn connect(addr: SocketAddr, buffers: Option<usize>) -> RealPeer {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
        if let Some(buffers) = buffers {
            socket.set_recv_buffer_size(buffers).unwrap();
            socket.set_send_buffer_size(buffers).unwrap();
        }
        let connected = socket.connect(&addr.into());
        let stream = TcpStream::from(socket);
        match connected {
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
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
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
fn settle_sent(stream: &TcpStream) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(50) {
        if is_acked(stream).unwrap_or(true) {
            return;
        }
        std::thread::yield_now();
    }
}
