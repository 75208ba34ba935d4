//! Measures sockeye beside its peers, and writes `docs/performance.md` with its plots.
//!
//! `cargo run --release -p perf` does it all; `-- --quick` takes about two minutes and writes
//! into `target/`; `-- --help` tells the rest. Linux only, for the figures come from `/proc`.
//!
//! # How it is made
//!
//! The program starts itself: `perf serve PEER` is a server, `perf load …` is the load
//! generator, and the runner starts one of each, for every server in turn and for several rounds.
//! So servers are compared while the machine is in the same mood.
//!
//! | module | what it holds |
//! |---|---|
//! | `cli`, `run` | the options; what a run carries along: its scale, its report, its progress |
//! | `report`, `stats` | sections, tables and numbers in Markdown; medians |
//! | `pictures`, `plot` | the plots of a page, drawn from its tables; SVG |
//! | `of_two` | `perf workers`: servers of two threads, on two cores that also carry the load |
//! | `own` | benchmarks of what no peer has a counterpart for over a socket: see below |
//!
//! # To add a benchmark of our own
//!
//! 1. Write `own/NAME.rs` with `pub(crate) fn run(run: &mut Run) -> Result<()>`. It asks
//!    `run.scale` how long it may take, says what it is at with `run.progress.message(…)`, and
//!    adds one section: `run.report.section("Title")`, then `text`, `table`.
//! 2. Add it to `own::ALL`, with the seconds that it takes at each scale.
//! 3. Try it alone: `cargo run --release -p perf -- own NAME` prints the section.

mod child;
mod cli;
mod compare;
mod everything;
mod load;
mod machine;
mod of_two;
mod own;
mod peers;
mod pictures;
mod plot;
mod procfs;
mod report;
mod run;
mod special;
mod stats;
mod summary;
mod workloads;

use std::process::ExitCode;

/// Whatever went wrong, with a text for the user.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("perf: {error}");
            ExitCode::FAILURE
        }
    }
}
