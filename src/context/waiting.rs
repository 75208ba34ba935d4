//! Waiting: what the system tells becomes state.

use super::{Context, Lists};
use crate::backend::Source;
use crate::conn::Conn;
use crate::id::{Tag, WatchId};
use crate::listener::Listener;
use crate::readiness::Readiness;
use crate::tables::slots::Slots;
use crate::watch::Watch;
use std::io;
use std::time::Duration;

impl Context {
    /// Waits, and turns each event into state. Answers the number of events.
    #[inline(always)]
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.schedule.forget();
        #[cfg(feature = "tls")]
        {
            self.handshakes.steps = 0;
            self.handshakes.is_full = false;
        }
        let Context {
            backend,
            conns,
            listeners,
            watches,
            lists,
            ..
        } = self;
        // With no work left over, each connection of the batch is looked up once: in the read
        // phase, which tells it the news too. Otherwise the list could grow without end.
        let none_left_over = lists.ready_len() == 0;
        let (count, full) = backend.wait(timeout, |source, news| match source {
            Source::Conn(slot) if none_left_over => lists.tell(slot, news),
            source => note(source, news, conns, listeners, watches, lists),
        })?;
        self.lists.begin_turn(full);
        self.outbox.begin_turn(self.config.source_bytes_per_turn);
        self.stats.turns += 1;
        self.stats.budget_hits.events += u64::from(full);
        Ok(count)
    }

    /// What a watch has to report.
    pub(crate) fn report(&mut self, slot: u32) -> Option<(WatchId, Tag, u64, Readiness)> {
        let (key, watch) = self.watches.at(slot)?;
        if !std::mem::replace(&mut watch.listed, false) {
            return None;
        }
        Some((
            WatchId(key),
            watch.tag,
            watch.key,
            std::mem::take(&mut watch.readiness),
        ))
    }
}

/// What an event says of its source, where that is not for the read phase. By itself, so that the
/// straight way stays short in a large program too.
#[inline(never)]
fn note(
    source: Source,
    news: Readiness,
    conns: &mut Slots<Conn>,
    listeners: &mut Slots<Listener>,
    watches: &mut Slots<Watch>,
    lists: &mut Lists,
) {
    match source {
        Source::Conn(slot) => {
            if let Some(conn) = conns.peek(slot) {
                conn.on_readiness(news);
                lists.want_read(slot, conn);
                lists.want_flush_if_writable(slot, conn);
            }
        }
        Source::Listener(slot) => {
            if let Some(listener) = listeners.peek(slot) {
                listener.ready = true;
                lists.want_accept(slot, listener);
            }
        }
        Source::Watch(slot) => {
            if let Some(watch) = watches.peek(slot) {
                watch.readiness |= news;
                lists.want_report(slot, watch);
            }
        }
        Source::Attempt(slot) => lists.want_attempt(slot),
        // By a message, or by a helper of the loop itself.
        Source::Wake => lists.want_mail(),
    }
}
