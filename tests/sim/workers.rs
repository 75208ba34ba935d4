//! K1, K2: several workers in one simulated world.

use sockeye::sim::{Faults, Node, Peer, World, seeds};
use sockeye::{
    Closed, Config, ConnId, Context, HandOver, Handler, Input, ListenerId, Origin, Sent, Team,
    Workers,
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
    let (nodes, team) = world.start_workers(
        "server",
        (3, Config::default()),
        listens(choose),
        move |_| Echo {
            seen: all.clone(),
            conns: Vec::new(),
        },
    );
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

/// Says hello, and closes at the first word.
struct Closing;

impl Handler for Closing {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        cx.send(conn, "hello");
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, _: &mut Input) {
        cx.close(conn);
    }
}

// X12
#[test]
fn at_the_cap_who_lingers_gives_way_whichever_worker_has_it() {
    for hand_over in [HandOver::LeastConnections, HandOver::RoundRobin] {
        let mut world = World::new();
        let config = (2, Config::default().max_connections(2));
        world.start_workers("srv", config, listens(hand_over), |_| Closing);
        let mut peers = Vec::new();
        for _ in 0..2 {
            peers.push(world.connect(AT));
            world.settle();
        }
        // That of the second worker lingers; with round robin it is the turn of the first one.
        peers[1].send("end");
        world.settle();
        let newcomer = world.connect(AT);
        world.settle();
        assert_eq!(newcomer.received(), "hello", "{hand_over:?}");
        assert!(
            !newcomer.is_closed() && !peers[0].is_closed(),
            "{hand_over:?}"
        );
        peers.push(newcomer);
    }
}

// X12: each of those who linger gives way to one, also to those who come at once.
#[test]
fn at_the_cap_all_who_linger_give_way_to_those_who_come_together() {
    // Who lingers, of four; the last have a place that is free.
    for (lingering, free) in [(&[0, 1, 3][..], 0), (&[1, 3], 0), (&[2], 0), (&[], 2)] {
        for hand_over in [HandOver::LeastConnections, HandOver::RoundRobin] {
            let mut world = World::new();
            let config = (2, Config::default().max_connections(4 + free));
            world.start_workers("srv", config, listens(hand_over), |_| Closing);
            let old: Vec<Peer> = (0..4).map(|_| world.connect(AT)).collect();
            world.settle();
            lingering.iter().for_each(|at| old[*at].send("end"));
            world.settle();
            let newcomers: Vec<Peer> = (0..lingering.len() + free)
                .map(|_| world.connect(AT))
                .collect();
            world.settle();
            for newcomer in newcomers {
                let heard = newcomer.received();
                assert_eq!(heard, "hello", "{lingering:?} {free} {hand_over:?}");
            }
        }
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
    let (nodes, _) = world.start_workers("server", (2, Config::default()), setup, move |_| Echo {
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
    let (nodes, _) = world.start_workers("server", (2, Config::default()), setup, move |_| Echo {
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
    let told = |at| world.reactor(at).context().stats().accept_errors;
    assert_eq!(nodes.into_iter().map(told).sum::<u64>(), 4);
    drop(peers);
}

/// Tells all of what it was told: the number of its worker and of the message.
struct Gossip {
    number: usize,
    team: Team<(usize, usize)>,
    heard: Vec<(usize, usize)>,
}

impl Handler<(usize, usize)> for Gossip {
    fn on_data(&mut self, _: &mut Context, _: ConnId, input: &mut Input) {
        for byte in input.take_all().iter() {
            self.team.broadcast((self.number, usize::from(*byte)));
        }
    }

    fn on_message(&mut self, _: &mut Context, said: (usize, usize)) {
        self.heard.push(said);
    }
}

type Gossips = Vec<Node<Gossip, (usize, usize)>>;

/// Three workers, and a peer of each that has sent three bytes.
fn gossips(seed: u64) -> (World, Gossips) {
    let mut world = World::seeded(seed, Faults::default());
    let setup = listens(HandOver::RoundRobin);
    let (nodes, _) =
        world.start_workers("server", (3, Config::default()), setup, |worker| Gossip {
            number: worker.number(),
            team: worker.team().clone(),
            heard: Vec::new(),
        });
    let peers = [(); 3].map(|()| world.connect(AT));
    world.settle();
    peers.iter().for_each(|peer| peer.send([1, 2, 3]));
    (world, nodes)
}

// M1, X9
#[test]
fn what_another_thread_posts_to_a_worker_comes_in_its_order_and_in_the_middle_of_a_turn() {
    let mut first = Vec::new();
    for seed in seeds(0..40) {
        let (mut world, nodes) = gossips(seed);
        (0..20).for_each(|number| world.post(nodes[0], (9, number)));
        world.settle();
        let heard = &world.app(nodes[0]).heard;
        let its: Vec<usize> = heard.iter().filter(|it| it.0 == 9).map(|it| it.1).collect();
        assert_eq!(its, (0..20).collect::<Vec<_>>(), "seed {seed}");
        first.push(heard[0].0);
    }
    // Before any worker is told anything by the others, or after that.
    assert!(
        first.contains(&9) && first.iter().any(|who| *who != 9),
        "{first:?}"
    );
}

#[test]
fn messages_of_each_worker_come_in_order_and_those_of_several_in_any() {
    let mut differs = 0;
    for seed in seeds(0..20) {
        let (mut world, nodes) = gossips(seed);
        world.settle();
        let heard = [0, 1, 2].map(|at| world.app(nodes[at]).heard.clone());
        for all in &heard {
            for number in 0..3 {
                let its = all.iter().filter(|said| said.0 == number);
                let its: Vec<usize> = its.map(|said| said.1).collect();
                assert_eq!(its, [1, 2, 3], "seed {seed}");
            }
        }
        differs += usize::from(heard[0] != heard[1] || heard[1] != heard[2]);
    }
    assert!(differs > 0, "all workers have heard all in one order");
}

/// Panics at a byte of 1, and at the end if it has heard a 2.
struct Fragile {
    lives: Rc<Cell<usize>>,
    panics_later: bool,
}

impl Handler for Fragile {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        let bytes = input.take_all();
        assert!(!bytes.contains(&1), "a one");
        self.panics_later |= bytes.contains(&2);
        cx.send(conn, bytes);
    }

    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        assert!(!self.panics_later, "a two");
        cx.close(conn);
    }
}

/// One worker that may begin again once; what it panics with is no end of the test.
fn fragile(seed: u64, lives: &Rc<Cell<usize>>) -> (World, Vec<Node<Fragile>>, Team<()>) {
    let mut world = World::seeded(seed, Faults::default());
    let all = lives.clone();
    let setup = |workers: Workers| {
        let mut workers = workers.restarts(1);
        workers.listen(AT).map(|_| workers)
    };
    let (nodes, team) = world.start_workers("server", (1, Config::default()), setup, move |_| {
        more(&all);
        Fragile {
            lives: all.clone(),
            panics_later: false,
        }
    });
    world.catch_panics();
    (world, nodes, team)
}

// K3
#[test]
fn a_worker_in_a_world_begins_again_as_often_as_it_may() {
    for seed in seeds(0..10) {
        let lives = Rc::default();
        let (mut world, nodes, team) = fragile(seed, &lives);
        let peers = [(); 2].map(|()| world.connect(AT));
        world.settle();
        peers[0].send([1]);
        world.settle();
        assert!(peers.iter().all(|peer| peer.is_closed()));
        assert_eq!((lives.get(), team[0].is_closed()), (2, false));
        assert_eq!(world.app(nodes[0]).lives.get(), 2);
        let peer = world.connect(AT);
        peer.send([3]);
        world.settle();
        assert_eq!(peer.received_bytes(), [3]);
        assert!(world.workers_report(&nodes).is_none());
        peer.send([1]);
        world.settle();
        // Nobody is left: who comes is refused.
        assert!(peer.is_closed() && team[0].is_closed());
        assert!(world.connect(AT).was_reset());
        let report = world.workers_report(&nodes).unwrap();
        assert_eq!(report.workers[0].panics, ["a one", "a one"]);
        assert!(!report.report.finished && lives.get() == 2);
        peers.iter().chain([&peer]).for_each(Peer::close);
        world.settle();
        world.assert_no_leaks();
        assert_eq!(world.trace().matches("has panicked").count(), 2);
    }
}

// K3
#[test]
fn who_comes_while_the_only_worker_begins_again_does_not_wait_for_a_rest_to_end() {
    for seed in seeds(0..20) {
        let (mut world, _, _) = fragile(seed, &Rc::default());
        let first = world.connect(AT);
        world.settle();
        first.send([1]);
        let peers = [(); 5].map(|()| world.connect(AT));
        peers.iter().for_each(|peer| peer.send([3]));
        world.settle(); // no time passes
        // Some of them may have been with the worker as it panicked.
        let waits = |peer: &&Peer| !peer.is_closed() && peer.received_bytes() != [3];
        assert_eq!(peers.iter().filter(waits).count(), 0, "seed {seed}");
    }
}

// K3
#[test]
fn a_worker_in_a_world_that_panics_in_a_finish_does_not_begin_again() {
    let lives = Rc::default();
    let (mut world, nodes, team) = fragile(1, &lives);
    let peer = world.connect(AT);
    peer.send([2]);
    world.settle();
    team.finish(Duration::from_secs(1));
    world.settle();
    assert!(peer.is_closed());
    let report = world.workers_report(&nodes).unwrap();
    assert_eq!(report.workers[0].panics, ["a two"]);
    assert_eq!(lives.get(), 1);
}

#[test]
#[should_panic(expected = "a one")]
fn a_panic_comes_out_of_a_world_that_was_not_told_to_catch_it() {
    let mut world = World::new();
    let setup = listens(HandOver::RoundRobin);
    world.start_workers("server", (2, Config::default()), setup, |_| Fragile {
        lives: Rc::default(),
        panics_later: false,
    });
    world.connect(AT).send([1]);
    world.settle();
}

// K1
#[test]
fn a_worker_in_a_world_that_is_stopped_is_over_and_the_others_go_on() {
    let mut world = World::new();
    let setup = listens(HandOver::LeastConnections);
    let (nodes, team) = world.start_workers("server", (2, Config::default()), setup, |_| Echo {
        seen: Rc::default(),
        conns: Vec::new(),
    });
    let peers: Vec<Peer> = (0..4).map(|_| world.connect(AT)).collect();
    world.settle();
    assert!(team[1].stop());
    world.settle();
    assert!(team[1].is_closed() && !team[0].is_closed());
    assert_eq!(peers.iter().filter(|peer| peer.is_open()).count(), 2);
    let more: Vec<Peer> = (0..4).map(|_| world.connect(AT)).collect();
    world.settle();
    assert_eq!(world.app(nodes[0]).conns.len(), 6);
    assert!(team.stop());
    world.settle();
    let report = world.workers_report(&nodes).unwrap();
    assert!(!report.report.finished);
    peers.iter().chain(&more).for_each(Peer::close);
    world.assert_no_leaks();
}

#[test]
fn a_worker_in_a_world_that_is_over_hears_nobody() {
    let mut world = World::new();
    let setup = listens(HandOver::LeastConnections);
    let (nodes, team) = world.start_workers("server", (2, Config::default()), setup, |_| Echo {
        seen: Rc::default(),
        conns: Vec::new(),
    });
    assert!(team[1].send(Say::Finish).is_ok());
    world.settle();
    assert!(team[1].send(Say::Text("late")).is_err());
    world.post(nodes[1], Say::Text("late"));
    world.settle();
    assert_eq!(world.trace().matches("server-1 message").count(), 1);
}
