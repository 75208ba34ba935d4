//! What the swarm's handler does: its role, and all sorts of other things.

use super::actor::{Actor, Asked, Life, Note, Timer};
use super::ledger::{End, Side};
use super::plan::Role;
use super::secure::{PORT, Secure};
use sockeye::{ConnId, Connect, Context, Hold, Input, Limits, Listen, Overflow, Sent};
use std::time::Duration;

/// The second reason for which it pauses.
const HOLD: Hold = Hold::new(3);

/// Is it over? In a handshake a write may fail, and what can be read is still to say why.
pub fn is_over(cx: &Context, conn: ConnId) -> bool {
    !(cx.is_open(conn) || cx.wants_input(conn) || cx.is_paused(conn))
}

impl Actor {
    pub fn limits(&self) -> &Limits {
        &self.plan.config.limits
    }

    // ---- Its role ----

    /// Takes some of the input, or all of it, and answers how much.
    pub fn take_input(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) -> usize {
        let Some(life) = self.lives.get(&conn) else {
            return 0;
        };
        let (role, partner) = (life.role, life.partner);
        let count = match self.quiet || self.random.percent(70) {
            true => input.len(),
            false => self.random.below(input.len() + 1),
        };
        if role == Role::Sink
            && let Some(taken) = self.take_frames(cx, conn, input)
        {
            return taken;
        }
        match (role, partner) {
            (Role::Echo, _) => self.send_back(cx, conn, conn, input, count),
            (Role::Proxy, Some(to)) => self.send_back(cx, conn, to, input, count),
            (Role::Broadcast, _) => {
                let frame = input.take(count).to_vec();
                self.broadcast(cx, &frame, false);
            }
            _ => drop(input.take(count)),
        }
        count
    }

    /// Sends input on, in one piece or two, and holds back if that has to wait.
    fn send_back(
        &mut self,
        cx: &mut Context,
        from: ConnId,
        to: ConnId,
        input: &mut Input,
        count: usize,
    ) {
        let first = match self.random.percent(80) {
            true => count,
            false => self.random.below(count + 1),
        };
        for part in [first, count - first] {
            if part == 0 {
                continue;
            }
            let chunk = input.take(part);
            let copy = chunk.to_vec();
            let sent = cx.send(to, chunk);
            self.judge(cx, to, &copy, sent);
            if sent == Sent::Wait && self.random.percent(90) {
                self.pause(cx, from);
            }
        }
    }

    pub fn connect_partner(&mut self, cx: &mut Context, conn: ConnId) {
        let partner = match self.fuel > 0 && !self.quiet {
            true => self.connect(cx, Role::Proxy),
            false => None,
        };
        let Some(partner) = partner else {
            return self.close(cx, conn);
        };
        for (one, other) in [(conn, partner), (partner, conn)] {
            if let Some(life) = self.lives.get_mut(&one) {
                life.partner = Some(other);
            }
        }
    }

    pub fn at_eof(&mut self, cx: &mut Context, conn: ConnId) {
        let partner = self.lives.get(&conn).and_then(|life| life.partner);
        match partner {
            Some(partner) => self.shut(cx, partner),
            None if self.random.percent(60) => self.close(cx, conn),
            None => {}
        }
    }

    // ---- Commands, and what their answers must be ----

    /// What a send was answered, and what that means for the connection.
    pub fn judge(&mut self, cx: &mut Context, conn: ConnId, bytes: &[u8], sent: Sent) {
        let limits = self.limits();
        let (high, hard, overflow) = (limits.high_watermark, limits.hard_limit, limits.overflow);
        let (pending, len) = (cx.pending(conn), bytes.len());
        let behind = self.is_behind(conn, len);
        let Some(life) = self.lives.get_mut(&conn) else {
            return assert!(sent == Sent::Gone, "{conn} is stale, and {sent:?}");
        };
        let usable = life.asked.is_none() && !life.shut;
        // What was taken before the turn before this one was offered since, or it is gone.
        let (since, waited) = (life.taken_since.0 + life.taken_since.1, life.waiting);
        let accepted = matches!(sent, Sent::Queued | Sent::Wait);
        assert!(
            usable || !accepted,
            "{conn}: {sent:?} after {:?}",
            life.asked
        );
        match sent {
            Sent::Queued => assert!(
                !life.waiting && pending <= high,
                "{conn}: Queued with {pending} of {high} bytes, waiting: {}",
                life.waiting
            ),
            Sent::Wait => assert!(
                life.waiting || pending > high,
                "{conn}: Wait with {pending} of {high} bytes"
            ),
            Sent::Dropped => assert!(
                life.waiting && overflow == Overflow::DropNewest && behind,
                "{conn}: {len} bytes Dropped with {pending} of {hard} bytes"
            ),
            Sent::Gone if usable && is_over(cx, conn) => {
                life.asked = Some(Asked::Gone);
                life.over_limit = life.waiting && overflow == Overflow::Close && behind;
                let end = life.end;
                self.no_longer_live(end);
            }
            Sent::Gone => {}
        }
        if accepted {
            let old = (pending - len).saturating_sub(since);
            assert!(
                !waited || old == 0 || old < high || old + len <= hard,
                "{conn}: {len} bytes are taken after {old} of {hard} that were left"
            );
            self.took(cx, conn, bytes, sent);
        }
    }

    /// May a send be refused? Only for what the peer has had a chance to take.
    fn is_behind(&self, conn: ConnId, len: usize) -> bool {
        let offered = self
            .lives
            .get(&conn)
            .map_or(0, |life| self.had_chance(life));
        let limits = self.limits();
        // What queues up behind a source counts at once. It may be gone by now.
        let life = self.lives.get(&conn);
        if life.is_some_and(|life| !life.sources.is_empty()) {
            return true;
        }
        offered > 0 && offered >= limits.high_watermark && offered + len > limits.hard_limit
    }

    fn took(&mut self, cx: &Context, conn: ConnId, bytes: &[u8], sent: Sent) {
        let now = self.clock.now();
        self.note_taken(conn, bytes.len());
        let Some(life) = self.lives.get_mut(&conn) else {
            return;
        };
        life.waiting = sent == Sent::Wait;
        life.most_pending = cx.pending(conn);
        if life.most_pending <= bytes.len() {
            life.pending_from = now;
        }
        life.note_sent(&self.ledger, bytes);
        self.accepted += bytes.len() as u64;
    }

    fn send(&mut self, cx: &mut Context, conn: ConnId, bytes: &[u8]) {
        let sent = match self.random.below(4) {
            0 => cx.send(conn, bytes),
            1 => cx.send(conn, bytes.to_vec()),
            2 => cx.send(conn, bytes::Bytes::copy_from_slice(bytes)),
            _ => {
                let (head, body) = bytes.split_at(self.random.below(bytes.len()));
                cx.send(conn, (head, body.to_vec()))
            }
        };
        self.judge(cx, conn, bytes, sent);
    }

    /// To all, or to those that were accepted: what a node sends to a server that it connected to
    /// may come back to it, for ever if that is itself.
    fn broadcast(&mut self, cx: &mut Context, frame: &[u8], all: bool) {
        if frame.is_empty() {
            return;
        }
        let accepted = |life: &Life| life.end.is_some_and(|end| end.side == Side::Server);
        let lives = self.lives.iter().filter(|(_, life)| all || accepted(life));
        let mut to: Vec<ConnId> = lives.map(|(conn, _)| *conn).collect();
        to.extend(self.dead.front().filter(|_| self.random.percent(20)));
        let before: Vec<usize> = to.iter().map(|conn| cx.pending(*conn)).collect();
        let answer = cx.broadcast(to.iter().copied(), frame);
        let high = self.limits().high_watermark;
        let mut seen = sockeye::Broadcast::default();
        for (conn, before) in to.into_iter().zip(before) {
            let pending = cx.pending(conn);
            let life = self.lives.get(&conn);
            let waits = life.is_some_and(|life| life.waiting);
            let usable = life.is_some_and(|life| life.asked.is_none() && !life.shut);
            let drops = self.limits().overflow == Overflow::DropNewest;
            // A source has a weight of its own.
            let behind = pending >= high.max(1) || self.has_source(conn);
            let sent = match (pending == before + frame.len(), waits) {
                (true, waits) if waits || pending > high => Sent::Wait,
                (true, _) => Sent::Queued,
                (false, true) if drops && usable && behind && !is_over(cx, conn) => Sent::Dropped,
                (false, _) => Sent::Gone,
            };
            let counter = match sent {
                Sent::Queued => &mut seen.queued,
                Sent::Wait => &mut seen.waiting,
                Sent::Dropped => &mut seen.dropped,
                Sent::Gone => &mut seen.gone,
            };
            *counter += 1;
            match sent {
                Sent::Dropped => assert!(
                    self.is_behind(conn, frame.len()),
                    "{conn}: a broadcast is dropped with {pending} bytes"
                ),
                sent => self.judge(cx, conn, frame, sent),
            }
        }
        let (is, was) = (seen.dropped + seen.gone, answer.dropped + answer.gone);
        assert!(
            (seen.queued, seen.waiting, is) == (answer.queued, answer.waiting, was),
            "a broadcast says {answer:?} and does {seen:?}"
        );
    }

    /// The end of a connection was asked for.
    pub fn asks(&mut self, conn: ConnId, asked: Asked, done: bool) {
        let now = self.clock.now();
        let Some(life) = self.lives.get_mut(&conn) else {
            return assert!(!done, "{conn} is stale, and {asked:?} takes it");
        };
        assert!(
            life.asked.is_none() || !done || asked == Asked::Abort,
            "{conn}: {asked:?} after {:?}",
            life.asked
        );
        if !done {
            return;
        }
        life.asked_at.get_or_insert(now);
        // The first error wins; a mere close is none.
        if matches!(life.asked, None | Some(Asked::Close)) {
            life.asked = Some(asked);
        }
        if let Some(end) = life.end {
            let mut ledger = self.ledger.borrow_mut();
            let half = ledger.half(end);
            half.live = false;
            half.finished |= asked.says_end();
        }
    }

    pub fn close(&mut self, cx: &mut Context, conn: ConnId) {
        let done = cx.close(conn);
        self.asks(conn, Asked::Close, done);
    }

    pub fn close_all(&mut self, cx: &mut Context) {
        let all: Vec<_> = self.lives.keys().copied().collect();
        all.into_iter().for_each(|conn| self.close(cx, conn));
    }

    pub fn shut(&mut self, cx: &mut Context, conn: ConnId) {
        let done = cx.shutdown_write(conn);
        let Some(life) = self.lives.get_mut(&conn) else {
            return assert!(!done, "{conn} is stale, and shut");
        };
        if done {
            life.shut = true;
            if let Some(end) = life.end {
                self.ledger.borrow_mut().half(end).finished = true;
            }
        }
    }

    fn pause(&mut self, cx: &mut Context, conn: ConnId) {
        if self.more.random.percent(40) && self.pause_until_drained(cx, conn) {
            return;
        }
        if self.aside.percent(40) {
            let waits = cx.await_drain(conn);
            assert!(cx.is_waiting(conn) == waits, "{conn}: {waits}");
            if let Some(life) = self.lives.get_mut(&conn) {
                life.waiting |= waits;
            }
        }
        let done = match self.aside.below(3) {
            0 => cx.pause_reads(conn),
            1 => cx.pause_reads_for(conn, HOLD),
            _ => cx.pause_reads(conn) && cx.pause_reads_for(conn, HOLD),
        };
        if let Some(life) = self.lives.get_mut(&conn) {
            life.paused |= done;
            if let Some(end) = life.end {
                self.ledger.borrow_mut().half(end).held = true;
            }
        }
    }

    pub fn resume(&mut self, cx: &mut Context, conn: ConnId) {
        let done = cx.resume_reads(conn) && cx.resume_reads_for(conn, HOLD);
        let drains = |life: &Life| life.drains.is_some();
        let drains = self.lives.get(&conn).is_some_and(drains);
        assert!(drains || !cx.is_paused(conn), "{conn}: no reason is left");
        if let Some(life) = self.lives.get_mut(&conn)
            && done
            && life.paused
        {
            life.paused = false;
            life.resumed = true;
        }
    }

    pub fn resume_all(&mut self, cx: &mut Context) {
        let all: Vec<ConnId> = self.lives.keys().copied().collect();
        all.into_iter().for_each(|conn| self.resume(cx, conn));
    }

    pub fn connect(&mut self, cx: &mut Context, role: Role) -> Option<ConnId> {
        let place = match self.random.below(100) {
            0..5 => "10.0.0.1:9".to_owned(),
            25..45 => super::run::SERVER.to_owned(),
            5..25 => {
                let node = self.random.range(1, self.senders.len());
                format!("unix:/sim/{node}")
            }
            _ => self.random.pick(&self.places).clone(),
        };
        let (name, place) = match self.pick_name(role) {
            Some((name, place)) => (Some(name), place),
            None => (None, place),
        };
        let secure = match place.split_once(':') {
            Some((_, "7000")) if name.is_none() => self.secure.as_mut().and_then(Secure::drawn),
            _ => None,
        };
        let place = match secure {
            Some(_) => place.replace(":7000", &format!(":{PORT}")),
            None => place,
        };
        let is_secure = secure.is_some();
        let mut connect = Connect::new(place.as_str()).receive_buffer(self.plan.receive_buffer);
        if let Some(secure) = secure {
            connect = secure.connect(connect);
        }
        if let Some(bytes) = self.plan.send_buffer {
            connect = connect.send_buffer(bytes);
        }
        let conn = cx.connect(connect);
        // A Unix socket has no name by which its two ends could be told to be one.
        let local = cx.local_addr(conn).filter(|addr| addr.ip().is_some());
        let end: Option<End> =
            local.map(|local| self.ledger.borrow_mut().end(&local, Side::Client));
        self.begin(conn, end, is_secure, role);
        self.dials(conn, name);
        Some(conn)
    }

    /// On its one address and port, or on its Unix socket.
    pub fn listen(&mut self, cx: &mut Context, unix: bool) {
        let number = self.index + 1;
        let place = match unix {
            true => format!("unix:/sim/{number}"),
            false => format!("10.0.0.{number}:7000"),
        };
        self.listen_at(cx, Listen::new(place.as_str()));
        if let Some(secure) = self.secure.as_ref().filter(|_| !unix) {
            let place = format!("10.0.0.{number}:{PORT}");
            let listen = secure.listen(Listen::new(place.as_str()));
            self.listen_at(cx, listen);
        }
    }

    fn listen_at(&mut self, cx: &mut Context, listen: Listen) {
        let mut listen = listen
            .backlog(self.plan.backlog)
            .receive_buffer(self.plan.receive_buffer);
        if let Some(bytes) = self.plan.send_buffer {
            listen = listen.send_buffer(bytes);
        }
        if let Ok(id) = cx.listen(listen) {
            self.listeners.push(id);
        }
    }

    fn unlisten(&mut self, cx: &mut Context) {
        if let Some(listener) = self.listeners.pop() {
            assert!(cx.unlisten(listener), "{listener} was not there");
            let there = cx.unlisten(listener) || cx.pause_accepts(listener);
            assert!(!there, "{listener} is still there");
        }
    }

    pub fn set_timer(&mut self, cx: &mut Context) {
        let micros = match self.random.percent(30) {
            true => 0,
            false => self.random.skewed(300_000) as u64,
        };
        let delay = Duration::from_micros(micros);
        let key = self.random.next();
        let id = cx.set_timer(delay, key);
        let timer = Timer {
            at: self.clock.now() + delay,
            key,
            order: self.timers_set,
            not_in: self.expiring.then_some(cx.stats().turns),
        };
        self.timers_set += 1;
        let old = self.timers.insert(id, timer);
        assert!(old.is_none(), "{id} names two timers");
    }

    fn cancel_timer(&mut self, cx: &mut Context) {
        let ids: Vec<_> = self.timers.keys().copied().collect();
        if !ids.is_empty() {
            let id = *self.random.pick(&ids);
            self.timers.remove(&id);
            assert!(cx.cancel_timer(id), "{id} was not set");
            assert!(!cx.cancel_timer(id), "{id} is still set");
        }
    }

    pub fn cancel_all(&mut self, cx: &mut Context) {
        self.cancel_intervals(cx);
        for (id, _) in std::mem::take(&mut self.timers) {
            assert!(cx.cancel_timer(id), "{id} was not set");
        }
    }

    fn set_deadline(&mut self, cx: &mut Context, conn: ConnId) {
        let delay = Duration::from_micros(self.random.skewed(1_000_000) as u64);
        let at = self.clock.now() + delay;
        let key = self.aside.below(4) as u32;
        if cx.set_deadline(conn, key, delay)
            && let Some(life) = self.lives.get_mut(&conn)
        {
            life.deadlines.insert(key, at);
        }
    }

    fn set_idle(&mut self, cx: &mut Context, conn: ConnId) {
        let idle = Duration::from_micros(self.random.range(1_000, 1_000_000) as u64);
        let idle = self.random.percent(70).then_some(idle);
        let now = self.clock.now();
        if cx.set_idle(conn, idle)
            && let Some(life) = self.lives.get_mut(&conn)
        {
            life.idle = idle;
            life.idle_from = now;
        }
    }

    /// A message from a callback, whichever that is.
    pub fn post(&mut self, to: usize, acts: usize, resume: bool) {
        let mut ledger = self.ledger.borrow_mut();
        ledger.messages += 1;
        let id = ledger.messages;
        let note = Note { id, acts, resume };
        if self.senders[to].send(note).is_ok() {
            ledger.posted[to].push_back(id);
        }
    }

    // ---- All sorts of things ----

    /// At the end of each callback: something, or not.
    pub fn act(&mut self, cx: &mut Context) {
        if self.slow_ones > 0 {
            self.slow_ones -= 1;
            self.take_long(cx);
        }
        if !self.quiet && self.random.percent(self.plan.busy) {
            self.one_act(cx);
        }
    }

    /// One thing of its own.
    pub fn one_act(&mut self, cx: &mut Context) {
        if self.quiet || self.fuel == 0 {
            return;
        }
        self.fuel -= 1;
        let Some(conn) = self.somebody() else {
            return self.act_alone(cx);
        };
        match self.random.below(100) {
            0..35 if self.aside.percent(15) => self.send_from(cx, conn),
            0..35 => {
                let len = self.random.skewed(self.plan.config.receive_buffer * 2);
                let bytes = self.random.bytes(len);
                self.send(cx, conn, &bytes);
            }
            35..40 => {
                let frame = self.random.bytes(20);
                self.broadcast(cx, &frame, true);
            }
            40..46 => self.pause(cx, conn),
            46..54 => {
                self.resume(cx, conn);
                self.wake_all(cx, false);
            }
            54..58 => self.close(cx, conn),
            58..60 => {
                let done = cx.abort(conn);
                self.asks(conn, Asked::Abort, done);
            }
            60..62 => {
                let done = cx.close_because(conn, "it breaks the rules");
                self.asks(conn, Asked::Because, done);
            }
            62..66 => self.shut(cx, conn),
            66..70 => self.set_deadline(cx, conn),
            70..71 => {
                let key = self.aside.below(4) as u32;
                let done = cx.clear_deadline(conn, key);
                if let Some(life) = self.lives.get_mut(&conn).filter(|_| done) {
                    life.deadlines.remove(&key);
                }
            }
            71..74 => self.set_idle(cx, conn),
            74..77 => self.work(cx),
            _ => self.act_alone(cx),
        }
    }

    fn act_alone(&mut self, cx: &mut Context) {
        if self.more.random.percent(20) {
            self.one_more_act(cx);
        }
        match self.random.below(100) {
            0..45 => self.set_timer(cx),
            45..55 => self.cancel_timer(cx),
            55..75 => {
                self.connect(cx, Role::Sink);
            }
            75..92 => {
                let (to, acts) = (self.random.below(self.senders.len()), self.random.below(3));
                self.post(to, acts, false);
            }
            92..95 => self.unlisten(cx),
            _ => {
                let unix = self.random.percent(50);
                self.listen(cx, unix);
            }
        }
    }

    /// A connection of its own, or one that is no more.
    fn somebody(&mut self) -> Option<ConnId> {
        let stale = self.random.percent(8);
        match self.dead.back() {
            Some(dead) if stale => Some(*dead),
            _ if self.lives.is_empty() => None,
            _ => {
                let at = self.random.below(self.lives.len());
                self.lives.keys().nth(at).copied()
            }
        }
    }
}
