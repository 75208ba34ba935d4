//! What a run carries along: its scale, its report, its progress.

use std::path::PathBuf;
use std::time::Duration;
use std::{env, thread};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::Result;
use crate::report::Report;

/// How much time a run may take, and so how much its figures are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Does it work? A second or so for each benchmark; the figures mean nothing.
    Smoke,
    /// Two minutes in all.
    Quick,
    /// A quarter of an hour in all.
    Full,
}

impl Scale {
    /// The value for this scale.
    pub(crate) fn pick<T>(self, smoke: T, quick: T, full: T) -> T {
        match self {
            Self::Smoke => smoke,
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

pub(crate) struct Run {
    pub(crate) scale: Scale,
    pub(crate) report: Report,
    pub(crate) progress: Progress,
    failures: usize,
}

impl Run {
    pub(crate) fn new(scale: Scale, silent: bool) -> Self {
        Self {
            scale,
            report: Report::default(),
            progress: Progress::new(silent),
            failures: 0,
        }
    }

    /// Says that something failed, and goes on.
    pub(crate) fn failed(&mut self, what: &str) {
        self.failures += 1;
        self.progress.say(&format!("FAILED: {what}"));
    }

    /// An error if anything failed.
    pub(crate) fn verdict(&self) -> Result<()> {
        match self.failures {
            0 => Ok(()),
            n => Err(format!("{n} parts failed; the report tells which").into()),
        }
    }
}

/// The progress bar. Its unit is a planned millisecond, so what is left of it is a time.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// What the step in progress adds when it is done.
    current: Duration,
    /// While this file is there, no step begins: where others wait for the machine, a run can be
    /// made in parts.
    hold: Option<PathBuf>,
}

impl Progress {
    fn new(silent: bool) -> Self {
        let bar = ProgressBar::new(0);
        if silent {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template(
            "[{elapsed_precise}] {bar:30} {percent:>3} %, about {eta} left: {msg}",
        );
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            bar,
            current: Duration::ZERO,
            hold: env::var_os("PERF_HOLD").map(PathBuf::from),
        }
    }

    /// Announces work that will take about `time`.
    pub(crate) fn plan(&self, time: Duration) {
        self.bar.inc_length(millis(time));
    }

    /// The last step is done, and one begins that will take about `time`.
    pub(crate) fn step(&mut self, time: Duration, what: impl Into<String>) {
        self.bar.inc(millis(self.current));
        self.current = time;
        while self.hold.as_ref().is_some_and(|file| file.exists()) {
            thread::sleep(Duration::from_millis(100));
        }
        self.message(what);
    }

    /// Says what is done now, within a step.
    pub(crate) fn message(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
        self.bar.tick();
    }

    /// Prints a line above the bar.
    pub(crate) fn say(&self, line: &str) {
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
