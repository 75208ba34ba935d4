//! Timers: what is due, in the order of time, and of setting among equals.

use super::slots::Slots;
use crate::clock::Tick;
use crate::id::Key;

/// A heap with four children a node, whose entries know their place: setting, moving and
/// cancelling are O(log n), and a cancelled timer is gone at once instead of piling up.
pub(crate) struct Timers<T> {
    heap: Vec<Node>,
    entries: Slots<Entry<T>>,
    /// How many were ever set: the order among equals.
    set: u64,
}

#[derive(Clone, Copy)]
struct Node {
    at: Tick,
    order: u64,
    slot: u32,
}

struct Entry<T> {
    place: u32,
    value: T,
}

impl Node {
    fn before(&self, other: &Node) -> bool {
        (self.at, self.order) < (other.at, other.order)
    }
}

const CHILDREN: usize = 4;

impl<T> Timers<T> {
    pub(crate) fn new() -> Timers<T> {
        Timers {
            heap: Vec::new(),
            entries: Slots::new(),
            set: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    #[cfg(feature = "sim")]
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(_, entry)| &entry.value)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// When the earliest is due.
    pub(crate) fn next(&self) -> Option<Tick> {
        self.heap.first().map(|node| node.at)
    }

    /// A mark in the order of setting: `pop_due` with it leaves alone what is set afterwards.
    pub(crate) fn mark(&self) -> u64 {
        self.set
    }

    pub(crate) fn set(&mut self, at: Tick, value: T) -> Key {
        let place = self.heap.len();
        let key = self.entries.insert(Entry {
            place: place as u32,
            value,
        });
        self.heap.push(Node {
            at,
            order: self.set,
            slot: key.slot,
        });
        self.set += 1;
        self.rise(place);
        key
    }

    /// Moves a timer to another time, as if it were set anew. `false`: it is not set.
    pub(crate) fn reset(&mut self, key: Key, at: Tick) -> bool {
        let Some(entry) = self.entries.get(key) else {
            return false;
        };
        let place = entry.place as usize;
        self.heap[place].at = at;
        self.heap[place].order = self.set;
        self.set += 1;
        self.settle(place);
        true
    }

    /// When it is due, if it is set.
    pub(crate) fn at(&self, key: Key) -> Option<Tick> {
        self.entries
            .get(key)
            .map(|entry| self.heap[entry.place as usize].at)
    }

    pub(crate) fn cancel(&mut self, key: Key) -> Option<T> {
        let place = self.entries.get(key)?.place as usize;
        self.take(place).map(|(_, value)| value)
    }

    /// The earliest with its time, if it is due at `now` and was set before `mark`.
    pub(crate) fn due(&mut self, now: Tick, mark: u64) -> Option<(Key, Tick, &mut T)> {
        let first = self.heap.first()?;
        if first.at > now || first.order >= mark {
            return None;
        }
        let (at, slot) = (first.at, first.slot);
        let (key, entry) = self.entries.at(slot)?;
        Some((key, at, &mut entry.value))
    }

    /// What is set under this key.
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Takes the earliest, if it is due at `now` and was set before `mark`.
    ///
    /// Nothing may be set for a time before `now`: then what is set after the mark sorts behind
    /// what is due, and cannot hide it.
    pub(crate) fn pop_due(&mut self, now: Tick, mark: u64) -> Option<(Key, T)> {
        let first = self.heap.first()?;
        if first.at > now || first.order >= mark {
            return None;
        }
        self.take(0)
    }

    fn take(&mut self, place: usize) -> Option<(Key, T)> {
        let node = self.heap.swap_remove(place);
        if place < self.heap.len() {
            self.settle(place);
        }
        let (key, _) = self.entries.at(node.slot)?;
        self.entries
            .remove(node.slot)
            .map(|entry| (key, entry.value))
    }

    fn settle(&mut self, place: usize) {
        let place = self.rise(place);
        self.sink(place);
    }

    fn rise(&mut self, mut place: usize) -> usize {
        let node = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if !node.before(&self.heap[parent]) {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, node);
        place
    }

    fn sink(&mut self, mut place: usize) {
        let node = self.heap[place];
        loop {
            let first = place * CHILDREN + 1;
            let children = first..(first + CHILDREN).min(self.heap.len());
            let Some(least) = children.reduce(|a, b| match self.heap[b].before(&self.heap[a]) {
                true => b,
                false => a,
            }) else {
                break;
            };
            if !self.heap[least].before(&node) {
                break;
            }
            self.put(place, self.heap[least]);
            place = least;
        }
        self.put(place, node);
    }

    fn put(&mut self, place: usize, node: Node) {
        self.heap[place] = node;
        if let Some((_, entry)) = self.entries.at(node.slot) {
            entry.place = place as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn pop_all(timers: &mut Timers<u64>, now: Tick) -> Vec<u64> {
        let mark = timers.mark();
        std::iter::from_fn(|| timers.pop_due(now, mark))
            .map(|(_, value)| value)
            .collect()
    }

    #[test]
    fn earlier_deadlines_come_first_and_among_equals_the_first_set() {
        let mut timers = Timers::new();
        for (at, value) in [(20, 3), (10, 1), (20, 4), (10, 2), (30, 5)] {
            timers.set(at, value);
        }
        assert_eq!(pop_all(&mut timers, 25), [1, 2, 3, 4]);
        assert_eq!((timers.next(), timers.len()), (Some(30), 1));
        assert!(!timers.is_empty());
        assert_eq!(pop_all(&mut timers, 30), [5]);
        assert!(timers.is_empty());
    }

    #[test]
    fn a_timer_set_again_for_now_waits_for_the_next_snapshot() {
        let mut timers = Timers::new();
        timers.set(5, 0);
        timers.set(5, 1);
        let mark = timers.mark();
        let mut fired = Vec::new();
        while let Some((_, value)) = timers.pop_due(9, mark) {
            timers.set(9, value);
            fired.push(value);
        }
        assert_eq!(fired, [0, 1]);
        assert_eq!(pop_all(&mut timers, 9), [0, 1]);
    }

    /// A model that is too simple to be wrong, and a hundred thousand steps against it.
    #[test]
    fn random_steps_agree_with_a_sorted_map_and_leave_nothing_behind() {
        let mut timers = Timers::new();
        let mut model = BTreeMap::new();
        let mut keys: Vec<(Key, (Tick, u64))> = Vec::new();
        let (mut random, mut now) = (1u64, 0);
        for step in 0..100_000u64 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (kind, pick) = ((random >> 33) % 8, (random >> 40) as usize);
            let at = now + (random >> 50) % 1000;
            match kind {
                0..=3 if model.len() < 1_000 => {
                    keys.push((timers.set(at, step), (at, timers.mark())));
                    model.insert((at, timers.mark()), step);
                }
                4 | 5 if !keys.is_empty() => {
                    let (key, id) = keys.swap_remove(pick % keys.len());
                    assert_eq!(timers.cancel(key), model.remove(&id));
                }
                6 if !keys.is_empty() => {
                    let index = pick % keys.len();
                    let (key, id) = keys[index];
                    if let Some(value) = model.remove(&id) {
                        timers.reset(key, at);
                        model.insert((at, timers.mark()), value);
                        keys[index].1 = (at, timers.mark());
                    }
                }
                _ => {
                    now += pick as u64 % 3;
                    let due: Vec<_> = model
                        .range(..=(now, u64::MAX))
                        .map(|(k, v)| (*k, *v))
                        .collect();
                    model.retain(|id, _| id.0 > now);
                    let due: Vec<_> = due.into_iter().map(|(_, value)| value).collect();
                    assert_eq!(pop_all(&mut timers, now), due);
                }
            }
            assert_eq!(timers.next(), model.keys().next().map(|(at, _)| *at));
        }
        assert_eq!(
            (timers.len(), timers.entries.len()),
            (model.len(), model.len())
        );
    }
}
