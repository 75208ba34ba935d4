//! The loop's side of the context: what each phase does before it calls the handler.

use super::{Context, Ready};
use crate::addr::Addr;
use crate::backend::{Source, Stream};
use crate::buffer::input::{Input, Leftover};
use crate::closed::{Closed, Reason};
use crate::config::Limits;
use crate::conn::{Conn, Flags, Origin, Phase, Read};
use crate::id::{ConnId, Key, ListenerId, Tag, WatchId};
use crate::listener::AcceptFailure;
use crate::readiness::Readiness;
use std::io::{
    self,
    ErrorKind::{BrokenPipe, ConnectionReset},
};
use std::sync::Arc;
use std::time::Duration;

/// What `accept` gave.
pub(crate) enum Accepted {
    /// A stream that the handler has to be asked about.
    Stream(Newcomer),
    /// The handler is to be told.
    Failed(ListenerId, Tag, io::Error),
    /// Nothing to be told: nobody waits, or this one is lost.
    Nothing,
}

/// An accepted stream, not registered yet, with what it has from its listener, which the handler
/// may close before it keeps the stream.
pub(crate) struct Newcomer {
    pub(crate) listener: ListenerId,
    pub(crate) tag: Tag,
    pub(crate) peer: Addr,
    stream: Stream,
    limits: Arc<Limits>,
}

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

#[derive(PartialEq, Eq)]
pub(crate) enum Next {
    Open,
    Data,
    Eof,
}

impl Context {
    /// Waits, and turns each event into state. Answers the number of events.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.time.forget();
        let Context {
            backend,
            conns,
            listeners,
            watches,
            ready,
            ..
        } = self;
        let (dirty, accepting, reporting) =
            (&mut self.dirty, &mut self.accepting, &mut self.reporting);
        // With no work left over, each connection of the batch is looked up once: in the read
        // phase, which tells it the news too.
        let at_rest = ready.is_empty();
        let (count, full) = backend.wait(timeout, |source, news| match source {
            Source::Conn(slot) if at_rest => ready.push(Ready { slot, news }),
            Source::Conn(slot) => {
                if let Some(conn) = conns.peek(slot) {
                    conn.on_readiness(news);
                    Context::list_ready(conn, slot, ready);
                    Context::list_for_flush(conn, slot, dirty);
                }
            }
            Source::Listener(slot) => {
                let Some(listener) = listeners.peek(slot) else {
                    return;
                };
                listener.ready = true;
                if listener.rest.is_none() && !listener.listed {
                    listener.listed = true;
                    accepting.push_back(slot);
                }
            }
            Source::Watch(slot) => {
                let Some(watch) = watches.peek(slot) else {
                    return;
                };
                watch.readiness |= news;
                if !std::mem::replace(&mut watch.listed, true) {
                    reporting.push_back(slot);
                }
            }
            Source::Wake => {}
        })?;
        self.batch_full = full;
        self.expiries_left = false;
        self.stats.budget_hits.events += u64::from(full);
        Ok(count)
    }

    /// The read phase has ended without all of the ready list: those that it did not get to are
    /// told their news, and stay on the list if they want to be read.
    #[cold]
    pub(crate) fn put_off(&mut self, done: usize) {
        let mut ready = std::mem::take(&mut self.ready);
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
            Context::list_for_flush(conn, entry.slot, &mut self.dirty);
            conn.wants_read() && conn.raise(Flags::IN_READY)
        });
        self.ready = ready;
    }

    /// Accepts one connection from a listener of the list.
    pub(crate) fn accept(&mut self, slot: u32) -> Accepted {
        let Some((key, listener)) = self.listeners.at(slot) else {
            return Accepted::Nothing;
        };
        listener.listed = false;
        if listener.rest.is_some() {
            return Accepted::Nothing;
        }
        let (id, tag) = (ListenerId(key), listener.tag);
        let accepted = match listener.acceptor.accept() {
            Ok((stream, peer)) => Accepted::Stream(Newcomer {
                listener: id,
                tag,
                peer,
                stream,
                limits: listener.limits.clone(),
            }),
            Err(error) => match AcceptFailure::from_io(&error) {
                AcceptFailure::Drained => {
                    listener.ready = false;
                    Accepted::Nothing
                }
                AcceptFailure::PeerLost => {
                    log::debug!(target: "sockeye", "{id}: a peer was lost in accept: {error}");
                    Accepted::Nothing
                }
                // Who only waits for a peer's end gives way to one who comes.
                AcceptFailure::Rest if self.release_lingering(self.config.accepts_per_turn) > 0 => {
                    Accepted::Nothing
                }
                AcceptFailure::Rest => {
                    log::warn!(target: "sockeye", "{id} rests: cannot accept: {error}");
                    self.stats.accept_errors += 1;
                    self.rest(slot);
                    return Accepted::Failed(id, tag, error);
                }
            },
        };
        self.list_accepting(slot);
        accepted
    }

    /// The handler keeps an accepted stream.
    pub(crate) fn keep(&mut self, newcomer: Newcomer) -> io::Result<ConnId> {
        let Newcomer {
            listener,
            tag,
            peer,
            mut stream,
            limits,
        } = newcomer;
        let slot = self.conns.next_key().slot;
        if let Err(error) = self.backend.register(&mut stream, slot) {
            log::warn!(target: "sockeye", "{listener} rests: cannot register {peer}: {error}");
            self.stats.accept_errors += 1;
            if self.listeners.get(listener.0).is_some() {
                self.rest(listener.0.slot);
            }
            return Err(error);
        }
        let mut conn = Conn::new(Origin::Accepted(listener), peer, tag, limits);
        conn.attach(stream);
        let idle = conn.has_idle();
        if idle {
            conn.progress = self.time.fresh(&self.backend);
        }
        self.stats.accepted += 1;
        self.stats.opened += 1;
        let id = ConnId(self.conns.insert(conn));
        log::debug!(target: "sockeye", "{id} is open: {listener} accepted it");
        // `on_accept` itself may have begun to finish.
        if let Some(finishing) = &mut self.finishing {
            finishing.to_tell.push_back(id);
        }
        if idle {
            self.arm(slot);
        }
        Ok(id)
    }

    /// The next thing to tell of a connection of the ready list. Reads one receive buffer at most.
    #[inline(always)]
    pub(crate) fn next_input(&mut self, entry: Ready, input: &mut Input) -> Option<Step> {
        let slot = entry.slot;
        self.clear_input(entry, input);
        let (key, conn) = self.conns.at(slot)?;
        conn.leave_ready_list(entry.news);
        let is_plain = conn.is_plainly_readable();
        if !is_plain || conn.queue.is_some() {
            Context::list_for_flush(conn, slot, &mut self.dirty);
        }
        let (id, tag) = (ConnId(key), conn.tag);
        let step = |next, left, more| {
            Some(Step {
                conn: id,
                tag,
                next,
                left,
                more,
            })
        };
        if !is_plain {
            if !conn.wants_read() {
                return None;
            }
            if conn.phase() != Phase::Open || conn.has(Flags::PAUSED) {
                return self
                    .advance(slot, input)
                    .and_then(|next| step(next, None, true));
            }
            conn.clear(Flags::RESUMED);
            if conn.input.is_some() {
                return step(Next::Data, conn.input.take(), true);
            }
            if !conn.has(Flags::READABLE) {
                return None;
            }
        }
        match conn.read(input) {
            Read::Data(count) => {
                if conn.has_idle() {
                    conn.progress = self.time.fresh(&self.backend);
                }
                self.stats.reads += 1;
                self.stats.bytes_in += count as u64;
                let more = conn.has(Flags::READABLE);
                if conn.input.is_some() {
                    conn.input = input.put_in_front(conn.input.take());
                    if conn.input.is_some() {
                        return step(Next::Data, conn.input.take(), more);
                    }
                }
                self.lending.begin(key, conn);
                step(Next::Data, None, more)
            }
            Read::Eof if !conn.has(Flags::EOF) && !conn.has(Flags::WRITE_FAILED) => {
                conn.set(Flags::EOF);
                step(Next::Eof, conn.input.take(), false)
            }
            Read::Failed(error) => {
                self.end(slot, Reason::from_io(error));
                None
            }
            Read::Eof | Read::Nothing => {
                // What was left is still there.
                self.in_place = (!input.is_empty()).then_some(key);
                self.no_input(slot);
                None
            }
        }
    }

    /// Clears the receive buffer for a read.
    #[inline]
    fn clear_input(&mut self, entry: Ready, input: &mut Input) {
        match self.in_place {
            None => input.clear(),
            Some(key) => self.make_way(key, entry, input),
        }
    }

    /// What was left there stays if this is the next plain read of the same connection: it is read
    /// behind then; else its connection gets it.
    #[cold]
    fn make_way(&mut self, key: Key, entry: Ready, input: &mut Input) {
        self.in_place = None;
        if let Some(conn) = self.conns.get_mut(key) {
            if key.slot == entry.slot {
                conn.on_readiness(entry.news);
                if conn.is_plainly_readable() && input.make_room() {
                    return;
                }
            }
            if conn.phase() == Phase::Open {
                conn.input = input.leftover();
            }
        }
        input.clear();
    }

    /// Offers the end again after the pause that the handler has begun, with what is left of the
    /// input: reading at the end gives the end again. `false`: there is no pause.
    pub(crate) fn put_off_eof(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conns.get_mut(id.0).filter(|conn| conn.is_live()) else {
            return false;
        };
        let paused = conn.has(Flags::PAUSED);
        if paused {
            conn.clear(Flags::EOF);
            conn.set(Flags::READABLE);
        }
        paused
    }

    /// The end was told. Answers whether it was put off, so that what is left is still wanted.
    pub(crate) fn after_eof(&mut self, slot: u32) -> bool {
        self.end_if_both_shut(slot);
        self.end_if_reset(slot);
        let conn = self.conns.peek(slot);
        conn.is_some_and(|conn| !conn.has(Flags::EOF))
    }

    /// There is nothing to read any more. After a failed write that was the last of the input, and
    /// what made the write fail is the reason: the first error wins.
    fn no_input(&mut self, slot: u32) {
        let Some(conn) = self.conns.peek(slot) else {
            return;
        };
        match conn.has(Flags::WRITE_FAILED) && !conn.has(Flags::READABLE) {
            true => self.end(slot, Reason::Reset),
            false => {
                Context::list_ready(conn, slot, &mut self.ready);
                self.end_if_reset(slot);
            }
        }
    }

    /// After the peer's end a read says no more, also when a reset follows (Linux: tcp_recvmsg()
    /// looks at SOCK_DONE before sk_err). So the socket itself is asked, for a handler that only
    /// waits would never hear of it.
    pub(crate) fn end_if_reset(&mut self, slot: u32) {
        let Some(conn) = self.conns.peek(slot) else {
            return;
        };
        if conn.phase() != Phase::Open || !conn.has(Flags::EOF) {
            return;
        }
        if let Some(Err(error)) = conn.stream.as_mut().map(Stream::finish_connect) {
            self.end(slot, Reason::from_io(error));
        }
    }

    /// Reads are paused, and the system has reported an error. If there is one, the connection can
    /// send no more, as after a failed write; what has arrived is kept for a resume.
    #[cold]
    fn ask_for_error(&mut self, slot: u32) {
        let Some(conn) = self.conns.peek(slot) else {
            return;
        };
        conn.clear(Flags::FAULTED);
        if let Some(Err(error)) = conn.stream.as_mut().map(Stream::finish_connect) {
            self.write_failed(slot, Reason::from_io(error));
            self.list_for_drain(slot);
        }
    }

    /// The next thing to tell of a connection that is not read in the usual way: it connects, it
    /// closes, or its reads are paused.
    #[cold]
    fn advance(&mut self, slot: u32, input: &mut Input) -> Option<Next> {
        let now = self.fresh_tick();
        let conn = self.conns.peek(slot)?;
        match conn.phase() {
            Phase::Connecting => {}
            Phase::Open => {
                self.ask_for_error(slot);
                return None;
            }
            Phase::Closing | Phase::Lingering | Phase::Dead => {
                self.discard(slot, input);
                return None;
            }
        }
        let mut reset = false;
        let connected = conn.stream.as_mut()?.finish_connect().or_else(|error| {
            // A connect that is not through is refused, never reset: so this one was through, and
            // the peer may have said why it left. Asking consumed the error; no read will tell it.
            reset = matches!(error.kind(), ConnectionReset | BrokenPipe);
            if reset { Ok(true) } else { Err(error) }
        });
        match connected {
            Err(error) => {
                self.end(slot, Reason::ConnectFailed(error));
                None
            }
            Ok(false) => {
                conn.clear(Flags::READABLE);
                conn.clear(Flags::WRITABLE);
                None
            }
            Ok(true) => {
                conn.enter(Phase::Open);
                conn.set(Flags::WRITABLE);
                conn.progress = now;
                conn.restart_limit(now);
                self.stats.connected += 1;
                Context::list_dirty(conn, slot, &mut self.dirty);
                if reset {
                    self.write_failed(slot, Reason::Reset);
                }
                let (_, conn) = self.conns.at(slot)?;
                if conn.has(Flags::CLOSE_ASKED) {
                    self.begin_closing(slot);
                    return None;
                }
                self.stats.opened += 1;
                log::debug!(target: "sockeye", "{} is open: connected", conn.peer);
                self.arm(slot);
                Some(Next::Open)
            }
        }
    }

    /// A callback with input has returned: keeps what it left, unless the connection ended
    /// meanwhile.
    pub(crate) fn after_input(&mut self, slot: u32, left: Option<Leftover>) {
        let Some(conn) = self.conns.peek(slot) else {
            return;
        };
        if conn.phase() == Phase::Open {
            Context::list_ready(conn, slot, &mut self.ready);
            if let Some(left) = left {
                self.keep_left(slot, left);
            }
        }
    }

    /// The same after a plain read: what was left stays in the receive buffer for now, for the next
    /// read may be of the same connection.
    pub(crate) fn after_read(&mut self, slot: u32, input: &mut Input) {
        let Some((key, conn)) = self.conns.at(slot) else {
            return;
        };
        let stays = conn.phase() == Phase::Open && !conn.has(Flags::PAUSED);
        if stays && (1..=conn.input_limit()).contains(&input.len()) {
            self.in_place = Some(key);
            return Context::list_ready(conn, slot, &mut self.ready);
        }
        self.after_input(slot, input.leftover());
    }

    fn keep_left(&mut self, slot: u32, left: Leftover) {
        let Some((key, conn)) = self.conns.at(slot) else {
            return;
        };
        let too_much = left.len() > conn.input_limit() && !conn.has(Flags::PAUSED);
        conn.input = Some(left);
        if too_much {
            let id = ConnId(key);
            log::warn!(target: "sockeye", "{id} {}: unconsumed input above its limit", conn.peer);
            self.close_with(id, Reason::InputLimit);
        }
    }

    /// A callback has returned: if it queued bytes for its own connection and no other, they go out
    /// now. Otherwise everything waits for the flush phase, where each connection is written once.
    #[inline]
    pub(crate) fn flush_own(&mut self, slot: u32, dirty_before: usize) {
        if self.dirty.len() == dirty_before + 1 && self.dirty[dirty_before] == slot {
            self.dirty.truncate(dirty_before);
            if self.flush(slot) {
                self.list_for_drain(slot);
            }
        }
    }

    /// The flush phase is to look at it: an `on_drain` is due there, and not before.
    pub(crate) fn list_for_drain(&mut self, slot: u32) {
        if let Some(conn) = self.conns.peek(slot) {
            Context::list_dirty(conn, slot, &mut self.dirty);
        }
    }

    /// The handler is about to be told that the wait is over, unless the flush was the last one.
    pub(crate) fn end_wait(&mut self, slot: u32) -> Option<(ConnId, Tag)> {
        let (key, conn) = self.conns.at(slot)?;
        if !conn.has_drained() {
            return None;
        }
        conn.clear(Flags::WAITING);
        Some((ConnId(key), conn.tag))
    }

    /// What `on_close` is told of a connection that is over.
    pub(crate) fn epitaph(&mut self, slot: u32) -> Option<(ConnId, Tag, Closed)> {
        let (key, conn) = self.conns.at(slot)?;
        let reason = conn.reason.take().unwrap_or(Reason::Local);
        let closed = Closed {
            reason,
            undelivered: conn.lost,
        };
        log::debug!(target: "sockeye", "{} {}: {closed}", ConnId(key), conn.peer);
        self.stats.closed.count(&closed.reason);
        self.stats.bytes_lost += closed.undelivered;
        if let Some(finishing) = &mut self.finishing {
            finishing.report.bytes_lost += closed.undelivered;
            finishing.report.closed += 1;
        }
        Some((ConnId(key), conn.tag, closed))
    }

    /// What a watch has to report.
    pub(crate) fn report(&mut self, slot: u32) -> Option<(WatchId, Tag, Readiness)> {
        let (key, watch) = self.watches.at(slot)?;
        if !std::mem::replace(&mut watch.listed, false) {
            return None;
        }
        Some((
            WatchId(key),
            watch.tag,
            std::mem::take(&mut watch.readiness),
        ))
    }
}
