//! calloop: a `Generic` source for each connection.

use std::cell::RefCell;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use calloop::generic::Generic;
use calloop::{EventLoop, Interest, LoopHandle, Mode as Trigger, PostAction};

use super::plain::{Ready, Server};
use super::{Mode, listen};
use crate::Result;

type State = Rc<RefCell<Server<Rc<TcpStream>>>>;

pub(super) fn serve(mode: Mode) -> Result<()> {
    let state: State = Rc::new(RefCell::new(Server::new(mode)));
    let mut event_loop: EventLoop<State> = EventLoop::try_new()?;
    let handle = event_loop.handle();
    let listener = Generic::new(listen()?, Interest::READ, Trigger::Level);
    let inner = handle.clone();
    handle
        .insert_source(listener, move |_, listener, state| {
            accept_all(listener, &inner, state)?;
            Ok(PostAction::Continue)
        })
        .map_err(|error| error.error)?;
    let mut state = state;
    event_loop.run(None, &mut state, |state| {
        state.borrow_mut().end_of_batch();
    })?;
    Ok(())
}

fn accept_all(
    listener: &TcpListener,
    handle: &LoopHandle<'_, State>,
    state: &State,
) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => Rc::new(stream),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // A peer that is gone already.
            Err(_) => continue,
        };
        stream.set_nonblocking(true)?;
        let mut server = state.borrow_mut();
        let index = server.next();
        server.insert(Rc::clone(&stream));
        let source = Generic::new(stream, Interest::BOTH, Trigger::Edge);
        let added = handle.insert_source(source, move |readiness, _, state: &mut State| {
            let ready = Ready {
                readable: readiness.readable || readiness.error,
                writable: readiness.writable,
                // calloop does not say that the peer has finished, so no short read proves
                // that nothing is left.
                ending: true,
            };
            Ok(match state.borrow_mut().event(index, ready) {
                true => PostAction::Continue,
                false => PostAction::Remove,
            })
        });
        added.map_err(|error| io::Error::other(error.error))?;
    }
}
