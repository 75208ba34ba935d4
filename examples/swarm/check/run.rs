//! One seed: its world, step by step, and what must hold at the end.

use super::actor::{Actor, Note};
use super::dials::{self, Names};
use super::ledger::{End, Shared, Side};
use super::plan::ACCEPTED;
use super::plan::{NodePlan, Plan, Step};
use super::player::Player;
use super::random::Random;
use super::secure::{PORT, Secure, Session};
use super::team;
use sockeye::Addr;
use sockeye::sim::{Faults, Link, Node, Pace, Peer, PeerListener, World};
use std::any::Any;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

/// What a seed came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The same for the same seed, always.
    pub hash: u64,
    pub turns: u64,
    pub connections: usize,
}

struct Run {
    world: World,
    nodes: Vec<Node<Actor, Note>>,
    players: BTreeMap<usize, Player>,
    /// Scripted servers, for nodes that connect.
    servers: Vec<PeerListener>,
    names: Names,
    accepted: usize,
    ledger: Shared,
    random: Random,
    faults: Faults,
    link: Link,
    cuts: Vec<(IpAddr, IpAddr)>,
    /// What peers speak TLS with, if any do.
    secure: Option<Secure>,
}

/// Turns and connections that a seed has at least; and one fault.
const TURNS: u64 = 200;
const CONNECTIONS: usize = 4;

/// What is calm comes to rest within this time.
const CALM: Duration = Duration::from_secs(20);

/// Where the scripted server listens.
pub const SERVER: &str = "10.2.0.1:80";

/// Where the scripted peers live.
const PEERS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1));

/// Runs a plan. A violation is an `Err` that says what was violated.
pub fn run(plan: Plan) -> Result<Outcome, String> {
    run_traced(plan, false).0
}

/// The same, and the trace of all callbacks.
pub fn run_traced(plan: Plan, traced: bool) -> (Result<Outcome, String>, String) {
    let (seed, steps, unit, goes_on) = (plan.seed, plan.steps.clone(), plan.unit, plan.goes_on);
    let mut run = Run::new(plan);
    // The world is dropped outside: it would speak up while a panic goes by.
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut outcome = run.play(&steps, unit, goes_on);
        outcome.hash ^= team::play(seed);
        outcome
    }));
    let trace = match traced {
        true => run.world.trace(),
        false => String::new(),
    };
    (result.map_err(|panic| said(&*panic)), trace)
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

impl Run {
    fn new(plan: Plan) -> Run {
        let mut world = World::seeded(plan.seed, plan.faults.clone());
        let mut run = Run {
            servers: [SERVER, dials::FAR, dials::SIXTH]
                .map(|place| world.listen(place))
                .into(),
            names: Names::default(),
            accepted: 0,
            world,
            nodes: Vec::new(),
            players: BTreeMap::new(),
            ledger: Rc::default(),
            random: Random::new(plan.seed ^ 0x0dd_ba11),
            faults: plan.faults,
            link: plan.link,
            cuts: Vec::new(),
            secure: plan.secure.then(|| Secure::new(plan.seed)).flatten(),
        };
        run.world.default_link(run.link.clone());
        let (first, most) = plan.send_buffers;
        run.world.send_buffers(first, most);
        let mut random = Random::new(plan.seed ^ 0x9a3e_5000);
        run.names = Rc::new(dials::names(&mut random, plan.nodes.len()));
        plan.nodes.into_iter().for_each(|node| run.start(node));
        dials::name_all(&mut run.world, &run.nodes, &run.names);
        let count = run.nodes.len();
        let senders = run.nodes.clone();
        let senders: Vec<_> = senders
            .into_iter()
            .map(|node| run.world.reactor(node).sender())
            .collect();
        let names = run.names.clone();
        for node in run.nodes.clone() {
            run.outside(node, |actor, cx| {
                actor.senders = senders.clone();
                actor.places = (1..=count).map(|n| format!("10.0.0.{n}:7000")).collect();
                actor.names = names.clone();
                actor.listen(cx, true);
                actor.listen(cx, false);
            });
        }
        run
    }

    fn start(&mut self, mut plan: NodePlan) {
        let index = self.nodes.len();
        let mut secure = self.secure.as_ref().map(|secure| secure.of_node(index));
        if let Some(secure) = &mut secure {
            secure.config(&mut plan.config, plan.patient);
        }
        let config = plan.config.clone();
        let (ledger, clock) = (self.ledger.clone(), self.world.clock());
        let actor = Actor::new(index, plan, ledger, clock, secure);
        let name = format!("n{}", index + 1);
        let node = self.world.start_with(&name, config, actor, |_| Ok(()));
        self.world.after_each_turn(node, Actor::after_turn);
        let mut ledger = self.ledger.borrow_mut();
        ledger.posted.push(Default::default());
        ledger.posted_outside.push(Default::default());
        drop(ledger);
        self.nodes.push(node);
    }

    /// Commands from outside the callbacks of a node.
    fn outside(
        &mut self,
        node: Node<Actor, Note>,
        act: impl FnOnce(&mut Actor, &mut sockeye::Context),
    ) {
        self.world.with(node, act);
    }

    fn play(&mut self, steps: &[Step], unit: usize, goes_on: bool) -> Outcome {
        for step in steps {
            self.step(*step);
            self.hear_all();
        }
        if goes_on {
            self.go_on(unit);
        }
        self.calm();
        self.end();
        let connections = self.ledger.borrow().connections();
        Outcome {
            hash: self.world.trace_hash(),
            turns: self.world.turns(),
            connections,
        }
    }

    /// A seed that was quiet so far goes on for a while.
    fn go_on(&mut self, unit: usize) {
        for more in 0.. {
            let enough = self.ledger.borrow().connections() >= CONNECTIONS;
            let faulty = self.world.faults_met() > 0;
            if enough && faulty && self.world.turns() >= TURNS {
                return;
            }
            if more >= 200 && !faulty {
                // Chance has spared this one so far.
                self.faults.would_block = 500;
                self.world.faults(self.faults.clone());
            }
            assert!(more < 2000, "nobody can connect any more");
            if more == 100 {
                // No handshake comes through in the time that there is for one.
                self.secure = None;
            }
            if more % 100 == 99 {
                let all = self.nodes.clone();
                all.into_iter()
                    .for_each(|node| self.outside(node, Actor::close_all));
            }
            if more % 10 == 0 {
                let clients = self.players.range(..ACCEPTED);
                let peer = clients.last().map_or(0, |(last, _)| last + 1);
                let node = self.random.below(self.nodes.len());
                self.heal();
                self.step(Step::Listen(node));
                self.step(Step::Connect {
                    peer,
                    node,
                    buffer: unit,
                });
            }
            let peers: Vec<usize> = self.players.keys().copied().collect();
            let peer = *self.random.pick(&peers);
            let len = self.random.skewed(unit);
            self.step(Step::Send { peer, len });
            self.world.advance(Duration::from_millis(5));
            self.hear_all();
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Connect { peer, node, buffer } => self.connect(peer, node, buffer),
            Step::Send { peer, len } => self.send(peer, len, None),
            Step::Shutdown(peer) => self.on_peer(peer, Player::shut),
            Step::Close(peer) => self.on_peer(peer, Player::close),
            Step::Reset(peer) => self.reset(peer),
            Step::Ignore(peer) => self.on_peer(peer, |player, ledger| {
                ledger.borrow_mut().half(player.end).held = true;
                player.deaf = true;
                player.peer.ignore();
            }),
            Step::Hear(peer) => self.on_peer(peer, |player, _| player.listen()),
            Step::Read { peer, len } => self.on_peer(peer, |player, _| {
                if !player.closed {
                    player.peer.read(len);
                }
            }),
            Step::HearAt { peer, len, micros } => self.on_peer(peer, |player, _| {
                if !player.closed {
                    player.deaf = false;
                    let every = Duration::from_micros(micros);
                    player.peer.hear_at(Pace::new(len, every));
                }
            }),
            Step::SendAt {
                peer,
                len,
                pieces,
                micros,
            } => {
                let pace = Pace::new(len.div_ceil(pieces), Duration::from_micros(micros));
                self.send(peer, len, Some(pace));
            }
            Step::Settle => self.world.settle(),
            Step::Advance(micros) => {
                self.world.advance(Duration::from_micros(micros));
                for node in self.nodes.clone() {
                    self.world
                        .with(node, |actor, _| actor.no_close_is_endless());
                }
            }
            Step::Cut(one, other) => self.cut(one, other),
            Step::Heal => self.heal(),
            Step::Post { node, acts } => self.post(node, acts),
            Step::Outside { node, acts } => {
                self.outside(self.nodes[node], |actor, cx| {
                    (0..acts).for_each(|_| actor.one_act(cx));
                });
            }
            Step::Listen(node) => {
                self.outside(self.nodes[node], |actor, cx| {
                    actor.listen(cx, false);
                    actor.accept_again(cx);
                });
            }
            Step::Calm => self.calm(),
        }
    }

    /// From another thread, at some point of a turn.
    fn post(&mut self, node: usize, acts: usize) {
        let mut ledger = self.ledger.borrow_mut();
        ledger.messages += 1;
        let (id, resume) = (ledger.messages, false);
        ledger.posted_outside[node].push_back(id);
        self.world.post(self.nodes[node], Note { id, acts, resume });
    }

    fn connect(&mut self, id: usize, node: usize, buffer: usize) {
        let secure = self.secure.as_mut().and_then(Secure::drawn);
        let port = if secure.is_some() { PORT } else { 7000 };
        let session = secure.map(Secure::session);
        let place = format!("10.0.0.{}:{port}", node + 1);
        let peer = self.world.connect_from(PEERS, place.as_str());
        peer.receive_buffer(buffer);
        let client = peer.addr();
        self.enter(id, peer, &client, Side::Client, session);
        self.on_peer(id, |player, _| {
            player.speak();
        });
    }

    /// The scripted servers accept whoever waits.
    fn accept(&mut self) {
        while let Some(peer) = self.servers.iter().find_map(PeerListener::accept) {
            let client = peer.peer_addr().expect("who is accepted has a peer");
            let id = ACCEPTED + self.accepted;
            self.accepted += 1;
            self.enter(id, peer, &client, Side::Server, None);
        }
    }

    fn enter(
        &mut self,
        id: usize,
        peer: Peer,
        client: &Addr,
        side: Side,
        session: Option<Session>,
    ) {
        let end = self.ledger.borrow_mut().end(client, side);
        self.ledger.borrow_mut().half(end).live = true;
        let peer = Rc::new(peer);
        self.ledger.borrow_mut().half(end).peer = Some(peer.clone());
        let player = Player {
            peer,
            end,
            session,
            heard: 0,
            deaf: false,
            shut: false,
            closed: false,
            end_told: false,
        };
        self.players.insert(id, player);
    }

    fn send(&mut self, id: usize, len: usize, pace: Option<Pace>) {
        let bytes = self.random.bytes(len);
        if let Some(player) = self.players.get_mut(&id)
            && !player.shut
            && !player.closed
            && !player.peer.was_reset()
        {
            let sealed = player.session.as_mut().map(|session| {
                session.sends(&bytes);
                session.says()
            });
            let wire = sealed.as_ref().unwrap_or(&bytes);
            match pace {
                None => player.peer.send(wire),
                Some(pace) => player.peer.send_at(wire, pace),
            }
            let mut ledger = self.ledger.borrow_mut();
            ledger.sent(player.end, &bytes);
            // What comes to a closed socket is answered by a reset.
            ledger.other(player.end).owed = false;
        }
    }

    fn on_peer(&mut self, id: usize, act: impl FnOnce(&mut Player, &Shared)) {
        if let Some(player) = self.players.get_mut(&id) {
            act(player, &self.ledger);
        }
    }

    fn reset(&mut self, id: usize) {
        let now = self.world.now();
        self.on_peer(id, |player, ledger| {
            if !player.closed {
                player.over(ledger);
                ledger.borrow_mut().half(player.end).reset_at = Some(now);
                player.peer.reset();
            }
        });
    }

    fn cut(&mut self, one: usize, other: usize) {
        let one = self.nodes[one].host();
        // One more than there are nodes: the peers.
        let other = self.nodes.get(other).map_or(PEERS, |node| node.host());
        self.world.cut(one, other);
        self.ledger.borrow_mut().cut = true;
        self.cuts.push((one, other));
    }

    fn heal(&mut self) {
        for (one, other) in std::mem::take(&mut self.cuts) {
            self.world.heal(one, other);
        }
    }

    /// What the peers have received is what was sent to them. Answers whether one has answered, as
    /// TLS makes it.
    fn hear_all(&mut self) -> bool {
        let mut has_spoken = false;
        self.accept();
        for player in self.players.values_mut() {
            if player.closed {
                continue;
            }
            let mut bytes = player.peer.received_bytes();
            if let Some(session) = &mut player.session {
                bytes = session.hears(&bytes);
                has_spoken |= player.speak();
            }
            let mut ledger = self.ledger.borrow_mut();
            ledger.heard(player.end, player.heard, &bytes);
            player.heard += bytes.len();
            if player.peer.was_reset() {
                ledger.half(player.end).live = false;
            } else if player.peer.is_closed() && !player.deaf && !player.end_told {
                player.end_told = true;
                match &player.session {
                    Some(session) if !session.has_ended() => ledger.cut_off(player.end),
                    _ => ledger.ended(player.end),
                }
            }
        }
        has_spoken
    }

    /// The peers hear what has come, and it comes to rest what they say to that.
    fn hear_all_out(&mut self) {
        while self.hear_all() {
            self.world.advance(CALM);
        }
    }

    /// Nothing goes wrong any more, and everybody listens: so everything arrives.
    fn calm(&mut self) {
        self.world.faults(Faults::default());
        self.heal();
        self.players.values_mut().for_each(Player::listen);
        for node in self.nodes.clone() {
            self.world.app_mut(node).quiet = true;
        }
        // What was cut, and what is late; listeners that rest; the handlers' own timers.
        self.world.advance(Duration::from_secs(2));
        for node in self.nodes.clone() {
            self.world.with(node, |actor, _| {
                actor.nobody_hides_an_end();
                actor.no_close_is_endless();
            });
        }
        for node in self.nodes.clone() {
            let app = self.world.app_mut(node);
            let to = app.index;
            app.post(to, 0, true);
        }
        self.world.advance(CALM);
        // Whom the server accepts only now has not read yet, and may have held the other end up.
        self.hear_all();
        self.world.advance(CALM);
        self.hear_all_out();
        self.nobody_waits_to_be_accepted();
        dials::all_end(&mut self.world, &self.nodes);
        self.hear_all();
        self.ledger.borrow_mut().settled();
        if self.faults.resets == 0 {
            self.ledger.borrow_mut().all_paid();
        }
        for node in self.nodes.clone() {
            self.check(node);
            self.world.app_mut(node).quiet = false;
        }
        self.world.faults(self.faults.clone());
    }

    /// Listeners that were paused or that rested have looked into their backlogs.
    fn nobody_waits_to_be_accepted(&self) {
        for (number, player) in &self.players {
            let known = self.ledger.borrow_mut().other(player.end).known;
            let waits = !known && !player.closed && player.peer.is_open();
            assert!(!waits, "peer {number} waits to be accepted");
        }
    }

    /// What must hold of a node when nothing moves.
    fn check(&mut self, node: Node<Actor, Note>) {
        let now = self.world.now();
        let ledger = self.ledger.clone();
        self.world.with(node, |actor, cx| {
            let name = actor.index + 1;
            let mut pending = 0;
            for (conn, life) in &actor.lives {
                pending += cx.pending(*conn) as u64;
                let live = life.asked.is_none() && life.opened;
                let owed = live && life.resumed && !life.is_held() && !life.eof && life.left > 0;
                assert!(
                    !owed,
                    "{conn} of n{name}: what was left is not offered again"
                );
                let active = actor.has_source(*conn);
                let over = live && life.shut && life.eof && cx.pending(*conn) == 0 && !active;
                assert!(
                    !over,
                    "{conn} of n{name}: both sides have sent a FIN, and it is not over"
                );
                let late = live && life.deadlines.values().any(|at| *at < now);
                assert!(!late, "{conn} of n{name}: its deadline has not come");
                let hangs = life.waiting && live;
                let calm = cx.pending(*conn) <= actor.limits().low_watermark;
                assert!(
                    !hangs || !calm || active,
                    "{conn} of n{name}: its on_drain is missing"
                );
            }
            // What a source has not given yet was taken all the same.
            pending += actor.ungiven();
            let (accepted, lost) = (actor.accepted, actor.lost);
            let out = cx.stats().bytes_out;
            assert!(
                accepted == out + pending + lost,
                "n{name}: of {accepted} bytes {out} went out, {pending} are pending, {lost} lost"
            );
            actor.nobody_waits_in_vain(cx);
            actor.no_tick_is_missing();
            for (id, timer) in &actor.timers {
                assert!(timer.at > now, "{id} of n{name} has not fired");
            }
            let ledger = ledger.borrow();
            let (inside, outside) = (&ledger.posted, &ledger.posted_outside);
            let waiting = inside[actor.index].len() + outside[actor.index].len();
            assert!(waiting == 0, "n{name}: {waiting} messages have not come");
        });
    }

    /// What `finish` reports is what the handler was told since.
    fn check_report(&mut self, node: Node<Actor, Note>) {
        let report = self.world.reactor(node).take_report();
        let app = self.world.app(node);
        let Some((lost, closes)) = app.at_finish else {
            return assert!(report.is_none(), "a report that nobody asked for");
        };
        let report = report.expect("all are gone, and finish has not ended");
        let told = (app.lost - lost, app.closes - closes);
        let said = (report.bytes_lost, report.closed + report.aborted);
        assert!(
            report.finished && told == said,
            "{report:?}, but told: {told:?}"
        );
    }

    /// Everybody leaves: the world comes to rest, and nothing is left of it.
    fn end(&mut self) {
        for node in self.nodes.clone() {
            let grace = Duration::from_secs(self.random.range(1, 5) as u64);
            let finish = self.random.percent(50);
            self.outside(node, |actor, cx| {
                actor.quiet = true;
                actor.cancel_all(cx);
                if finish {
                    actor.finishing = Some(actor.clock.now() + grace);
                    actor.at_finish = Some((actor.lost, actor.closes));
                    cx.finish(grace);
                    return;
                }
                actor.close_all(cx);
            });
        }
        for player in self.players.values_mut() {
            match self.random.below(3) {
                0 => player.shut(&self.ledger),
                1 => player.close(&self.ledger),
                _ => {}
            }
        }
        dials::forget_all(&mut self.world, &self.nodes);
        let mut rested = self.world.rest(CALM);
        self.hear_all();
        // What somebody began while he was told to leave; and those whose peer only listens.
        for node in self.nodes.clone() {
            self.outside(node, |actor, cx| {
                actor.resume_all(cx);
                actor.wake_all(cx, true);
                actor.close_all(cx);
                for listener in actor.listeners.drain(..) {
                    cx.unlisten(listener);
                }
            });
        }
        self.accept();
        self.players
            .values_mut()
            .for_each(|player| player.close(&self.ledger));
        rested &= self.world.rest(CALM);
        assert!(rested, "everybody left, and still something is to happen");
        for node in self.nodes.clone() {
            let lives = self.world.app(node).lives.len();
            assert!(lives == 0, "{lives} connections have had no on_close");
            self.check_report(node);
            self.check(node);
        }
        self.world.assert_no_leaks();
    }
}
