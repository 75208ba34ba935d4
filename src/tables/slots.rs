//! A table whose places are reused and whose keys are not.

use crate::id::Key;
use slab::Slab;

/// `slab` with a generation for each slot. The occupant carries it, so that a look-up touches one
/// place; beside the slab it is kept too, for the slab itself forgets who was there before.
pub(crate) struct Slots<T> {
    slab: Slab<(u32, T)>,
    generations: Vec<u32>,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Slots<T> {
        Slots {
            slab: Slab::new(),
            generations: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// The key that the next `insert` will give.
    pub(crate) fn next_key(&self) -> Key {
        let slot = self.slab.vacant_key();
        let generation = self.generations.get(slot).copied().unwrap_or(0);
        Key {
            slot: narrow(slot),
            generation,
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        let entry = self.slab.vacant_entry();
        let slot = entry.key();
        if slot == self.generations.len() {
            self.generations.push(0);
        }
        let generation = self.generations[slot];
        entry.insert((generation, value));
        Key {
            slot: narrow(slot),
            generation,
        }
    }

    /// Frees the slot; every key to it is stale from now on.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let (generation, value) = self.slab.try_remove(slot as usize)?;
        self.generations[slot as usize] = generation.wrapping_add(1);
        Some(value)
    }

    /// As if its `insert` had never been, if those after it have been taken back before: its key is
    /// given again, so nobody may have heard of it.
    pub(crate) fn take_back(&mut self, slot: u32) -> Option<T> {
        self.slab.try_remove(slot as usize).map(|(_, value)| value)
    }

    /// Frees the slot of a value that nobody needs any more: it is dropped where it is, not moved
    /// out first.
    pub(crate) fn free(&mut self, slot: u32) {
        if let Some((generation, _)) = self.slab.get(slot as usize) {
            self.generations[slot as usize] = generation.wrapping_add(1);
            drop(self.slab.remove(slot as usize));
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.slab.get(key.slot as usize) {
            Some((generation, value)) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slab.get_mut(key.slot as usize) {
            Some((generation, value)) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// Whoever is in this slot of a list: there is somebody, for nobody's slot is freed before all
    /// lists have forgotten it.
    #[inline]
    pub(crate) fn listed(&self, slot: u32) -> &T {
        &self.slab[slot as usize].1
    }

    /// As [`listed`](Self::listed), to be changed.
    #[inline]
    pub(crate) fn listed_mut(&mut self, slot: u32) -> &mut T {
        &mut self.slab[slot as usize].1
    }

    /// As [`listed_mut`](Self::listed_mut), with the key to it.
    #[inline]
    pub(crate) fn listed_key(&mut self, slot: u32) -> (Key, &mut T) {
        let (generation, value) = &mut self.slab[slot as usize];
        let generation = *generation;
        (Key { slot, generation }, value)
    }

    /// Whoever is in this slot, if anybody is: for what the system says.
    #[inline]
    pub(crate) fn peek(&mut self, slot: u32) -> Option<&mut T> {
        self.slab.get_mut(slot as usize).map(|(_, value)| value)
    }

    /// Whoever is in this slot, with the key to it.
    #[inline]
    pub(crate) fn at(&mut self, slot: u32) -> Option<(Key, &mut T)> {
        let (generation, value) = self.slab.get_mut(slot as usize)?;
        let generation = *generation;
        Some((Key { slot, generation }, value))
    }

    /// All of them, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slab.iter().map(|(slot, (generation, value))| {
            let (slot, generation) = (narrow(slot), *generation);
            (Key { slot, generation }, value)
        })
    }

    /// All of them, by slot, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.slab.iter_mut().map(|(slot, (generation, value))| {
            let (slot, generation) = (narrow(slot), *generation);
            (Key { slot, generation }, value)
        })
    }
}

/// Four thousand million things do not fit into memory, so a slot fits into 32 bits.
fn narrow(slot: usize) -> u32 {
    u32::try_from(slot).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_names_nobody_however_often_its_slot_is_reused() {
        let mut slots = Slots::new();
        let stale = slots.insert(0);
        slots.remove(stale.slot);
        for n in 1..100_000 {
            let key = slots.insert(n);
            assert_eq!(key.slot, stale.slot);
            assert_eq!((slots.get(stale), slots.get(key)), (None, Some(&n)));
            slots.remove(key.slot);
        }
        assert!(slots.is_empty());
    }

    #[test]
    fn the_next_key_is_the_one_that_insert_gives() {
        let mut slots = Slots::new();
        let (first, second) = (slots.insert('a'), slots.insert('b'));
        slots.remove(first.slot);
        for _ in 0..3 {
            let next = slots.next_key();
            assert_eq!(slots.insert('c'), next);
        }
        assert_eq!(
            slots.iter().map(|(key, _)| key.slot).collect::<Vec<_>>(),
            [0, 1, 2, 3]
        );
        assert_eq!(slots.get(second), Some(&'b'));
    }

    #[test]
    fn a_key_that_is_taken_back_is_given_again() {
        let mut slots = Slots::new();
        let key = slots.insert('a');
        assert_eq!(slots.take_back(key.slot), Some('a'));
        assert_eq!((slots.take_back(key.slot), slots.len()), (None, 0));
        assert_eq!(slots.insert('b'), key);
    }
}
