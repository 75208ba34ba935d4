//! Waiting: what the system tells becomes state.

use super::{Context, Ready};
use crate::backend::Source;
use crate::id::{Tag, WatchId};
use crate::readiness::Readiness;
use std::io;
use std::time::Duration;

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
