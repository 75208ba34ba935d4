//! The hand-written server on epoll itself, by way of rustix.

use std::io;
use std::net::{TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::plain::{Ready, Server, Stream};
use super::{Mode, listen};
use crate::Result;

/// A socket whose system calls are made in line, as sockeye's are.
struct Inline(TcpStream);

impl Stream for Inline {
    #[inline(always)]
    fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let (_, count) = recv(&self.0, into, RecvFlags::empty())?;
        Ok(count)
    }

    #[inline(always)]
    fn write(&self, from: &[u8]) -> io::Result<usize> {
        Ok(send(&self.0, from, SendFlags::NOSIGNAL)?)
    }
}

const LISTENER: u64 = u64::MAX;
const EVENTS: usize = 512;

pub(super) fn serve(mode: Mode) -> Result<()> {
    let listener = listen()?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(
        &poll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN | EventFlags::ET,
    )?;
    let mut server = Server::new(mode);
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut accept = false;
        for event in &events {
            let flags = event.flags;
            if event.data.u64() == LISTENER {
                accept = true;
                continue;
            }
            let ending = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
            let ready = Ready {
                readable: flags.intersects(EventFlags::IN | ending),
                writable: flags.contains(EventFlags::OUT),
                ending: flags.intersects(ending),
            };
            server.event(event.data.u64() as usize, ready);
        }
        server.end_of_batch();
        if accept {
            accept_all(&listener, &poll, &mut server)?;
        }
    }
}

fn accept_all(
    listener: &TcpListener,
    poll: &rustix::fd::OwnedFd,
    server: &mut Server<Inline>,
) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // A peer that is gone already.
            Err(_) => continue,
        };
        stream.set_nonblocking(true)?;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let number = EventData::new_u64(server.next() as u64);
        epoll::add(poll, &stream, number, flags)?;
        server.insert(Inline(stream));
    }
}
