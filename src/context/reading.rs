//! Reading: what the read phase does for a connection before and after its callback.

#[cfg(feature = "tls")]
use super::securing::Broken;
use super::{Context, Ready};
use crate::buffer::receive::{Leftover, Receive};
use crate::closed::Reason;
use crate::conn::{Flags, Phase, Read};
use crate::id::{ConnId, Key, Tag};
use crate::readiness::Readiness;

/// What the handler is to be told of a connection in the read phase.
pub(crate) struct Step {
    pub(crate) conn: ConnId,
    pub(crate) tag: Tag,
    pub(crate) next: Next,
    /// What was left over, to be offered before what is in the receive buffer.
    pub(crate) left: Option<Leftover>,
    /// More may be there to read.
    pub(crate) more: bool,
}

impl Step {
    #[inline(always)]
    fn new(conn: ConnId, tag: Tag, next: Next, left: Option<Leftover>, more: bool) -> Step {
        Step {
            conn,
            tag,
            next,
            left,
            more,
        }
    }
}

#[derive(PartialEq, Eq)]
pub(crate) enum Next {
    Open,
    /// The handshake that `start_tls` began is through.
    #[cfg(feature = "tls")]
    Secure,
    Data,
    /// What is left, once more: nothing will come behind it.
    Last,
    Eof,
}

impl Context {
    /// Lets `on_data` leave up to so many bytes unconsumed, if
    /// [`Limits::input_limit`](crate::Limits::input_limit) allows less: for protocols whose largest
    /// message is known only once a connection is there. [`Framed`](crate::Framed) does it by
    /// itself. It never lowers the limit.
    /// `false`: no such connection, or it is closing.
    pub fn raise_input_limit(&mut self, conn: ConnId, bytes: usize) -> bool {
        self.live(conn)
            .map(|conn| conn.raise_input_limit(bytes))
            .is_some()
    }

    /// The next thing to tell of a connection of the ready list. Reads one receive buffer at most.
    #[inline(always)]
    pub(crate) fn next_input(&mut self, entry: Ready, receive: &mut Receive) -> Option<Step> {
        let slot = entry.slot;
        match receive.owner() {
            None => receive.clear(),
            Some(owner) => self.make_way(owner, entry, receive),
        }
        // What the system tells of a socket that is gone is no news.
        let (key, conn) = self.conns.at(slot)?;
        self.lending.show_to(key);
        conn.leave_ready_list(entry.news);
        let is_plain = conn.is_plainly_readable();
        // The news may have been that it can be written to.
        if !is_plain || conn.has_queue() {
            self.lists.want_flush_if_writable(slot, conn);
        }
        let (id, tag) = (ConnId(key), conn.tag());
        let step = |(next, left), more| Some(Step::new(id, tag, next, left, more));
        if !is_plain {
            if !conn.wants_read() {
                return None;
            }
            if conn.is_out_of_the_ordinary() {
                return step(self.advance(slot, receive)?, true);
            }
            // After a pause what was left comes first, with no read. Without one this is a read
            // through a transport, which it is put in front of.
            if conn.take(Flags::RESUMED) && conn.has_left() {
                return step((Next::Data, conn.take_left()), true);
            }
            if !conn.has(Flags::READABLE) {
                return None;
            }
        }
        let read = conn.read(receive);
        // A read may have made something to be written.
        self.lists.want_answer(slot, conn);
        match read {
            Read::Data(count) => {
                if conn.has_idle() {
                    conn.note_progress(self.schedule.fresh());
                }
                self.stats.reads += 1;
                self.stats.bytes_in += count as u64;
                let more = conn.has(Flags::READABLE);
                // What was left goes in front of it, if there is room; else it is offered apart.
                if conn.has_left()
                    && let Some(left) = receive.put_in_front(conn.take_left())
                {
                    return step((Next::Data, Some(left)), more);
                }
                self.lending.offer(conn);
                step((Next::Data, None), more)
            }
            Read::Eof if !conn.has(Flags::EOF) && !conn.has(Flags::WRITE_FAILED) => {
                // As almost always: nothing is left that would have to be offered first.
                if receive.is_empty() && !conn.has_left() {
                    conn.set(Flags::EOF);
                    return step((Next::Eof, None), false);
                }
                conn.see_end(receive);
                step(self.come_to_end(slot)?, false)
            }
            nothing => {
                // What was left is still there.
                receive.keep_for(key);
                self.no_input(slot, nothing);
                None
            }
        }
    }

    /// The peer sends no more. What was left of the input is offered once more, and again after a
    /// pause in that; then the end is told, with what is left still.
    #[cold]
    fn come_to_end(&mut self, slot: u32) -> Option<(Next, Option<Leftover>)> {
        let conn = self.conns.listed_mut(slot);
        conn.clear(Flags::RESUMED);
        if conn.has_left() && conn.take_last() {
            return Some((Next::Last, conn.take_left()));
        }
        // What made the write fail is the reason.
        if conn.has(Flags::WRITE_FAILED) {
            #[cfg(feature = "tls")]
            conn.expect_no_more();
            self.no_input(slot, Read::Eof);
            return None;
        }
        conn.set(Flags::EOF);
        Some((Next::Eof, conn.take_left()))
    }

    /// What was left there stays if this is the next plain read of the same connection: it is read
    /// behind then; else its connection gets it.
    #[cold]
    fn make_way(&mut self, owner: Key, entry: Ready, receive: &mut Receive) {
        let conn = self.conns.get_mut(owner);
        let Some(conn) = conn.filter(|conn| conn.phase() == Phase::Open) else {
            return receive.clear();
        };
        let is_next = owner.slot == entry.slot;
        if is_next {
            // The news first: they may be that this is no plain read.
            conn.on_readiness(entry.news);
        }
        conn.put_left(receive.make_way(is_next && conn.is_plainly_readable()));
    }

    /// The next thing to tell of a connection that is not read in the usual way: it connects, it
    /// closes, its reads are paused, or its end was read before.
    #[cold]
    fn advance(&mut self, slot: u32, receive: &mut Receive) -> Option<(Next, Option<Leftover>)> {
        match self.conns.listed(slot).phase() {
            Phase::Connecting => self.come_through(slot).map(|next| (next, None)),
            #[cfg(feature = "tls")]
            _ if self.conns.listed(slot).wants_handshake() => self.shake_hands(slot, receive),
            Phase::Open if !self.conns.listed(slot).has(Flags::PAUSED) => self.come_to_end(slot),
            // Reads are paused, and the system has reported an error. If there is one, the
            // connection can send no more, as after a failed write; what has arrived is kept.
            Phase::Open => {
                if let Some(error) = self.conns.listed_mut(slot).take_error() {
                    self.write_failed(slot, Reason::from_io(error));
                    self.lists.want_flush(slot, self.conns.listed_mut(slot));
                }
                None
            }
            Phase::Handshaking | Phase::Closing | Phase::Lingering | Phase::Dead => {
                self.discard(slot, receive);
                None
            }
        }
    }

    /// There is nothing to read any more, or not until later. After a failed write that was the
    /// last of the input, and what made the write fail is the reason: the first error wins.
    pub(super) fn no_input(&mut self, slot: u32, read: Read) {
        let (key, conn) = self.conns.listed_key(slot);
        match read {
            Read::Failed(error) => return self.end(slot, Reason::from_io(error)),
            #[cfg(feature = "tls")]
            Read::Truncated => return self.break_off(slot, Broken::Left),
            #[cfg(feature = "tls")]
            Read::Broken(error) => return self.break_off(slot, Broken::Rule(error)),
            Read::Later => return self.schedule.retry_later(key, conn),
            Read::Data(_) | Read::Eof | Read::Nothing => {}
        }
        if conn.has(Flags::WRITE_FAILED) && !conn.has(Flags::READABLE) {
            return self.end(slot, Reason::Reset);
        }
        self.lists.want_read(slot, conn);
        self.end_if_over(slot);
    }

    /// The peer sends no more: if nor do we, there is nothing left to say. And a read says no
    /// more, also when a reset follows (Linux: tcp_recvmsg() looks at SOCK_DONE before sk_err). So
    /// the socket itself is asked, for a handler that only waits would never hear of it.
    pub(super) fn end_if_over(&mut self, slot: u32) {
        let conn = self.conns.listed_mut(slot);
        if conn.phase() != Phase::Open || !conn.has(Flags::EOF) {
            return;
        }
        if conn.has(Flags::SHUT) {
            self.end(slot, Reason::Eof);
        } else if let Some(error) = conn.take_error() {
            self.end(slot, Reason::from_io(error));
        }
    }

    /// A callback with input has returned: keeps what it left, unless the connection ended
    /// meanwhile.
    pub(crate) fn after_input(&mut self, slot: u32, left: Option<Leftover>) {
        let (key, conn) = self.conns.listed_key(slot);
        if conn.phase() != Phase::Open {
            return;
        }
        self.lists.want_read(slot, conn);
        let Some(left) = left else {
            return;
        };
        // It is the beginning of the session that `start_tls` has begun.
        if conn.is_handshaking() {
            return conn.put_left(Some(left));
        }
        // Whoever pauses has a reason to leave much.
        let (len, limit) = (left.len(), conn.input_limit());
        let too_much = len > limit && !conn.has(Flags::PAUSED);
        conn.put_left(Some(left));
        if too_much {
            let (id, peer) = (ConnId(key), conn.peer());
            log::debug!(target: "sockeye", "{id} {peer}: {len} bytes left, `input_limit` {limit}");
            self.close_with(id, Reason::InputLimit);
        }
    }

    /// A callback has returned after a plain read: what it left stays in the receive buffer for
    /// now, for the next read may be of the same connection.
    pub(crate) fn after_read(&mut self, slot: u32, receive: &mut Receive) {
        let (key, conn) = self.conns.listed_key(slot);
        let is_usual = !conn.has(Flags::PAUSED) && !conn.is_handshaking();
        let stays = conn.phase() == Phase::Open && is_usual;
        if stays && (1..=conn.input_limit()).contains(&receive.len()) {
            receive.keep_for(key);
            return self.lists.want_read(slot, conn);
        }
        self.after_input(slot, receive.leftover());
    }

    /// Offers the end again after the pause that the handler has begun, with what is left of the
    /// input. `false`: there is no pause.
    pub(crate) fn put_off_eof(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.live(id) else {
            return false;
        };
        let paused = conn.has(Flags::PAUSED);
        if paused {
            conn.put_off_end();
        }
        paused
    }

    /// The end was told. Only if it was put off is what is left still wanted.
    pub(crate) fn after_eof(&mut self, slot: u32, left: Option<Leftover>) {
        // Almost always it was closed, and there is nothing more to do.
        if self.conns.listed(slot).phase() == Phase::Open {
            if self.conns.listed(slot).is_releasing() {
                return self.after_input(slot, left);
            }
            self.end_if_over(slot);
            let put_off = !self.conns.listed(slot).has(Flags::EOF);
            self.after_input(slot, left.filter(|_| put_off));
        }
    }

    /// The read phase has ended without all of the ready list: those that it did not get to are
    /// told their news, and stay on the list if they want to be read.
    #[cold]
    pub(crate) fn put_off(&mut self, done: usize) {
        let mut ready = self.lists.take_ready();
        ready.drain(..done);
        ready.retain_mut(|entry| {
            let news = std::mem::take(&mut entry.news);
            if news == Readiness::default() {
                return true;
            }
            let Some(conn) = self.conns.peek(entry.slot) else {
                return false;
            };
            conn.on_readiness(news);
            self.lists.want_flush_if_writable(entry.slot, conn);
            conn.wants_read() && conn.raise(Flags::IN_READY)
        });
        self.lists.put_ready(ready);
    }
}
