//! Time in a world, and the turns that its reactors make in it.

use super::World;
use crate::clock::after;
use crate::sim::clock::Clock;
use std::time::{Duration, Instant};

/// Turns at one moment of virtual time after which it is a spin: work is claimed for ever. They are
/// more than the bytes that may be pending, for these may leave one at a time.
const SPIN: usize = 1_000_000;

impl World {
    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.net.lock().instant()
    }

    /// The clock, for a handler under test: it may look at it, and spend time on it.
    pub fn clock(&self) -> Clock {
        Clock::of(&self.net)
    }

    /// Turns every reactor until nothing moves. Time stands still, so what a link delays stays
    /// away; but with the faults `stalls` and `slow_callbacks` the clock may jump all the same.
    ///
    /// # Panics
    ///
    /// When work is claimed for ever: a spin.
    #[track_caller]
    pub fn settle(&mut self) {
        for _ in 0..SPIN {
            let delivered = self.net.lock().deliver_due();
            let turned = match self.turn_each() {
                Ok(turned) => turned,
                Err(spin) => panic!("{spin}{} (seed {})", self.signals(), self.seed),
            };
            if !delivered && !turned && !self.net.run_posts() {
                return;
            }
        }
        let busy: Vec<usize> = (0..self.nodes.len())
            .filter(|at| self.is_busy(*at))
            .collect();
        let busy: Vec<&str> = busy.iter().map(|at| &*self.names[*at]).collect();
        panic!(
            "{}: a spin: after {SPIN} rounds at one moment there is still work{} (seed {})",
            busy.join(", "),
            self.signals(),
            self.seed
        );
    }

    /// What may be to blame for a spin, rather than a handler.
    fn signals(&self) -> String {
        match self.net.lock().faults.interrupts {
            0 => String::new(),
            often => format!("; Faults::interrupts ends {often} calls in 1000"),
        }
    }

    /// Lets time pass, and everything happen that is due meanwhile. A timer that is always set
    /// again makes this as long as the time is: a year takes long.
    ///
    /// # Panics
    ///
    /// As `settle` does.
    #[track_caller]
    pub fn advance(&mut self, time: Duration) {
        let until = after(self.net.lock().now, time);
        self.settle();
        while self.jump(until) {
            self.settle();
        }
        let mut net = self.net.lock();
        net.now = net.now.max(until);
    }

    /// Lets time pass until nothing more will ever happen by itself, or `horizon` is over. Answers
    /// whether it came to rest.
    ///
    /// # Panics
    ///
    /// As `settle` does.
    #[track_caller]
    pub fn rest(&mut self, horizon: Duration) -> bool {
        let until = after(self.net.lock().now, horizon);
        self.settle();
        while self.jump(until) {
            self.settle();
        }
        self.next_moment().is_none()
    }

    /// Jumps to the next moment at which something happens, if that is not after `until`.
    fn jump(&mut self, until: u64) -> bool {
        match self.next_moment() {
            Some(at) if at <= until => {
                let mut net = self.net.lock();
                net.now = net.now.max(at);
                true
            }
            _ => false,
        }
    }

    fn next_moment(&mut self) -> Option<u64> {
        // Each in turn: a reactor that is asked looks at the network's clock itself.
        let wakeup = self
            .nodes
            .iter_mut()
            .filter_map(|node| node.wakes_at())
            .min();
        let net = self.net.lock();
        let wakeup = wakeup.map(|at| net.tick(at));
        wakeup.into_iter().chain(net.next_arrival()).min()
    }

    /// One turn of each reactor that has a reason for one, in an order of chance.
    fn turn_each(&mut self) -> Result<bool, String> {
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        if order.len() > 1 {
            self.net.lock().random.shuffle(&mut order);
        }
        let mut any = false;
        for index in order {
            if self.is_busy(index) {
                self.round.turns(Some(index));
                let turned = self.nodes[index].turn();
                self.round.turns(None);
                turned.map_err(|spin| format!("{}: {spin}", self.names[index]))?;
                self.turns += 1;
                any = true;
            }
        }
        for end_round in &self.mailboxes {
            end_round(&mut |below| self.net.lock().random.below(below as u64) as usize);
        }
        Ok(any)
    }

    /// Has it a reason for a turn?
    fn is_busy(&mut self, index: usize) -> bool {
        let node = &mut self.nodes[index];
        let now = self.net.lock().instant();
        let due = node.wakes_at().is_some_and(|at| at <= now);
        let poller = node.poller();
        due || poller.is_some_and(|poller| self.net.lock().has_events(poller))
    }
}
