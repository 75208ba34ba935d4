//! The section on throughput and CPU time: its tables and plots.

use crate::child::{Cores, Ready, batch};
use crate::compare::{Cell, Results, Times, compare};
use crate::report::{Report, Table, nanos, ratio, si};
use crate::run::{Run, Scale};
use crate::stats::{max, median, min};
use crate::workloads::Workload;

/// Where neighbours take a larger share of the core, the report warns.
const BUSY: f64 = 0.1;

/// The parts that a run is made of.
pub(crate) struct Plan<'a> {
    pub(crate) servers: &'a [Ready],
    pub(crate) works: &'a [&'a Workload],
    pub(crate) cores: Cores,
    pub(crate) times: Times,
}

impl Plan<'_> {
    pub(crate) fn announce(&self, run: &Run) {
        for _ in self.works {
            run.progress.plan(self.times.workload(self.servers.len()));
        }
    }

    pub(crate) fn run(&self, run: &mut Run) {
        let all: Vec<Results> = self
            .works
            .iter()
            .map(|work| compare(run, self.servers, work, self.cores, self.times))
            .collect();
        self.overview(&mut run.report, &all, run.scale);
        self.details(&mut run.report, &all);
    }

    fn overview(&self, report: &mut Report, all: &[Results], scale: Scale) {
        let baseline = self.servers[0].peer.name;
        let section = report.section("CPU time and throughput");
        section.text(self.method(baseline));
        if scale == Scale::Smoke {
            section.text("**This was a smoke test: the figures mean nothing.**");
        }
        let lost: Vec<f64> = all
            .iter()
            .flat_map(|results| results.lost.clone())
            .collect();
        if median(&lost) > BUSY {
            section.text(format!(
                "**The machine was busy: {:.0} % of the core went elsewhere (median). Take these \
                 figures for a rough guide.**",
                100.0 * median(&lost)
            ));
        }
        let mut what = Table::text(["workload", "what", "an operation is one of"]);
        for work in self.works {
            what.row([work.name, work.about, work.unit]);
        }
        section.table(what);
        section.text(format!(
            "CPU time of the server for each operation, as a ratio to `{baseline}` \
             (median of pairs; lower is better). In the row of `{baseline}`: the median itself."
        ));
        section.table(self.matrix(all, Figure::Cost));
        section.plot("cpu.svg", "Server CPU time for each operation, by workload");
        section.text(format!(
            "Operations a second, as a ratio to `{baseline}` (median of pairs; higher is better). \
             In the row of `{baseline}`: the median itself."
        ));
        section.table(self.matrix(all, Figure::Rate));
        section.plot("throughput.svg", "Throughput ratio, by workload");
    }

    fn method(&self, baseline: &str) -> String {
        let place = match (self.cores.are_two(), batch()) {
            (true, _) => {
                "The server and the load generator have a core each, and the generator \
                          never sleeps."
            }
            (false, Some(_)) => {
                "The server and the load generator share one core, both under \
                                 SCHED_BATCH, so that each works until it has nothing left to do, \
                                 and nothing depends on how one core wakes another. Throughput \
                                 then holds the cost of the generator too, which brings all \
                                 servers nearer to each other: **the CPU time is the better \
                                 figure.**"
            }
            (false, None) => {
                "The server and the load generator share one core. There is no \
                              `chrt`, so they run under the usual policy and preempt each other."
            }
        };
        format!(
            "{place} Each sample starts its server anew, warms it for {:?} and measures for {:?}. \
             The servers take turns, for {} rounds, in one direction and then in the other; every \
             few servers `{baseline}` runs again, and each sample is compared with those of \
             `{baseline}` next to it. All of this is over loopback: one `send` includes the \
             receiving half of TCP, which is another machine's work in life. Every byte of every \
             answer was compared with what was sent. In `fan100-k10` a server that writes once for \
             all that is due, and not for each read, has an advantage: that is a design, and ours. \
             sockeye and `epoll` send and receive by system calls in line, the others call libc: \
             where these two are ahead, that is most of it, and `docs/design.md` says why.",
            self.times.warm, self.times.window, self.times.rounds
        )
    }

    fn matrix(&self, all: &[Results], figure: Figure) -> Table {
        let names = self.works.iter().map(|work| work.name);
        let mut table = Table::new(std::iter::once("server").chain(names));
        for (index, server) in self.servers.iter().enumerate() {
            let cells = all.iter().map(|results| {
                let cell = &results.cells[index];
                match (cell.samples.is_empty(), index) {
                    (true, _) => "failed".to_owned(),
                    (false, 0) => format!("*{}*", figure.absolute(cell)),
                    (false, _) => ratio(median(figure.ratios(cell))),
                }
            });
            table.row(std::iter::once(server.name()).chain(cells));
        }
        let control = all.iter().map(|results| {
            let off: Vec<f64> = results.control.iter().map(|r| (r - 1.0).abs()).collect();
            format!("±{:.2}", median(&off))
        });
        if matches!(figure, Figure::Cost) {
            table.row(std::iter::once("*the same twice*".to_owned()).chain(control));
        }
        table
    }

    fn details(&self, report: &mut Report, all: &[Results]) {
        let section = report.section("CPU time and throughput in detail");
        section.text(
            "*Range*: of the ratios of all pairs. *Best*: the ratio of the least CPU time in any \
             sample to the least of the baseline, which is the figure that repeats best on a \
             machine with neighbours.",
        );
        for (work, results) in self.works.iter().zip(all) {
            let arguments = work.load.arguments().join(" ");
            let lost = if results.lost.is_empty() {
                String::new()
            } else {
                let share = 100.0 * median(&results.lost);
                format!(" Of the core, {share:.0} % went elsewhere (median).")
            };
            section.text(format!(
                "**{}** (`perf load {arguments}`).{lost}",
                work.name
            ));
            section.table(self.detail(work, results));
            for (server, cell) in self.servers.iter().zip(&results.cells) {
                if let Some(failure) = cell.failures.first() {
                    let times = cell.failures.len();
                    let name = server.peer.name;
                    section.text(format!("`{name}` failed {times} times: {failure}."));
                }
            }
        }
    }

    fn detail(&self, work: &Workload, results: &Results) -> Table {
        let mut table = Table::new([
            "server",
            &format!("{}/s", work.unit),
            "ratio",
            "range",
            "CPU each",
            "ratio",
            "range",
            "best",
            "samples",
        ]);
        let best = |cell: &Cell| min(&cell.samples.iter().map(|s| s.cost()).collect::<Vec<_>>());
        for (index, server) in self.servers.iter().enumerate() {
            let cell = &results.cells[index];
            let dash = |text: String| if index == 0 { "–".to_owned() } else { text };
            table.row([
                server.name(),
                Figure::Rate.absolute(cell),
                dash(ratio(median(&cell.rates))),
                dash(range(&cell.rates)),
                Figure::Cost.absolute(cell),
                dash(ratio(median(&cell.costs))),
                dash(range(&cell.costs)),
                dash(ratio(best(cell) / best(&results.cells[0]))),
                cell.samples.len().to_string(),
            ]);
        }
        table
    }
}

#[derive(Clone, Copy)]
enum Figure {
    Cost,
    Rate,
}

impl Figure {
    fn ratios(self, cell: &Cell) -> &[f64] {
        match self {
            Self::Cost => &cell.costs,
            Self::Rate => &cell.rates,
        }
    }

    fn absolute(self, cell: &Cell) -> String {
        let values = |of: fn(&crate::load::Sample) -> f64| {
            median(&cell.samples.iter().map(of).collect::<Vec<_>>())
        };
        match self {
            Self::Cost => nanos(values(crate::load::Sample::cost)),
            Self::Rate => si(values(crate::load::Sample::rate)),
        }
    }
}

impl Ready {
    /// For the first column of a table: ours stands out.
    pub(crate) fn name(&self) -> String {
        match self.peer.name {
            crate::peers::OURS => format!("**{}**", crate::peers::OURS),
            name => name.to_owned(),
        }
    }
}

fn range(values: &[f64]) -> String {
    format!("{}–{}", ratio(min(values)), ratio(max(values)))
}
