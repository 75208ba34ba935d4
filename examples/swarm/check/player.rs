//! A scripted peer as the swarm plays it, in plain or by TLS.

use super::ledger::{End, Shared};
use super::secure::Session;
use sockeye::sim::Peer;
use std::rc::Rc;

pub struct Player {
    pub peer: Rc<Peer>,
    pub end: End,
    /// It speaks TLS.
    pub session: Option<Session>,
    pub heard: usize,
    pub deaf: bool,
    pub shut: bool,
    pub closed: bool,
    pub end_told: bool,
}

impl Player {
    pub fn over(&mut self, ledger: &Shared) {
        self.closed = true;
        ledger.borrow_mut().half(self.end).live = false;
        ledger.borrow_mut().other(self.end).owed = false;
    }

    /// Sends what its session has to say, and answers whether that is anything.
    pub fn speak(&mut self) -> bool {
        let Some(session) = self.session.as_mut().filter(|_| !self.shut) else {
            return false;
        };
        let said = session.says();
        if said.is_empty() || self.peer.was_reset() {
            return false;
        }
        self.peer.send(said);
        true
    }

    pub fn say_end(&mut self, is_polite: bool, ledger: &Shared) {
        let Some(session) = self.session.as_mut().filter(|_| !self.shut) else {
            return;
        };
        let mut ledger = ledger.borrow_mut();
        if !session.ends(is_polite) {
            ledger.half(self.end).rude = true;
        } else if !self.peer.was_reset() {
            self.peer.send(session.says());
            ledger.said(self.end);
        }
    }

    pub fn listen(&mut self) {
        if !self.closed {
            self.deaf = false;
            self.peer.hear();
            self.peer.hurry();
        }
    }

    pub fn shut(&mut self, ledger: &Shared) {
        if !self.closed {
            self.say_end(true, ledger);
            self.shut = true;
            self.peer.shutdown();
            ledger.borrow_mut().half(self.end).finished = true;
        }
    }

    pub fn close(&mut self, ledger: &Shared) {
        if !self.closed {
            self.over(ledger);
            ledger.borrow_mut().half(self.end).finished = true;
            self.say_end(false, ledger);
            self.peer.close();
        }
    }
}
