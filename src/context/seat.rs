//! A loop that is one of several workers: its mail from the loop that accepts for all of them, what
//! it tells back, and what all of them share, which is counters.

use super::Context;
use crate::addr::Addr;
use crate::backend::{Stream, Wake};
use crate::id::{Key, ListenerId};
use crate::listener::Listener;
use crate::mailbox::{Mailbox, Sender};
use crate::stats::Report;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// A peer that was accepted, and is to be opened by a worker: who that is may change.
pub(crate) struct Socket {
    /// The listener, as all workers know it.
    pub(crate) listener: Key,
    pub(crate) stream: Stream,
    pub(crate) peer: Addr,
}

/// What a worker is told.
pub(crate) enum Mail {
    Socket(Socket),
    /// Nobody can be accepted for a while: the handler of one of them is told.
    AcceptFailed(Key, io::Error),
    /// Descriptors are short: somebody who lingers is to give way.
    GiveWay,
    /// Who comes now to a worker that finishes comes to nobody else: it is opened.
    Last,
    /// All finish.
    Finish(Duration),
    /// Nobody comes any more: a worker that finishes ends when it has no connection.
    End,
}

impl Mail {
    pub(crate) fn into_socket(self) -> Option<Socket> {
        match self {
            Mail::Socket(socket) => Some(socket),
            _ => None,
        }
    }
}

/// What a worker tells the loop that accepts.
pub(crate) enum Order {
    /// Nothing more of this listener is wanted by this worker: these are for others.
    Quits(usize, Key, Vec<Socket>),
    /// A worker finishes, though not all do: these are for others, if others are there.
    Leaves(usize, Vec<Socket>),
    /// A worker has ended, and will be back or not: these are for others. It comes more than once,
    /// at first as if the worker would be back, for that is not known yet.
    Gone {
        worker: usize,
        sockets: Vec<Socket>,
        returns: bool,
    },
    /// A worker begins, at first or again.
    Back(usize),
    /// A worker that finishes has no connection left, and was handed so many sockets.
    Over(usize, u32),
    /// From the application: all are to finish.
    Finish(Duration),
}

/// How many connections a worker has. The worker alone writes it, once a turn.
#[repr(align(128))] // no other on its line of the cache, nor on the one that is fetched with it
#[derive(Default)]
pub(crate) struct Load {
    /// How many sockets it has taken, and how many connections it has: in one word, so that nobody
    /// is seen twice or not at all.
    word: AtomicU64,
    lingerers: AtomicU32,
}

/// A look at a [`Load`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Sockets that it has taken of those that it was handed, as a count that wraps.
    pub(crate) taken: u32,
    /// Connections that it has.
    pub(crate) open: u32,
    /// Those of them who wait for nothing but their peer's end.
    pub(crate) lingerers: u32,
}

impl Load {
    pub(crate) fn see(&self) -> Seen {
        let word = self.word.load(Ordering::Relaxed);
        Seen {
            taken: (word >> 32) as u32,
            open: word as u32,
            lingerers: self.lingerers.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn show(&self, seen: Seen) {
        let word = u64::from(seen.taken) << 32 | u64::from(seen.open);
        self.word.store(word, Ordering::Relaxed);
        self.lingerers.store(seen.lingerers, Ordering::Relaxed);
    }
}

/// Places for the connections of all workers together: `Config::max_connections`.
pub(crate) struct Places {
    taken: AtomicUsize,
    most: usize,
}

impl Places {
    pub(crate) fn new(most: usize) -> Places {
        let taken = AtomicUsize::new(0);
        Places { taken, most }
    }

    /// Are all taken, if so many are on their way to one?
    pub(crate) fn are_taken(&self, coming: usize) -> bool {
        self.taken.load(Ordering::Relaxed).saturating_add(coming) >= self.most
    }

    fn take(&self) -> bool {
        let more = |taken| (taken < self.most).then_some(taken + 1);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.taken.fetch_update(set, fetch, more).is_ok()
    }

    fn give_back(&self, count: usize) {
        self.taken.fetch_sub(count, Ordering::Relaxed);
    }
}

/// A worker's place among the others.
pub(crate) struct Seat {
    number: usize,
    mail: Mailbox<Mail>,
    front: Sender<Order>,
    load: Arc<Load>,
    shown: Seen,
    /// `None`: there is no cap.
    places: Option<Arc<Places>>,
    /// The places that it holds. Those that no connection has any more go back at a turn's end.
    held: usize,
    /// A place of those that is kept for the peer about whom the handler is asked.
    reserved: bool,
    /// Sockets that it was handed, as a count that wraps.
    received: u32,
    failures: Vec<(ListenerId, io::Error)>,
    /// The worker finishes, and ends when nobody comes to it any more.
    finishing: bool,
    /// The worker finishes, though not all do: who comes is for others.
    passes_on: bool,
    /// Nobody comes to it any more.
    ended: bool,
    /// What it has told of itself while it finishes.
    told: Option<u32>,
}

/// What a seat is made of, and made of again for a worker that is restarted.
#[derive(Clone)]
pub(crate) struct Chair {
    pub(crate) number: usize,
    pub(crate) mail: Sender<Mail>,
    pub(crate) front: Sender<Order>,
    pub(crate) load: Arc<Load>,
    pub(crate) places: Option<Arc<Places>>,
}

impl Seat {
    pub(crate) fn new(chair: &Chair, wake: Wake) -> Seat {
        let chair = chair.clone();
        let shown = chair.load.see();
        Seat {
            number: chair.number,
            mail: Mailbox::attach(&chair.mail, wake),
            front: chair.front,
            load: chair.load,
            shown,
            places: chair.places,
            held: 0,
            reserved: false,
            // One that is restarted goes on counting: what is on its way to it may be older.
            received: shown.taken,
            failures: Vec::new(),
            finishing: false,
            passes_on: false,
            ended: false,
            told: None,
        }
    }

    /// Is there a place for one more than are `alive`? It is reserved then, so that no other worker
    /// asks its handler about the same, and if it is to be `taken`, it is.
    pub(super) fn has_place(&mut self, alive: usize, taken: bool) -> bool {
        let Some(places) = &self.places else {
            return true;
        };
        // Whoever has ended in this turn has left one.
        let left_one = self.held > alive;
        if !self.reserved && !left_one && places.take() {
            self.held += 1;
            self.reserved = true;
        }
        self.reserved |= left_one;
        let found = self.reserved;
        self.reserved &= !taken;
        found
    }

    /// Nobody takes the place that is reserved.
    fn give_reserved_back(&mut self) {
        if let Some(places) = self.places.as_ref().filter(|_| self.reserved) {
            places.give_back(1);
            self.held -= 1;
            self.reserved = false;
        }
    }

    fn show(&mut self, seen: Seen) {
        if seen != self.shown {
            self.shown = seen;
            self.load.show(seen);
        }
    }

    /// The places are given back that nobody has any more.
    fn give_places_back(&mut self, open: usize) {
        if let Some(places) = self.places.as_ref().filter(|_| self.held > open) {
            places.give_back(self.held - open);
            (self.held, self.reserved) = (open, false);
        }
    }
}

/// Behind its connections: they stand before it in the context.
impl Drop for Seat {
    fn drop(&mut self) {
        self.give_places_back(0);
    }
}

impl Context {
    /// Makes it one of several.
    pub(crate) fn sit(&mut self, chair: &Chair) {
        self.seat = Some(Box::new(Seat::new(chair, self.backend.wake())));
        self.lists.become_worker();
        if chair.places.is_some() {
            // None of its own: each has to be asked for.
            self.config.max_connections = 0;
        }
    }

    /// What wakes the loop.
    pub(crate) fn wake(&self) -> Wake {
        self.backend.wake()
    }

    /// This loop has been woken, and needs not remember it: it looks for itself.
    pub(crate) fn forget_wake(&mut self) {
        self.lists.begin_seldom_work();
    }

    /// The wait of the loop that accepts: a copy of its own, so that others have theirs in line.
    #[inline(never)]
    pub(crate) fn wait_apart(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.wait(timeout)
    }

    /// Reads the mail of a worker. Sockets wait behind their listeners then, as in a backlog.
    #[cold] // whoever is no worker pays for its place in the loop
    pub(crate) fn take_mail(&mut self) {
        let seat = self.seat.as_ref();
        let waiting = seat.map_or(0, |seat| seat.mail.waiting());
        for _ in 0..waiting {
            match self.seat.as_mut().and_then(|seat| seat.mail.take()) {
                Some(Mail::Socket(socket)) => self.receive(socket),
                Some(Mail::AcceptFailed(listener, error)) => {
                    self.with_seat(|seat| seat.failures.push((ListenerId(listener), error)));
                }
                Some(Mail::GiveWay) => drop(self.release_lingering(1)),
                Some(Mail::Last) => self.with_seat(|seat| seat.passes_on = false),
                Some(Mail::Finish(grace)) => {
                    self.with_seat(|seat| (seat.finishing, seat.passes_on) = (true, false));
                    self.begin_to_finish(grace);
                }
                Some(Mail::End) => self.with_seat(|seat| seat.ended = true),
                None => return,
            }
        }
    }

    #[inline]
    pub(super) fn has_mail_of_workers(&self) -> bool {
        let seat = self.seat.as_ref();
        seat.is_some_and(|seat| seat.mail.has_messages())
    }

    fn with_seat(&mut self, act: impl FnOnce(&mut Seat)) {
        if let Some(seat) = &mut self.seat {
            act(seat);
        }
    }

    fn receive(&mut self, socket: Socket) {
        self.with_seat(|seat| seat.received = seat.received.wrapping_add(1));
        if self.seat.as_ref().is_some_and(|seat| seat.passes_on) {
            return self.tell_that_it_leaves(vec![socket]);
        }
        let (listener, slot) = (socket.listener, socket.listener.slot);
        if let Some(state) = self.listeners.get_mut(listener)
            && let Some(handed) = state.acceptor.as_handed()
        {
            handed.push(socket.stream, socket.peer);
            state.ready = true;
            self.lists.want_accept(slot, state);
            return;
        }
        self.quit(listener, vec![socket]);
    }

    /// Nobody takes the place that `has_room` has found.
    #[cold]
    pub(crate) fn give_room_back(&mut self) {
        self.with_seat(Seat::give_reserved_back);
    }

    /// This worker takes no more of this listener.
    fn quit(&mut self, listener: Key, sockets: Vec<Socket>) {
        if let Some(seat) = &self.seat {
            // With nobody to hear it, all is over.
            drop(
                seat.front
                    .send(Order::Quits(seat.number, listener, sockets)),
            );
        }
    }

    /// A listener is closed: those who wait in it go to others.
    pub(super) fn pass_on(&mut self, key: Key, listener: &mut Listener) {
        if let Some(handed) = listener.acceptor.as_handed() {
            let waiting = handed.take_all();
            self.quit(key, sockets(key, waiting));
        }
    }

    /// This worker finishes. If not all do, those who wait here are for others. With nobody else
    /// there they come back, so it takes part in what the end of all is like.
    pub(super) fn leave_others(&mut self) {
        if self.seat.as_ref().is_none_or(|seat| seat.finishing) {
            return;
        }
        self.with_seat(|seat| (seat.finishing, seat.passes_on) = (true, true));
        let waiting = self.take_waiting();
        self.tell_that_it_leaves(waiting);
    }

    fn tell_that_it_leaves(&mut self, sockets: Vec<Socket>) {
        self.with_seat(|seat| {
            let told = seat.front.send(Order::Leaves(seat.number, sockets));
            // With nobody to hear it, all is over.
            seat.ended |= told.is_err();
        });
    }

    /// Everybody who waits behind a listener here.
    fn take_waiting(&mut self) -> Vec<Socket> {
        let mut waiting = Vec::new();
        for (key, listener) in self.listeners.iter_mut() {
            if let Some(handed) = listener.acceptor.as_handed() {
                waiting.extend(sockets(key, handed.take_all()));
            }
        }
        waiting
    }

    /// A worker finishes: who is in the mail then and comes to nobody else is opened, and told.
    pub(super) fn keeps_listener(&mut self, key: Key) -> bool {
        let seat = self.seat.as_ref();
        let listener = self.listeners.get_mut(key);
        let Some(listener) = listener.filter(|_| seat.is_some_and(|seat| seat.finishing)) else {
            return false;
        };
        let keeps = listener.acceptor.as_handed().is_some();
        if keeps {
            listener.paused = false;
            self.lists.want_accept(key.slot, listener);
        }
        keeps
    }

    /// What the handler is to be told of the listeners of all.
    pub(crate) fn take_failures(&mut self) -> Vec<(ListenerId, io::Error)> {
        let seat = self.seat.as_mut();
        seat.map_or_else(Vec::new, |seat| std::mem::take(&mut seat.failures))
    }

    /// A turn is over. Answers the report, if a graceful stop has come to its end.
    #[inline(always)]
    pub(crate) fn end_turn(&mut self) -> Option<Report> {
        if self.seat.is_some() {
            return self.end_turn_of_worker();
        }
        self.finishing.as_ref()?;
        self.take_report()
    }

    /// A turn of a worker is over. Answers the report, if the worker is.
    #[inline(never)]
    fn end_turn_of_worker(&mut self) -> Option<Report> {
        let is_over = self.is_over();
        let lingerers = self.lingerers.len() as u32;
        let open = self.conns.len() - self.lists.over();
        let waiting = self.listeners.iter();
        let waiting: usize = waiting.map(|(_, one)| one.acceptor.handed_len()).sum();
        let seat = self.seat.as_mut()?;
        seat.show(Seen {
            taken: seat.received.wrapping_sub(waiting as u32),
            open: open as u32,
            lingerers,
        });
        seat.give_places_back(open);
        if !is_over {
            return None;
        }
        if seat.ended {
            return self.take_report();
        }
        // Somebody may still be handed to it, who waited in the mail of one that has ended.
        if waiting == 0 && seat.told.replace(seat.received) != Some(seat.received) {
            let told = seat.front.send(Order::Over(seat.number, seat.received));
            seat.ended = told.is_err();
        }
        match seat.ended {
            true => self.take_report(),
            false => None,
        }
    }

    /// The worker is over: no more comes to it, and what waits in its mail is for others. `None`:
    /// it has its handler and its connections still, and whether it returns is told later.
    pub(crate) fn be_gone(&mut self, returns: Option<bool>) {
        let mut left = self.take_waiting();
        if let Some(seat) = &mut self.seat {
            let mail = seat.mail.close_and_take().into_iter();
            let unread = mail.filter_map(Mail::into_socket);
            let read = left.len();
            left.extend(unread);
            let unread = (left.len() - read) as u32;
            seat.received = seat.received.wrapping_add(unread);
            // Its places are others' when its connections are closed: see `drop`.
            seat.show(Seen {
                taken: seat.received,
                open: returns.map_or(seat.shown.open, |_| 0),
                lingerers: 0,
            });
            // With nobody to hear it, all is over.
            drop(seat.front.send(Order::Gone {
                worker: seat.number,
                sockets: left,
                returns: returns.unwrap_or(true),
            }));
        }
    }

    /// Do all finish, or has this one been asked to?
    pub(crate) fn finishes(&self) -> bool {
        self.finishing.is_some()
    }

    /// Grace that is over ends those too who came after it.
    pub(super) fn end_grace_again(&mut self) {
        let at = self.schedule.fresh();
        if let Some(finishing) = &mut self.finishing {
            finishing.rearm(&mut self.schedule, at);
        }
    }
}

fn sockets(listener: Key, waiting: Vec<(Stream, Addr)>) -> Vec<Socket> {
    let all = waiting.into_iter();
    let all = all.map(|(stream, peer)| Socket {
        listener,
        stream,
        peer,
    });
    all.collect()
}
