//! The hand-written server on bare mio.

use std::io;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::plain::{Ready, Server};
use super::{Mode, listen};
use crate::Result;

const LISTENER: Token = Token(usize::MAX);
const EVENTS: usize = 512;

pub(super) fn serve(mode: Mode) -> Result<()> {
    let mut listener = TcpListener::from_std(listen()?);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(EVENTS);
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server = Server::new(mode);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let mut accept = false;
        for event in &events {
            if event.token() == LISTENER {
                accept = true;
                continue;
            }
            let ready = Ready {
                readable: event.is_readable() || event.is_error(),
                writable: event.is_writable(),
                ending: event.is_read_closed() || event.is_error(),
            };
            server.event(event.token().0, ready);
        }
        server.end_of_batch();
        if accept {
            accept_all(&listener, &poll, &mut server)?;
        }
    }
}

fn accept_all(
    listener: &TcpListener,
    poll: &Poll,
    server: &mut Server<TcpStream>,
) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // A peer that is gone already.
            Err(_) => continue,
        };
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut stream, Token(server.next()), both)?;
        server.insert(stream);
    }
}
