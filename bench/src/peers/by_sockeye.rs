//! sockeye: the handlers of `examples/echo.rs` and `examples/broadcast.rs`.

use sockeye::{Closed, ConnId, Context, Handler, Input, Listen, Origin, Reactor, Sent};

use super::{Mode, announce};
use crate::Result;

struct Echo;

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
    let listener = reactor.listen(Listen::new("127.0.0.1:0"))?;
    let addr = reactor.context().listener_addr(listener);
    let addr = addr.and_then(|addr| addr.to_string().parse().ok());
    announce(addr.ok_or("no address")?)?;
    match mode {
        Mode::Echo => reactor.run(&mut Echo)?,
        Mode::Broadcast => reactor.run(&mut Room::default())?,
    };
    Ok(())
}
