//! One listener: what it gives to the connections that it accepts, and when it rests.

use crate::addr::Addr;
use crate::backend::Acceptor;
use crate::config::Limits;
use crate::id::{Key, ListenerId, Tag};
#[cfg(feature = "tls")]
use crate::options::StartTls;
use std::io;
use std::sync::Arc;

pub(crate) struct Listener {
    pub(crate) acceptor: Acceptor,
    pub(crate) local: Addr,
    /// Whose connections these are: of a name with several addresses the listener at the first.
    pub(crate) id: ListenerId,
    /// Those at the other addresses, of the one at the first.
    pub(crate) others: Box<[Key]>,
    pub(crate) tag: Tag,
    pub(crate) limits: Arc<Limits>,
    /// Connections may wait. Set by an edge; cleared only by `WouldBlock`.
    pub(crate) ready: bool,
    /// The listener is on the list of those to accept from.
    pub(crate) listed: bool,
    /// The listener rests after an error until this timer fires.
    pub(crate) rest: Option<Key>,
    /// The handler has paused it.
    pub(crate) paused: bool,
    /// What is written to those who are refused.
    pub(crate) last_word: Option<Arc<[u8]>>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<StartTls>,
}

impl Listener {
    /// One listener with one address, and nothing waiting that is known of.
    pub(crate) fn new(
        id: ListenerId,
        (acceptor, local): (Acceptor, Addr),
        tag: Tag,
        limits: Arc<Limits>,
    ) -> Listener {
        Listener {
            acceptor,
            local,
            id,
            others: Box::default(),
            tag,
            limits,
            ready: false,
            listed: false,
            rest: None,
            paused: false,
            last_word: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// May somebody wait, and does it neither rest nor pause?
    pub(crate) fn may_accept(&self) -> bool {
        self.ready && self.rest.is_none() && !self.paused
    }
}

/// What an error of `accept` means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AcceptFailure {
    /// Nobody waits.
    Nobody,
    /// One peer is lost (or a signal came): the next may be there.
    PeerLost,
    /// No descriptors or memory, or the listener itself is broken: try again later, for trying at
    /// once would spin.
    Rest,
}

impl AcceptFailure {
    pub(crate) fn from_io(error: &io::Error) -> AcceptFailure {
        use io::ErrorKind::*;
        match error.kind() {
            WouldBlock => AcceptFailure::Nobody,
            // The system's backend names all errors that concern one peer so.
            Interrupted | ConnectionAborted => AcceptFailure::PeerLost,
            _ => AcceptFailure::Rest,
        }
    }
}
