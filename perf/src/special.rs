//! What is measured in other ways than by alternating throughput: latency at a moderate load,
//! resident bytes of idle connections, and user instructions.

use std::time::Duration;

use crate::Result;
use crate::child::{Cores, Ready, batch};
use crate::compare::{Times, sample};
use crate::load::{Load, Options, Sample};
use crate::peers::{Mode, in_c::output};
use crate::report::{Table, nanos, si};
use crate::run::{Run, Scale};
use crate::stats::median;
use crate::workloads::{self, Workload};

/// Messages at fixed times: (name, connections, messages a second).
const PACED: [(&str, usize, u64); 2] =
    [("1 connection", 1, 4_000), ("100 connections", 100, 20_000)];

fn latency_times(scale: Scale) -> Times {
    let (warm, window, rounds) = scale.pick((10, 40, 1), (100, 400, 1), (150, 1000, 3));
    Times {
        warm: Duration::from_millis(warm),
        window: Duration::from_millis(window),
        rounds,
    }
}

fn idle_conns(scale: Scale) -> usize {
    scale.pick(200, 1000, 5000)
}

/// What each part takes for one server, for the progress bar.
const IDLE: Duration = Duration::from_millis(700);
const COUNT: Duration = Duration::from_millis(1600);

pub(crate) fn plan(run: &Run, servers: &[Ready], cores: Cores) {
    let count = u32::try_from(servers.len()).unwrap_or(u32::MAX);
    if cores.are_two() {
        let times = latency_times(run.scale);
        let each = (times.warm + times.window) * (PACED.len() * times.rounds) as u32;
        run.progress.plan(each * count);
    }
    run.progress.plan(IDLE * count);
    if has_valgrind() {
        let counts = 2 * counted(run.scale).len() * counted_servers(run.scale, servers);
        run.progress.plan(COUNT * counts as u32);
    }
}

/// Latency percentiles.
pub(crate) fn latency(run: &mut Run, servers: &[Ready], cores: Cores) {
    let title = "Latency at a moderate load";
    if !cores.are_two() {
        run.report.section(title).text(
            "Not measured: the load generator needs a core of its own, and there is only one.",
        );
        return;
    }
    let times = latency_times(run.scale);
    let mut taken: Vec<Vec<Vec<Sample>>> = vec![vec![Vec::new(); servers.len()]; PACED.len()];
    for round in 0..times.rounds {
        for (paced, (name, conns, rate)) in PACED.into_iter().enumerate() {
            let mut order: Vec<usize> = (0..servers.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let server = &servers[index];
                let what = format!("latency, {name}, round {}: {}", round + 1, server.peer.name);
                run.progress.step(times.warm + times.window, what);
                let load = Options {
                    conns,
                    rate: Some(rate),
                    ..Options::plain(Load::Echo)
                };
                match sample(server, Mode::Echo, &load, cores, times) {
                    Ok(sample) => taken[paced][index].push(sample),
                    Err(error) => run.failed(&format!("{}: {error}", server.peer.name)),
                }
            }
        }
    }
    write_latency(run, title, servers, &taken, times);
}

fn write_latency(
    run: &mut Run,
    title: &str,
    servers: &[Ready],
    taken: &[Vec<Vec<Sample>>],
    times: Times,
) {
    let section = run.report.section(title);
    section.text(format!(
        "Messages of 64 bytes are sent at fixed times, whether the earlier ones have come back or \
         not, and each counts from the time when it should have been sent: a server that stops for \
         a while gets no credit for the messages that it kept from being sent. The server and the \
         load generator have a core each, and the generator never sleeps. Medians of {} rounds of \
         {:?}. The far percentiles are as much the machine's as the server's: a neighbour that \
         takes the core for a moment is all in p99.9.",
        times.rounds, times.window
    ));
    let waited = |s: &Sample| 100.0 * s.waited / s.wall;
    let waited: Vec<f64> = taken.iter().flatten().flatten().map(waited).collect();
    section.text(format!(
        "In the median sample one of the two sides waited for its core {:.1} % of the time; on a \
         quiet machine that is nearly nothing. **If it is more than 2 %, this section shows the \
         neighbours.**",
        median(&waited)
    ));
    for ((name, _, rate), rows) in PACED.into_iter().zip(taken) {
        let mut table = Table::new(["server", "p50", "p99", "p99.9", "CPU of a message"]);
        for (server, samples) in servers.iter().zip(rows) {
            let of =
                |field: fn(&Sample) -> f64| median(&samples.iter().map(field).collect::<Vec<_>>());
            let values = [of(|s| s.p50), of(|s| s.p99), of(|s| s.p999)];
            let texts = values.into_iter().chain([of(Sample::cost)]).map(nanos);
            if samples.is_empty() {
                table.row([server.name(), "failed".to_owned()]);
            } else {
                table.row(std::iter::once(server.name()).chain(texts));
            }
        }
        section.text(format!("**{name}, {rate} messages a second**"));
        section.table(table);
    }
    section.plot("latency.svg", "Latency percentiles of the servers");
}

/// Resident bytes of idle connections.
pub(crate) fn memory(run: &mut Run, servers: &[Ready], cores: Cores) {
    let conns = idle_conns(run.scale);
    let load = Options {
        conns,
        ..Options::plain(Load::Idle)
    };
    let mut table = Table::new(["server", "never spoke", "has spoken once"]);
    for server in servers {
        let what = format!("idle connections: {}", server.peer.name);
        run.progress.step(IDLE, what);
        let taken = server
            .start(Mode::Echo, cores.server, &[])
            .and_then(|started| started.load(&load, &[], cores.load));
        let (silent, spoken) = match &taken {
            Ok(sample) => (sample.silent, sample.spoken),
            Err(error) => {
                run.failed(&format!("{}: {error}", server.peer.name));
                (f64::NAN, f64::NAN)
            }
        };
        let text = |value: f64| match value.is_nan() {
            true => "failed".to_owned(),
            false => format!("{value:.0} B"),
        };
        table.row([server.name(), text(silent), text(spoken)]);
    }
    let section = run.report.section("Memory of idle connections");
    section.text(format!(
        "How much the resident memory of the server grew, divided by {conns} connections: when \
         they had only been accepted, and when each had sent 64 bytes and got them back. 64 other \
         connections had spoken before, so that what a server needs for any connection at all is \
         not counted. The kernel's memory for sockets is not in it; it is the same for all."
    ));
    section.table(table);
    section.plot("memory.svg", "Resident bytes of an idle connection");
}

fn has_valgrind() -> bool {
    output("valgrind", &["--version"]).is_some()
}

fn counted(scale: Scale) -> Vec<&'static Workload> {
    let all = workloads::ALL.iter().filter(|work| work.counts.is_some());
    all.filter(|work| scale == Scale::Full || ["pp100", "fan100"].contains(&work.name))
        .take(scale.pick(1, 2, usize::MAX))
        .collect()
}

/// Under valgrind a server takes a second to start, so a smoke test has only the first two.
fn counted_servers(scale: Scale, servers: &[Ready]) -> usize {
    servers.len().min(scale.pick(2, usize::MAX, usize::MAX))
}

/// User instructions for each operation.
pub(crate) fn instructions(run: &mut Run, servers: &[Ready], cores: Cores) {
    let title = "User instructions for each operation";
    let works = counted(run.scale);
    if !has_valgrind() {
        let section = run.report.section(title);
        section.text("Not measured: `valgrind` is not installed.");
        return;
    }
    let names = works.iter().map(|work| work.name);
    let mut table = Table::new(std::iter::once("server").chain(names));
    for server in &servers[..counted_servers(run.scale, servers)] {
        let mut row = vec![server.name()];
        for work in &works {
            let value = difference(run, server, work, cores).unwrap_or_else(|error| {
                let name = server.peer.name;
                run.failed(&format!("{name} under valgrind: {error}"));
                f64::NAN
            });
            let text = match value.is_nan() {
                true => "failed".to_owned(),
                false => si(value),
            };
            row.push(text);
        }
        table.row(row);
    }
    let section = run.report.section(title);
    section.text(
        "Counted by valgrind's callgrind: the difference of two runs that differ only in the \
         number of operations, divided by that number. What the kernel does is not in it, which is \
         most of the time; but the count is nearly free of noise, and it is the part that a \
         library can change.",
    );
    section.table(table);
    section.plot("instructions.svg", "User instructions, by workload");
}

fn difference(run: &mut Run, server: &Ready, work: &Workload, cores: Cores) -> Result<f64> {
    let (few, many) = work.counts.ok_or("no counts")?;
    let what = format!("instructions, {}: {}", work.name, server.peer.name);
    let mut taken = Vec::new();
    for count in [few, many] {
        run.progress.step(COUNT, &*what);
        taken.push(count_once(server, work, cores, count)?);
    }
    let ops = taken[1].0 - taken[0].0;
    Ok((taken[1].1 - taken[0].1) / ops)
}

/// The operations of a run, and the instructions that the server has used from its start on.
fn count_once(server: &Ready, work: &Workload, cores: Cores, count: u64) -> Result<(f64, f64)> {
    let mut wrap = batch().unwrap_or_default().to_vec();
    wrap.extend([
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
    ]);
    let started = server.start(work.mode, cores.server, &wrap)?;
    let extra = [format!("--count={count}")];
    let sample = started.load(&work.load, &extra, cores.server)?;
    let text = started.end()?;
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.ok_or("callgrind says nothing")?;
    Ok((sample.ops, number.trim().parse()?))
}
