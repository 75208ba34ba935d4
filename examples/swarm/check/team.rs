//! Several workers in a world of their own, which every fourth seed has besides: peers come, and
//! workers end, are stopped, or panic in a callback and begin again.

use super::echo::{BYE, Echo, PLANNED, Say, Seen, Where};
use super::random::Random;
use sockeye::sim::{Faults, Node, Peer, World};
use sockeye::{Config, HandOver, Team};
use std::rc::Rc;
use std::time::Duration;

const AT: &str = "10.0.0.1:7000";

/// What is calm comes to rest within this time; a listener that rests has rested by then.
pub const CALM: Duration = Duration::from_secs(20);

/// What is to happen to a worker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Blow {
    Stop,
    Finish,
    Panic(Where),
}

struct Play {
    world: World,
    random: Random,
    seen: Rc<Seen>,
    nodes: Vec<Node<Echo, Say>>,
    team: Team<Say>,
    hand_over: HandOver,
    restarts: usize,
    /// So many connections at most all workers have together, if there is a cap.
    cap: Option<usize>,
    /// Peers, and what they have sent.
    peers: Vec<(Peer, Vec<u8>)>,
    posted: usize,
    /// Workers that were stopped: their handlers were not told.
    stopped: Vec<bool>,
    /// For what was drawn last of all: the plans stay as they are.
    apart: Random,
}

/// Plays the workers of a seed, if it has any. Answers the hash of their trace.
pub fn play(seed: u64) -> u64 {
    // Apart from all other draws: the plans stay as they are.
    let mut random = Random::new(seed ^ 0x7ea3_0000);
    if !random.percent(25) {
        return 0;
    }
    let mut faults = Faults::default();
    if random.percent(60) {
        (faults.interrupts, faults.would_block) = (30, 30);
        (faults.late_edges, faults.spurious, faults.accept_fails) = (100, 30, 50);
    }
    let mut world = World::seeded(seed, faults);
    world.catch_panics();
    let hand_over = *random.pick(&[HandOver::LeastConnections, HandOver::RoundRobin]);
    let restarts = random.below(3);
    let mut config = Config::default();
    config.accepts_per_turn = random.range(1, 8);
    let cap = draw_cap(seed);
    config.max_connections = cap.unwrap_or(usize::MAX);
    config.messages_per_turn = draw_messages(seed, config.messages_per_turn);
    let workers = random.range(2, 4);
    let seen = Rc::new(Seen::new(workers, config.max_connections));
    let all = seen.clone();
    let (nodes, team) = world.start_workers(
        "team",
        (workers, config),
        |workers| {
            let mut workers = workers.hand_over(hand_over).restarts(restarts);
            seen.listener.set(Some(workers.listen(AT)?));
            Ok(workers)
        },
        move |worker| Echo::new(worker, all.clone()),
    );
    let mut play = Play {
        world,
        random,
        seen,
        nodes,
        team,
        hand_over,
        restarts,
        cap,
        peers: Vec::new(),
        posted: 0,
        stopped: vec![false; workers],
        apart: Random::new(seed ^ 0x5709_0000),
    };
    play.rounds();
    play.rest();
    play.fill();
    play.even_out();
    play.end();
    play.judge();
    play.world.trace_hash()
}

/// Apart again: with a cap all else of the plan is as it is without.
fn draw_cap(seed: u64) -> Option<usize> {
    let mut random = Random::new(seed ^ 0x0ca9_0000);
    random.percent(25).then(|| random.range(3, 12))
}

/// Apart, too: so few in a turn that some are left over.
fn draw_messages(seed: u64, usual: usize) -> usize {
    let mut random = Random::new(seed ^ 0x0e55_0000);
    if random.percent(50) {
        random.range(1, 6)
    } else {
        usual
    }
}

impl Play {
    /// What befalls whom, and when. The first worker outlives it, for somebody must be there to
    /// take what another leaves: it panics as often as it may begin again.
    fn blows(&mut self) -> Vec<(usize, usize, Blow)> {
        let mut blows = Vec::new();
        let mut lives = self.restarts;
        for _ in 0..self.random.below(4) {
            let (round, worker) = (self.random.below(8), self.random.below(self.nodes.len()));
            let blow = match self.random.below(10) {
                // Whoever is stopped says nothing of its places.
                0 | 1 if self.cap.is_none() => Blow::Stop,
                0 | 1 => continue,
                2 | 3 => Blow::Finish,
                _ => Blow::Panic(*self.random.pick(&Where::ALL)),
            };
            if worker == 0 {
                if lives == 0 || !matches!(blow, Blow::Panic(_)) {
                    continue;
                }
                lives -= 1;
            }
            blows.push((round, worker, blow));
        }
        blows
    }

    fn rounds(&mut self) {
        let blows = self.blows();
        for round in 0..8 {
            self.connect();
            for (_, worker, blow) in blows.iter().filter(|(when, ..)| *when == round) {
                self.connect();
                // At some moment of their way to a worker.
                let micros = self.random.below(300) as u64;
                self.world.advance(Duration::from_micros(micros));
                self.strike(*worker, *blow);
                self.connect();
            }
            self.team.broadcast(Say::Next(self.posted));
            self.posted += 1;
            let pause = self.random.below(50) as u64;
            self.world.advance(Duration::from_micros(pause));
        }
    }

    fn strike(&mut self, worker: usize, blow: Blow) {
        match blow {
            Blow::Stop if self.apart.percent(50) => self.stop_between_messages(worker),
            Blow::Stop => self.stopped[worker] |= self.team[worker].stop(),
            // One that is over hears neither.
            Blow::Finish => drop(self.team[worker].send(Say::End)),
            Blow::Panic(at) => drop(self.team[worker].send(Say::Panic(at))),
        }
    }

    /// It hears of its stop among others, some of which come as it is busy with those before.
    fn stop_between_messages(&mut self, worker: usize) {
        for _ in 0..self.apart.below(8) {
            let talks = self.apart.percent(25);
            let say = if talks { Say::Talk } else { Say::Nothing };
            drop(self.team[worker].send(say));
        }
        drop(self.team[worker].send(Say::Stop));
        for _ in 0..self.apart.below(3) {
            drop(self.team[worker].send(Say::Nothing));
        }
        // Whatever is posted later would have it look again.
        self.world.advance(CALM);
        self.stopped[worker] |= self.seen.tallies[worker].stops.get();
        let is_over = self.team[worker].is_closed();
        assert!(is_over || !self.stopped[worker], "a stop was not heard");
    }

    fn connect(&mut self) {
        for _ in 0..self.random.below(6) {
            let len = self.random.skewed(5000);
            self.connect_with(len);
        }
    }

    fn connect_with(&mut self, len: usize) {
        let peer = self.world.connect(AT);
        let bytes = self.random.bytes(len);
        peer.send(&bytes);
        self.peers.push((peer, bytes));
    }

    /// Those that are there: each that is over has closed its mailbox.
    fn alive(&self) -> Vec<usize> {
        let all = 0..self.nodes.len();
        all.filter(|number| !self.team[*number].is_closed())
            .collect()
    }

    /// How many connections each of those has that are there.
    fn shares(&self) -> Vec<usize> {
        let alive = self.alive().into_iter();
        alive
            .map(|number| self.world.app(self.nodes[number]).len())
            .collect()
    }

    /// When all is calm, somebody has everybody, and all that was said was answered.
    fn rest(&mut self) {
        self.world.faults(Faults::default());
        self.world.advance(CALM);
        self.team.broadcast(Say::Next(self.posted));
        self.posted += 1;
        self.world.advance(CALM);
        self.seen.assert_sound();
        let met = self.seen.opened.get() + self.seen.drowned.get();
        assert!(
            met == self.peers.len() || self.cap.is_some() && met < self.peers.len(),
            "who was accepted was lost on the way to a worker"
        );
        let open = self.peers.iter().filter(|(peer, _)| peer.is_open()).count();
        assert_eq!(
            self.shares().iter().sum::<usize>(),
            open,
            "the connections of a worker that is gone are open"
        );
        for (peer, sent) in &self.peers {
            let heard = peer.received_bytes();
            assert!(
                !peer.is_open() || heard == *sent,
                "a worker did not answer all that was said"
            );
        }
        for number in self.alive() {
            let heard = self.world.app(self.nodes[number]).heard;
            assert_eq!(heard, Some(self.posted), "a message to all was lost");
        }
        assert!(!self.team[0].is_closed(), "a worker did not begin again");
    }

    /// All places that are free are to be had, and no more, whatever befell those who had them.
    fn fill(&mut self) {
        let Some(cap) = self.cap else {
            return;
        };
        let panics = self.seen.panics();
        let free = cap - self.shares().iter().sum::<usize>();
        (0..free + 2).for_each(|_| self.connect_with(1));
        self.world.advance(CALM);
        self.seen.assert_sound();
        assert!(
            self.shares().iter().sum::<usize>() == cap || panics < self.seen.panics(),
            "a place that is free is not to be had"
        );
    }

    /// By a batch of equals the shares become even, whatever was before.
    fn even_out(&mut self) {
        if self.hand_over != HandOver::LeastConnections || !self.random.percent(30) {
            return;
        }
        if self.cap.is_some() {
            return;
        }
        let shares = self.shares();
        let panics = self.seen.panics();
        let most = shares.iter().max().copied().unwrap_or(0);
        let missing: usize = shares.iter().map(|share| most - share).sum();
        for _ in 0..missing + self.random.below(4) {
            self.connect_with(1);
        }
        self.world.advance(CALM);
        let shares = self.shares();
        let (least, most) = (shares.iter().min(), shares.iter().max());
        // One that was to panic at the next peer has, and has lost what it had.
        let is_calm = panics == self.seen.panics();
        assert!(
            !is_calm
                || least
                    .zip(most)
                    .is_some_and(|(least, most)| most - least <= 1),
            "after a batch of equals the shares are {shares:?}"
        );
    }

    /// All are told of the end, those too who have just come. Whoever comes then is refused.
    fn end(&mut self) {
        self.connect();
        let micros = self.random.below(200) as u64;
        self.world.advance(Duration::from_micros(micros));
        // With a cap nobody could tell who was refused from who was lost.
        if self.random.percent(40) && self.cap.is_none() {
            self.end_by_themselves();
        }
        self.team.finish(CALM);
        self.world.settle();
        let late = self.world.connect(AT);
        self.world.settle();
        assert!(late.was_reset(), "somebody is accepted while all finish");
        self.world.advance(CALM * 3);
        for (peer, _) in &self.peers {
            let heard = peer.received_bytes();
            assert!(
                !peer.is_open() || heard.ends_with(BYE),
                "a finish of all did not tell everybody"
            );
            peer.close();
        }
        self.world.advance(CALM * 3);
    }

    /// Each is told of the end alone. Nobody is lost by that: a peer that came to no worker was
    /// refused, and so was not accepted.
    fn end_by_themselves(&mut self) {
        let panics = self.seen.panics();
        let first = self.peers.len();
        for number in self.alive() {
            if self.random.percent(50) {
                drop(self.team[number].send(Say::Pause));
            }
        }
        // Who says nothing is not reset if it is dropped.
        (0..self.random.range(1, 20)).for_each(|_| self.connect_with(0));
        let micros = self.random.below(200) as u64;
        self.world.advance(Duration::from_micros(micros));
        let alive = self.alive();
        let begin = self.random.below(alive.len());
        // Some say it in one moment, some when those before are over.
        let pause = Duration::from_micros(*self.random.pick(&[0, 0, 50, 5000]));
        for number in alive[begin..].iter().chain(&alive[..begin]) {
            drop(self.team[*number].send(Say::End));
            self.world.advance(pause);
        }
        self.world.advance(CALM);
        let is_calm = panics == self.seen.panics();
        for (peer, _) in &self.peers[first..] {
            assert!(
                !is_calm || peer.was_reset() || peer.received_bytes().ends_with(BYE),
                "who was accepted was lost as the last workers ended by themselves"
            );
        }
    }

    /// What was told and what is reported agree, and nothing is left.
    fn judge(&mut self) {
        self.seen.assert_sound();
        let report = self.world.workers_report(&self.nodes);
        let report = report.expect("all have finished, and not all workers are over");
        let seen = &self.seen;
        // Who is stopped tells nobody.
        let stopped = (0..self.nodes.len()).filter(|number| self.stopped[*number]);
        let stopped: Vec<&Echo> = stopped
            .map(|number| self.world.app(self.nodes[number]))
            .collect();
        let left: usize = stopped.iter().map(|app| app.len()).sum();
        let untold: usize = stopped.iter().map(|app| app.untold()).sum();
        let ended = seen.closed.get() + seen.lost.get() + left;
        assert_eq!(seen.opened.get(), ended, "a connection has no end");
        let told = seen.told.get() + seen.untold.get() + untold;
        assert_eq!(seen.opened.get(), told, "somebody was not told of the end");
        let mut closed = 0;
        for (number, worker) in report.workers.iter().enumerate() {
            let tally = &seen.tallies[number];
            let panics = tally.panics.get();
            assert_eq!(
                worker.panics,
                vec![PLANNED; panics],
                "the panics of {number}"
            );
            assert!(
                tally.lives.get() <= panics + 1 && tally.lives.get() <= self.restarts + 1,
                "worker {number} began again too often"
            );
            if worker.report.finished {
                closed += tally.ended.get();
            }
        }
        assert_eq!(
            report.report.closed + report.report.aborted,
            closed as u64,
            "the report says something else than the workers"
        );
        self.world.assert_no_leaks();
    }
}
