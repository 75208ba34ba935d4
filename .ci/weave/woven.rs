//! Which of the changes that were woven into the code is made: see `.ci/mutants`.
//!
//! `MUTANT=17` makes the 17th. With `MUTANT_MEETS=FILE` none is made, and the file gets a line for
//! each that the process came to.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

const UNKNOWN: u32 = u32::MAX;
const MEETING: u32 = u32::MAX - 1;

static CHOSEN: AtomicU32 = AtomicU32::new(UNKNOWN);
static MET: [AtomicBool; 8192] = [const { AtomicBool::new(false) }; 8192];
static FILE: Mutex<Option<File>> = Mutex::new(None);

/// Is this the change that is made?
#[inline]
pub fn is(change: u32) -> bool {
    let chosen = CHOSEN.load(Relaxed);
    if chosen < MEETING {
        return chosen == change;
    }
    unusual(change)
}

#[inline(never)]
fn unusual(change: u32) -> bool {
    if CHOSEN.load(Relaxed) == UNKNOWN {
        choose();
    }
    if CHOSEN.load(Relaxed) == MEETING
        && !MET[change as usize].swap(true, Relaxed)
        && let Some(file) = FILE.lock().unwrap().as_mut()
    {
        file.write_all(format!("{change}\n").as_bytes()).unwrap();
    }
    CHOSEN.load(Relaxed) == change
}

fn choose() {
    if let Ok(path) = std::env::var("MUTANT_MEETS") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        *FILE.lock().unwrap() = Some(file.unwrap());
        return CHOSEN.store(MEETING, Relaxed);
    }
    let chosen = std::env::var("MUTANT").map_or(0, |number| number.parse().unwrap());
    CHOSEN.store(chosen, Relaxed);
}
