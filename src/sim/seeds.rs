//! Which seeds a test tries.

use std::ops::Range;

/// The seeds that a test is to try: these, or the one that the environment names (`SOCKEYE_SEED`),
/// so that a failing test is repeated by what it says.
///
/// ```
/// for seed in sockeye::sim::seeds(0..20) {
///     let mut world = sockeye::sim::World::seeded(seed, sockeye::sim::Faults::some());
///     // ...
/// }
/// ```
///
/// # Panics
///
/// When `SOCKEYE_SEED` is no number.
#[track_caller]
pub fn seeds(seeds: Range<u64>) -> Range<u64> {
    match seed_asked_for() {
        None => seeds,
        Some(u64::MAX) => panic!("SOCKEYE_SEED={}: too large for a range of seeds", u64::MAX),
        Some(seed) => seed..seed + 1,
    }
}

#[track_caller]
pub(super) fn seed_asked_for() -> Option<u64> {
    let text = std::env::var("SOCKEYE_SEED").ok()?;
    match text.parse() {
        Ok(seed) => Some(seed),
        Err(error) => panic!("SOCKEYE_SEED={text:?}: {error}"),
    }
}
