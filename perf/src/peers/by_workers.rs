//! sockeye: two workers. In the room each has the members that are its own, and lines are messages
//! to both, as the guide shows it.

use bytes::Bytes;
use sockeye::{
    Addr, Closed, ConnId, Context, HandOver, Handler, Input, Origin, Sent, Team, Workers,
};

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

struct Room {
    members: Vec<ConnId>,
    team: Team<Bytes>,
}

impl Handler<Bytes> for Room {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
        self.members.push(conn);
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, input: &mut Input) {
        if let Some(last) = input.iter().rposition(|&byte| byte == b'\n') {
            let lines = Bytes::copy_from_slice(&input.take(last + 1));
            self.team.broadcast(lines);
        }
    }

    fn on_message(&mut self, cx: &mut Context, lines: Bytes) {
        cx.broadcast(self.members.iter().copied(), lines);
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        self.members.retain(|member| *member != conn);
    }
}

pub(super) fn serve(mode: Mode) -> Result<()> {
    serve_by(mode, 2, HandOver::LeastConnections)
}

pub(super) fn serve_by_one(mode: Mode) -> Result<()> {
    serve_by(mode, 1, HandOver::LeastConnections)
}

pub(super) fn serve_reuse_port(mode: Mode) -> Result<()> {
    serve_by(mode, 2, HandOver::ReusePort)
}

fn serve_by(mode: Mode, workers: usize, hand_over: HandOver) -> Result<()> {
    let mut workers = Workers::new(workers)?.hand_over(hand_over);
    let listener = workers.listen("127.0.0.1:0")?;
    let addr = workers.listener_addr(listener).and_then(Addr::ip);
    announce(addr.ok_or("it does not listen")?)?;
    match mode {
        Mode::Echo => workers.run(|_| Echo)?,
        Mode::Broadcast => workers.run(|worker| Room {
            members: Vec::new(),
            team: worker.team().clone(),
        })?,
    };
    Ok(())
}
