//! The loop on the simulated network: the bytes choose what the handler does in each callback, what
//! the peers do, the budgets, the limits and the faults.
//!
//! Held: the order of the callbacks of each connection, one `on_close` for each id and nothing
//! after it, no callback inside another, every byte in its order in both directions, and that all
//! comes to rest with nothing left.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sockeye::sim::{Faults, Link, Node, Peer, PeerListener, World};
use sockeye::{
    Addr, Config, ConnId, Connect, Context, Event, EventKind, Handler, Input, Listen, Origin,
    Overflow, Sent,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

/// What decides: the fuzzer's bytes, then zeros.
#[derive(Clone)]
struct Choices(Rc<RefCell<VecDeque<u8>>>);

impl Choices {
    fn byte(&self) -> usize {
        self.0.borrow_mut().pop_front().unwrap_or(0).into()
    }

    fn below(&self, end: usize) -> usize {
        self.byte() % end
    }

    /// Mostly little, sometimes a lot.
    fn size(&self) -> usize {
        let byte = self.byte();
        (byte & 31) << (byte >> 5).min(5)
    }

    fn is_over(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// What every peer sends, from its first byte on.
fn pattern(at: usize, len: usize) -> Vec<u8> {
    (at..at + len).map(|n| (n * 7 + n / 256) as u8).collect()
}

/// A connection as its handler sees it.
#[derive(Debug, Default)]
struct Life {
    /// The client's address, by which its peer is found.
    name: Option<Addr>,
    opened: bool,
    eof: bool,
    /// It was closed from here: only `on_close` may come.
    asked: bool,
    paused: bool,
    waiting: bool,
    shut: bool,
    taken: usize,
    /// What sends took; `None`: nobody knows.
    sent: Option<Vec<u8>>,
}

struct App {
    choices: Choices,
    lives: BTreeMap<ConnId, Life>,
    /// What was sent to those that are no more.
    over: BTreeMap<Addr, Option<Vec<u8>>>,
    /// Those that are no more: nothing may come for them.
    dead: Vec<ConnId>,
    kept: Vec<(Bytes, Vec<u8>)>,
    servers: Vec<Addr>,
    inside: bool,
    /// It does nothing any more but take what comes.
    quiet: bool,
}

impl Handler for App {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_event(&mut self, cx: &mut Context, event: Event<'_>) {
        assert!(
            !std::mem::replace(&mut self.inside, true),
            "a callback in a callback"
        );
        self.enter(cx, event.kind);
        self.inside = false;
    }
}

impl App {
    fn enter(&mut self, cx: &mut Context, kind: EventKind<'_>) {
        match kind {
            EventKind::Open { conn, origin } => {
                let name = match origin {
                    Origin::Accepted(_) => cx.peer_addr(conn).cloned(),
                    _ => cx.local_addr(conn),
                };
                let life = self.lives.entry(conn).or_insert_with(new_life);
                assert!(!life.opened && !life.asked && !self.dead.contains(&conn));
                assert!(name.is_some());
                (life.opened, life.name) = (true, name);
                self.act(cx, conn, None);
            }
            EventKind::Data { conn, input } => {
                let life = self.life(conn);
                assert!(life.opened && !life.eof && !life.paused && !input.is_empty());
                self.offered(cx, conn, input);
            }
            EventKind::Eof { conn, input } => {
                let life = self.life(conn);
                assert!(life.opened && !life.eof && !life.paused);
                life.eof = true;
                self.offered(cx, conn, input);
                if self.quiet || self.choices.below(2) == 0 {
                    self.close(cx, conn);
                }
            }
            EventKind::Drain { conn } => {
                let life = self.life(conn);
                assert!(life.opened && life.waiting);
                life.waiting = false;
                self.act(cx, conn, None);
            }
            EventKind::Deadline { conn, .. } | EventKind::Finish { conn } => {
                self.life(conn);
                if self.choices.below(2) == 0 {
                    self.close(cx, conn);
                }
            }
            EventKind::Close { conn, .. } => {
                let life = self
                    .lives
                    .remove(&conn)
                    .expect("on_close twice, or of nobody");
                self.over.extend(life.name.map(|name| (name, life.sent)));
                self.dead.push(conn);
                assert_eq!(cx.send(conn, "late"), Sent::Gone);
                self.act(cx, conn, None);
            }
            EventKind::Timer { .. } => self.act_on_any(cx),
            _ => {}
        }
    }

    /// A connection that a callback is for: it must be there, and not be closed from here.
    fn life(&mut self, conn: ConnId) -> &mut Life {
        let life = self.lives.get_mut(&conn).expect("a callback for nobody");
        assert!(!life.asked, "a callback after a close");
        life
    }

    fn offered(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        let quiet = self.quiet;
        let life = self.life(conn);
        assert!(
            input[..] == pattern(life.taken, input.len()),
            "other bytes, or another order"
        );
        if quiet {
            life.taken += input.len();
            input.take_all();
            return;
        }
        self.act(cx, conn, Some(input));
    }

    fn close(&mut self, cx: &mut Context, conn: ConnId) {
        let done = cx.close(conn);
        if let Some(life) = self.lives.get_mut(&conn) {
            life.asked |= done;
        }
    }

    fn send(&mut self, cx: &mut Context, conn: ConnId, bytes: &[u8]) {
        let sent = match self.choices.below(3) {
            0 => cx.send(conn, bytes),
            1 => cx.send(conn, Bytes::copy_from_slice(bytes)),
            _ => cx.send(conn, bytes.split_at(bytes.len() / 2)),
        };
        self.sent(conn, sent, bytes);
    }

    fn sent(&mut self, conn: ConnId, sent: Sent, bytes: &[u8]) {
        let Some(life) = self.lives.get_mut(&conn) else {
            assert_eq!(sent, Sent::Gone);
            return;
        };
        match sent {
            Sent::Queued => assert!(!life.waiting, "not told to wait"),
            Sent::Wait => life.waiting = true,
            Sent::Dropped | Sent::Gone => return,
        }
        assert!(!life.asked && !life.shut, "taken after the end");
        if let Some(all) = &mut life.sent {
            all.extend_from_slice(bytes);
        }
    }

    /// Some actions in a callback for this connection, with its input if it has some.
    fn act(&mut self, cx: &mut Context, conn: ConnId, mut input: Option<&mut Input>) {
        for _ in 0..self.choices.below(4) {
            let Some(input) = &mut input else {
                self.act_once(cx, conn);
                continue;
            };
            let count = match self.choices.below(4) {
                0 => input.len(),
                _ => self.choices.size().min(input.len()),
            };
            match self.choices.below(6) {
                0 => drop(input.take(count).len()),
                1 => {
                    let bytes = Bytes::from(input.take(count));
                    self.kept.push((bytes.clone(), bytes.to_vec()));
                }
                2 => {
                    let chunk = input.take(count);
                    let bytes = chunk.to_vec();
                    let sent = cx.send(conn, chunk);
                    self.sent(conn, sent, &bytes);
                }
                _ => {
                    self.act_once(cx, conn);
                    continue;
                }
            }
            if let Some(life) = self.lives.get_mut(&conn) {
                life.taken += count;
            }
        }
    }

    fn act_on_any(&mut self, cx: &mut Context) {
        let count = self.lives.len();
        if count > 0 {
            let conn = *self
                .lives
                .keys()
                .nth(self.choices.below(count))
                .expect("it is below");
            self.act_once(cx, conn);
        }
    }

    fn act_once(&mut self, cx: &mut Context, conn: ConnId) {
        if self.quiet {
            return;
        }
        let millis = Duration::from_millis(self.choices.size() as u64);
        let action = self.choices.below(18);
        match action {
            0..4 => {
                let bytes = vec![action as u8 + 1; self.choices.size()];
                return self.send(cx, conn, &bytes);
            }
            4 => return self.close(cx, conn),
            5 => drop(cx.set_timer(millis, 1)),
            6 => drop(cx.set_idle(conn, Some(millis + Duration::from_millis(20)))),
            7 => drop(cx.set_deadline(conn, 0, millis)),
            8 => drop(cx.clear_deadline(conn, 0)),
            9 => drop(cx.raise_input_limit(conn, self.choices.size())),
            10 => {
                let Some(server) = self.servers.get(self.choices.below(4)).cloned() else {
                    return;
                };
                let conn = cx.connect(Connect::new(server));
                assert!(self.lives.insert(conn, new_life()).is_none());
                return;
            }
            11 => return self.broadcast(cx),
            12 => return self.act_on_any(cx),
            _ => {}
        }
        let done = match action {
            13 => cx.pause_reads(conn),
            14 => cx.resume_reads(conn),
            15 => cx.abort(conn),
            16 => cx.shutdown_write(conn),
            17 => cx.close_because(conn, "chance"),
            _ => return,
        };
        let Some(life) = self.lives.get_mut(&conn) else {
            assert!(!done, "a command to nobody");
            return;
        };
        match action {
            13 => life.paused |= done,
            14 => life.paused &= !done,
            16 => life.shut |= done,
            _ => life.asked |= done,
        }
    }

    fn broadcast(&mut self, cx: &mut Context) {
        let bytes = vec![b'b'; self.choices.size() * (1 + 19 * self.choices.below(2))];
        let ids: Vec<ConnId> = self.lives.keys().copied().collect();
        let to = cx.broadcast(ids.iter().copied(), &bytes);
        assert_eq!(to.queued + to.waiting + to.dropped + to.gone, ids.len());
        for life in self.lives.values_mut() {
            // Who of them got it, and who has to wait, is known only if all are alike.
            let taken = to.queued + to.waiting;
            if taken != ids.len() && taken > 0 {
                life.sent = None;
            } else if let Some(sent) = life.sent.as_mut().filter(|_| taken > 0) {
                sent.extend_from_slice(&bytes);
            }
        }
        for (conn, life) in &mut self.lives {
            life.waiting |= to.waiting > 0 && cx.send(*conn, "") == Sent::Wait;
        }
    }
}

fn new_life() -> Life {
    Life {
        sent: Some(Vec::new()),
        ..Life::default()
    }
}

/// A peer, and what it has sent and heard.
struct Other {
    peer: Peer,
    name: Option<Addr>,
    sent: usize,
    heard: Vec<u8>,
    /// It has said that it sends no more, or is gone.
    done: bool,
}

impl Other {
    fn new(peer: Peer, name: Option<Addr>) -> Other {
        Other {
            peer,
            name,
            sent: 0,
            heard: Vec::new(),
            done: false,
        }
    }

    fn act(&mut self, choices: &Choices) {
        match choices.below(16) {
            0 => self.peer.shutdown(),
            1 => self.peer.close(),
            2 => self.peer.reset(),
            3 | 4 => return self.peer.ignore(),
            5 | 6 => return self.peer.hear(),
            7 => return self.peer.read(choices.size()),
            8 => return self.peer.receive_buffer(choices.size()),
            _ => {
                let count = choices.size();
                if !self.done && !self.peer.was_reset() {
                    self.peer.send(pattern(self.sent, count));
                    self.sent += count;
                }
                return;
            }
        }
        self.done = true;
    }
}

struct Play {
    world: World,
    node: Node<App>,
    here: Addr,
    listener: PeerListener,
    others: Vec<Other>,
    choices: Choices,
}

fn config(choices: &Choices) -> Config {
    let mut config = Config::default();
    config.receive_buffer = 1 + choices.size() * (1 + 50 * choices.below(2));
    config.reads_per_turn = 1 + choices.below(8);
    config.accepts_per_turn = 1 + choices.below(4);
    config.rounds_per_turn = 1 + choices.below(4);
    config.max_connections = 3 + choices.below(8);
    config.limits.high_watermark = 1 + choices.size();
    config.limits.low_watermark = choices.size().min(config.limits.high_watermark - 1);
    config.limits.hard_limit = config.limits.high_watermark + choices.size();
    config.limits.input_limit = 1 + choices.size();
    if choices.below(2) == 1 {
        config.limits.overflow = Overflow::DropNewest;
    }
    config
}

impl Play {
    fn new(choices: Choices) -> Play {
        let mut faults = Faults::some();
        if choices.below(2) == 0 {
            faults = Faults::default();
        }
        let mut world = World::seeded(choices.byte() as u64, faults);
        let latency = Duration::from_micros(100 * choices.below(8) as u64);
        world.default_link(Link::latency(latency));
        let listener = world.listen("10.1.1.1:1");
        let config = config(&choices);
        let mut app = App {
            choices: choices.clone(),
            lives: BTreeMap::new(),
            over: BTreeMap::new(),
            dead: Vec::new(),
            kept: Vec::new(),
            servers: vec![
                listener.addr().clone(),
                "10.1.1.1:9".parse().expect("an address"),
            ],
            inside: false,
            quiet: false,
        };
        if config.check().is_err() {
            app.quiet = true; // nothing to be seen
        }
        let good = if app.quiet { Config::default() } else { config };
        let mut here = None;
        let node = world.start_with("app", good, app, |reactor| {
            let listener = reactor.listen(Listen::new("10.0.0.1:7").send_buffer(64))?;
            here = reactor.context().listener_addr(listener).cloned();
            Ok(())
        });
        Play {
            world,
            node,
            here: here.expect("it listens"),
            listener,
            others: Vec::new(),
            choices,
        }
    }

    fn step(&mut self) {
        let count = self.others.len();
        match self.choices.below(10) {
            0 if count < 12 => {
                let peer = self.world.connect(self.here.clone());
                let name = peer.addr();
                self.others.push(Other::new(peer, Some(name)));
            }
            1 => self.accept(),
            2 => self
                .world
                .advance(Duration::from_micros(self.choices.size() as u64)),
            3 => self
                .world
                .advance(Duration::from_millis(self.choices.size() as u64)),
            4 => self.world.settle(),
            5 => self.world.with(self.node, |app, cx| app.act_on_any(cx)),
            _ if count > 0 => {
                let index = self.choices.below(count);
                self.others[index].act(&self.choices);
            }
            _ => {}
        }
    }

    fn accept(&mut self) {
        if let Some(peer) = self.listener.accept() {
            let name = peer.peer_addr();
            self.others.push(Other::new(peer, name));
        }
    }

    /// Nothing goes wrong any more, everybody reads, and all has time to arrive.
    fn calm(&mut self) {
        self.world.faults(Faults::default());
        self.world.with(self.node, |app, cx| {
            app.quiet = true;
            for (conn, life) in &mut app.lives {
                cx.set_idle(*conn, None);
                cx.clear_deadline(*conn, 0);
                // After a pause what was left is offered again.
                cx.pause_reads(*conn);
                cx.resume_reads(*conn);
                life.paused = false;
            }
        });
        self.others.iter().for_each(|other| other.peer.hear());
        self.others
            .iter()
            .for_each(|other| other.peer.receive_buffer(1 << 20));
        for _ in 0..4 {
            self.accept();
            self.world.advance(Duration::from_millis(100));
        }
        for other in &mut self.others {
            other.heard.extend(other.peer.received_bytes());
        }
        // Those that mean to go on: some may be closing, for a limit mostly.
        let going_on = self.world.with(self.node, |app, cx| {
            let ids = app.lives.keys().copied();
            ids.filter(|conn| cx.wants_input(*conn)).collect::<Vec<_>>()
        });
        let App {
            lives, over, kept, ..
        } = self.world.app(self.node);
        assert!(
            kept.iter().all(|(bytes, copy)| bytes == copy),
            "kept bytes have changed"
        );
        for other in &self.others {
            let Some(name) = &other.name else { continue };
            let mut all = lives.iter();
            let life = all.find(|(_, life)| life.name.as_ref() == Some(name));
            let sent = life.map(|(_, life)| &life.sent).or(over.get(name));
            let Some(Some(sent)) = sent else { continue };
            assert!(sent.starts_with(&other.heard), "a peer got other bytes");
            let goes_on = |conn| going_on.contains(conn) && other.peer.is_open();
            if let Some((_, life)) = life.filter(|(conn, _)| goes_on(conn)) {
                assert_eq!(sent.len(), other.heard.len(), "bytes are held back");
                assert!(
                    life.eof || life.taken == other.sent,
                    "input is held back: {} of {}, unsent {}, {life:?}",
                    life.taken,
                    other.sent,
                    other.peer.unsent()
                );
            }
        }
    }

    /// Everybody goes, and nothing is left.
    fn end(mut self) {
        self.others.iter().for_each(|other| other.peer.close());
        self.world.advance(Duration::from_secs(1));
        self.world.with(self.node, |app, cx| {
            let ids: Vec<ConnId> = app.lives.keys().copied().collect();
            for conn in ids {
                cx.abort(conn);
            }
        });
        self.world.advance(Duration::from_secs(200));
        while let Some(peer) = self.listener.accept() {
            peer.close();
        }
        self.world.advance(Duration::from_secs(1));
        let lives = self.world.app(self.node).lives.len();
        assert_eq!(lives, 0, "an id without its on_close");
        self.world.assert_no_leaks();
    }
}

fuzz_target!(|bytes: &[u8]| {
    let choices = Choices(Rc::new(RefCell::new(bytes.iter().copied().collect())));
    let mut play = Play::new(choices.clone());
    while !choices.is_over() {
        play.step();
    }
    play.calm();
    play.end();
});
