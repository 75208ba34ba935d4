//! What the benchmarks share: rivals that run in turn, medians, and ratios.

#![allow(dead_code, reason = "each benchmark uses a part of it")]
#![allow(unreachable_pub, reason = "it is a part of each benchmark")]

use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Runs of each rival; odd, so that there is a middle one.
const RUNS: usize = 15;

/// One of those that are compared: its name, and what runs it once and says how many operations
/// that was, and how long they took.
pub struct Rival<'a> {
    name: &'static str,
    run: Box<dyn FnMut() -> (usize, Duration) + 'a>,
}

/// A rival whose run is timed as a whole.
pub fn rival<'a>(name: &'static str, mut run: impl FnMut() -> usize + 'a) -> Rival<'a> {
    rival_timed(name, move || timed(&mut run))
}

/// A rival that says itself how long its operations took.
pub fn rival_timed<'a>(
    name: &'static str,
    run: impl FnMut() -> (usize, Duration) + 'a,
) -> Rival<'a> {
    let run = Box::new(run);
    Rival { name, run }
}

/// In the thread's own processor time: whatever else runs on the machine takes none of it.
pub fn timed(run: impl FnOnce() -> usize) -> (usize, Duration) {
    let start = processor_time();
    let count = run();
    (count, processor_time() - start)
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.try_into().expect("no time before the start")
}

/// In the time of the clock on the wall: for what waits.
pub fn timed_by_the_clock(run: impl FnOnce() -> usize) -> (usize, Duration) {
    let start = Instant::now();
    let count = run();
    (count, start.elapsed())
}

pub fn title(text: &str) {
    println!("\n{text}: nanoseconds each, the median of runs in turn; (times the first)");
}

/// Runs each in turn, so that all meet the same disturbances, and prints the medians.
pub fn compare(what: &str, rivals: Vec<Rival<'_>>) {
    print_row(what, &medians(rivals, RUNS));
}

/// The same with fewer runs, for what takes long.
pub fn compare_few(what: &str, rivals: Vec<Rival<'_>>) {
    print_row(what, &medians(rivals, 5));
}

/// The name and the nanoseconds of an operation of each.
pub fn medians(mut rivals: Vec<Rival<'_>>, runs: usize) -> Vec<(&'static str, f64)> {
    let mut all = vec![Vec::new(); rivals.len()];
    // The first run of each grows its memory, and does not count.
    for run in 0..=runs {
        for (rival, times) in rivals.iter_mut().zip(&mut all) {
            let (count, time) = (rival.run)();
            if run > 0 {
                times.push(time.as_nanos() as f64 / count as f64);
            }
        }
    }
    let median = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let names = rivals.iter().map(|rival| rival.name);
    names.zip(all.into_iter().map(median)).collect()
}

fn print_row(what: &str, medians: &[(&'static str, f64)]) {
    let first = medians.first().map_or(1.0, |(_, time)| *time);
    let columns = medians.iter().map(|(name, time)| {
        let digits = if *time < 100.0 { 1 } else { 0 };
        let text = format!("{name} {time:.digits$} ({:.2})", time / first);
        format!("{text:<23} ")
    });
    println!("  {what:<38} {}", columns.collect::<String>().trim_end());
}

/// Numbers that look random, the same in each run.
pub struct Random(pub u64);

impl Random {
    /// One below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % end
    }
}
