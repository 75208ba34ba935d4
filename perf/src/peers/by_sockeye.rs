//! sockeye: the handlers of `examples/echo.rs` and `examples/broadcast.rs`.

use std::net::SocketAddr;

use sockeye::{Addr, Closed, ConnId, Context, Handler, Input, ListenerId, Origin, Reactor, Sent};

use super::{Mode, announce};
use crate::Result;

pub(crate) struct Echo;

impl Handler for Echo {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        if cx.send(conn, input.take_all()) == Sent::Wait {
            cx.pause_reads(conn);
        }
    }

    fn on_drain(&mut self, cx: &mut Context, conn: ConnId) {
        cx.resume_reads(conn);
    }
}

#[derive(Default)]
struct Room {
    members: Vec<ConnId>,
}

impl Handler for Room {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
        self.members.push(conn);
    }

    fn on_data(&mut self, cx: &mut Context, _: ConnId, input: &mut Input) {
        if let Some(last) = input.iter().rposition(|&byte| byte == b'\n') {
            let lines = input.take(last + 1);
            cx.broadcast(self.members.iter().copied(), lines);
        }
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        self.members.retain(|member| *member != conn);
    }
}

pub(super) fn serve(mode: Mode) -> Result<()> {
    let mut reactor = Reactor::new()?;
    let listener = reactor.listen("127.0.0.1:0")?;
    announce(listening(&mut reactor, listener)?)?;
    match mode {
        Mode::Echo => reactor.run(&mut Echo)?,
        Mode::Broadcast => reactor.run(&mut Room::default())?,
    };
    Ok(())
}

/// Where a listener of TCP listens.
pub(crate) fn listening(reactor: &mut Reactor, listener: ListenerId) -> Result<SocketAddr> {
    let addr = reactor.context().listener_addr(listener).and_then(Addr::ip);
    addr.ok_or_else(|| "it does not listen".into())
}
