//! Who is to be served: what the phases take from, and everything else puts on.

use crate::conn::{Conn, Flags, Phase};
#[cfg(unix)]
use crate::id::ConnId;
use crate::listener::Listener;
use crate::readiness::Readiness;
use crate::watch::Watch;
use std::collections::VecDeque;

/// An entry of the ready list.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) slot: u32,
    /// What the system has said and the connection does not know yet, if this comes from a wait.
    pub(crate) news: Readiness,
}

impl Ready {
    /// A connection that knows all the news there is.
    pub(crate) fn without_news(slot: u32) -> Ready {
        let news = Readiness::default();
        Ready { slot, news }
    }
}

/// The lists of those who are to be served: on each, one entry for each of them at most, and on the
/// ready list one more with the news of a wait.
///
/// They hold slots and not keys. A connection that is over leaves them before its slot is freed, so
/// a slot on a list of connections has the connection that was listed. The one exception is an
/// entry with news: the system may tell of a socket that is gone, if a forked child holds it.
#[derive(Default)]
pub(crate) struct Lists {
    /// Connections with something to read: the software ready list.
    ready: Vec<Ready>,
    /// Connections with something to flush.
    dirty: Vec<u32>,
    /// Connections whose sources may give no more in this turn. They come first in the next.
    put_off: Vec<u32>,
    /// Connections that are over, and whose `on_close` is still to come.
    ended: Vec<u32>,
    /// How many connections are over and hold their slot until then.
    over: usize,
    /// Somebody who is over may be on another list, too.
    stale: bool,
    /// Listeners behind which connections may wait. The mail of a worker has an entry of its own in
    /// front of them (`MAIL`): it is looked at in the same phase, and costs other loops nothing.
    accepting: VecDeque<u32>,
    /// The loop is one of several workers, and has such mail.
    is_of_worker: bool,
    /// Connections that are to be given away at the end of the turn.
    #[cfg(unix)]
    releasing: Vec<ConnId>,
    /// There is work that is seldom: mail to the loop itself, or somebody on the next two lists.
    seldom: bool,
    /// Attempts of connects that may be through, or have failed.
    attempting: Vec<u32>,
    /// Watches with readiness to report.
    reporting: VecDeque<u32>,
    /// The last wait gave a full batch of events: more may be there, of which a foreign loop that
    /// is told of edges hears nothing.
    batch_full: bool,
    /// More timers are due than the budget allowed.
    expiries_left: bool,
    /// A connection that takes bytes has more pending than its high watermark: flush soon.
    crowded: bool,
}

/// The entry of a worker's mail among the listeners; no listener has this slot.
const MAIL: u32 = u32::MAX;

impl Lists {
    /// Is anybody on a list, so that the loop must not sleep?
    pub(crate) fn have_work(&self) -> bool {
        let listed = self.ready.len()
            | self.dirty.len()
            | self.put_off.len()
            | self.ended.len()
            | self.accepting.len()
            | usize::from(self.seldom)
            | self.reporting.len();
        listed > 0 || self.batch_full | self.expiries_left
    }

    /// What a wait has left over is known anew after each.
    pub(super) fn begin_turn(&mut self, batch_full: bool) {
        self.batch_full = batch_full;
        self.expiries_left = false;
        if !self.put_off.is_empty() {
            self.put_off.append(&mut self.dirty);
            std::mem::swap(&mut self.put_off, &mut self.dirty);
        }
    }

    pub(crate) fn leave_expiries(&mut self, left: bool) {
        self.expiries_left = left;
    }

    /// Flush soon: others who are sent to may take what there is.
    pub(super) fn crowd(&mut self) {
        self.crowded = true;
    }

    pub(crate) fn begin_crowding(&mut self) {
        self.crowded = false;
    }

    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded
    }

    // ---- Connections to read ----

    /// Lists a connection if there is something to read and it is not listed yet.
    #[inline]
    pub(super) fn want_read(&mut self, slot: u32, conn: &mut Conn) {
        if conn.wants_read() && conn.raise(Flags::IN_READY) {
            self.ready.push(Ready::without_news(slot));
        }
    }

    /// Lists what a wait has told. The read phase tells the connection.
    #[inline]
    pub(super) fn tell(&mut self, slot: u32, news: Readiness) {
        self.ready.push(Ready { slot, news });
    }

    pub(crate) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    #[inline]
    pub(crate) fn ready_at(&self, index: usize) -> Ready {
        self.ready[index]
    }

    pub(super) fn take_ready(&mut self) -> Vec<Ready> {
        std::mem::take(&mut self.ready)
    }

    pub(super) fn put_ready(&mut self, ready: Vec<Ready>) {
        self.ready = ready;
    }

    pub(crate) fn clear_ready(&mut self) {
        self.ready.clear();
    }

    // ---- Connections to flush ----

    /// Lists a connection for the flush phase, unless it is listed.
    #[inline]
    pub(crate) fn want_flush(&mut self, slot: u32, conn: &mut Conn) {
        if conn.raise(Flags::IN_DIRTY) {
            self.dirty.push(slot);
            // The flush itself may have ended it.
            self.stale |= conn.phase() == Phase::Dead;
        }
    }

    /// Lists a connection that has something to flush, and whose socket may take it.
    #[inline]
    pub(super) fn want_flush_if_writable(&mut self, slot: u32, conn: &mut Conn) {
        if conn.wants_flush() && conn.has(Flags::WRITABLE) {
            self.want_flush(slot, conn);
        }
    }

    /// Lists a connection for the flush phase of the next turn, unless it is listed.
    pub(super) fn put_flush_off(&mut self, slot: u32, conn: &mut Conn) {
        if conn.raise(Flags::IN_DIRTY) {
            self.put_off.push(slot);
        }
    }

    #[inline]
    pub(crate) fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    #[inline]
    pub(crate) fn dirty_at(&self, index: usize) -> u32 {
        self.dirty[index]
    }

    pub(crate) fn dirty(&self) -> &[u32] {
        &self.dirty
    }

    /// Is there something for the flush phase or the reap phase?
    pub(crate) fn have_flushes(&self) -> bool {
        !self.dirty.is_empty() || !self.ended.is_empty()
    }

    /// The first so many have been flushed.
    pub(crate) fn drop_dirty(&mut self, count: usize) {
        self.dirty.drain(..count);
    }

    /// Takes back what was listed since there were `before`, if that is this one connection.
    #[inline]
    pub(super) fn unlist_if_alone(&mut self, slot: u32, before: usize) -> bool {
        let alone = self.dirty.len() == before + 1 && self.dirty[before] == slot;
        if alone {
            self.dirty.truncate(before);
        }
        alone
    }

    // ---- Connections that are over ----

    pub(super) fn want_burial(&mut self, slot: u32, conn: &Conn) {
        self.ended.push(slot);
        self.over += 1;
        self.stale |= conn.has_any(Flags::IN_READY, Flags::IN_DIRTY);
    }

    /// Is somebody who is over on another list, too? Asked once.
    pub(super) fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.stale)
    }

    /// Connections that are over and hold a slot, and nothing else.
    pub(super) fn over(&self) -> usize {
        self.over
    }

    /// A connection that was over has given its slot back.
    pub(super) fn buried(&mut self) {
        self.over -= 1;
    }

    pub(crate) fn ended_len(&self) -> usize {
        self.ended.len()
    }

    pub(crate) fn ended_at(&self, index: usize) -> u32 {
        self.ended[index]
    }

    /// The first so many are buried.
    pub(crate) fn drop_ended(&mut self, count: usize) {
        self.ended.drain(..count);
    }

    /// Takes those who are over off the other lists: their slots are about to be free for others.
    pub(super) fn forget(&mut self, is_over: impl Fn(u32) -> bool) {
        self.ready.retain(|entry| !is_over(entry.slot));
        self.dirty.retain(|slot| !is_over(*slot));
        self.put_off.retain(|slot| !is_over(*slot));
    }

    // ---- Listeners and watches ----

    /// A read is over: the transport may have to answer what it was given, whatever the read gave.
    #[inline]
    pub(super) fn want_answer(&mut self, slot: u32, conn: &mut Conn) {
        if conn.owes() {
            self.want_flush(slot, conn);
        }
    }

    /// Lists a listener behind which somebody may wait, unless it rests.
    pub(super) fn want_accept(&mut self, slot: u32, listener: &mut Listener) {
        if listener.may_accept() && !std::mem::replace(&mut listener.listed, true) {
            self.accepting.push_back(slot);
        }
    }

    pub(crate) fn next_listener(&mut self) -> Option<u32> {
        self.accepting.pop_front()
    }

    pub(crate) fn listeners_len(&self) -> usize {
        self.accepting.len()
    }

    /// Lists a connection that is to be given away.
    #[cfg(unix)]
    pub(super) fn want_release(&mut self, conn: ConnId) {
        self.releasing.push(conn);
        self.seldom = true;
    }

    /// A helper of the loop may have written, or the loop that accepts for workers.
    pub(super) fn want_mail(&mut self) {
        self.seldom = true;
        if self.is_of_worker && self.accepting.front() != Some(&MAIL) {
            self.accepting.push_front(MAIL);
        }
    }

    /// Makes the loop one of several workers: its mail is looked at where it accepts, and not only
    /// at the end of a turn.
    pub(super) fn become_worker(&mut self) {
        self.is_of_worker = true;
    }

    /// Is there mail of a worker to be looked at before anybody is let in? Answers so once.
    pub(crate) fn take_mail_entry(&mut self) -> bool {
        let has = self.accepting.front() == Some(&MAIL);
        if has {
            self.accepting.pop_front();
        }
        has
    }

    /// Is there work of a kind that is seldom?
    #[inline]
    pub(crate) fn have_seldom_work(&self) -> bool {
        self.seldom
    }

    pub(super) fn begin_seldom_work(&mut self) {
        self.seldom = false;
    }

    #[cfg(unix)]
    pub(super) fn take_releases(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.releasing)
    }

    pub(super) fn want_attempt(&mut self, slot: u32) {
        self.attempting.push(slot);
        self.seldom = true;
    }

    pub(super) fn take_attempts(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.attempting)
    }

    /// Lists a watch with news.
    pub(super) fn want_report(&mut self, slot: u32, watch: &mut Watch) {
        if !std::mem::replace(&mut watch.listed, true) {
            self.reporting.push_back(slot);
        }
    }

    pub(crate) fn next_report(&mut self) -> Option<u32> {
        self.reporting.pop_front()
    }

    pub(crate) fn reports_len(&self) -> usize {
        self.reporting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Addr;
    use crate::buffer::outbox::Outbox;
    use crate::closed::Reason;
    use crate::id::{Key, ListenerId, Tag};

    fn conn() -> Conn {
        let listener = ListenerId(Key {
            slot: 0,
            generation: 0,
        });
        let peer = Addr::Ip(([127, 0, 0, 1], 1).into());
        Conn::accepted(listener, peer, Tag::default(), Default::default())
    }

    // A list that hid another one would have the loop sleep.
    #[test]
    fn work_of_one_kind_and_of_any_two_is_work() {
        let kinds: [fn(&mut Lists); 9] = [
            |lists| lists.tell(0, Readiness::READABLE),
            |lists| lists.dirty.push(0),
            |lists| lists.put_off.push(0),
            |lists| lists.ended.push(0),
            |lists| lists.accepting.push_back(0),
            |lists| lists.want_mail(),
            |lists| lists.reporting.push_back(0),
            |lists| lists.batch_full = true,
            |lists| lists.leave_expiries(true),
        ];
        assert!(!Lists::default().have_work());
        for (first, one) in kinds.iter().enumerate() {
            for (second, other) in kinds.iter().enumerate() {
                let mut lists = Lists::default();
                one(&mut lists);
                if first != second {
                    other(&mut lists);
                }
                assert!(lists.have_work(), "{first}, {second}");
            }
        }
    }

    #[test]
    fn who_is_over_leaves_every_list() {
        let mut lists = Lists::default();
        for slot in [1, 2] {
            lists.tell(slot, Readiness::READABLE);
            lists.dirty.push(slot);
            lists.put_off.push(slot);
        }
        lists.forget(|slot| slot == 1);
        let ready: Vec<u32> = lists.ready.iter().map(|entry| entry.slot).collect();
        assert_eq!([ready, lists.dirty, lists.put_off], [[2], [2], [2]]);
    }

    #[test]
    fn that_somebody_over_is_on_another_list_is_known_once() {
        for flag in [Flags::IN_READY, Flags::IN_DIRTY] {
            let (mut lists, mut listed) = (Lists::default(), conn());
            lists.want_burial(1, &conn());
            assert!(!lists.take_stale());
            listed.set(flag);
            lists.want_burial(0, &listed);
            // Nobody else takes that back.
            lists.want_burial(2, &conn());
            lists.want_flush(3, &mut conn());
            assert!(lists.take_stale() && !lists.take_stale());
            assert_eq!((lists.over(), lists.ended_len()), (3, 3));
        }
        let (mut lists, mut dead) = (Lists::default(), conn());
        lists.want_flush(1, &mut conn());
        assert!(!lists.take_stale());
        dead.die(Reason::Local, &mut Outbox::default());
        lists.want_flush(0, &mut dead);
        assert!(lists.take_stale());
    }

    #[test]
    fn who_was_put_off_comes_first_in_the_next_turn() {
        let mut lists = Lists::default();
        lists.put_flush_off(1, &mut conn());
        lists.want_flush(2, &mut conn());
        assert!(!lists.unlist_if_alone(1, 0) && lists.unlist_if_alone(2, 0));
        lists.want_flush(2, &mut conn());
        lists.begin_turn(false);
        assert_eq!((lists.dirty(), lists.put_off.len()), (&[1, 2][..], 0));
        lists.begin_turn(false);
        assert_eq!(lists.dirty(), [1, 2]);
        lists.want_flush_if_writable(3, &mut conn());
        assert_eq!(lists.dirty_len(), 2);
        lists.crowd();
        assert!(lists.is_crowded());
        lists.begin_crowding();
        assert!(!lists.is_crowded());
    }

    #[test]
    fn all_watches_with_news_are_reported_in_turn() {
        let mut lists = Lists::default();
        lists.reporting.extend([1, 2]);
        assert_eq!(lists.reports_len(), 2);
        let reports = [(); 3].map(|()| lists.next_report());
        assert_eq!(
            (reports, lists.reports_len()),
            ([Some(1), Some(2), None], 0)
        );
    }
}
