//! The load generator, a process of its own: one thread on epoll that checks every byte it gets
//! back, and reads from `/proc` what the server has cost meanwhile.
//!
//! | module | load |
//! |---|---|
//! | `echo` | messages that come back: one or many at a time, or at a fixed rate |
//! | `churn` | connect, one message, close |
//! | `fan` | lines that go to every member of a room |
//! | `idle` | connections that do nothing, and what they hold |
//! | `drive` | the loop, and the measured window |
//! | `wire` | sockets, and the bytes that are sent and expected |

mod churn;
mod drive;
mod echo;
mod fan;
#[cfg(test)]
mod faults;
mod idle;
mod wire;

use std::net::SocketAddr;
use std::process;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::Result;
use drive::drive;

/// What a load may take beyond its window: under valgrind a server needs long.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Load {
    /// Messages come back
    Echo,
    /// Connect, one message, close
    Churn,
    /// Lines go to every member
    Fan,
    /// Resident bytes per connection
    Idle,
}

/// The options of `perf load`, and what a workload is made of.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    #[arg(long, value_enum)]
    pub(crate) load: Load,

    /// Connections; for churn, as many at a time
    #[arg(long, default_value_t = 1)]
    pub(crate) conns: usize,

    /// Bytes of a message
    #[arg(long, default_value_t = 64)]
    pub(crate) size: usize,

    /// Messages (or lines of a sender) that are under way at once
    #[arg(long, default_value_t = 1)]
    pub(crate) depth: usize,

    /// How many members send
    #[arg(long, default_value_t = 1)]
    pub(crate) senders: usize,

    /// Messages a second at fixed times, instead of as fast as they come back
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rate: Option<u64>,
}

/// How long to load, and which server.
#[derive(Args, Clone, Debug)]
pub(crate) struct Target {
    #[arg(long)]
    pub(crate) addr: SocketAddr,

    /// The server's process, whose CPU time and memory are read
    #[arg(long)]
    pub(crate) pid: u32,

    /// Milliseconds before the measured window
    #[arg(long, default_value_t = 200)]
    pub(crate) warm: u64,

    /// Milliseconds of the measured window
    #[arg(long, default_value_t = 1000)]
    pub(crate) millis: u64,

    /// As many operations as this instead, from the first to the last
    #[arg(long)]
    pub(crate) count: Option<u64>,

    /// Never sleep: for a core of its own
    #[arg(long)]
    pub(crate) spin: bool,
}

/// What a sample has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Operations within the window (all of them, where a count was given).
    pub(crate) ops: f64,
    /// Nanoseconds of the window.
    pub(crate) wall: f64,
    /// Nanoseconds of CPU that the server used within it.
    pub(crate) server: f64,
    /// The same for the load generator.
    pub(crate) client: f64,
    /// Nanoseconds that one side could have run and had to wait for its core.
    pub(crate) waited: f64,
    /// Latencies in nanoseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// Resident bytes per connection: never spoke, and has spoken once.
    pub(crate) silent: f64,
    pub(crate) spoken: f64,
}

impl Sample {
    fn fields(&mut self) -> [(&'static str, &mut f64); 10] {
        [
            ("ops", &mut self.ops),
            ("wall", &mut self.wall),
            ("server", &mut self.server),
            ("client", &mut self.client),
            ("waited", &mut self.waited),
            ("p50", &mut self.p50),
            ("p99", &mut self.p99),
            ("p999", &mut self.p999),
            ("silent", &mut self.silent),
            ("spoken", &mut self.spoken),
        ]
    }

    /// One line, for the runner.
    fn line(mut self) -> String {
        let fields = self.fields();
        let words: Vec<String> = fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
        words.join(" ")
    }

    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut sample = Self::default();
        let mut found = 0;
        for (name, field) in sample.fields() {
            let word = line
                .split(' ')
                .find_map(|w| w.strip_prefix(name)?.strip_prefix('='))?;
            *field = word.parse().ok()?;
            found += 1;
        }
        (found == line.split(' ').count()).then_some(sample)
    }
}

impl Options {
    /// As the arguments of `perf load`.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let load = self.load.to_possible_value();
        let load = load.map(|v| v.get_name().to_owned()).unwrap_or_default();
        let mut words = vec!["--load".to_owned(), load];
        let plain = Self::plain(self.load);
        let mut add = |name: &str, value: usize, default: usize| {
            if value != default {
                words.extend([format!("--{name}"), value.to_string()]);
            }
        };
        add("conns", self.conns, plain.conns);
        add("size", self.size, plain.size);
        add("depth", self.depth, plain.depth);
        add("senders", self.senders, plain.senders);
        if let Some(rate) = self.rate {
            words.extend(["--rate".to_owned(), rate.to_string()]);
        }
        words
    }

    /// The defaults.
    pub(crate) const fn plain(load: Load) -> Self {
        Self {
            load,
            conns: 1,
            size: 64,
            depth: 1,
            senders: 1,
            rate: None,
        }
    }
}

/// Loads a server and prints the sample.
pub(crate) fn run(options: &Options, target: &Target) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if options.conns == 0 || options.size == 0 || options.depth == 0 || options.senders == 0 {
        return Err("conns, size, depth and senders are at least 1".into());
    }
    watchdog(target);
    let sample = match options.load {
        Load::Echo => drive(target, |poll| echo::Echo::new(options, target, poll))?,
        Load::Churn => drive(target, |poll| churn::Churn::new(options, target, poll))?,
        Load::Fan => drive(target, |poll| fan::Fan::new(options, target, poll))?,
        Load::Idle => idle::measure(options, target)?,
    };
    println!("{}", sample.line());
    Ok(())
}

/// Ends this process if it hangs, whatever it hangs in.
fn watchdog(target: &Target) {
    let limit = target.warm() + target.window() + LIMIT;
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("perf load: not done after {limit:?}");
        process::exit(2);
    });
}

impl Target {
    fn warm(&self) -> Duration {
        Duration::from_millis(self.warm)
    }

    fn window(&self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_survives_its_line() {
        let sample = Sample {
            ops: 1.5,
            p99: 2e9,
            spoken: 7.0,
            ..Sample::default()
        };
        assert_eq!(Sample::parse(&sample.line()), Some(sample));
        assert_eq!(Sample::parse("ops=1"), None);
    }
}
