//! Sources of one connection: output that it asks for when little is pending.
//!
//! A connection that has a source waits (`Flags::WAITING`) and has a queue, so that the straight
//! ways, which exclude a wait, pass it by and cost nothing for it.

use super::{Conn, Flags, Written};
use crate::backend::is_of_file;
use crate::buffer::outbox::Outbox;
use crate::buffer::source::Source;
use crate::buffer::write_queue::WriteQueue;
use crate::transport::Transport;
use std::io;

/// What the system is asked to send of a file in one call: it does not come back before, if the
/// peer takes that much.
const FILE_CALL: usize = 2 * 1024 * 1024;

/// What a source counts for the hard limit, so that there is no end of them either.
pub(crate) const SOURCE_WEIGHT: usize = 4096;

/// What came of asking a source and writing what it gave.
pub(crate) enum Sourced {
    Written(Written),
    /// The sources of this turn have given what they may.
    NextTurn,
    /// The source is broken, and the connection with it.
    Broken(io::Error),
}

impl Conn {
    /// Has it a source that has not come to its end?
    #[inline]
    pub(crate) fn has_source(&self) -> bool {
        self.has(Flags::WAITING) && self.has_line()
    }

    fn has_line(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.line.is_empty())
    }

    /// Bytes that were sent behind a source, and the weight of all sources.
    #[cold]
    pub(super) fn behind(&self) -> (usize, usize) {
        self.rare.as_ref().map_or((0, 0), |rare| {
            (rare.line.behind(), rare.line.len() * SOURCE_WEIGHT)
        })
    }

    /// Queues a source behind what is pending.
    pub(crate) fn push_source(&mut self, source: Source, outbox: &mut Outbox) {
        // It has a queue from now on, for what the source gives; its part of the block is first.
        self.push(outbox, |_, _| {});
        self.set(Flags::WAITING);
        self.rare().line.push(source);
    }

    /// Queues what `push` pushes behind its sources. Answers how much is pending then.
    #[cold]
    pub(super) fn push_behind(&mut self, push: impl FnOnce(&mut WriteQueue)) -> usize {
        self.rare().line.push_behind(push);
        self.pending()
    }

    /// The first source is to be asked again. Answers whether it had waited for that.
    pub(crate) fn wake_source(&mut self) -> bool {
        self.has_source() && self.rare().line.wake()
    }

    /// May its source have something?
    #[cold]
    pub(super) fn is_source_awake(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.line.is_awake())
    }

    /// Bytes wait for the peer to take them.
    pub(super) fn is_waiting_for_peer(&self) -> bool {
        self.queued() > 0 || self.owes()
    }

    /// All sources are dropped, and with them what would still have come: the peer must not take
    /// what it has got for the whole.
    pub(super) fn drop_sources(&mut self) {
        if self.has_line() {
            let rare = self.rare();
            rare.line = Default::default();
            rare.is_cut_short = true;
        }
    }

    /// Has a source been dropped before its end?
    pub(super) fn is_cut_short(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.is_cut_short)
    }

    /// Asks its sources if little is pending, and makes one write.
    pub(crate) fn write_from_source(&mut self, outbox: &mut Outbox) -> Sourced {
        // A transport in its handshake takes no bytes, but has words of its own.
        let takes_bytes = self.transport.as_ref().is_some_and(Transport::takes_bytes);
        if !takes_bytes {
            return Sourced::Written(self.write_pending(outbox));
        }
        if self.queued() == 0
            && outbox.of_sources() > 0
            && let Some(sent) = self.send_file(outbox)
        {
            return sent;
        }
        let (low, full) = (self.limits.low_watermark, self.limits.high_watermark.max(1));
        if let (Some(rare), Some(queue), Some(transport)) =
            (&mut self.rare, &mut self.queue, &self.transport)
            && queue.len() + transport.held() <= low
        {
            let pending = queue.len() + transport.held();
            let most = full.saturating_sub(pending).min(outbox.of_sources());
            let full = queue.len() + most;
            match rare.line.fill(queue, full, transport.sends_files()) {
                Ok(given) => outbox.gave(given),
                Err(error) => return Sourced::Broken(error),
            }
            // There is nothing to write, and that is the budget's doing.
            let is_dry = queue.len() == 0 && !transport.owes();
            if is_dry && rare.line.is_awake() && outbox.of_sources() == 0 {
                return Sourced::NextTurn;
            }
        }
        match self.is_waiting_for_peer() {
            false => Sourced::Written(Written::Nothing),
            true => Sourced::Written(self.write_pending(outbox)),
        }
    }

    /// Has the system send a part of the file that is next. `None`: it is to be read, or is none.
    fn send_file(&mut self, outbox: &mut Outbox) -> Option<Sourced> {
        let (rare, queue) = (self.rare.as_mut()?, self.queue.as_mut()?);
        let Some(Transport::Plain(stream)) = &mut self.transport else {
            return None;
        };
        if !stream.sends_files() {
            return None;
        }
        let part = rare.line.file_to_send()?;
        let most = part.at_most(FILE_CALL.min(outbox.of_sources()));
        match stream.send_file(&part.file, part.range.start, most) {
            Ok(count) => {
                if let Err(error) = part.advance(count) {
                    return Some(Sourced::Broken(error));
                }
                if part.is_done() {
                    rare.line.next(queue);
                }
                outbox.gave(count);
                Some(Sourced::Written(Written::Bytes(count)))
            }
            // A file, or a system, that does not do it; or a broken file, of which a read tells.
            Err(error) if is_of_file(&error) => {
                part.must_be_read = true;
                None
            }
            // Fewer bytes than asked for prove nothing here: the next call meets `WouldBlock`.
            result => Some(Sourced::Written(self.judge(0, result))),
        }
    }
}
