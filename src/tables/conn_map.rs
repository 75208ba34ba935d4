//! State that a handler keeps for each connection.

use crate::id::{ConnId, Key};

/// A map from [`ConnId`] to `T` without hashing: a place per slot, checked by generation.
///
/// It iterates in a fixed order (by slot), so that a handler built on it does the same thing each
/// time. An entry stays until you remove it, in `on_close` for example. A slot has one entry: what
/// is inserted takes the place of any other owner's, also a newer one's. So insert only for
/// connections that live.
#[derive(Clone, Debug)]
pub struct ConnMap<T> {
    places: Vec<Option<(u32, T)>>,
    len: usize,
}

impl<T> Default for ConnMap<T> {
    fn default() -> ConnMap<T> {
        ConnMap {
            places: Vec::new(),
            len: 0,
        }
    }
}

impl<T> ConnMap<T> {
    /// An empty map.
    pub fn new() -> ConnMap<T> {
        ConnMap::default()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts an entry in, and gives the one that `conn` had before.
    pub fn insert(&mut self, conn: ConnId, value: T) -> Option<T> {
        let slot = conn.0.slot as usize;
        if slot >= self.places.len() {
            self.places.resize_with(slot + 1, || None);
        }
        let old = self.places[slot].replace((conn.0.generation, value));
        self.len += usize::from(old.is_none());
        old.filter(|(generation, _)| *generation == conn.0.generation)
            .map(|(_, value)| value)
    }

    /// The entry of `conn`.
    pub fn get(&self, conn: ConnId) -> Option<&T> {
        match self.places.get(conn.0.slot as usize)? {
            Some((generation, value)) if *generation == conn.0.generation => Some(value),
            _ => None,
        }
    }

    /// The entry of `conn`, to change.
    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut T> {
        match self.places.get_mut(conn.0.slot as usize)? {
            Some((generation, value)) if *generation == conn.0.generation => Some(value),
            _ => None,
        }
    }

    /// The entry of `conn`, made by `make` if there is none.
    pub fn get_or_insert_with(&mut self, conn: ConnId, make: impl FnOnce() -> T) -> &mut T {
        if !self.contains(conn) {
            self.insert(conn, make());
        }
        let place = &mut self.places[conn.0.slot as usize];
        // The entry was put in a moment ago if it was not there before, so `expect` holds.
        place
            .as_mut()
            .map(|(_, value)| value)
            .expect("an entry was just put in")
    }

    /// Has `conn` an entry?
    pub fn contains(&self, conn: ConnId) -> bool {
        self.get(conn).is_some()
    }

    /// Takes the entry of `conn` out.
    pub fn remove(&mut self, conn: ConnId) -> Option<T> {
        self.get(conn)?;
        self.len -= 1;
        self.places[conn.0.slot as usize]
            .take()
            .map(|(_, value)| value)
    }

    /// Takes all entries out.
    pub fn clear(&mut self) {
        self.places.clear();
        self.len = 0;
    }

    /// All ids, by slot. It borrows only the map, so `cx.broadcast(map.ids(), line)` works.
    pub fn ids(&self) -> impl Iterator<Item = ConnId> {
        self.iter().map(|(conn, _)| conn)
    }

    /// All entries, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.places.iter().enumerate().filter_map(|(slot, place)| {
            place
                .as_ref()
                .map(|(generation, value)| (conn_id(slot, *generation), value))
        })
    }

    /// All entries, by slot, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &mut T)> {
        self.places
            .iter_mut()
            .enumerate()
            .filter_map(|(slot, place)| {
                place
                    .as_mut()
                    .map(|(generation, value)| (conn_id(slot, *generation), value))
            })
    }
}

fn conn_id(slot: usize, generation: u32) -> ConnId {
    // A slot came in as 32 bits, so it goes out as 32 bits.
    ConnId(Key {
        slot: slot as u32,
        generation,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_owner_of_a_slot_has_no_entry_and_is_replaced() {
        let mut map = ConnMap::new();
        let (old, new) = (conn_id(3, 7), conn_id(3, 8));
        assert_eq!(map.insert(old, "old"), None);
        assert_eq!((map.get(new), map.len()), (None, 1));
        assert_eq!(map.insert(new, "new"), None);
        assert_eq!(map.remove(old), None);
        assert_eq!((map.get(old), map.len()), (None, 1));
        assert_eq!(*map.get_or_insert_with(new, || "made"), "new");
        assert_eq!(*map.get_or_insert_with(old, || "made"), "made");
        assert_eq!((map.remove(old), map.is_empty()), (Some("made"), true));
    }

    #[test]
    fn it_iterates_by_slot() {
        let mut map = ConnMap::new();
        for slot in [5, 1, 3] {
            map.insert(conn_id(slot, 0), slot);
        }
        for (_, value) in map.iter_mut() {
            *value *= 10;
        }
        assert_eq!(
            map.iter().map(|(_, value)| *value).collect::<Vec<_>>(),
            [10, 30, 50]
        );
        assert_eq!(map.ids().count(), 3);
    }

    #[test]
    fn an_entry_can_be_changed_by_its_owner_and_all_be_taken_out() {
        let mut map = ConnMap::new();
        assert!(map.is_empty());
        for slot in 0..3 {
            map.insert(conn_id(slot, 1), slot);
        }
        assert_eq!((map.len(), map.is_empty()), (3, false));
        if let Some(value) = map.get_mut(conn_id(2, 1)) {
            *value = 20;
        }
        assert_eq!(map.get_mut(conn_id(2, 0)), None);
        assert_eq!(map.get(conn_id(2, 1)), Some(&20));
        map.clear();
        assert_eq!((map.len(), map.ids().count()), (0, 0));
    }
}
