//! A table whose places are reused and whose keys are not.

use crate::id::Key;
use slab::Slab;

/// `slab` with a generation beside each slot: the slab itself forgets who was there before.
pub(crate) struct Slots<T> {
    slab: Slab<T>,
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
        let key = self.next_key();
        let slot = self.slab.insert(value);
        if slot == self.generations.len() {
            self.generations.push(0);
        }
        key
    }

    /// Frees the slot; every key to it is stale from now on.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let value = self.slab.try_remove(slot as usize)?;
        let generation = &mut self.generations[slot as usize];
        *generation = generation.wrapping_add(1);
        Some(value)
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let value = self.slab.get(key.slot as usize)?;
        (self.generations[key.slot as usize] == key.generation).then_some(value)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let value = self.slab.get_mut(key.slot as usize)?;
        (self.generations[key.slot as usize] == key.generation).then_some(value)
    }

    /// Whoever is in this slot.
    #[inline]
    pub(crate) fn peek(&mut self, slot: u32) -> Option<&mut T> {
        self.slab.get_mut(slot as usize)
    }

    /// Whoever is in this slot, with the key to it.
    #[inline]
    pub(crate) fn at(&mut self, slot: u32) -> Option<(Key, &mut T)> {
        let value = self.slab.get_mut(slot as usize)?;
        Some((
            Key {
                slot,
                generation: self.generations[slot as usize],
            },
            value,
        ))
    }

    /// All of them, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slab.iter().map(|(slot, value)| {
            (
                Key {
                    slot: narrow(slot),
                    generation: self.generations[slot],
                },
                value,
            )
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
}
