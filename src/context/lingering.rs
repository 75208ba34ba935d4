//! Connections that are closed and flushed, and wait for their peer to end.

use super::Context;
use crate::buffer::receive::Receive;
use crate::closed::Reason;
use crate::conn::{Conn, Flags, Phase, Read};
use crate::id::Key;
use crate::tables::slots::Slots;
use std::collections::VecDeque;

/// Who lingers, those first who have lingered longest. Some of them may be over by now.
#[derive(Default)]
pub(crate) struct Lingerers {
    keys: VecDeque<Key>,
    /// How many were left when those who were over were last put out.
    kept: usize,
    /// Those who are not over.
    alive: usize,
}

impl Lingerers {
    /// Puts those who are over out when they may be half of the list: that costs each one a look or
    /// two, and the list is never much longer than it must be.
    fn push(&mut self, key: Key, lingers: impl Fn(Key) -> bool) {
        const SLACK: usize = 64;
        if self.keys.len() >= 2 * self.kept + SLACK {
            self.keys.retain(|key| lingers(*key));
            self.kept = self.keys.len();
        }
        self.keys.push_back(key);
        self.alive += 1;
    }

    /// Counts one of them as over.
    pub(super) fn one_is_over(&mut self) {
        self.alive -= 1;
    }

    /// How many linger.
    pub(super) fn len(&self) -> usize {
        self.alive
    }

    /// Who has lingered longest. Those on the list who are over are forgotten.
    fn longest(&mut self, conns: &Slots<Conn>) -> Option<u32> {
        while let Some(key) = self.keys.front() {
            if lingers(conns, *key) {
                return Some(key.slot);
            }
            self.keys.pop_front();
        }
        None
    }
}

fn lingers(conns: &Slots<Conn>, key: Key) -> bool {
    let conn = conns.get(key);
    conn.is_some_and(|conn| conn.phase() == Phase::Lingering)
}

impl Context {
    /// The last byte of a closing connection is out. A FIN says so to the peer, and then its own
    /// end is awaited. Closing the socket at once would answer whatever it still sends with a RST,
    /// which takes from it what it has not read yet (RFC 9112, section 9.6).
    pub(super) fn linger_or_end(&mut self, slot: u32) {
        let (key, conn) = self.conns.listed_key(slot);
        // Its end has come already, or nobody wants to wait for it.
        if conn.has(Flags::EOF) || conn.limits().linger_time.is_zero() {
            return self.end(slot, Reason::Local);
        }
        conn.begin_lingering(self.schedule.fresh());
        self.lists.want_read(slot, conn);
        self.schedule.arm(slot, conn);
        self.lingerers.push(key, |key| lingers(&self.conns, key));
    }

    /// Is there a place for one more connection? Somebody who lingers may have to give up its own,
    /// which is done if the place is to be `taken`.
    pub(crate) fn has_room(&mut self, taken: bool) -> bool {
        // Whoever is over holds a slot until the reap phase, and nothing else.
        let alive = self.conns.len() - self.lists.over();
        alive < self.config.max_connections || self.finds_room(alive, taken)
    }

    /// One of several workers may have a place that is for all of them.
    #[cold]
    fn finds_room(&mut self, alive: usize, taken: bool) -> bool {
        let seat = self.seat.as_mut();
        seat.is_some_and(|seat| seat.has_place(alive, taken))
            || match taken {
                true => self.release_lingering(1) > 0,
                false => self.lingerers.len() > 0,
            }
    }

    /// Closes those who have lingered longest, so many at most, and gives their descriptors back at
    /// once. Answers how many they were. Their slots are freed by the reap phase, as always.
    pub(super) fn release_lingering(&mut self, most: usize) -> usize {
        let mut released = 0;
        while released < most
            && let Some(slot) = self.lingerers.longest(&self.conns)
        {
            self.conns.listed_mut(slot).release_stream();
            self.end(slot, Reason::Local);
            released += 1;
        }
        released
    }

    /// One read of a closing connection. Input is discarded; an end closes it once all is out, an
    /// error at once.
    pub(super) fn discard(&mut self, slot: u32, receive: &mut Receive) {
        let conn = self.conns.listed_mut(slot);
        let read = conn.discard(receive);
        self.lists.want_answer(slot, conn);
        match read {
            Read::Data(count) => {
                self.stats.reads += 1;
                self.stats.bytes_in += count as u64;
                // It is not silent. A flush has a time of its own, which this does not move.
                if conn.phase() == Phase::Lingering {
                    conn.restart_limit(self.schedule.fresh());
                }
                self.lists.want_read(slot, conn);
            }
            Read::Later => {
                let (key, conn) = self.conns.listed_key(slot);
                self.schedule.retry_later(key, conn);
            }
            Read::Nothing => self.lists.want_read(slot, conn),
            Read::Eof => {
                conn.set(Flags::EOF);
                if conn.phase() == Phase::Lingering {
                    self.end(slot, Reason::Local);
                }
            }
            Read::Failed(error) => self.end(slot, Reason::from_io(error)),
            // What is discarded is not decrypted.
            #[cfg(feature = "tls")]
            Read::Truncated | Read::Broken(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn the_list_of_those_who_linger_forgets_those_who_are_over() {
        let mut lingerers = Lingerers::default();
        for slot in 0..10_000 {
            let generation = 1;
            // The last three linger, and each hundredth.
            let lingers = |key: Key| key.slot + 3 > slot || key.slot.is_multiple_of(100);
            lingerers.push(Key { slot, generation }, lingers);
        }
        assert!(lingerers.keys.len() < 500, "{}", lingerers.keys.len());
        let first = [0, 100, 200].map(|slot| {
            Some(Key {
                slot,
                generation: 1,
            })
        });
        assert!(first == [0, 1, 2].map(|at| lingerers.keys.get(at).copied()));
    }

    #[test]
    fn to_put_them_out_costs_each_a_look_or_two() {
        let (mut lingerers, looks) = (Lingerers::default(), Cell::new(0));
        for slot in 0..10_000 {
            let generation = 1;
            lingerers.push(Key { slot, generation }, |_| {
                looks.set(looks.get() + 1);
                true
            });
        }
        assert_eq!(lingerers.keys.len(), 10_000);
        assert!((1..20_000).contains(&looks.get()), "{}", looks.get());
    }
}
