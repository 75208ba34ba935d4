//! The handler of a worker that may panic where it is told to, and what all of them have seen.

use super::team::CALM;
use sockeye::{Accept, Addr, Closed, ConnId, Context, Handler, Input, ListenerId, Origin, Sent};
use sockeye::{Team, Worker};
use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::rc::Rc;

pub const BYE: &[u8] = b"bye";

/// What a handler panics with that was told to.
pub const PLANNED: &str = "as planned";

/// The callback in which a worker is to panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    Accept,
    Open,
    Data,
    Message,
    Finish,
    Close,
}

impl Where {
    pub const ALL: [Where; 6] = [
        Where::Accept,
        Where::Open,
        Where::Data,
        Where::Message,
        Where::Finish,
        Where::Close,
    ];
}

/// What a worker is told.
#[derive(Clone)]
pub enum Say {
    /// The next message to all.
    Next(usize),
    /// It is to accept nobody for a while: who is handed to it waits.
    Pause,
    /// It is to end alone.
    End,
    /// It is to panic when it comes there.
    Panic(Where),
    /// It asks its own loop to stop, as another thread would.
    Stop,
    /// It is to tell itself something.
    Talk,
    Nothing,
}

/// What all workers have seen; in a world there is one thread.
#[derive(Default)]
pub struct Seen {
    pub opened: Cell<usize>,
    pub closed: Cell<usize>,
    pub told: Cell<usize>,
    /// Connections that a panic has taken along, and those of them that knew of no end.
    pub lost: Cell<usize>,
    pub untold: Cell<usize>,
    /// Peers whose `on_accept` panicked.
    pub drowned: Cell<usize>,
    pub tallies: Vec<Tally>,
    /// So many may be open at once.
    cap: usize,
    /// The listener, as all workers know it.
    pub listener: Cell<Option<ListenerId>>,
    /// What a handler has found wrong: its panic is caught like others.
    wrong: RefCell<Option<String>>,
}

/// What one worker has seen, with all its handlers.
#[derive(Default)]
pub struct Tally {
    /// Handlers that were made.
    pub lives: Cell<usize>,
    pub panics: Cell<usize>,
    /// It has asked its loop to stop.
    pub stops: Cell<bool>,
    /// Connections that have ended since they were told of the end, in the last life.
    pub ended: Cell<usize>,
}

fn more(count: &Cell<usize>, by: usize) {
    count.set(count.get() + by);
}

impl Seen {
    pub fn new(workers: usize, cap: usize) -> Seen {
        Seen {
            cap,
            tallies: (0..workers).map(|_| Tally::default()).collect(),
            ..Seen::default()
        }
    }

    /// Panics of all workers so far.
    pub fn panics(&self) -> usize {
        self.tallies.iter().map(|tally| tally.panics.get()).sum()
    }

    pub fn assert_sound(&self) {
        let wrong = self.wrong.borrow();
        assert!(wrong.is_none(), "{}", wrong.as_deref().unwrap_or_default());
    }

    fn check(&self, holds: bool, text: &str) {
        if !holds {
            *self.wrong.borrow_mut() = Some(text.to_owned());
        }
    }
}

/// Sends back what comes, and says good-bye.
pub struct Echo {
    number: usize,
    seen: Rc<Seen>,
    team: Team<Say>,
    /// Its connections, and who was told of the end.
    conns: Vec<(ConnId, bool)>,
    /// The message to all that comes next; `None`: it has heard none, and some were before it.
    pub heard: Option<usize>,
    ends: bool,
    panics: Option<Where>,
}

impl Echo {
    pub fn new(worker: &Worker<'_, Say>, seen: Rc<Seen>) -> Echo {
        let number = worker.number();
        let tally = &seen.tallies[number];
        more(&tally.lives, 1);
        tally.ended.set(0);
        let is_first = tally.lives.get() == 1;
        Echo {
            number,
            team: worker.team().clone(),
            conns: Vec::new(),
            heard: is_first.then_some(0),
            ends: false,
            panics: None,
            seen,
        }
    }

    /// How many connections it has.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// How many of them were not told of the end.
    pub fn untold(&self) -> usize {
        self.conns.iter().filter(|(_, told)| !told).count()
    }

    /// Panics here, if it is to.
    fn reach(&mut self, at: Where) {
        if self.panics != Some(at) {
            return;
        }
        let tally = &self.seen.tallies[self.number];
        more(&tally.panics, 1);
        tally.ended.set(0);
        more(&self.seen.lost, self.len());
        more(&self.seen.untold, self.untold());
        self.conns.clear();
        // Not by `panic!`, which writes to stderr.
        resume_unwind(Box::new(PLANNED));
    }
}

impl Handler<Say> for Echo {
    fn on_accept(&mut self, _: &mut Context, _: ListenerId, _: &Addr) -> Accept {
        if self.panics == Some(Where::Accept) {
            more(&self.seen.drowned, 1);
        }
        self.reach(Where::Accept);
        Accept::Keep
    }

    fn on_open(&mut self, cx: &mut Context, conn: ConnId, origin: Origin) {
        let known = matches!(origin, Origin::Accepted(id) if cx.listener_addr(id).is_some());
        self.seen.check(
            known || self.ends,
            "a worker was handed a connection of a listener that it does not know",
        );
        more(&self.seen.opened, 1);
        self.conns.push((conn, false));
        let seen = &self.seen;
        let open = seen.opened.get() - seen.closed.get() - seen.lost.get();
        seen.check(open <= seen.cap, "there are more connections than the cap");
        self.reach(Where::Open);
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        self.reach(Where::Data);
        if cx.send(conn, input.take_all()) == Sent::Wait {
            cx.pause_until_drained(conn);
        }
    }

    fn on_message(&mut self, cx: &mut Context, say: Say) {
        match say {
            Say::Next(number) => {
                let next = self.heard.unwrap_or(number);
                self.seen
                    .check(number == next, "a message to all came out of order");
                self.heard = Some(number + 1);
                self.reach(Where::Message);
            }
            Say::Pause => drop(self.seen.listener.get().map(|one| cx.pause_accepts(one))),
            Say::End => {
                self.ends = true;
                cx.finish(CALM);
            }
            Say::Panic(at) => self.panics = Some(at),
            Say::Talk => drop(self.team[self.number].send(Say::Nothing)),
            Say::Nothing => {}
            Say::Stop => self.seen.tallies[self.number]
                .stops
                .set(self.team[self.number].stop()),
        }
    }

    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        more(&self.seen.told, 1);
        let mut all = self.conns.iter_mut();
        if let Some((_, told)) = all.find(|(other, _)| *other == conn) {
            *told = true;
        }
        self.reach(Where::Finish);
        self.ends = true;
        cx.send(conn, BYE);
        cx.close(conn);
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        more(&self.seen.closed, 1);
        let place = self.conns.iter().position(|(other, _)| *other == conn);
        let told = place.is_some_and(|place| self.conns.swap_remove(place).1);
        self.seen.check(place.is_some(), "a stranger has closed");
        more(&self.seen.tallies[self.number].ended, usize::from(told));
        self.reach(Where::Close);
    }
}
