//! Accepting: who is let in, and when a listener rests.

use super::Context;
use crate::addr::Addr;
use crate::backend::{Stream, is_exhaustion, is_shortage};
use crate::config::Limits;
use crate::conn::Conn;
use crate::id::{ConnId, ListenerId, Tag};
use crate::listener::AcceptFailure;
#[cfg(feature = "tls")]
use crate::options::StartTls;
use crate::stats::Stats;
use std::sync::Arc;
use std::{fmt, io};

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
    last_word: Option<Arc<[u8]>>,
    #[cfg(feature = "tls")]
    tls: Option<StartTls>,
}

impl Newcomer {
    /// Does its listener speak TLS?
    #[cfg(feature = "tls")]
    pub(super) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// The socket alone, for another loop.
    pub(crate) fn into_socket(self) -> (Stream, Addr) {
        (self.stream, self.peer)
    }

    /// Sends it away, with its last word if there is one. What is not taken at once is not waited
    /// for; then the end is a reset, so that the peer does not take a part for the whole.
    pub(crate) fn refuse(mut self) {
        if let Some(word) = &self.last_word {
            let written = self.stream.write(word);
            if !written.is_ok_and(|count| count == word.len()) {
                self.stream.reset_on_drop();
            }
        }
    }
}

/// A listener is about to rest. Peers who stay may be the cause, each time that it tries again: it
/// is a warning at the first, second, fourth of all these times, and in detail at others.
fn note_rest(stats: &mut Stats, listener: ListenerId, why: fmt::Arguments<'_>) {
    stats.accept_errors += 1;
    let times = stats.accept_errors;
    let level = match times.is_power_of_two() {
        true => log::Level::Warn,
        false => log::Level::Debug,
    };
    log::log!(
        target: "sockeye",
        level,
        "{listener} rests: {why} ({times} times so far)"
    );
}

/// May a descriptor that somebody gives up make this error go away?
fn gives_way(error: &io::Error) -> bool {
    is_exhaustion(error) || is_shortage(error)
}

impl Context {
    /// Accepts one connection from a listener of the list.
    #[inline(always)]
    pub(crate) fn accept(&mut self, slot: u32) -> Accepted {
        let Some(listener) = self.listeners.peek(slot) else {
            return Accepted::Nothing;
        };
        // Off the list first, so that it can be put back at its end: others come in between.
        listener.listed = false;
        if listener.rest.is_some() || listener.paused {
            return Accepted::Nothing;
        }
        let (id, tag) = (listener.id, listener.tag);
        let accepted = match listener.acceptor.accept() {
            Ok((stream, peer)) => Accepted::Stream(Newcomer {
                listener: id,
                tag,
                peer,
                stream,
                limits: listener.limits.clone(),
                last_word: listener.last_word.clone(),
                #[cfg(feature = "tls")]
                tls: listener.tls.clone(),
            }),
            Err(error) => match AcceptFailure::from_io(&error) {
                AcceptFailure::Nobody => {
                    listener.ready = false;
                    Accepted::Nothing
                }
                AcceptFailure::PeerLost => {
                    log::debug!(target: "sockeye", "{id}: a peer was gone before accept: {error}");
                    Accepted::Nothing
                }
                // Who only waits for a peer's end gives its descriptor to one who comes.
                AcceptFailure::Rest if gives_way(&error) && self.release_lingering(1) > 0 => {
                    Accepted::Nothing
                }
                AcceptFailure::Rest => {
                    note_rest(&mut self.stats, id, format_args!("cannot accept: {error}"));
                    self.rest(slot);
                    return Accepted::Failed(id, tag, error);
                }
            },
        };
        // Somebody else may wait behind this one, of whom no new edge tells.
        if let Some(listener) = self.listeners.peek(slot) {
            self.lists.want_accept(slot, listener);
        }
        accepted
    }

    /// The handler keeps an accepted stream. `None`: it is open when its handshake is through.
    pub(crate) fn keep(&mut self, newcomer: Newcomer) -> io::Result<Option<ConnId>> {
        let Newcomer {
            listener,
            tag,
            peer,
            mut stream,
            limits,
            #[cfg(feature = "tls")]
            tls,
            ..
        } = newcomer;
        // Registered before it is told of: a stream that no edge will come for must not be kept.
        let slot = self.conns.next_key().slot;
        if let Err(error) = self.backend.register(&mut stream, slot) {
            // The text in the call: one that is stored needs Rust 1.89.
            note_rest(
                &mut self.stats,
                listener,
                format_args!("cannot register {peer}: {error}"),
            );
            // At which of its addresses the peer came is not kept: all of them rest.
            for key in self.sockets_of(listener) {
                if let Some(state) = self.listeners.get_mut(key)
                    && state.rest.is_none()
                {
                    state.rest = Some(self.schedule.rest(key.slot, self.config.accept_backoff));
                }
            }
            return Err(error);
        }
        let mut conn = Conn::accepted(listener, peer, tag, limits);
        conn.attach(stream);
        self.stats.accepted += 1;
        #[cfg(feature = "tls")]
        if let Some(side) = tls {
            conn.secure(side, 0)?;
            self.conns.insert(conn);
            self.begin_handshake(slot);
            return Ok(None);
        }
        // Only an idle time needs the clock, and a timer.
        let idle = conn.has_idle();
        if idle {
            conn.note_progress(self.schedule.fresh());
        }
        self.stats.opened += 1;
        let id = ConnId(self.conns.insert(conn));
        log::debug!(target: "sockeye", "{id} is open: accepted by {listener}");
        // `on_accept` itself may have begun to finish.
        if let Some(finishing) = &mut self.finishing {
            finishing.to_tell.push_back(id);
            self.end_grace_again();
        }
        if idle {
            self.schedule.arm(slot, self.conns.listed_mut(slot));
        }
        Ok(Some(id))
    }

    /// A listener rests, for there is nobody who could take more.
    pub(crate) fn rest(&mut self, slot: u32) {
        let timer = self.schedule.rest(slot, self.config.accept_backoff);
        if let Some(listener) = self.listeners.peek(slot) {
            listener.rest = Some(timer);
        }
    }

    /// A worker is there again who takes more: a listener that rests, for whatever reason, is asked
    /// at once. That is as often as workers begin again, and no oftener.
    pub(crate) fn end_rest(&mut self, listener: ListenerId) {
        for key in self.sockets_of(listener) {
            let state = self.listeners.get_mut(key);
            if let Some(timer) = state.and_then(|state| state.rest.take()) {
                self.schedule.cancel(timer);
                self.rested(key.slot);
            }
        }
    }

    /// A listener has rested: whoever waited in its backlog meanwhile needs no new edge.
    pub(crate) fn rested(&mut self, slot: u32) {
        if let Some(listener) = self.listeners.peek(slot) {
            listener.rest = None;
            listener.ready = true;
            self.lists.want_accept(slot, listener);
        }
    }
}
