//! Chance, from one seed.

/// splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): the
/// same numbers on every machine, for ever.
#[derive(Clone)]
pub(crate) struct Random {
    state: u64,
    /// How often `chance` has said yes: faults, mostly.
    pub(crate) hits: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random {
            state: seed,
            hits: 0,
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`; 0 if that is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        match limit {
            0 => 0,
            limit => self.next() % limit,
        }
    }

    /// True so many times in a thousand. No chance draws no number, so that a fault that is off
    /// does not change what the others do.
    pub(crate) fn chance(&mut self, per_mille: u16) -> bool {
        let hit = per_mille > 0 && self.below(1000) < u64::from(per_mille);
        self.hits += u64::from(hit);
        hit
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}
