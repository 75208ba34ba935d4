//! Benchmarks of our own. `main.rs` says how to add one.
//!
//! They measure what the load generator has no workload for, ours and what a user would pick
//! instead, in turn within one run.

mod busy;
mod child;
mod deaf;
mod idle;
mod measure;
mod messages;
mod storm;
mod timers;

pub(crate) use child::play;

use std::time::Duration;

use crate::Result;
use crate::run::Run;

/// One benchmark.
pub(crate) struct Own {
    pub(crate) name: &'static str,
    /// What it takes at the scales smoke, quick and full, in seconds: for the progress bar.
    pub(crate) seconds: (f64, f64, f64),
    pub(crate) run: fn(&mut Run) -> Result<()>,
}

/// In the order of the report.
pub(crate) const ALL: &[Own] = &[
    Own {
        name: "timers",
        seconds: (0.5, 25.0, 150.0),
        run: timers::run,
    },
    Own {
        name: "idle",
        seconds: (0.5, 20.0, 150.0),
        run: idle::run,
    },
    Own {
        name: "busy",
        seconds: (0.5, 10.0, 40.0),
        run: busy::run,
    },
    Own {
        name: "messages",
        seconds: (0.5, 8.0, 90.0),
        run: messages::run,
    },
    Own {
        name: "deaf",
        seconds: (4.0, 20.0, 120.0),
        run: deaf::run,
    },
    Own {
        name: "storm",
        seconds: (1.0, 7.0, 90.0),
        run: storm::run,
    },
];

/// Announces all of them to the progress bar.
pub(crate) fn plan(run: &Run) {
    for own in ALL {
        run.progress.plan(own.time(run));
    }
}

/// Runs all of them. One that fails is told of in its place, and the others go on.
pub(crate) fn all(run: &mut Run) {
    for own in ALL {
        run.progress.step(own.time(run), own.name);
        if let Err(error) = (own.run)(run) {
            run.failed(&format!("{}: {error}", own.name));
            run.report
                .section(own.name)
                .text(format!("Failed: {error}."));
        }
    }
}

/// Runs the one called `name`, or lists all.
pub(crate) fn one(run: &mut Run, name: Option<&str>) -> Result<()> {
    let Some(name) = name else {
        for own in ALL {
            println!("{}", own.name);
        }
        return Ok(());
    };
    let own = ALL.iter().find(|own| own.name == name);
    let own = own.ok_or_else(|| format!("there is no benchmark {name}"))?;
    run.progress.plan(own.time(run));
    run.progress.step(own.time(run), own.name);
    let result = (own.run)(run);
    run.progress.finish();
    result
}

impl Own {
    fn time(&self, run: &Run) -> Duration {
        let (smoke, quick, full) = self.seconds;
        Duration::from_secs_f64(run.scale.pick(smoke, quick, full))
    }
}
