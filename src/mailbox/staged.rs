//! Messages of one round in a simulated world: a turn of each node that has something to do. Nodes
//! are turned one after the other, and stand for threads that run at once. So what several of them
//! post to a mailbox in one round comes in any order that keeps the order of each, and perhaps in
//! another order to another mailbox.

use super::{Inbox, Sender};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Who is being turned.
#[derive(Default)]
pub(crate) struct Round(AtomicUsize);

impl Round {
    const NOBODY: usize = 0;

    pub(crate) fn turns(&self, node: Option<usize>) {
        let word = node.map_or(Round::NOBODY, |node| node + 1);
        self.0.store(word, Ordering::Relaxed);
    }

    /// Another thread does something in the middle of a turn, which is not the node's.
    pub(crate) fn apart<T>(&self, act: impl FnOnce() -> T) -> T {
        let who = self.0.swap(Round::NOBODY, Ordering::Relaxed);
        let done = act();
        self.0.store(who, Ordering::Relaxed);
        done
    }

    fn who(&self) -> Option<usize> {
        match self.0.load(Ordering::Relaxed) {
            Round::NOBODY => None,
            word => Some(word - 1),
        }
    }
}

impl<M> Sender<M> {
    /// From now on what nodes post is seen when their round is over.
    pub(crate) fn stage(&self, round: &Arc<Round>) {
        _ = self.shared.round.set(round.clone());
    }

    /// Keeps a message of a node until its round is over. Others are given back, to be posted now.
    pub(super) fn keep(&self, inbox: &mut Inbox<M>, message: M) -> Option<M> {
        match self.shared.round.get().and_then(|round| round.who()) {
            Some(who) => {
                inbox.staged.push((who, message));
                None
            }
            None => Some(message),
        }
    }

    /// The round is over. `pick` chooses a number below the one that it is given: of so many whose
    /// messages wait, who is next.
    pub(crate) fn end_round(&self, mut pick: impl FnMut(usize) -> usize) {
        let mut staged = std::mem::take(&mut self.shared.lock().staged);
        if staged.is_empty() {
            return;
        }
        let mut order = Vec::new();
        while !staged.is_empty() {
            let mut posters: Vec<usize> = staged.iter().map(|(who, _)| *who).collect();
            posters.sort_unstable();
            posters.dedup();
            let next = match posters.len() {
                1 => posters[0],
                count => posters[pick(count)],
            };
            let first = staged.iter().position(|(who, _)| *who == next);
            order.extend(first.map(|place| staged.remove(place).1));
        }
        // It knows whether the mailbox was closed meanwhile, and then they are dropped.
        self.send_all(&mut order);
    }
}
