//! K1, K2: several workers in one simulated world.

use sockeye::sim::{Faults, Peer, World, seeds};
use sockeye::{
    Closed, Config, ConnId, Context, HandOver, Handler, Input, ListenerId, Origin, Sent, Workers,
};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// What all workers have seen; in a world there is one thread.
#[derive(Default)]
struct Seen {
    opened: Cell<usize>,
    finished: Cell<usize>,
    closed: Cell<usize>,
    errors: Cell<usize>,
}

#[derive(Clone)]
enum Say {
    Finish,
    Text(&'static str),
}

struct Echo {
    seen: Rc<Seen>,
    conns: Vec<ConnId>,
}

fn more(count: &Cell<usize>) {
    count.set(count.get() + 1);
}

impl Handler<Say> for Echo {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, origin: Origin) {
        assert!(matches!(origin, Origin::Accepted(id) if cx.listener_addr(id).is_some()));
        more(&self.seen.opened);
        self.conns.push(conn);
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        if cx.send(conn, input.take_all()) == Sent::Wait {
            cx.pause_until_drained(conn);
        }
    }

    fn on_message(&mut self, cx: &mut Context, say: Say) {
        match say {
            Say::Finish => cx.finish(Duration::from_secs(1)),
            Say::Text(text) => drop(cx.broadcast(self.conns.iter().copied(), text)),
        }
    }

    fn on_accept_error(&mut self, cx: &mut Context, listener: ListenerId, error: io::Error) {
        assert!(cx.listener_addr(listener).is_some(), "{error}");
        more(&self.seen.errors);
    }

    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        more(&self.seen.finished);
        cx.send(conn, "bye");
        cx.close(conn);
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        more(&self.seen.closed);
        self.conns.retain(|other| *other != conn);
    }
}

const AT: &str = "10.0.0.1:7000";

fn listens(hand_over: HandOver) -> impl FnOnce(Workers) -> io::Result<Workers> {
    move |workers| {
        let mut workers = workers.hand_over(hand_over);
        workers.listen(AT).map(|_| workers)
    }
}

/// One run: peers come and go, talk, and all finish in the middle of it. Answers the trace's hash.
fn run(seed: u64, faults: Faults, alone: bool) -> u64 {
    let mut world = World::seeded(seed, faults);
    let seen = Rc::new(Seen::default());
    let all = seen.clone();
    let choose = match seed % 2 {
        0 => HandOver::LeastConnections,
        _ => HandOver::RoundRobin,
    };
    let (nodes, team) =
        world.start_workers("server", (3, Config::default()), listens(choose), |_| {
            Echo {
                seen: all.clone(),
                conns: Vec::new(),
            }
        });
    assert!(nodes.iter().all(|node| node.host() == nodes[0].host()));
    let mut peers: Vec<Peer> = Vec::new();
    for round in 0..8 {
        for _ in 0..5 {
            let peer = world.connect(AT);
            peer.send("hello");
            peers.push(peer);
        }
        world.advance(Duration::from_micros(round * seed % 50));
        if round % 3 == 2 {
            peers.swap_remove(0).close();
        }
        team.broadcast(Say::Text("!"));
    }
    // A listener that rests has rested by then.
    world.advance(Duration::from_millis(500));
    peers.extend((0..5).map(|_| world.connect(AT)));
    if alone {
        team[0].send(Say::Finish).ok().unwrap();
        peers.extend((0..5).map(|_| world.connect(AT)));
    }
    team.finish(Duration::from_secs(5));
    world.advance(Duration::from_secs(60));
    for peer in &peers {
        // It heard of the end, or nobody had accepted it.
        let heard = peer.received();
        assert!(
            heard.is_empty() || heard.ends_with("bye") || peer.was_reset(),
            "{heard}"
        );
        peer.close();
    }
    world.advance(Duration::from_secs(60));
    assert_eq!(seen.opened.get(), seen.closed.get(), "seed {seed}");
    assert!(seen.finished.get() > 0);
    world.assert_no_leaks();
    world.trace_hash()
}

// K1
#[test]
fn workers_in_a_world_finish_together_and_lose_nobody() {
    for seed in seeds(0..40) {
        run(seed, Faults::default(), false);
        run(seed, Faults::default(), true);
    }
}

// K1
#[test]
fn faults_make_no_difference_to_that() {
    for seed in seeds(0..40) {
        let mut faults = Faults::default();
        (faults.interrupts, faults.would_block) = (30, 30);
        (faults.late_edges, faults.spurious, faults.accept_fails) = (100, 30, 50);
        run(seed, faults, seed % 3 == 0);
    }
}

#[test]
fn one_seed_repeats_several_workers_too() {
    for seed in seeds(0..10) {
        let all = [(); 2].map(|()| run(seed, Faults::default(), true));
        assert_eq!(all[0], all[1], "seed {seed}");
    }
}

// K2
#[test]
fn shares_in_a_world_differ_by_one_at_most() {
    let mut world = World::new();
    let (nodes, _) = world.start_workers(
        "server",
        (3, Config::default()),
        listens(HandOver::LeastConnections),
        |_| Echo {
            seen: Rc::default(),
            conns: Vec::new(),
        },
    );
    let mut peers = Vec::new();
    for batch in [1, 5, 20, 3] {
        peers.extend((0..batch).map(|_| world.connect(AT)));
        world.settle();
        let shares: Vec<usize> = nodes.iter().map(|at| world.app(*at).conns.len()).collect();
        let (least, most) = (shares.iter().min(), shares.iter().max());
        assert!(most.unwrap() - least.unwrap() <= 1, "{shares:?}");
        assert_eq!(shares.iter().sum::<usize>(), peers.len());
    }
}

// In a world one address has one socket: the second worker cannot have its own.
#[test]
fn workers_listen_all_or_none() {
    let mut world = World::new();
    let seen = Rc::new(Seen::default());
    let all = seen.clone();
    let setup = |workers: Workers| {
        let mut workers = workers.hand_over(HandOver::ReusePort);
        assert!(workers.listen(AT).is_err());
        // The first one's is closed again, and its id is nobody's.
        let mut workers = workers.hand_over(HandOver::LeastConnections);
        workers.listen(AT).map(|_| workers)
    };
    let (nodes, _) = world.start_workers("server", (2, Config::default()), setup, |_| Echo {
        seen: all.clone(),
        conns: Vec::new(),
    });
    let peers: Vec<Peer> = (0..6).map(|_| world.connect(AT)).collect();
    world.settle();
    let shares: Vec<usize> = nodes.iter().map(|at| world.app(*at).conns.len()).collect();
    assert_eq!((shares, seen.opened.get()), (vec![3, 3], 6));
    drop(peers);
}

#[test]
fn with_no_descriptors_for_the_loop_that_accepts_one_worker_is_told_and_it_tries_again() {
    let mut world = World::new();
    let seen = Rc::new(Seen::default());
    let all = seen.clone();
    let setup = listens(HandOver::LeastConnections);
    let (nodes, _) = world.start_workers("server", (2, Config::default()), setup, |_| Echo {
        seen: all.clone(),
        conns: Vec::new(),
    });
    let mut faults = Faults::default();
    faults.accept_fails = 1000;
    world.faults(faults);
    let peers: Vec<Peer> = (0..6).map(|_| world.connect(AT)).collect();
    let rest = Config::default().accept_backoff;
    world.advance(rest * 3 + rest / 2);
    // At once, and after each rest; for all who wait together.
    assert_eq!((seen.opened.get(), seen.errors.get()), (0, 4));
    world.faults(Faults::default());
    world.advance(rest * 2);
    let shares: Vec<usize> = nodes.iter().map(|at| world.app(*at).conns.len()).collect();
    assert_eq!((shares, seen.errors.get()), (vec![3, 3], 4));
    drop(peers);
}
