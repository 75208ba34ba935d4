//! The options of the program.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::Result;
use crate::everything;
use crate::load;
use crate::of_two;
use crate::own;
use crate::peers::{self, Mode};
use crate::report;
use crate::run::{Run, Scale};

/// Measures sockeye beside its peers and writes docs/performance.md
#[derive(Parser)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Without a command everything is measured, in about a quarter of an hour. \
                  While the file that PERF_HOLD names is there, it waits between two samples."
)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    scale: ScaleArgs,

    #[command(flatten)]
    options: everything::Options,
}

#[derive(clap::Args, Clone, Copy)]
struct ScaleArgs {
    /// A short run of about two minutes, into target/performance instead of docs
    #[arg(long)]
    quick: bool,

    /// Everything once for an instant: does it work? The figures mean nothing
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,

    /// No progress bar
    #[arg(long)]
    no_progress: bool,
}

impl ScaleArgs {
    fn run(self) -> Run {
        let scale = match (self.smoke, self.quick) {
            (true, _) => Scale::Smoke,
            (_, true) => Scale::Quick,
            _ => Scale::Full,
        };
        Run::new(scale, self.no_progress)
    }
}

#[derive(Subcommand)]
enum Command {
    /// Lists the servers, the workloads and our own benchmarks
    List,

    /// Is one of the servers, until it is killed; prints where it listens
    Serve {
        /// As `perf list` names it
        peer: String,

        #[arg(long, value_enum, default_value_t = Mode::Echo)]
        mode: Mode,
    },

    /// Loads a server that runs, and prints one line of figures
    Load {
        #[command(flatten)]
        options: load::Options,

        #[command(flatten)]
        target: load::Target,
    },

    /// Runs one of our own benchmarks and prints its section
    Own {
        /// Its name; without one, all are listed
        name: Option<String>,

        #[command(flatten)]
        scale: ScaleArgs,

        /// Where its plots go
        #[arg(long, default_value = "target/performance")]
        out: PathBuf,
    },

    /// Servers of two threads: our workers, tokio's multi-thread runtime, two loops in C
    Workers {
        /// Each server is asked so many times
        #[arg(long, default_value_t = 9)]
        rounds: usize,
    },

    /// Draws the plots of a page anew, from its tables
    Draw {
        /// Such as docs/performance.md; the plots go into docs/performance
        page: PathBuf,
    },

    /// What `own` starts in processes of their own
    #[command(hide = true)]
    Part { words: Vec<String> },
}

pub(crate) fn main() -> Result<()> {
    let args = Args::parse();
    match args.command {
        Some(Command::Own { name, scale, out }) => {
            let mut run = scale.run();
            own::one(&mut run, name.as_deref())?;
            run.report.write_plots(&out.join("performance"))?;
            print!("{}", run.report.markdown());
            Ok(())
        }
        Some(Command::Draw { page }) => {
            let text = std::fs::read_to_string(&page)?;
            report::write_plots(&text, &page.with_extension(""))
        }
        Some(Command::Serve { peer, mode }) => peers::serve(&peer, mode),
        Some(Command::Load { options, target }) => load::run(&options, &target),
        Some(Command::Workers { rounds }) => of_two::run(rounds),
        Some(Command::List) => {
            everything::list();
            Ok(())
        }
        None => everything::run(&mut args.scale.run(), &args.options),
        Some(Command::Part { words }) => own::play(&words),
    }
}
