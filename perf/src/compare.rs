//! Alternating runs: every server in turn, for several rounds, each beside the baseline.

use std::time::Duration;

use crate::Result;
use crate::child::{Cores, Ready, batch};
use crate::load::{Options, Sample};
use crate::peers::Mode;
use crate::run::{Run, Scale};
use crate::workloads::Workload;

/// After so many servers the baseline runs again, so that it is always near.
const NEAR: usize = 3;

/// A server that failed so often at a workload is not tried again.
const PATIENCE: usize = 2;

/// What one server has shown at one workload.
#[derive(Default)]
pub(crate) struct Cell {
    pub(crate) samples: Vec<Sample>,
    /// Operations a second, and CPU time of an operation: the ratios to the baseline, pair by
    /// pair.
    pub(crate) rates: Vec<f64>,
    pub(crate) costs: Vec<f64>,
    pub(crate) failures: Vec<String>,
}

/// What all servers have shown at one workload.
pub(crate) struct Results {
    /// One for each server, in their order.
    pub(crate) cells: Vec<Cell>,
    /// The cost ratios of neighbouring samples of the baseline: the width of "equal".
    pub(crate) control: Vec<f64>,
    /// The shares of the core that neither side got.
    pub(crate) lost: Vec<f64>,
}

/// The times of one sample.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) warm: Duration,
    pub(crate) window: Duration,
    pub(crate) rounds: usize,
}

impl Times {
    pub(crate) fn of(scale: Scale, rounds: Option<usize>) -> Self {
        let (warm, window, usual) = scale.pick((10, 40, 1), (80, 250, 2), (150, 500, 5));
        Self {
            warm: Duration::from_millis(warm),
            window: Duration::from_millis(window),
            rounds: rounds.unwrap_or(usual),
        }
    }

    /// What a sample takes, with the start of its two processes.
    fn sample(self) -> Duration {
        self.warm + self.window + Duration::from_millis(40)
    }

    /// What a workload takes.
    pub(crate) fn workload(self, servers: usize) -> Duration {
        let samples = sequence(servers, false).len() * self.rounds;
        self.sample() * u32::try_from(samples).unwrap_or(u32::MAX)
    }
}

impl Sample {
    pub(crate) fn rate(&self) -> f64 {
        self.ops / self.wall * 1e9
    }

    pub(crate) fn cost(&self) -> f64 {
        self.server / self.ops
    }
}

/// Runs one workload on all servers; the first is the baseline.
pub(crate) fn compare(
    run: &mut Run,
    servers: &[Ready],
    work: &Workload,
    cores: Cores,
    times: Times,
) -> Results {
    let mut results = Results {
        cells: servers.iter().map(|_| Cell::default()).collect(),
        control: Vec::new(),
        lost: Vec::new(),
    };
    for round in 0..times.rounds {
        let mut taken: Vec<(usize, Sample)> = Vec::new();
        for index in sequence(servers.len(), round % 2 == 1) {
            let server = &servers[index];
            let what = format!("{}, round {}: {}", work.name, round + 1, server.peer.name);
            run.progress.step(times.sample(), what);
            let cell = &mut results.cells[index];
            if cell.failures.len() >= PATIENCE {
                continue;
            }
            match sample(server, work.mode, &work.load, cores, times) {
                Ok(sample) => {
                    cell.samples.push(sample);
                    taken.push((index, sample));
                    if !cores.are_two() {
                        let used = sample.server + sample.client;
                        results.lost.push(1.0 - used / sample.wall);
                    }
                }
                Err(error) => {
                    let line = format!("{}, {}: {error}", work.name, server.peer.name);
                    run.failed(&line);
                    cell.failures.push(error.to_string());
                }
            }
        }
        results.pair(&taken);
    }
    results
}

/// One sample of a server that is started for it alone.
pub(crate) fn sample(
    server: &Ready,
    mode: Mode,
    load: &Options,
    cores: Cores,
    times: Times,
) -> Result<Sample> {
    let together = !cores.are_two();
    let wrap = if together { batch() } else { None };
    let started = server.start(mode, cores.server, wrap.unwrap_or_default())?;
    let mut extra = vec![
        format!("--warm={}", times.warm.as_millis()),
        format!("--millis={}", times.window.as_millis()),
    ];
    if !together {
        extra.push("--spin".to_owned());
    }
    started.load(load, &extra, cores.load)
}

impl Results {
    /// Compares the samples of a round with the samples of the baseline around them.
    fn pair(&mut self, taken: &[(usize, Sample)]) {
        let is_baseline = |entry: &&(usize, Sample)| entry.0 == 0;
        for (at, (index, sample)) in taken.iter().enumerate() {
            let before = taken[..at].iter().rev().find(is_baseline);
            let after = taken[at + 1..].iter().find(is_baseline);
            if *index == 0 {
                if let Some((_, next)) = after {
                    self.control.push(next.cost() / sample.cost());
                }
                continue;
            }
            let around: Vec<&Sample> = before.iter().chain(&after).map(|entry| &entry.1).collect();
            if around.is_empty() {
                continue;
            }
            let mean = |of: fn(&Sample) -> f64| {
                around.iter().map(|sample| of(sample)).sum::<f64>() / around.len() as f64
            };
            let cell = &mut self.cells[*index];
            cell.rates.push(sample.rate() / mean(Sample::rate));
            cell.costs.push(sample.cost() / mean(Sample::cost));
        }
    }
}

/// The order of a round: the baseline (0) first, last, and after every few others.
fn sequence(servers: usize, backwards: bool) -> Vec<usize> {
    let mut others: Vec<usize> = (1..servers).collect();
    if backwards {
        others.reverse();
    }
    let mut order = vec![0];
    for some in others.chunks(NEAR) {
        order.extend_from_slice(some);
        order.push(0);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_baseline_is_around_every_server() {
        assert_eq!(sequence(6, false), [0, 1, 2, 3, 0, 4, 5, 0]);
        assert_eq!(sequence(6, true), [0, 5, 4, 3, 0, 2, 1, 0]);
        assert_eq!(sequence(1, false), [0]);
    }

    #[test]
    fn ratios_are_those_to_the_mean_of_both_neighbours() {
        let sample = |ops, server| Sample {
            ops,
            server,
            wall: 1e9,
            ..Sample::default()
        };
        let mut results = Results {
            cells: vec![Cell::default(), Cell::default()],
            control: Vec::new(),
            lost: Vec::new(),
        };
        let taken = [
            (0, sample(100.0, 100.0)),
            (1, sample(300.0, 600.0)),
            (0, sample(200.0, 600.0)),
        ];
        results.pair(&taken);
        assert_eq!(results.cells[1].rates, [2.0]);
        assert_eq!(results.cells[1].costs, [1.0]);
        assert_eq!(results.control, [3.0]);
    }
}
