//! The handler under which the swarm runs: it does all sorts of things, and checks at each callback
//! that the loop keeps its promises.

use super::dials::{Dialed, Names};
use super::ledger::{End, Shared, Side};
use super::more::More;
use super::plan::{NodePlan, Role};
use super::random::Random;
use super::secure::{PORT, Secure};
use super::sources::Given;
use sockeye::sim::Clock;
use sockeye::{
    Accept, Addr, Closed, ConnId, Context, Deadline, Event, EventKind, Handler, Input, ListenerId,
    Origin, Reason, Sender, TimerId,
};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

/// What is posted to a node.
pub struct Note {
    pub id: u64,
    pub acts: usize,
    /// Resume whatever is paused.
    pub resume: bool,
}

/// How an end of the connection was asked for, or made inevitable, from this side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    Close,
    Because,
    Abort,
    /// More input was left than the limit allows.
    InputLimit,
    /// A send was answered `Gone`, and the connection is not open any more.
    Gone,
}

/// A connection as its handler must see it.
pub struct Life {
    pub end: Option<End>,
    pub secure: bool,
    pub role: Role,
    pub opened: bool,
    pub eof: bool,
    pub asked: Option<Asked>,
    pub asked_at: Option<Instant>,
    pub shut: bool,
    pub waiting: bool,
    pub paused: bool,
    /// Paused until so many bytes are taken of those that were queued in all.
    pub drains: Option<u64>,
    /// Bytes that sends took.
    pub sent: u64,
    /// Bytes of a frame, for who takes frames.
    pub size: usize,
    /// Input may be offered again although nothing new has come.
    pub resumed: bool,
    /// Bytes consumed, and bytes offered after them and left.
    pub taken: usize,
    pub left: usize,
    /// What was left was offered once more, with the end.
    pub last: bool,
    /// Pending after the last send that was taken, or the last turn.
    pub most_pending: usize,
    /// In which callback bytes were last taken, and how many in it so far.
    pub taken_in: (u64, usize),
    /// Bytes taken since the last turn, and between the last two.
    pub taken_since: (usize, usize),
    /// A send was refused, and the peer has left as much as that needs.
    pub over_limit: bool,
    pub finish_told: bool,
    /// The deadlines that are set, by their keys.
    pub deadlines: BTreeMap<u32, Instant>,
    pub idle: Option<Duration>,
    /// When the idle time last began, other than by a byte.
    pub idle_from: Instant,
    /// When bytes were last queued while none were.
    pub pending_from: Instant,
    pub partner: Option<ConnId>,
    /// All that it ever had.
    pub sources: Vec<Given>,
    /// How it connects, if it does.
    pub dial: Option<Dialed>,
}

pub struct Timer {
    pub at: Instant,
    pub key: u64,
    pub order: u64,
    /// Set by a callback of the expire phase of this turn: not for this turn.
    pub not_in: Option<u64>,
}

pub struct Actor {
    pub index: usize,
    pub plan: NodePlan,
    pub random: Random,
    /// For what was added later, so that the rest of a seed stays as it is.
    pub aside: Random,
    pub more: More,
    /// For its choice of names, and nothing else.
    pub dials: Random,
    pub names: Names,
    /// With whom it speaks TLS, if with anybody.
    pub secure: Option<Secure>,
    pub fuel: usize,
    /// So many callbacks that come next take long.
    pub slow_ones: usize,
    /// It does nothing of its own any more.
    pub quiet: bool,
    /// It was told to finish, and the grace ends then.
    pub finishing: Option<Instant>,
    pub ledger: Shared,
    /// The time of this very moment.
    pub clock: Clock,
    pub lives: BTreeMap<ConnId, Life>,
    pub dead: VecDeque<ConnId>,
    pub listeners: Vec<ListenerId>,
    pub timers: BTreeMap<TimerId, Timer>,
    pub timers_set: u64,
    pub senders: Vec<Sender<Note>>,
    /// All addresses that may be connected to.
    pub places: Vec<String>,
    /// Bytes that sends took, and those that were reported lost.
    pub accepted: u64,
    pub lost: u64,
    /// How many `on_close` there were.
    pub closes: u64,
    /// `lost` and `closes` when `finish` was called.
    pub at_finish: Option<(u64, u64)>,
    /// The last timer that fired: turn, time, order.
    pub fired: Option<(u64, Instant, u64)>,
    inside: bool,
    pub expiring: bool,
    /// Counts callbacks, and the gaps between turns.
    callbacks: u64,
}

impl Life {
    /// Is it not to be read?
    pub fn is_held(&self) -> bool {
        self.paused || self.drains.is_some()
    }

    /// Was it told, one way or the other, that the peer sends no more?
    pub fn at_end(&self) -> bool {
        self.eof || self.last
    }
}

impl Actor {
    pub fn new(
        index: usize,
        plan: NodePlan,
        ledger: Shared,
        clock: Clock,
        secure: Option<Secure>,
    ) -> Actor {
        Actor {
            index,
            random: Random::new(plan.seed),
            aside: Random::new(!plan.seed),
            more: More::new(&plan),
            dials: Random::new(plan.seed.rotate_left(16)),
            names: Names::default(),
            secure,
            fuel: plan.fuel,
            slow_ones: 0,
            plan,
            quiet: false,
            finishing: None,
            ledger,
            clock,
            lives: BTreeMap::new(),
            dead: VecDeque::new(),
            listeners: Vec::new(),
            timers: BTreeMap::new(),
            timers_set: 0,
            senders: Vec::new(),
            places: Vec::new(),
            accepted: 0,
            lost: 0,
            closes: 0,
            at_finish: None,
            fired: None,
            inside: false,
            expiring: false,
            callbacks: 0,
        }
    }

    /// The life of a connection that a callback is for.
    #[track_caller]
    fn life(&mut self, conn: ConnId) -> &mut Life {
        let life = self.lives.get_mut(&conn);
        life.unwrap_or_else(|| panic!("{conn}: a callback for nobody"))
    }

    /// The same, of one that is open and that nobody has asked to end.
    #[track_caller]
    fn open_life(&mut self, conn: ConnId, what: &str) -> &mut Life {
        let life = self.life(conn);
        assert!(life.opened, "{conn}: {what} before on_open");
        assert!(
            life.asked.is_none(),
            "{conn}: {what} after {:?}",
            life.asked
        );
        life
    }

    /// A connection begins.
    pub fn begin(&mut self, conn: ConnId, end: Option<End>, secure: bool, role: Role) {
        let now = self.clock.now();
        let life = Life {
            end,
            secure,
            role,
            opened: false,
            eof: false,
            asked: None,
            asked_at: None,
            shut: false,
            waiting: false,
            paused: false,
            drains: None,
            sent: 0,
            size: self.first_size(),
            resumed: false,
            taken: 0,
            left: 0,
            last: false,
            most_pending: 0,
            taken_in: (0, 0),
            taken_since: (0, 0),
            over_limit: false,
            finish_told: false,
            deadlines: BTreeMap::new(),
            idle: self.plan.config.limits.idle,
            idle_from: now,
            pending_from: now,
            partner: None,
            sources: Vec::new(),
            dial: None,
        };
        let old = self.lives.insert(conn, life);
        assert!(old.is_none(), "{conn} names two connections");
    }

    /// The connection ends, or will not go on as its handler means it to.
    pub fn no_longer_live(&mut self, end: Option<End>) {
        if let Some(end) = end {
            self.ledger.borrow_mut().half(end).live = false;
        }
    }

    /// Checks what is offered, and answers how much that is.
    fn offered(&mut self, cx: &Context, conn: ConnId, input: &Input, what: &str) {
        self.reads_go_on(cx, conn);
        let life = self.open_life(conn, what);
        assert!(!life.eof, "{conn}: {what} after on_eof");
        assert!(!life.paused, "{conn}: {what} in a pause");
        let (end, taken) = (life.end, life.taken);
        if let Some(end) = end {
            self.ledger.borrow_mut().heard(end, taken, input);
        }
    }

    /// A callback with input has returned: so much was left.
    fn consumed(&mut self, conn: ConnId, offered: usize, left: usize) {
        let limit = self.plan.config.limits.input_limit;
        let now = self.clock.now();
        let Some(life) = self.lives.get_mut(&conn) else {
            return;
        };
        life.taken += offered - left;
        life.left = left;
        if left > limit && !life.is_held() && life.asked.is_none() && !life.eof {
            life.asked = Some(Asked::InputLimit);
            life.asked_at = Some(now);
            let end = life.end;
            self.no_longer_live(end);
            if let Some(end) = end {
                self.ledger.borrow_mut().half(end).finished = true;
            }
        }
    }

    /// `on_data`: something is new, or reads were resumed, or it is all that will come.
    fn given(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        let len = input.len();
        self.offered(cx, conn, input, "on_data");
        let life = self.life(conn);
        let resumed = std::mem::take(&mut life.resumed);
        let last = input.is_ended() && !std::mem::replace(&mut life.last, true);
        let again = len == life.left && (resumed || last);
        assert!(len > life.left || again, "{conn}: on_data with nothing new");
        let grows = len > life.left && input.is_ended();
        assert!(!grows, "{conn}: there is more behind the end");
        life.left = len;
        // What is left may be out of sight: then the input looks empty.
        let left = len - self.take_input(cx, conn, input);
        self.act(cx);
        assert!(input.is_empty() || input.len() == left, "{conn}: input");
        self.consumed(conn, len, left);
    }

    /// Bytes of this connection that its peer may have had a chance to take, at most: what was
    /// pending when the running callback began.
    pub fn had_chance(&self, life: &Life) -> usize {
        let in_this = match life.taken_in.0 == self.callbacks {
            true => life.taken_in.1,
            false => 0,
        };
        life.most_pending.saturating_sub(in_this)
    }

    /// A send was taken.
    pub fn note_taken(&mut self, conn: ConnId, len: usize) {
        let number = self.callbacks;
        if let Some(life) = self.lives.get_mut(&conn) {
            if life.taken_in.0 != number {
                life.taken_in = (number, 0);
            }
            life.taken_in.1 += len;
            life.sent += len as u64;
            life.taken_since.0 += len;
        }
    }

    /// What must hold after every turn.
    pub fn after_turn(&mut self, cx: &Context) {
        self.callbacks += 1;
        assert!(!self.inside, "a turn ended inside a callback");
        self.learn_all_ends(cx);
        let reading = |conn: &&ConnId| cx.wants_input(**conn);
        let reading: Vec<ConnId> = self.lives.keys().filter(reading).copied().collect();
        for conn in reading {
            self.reads_go_on(cx, conn);
        }
        let mut pending = 0;
        for (conn, life) in &mut self.lives {
            let now = cx.pending(*conn);
            let most = life.most_pending;
            // What a source gives needs no send.
            assert!(
                now <= most || !life.sources.is_empty(),
                "{conn}: {now} bytes are pending, after {most} and no send"
            );
            life.most_pending = now;
            life.taken_since = (0, life.taken_since.0);
            pending += now as u64;
            let open = cx.is_open(*conn);
            assert!(
                !open || (life.opened && life.asked.is_none()),
                "{conn} is open; on_open: {}, asked: {:?}",
                life.opened,
                life.asked
            );
            let reads = cx.wants_input(*conn);
            assert!(
                !reads || !life.paused && !life.eof && life.asked.is_none(),
                "{conn} wants input"
            );
        }
        let (accepted, lost, out) = (self.accepted, self.lost, cx.stats().bytes_out);
        assert!(
            accepted >= out + pending + lost,
            "of {accepted} bytes {out} went out, {pending} are pending, {lost} lost"
        );
        for conn in cx.connections() {
            assert!(self.lives.contains_key(&conn), "{conn}: nobody's");
        }
    }
}

impl Handler<Note> for Actor {
    fn on_event(&mut self, cx: &mut Context, event: Event<'_>) {
        assert!(!self.inside, "a callback inside a callback: {event:?}");
        self.inside = true;
        self.callbacks += 1;
        self.expiring = matches!(
            event.kind,
            EventKind::Timer { .. } | EventKind::Deadline { .. }
        );
        match event.kind {
            EventKind::Accept {
                listener,
                peer,
                verdict,
            } => *verdict = self.asked_to_accept(cx, listener, peer),
            EventKind::Open { conn, origin } => self.opens(cx, conn, origin),
            EventKind::Data { conn, input } => self.given(cx, conn, input),
            EventKind::Drain { conn } => self.drained(cx, conn),
            EventKind::Eof { conn, input } => {
                self.offered(cx, conn, input, "on_eof");
                let life = self.life(conn);
                life.eof = true;
                assert!(input.len() == life.left, "{conn}: on_eof brings new input");
                let offered = life.left == 0 || life.last;
                assert!(offered, "{conn}: what was left does not come with the end");
                if let Some(end) = life.end {
                    self.ledger.borrow_mut().ended(end);
                }
                self.at_eof(cx, conn);
                self.act(cx);
            }
            EventKind::Deadline { conn, which } => self.late(cx, conn, which),
            EventKind::Finish { conn } => {
                let life = self.life(conn);
                assert!(
                    life.asked.is_none(),
                    "{conn}: on_finish after {:?}",
                    life.asked
                );
                assert!(
                    !std::mem::replace(&mut life.finish_told, true),
                    "{conn}: on_finish twice"
                );
                assert!(self.finishing.is_some(), "{conn}: on_finish without finish");
                if self.random.percent(80) {
                    self.close(cx, conn);
                }
                self.act(cx);
            }
            EventKind::Close { conn, closed } => self.closes(cx, conn, &closed),
            EventKind::Timer { timer, key } => {
                self.timer_fires(cx, timer, key);
                self.act(cx);
            }
            EventKind::AcceptError { listener, error } => self.no_accept(cx, listener, &error),
            _ => panic!("an event that nobody asked for"),
        }
        self.inside = false;
        self.expiring = false;
    }

    fn on_message(&mut self, cx: &mut Context, note: Note) {
        assert!(!self.inside, "a message inside a callback");
        self.inside = true;
        self.callbacks += 1;
        self.ledger.borrow_mut().message(self.index, note.id);
        if note.resume {
            self.resume_all(cx);
            self.accept_again(cx);
            self.wake_all(cx, true);
        }
        (0..note.acts).for_each(|_| self.one_act(cx));
        self.inside = false;
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
}

/// One for each callback that has more to it than a line.
impl Actor {
    fn asked_to_accept(&mut self, cx: &mut Context, from: ListenerId, _: &Addr) -> Accept {
        assert!(self.listeners.contains(&from), "{from} is no listener");
        self.is_right_to_accept(from);
        self.act(cx);
        match !self.quiet && self.random.percent(3) {
            true => Accept::Refuse,
            false => Accept::Keep,
        }
    }

    fn opens(&mut self, cx: &mut Context, conn: ConnId, origin: Origin) {
        if let Origin::Accepted(_) = origin {
            let peer = cx.peer_addr(conn).expect("an open connection has a peer");
            let peer = Some(peer).filter(|peer| peer.ip().is_some());
            let end = peer.map(|peer| self.ledger.borrow_mut().end(peer, Side::Server));
            let secure = cx.local_addr(conn).and_then(|addr| addr.ip());
            let secure = secure.is_some_and(|addr| addr.port() == PORT);
            self.begin(conn, end, secure, self.plan.role);
        }
        assert!(cx.is_open(conn), "{conn}: on_open, and it is not");
        if origin == Origin::Connected {
            self.learn_its_end(cx, conn);
            self.has_reached(cx, conn, &self.lives[&conn]);
        }
        let now = self.clock.now();
        let life = self.life(conn);
        life.idle_from = now;
        assert!(
            life.asked.is_none(),
            "{conn}: on_open after {:?}",
            life.asked
        );
        assert!(
            !std::mem::replace(&mut life.opened, true),
            "{conn}: on_open twice"
        );
        let (role, end) = (life.role, life.end);
        if let Some(end) = end {
            self.ledger.borrow_mut().half(end).live = true;
        }
        if role == Role::Proxy && origin != Origin::Connected {
            self.connect_partner(cx, conn);
        }
        self.act(cx);
    }

    fn drained(&mut self, cx: &mut Context, conn: ConnId) {
        let low = self.plan.config.limits.low_watermark;
        let pending = cx.pending(conn);
        self.sources_have_ended(conn);
        let life = self.open_life(conn, "on_drain");
        assert!(life.waiting, "{conn}: on_drain without a wait");
        assert!(
            pending <= low,
            "{conn}: on_drain with {pending} bytes pending"
        );
        life.waiting = false;
        let (role, partner) = (life.role, life.partner);
        match role {
            Role::Echo => self.resume(cx, conn),
            Role::Proxy => {
                if let Some(partner) = partner {
                    self.resume(cx, partner);
                }
            }
            _ => {}
        }
        self.act(cx);
    }

    fn late(&mut self, cx: &mut Context, conn: ConnId, which: Deadline) {
        let now = cx.now();
        let life = self.life(conn);
        assert!(
            life.asked.is_none(),
            "{conn}: on_deadline after {:?}",
            life.asked
        );
        match which {
            Deadline::Set(key) => {
                let at = life.deadlines.remove(&key);
                assert!(at.is_some_and(|at| at <= now), "{conn}: an early deadline");
            }
            _ => self.told_idle(cx, conn),
        }
        if self.quiet {
            cx.set_idle(conn, None);
            self.life(conn).idle = None;
        }
        if self.random.percent(30) {
            self.close(cx, conn);
        }
        self.act(cx);
    }

    fn closes(&mut self, cx: &mut Context, conn: ConnId, closed: &Closed) {
        self.learn_its_end(cx, conn);
        let Some(life) = self.lives.remove(&conn) else {
            panic!("{conn}: on_close for nobody");
        };
        self.lost += closed.undelivered;
        self.closes += 1;
        self.check_reason(conn, &life, &closed.reason);
        self.has_failed_well(conn, &life, &closed.reason);
        self.sources_are_over(conn, &life.sources);
        self.ends_well(&life, closed);
        self.was_right_to_end(conn, &life, closed);
        // A name has no address before one of its own has answered.
        let knows = cx.peer_addr(conn).is_some() || life.end.is_none();
        let answers = knows && cx.origin(conn).is_some();
        assert!(answers, "{conn}: no answers in on_close");
        let gone = cx.send(conn, "x") == sockeye::Sent::Gone && !cx.close(conn);
        assert!(
            gone && !cx.is_open(conn),
            "{conn} is not over in its on_close"
        );
        self.owes(&life, &closed.reason);
        self.no_longer_live(life.end);
        self.dead.push_back(conn);
        if self.dead.len() > 8 {
            self.dead.pop_front();
        }
        if let Some(partner) = life.partner
            && self.lives.contains_key(&partner)
        {
            self.close(cx, partner);
        }
        self.act(cx);
    }

    fn no_accept(&mut self, cx: &mut Context, from: ListenerId, _: &io::Error) {
        assert!(self.listeners.contains(&from), "{from} is no listener");
        self.act(cx);
    }
}
