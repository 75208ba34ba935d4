//! Sources of the swarm's handlers. All that one will give counts as sent when it is queued, so
//! that the ledger knows what must arrive, and in which order.

use super::actor::{Actor, Asked, Life};
use super::acts::is_over;
use super::random::Random;
use sockeye::{ConnId, Context, Output, Pull, Pulled, Sent, Source};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What both know, the source and the handler that queued it.
struct State {
    bytes: Vec<u8>,
    given: usize,
    random: Random,
    /// It has said "later", and must not be asked before it is woken.
    sleeps: bool,
    /// It says "later" no more.
    calm: bool,
    fails: bool,
    /// It has said its error.
    failed: bool,
    drops: usize,
}

/// A source as its handler sees it.
#[derive(Clone)]
pub struct Given(Arc<Mutex<State>>);

struct Gives(Given);

impl Given {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that it will still give, or would have given.
    fn left(&self) -> usize {
        let state = self.state();
        state.bytes.len() - state.given
    }

    /// Bytes that it has given.
    pub fn given(&self) -> u64 {
        self.state().given as u64
    }

    pub fn fails(&self) -> bool {
        self.state().fails
    }

    /// Has it said its error? Then nothing but the end of its connection is told.
    fn has_failed(&self) -> bool {
        self.state().failed
    }

    fn is_active(&self) -> bool {
        self.state().drops == 0
    }
}

impl Pull for Gives {
    fn pull(&mut self, out: &mut Output<'_>) -> io::Result<Pulled> {
        let mut state = self.0.state();
        assert!(!state.sleeps, "a source is asked that nobody has woken");
        assert!(out.room() > 0, "a source is asked, and there is no room");
        if !state.calm && state.random.percent(20) {
            state.sleeps = true;
            // Nothing at all means the same.
            return Ok(match state.random.percent(50) {
                true => Pulled::Later,
                false => Pulled::More,
            });
        }
        let left = state.bytes.len() - state.given;
        if left == 0 {
            state.failed = state.fails;
            return match state.fails {
                true => Err(io::Error::other("as it was told")),
                false => Ok(Pulled::End),
            };
        }
        let most = left.min(out.room());
        let count = match state.random.percent(60) {
            true => most,
            false => 1 + state.random.below(most),
        };
        let (from, to) = (state.given, state.given + count);
        out.put(&state.bytes[from..to]);
        state.given = to;
        Ok(Pulled::More)
    }
}

impl Drop for Gives {
    fn drop(&mut self) {
        self.0.state().drops += 1;
    }
}

impl Life {
    /// Bytes that sends took and sources gave.
    pub fn queued_in_all(&self) -> u64 {
        self.sent + self.sources.iter().map(Given::given).sum::<u64>()
    }
}

impl Actor {
    pub fn send_from(&mut self, cx: &mut Context, conn: ConnId) {
        let len = self.aside.skewed(self.plan.config.receive_buffer * 8);
        let bytes = self.aside.bytes(len);
        let given = Given(Arc::new(Mutex::new(State {
            bytes: bytes.clone(),
            given: 0,
            random: Random::new(self.aside.next()),
            sleeps: false,
            calm: false,
            fails: self.aside.percent(5),
            failed: false,
            drops: 0,
        })));
        let sent = cx.send_from(conn, Source::new(Gives(given.clone())));
        let Some(life) = self.lives.get_mut(&conn) else {
            return assert!(sent == Sent::Gone, "{conn} is stale, and {sent:?}");
        };
        let usable = life.asked.is_none() && !life.shut;
        match sent {
            Sent::Wait => {
                assert!(usable, "{conn}: a source after {:?}", life.asked);
                assert!(given.is_active(), "{conn}: a source is gone at once");
                life.waiting = true;
                life.sources.push(given);
                self.accepted += len as u64;
                life.note_sent(&self.ledger, &bytes);
            }
            Sent::Queued => panic!("{conn}: a source begins no wait"),
            // What is queued behind a source counts at once, and so do sources.
            Sent::Dropped | Sent::Gone => {
                assert!(!given.is_active(), "{conn}: a source is kept, and {sent:?}");
                assert!(sent == Sent::Gone || life.waiting, "{conn}: {sent:?}");
                if sent == Sent::Gone && usable && is_over(cx, conn) {
                    life.asked = Some(Asked::Gone);
                    life.over_limit = life.waiting;
                    let end = life.end;
                    self.no_longer_live(end);
                }
            }
        }
    }

    /// `on_drain` has come: all sources have ended, and none by its error.
    pub fn sources_have_ended(&self, conn: ConnId) {
        let active = self.has_source(conn);
        assert!(!active, "{conn}: on_drain while a source is active");
        let life = self.lives.get(&conn);
        let failed = life.is_some_and(|life| life.sources.iter().any(Given::has_failed));
        assert!(!failed, "{conn}: on_drain after the error of a source");
    }

    /// Has it a source that has not come to its end?
    pub fn has_source(&self, conn: ConnId) -> bool {
        let life = self.lives.get(&conn);
        life.is_some_and(|life| life.sources.iter().any(Given::is_active))
    }

    /// All sources go on, and rest no more if they are calmed.
    pub fn wake_all(&mut self, cx: &mut Context, calm: bool) {
        for (conn, life) in &self.lives {
            let active: Vec<_> = life.sources.iter().filter(|it| it.is_active()).collect();
            for source in &active {
                let mut state = source.state();
                state.calm |= calm;
            }
            let Some(first) = active.first() else {
                continue;
            };
            let slept = std::mem::take(&mut first.state().sleeps);
            let woken = cx.wake_source(*conn);
            assert!(slept == woken, "{conn}: slept: {slept}, woken: {woken}");
        }
    }

    /// Bytes that sources will still give.
    pub fn ungiven(&self) -> u64 {
        let all = self.lives.values().flat_map(|life| &life.sources);
        all.map(|source| source.left() as u64).sum()
    }

    /// A connection is over, and so are its sources. What they did not give counts as sent no more.
    pub fn sources_are_over(&mut self, conn: ConnId, sources: &[Given]) {
        for source in sources {
            let drops = source.state().drops;
            assert!(drops == 1, "{conn}: a source was dropped {drops} times");
            self.accepted -= source.left() as u64;
        }
    }
}
