//! The state machines on a scripted backend: what the operating system does is written down here,
//! call by call, so that the rare cases are as easy to meet as the common ones.

mod asked;
mod broadcasts;
mod budgets;
mod counts;
mod dialing;
mod endings;
mod files;
mod finishing;
mod flow;
mod hiding;
mod hosts;
mod leaving;
mod lent;
mod lingering;
mod listening;
mod pausing;
mod seat;
mod shortage;
mod source_ends;
mod sources;
mod time;
mod waits;

use crate::backend::script::{Script, WriteStep};
use crate::buffer::input::Input;
use crate::closed::{Closed, Deadline};
use crate::config::Config;
use crate::conn::Origin;
use crate::context::{Context, Sent};
use crate::handler::{Accept, Handler};
use crate::id::{ConnId, ListenerId, TimerId};
use crate::reactor::Reactor;
use crate::{Addr, Listen};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// What a recorded callback should do next: a closure for each, in order.
type Step = Box<dyn FnMut(&mut Context, ConnId)>;

/// Writes down every callback, one word each, and does what it is told.
#[derive(Default)]
struct Recorder {
    seen: Vec<String>,
    received: Vec<u8>,
    /// Done in `on_data`, one a call; afterwards all input is taken.
    on_data: VecDeque<Step>,
    /// Done in `on_drain`, one a call.
    on_drain: VecDeque<Step>,
    /// Bytes that `on_data` leaves.
    leave: usize,
    /// `on_data` sends its input back.
    echo: bool,
    /// `on_data` sends its input there instead.
    echo_to: Option<ConnId>,
    /// `on_eof` leaves the connection open.
    keep_open: bool,
    /// `on_deadline` leaves the connection open.
    keep_late: bool,
    /// `on_finish` leaves the connection open.
    keep_on: bool,
    conns: Vec<ConnId>,
    sent: Vec<Sent>,
    undelivered: u64,
    /// How much input there was at the end of each `on_data`, as far as that could be seen.
    shown: Vec<usize>,
}

impl Handler<u64> for Recorder {
    fn on_accept(&mut self, _: &mut Context, _: ListenerId, _: &Addr) -> Accept {
        Accept::Keep
    }

    fn on_open(&mut self, _: &mut Context, conn: ConnId, origin: Origin) {
        let how = if origin == Origin::Connected {
            "connected"
        } else {
            "open"
        };
        self.seen.push(how.to_owned());
        self.conns.push(conn);
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        self.seen.push(format!("data {}", input.len()));
        let take = input.len().saturating_sub(self.leave);
        let chunk = input.take(take);
        self.received.extend_from_slice(&chunk);
        if self.echo {
            self.sent.push(cx.send(self.echo_to.unwrap_or(conn), chunk));
        }
        if let Some(mut step) = self.on_data.pop_front() {
            step(cx, conn);
        }
        self.shown.push(input.len());
    }

    fn on_drain(&mut self, cx: &mut Context, conn: ConnId) {
        self.seen.push("drain".to_owned());
        if let Some(mut step) = self.on_drain.pop_front() {
            step(cx, conn);
        }
    }

    fn on_eof(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        self.seen.push(format!("eof {}", input.len()));
        if !self.keep_open {
            cx.close(conn);
        }
    }

    fn on_deadline(&mut self, cx: &mut Context, conn: ConnId, which: Deadline) {
        self.seen.push(format!("deadline {which}"));
        if !self.keep_late {
            cx.close(conn);
        }
    }

    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        if !self.keep_on {
            cx.close(conn);
        }
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, closed: Closed) {
        self.seen.push(format!("close {closed}"));
        self.undelivered += closed.undelivered;
    }

    fn on_timer(&mut self, _: &mut Context, _: TimerId, key: u64) {
        self.seen.push(format!("timer {key}"));
    }

    fn on_accept_error(&mut self, _: &mut Context, _: ListenerId, error: io::Error) {
        self.seen.push(format!("accept error {:?}", error.kind()));
    }
}

/// A reactor on a script, with one listener.
struct Bench {
    reactor: Reactor<u64>,
    script: Script,
    app: Recorder,
}

impl Bench {
    fn new() -> Bench {
        Bench::with_config(Config::default())
    }

    fn with_config(config: Config) -> Bench {
        let (mut reactor, script) = Script::reactor(config);
        reactor.listen(Listen::new("127.0.0.1:1")).unwrap();
        Bench {
            reactor,
            script,
            app: Recorder::default(),
        }
    }

    /// An accepted connection: its socket and its id.
    fn accept(&mut self) -> (usize, ConnId) {
        let socket = self.script.incoming();
        self.turn();
        (socket, *self.app.conns.last().unwrap())
    }

    fn cx(&mut self) -> &mut Context {
        self.reactor.context()
    }

    fn turn(&mut self) -> bool {
        self.reactor
            .turn(&mut self.app, Some(Duration::ZERO))
            .unwrap()
            .more
    }

    /// Turns until nothing is left over and no event waits; more than a few turns would be a spin.
    fn settle(&mut self) {
        for _ in 0..100 {
            if !self.turn() && !self.script.has_events() {
                return;
            }
        }
        panic!("it spins: {:?}", self.app.seen);
    }

    fn pass(&mut self, time: Duration) {
        self.script.pass(time);
        self.settle();
    }

    fn written(&self, socket: usize) -> Vec<u8> {
        self.script.socket(socket, |socket| socket.written.clone())
    }

    fn write_steps(&self, socket: usize, steps: impl IntoIterator<Item = WriteStep>) {
        self.script
            .socket(socket, |socket| socket.writes.extend(steps));
    }

    fn fill(&self, socket: usize, full: bool) {
        self.script.socket(socket, |socket| socket.full = full);
    }

    /// What was seen since the last time.
    fn seen(&mut self) -> Vec<String> {
        std::mem::take(&mut self.app.seen)
    }
}

const BLOCK: WriteStep = WriteStep::Fail(io::ErrorKind::WouldBlock);
const RESET: WriteStep = WriteStep::Fail(io::ErrorKind::ConnectionReset);
