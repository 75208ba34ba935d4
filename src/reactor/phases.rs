//! The phases of a turn, one function each, and the only calls of the handler.

use super::Reactor;
use crate::closed::Discreet;
use crate::conn::Origin;
use crate::context::{Accepted, Context, Due, Newcomer, Next, Ready, Step};
use crate::handler::{Accept, Called, Event, EventKind, Handler};
use crate::id::{ConnId, Tag, TimerId};
use crate::readiness::Readiness;
use std::io;
use std::time::Duration;

impl<M> Reactor<M> {
    /// 1. Blocks until there is something to do.
    // In a large program it would be called otherwise: an echo in `perf` takes 398 instructions in
    // user mode with it in the loop, and 463 without.
    #[inline(always)]
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = match self.has_work() {
            true => Some(Duration::ZERO),
            false if self.cx.notices_mail() => Some(Duration::ZERO),
            false => match (timeout, self.cx.schedule().until_next()) {
                (Some(timeout), Some(timer)) => Some(timeout.min(timer)),
                (timeout, timer) => timeout.or(timer),
            },
        };
        self.turn.events = self.cx.wait(timeout)?;
        Ok(())
    }

    /// 2. Accepts from the listeners in turn, so that a busy one does not starve another.
    #[inline(never)]
    pub(super) fn accept<H: Handler<M>>(&mut self, app: &mut H) {
        // So that whoever was handed to a worker is accepted in this turn, and not after a wait.
        if self.cx.parts().lists.take_mail_entry() {
            self.cx.take_mail();
        }
        for _ in 0..self.cx.parts().config.accepts_per_turn {
            let Some(slot) = self.cx.parts().lists.next_listener() else {
                return;
            };
            match self.cx.accept(slot) {
                Accepted::Nothing => {}
                Accepted::Failed(listener, tag, error) => {
                    self.call(app, tag, EventKind::AcceptError { listener, error });
                }
                Accepted::Stream(newcomer) => self.welcome(app, newcomer),
            }
        }
        let left = self.cx.parts().lists.listeners_len() > 0;
        self.cx.parts().stats.budget_hits.accepts += u64::from(left);
    }

    /// Asks the handler about a peer, and keeps or refuses it.
    fn welcome<H: Handler<M>>(&mut self, app: &mut H, newcomer: Newcomer) {
        let (listener, tag, peer) = (newcomer.listener, newcomer.tag, &newcomer.peer);
        #[cfg(feature = "tls")]
        if !self.cx.may_begin_handshake(&newcomer) {
            return;
        }
        let mut verdict = Accept::Refuse;
        if self.cx.has_room(false) {
            verdict = Accept::Keep;
            let event = EventKind::Accept {
                listener,
                peer,
                verdict: &mut verdict,
            };
            self.call(app, tag, event);
        } else {
            // Anybody who can connect causes it: it is told at the first, second, fourth of them.
            let refused = self.cx.stats().refused + 1;
            if refused.is_power_of_two() {
                log::warn!(
                    target: "sockeye",
                    "{listener} refuses {peer}: `max_connections` reached, {refused} refused so far"
                );
            }
        }
        if verdict == Accept::Refuse || !self.cx.has_room(true) {
            self.cx.give_room_back();
            self.cx.parts().stats.refused += 1;
            return newcomer.refuse();
        }
        match self.cx.keep(newcomer) {
            Ok(None) => {}
            Ok(Some(conn)) => {
                let origin = Origin::Accepted(listener);
                self.call_for(app, conn, tag, EventKind::Open { conn, origin });
            }
            Err(error) => self.call(app, tag, EventKind::AcceptError { listener, error }),
        }
    }

    /// 3. Reads those that have something to read, as many as there are now, one buffer each.
    ///    It ends early when a queue grows above its high watermark, so that a member of a busy
    ///    room who does read is not taken for one who does not.
    pub(super) fn read<H: Handler<M>>(&mut self, app: &mut H) {
        // Those only that are listed now: what a callback makes readable waits for the next turn.
        let waiting = self.cx.parts().lists.ready_len();
        let budget = waiting.min(self.cx.parts().config.reads_per_turn);
        let mut done = 0;
        self.cx.parts().lists.begin_crowding();
        while done < budget && !self.cx.parts().lists.is_crowded() {
            let entry = self.cx.parts().lists.ready_at(done);
            done += 1;
            self.read_conn(app, entry);
        }
        if done < waiting {
            self.cx.parts().stats.budget_hits.reads += 1;
        }
        // What is left over comes first in the next turn, then what is still readable.
        match done == self.cx.parts().lists.ready_len() {
            true => self.cx.parts().lists.clear_ready(),
            false => self.cx.put_off(done),
        }
        if self.cx.parts().lists.reports_len() > 0 {
            self.report(app);
        }
    }

    /// Reads one that is asked before a deadline. Apart, so that the loop above keeps its one copy.
    #[inline(never)]
    fn read_asked<H: Handler<M>>(&mut self, app: &mut H, slot: u32) {
        // It may be on the list of those who are to be read, and stays there: this is no entry of
        // it.
        let news = Readiness::READABLE;
        self.read_conn(app, Ready { slot, news });
    }

    /// One read of a connection, its callback, and what follows from it.
    #[inline(always)]
    fn read_conn<H: Handler<M>>(&mut self, app: &mut H, entry: Ready) {
        let Some(step) = self.cx.next_input(entry, &mut self.receive) else {
            return;
        };
        let (slot, conn) = (entry.slot, step.conn);
        // Who is listed behind this has been sent to by the callback.
        let before = self.cx.parts().lists.dirty_len();
        self.turn.callbacks += 1;
        if step.next != Next::Data {
            self.open_or_end(app, step);
            return self.cx.flush_if_alone(slot, before);
        }
        let (cx, input) = (&mut self.cx, self.receive.offer(step.left));
        enter(cx, app, step.tag, EventKind::Data { conn, input });
        // First what the callback has sent: what was lent lies in the receive buffer, which may be
        // given away below.
        if cx.parts().lending.has_lent() {
            cx.repay(slot, &mut self.receive, before);
            if !step.more && self.receive.is_empty() {
                return;
            }
        } else {
            cx.parts().lending.close();
            cx.flush_if_alone(slot, before);
        }
        self.after_data(slot);
    }

    /// Something is left, or more may be there to read.
    #[inline(never)]
    fn after_data(&mut self, slot: u32) {
        match self.receive.is_joined() {
            false => self.cx.after_read(slot, &mut self.receive),
            true => self.cx.after_input(slot, self.receive.leftover()),
        }
    }

    /// Tells that a connect is through, or that the peer has finished. Apart from `read_conn`, so
    /// that the usual way is straight.
    #[inline(never)]
    fn open_or_end<H: Handler<M>>(&mut self, app: &mut H, step: Step) {
        let (slot, conn, tag) = (step.conn.0.slot, step.conn, step.tag);
        match step.next {
            Next::Last => {
                let input = self.receive.offer_last(step.left);
                enter(&mut self.cx, app, tag, EventKind::Data { conn, input });
                self.receive.forget_end();
                self.after_data(slot);
            }
            Next::Eof => {
                let input = self.receive.offer_last(step.left);
                enter(&mut self.cx, app, tag, EventKind::Eof { conn, input });
                self.receive.forget_end();
                self.cx.after_eof(slot, self.receive.leftover());
            }
            #[cfg(feature = "tls")]
            Next::Secure => {
                enter(&mut self.cx, app, tag, EventKind::Secure { conn });
                self.cx.after_input(slot, None);
            }
            Next::Open | Next::Data => {
                let origin = self.cx.origin(conn).unwrap_or(Origin::Connected);
                enter(&mut self.cx, app, tag, EventKind::Open { conn, origin });
                self.cx.after_input(slot, None);
            }
        }
    }

    /// Tells of watched descriptors.
    #[inline(never)]
    fn report<H: Handler<M>>(&mut self, app: &mut H) {
        for _ in 0..self.cx.parts().lists.reports_len() {
            let Some(slot) = self.cx.parts().lists.next_report() else {
                return;
            };
            if let Some((watch, tag, key, readiness)) = self.cx.report(slot) {
                let event = EventKind::Ready {
                    watch,
                    key,
                    readiness,
                };
                self.call(app, tag, event);
            }
        }
    }

    /// 4. Delivers the messages that wait now, and news of a graceful stop.
    #[inline(never)]
    pub(super) fn deliver<H: Handler<M>>(&mut self, app: &mut H) {
        self.deliver_messages(app);
        for _ in 0..self.cx.parts().config.messages_per_turn {
            let Some((conn, tag)) = self.cx.next_to_tell() else {
                break;
            };
            self.call_for(app, conn, tag, EventKind::Finish { conn });
        }
    }

    /// Delivers messages; ends early when a queue grows too long, as reading does.
    fn deliver_messages<H: Handler<M>>(&mut self, app: &mut H) {
        if self.mailbox.take_stop() {
            *self.cx.parts().stopping = true;
        }
        let (waiting, budget) = (
            self.mailbox.waiting(),
            self.cx.parts().config.messages_per_turn,
        );
        self.cx.parts().stats.budget_hits.messages += u64::from(waiting > budget);
        for _ in 0..waiting.min(budget) {
            let Some(message) = self.mailbox.take() else {
                break;
            };
            self.cx.parts().stats.messages += 1;
            self.turn.callbacks += 1;
            *self.cx.parts().tag = Tag::default();
            match self.cx.parts().config.slow_callback {
                None => app.on_message(&mut self.cx, message),
                Some(limit) => timed(&mut self.cx, limit, Called::Message, |cx| {
                    app.on_message(cx, message);
                }),
            }
            if self.cx.parts().lists.is_crowded() {
                break;
            }
        }
    }

    /// 5. Fires what is due now and was set before now, as many as the budget allows: what is left
    ///    is still due in the next turn.
    #[inline(never)]
    pub(super) fn expire<H: Handler<M>>(&mut self, app: &mut H) {
        let due = self.cx.schedule().begin_expiry();
        for _ in 0..self.cx.parts().config.expiries_per_turn {
            let Some((key, what)) = self.cx.parts().schedule.next_due(due) else {
                return;
            };
            match what {
                // One that is periodic comes as one that fires once.
                Due::Periodic(_) => {}
                Due::Timer { tag, key: user } => {
                    self.cx.parts().stats.timers += 1;
                    let timer = TimerId(key);
                    self.call(app, tag, EventKind::Timer { timer, key: user });
                }
                Due::Conn(slot) => self.expire_conn(app, slot),
                Due::Retry(key) => self.cx.retry(key),
                Due::Dial(key) => self.cx.dial_on(key),
                Due::Rested(slot) => self.cx.rested(slot),
                Due::Grace => self.end_grace(app),
            }
        }
        let left = self.cx.schedule().has_due(due);
        self.cx.parts().lists.leave_expiries(left);
        self.cx.parts().stats.budget_hits.expiries += u64::from(left);
    }

    /// A deadline of a connection may have passed. Before it is believed, the connection itself is
    /// asked, once: by one write attempt if bytes are pending, and by one read. What moves then is
    /// progress; what is there to be read is delivered before a deadline that nothing moves.
    fn expire_conn<H: Handler<M>>(&mut self, app: &mut H, slot: u32) {
        if self.cx.ask_overdue(slot, false) {
            self.read_asked(app, slot);
        }
        if let Some((conn, which)) = self.cx.judge_overdue(slot) {
            let tag = self.cx.tag(conn).unwrap_or_default();
            self.call_for(app, conn, tag, EventKind::Deadline { conn, which });
        }
    }

    /// The grace of `finish` is over, which nothing moves. What is there to be read is delivered
    /// before, and what can go out goes: a callback may have taken the last of the grace.
    #[cold]
    fn end_grace<H: Handler<M>>(&mut self, app: &mut H) {
        for slot in self.cx.remaining() {
            if self.cx.ask_overdue(slot, true) {
                self.read_asked(app, slot);
            }
        }
        self.cx.abort_remaining();
    }

    /// 6 and 7, until they come to rest or a number of rounds is over.
    #[inline(never)]
    pub(super) fn flush_and_reap<H: Handler<M>>(&mut self, app: &mut H) {
        for _ in 0..self.cx.parts().config.rounds_per_turn {
            if !self.cx.parts().lists.have_flushes() {
                break;
            }
            self.flush(app);
            self.reap(app);
        }
        let left = self.cx.parts().lists.have_flushes();
        self.cx.parts().stats.budget_hits.rounds += u64::from(left);
        self.cx.clear_block();
    }

    /// 6. Writes those that have something to write, as many as there are now, one write each. What
    ///    becomes dirty meanwhile is for the next round.
    fn flush<H: Handler<M>>(&mut self, app: &mut H) {
        let count = self.cx.parts().lists.dirty_len();
        for index in 0..count {
            let slot = self.cx.parts().lists.dirty_at(index);
            if self.cx.flush_broadcast(slot) || !self.cx.flush(slot) {
                continue;
            }
            if let Some((conn, tag)) = self.cx.take_drain(slot) {
                self.call(app, tag, EventKind::Drain { conn });
            }
        }
        self.cx.parts().lists.drop_dirty(count);
    }

    /// 7. Says goodbye to those that are over, and frees their slots: only here, so that what was
    ///    read or flushed in this turn cannot meet a new owner.
    fn reap<H: Handler<M>>(&mut self, app: &mut H) {
        let count = self.cx.begin_reap();
        for index in 0..count {
            let slot = self.cx.parts().lists.ended_at(index);
            if let Some((conn, tag, closed)) = self.cx.last_words(slot) {
                self.call(app, tag, EventKind::Close { conn, closed });
            }
            self.cx.bury(slot);
        }
        self.cx.parts().lists.drop_ended(count);
    }

    /// Calls the handler for one connection; if it queued bytes for that one only, they go out now.
    fn call_for<H: Handler<M>>(
        &mut self,
        app: &mut H,
        conn: ConnId,
        tag: Tag,
        kind: EventKind<'_>,
    ) {
        let before = self.cx.parts().lists.dirty_len();
        self.call(app, tag, kind);
        self.cx.flush_if_alone(conn.0.slot, before);
    }

    pub(super) fn call<H: Handler<M>>(&mut self, app: &mut H, tag: Tag, kind: EventKind<'_>) {
        self.turn.callbacks += 1;
        enter(&mut self.cx, app, tag, kind);
    }
}

/// Calls the handler: this is the one place where the loop does, but for messages.
#[inline(always)]
fn enter<M, H: Handler<M>>(cx: &mut Context, app: &mut H, tag: Tag, kind: EventKind<'_>) {
    if log::log_enabled!(target: "sockeye", log::Level::Trace) {
        trace(&kind);
    }
    *cx.parts().tag = tag;
    match cx.parts().config.slow_callback {
        None => app.on_event(cx, Event::new(tag, kind)),
        Some(limit) => enter_timed(cx, app, limit, Event::new(tag, kind)),
    }
}

/// A function of its own, so that what it wants to know costs nothing where nobody asks.
#[cold]
#[inline(never)]
fn enter_timed<M, H: Handler<M>>(cx: &mut Context, app: &mut H, limit: Duration, event: Event<'_>) {
    let called = event.kind.called();
    timed(cx, limit, called, |cx| app.on_event(cx, event));
}

/// Records a callback. The text of a close may be the application's own, with what the peer sent in
/// it, so it is left out.
#[cold]
fn trace(kind: &EventKind<'_>) {
    match kind {
        EventKind::Close { conn, closed } => {
            log::trace!(target: "sockeye", "Close {{ conn: {conn:?}, {} }}", Discreet(closed));
        }
        kind => log::trace!(target: "sockeye", "{kind:?}"),
    }
}

/// Warns of a callback that holds up the loop, with its name and whom it was for. Only when that is
/// asked for is the clock read.
#[cold]
fn timed(cx: &mut Context, limit: Duration, called: Called, callback: impl FnOnce(&mut Context)) {
    let started = cx.schedule().clock_now();
    callback(cx);
    let took = cx.schedule().clock_now().saturating_duration_since(started);
    if took > limit {
        log::warn!(target: "sockeye", "slow callback: {called} took {took:?}");
    }
}
