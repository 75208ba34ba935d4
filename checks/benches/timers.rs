//! The timers, beside what a program would keep its own in: `cargo bench --bench timers`.
//!
//! A `BinaryHeap` cannot remove what is not the first: what is cancelled stays until its time
//! comes, and a set says that it is dead. A `BTreeMap` by time and number can.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the benchmark uses a part of each module"
)]

#[path = "../../src/clock.rs"]
mod clock;
mod common;
#[path = "../../src/id.rs"]
mod id;
#[path = "../../src/tables/slots.rs"]
mod slots;
#[path = "../../src/tables/timers.rs"]
mod timers;

use clock::Tick;
use common::{Random, compare, compare_few, rival, title};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use timers::Timers;

/// What is asked of timers.
trait Rivals: Default {
    type Key: Copy;
    fn set(&mut self, at: Tick) -> Self::Key;
    fn cancel(&mut self, key: Self::Key);
    fn reset(&mut self, key: Self::Key, at: Tick) -> Self::Key {
        self.cancel(key);
        self.set(at)
    }
    /// Fires what is due, and says how many that were.
    fn fire(&mut self, now: Tick) -> usize;
}

struct Ours(Timers<u64>);

impl Default for Ours {
    fn default() -> Ours {
        Ours(Timers::new())
    }
}

impl Rivals for Ours {
    type Key = id::Key;

    fn set(&mut self, at: Tick) -> id::Key {
        self.0.set(at, at)
    }

    fn cancel(&mut self, key: id::Key) {
        self.0.cancel(key);
    }

    fn reset(&mut self, key: id::Key, at: Tick) -> id::Key {
        self.0.reset(key, at);
        key
    }

    fn fire(&mut self, now: Tick) -> usize {
        let mark = self.0.mark();
        std::iter::from_fn(|| self.0.pop_due(now, mark)).count()
    }
}

#[derive(Default)]
struct Heap {
    heap: BinaryHeap<Reverse<(Tick, u64, u64)>>,
    dead: HashSet<u64>,
    set: u64,
}

impl Rivals for Heap {
    type Key = u64;

    fn set(&mut self, at: Tick) -> u64 {
        self.set += 1;
        self.heap.push(Reverse((at, self.set, at)));
        self.set
    }

    fn cancel(&mut self, key: u64) {
        self.dead.insert(key);
    }

    fn fire(&mut self, now: Tick) -> usize {
        let mut count = 0;
        while self
            .heap
            .peek()
            .is_some_and(|Reverse(first)| first.0 <= now)
        {
            let fired = self.heap.pop();
            let alive = fired.is_some_and(|Reverse(timer)| !self.dead.remove(&timer.1));
            count += usize::from(alive);
        }
        count
    }
}

#[derive(Default)]
struct Tree {
    tree: BTreeMap<(Tick, u64), u64>,
    set: u64,
}

impl Rivals for Tree {
    type Key = (Tick, u64);

    fn set(&mut self, at: Tick) -> (Tick, u64) {
        self.set += 1;
        self.tree.insert((at, self.set), at);
        (at, self.set)
    }

    fn cancel(&mut self, key: (Tick, u64)) {
        self.tree.remove(&key);
    }

    fn fire(&mut self, now: Tick) -> usize {
        let mut count = 0;
        while self
            .tree
            .first_key_value()
            .is_some_and(|(first, _)| first.0 <= now)
        {
            self.tree.pop_first();
            count += 1;
        }
        count
    }
}

/// Times lie within this range from now.
const RANGE: usize = 1 << 30;

/// Timers with so many armed, and their keys.
struct Armed<T: Rivals> {
    timers: T,
    keys: Vec<T::Key>,
    random: Random,
    now: Tick,
}

impl<T: Rivals> Armed<T> {
    fn new(count: usize) -> Armed<T> {
        let (mut timers, mut random) = (T::default(), Random(7));
        let keys = (0..count).map(|_| timers.set(random.below(RANGE) as Tick));
        let keys = keys.collect();
        let now = 0;
        Armed {
            timers,
            keys,
            random,
            now,
        }
    }

    fn later(&mut self) -> Tick {
        self.now + self.random.below(RANGE) as Tick
    }

    /// Moves some at random to another time, as an idle time does that is set anew.
    fn reset(&mut self, operations: usize) -> usize {
        for _ in 0..operations {
            let (which, at) = (self.random.below(self.keys.len()), self.later());
            self.keys[which] = self.timers.reset(self.keys[which], at);
        }
        operations
    }

    /// Sets one and cancels it, as a timeout does that does not happen.
    fn set_and_cancel(&mut self, operations: usize) -> usize {
        for _ in 0..operations {
            let at = self.later();
            let key = self.timers.set(at);
            self.timers.cancel(key);
            // Time goes by, and with it the dead.
            self.now += (RANGE / self.keys.len() / 4) as Tick;
            let fired = self.timers.fire(self.now);
            for _ in 0..fired {
                let at = self.later();
                self.timers.set(at);
            }
        }
        operations
    }

    /// Lets time go by, and sets a new one for each that fires.
    fn fire(&mut self, operations: usize) -> usize {
        let mut fired = 0;
        while fired < operations {
            self.now += (RANGE / self.keys.len()) as Tick;
            let count = self.timers.fire(self.now);
            for _ in 0..count {
                let at = self.later();
                self.timers.set(at);
            }
            fired += count;
        }
        fired
    }
}

macro_rules! three {
    ($compare:ident, $what:expr, $armed:expr, $operations:expr, $method:ident) => {
        let mut ours = Armed::<Ours>::new($armed);
        let mut heap = Armed::<Heap>::new($armed);
        let mut tree = Armed::<Tree>::new($armed);
        $compare(
            &format!("{}, {} armed", $what, $armed),
            vec![
                rival("ours", || ours.$method($operations)),
                rival("BinaryHeap", || heap.$method($operations)),
                rival("BTreeMap", || tree.$method($operations)),
            ],
        );
    };
}

fn main() {
    title("timers");
    for armed in [100, 10_000] {
        three!(compare, "move one to another time", armed, 50_000, reset);
        three!(
            compare,
            "set one and cancel it",
            armed,
            50_000,
            set_and_cancel
        );
        three!(compare, "fire and set again", armed, 50_000, fire);
    }
    let armed = 1_000_000;
    three!(
        compare_few,
        "move one to another time",
        armed,
        200_000,
        reset
    );
    three!(
        compare_few,
        "set one and cancel it",
        armed,
        200_000,
        set_and_cancel
    );
    three!(compare_few, "fire and set again", armed, 200_000, fire);
}
