//! A listener whose peers are handed to it: another loop accepts them.

use super::{Acceptor, Stream};
use crate::addr::Addr;
use std::collections::VecDeque;
use std::io;

/// Peers that another loop has accepted, and that this one has not taken yet. Its events are made
/// by whoever puts them in.
pub(crate) struct Handed {
    waiting: VecDeque<(Stream, Addr)>,
    local: Addr,
}

impl Handed {
    #[inline(never)]
    pub(super) fn accept(&mut self) -> io::Result<(Stream, Addr)> {
        let first = self.waiting.pop_front();
        first.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    pub(super) fn local_addr(&self) -> Addr {
        self.local.clone()
    }

    /// One more waits.
    pub(crate) fn push(&mut self, stream: Stream, peer: Addr) {
        self.waiting.push_back((stream, peer));
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// All that wait: this listener is to have none of them.
    pub(crate) fn take_all(&mut self) -> Vec<(Stream, Addr)> {
        std::mem::take(&mut self.waiting).into()
    }
}

impl Acceptor {
    /// One whose peers are handed to it. They come to the address of the listener that accepts.
    pub(crate) fn handed(local: Addr) -> Acceptor {
        Acceptor::Handed(Handed {
            waiting: VecDeque::new(),
            local,
        })
    }

    /// What waits in it, if its peers are handed to it.
    pub(crate) fn as_handed(&mut self) -> Option<&mut Handed> {
        match self {
            Acceptor::Handed(handed) => Some(handed),
            _ => None,
        }
    }

    /// How many wait in it, if its peers are handed to it.
    pub(crate) fn handed_len(&self) -> usize {
        match self {
            Acceptor::Handed(handed) => handed.len(),
            _ => 0,
        }
    }
}
