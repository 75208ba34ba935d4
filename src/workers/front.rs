//! The loop that accepts for all workers, and knows which of them are there.

use super::HandOver;
use crate::context::{Accepted, Chair, Context, Due, Load, Mail, Newcomer, Order, Places, Socket};
use crate::id::{Key, ListenerId};
use crate::mailbox::{Mailbox, Sender};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// So many sockets may wait in the mail of each worker before nobody is accepted for a while: as
/// many as a backlog holds by default.
const WAITING: u32 = 1024;

pub(crate) struct Front {
    cx: Context,
    orders: Mailbox<Order>,
    mates: Vec<Mate>,
    /// Listeners here, and what the workers call them.
    listeners: Vec<(ListenerId, Key)>,
    hand_over: HandOver,
    /// Where the next look for a worker begins.
    next: usize,
    /// Sockets for whom nobody is there, until somebody is back.
    held: Vec<Socket>,
    /// All are to finish, within this time.
    finishing: Option<Duration>,
    has_ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Here,
    /// Ended, and about to begin again, or perhaps.
    Away,
    /// Ended, or told to.
    Gone,
}

/// A worker, as it is seen from here.
struct Mate {
    mail: Sender<Mail>,
    load: Arc<Load>,
    places: Option<Arc<Places>>,
    is: Is,
    /// Sockets that it was handed, as a count that wraps.
    handed: u32,
    /// What it will be handed at the end of this turn.
    batch: Vec<Mail>,
    /// Listeners of which it takes no more.
    quit: Vec<Key>,
    /// Finishes by itself, and takes only what nobody else does.
    leaves: bool,
    /// Knows that what comes is what nobody else takes.
    is_last: bool,
    /// When it had no connection left, as it finishes, it had been handed so many.
    over: Option<u32>,
}

impl Mate {
    fn of(chair: &Chair) -> Mate {
        Mate {
            mail: chair.mail.clone(),
            load: chair.load.clone(),
            places: chair.places.clone(),
            is: Is::Here,
            handed: 0,
            batch: Vec::new(),
            quit: Vec::new(),
            leaves: false,
            is_last: false,
            over: None,
        }
    }

    fn takes(&self, listener: Key) -> bool {
        !self.leaves && self.could_take(listener)
    }

    /// Would it take one, if nobody else does?
    fn could_take(&self, listener: Key) -> bool {
        self.is == Is::Here && !self.quit.contains(&listener)
    }

    fn hand(&mut self, socket: Socket) {
        self.handed = self.handed.wrapping_add(1);
        self.batch.push(Mail::Socket(socket));
    }

    /// Has it nobody, and is nobody on the way to it, as it finishes? Or is it gone?
    fn is_over(&self) -> bool {
        self.is == Is::Gone || self.over == Some(self.handed)
    }

    /// Sockets that it was handed, and has not taken.
    fn waiting(&self) -> u32 {
        self.handed.wrapping_sub(self.load.see().taken)
    }

    /// How many connections it has, with those that are on their way to it.
    fn has(&self) -> u32 {
        let seen = self.load.see();
        seen.open
            .saturating_add(self.handed.wrapping_sub(seen.taken))
    }
}

impl Front {
    pub(super) fn new(
        cx: Context,
        orders: Mailbox<Order>,
        listeners: Vec<(ListenerId, Key)>,
        chairs: &[Chair],
        hand_over: HandOver,
    ) -> Front {
        Front {
            cx,
            orders,
            mates: chairs.iter().map(Mate::of).collect(),
            listeners,
            hand_over,
            next: 0,
            held: Vec::new(),
            finishing: None,
            has_ended: false,
        }
    }

    /// Accepts until no worker is left.
    pub(super) fn run(mut self) -> io::Result<()> {
        loop {
            match self.turn(None) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // Nobody will be accepted, and nobody would ask the workers to finish.
                Err(error) => {
                    self.finish(Duration::ZERO);
                    self.end();
                    return Err(error);
                }
            }
        }
    }

    /// One pass, which sleeps for `timeout` at most. `false`: no worker is left.
    pub(crate) fn turn(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let sleep = match self.has_work() {
            true => Some(Duration::ZERO),
            false => match (timeout, self.cx.schedule().until_next()) {
                (Some(timeout), Some(timer)) => Some(timeout.min(timer)),
                (timeout, timer) => timeout.or(timer),
            },
        };
        self.cx.wait_apart(sleep)?;
        self.cx.forget_wake();
        // Who is there, before somebody is chosen.
        self.read_orders();
        self.accept();
        self.end_rests();
        self.deliver();
        self.end_if_over();
        Ok(self.mates.iter().any(|mate| mate.is != Is::Gone))
    }

    /// Would a turn have something to do without waiting?
    pub(crate) fn has_work(&self) -> bool {
        self.cx.has_work() || self.orders.has_messages()
    }

    /// When a turn has something to do.
    #[cfg(feature = "sim")]
    pub(crate) fn next_turn(&self) -> Option<std::time::Instant> {
        match self.has_work() {
            true => Some(self.cx.schedule().created()),
            false => self.cx.schedule().next(),
        }
    }

    /// As the loop of a worker accepts: the listeners in turn, within the budget.
    fn accept(&mut self) {
        for _ in 0..self.cx.parts().config.accepts_per_turn {
            let Some(slot) = self.cx.parts().lists.next_listener() else {
                return;
            };
            match self.cx.accept(slot) {
                Accepted::Nothing => {}
                Accepted::Failed(listener, _, error) => self.failed(listener, error),
                Accepted::Stream(newcomer) => self.hand(slot, newcomer),
            }
        }
    }

    fn hand(&mut self, slot: u32, newcomer: Newcomer) {
        let ours = newcomer.listener;
        let known = self.listeners.iter().find(|(id, _)| *id == ours);
        let Some((_, listener)) = known.copied() else {
            return;
        };
        let (stream, peer) = newcomer.into_socket();
        self.give(Socket {
            listener,
            stream,
            peer,
        });
        // The system's backlog holds those who come now.
        let mut takers = self.mates.iter().filter(|mate| mate.takes(listener));
        if takers.all(|mate| mate.waiting() >= WAITING) {
            self.cx.rest(slot);
        }
    }

    /// Puts a socket into the mail of a worker.
    fn give(&mut self, socket: Socket) {
        match self.choose(socket.listener) {
            Some(number) => self.mates[number].hand(socket),
            None if self.may_return(socket.listener) => self.held.push(socket),
            None => self.give_to_the_last(socket),
        }
    }

    /// Nobody takes it, nor will: one that finishes by itself opens it, and tells it so. If none
    /// is there who could, it is closed.
    fn give_to_the_last(&mut self, socket: Socket) {
        let could = |mate: &&mut Mate| mate.could_take(socket.listener);
        let Some(mate) = self.mates.iter_mut().find(could) else {
            return;
        };
        if !std::mem::replace(&mut mate.is_last, true) {
            mate.batch.push(Mail::Last);
        }
        mate.hand(socket);
    }

    /// The worker that is to have the next socket of this listener. `None`: none takes it.
    fn choose(&mut self, listener: Key) -> Option<usize> {
        let count = self.mates.len();
        let in_turn = (0..count).map(|step| (self.next + step) % count);
        let takers = in_turn.filter(|number| self.mates[*number].takes(listener));
        let is_full = self.are_places_taken();
        // With no place left, who lingers gives way, and only its own worker can see to that: one
        // of them to each who is on the way to it.
        let must_refuse = |mate: &Mate| is_full && mate.load.see().lingerers <= mate.waiting();
        // Of equals, the first in turn.
        let chosen = takers.min_by_key(|number| {
            let mate = &self.mates[*number];
            let load = match self.hand_over {
                // Who is behind is passed over, unless all are.
                HandOver::RoundRobin => u32::from(mate.waiting() >= WAITING),
                _ => mate.has(),
            };
            (must_refuse(mate), load)
        });
        self.next = chosen.map_or(self.next, |number| (number + 1) % count);
        chosen
    }

    /// Has each place somebody, or somebody who is on the way to it?
    fn are_places_taken(&self) -> bool {
        let places = self.mates.first().and_then(|mate| mate.places.as_ref());
        places.is_some_and(|all| {
            let coming = self.mates.iter().map(|mate| mate.waiting() as usize);
            all.are_taken(coming.sum())
        })
    }

    /// Will somebody take this listener's connections again?
    fn may_return(&self, listener: Key) -> bool {
        let mut mates = self.mates.iter();
        mates.any(|mate| mate.is == Is::Away || mate.takes(listener))
    }

    /// One worker's handler is told of an error of accepting, and who lingers gives way.
    fn failed(&mut self, listener: ListenerId, error: io::Error) {
        let known = self.listeners.iter().find(|(id, _)| *id == listener);
        let Some((_, key)) = known.copied() else {
            return;
        };
        let here = |mate: &&mut Mate| mate.is == Is::Here;
        let mut here = self.mates.iter_mut().filter(here);
        if let Some(lingers) = here.find(|mate| mate.load.see().lingerers > 0) {
            lingers.batch.push(Mail::GiveWay);
        }
        let takes = |mate: &&mut Mate| mate.takes(key);
        if let Some(mate) = self.mates.iter_mut().find(takes) {
            mate.batch.push(Mail::AcceptFailed(key, error));
        }
    }

    /// Hands over what was accepted: one lock and one wake for each worker.
    fn deliver(&mut self) {
        for number in 0..self.mates.len() {
            let mate = &mut self.mates[number];
            if mate.mail.send_all(&mut mate.batch) {
                continue;
            }
            // It has ended, and will say so.
            mate.is = Is::Away;
            self.take_back(number);
        }
    }

    /// What a worker was to be handed is for others.
    fn take_back(&mut self, number: usize) {
        let mate = &mut self.mates[number];
        let batch = std::mem::take(&mut mate.batch).into_iter();
        for socket in batch.filter_map(Mail::into_socket) {
            mate.handed = mate.handed.wrapping_sub(1);
            self.held.push(socket);
        }
    }

    fn read_orders(&mut self) {
        for _ in 0..self.orders.waiting() {
            match self.orders.take() {
                Some(order) => self.follow(order),
                None => return,
            }
        }
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Quits(worker, listener, sockets) => {
                self.mates[worker].quit.push(listener);
                sockets.into_iter().for_each(|socket| self.give(socket));
                self.close_if_unwanted(listener);
            }
            Order::Leaves(worker, sockets) => {
                self.mates[worker].leaves = true;
                sockets.into_iter().for_each(|socket| self.give(socket));
                self.close_unwanted();
            }
            Order::Gone {
                worker,
                sockets,
                returns,
            } => {
                let mate = &mut self.mates[worker];
                mate.is = if returns { Is::Away } else { Is::Gone };
                mate.over = None;
                self.take_back(worker);
                self.held.extend(sockets);
                self.give_held();
                self.close_unwanted();
            }
            Order::Back(worker) => self.is_back(worker),
            Order::Over(worker, taken) => self.mates[worker].over = Some(taken),
            Order::Finish(grace) => self.finish(grace),
        }
    }

    /// A worker begins, at first or again.
    fn is_back(&mut self, worker: usize) {
        let mate = &mut self.mates[worker];
        // At first it is here already, and may have been handed something.
        if mate.is == Is::Away {
            mate.is = Is::Here;
            mate.quit.clear();
            if let Some(grace) = self.finishing {
                drop(mate.mail.send(Mail::Finish(grace)));
            }
            for (ours, _) in &self.listeners {
                self.cx.end_rest(*ours);
            }
        }
        self.give_held();
    }

    fn give_held(&mut self) {
        for socket in std::mem::take(&mut self.held) {
            self.give(socket);
        }
    }

    fn close_unwanted(&mut self) {
        for (_, listener) in self.listeners.clone() {
            self.close_if_unwanted(listener);
        }
    }

    /// With no worker that takes its connections, a listener is closed, as one of a single loop.
    fn close_if_unwanted(&mut self, listener: Key) {
        if self.may_return(listener) {
            return;
        }
        let known = self.listeners.iter().find(|(_, key)| *key == listener);
        if let Some((ours, _)) = known.copied() {
            self.cx.unlisten(ours);
        }
    }

    /// First nobody is accepted any more. Then all finish at once.
    fn finish(&mut self, grace: Duration) {
        for (ours, _) in std::mem::take(&mut self.listeners) {
            self.cx.unlisten(ours);
        }
        self.finishing = Some(self.finishing.map_or(grace, |first| first.min(grace)));
        // What was accepted before comes before it.
        self.deliver();
        for mate in self.mates.iter().filter(|mate| mate.is == Is::Here) {
            drop(mate.mail.send(Mail::Finish(grace)));
        }
    }

    /// All have finished, if none has a connection and nobody is on the way to one. Without a
    /// finish of all, one that finishes by itself ends when that is right for it.
    fn end_if_over(&mut self) {
        if !self.held.is_empty() || self.has_ended {
            return;
        }
        if self.finishing.is_some() {
            // One that has left before stays, too: it may turn out to be the last.
            if self.mates.iter().all(Mate::is_over) {
                self.end();
            }
            return;
        }
        let here = self.mates.iter_mut().filter(|mate| mate.is == Is::Here);
        for mate in here.filter(|mate| mate.leaves && mate.is_over()) {
            drop(mate.mail.send(Mail::End));
            // It takes nobody any more.
            mate.is = Is::Gone;
        }
    }

    fn end(&mut self) {
        self.has_ended = true;
        for mate in &self.mates {
            drop(mate.mail.send(Mail::End));
        }
    }

    /// Listeners that have rested are asked again.
    fn end_rests(&mut self) {
        if self.cx.schedule().is_empty() {
            return;
        }
        let due = self.cx.schedule().begin_expiry();
        while let Some((_, what)) = self.cx.parts().schedule.next_due(due) {
            if let Due::Rested(slot) = what {
                self.cx.rested(slot);
            }
        }
    }
}
