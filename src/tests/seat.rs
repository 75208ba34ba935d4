//! A loop that is one of several workers: what its mail does, and what it tells of itself. K1, K2.

use super::*;
use crate::backend::Backend;
use crate::context::{Chair, Load, Mail, Order, Places, Socket};
use crate::id::Tag;
use crate::mailbox::{Mailbox, Sender};
use crate::stats::Report;
use std::sync::Arc;

const SECOND: Duration = Duration::from_secs(1);

/// A worker, and the test in the place of the loop that accepts.
struct Desk {
    reactor: Reactor<u64>,
    script: Script,
    app: Recorder,
    chair: Chair,
    front: Mailbox<Order>,
    listener: ListenerId,
}

impl Desk {
    fn new(places: Option<Arc<Places>>) -> Desk {
        let front = Mailbox::new(usize::MAX, Box::new(|| {}));
        let chair = Chair {
            number: 3,
            mail: Sender::detached(usize::MAX),
            front: front.sender(),
            load: Arc::default(),
            places,
        };
        let script = Script::new();
        let mut cx = Context::new(Backend::Script(script.clone()), Config::default());
        let at = Addr::Ip(([127, 0, 0, 1], 1).into());
        let listen = Listen::new(at.clone()).tag(Tag(7));
        let listener = cx.listen_by(&listen, &[at]).unwrap();
        cx.sit(&chair);
        Desk {
            reactor: Reactor::of_worker(cx, &Sender::detached(usize::MAX)),
            script,
            app: Recorder::default(),
            chair,
            front,
            listener,
        }
    }

    fn cx(&mut self) -> &mut Context {
        self.reactor.context()
    }

    fn mail(&self, mail: Mail) {
        assert!(self.chair.mail.send(mail).is_ok());
    }

    /// Hands it a peer who stays, and turns it.
    fn hand(&mut self) -> Option<Report> {
        self.post();
        self.turn()
    }

    /// Hands it a peer, of whom it will hear in its next turn.
    fn post(&self) {
        let (index, stream) = self.script.accepted();
        self.script.socket(index, |socket| socket.stays = true);
        self.mail(Mail::Socket(Socket {
            listener: self.listener.0,
            stream,
            peer: Addr::Unix(None),
        }));
    }

    /// As `run` does.
    fn turn(&mut self) -> Option<Report> {
        for _ in 0..10 {
            let now = Some(Duration::ZERO);
            let turn = self.reactor.turn(&mut self.app, now).unwrap();
            if !turn.more && !self.script.has_events() {
                return self.cx().end_turn();
            }
        }
        panic!("it spins: {:?}", self.app.seen);
    }

    fn abort_the_last(&mut self) {
        let last = self.app.conns.pop().unwrap();
        assert!(self.cx().abort(last));
    }

    /// What it shows: how many it has taken, and has, and how many of them linger.
    fn shows(&self) -> (u32, u32, u32) {
        let seen = self.chair.load.see();
        (seen.taken, seen.open, seen.lingerers)
    }

    /// What it has told the loop that accepts.
    fn told(&mut self) -> Vec<String> {
        let orders = std::iter::from_fn(|| self.front.take());
        let told = orders.map(|order| match order {
            Order::Quits(3, listener, sockets) => {
                format!(
                    "quits {}, {} left",
                    listener == self.listener.0,
                    sockets.len()
                )
            }
            Order::Gone {
                worker: 3,
                sockets,
                returns,
            } => {
                format!("gone, {} left, returns: {returns}", sockets.len())
            }
            Order::Leaves(3, sockets) => format!("leaves, {} left", sockets.len()),
            Order::Over(3, received) => format!("over, {received} received"),
            _ => "another order".to_owned(),
        });
        told.collect()
    }
}

#[test]
fn what_a_worker_shows_of_itself_is_what_is_seen_of_it() {
    let load = Load::default();
    let mut seen = load.see();
    for all in [
        (0, 0, 0),
        (0, 0, 1),
        (1, 0, 0),
        (5, 3, 2),
        (u32::MAX, u32::MAX - 1, 0),
    ] {
        (seen.taken, seen.open, seen.lingerers) = all;
        load.show(seen);
        let seen = load.see();
        assert_eq!((seen.taken, seen.open, seen.lingerers), all);
    }
}

// mio's poll(2) selector takes a wake back that comes at the wrong moment.
#[test]
fn mail_is_read_though_the_wake_is_lost() {
    let mut desk = Desk::new(None);
    desk.post();
    desk.script.lose_events();
    desk.turn();
    assert_eq!(desk.app.seen, ["open"]);
}

#[test]
fn who_is_handed_over_is_opened_in_the_turn_that_the_wake_begins() {
    let mut desk = Desk::new(None);
    desk.post();
    let now = Some(Duration::ZERO);
    desk.reactor.turn(&mut desk.app, now).unwrap();
    assert_eq!(desk.app.seen, ["open"]);
}

// K2
#[test]
fn a_worker_shows_whom_it_has_taken_and_has_and_how_many_linger() {
    let mut desk = Desk::new(None);
    for _ in 0..3 {
        desk.hand();
    }
    assert_eq!(desk.shows(), (3, 3, 0));
    let listener = desk.listener;
    desk.cx().pause_accepts(listener);
    desk.hand();
    desk.hand();
    assert_eq!(desk.shows(), (3, 3, 0));
    desk.cx().resume_accepts(listener);
    desk.turn();
    assert_eq!(desk.shows(), (5, 5, 0));
    let first = desk.app.conns[0];
    desk.cx().close(first);
    desk.turn();
    assert_eq!(desk.shows(), (5, 5, 1));
    // Who is over is none that it has, whether its `on_close` has come or not.
    desk.abort_the_last();
    assert!(desk.cx().end_turn().is_none());
    assert_eq!(desk.shows(), (5, 4, 1));
    // So is one that lingered.
    let second = desk.app.conns[1];
    desk.cx().close(second);
    desk.turn();
    assert_eq!(desk.shows(), (5, 4, 2));
    assert!(desk.cx().abort(second));
    desk.turn();
    assert_eq!(desk.shows(), (5, 3, 1));
    desk.mail(Mail::GiveWay);
    desk.turn();
    assert_eq!(desk.shows(), (5, 2, 0));
}

// K2
#[test]
fn the_places_of_all_workers_are_taken_and_given_back() {
    let places = Arc::new(Places::new(2));
    let mut desks = [(); 2].map(|()| Desk::new(Some(places.clone())));
    for desk in &mut desks {
        assert!(!places.are_taken(0));
        desk.hand();
        assert_eq!(desk.app.seen, ["open"]);
    }
    assert!(places.are_taken(0));
    let [one, other] = &mut desks;
    one.hand();
    assert_eq!((one.app.seen.len(), one.cx().stats().refused), (1, 1));
    // A connect of its own takes one, too, and there is none.
    one.cx().connect("127.0.0.1:9");
    one.turn();
    assert!(
        one.app
            .seen
            .pop()
            .unwrap()
            .contains("`max_connections` reached")
    );
    other.abort_the_last();
    other.turn();
    assert!(!places.are_taken(0));
    one.hand();
    assert_eq!((one.app.seen.len(), places.are_taken(0)), (2, true));
    // One of two is given back.
    one.abort_the_last();
    one.turn();
    assert!(!places.are_taken(0));
    one.app.seen.pop();
    one.hand();
    assert!(places.are_taken(0));
    // One that ends gives back what it has, but not before that is closed.
    one.reactor.be_gone(Some(false));
    other.hand();
    assert_eq!(other.cx().stats().refused, 1);
    let [one, mut other] = desks;
    drop(one);
    assert!(!places.are_taken(0) && places.are_taken(2));
    other.hand();
    assert!(!places.are_taken(0) && places.are_taken(1));
    other.hand();
    assert!(places.are_taken(0));
}

// K2
#[test]
fn a_place_that_a_turn_has_freed_is_to_be_had_in_that_turn() {
    let places = Arc::new(Places::new(1));
    let mut desk = Desk::new(Some(places.clone()));
    desk.hand();
    desk.abort_the_last();
    desk.cx().connect("127.0.0.1:9");
    desk.turn();
    let refused = |seen: &String| seen.contains("max_connections");
    assert!(!desk.app.seen.iter().any(refused), "{:?}", desk.app.seen);
    assert!(places.are_taken(0));
    // And no more than that.
    desk.cx().connect("127.0.0.1:9");
    desk.turn();
    assert!(desk.app.seen.iter().any(refused));
    let last = desk.cx().connections().next().unwrap();
    desk.cx().abort(last);
    desk.turn();
    assert!(!places.are_taken(0));
}

// K1
#[test]
fn who_waits_behind_a_listener_that_is_closed_is_for_others() {
    let mut desk = Desk::new(None);
    let listener = desk.listener;
    desk.cx().pause_accepts(listener);
    desk.hand();
    desk.hand();
    desk.cx().unlisten(listener);
    assert_eq!(desk.told(), ["quits true, 2 left"]);
    // And who comes then.
    desk.hand();
    assert_eq!(desk.told(), ["quits true, 1 left"]);
    assert!(desk.app.seen.is_empty());
}

// K1
#[test]
fn a_worker_that_ends_leaves_those_whom_it_has_not_taken() {
    let mut desk = Desk::new(None);
    let listener = desk.listener;
    desk.hand();
    desk.cx().pause_accepts(listener);
    desk.hand();
    desk.post();
    desk.post();
    desk.reactor.be_gone(Some(true));
    assert_eq!(desk.told(), ["gone, 3 left, returns: true"]);
    assert_eq!(desk.shows(), (4, 0, 0));
    assert!(desk.chair.mail.is_closed());
}

// K1
#[test]
fn one_that_has_panicked_is_gone_at_once_and_keeps_what_it_has_until_that_is_closed() {
    let places = Arc::new(Places::new(2));
    let mut desk = Desk::new(Some(places.clone()));
    desk.hand();
    // The turn that opens the next one has no end.
    desk.post();
    let turned = desk.reactor.turn(&mut desk.app, Some(Duration::ZERO));
    assert_eq!((turned.is_ok(), desk.app.seen.len()), (true, 2));
    desk.post();
    desk.reactor.be_gone(None);
    assert_eq!(desk.told(), ["gone, 1 left, returns: true"]);
    assert_eq!((desk.shows(), places.are_taken(0)), ((3, 1, 0), true));
    desk.reactor.be_gone(Some(false));
    assert_eq!(desk.told(), ["gone, 0 left, returns: false"]);
    assert_eq!((desk.shows(), places.are_taken(0)), ((3, 0, 0), true));
    drop(desk);
    assert!(!places.are_taken(1));
}

// K1
#[test]
fn one_that_finishes_alone_passes_on_whom_others_take_and_opens_those_whom_none_does() {
    let mut desk = Desk::new(None);
    let listener = desk.listener;
    desk.cx().pause_accepts(listener);
    desk.hand();
    desk.hand();
    desk.cx().finish(SECOND);
    assert_eq!(desk.told(), ["leaves, 2 left"]);
    // It has nobody, and is not over before it is told so: it may be the last.
    assert_eq!(desk.turn(), None);
    assert_eq!(desk.told(), ["over, 2 received"]);
    // Whoever was on the way to it is for others.
    assert_eq!(desk.hand(), None);
    assert_eq!(desk.told(), ["leaves, 1 left", "over, 3 received"]);
    assert!(desk.app.seen.is_empty());
    desk.mail(Mail::Last);
    assert_eq!(desk.hand(), None);
    assert_eq!(desk.app.seen, ["open"]);
    let last = desk.app.conns[0];
    assert!(!desk.cx().is_open(last), "it was not told");
    desk.abort_the_last();
    desk.turn();
    assert_eq!(desk.told(), ["over, 4 received"]);
    desk.mail(Mail::End);
    assert!(desk.turn().is_some_and(|report| report.finished));
}

// K1
#[test]
fn in_a_finish_of_all_a_worker_says_once_that_it_has_nobody_and_ends_with_the_others() {
    let mut desk = Desk::new(None);
    desk.app.keep_on = true;
    desk.hand();
    assert!(!desk.reactor.finishes());
    desk.mail(Mail::Finish(SECOND * 60));
    assert!(desk.turn().is_none() && desk.reactor.finishes());
    assert!(desk.told().is_empty());
    for received in 1..=2 {
        desk.abort_the_last();
        assert!(desk.turn().is_none());
        assert_eq!(desk.told(), [format!("over, {received} received")]);
        assert!(desk.turn().is_none() && desk.told().is_empty());
        // Somebody who waited in the mail of another.
        assert!(desk.hand().is_none() && desk.told().is_empty());
    }
    desk.abort_the_last();
    desk.mail(Mail::End);
    let report = desk.turn().unwrap();
    assert_eq!((report.finished, report.closed), (true, 3));
    assert!(desk.told().is_empty());
}

// K1
#[test]
fn who_comes_to_a_worker_after_its_grace_is_told_and_ended_at_once() {
    let mut desk = Desk::new(None);
    desk.app.keep_on = true;
    desk.hand();
    desk.mail(Mail::Finish(SECOND));
    // Within the grace it has the rest of that.
    desk.hand();
    assert_eq!(desk.app.seen, ["open", "open"]);
    desk.script.pass(SECOND);
    desk.turn();
    let closed = "close still open when the grace period ended";
    assert_eq!(desk.app.seen[2..], [closed, closed]);
    assert_eq!(desk.told(), ["over, 2 received"]);
    desk.hand();
    assert_eq!(desk.app.seen[4..], ["open", closed]);
    assert_eq!(desk.told(), ["over, 3 received"]);
}

#[test]
fn an_error_of_accepting_is_told_for_the_part_whose_listener_it_is() {
    let mut desk = Desk::new(None);
    let listener = desk.listener;
    assert_eq!(desk.cx().listener_tag(listener), Some(Tag(7)));
    let failed = |desk: &Desk| {
        let error = io::ErrorKind::OutOfMemory.into();
        desk.mail(Mail::AcceptFailed(desk.listener.0, error));
    };
    failed(&desk);
    desk.turn();
    assert_eq!(desk.app.seen, ["accept error OutOfMemory"]);
    // Closed meanwhile, it has no more to tell.
    failed(&desk);
    desk.cx().unlisten(listener);
    desk.turn();
    assert_eq!(desk.app.seen.len(), 1);
    assert_eq!(desk.cx().listener_tag(listener), None);
}
