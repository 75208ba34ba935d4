//! The options of the program.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::Result;
use crate::own;
use crate::run::{Run, Scale};

/// Measures sockeye beside its peers and writes docs/performance.md
#[derive(Parser)]
#[command(version, after_help = "Without a command everything is measured.")]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    scale: ScaleArgs,
}

#[derive(clap::Args, Clone, Copy)]
struct ScaleArgs {
    /// A short run of about two minutes, into target/performance instead of docs
    #[arg(long, global = true)]
    quick: bool,

    /// Everything once for an instant: does it work? The figures mean nothing
    #[arg(long, global = true, conflicts_with = "quick")]
    smoke: bool,

    /// No progress bar
    #[arg(long, global = true)]
    no_progress: bool,
}

impl ScaleArgs {
    fn scale(self) -> Scale {
        match (self.smoke, self.quick) {
            (true, _) => Scale::Smoke,
            (_, true) => Scale::Quick,
            _ => Scale::Full,
        }
    }
}

#[derive(Subcommand)]
enum Command {
    /// Runs one of our own benchmarks and prints its section
    Own {
        /// Its name; without one, all are listed
        name: Option<String>,

        /// Where its plots go
        #[arg(long, default_value = "target/performance")]
        out: PathBuf,
    },
}

pub(crate) fn main() -> Result<()> {
    let args = Args::parse();
    let scale = args.scale.scale();
    match args.command {
        Some(Command::Own { name, out }) => {
            let mut run = Run::new(scale, args.scale.no_progress);
            own::one(&mut run, name.as_deref())?;
            run.report.write_plots(&out.join("performance"))?;
            print!("{}", run.report.markdown());
            Ok(())
        }
        None => Err("not yet".into()),
    }
}
