//! The table of connections, beside other tables: `cargo bench --bench slots`.
//!
//! `slab` has no generations: a stale key there names whoever came after. A `HashMap` never names
//! another when its keys are never used again. `slotmap` is the same thing as ours.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the benchmark uses a part of each module"
)]

mod common;
#[path = "../../src/id.rs"]
mod id;
#[path = "../../src/tables/slots.rs"]
mod slots;

use common::{Random, compare, rival, title};
use slab::Slab;
use slotmap::SlotMap;
use slots::Slots;
use std::collections::HashMap;
use std::hint::black_box;

/// About as large as a connection.
type Value = [u64; 20];

const VALUE: Value = [1; 20];

const OPERATIONS: usize = 100_000;

/// The four, with so many values and their keys in a random order.
struct Tables {
    ours: (Slots<Value>, Vec<id::Key>),
    slab: (Slab<Value>, Vec<usize>),
    slotmap: (
        SlotMap<slotmap::DefaultKey, Value>,
        Vec<slotmap::DefaultKey>,
    ),
    map: (HashMap<u64, Value>, Vec<u64>),
}

fn shuffle<T>(keys: &mut [T]) {
    let mut random = Random(7);
    for last in (1..keys.len()).rev() {
        keys.swap(last, random.below(last + 1));
    }
}

impl Tables {
    fn new(count: usize) -> Tables {
        let mut tables = Tables {
            ours: (Slots::new(), Vec::new()),
            slab: (Slab::new(), Vec::new()),
            slotmap: (SlotMap::new(), Vec::new()),
            map: (HashMap::new(), Vec::new()),
        };
        for key in 0..count as u64 {
            let Tables {
                ours,
                slab,
                slotmap,
                map,
            } = &mut tables;
            ours.1.push(ours.0.insert(VALUE));
            slab.1.push(slab.0.insert(VALUE));
            slotmap.1.push(slotmap.0.insert(VALUE));
            map.0.insert(key, VALUE);
            map.1.push(key);
        }
        shuffle(&mut tables.ours.1);
        shuffle(&mut tables.slab.1);
        shuffle(&mut tables.slotmap.1);
        shuffle(&mut tables.map.1);
        tables
    }
}

/// Runs through all keys again and again.
fn each<T: Copy>(keys: &[T], mut operation: impl FnMut(T)) -> usize {
    for key in keys.iter().cycle().take(OPERATIONS) {
        operation(*key);
    }
    OPERATIONS
}

/// Removes what a key names and inserts another, which gets another key.
fn replace<T: Copy>(keys: &mut [T], mut operation: impl FnMut(T) -> T) -> usize {
    let count = keys.len();
    for index in 0..OPERATIONS {
        let key = &mut keys[index % count];
        *key = operation(*key);
    }
    OPERATIONS
}

fn main() {
    title("a table of connections");
    for count in [100, 10_000] {
        look_up(count);
        come_and_go(count);
        iterate(count);
    }
}

fn look_up(count: usize) {
    let Tables {
        mut ours,
        mut slab,
        mut slotmap,
        mut map,
    } = Tables::new(count);
    let touch = |value: Option<&mut Value>| {
        if let Some(value) = value {
            value[0] += 1;
        }
    };
    let rivals = vec![
        rival("ours", || each(&ours.1, |key| touch(ours.0.get_mut(key)))),
        rival("slab", || each(&slab.1, |key| touch(slab.0.get_mut(key)))),
        rival("slotmap", || {
            each(&slotmap.1, |key| touch(slotmap.0.get_mut(key)))
        }),
        rival("HashMap", || each(&map.1, |key| touch(map.0.get_mut(&key)))),
    ];
    compare(&format!("look up one of {count}"), rivals);
}

fn come_and_go(count: usize) {
    let Tables {
        mut ours,
        mut slab,
        mut slotmap,
        mut map,
    } = Tables::new(count);
    let mut next = count as u64;
    let rivals = vec![
        rival("ours", || {
            replace(&mut ours.1, |key| {
                black_box(ours.0.remove(key.slot));
                ours.0.insert(black_box(VALUE))
            })
        }),
        rival("slab", || {
            replace(&mut slab.1, |key| {
                black_box(slab.0.try_remove(key));
                slab.0.insert(black_box(VALUE))
            })
        }),
        rival("slotmap", || {
            replace(&mut slotmap.1, |key| {
                black_box(slotmap.0.remove(key));
                slotmap.0.insert(black_box(VALUE))
            })
        }),
        rival("HashMap", || {
            replace(&mut map.1, |key| {
                black_box(map.0.remove(&key));
                next += 1;
                map.0.insert(next, black_box(VALUE));
                next
            })
        }),
    ];
    compare(&format!("remove and insert, {count} there"), rivals);
}

fn iterate(count: usize) {
    let tables = Tables::new(count);
    let rounds = OPERATIONS / count;
    let sum = |each: &mut dyn FnMut() -> u64| {
        (0..rounds).for_each(|_| {
            black_box(each());
        });
        rounds * count
    };
    let rivals = vec![
        rival("ours", || {
            sum(&mut || tables.ours.0.iter().map(|(_, value)| value[0]).sum())
        }),
        rival("slab", || {
            sum(&mut || tables.slab.0.iter().map(|(_, value)| value[0]).sum())
        }),
        rival("slotmap", || {
            sum(&mut || tables.slotmap.0.values().map(|value| value[0]).sum())
        }),
        rival("HashMap", || {
            sum(&mut || tables.map.0.values().map(|value| value[0]).sum())
        }),
    ];
    compare(&format!("visit each of {count}"), rivals);
}
