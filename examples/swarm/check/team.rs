//! Several workers in a world of their own, which every fourth seed has besides.

use super::random::Random;
use sockeye::sim::{Faults, Node, Peer, World};
use sockeye::{Closed, Config, ConnId, Context, HandOver, Handler, Input, Origin, Sent, Team};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

const AT: &str = "10.0.0.1:7000";
const BYE: &[u8] = b"bye";

/// What is calm comes to rest within this time; a listener that rests has rested by then.
const CALM: Duration = Duration::from_secs(20);

/// What all workers have seen; in a world there is one thread.
#[derive(Default)]
struct Seen {
    opened: Cell<usize>,
    closed: Cell<usize>,
    told: Cell<usize>,
}

fn more(count: &Cell<usize>) {
    count.set(count.get() + 1);
}

#[derive(Clone)]
enum Say {
    /// The next message to all.
    Next(usize),
    /// One worker is to end alone.
    End,
}

struct Echo {
    seen: Rc<Seen>,
    conns: Vec<ConnId>,
    heard: usize,
    ends: bool,
}

impl Handler<Say> for Echo {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, origin: Origin) {
        assert!(
            matches!(origin, Origin::Accepted(id) if self.ends || cx.listener_addr(id).is_some()),
            "a worker was handed a connection of a listener that it does not know"
        );
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
            Say::Next(number) => {
                assert_eq!(number, self.heard, "a message to all came out of order");
                self.heard += 1;
            }
            Say::End => {
                self.ends = true;
                cx.finish(CALM);
            }
        }
    }

    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        more(&self.seen.told);
        self.ends = true;
        cx.send(conn, BYE);
        cx.close(conn);
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        more(&self.seen.closed);
        self.conns.retain(|other| *other != conn);
    }
}

struct Play {
    world: World,
    random: Random,
    seen: Rc<Seen>,
    nodes: Vec<Node<Echo, Say>>,
    team: Team<Say>,
    /// Peers, and what they have sent.
    peers: Vec<(Peer, Vec<u8>)>,
    posted: usize,
    /// The worker that ended alone said no word.
    stops: bool,
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
    let seen = Rc::new(Seen::default());
    let choose = *random.pick(&[HandOver::LeastConnections, HandOver::RoundRobin]);
    let mut config = Config::default();
    config.accepts_per_turn = random.range(1, 8);
    let size = (random.range(2, 4), config);
    let all = seen.clone();
    let (nodes, team) = world.start_workers(
        "team",
        size,
        |workers| {
            let mut workers = workers.hand_over(choose);
            workers.listen(AT).map(|_| workers)
        },
        |_| Echo {
            seen: all.clone(),
            conns: Vec::new(),
            heard: 0,
            ends: false,
        },
    );
    let mut play = Play {
        world,
        random,
        seen,
        nodes,
        team,
        peers: Vec::new(),
        posted: 0,
        stops: false,
    };
    play.rounds();
    play.rest();
    play.end();
    play.world.trace_hash()
}

impl Play {
    fn rounds(&mut self) {
        // The first stays, for somebody must be there to take what another leaves.
        let ends = match self.random.percent(50) {
            true => Some((
                self.random.below(8),
                self.random.range(1, self.nodes.len() - 1),
            )),
            false => None,
        };
        for round in 0..8 {
            self.connect();
            if let Some((_, worker)) = ends.filter(|(when, _)| *when == round) {
                self.connect();
                // At some moment of their way to a worker.
                let micros = self.random.below(300) as u64;
                self.world.advance(Duration::from_micros(micros));
                self.stops = self.random.percent(70);
                match self.stops {
                    true => drop(self.team[worker].stop()),
                    false => drop(self.team[worker].send(Say::End)),
                }
                self.connect();
            }
            self.team.broadcast(Say::Next(self.posted));
            self.posted += 1;
            let pause = self.random.below(50) as u64;
            self.world.advance(Duration::from_micros(pause));
        }
    }

    fn connect(&mut self) {
        for _ in 0..self.random.below(6) {
            let peer = self.world.connect(AT);
            let len = self.random.skewed(5000);
            let bytes = self.random.bytes(len);
            peer.send(&bytes);
            self.peers.push((peer, bytes));
        }
    }

    /// When all is calm, somebody has everybody, and all that was said was answered.
    fn rest(&mut self) {
        self.world.faults(Faults::default());
        self.world.advance(CALM);
        assert_eq!(
            self.seen.opened.get(),
            self.peers.len(),
            "who was accepted was lost on the way to a worker"
        );
        for (peer, sent) in self.peers.iter().filter(|(peer, _)| peer.is_open()) {
            assert!(
                self.stops
                    || peer.received_bytes() == *sent
                    || peer.received_bytes().ends_with(BYE),
                "a worker did not answer all that was said"
            );
        }
        let first = self.world.app(self.nodes[0]);
        assert_eq!(first.heard, self.posted, "a message to all was lost");
    }

    /// All are told of the end, those too who have just come.
    fn end(&mut self) {
        self.connect();
        let micros = self.random.below(200) as u64;
        self.world.advance(Duration::from_micros(micros));
        self.team.finish(CALM);
        self.world.advance(CALM * 3);
        for (peer, _) in &self.peers {
            let heard = peer.received_bytes();
            assert!(
                self.stops || heard.is_empty() || heard.ends_with(BYE) || peer.was_reset(),
                "a finish of all did not tell everybody"
            );
            peer.close();
        }
        self.world.advance(CALM * 3);
        let (opened, closed) = (self.seen.opened.get(), self.seen.closed.get());
        // Who is stopped tells nobody.
        if !self.stops {
            assert_eq!(opened, closed, "a connection of a worker has no end");
            let told = self.seen.told.get();
            assert_eq!(opened, told, "somebody was not told of the end");
        }
        self.world.assert_no_leaks();
    }
}
