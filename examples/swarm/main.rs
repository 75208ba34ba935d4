//! Random handlers, random peers and random faults, one world a seed; every promise is checked.
//!
//! ```text
//! cargo run --release --features sim --example swarm -- --seeds 10000
//! cargo run --release --features sim --example swarm -- --seed 7 [--cut steps=0-9,fuel=3]
//! ```

mod check;

use check::{Cut, Plan, run, run_traced, shrink};
use clap::Parser;
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// `println` would panic if nobody can read it.
macro_rules! say {
    ($($text:tt)*) => {{ let _ = writeln!(io::stdout(), $($text)*); }};
}

#[derive(Parser)]
#[command(about = "Looks for a seed that makes the loop break a promise")]
struct Options {
    /// How many seeds to run.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Runs this one alone, and prints its trace.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: the part of its plan to run.
    #[arg(long, default_value = "", requires = "seed")]
    cut: Cut,
    /// Runs every seed twice, and compares the traces.
    #[arg(long)]
    twice: bool,
    /// Worlds at a time; default: one for each core.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Says which seed failed, without looking for a smaller plan.
    #[arg(long)]
    no_shrink: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // A violation is a panic that is caught; it is told of later, once.
    std::panic::set_hook(Box::new(|_| {}));
    match options.seed {
        Some(seed) => one(seed, &options.cut),
        None => many(&options),
    }
}

fn one(seed: u64, cut: &Cut) -> ExitCode {
    let plan = Plan::new(seed).cut(cut);
    say!("{plan}");
    let (result, trace) = run_traced(plan, true);
    let _ = write!(io::stdout(), "{trace}");
    match result {
        Ok(outcome) => {
            say!("seed {seed}: {outcome:?}");
            ExitCode::SUCCESS
        }
        Err(said) => {
            say!("seed {seed}: {said}");
            ExitCode::FAILURE
        }
    }
}

/// What the threads share.
#[derive(Default)]
struct Search {
    next: AtomicU64,
    done: AtomicU64,
    turns: AtomicU64,
    /// Of all traces, whatever their order.
    hash: AtomicU64,
    connections: AtomicU64,
    over: AtomicBool,
    failed: Mutex<Option<(u64, String)>>,
}

fn many(options: &Options) -> ExitCode {
    let search = Search::default();
    let began = Instant::now();
    let cores = || thread::available_parallelism().ok();
    let threads = options.threads.or_else(cores).map_or(1, usize::from);
    let mut told = 0;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(&search, options)))
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            thread::park_timeout(Duration::from_millis(200));
            let minute = began.elapsed().as_secs() / 60;
            if io::stderr().is_terminal() {
                let _ = write!(io::stderr(), "\r{}", progress(&search, options, began));
                let _ = io::stderr().flush();
            } else if minute > told {
                // For a log, a line a minute.
                told = minute;
                let _ = writeln!(io::stderr(), "{}", progress(&search, options, began));
            }
        }
    });
    let _ = writeln!(io::stderr(), "\r{}", progress(&search, options, began));
    let failed = search.failed.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((seed, said)) = failed.as_ref() else {
        let hash = search.hash.load(Ordering::Relaxed);
        say!("{} seeds, no violation, traces {hash:016x}", options.seeds);
        return ExitCode::SUCCESS;
    };
    say!("seed {seed}: {said}");
    if !options.no_shrink {
        say!("looking for a smaller plan ...");
        let (cut, said) = shrink(*seed);
        say!("{said}\nrepeat it with: --seed {seed} --cut '{cut}'");
    }
    ExitCode::FAILURE
}

fn work(search: &Search, options: &Options) {
    loop {
        let index = search.next.fetch_add(1, Ordering::Relaxed);
        if index >= options.seeds || search.over.load(Ordering::Relaxed) {
            return;
        }
        let seed = options.start + index;
        let result = run(Plan::new(seed)).and_then(|outcome| match options.twice {
            true if run(Plan::new(seed)) != Ok(outcome) => Err("it ran otherwise again".to_owned()),
            _ => Ok(outcome),
        });
        search.done.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(outcome) => {
                search.turns.fetch_add(outcome.turns, Ordering::Relaxed);
                let hash = outcome.hash.wrapping_mul(2 * seed + 1);
                search.hash.fetch_add(hash, Ordering::Relaxed);
                let connections = outcome.connections as u64;
                search.connections.fetch_add(connections, Ordering::Relaxed);
            }
            Err(said) => {
                search.over.store(true, Ordering::Relaxed);
                let mut failed = search.failed.lock().unwrap_or_else(PoisonError::into_inner);
                if failed.as_ref().is_none_or(|(first, _)| seed < *first) {
                    *failed = Some((seed, said));
                }
            }
        }
    }
}

fn progress(search: &Search, options: &Options, began: Instant) -> String {
    let done = search.done.load(Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    let (width, total) = (30, options.seeds);
    let filled = (done * width / total) as usize;
    let bar: String = (0..width as usize)
        .map(|i| if i < filled { '#' } else { '.' })
        .collect();
    let each = |count: &AtomicU64| count.load(Ordering::Relaxed) / done.max(1);
    format!(
        "[{bar}] {done}/{} seeds, {seconds:.1} s, {:.0} seeds/s, a seed: {} turns, {} connections",
        options.seeds,
        done as f64 / seconds,
        each(&search.turns),
        each(&search.connections)
    )
}
