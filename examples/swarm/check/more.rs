//! What the swarm's handler does besides: pauses that end by themselves, periodic timers, listeners
//! that pause, callbacks that take long, and frames by parts, with decoders that are exchanged in
//! mid-stream.

use super::actor::{Actor, Asked};
use super::plan::NodePlan;
use super::random::Random;
use sockeye::codec::Fixed;
use sockeye::{ConnId, Context, Frames, Input, ListenerId, TimerId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Bytes of a frame at most.
const FRAME: usize = 64;

pub struct More {
    /// A third one, so that what older seeds draw from the others stays as it is.
    pub random: Random,
    ticks: BTreeMap<TimerId, Ticks>,
    /// Listeners that are paused.
    paused: Vec<ListenerId>,
    /// What sinks take their input with, if they do.
    frames: Option<Frames<Fixed>>,
    /// Of how many bytes their first frames are.
    size: usize,
}

/// A periodic timer.
struct Ticks {
    key: u64,
    start: Instant,
    period: Duration,
    /// Ticks that were told or missed.
    passed: u32,
}

impl Ticks {
    /// When the tick of this number is due.
    fn due(&self, number: u32) -> Instant {
        self.start + self.period * number
    }
}

impl More {
    pub fn new(plan: &NodePlan) -> More {
        let mut random = Random::new(plan.seed.rotate_left(32));
        let size = random.range(1, largest(plan));
        let framed = random.percent(50);
        More {
            frames: framed.then(|| Frames::new(Fixed::new(size))),
            size,
            random,
            ticks: BTreeMap::new(),
            paused: Vec::new(),
        }
    }
}

/// Half a frame may always be left.
fn largest(plan: &NodePlan) -> usize {
    plan.config.limits.input_limit.clamp(1, FRAME)
}

impl Actor {
    /// A callback that takes long, as the next ones may, and then does something.
    pub fn work(&mut self, cx: &mut Context) {
        if self.plan.slow {
            self.take_long(cx);
            // What keeps one of them keeps the next: by then there is more than one to be told.
            self.slow_ones = self.aside.below(5);
        }
        self.one_act(cx);
    }

    pub fn take_long(&mut self, cx: &Context) {
        let micros = self.aside.skewed(2_000_000) as u64;
        // Whoever asks for the time has the turn remember it, however long the turn takes.
        let asked = self.aside.percent(50).then(|| cx.now());
        let took = Duration::from_micros(micros);
        self.clock.spend(took);
        let slow = (self.clock.now(), took);
        self.ledger.borrow_mut().slow.push(slow);
        assert!(
            asked.is_none_or(|then| then == cx.now()),
            "a turn of two times"
        );
    }

    /// How many bytes the first frame of a connection has.
    pub fn first_size(&self) -> usize {
        self.more.size
    }

    /// One thing more, whichever is drawn.
    pub fn one_more_act(&mut self, cx: &mut Context) {
        match self.more.random.below(6) {
            0 | 1 => self.set_interval(cx),
            2 => {
                let ids: Vec<_> = self.more.ticks.keys().copied().collect();
                if !ids.is_empty() {
                    let id = *self.more.random.pick(&ids);
                    self.cancel_interval(cx, id);
                }
            }
            3 | 4 => {
                if !self.listeners.is_empty() {
                    let listener = *self.more.random.pick(&self.listeners);
                    assert!(cx.pause_accepts(listener), "{listener} was not there");
                    self.more.paused.push(listener);
                }
            }
            _ => self.accept_again(cx),
        }
    }

    // ---- Pauses until drained ----

    /// Pauses a connection until it has drained, if that comes: a scripted peer reads in the end,
    /// but two handlers could wait for each other.
    pub fn pause_until_drained(&mut self, cx: &mut Context, conn: ConnId) -> bool {
        let low = self.limits().low_watermark;
        let pending = cx.pending(conn);
        let Some(life) = self.lives.get_mut(&conn) else {
            assert!(!cx.pause_until_drained(conn), "{conn} is stale, and paused");
            return false;
        };
        let peer = life.end.map(|end| self.ledger.borrow_mut().peer_of(end));
        if peer.flatten().is_none() {
            return false;
        }
        let waits = life.waiting || pending > low;
        let done = cx.pause_until_drained(conn);
        assert!(
            done == waits || life.asked.is_some() || !cx.is_open(conn),
            "{conn}: paused until drained: {done}, with {pending} bytes of {low}"
        );
        assert!(cx.is_paused(conn) || !done, "{conn}: it is not paused");
        if done {
            life.drains = Some(life.queued_in_all().saturating_sub(low as u64));
            if let Some(end) = life.end {
                self.ledger.borrow_mut().half(end).held = true;
            }
        }
        done
    }

    /// It is read again: then its pause until drained is over, and so much has been taken as that
    /// needs.
    pub fn reads_go_on(&mut self, cx: &Context, conn: ConnId) {
        let pending = cx.pending(conn) as u64;
        let Some(life) = self.lives.get_mut(&conn) else {
            return;
        };
        if let Some(needs) = life.drains.take() {
            let taken = life.queued_in_all() - pending;
            assert!(
                taken >= needs,
                "{conn}: it has not drained, and is read: {taken} of {needs} bytes are taken"
            );
            life.resumed = true;
        }
    }

    /// Nothing moves: whose bytes are gone is not paused for them.
    pub fn nobody_waits_in_vain(&self, cx: &Context) {
        let low = self.limits().low_watermark;
        for (conn, life) in &self.lives {
            let drained = life.drains.is_some() && cx.pending(*conn) <= low;
            let others = life.paused || life.asked.is_some();
            assert!(
                !drained || others || !cx.is_paused(*conn),
                "{conn}: it has drained, and is paused"
            );
        }
    }

    // ---- Periodic timers ----

    fn set_interval(&mut self, cx: &mut Context) {
        let period = Duration::from_micros(self.more.random.range(1_000, 400_000) as u64);
        let key = self.more.random.next();
        let id = cx.set_interval(period, key);
        let ticks = Ticks {
            key,
            start: self.clock.now(),
            period,
            passed: 0,
        };
        let old = self.more.ticks.insert(id, ticks);
        let names = old.is_none() && !self.timers.contains_key(&id);
        assert!(names, "{id} names two timers");
    }

    fn cancel_interval(&mut self, cx: &mut Context, id: TimerId) {
        self.more.ticks.remove(&id);
        assert!(cx.cancel_timer(id), "{id} was not set");
        assert!(!cx.cancel_timer(id), "{id} is still set");
    }

    /// A periodic timer has ticked; `false`: it is none.
    pub fn ticks(&mut self, cx: &mut Context, id: TimerId, key: u64) -> bool {
        let (now, missed) = (cx.now(), cx.missed_ticks(id));
        let Some(ticks) = self.more.ticks.get_mut(&id) else {
            assert!(missed == 0, "{id}: a timer has missed ticks");
            return false;
        };
        assert!(ticks.key == key, "{id}: another timer's key");
        ticks.passed += 1 + u32::try_from(missed).expect("few are missed");
        let passed = ticks.passed;
        assert!(ticks.due(passed) <= now, "{id}: tick {passed} comes early");
        assert!(
            now < ticks.due(passed + 1),
            "{id}: tick {passed} comes when the next one is due"
        );
        if self.quiet || self.more.random.percent(20) {
            self.cancel_interval(cx, id);
        }
        true
    }

    pub fn timer_fires(&mut self, cx: &mut Context, id: TimerId, key: u64) {
        if self.ticks(cx, id, key) {
            return;
        }
        let Some(timer) = self.timers.remove(&id) else {
            panic!("{id}: a timer that is not set fires");
        };
        let turn = cx.stats().turns;
        assert!(timer.key == key, "{id}: another timer's key");
        assert!(cx.now() >= timer.at, "{id}: a timer fires early");
        assert!(
            timer.not_in != Some(turn),
            "{id}: a timer fires in the very phase that set it"
        );
        let this = (turn, timer.at, timer.order);
        if let Some(last) = self.fired {
            assert!(
                last.0 != turn || last < this,
                "{id}: a timer fires after one that was due later"
            );
        }
        self.fired = Some(this);
    }

    pub fn cancel_intervals(&mut self, cx: &mut Context) {
        let ids: Vec<_> = self.more.ticks.keys().copied().collect();
        ids.into_iter().for_each(|id| self.cancel_interval(cx, id));
    }

    /// Nothing moves: all ticks that were due have been told.
    pub fn no_tick_is_missing(&self) {
        let now = self.clock.now();
        for (id, ticks) in &self.more.ticks {
            assert!(now < ticks.due(ticks.passed + 1), "{id} has not ticked");
        }
    }

    // ---- Listeners that pause ----

    pub fn accept_again(&mut self, cx: &mut Context) {
        for listener in std::mem::take(&mut self.more.paused) {
            let there = self.listeners.contains(&listener);
            let done = cx.resume_accepts(listener);
            assert!(done == there, "{listener}: it is there: {there}, {done}");
        }
    }

    pub fn is_right_to_accept(&self, from: ListenerId) {
        let paused = self.more.paused.contains(&from);
        assert!(!paused, "{from} is paused, and accepts");
    }

    // ---- Frames ----

    /// Takes the frames that have come, and answers how many bytes they have; `None`: it does not
    /// take frames. In mid-stream it goes over to frames of another size, or does something else.
    pub fn take_frames(
        &mut self,
        cx: &mut Context,
        conn: ConnId,
        input: &mut Input,
    ) -> Option<usize> {
        let mut size = self.lives.get(&conn)?.size;
        let mut frames = self.more.frames.take()?;
        let (len, mut taken) = (input.len(), 0);
        loop {
            match frames.try_next(cx, conn, input) {
                Ok(Some(frame)) => {
                    let is = frame.len();
                    assert!(is == size, "{conn}: a frame of {is} bytes, and not {size}");
                    taken += is;
                }
                Ok(None) => break,
                Err(error) => {
                    let half = (1..size).contains(&(len - taken));
                    assert!(input.is_ended() && half, "{conn}: {error}");
                    let done = cx.close_because(conn, error);
                    self.asks(conn, Asked::Because, done);
                    break;
                }
            }
            if self.more.random.percent(20) {
                let other = self.more.random.range(1, largest(&self.plan));
                if frames.set(cx, conn, Fixed::new(other)) {
                    size = other;
                }
            }
            if self.more.random.percent(20) {
                self.act(cx);
            }
        }
        self.more.frames = Some(frames);
        let life = self.lives.get_mut(&conn)?;
        life.size = size;
        let wanted = life.asked.is_none() && !life.is_held();
        assert!(
            !wanted || len - taken < size,
            "{conn}: whole frames of {size} bytes are left: {taken} of {len} bytes"
        );
        Some(taken)
    }
}
