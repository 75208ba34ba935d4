//! The whole run, and the page that it writes.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::builder::RangedU64ValueParser;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::Result;
use crate::child::{Cores, Ready};
use crate::compare::Times;
use crate::machine;
use crate::own;
use crate::peers::{self, BASELINE, SECOND_BASELINE};
use crate::report::Table;
use crate::run::{Run, Scale};
use crate::special;
use crate::summary::Plan;
use crate::workloads::{self, Workload};

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Only these servers, with commas between, besides the baseline (see `perf list`)
    #[arg(long, value_delimiter = ',')]
    servers: Vec<String>,

    /// Only these workloads (see `perf list`)
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<String>,

    /// Rounds of the comparison, instead of 5 (quick: 2)
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    rounds: Option<usize>,

    /// The core of the server, and that of the load generator, as in 0,1 [default: the first two]
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,

    /// Throughput too with a core for each side, instead of one for both
    #[arg(long)]
    two_cores: bool,

    /// Only the comparison of CPU time and throughput
    #[arg(long)]
    only_compare: bool,

    /// Where performance.md goes [default: docs, for short runs target/performance]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Asked before everything is measured, and not a quarter of an hour later.
fn can_write(page: &Path) -> io::Result<()> {
    fs::create_dir_all(page.with_extension(""))?;
    let file = fs::OpenOptions::new().append(true).create(true).open(page);
    file.map(drop)
}

pub(crate) fn run(run: &mut Run, options: &Options) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let usual = match run.scale {
        Scale::Full => root.join("docs"),
        _ => env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), PathBuf::from)
            .join("performance"),
    };
    let out = options.out.clone().unwrap_or(usual);
    let page = out.join("performance.md");
    can_write(&page).map_err(|error| format!("{}: {error}", page.display()))?;
    many_descriptors()?;
    let cores = match options.cores[..] {
        [server, load] => Cores { server, load },
        [] => Cores::allowed()?,
        _ => return Err("--cores takes two numbers, as in 0,1".into()),
    };
    let (servers, missing) = prepare(run, &options.servers)?;
    let works = choose(run.scale, &options.workloads)?;
    let plan = Plan {
        servers: &servers,
        works: &works,
        cores: if options.two_cores {
            cores
        } else {
            cores.same()
        },
        times: Times::of(run.scale, options.rounds),
    };
    head(run, &servers, &missing);
    plan.announce(run);
    if !options.only_compare {
        special::plan(run, &servers, cores);
        own::plan(run);
    }
    plan.run(run);
    if !options.only_compare {
        special::latency(run, &servers, cores);
        special::memory(run, &servers, cores);
        special::instructions(run, &servers, cores);
        own::all(run);
    }
    run.progress.finish();
    run.report.write_plots(&out.join("performance"))?;
    fs::write(&page, run.report.markdown())?;
    println!("{}", fs::canonicalize(page)?.display());
    run.verdict()
}

/// Prints the servers and the workloads.
pub(crate) fn list() {
    for peer in peers::ALL {
        println!("server    {:<12} {}", peer.name, peer.about);
    }
    for work in workloads::ALL {
        println!("workload  {:<12} {}", work.name, work.about);
    }
    for own in own::ALL {
        println!("own       {}", own.name);
    }
}

/// The servers that can be had, the baseline first; and why others cannot.
fn prepare(run: &Run, wanted: &[String]) -> Result<(Vec<Ready>, Vec<String>)> {
    for name in wanted {
        peers::find(name)?;
    }
    let (mut servers, mut missing) = (Vec::new(), Vec::new());
    let mut add = |peer, servers: &mut Vec<Ready>| match Ready::prepare(peer) {
        Ok(ready) => servers.push(ready),
        Err(error) => {
            run.progress.say(&format!("without {}: {error}", peer.name));
            missing.push(format!("`{}` ({error})", peer.name));
        }
    };
    for peer in peers::ALL {
        let is_wanted = wanted.is_empty() || wanted.iter().any(|name| name == peer.name);
        if is_wanted || peer.name == BASELINE {
            add(peer, &mut servers);
        }
    }
    let place = |servers: &[Ready], name| servers.iter().position(|s| s.peer.name == name);
    if place(&servers, BASELINE)
        .or(place(&servers, SECOND_BASELINE))
        .is_none()
    {
        add(peers::find(SECOND_BASELINE)?, &mut servers);
    }
    let baseline = place(&servers, BASELINE).or(place(&servers, SECOND_BASELINE));
    servers[..=baseline.ok_or("no baseline")?].rotate_right(1);
    Ok((servers, missing))
}

fn choose(scale: Scale, wanted: &[String]) -> Result<Vec<&'static Workload>> {
    if wanted.is_empty() {
        let all = workloads::ALL.iter();
        return Ok(all.filter(|w| w.quick || scale != Scale::Quick).collect());
    }
    let find = |name: &String| {
        let found = workloads::ALL.iter().find(|work| work.name == name);
        found.ok_or_else(|| format!("there is no workload {name}").into())
    };
    wanted.iter().map(find).collect()
}

/// Children inherit the limit.
fn many_descriptors() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// The pages that belong to this one and are not made by the same run.
const OTHERS: &str = "\
     [The same on an AMD EPYC](performance-amd.md), a run of November 2026, at an older commit: \
     there returns are guarded against speculation, and system calls in line gain more. \
     [Services](services.md): what small servers of `examples/` cost beside nginx, Redis, \
     tokio-tungstenite and tokio-rustls, and how low it could be. [Design](design.md) says what \
     was chosen for speed, and what was tried and refused.";

fn head(run: &mut Run, servers: &[Ready], missing: &[String]) {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let rest = match arguments.is_empty() {
        true => String::new(),
        false => format!(" -- {}", arguments.join(" ")),
    };
    let command = format!("cargo run --release -p perf{rest}");
    let report = &mut run.report;
    report.intro(format!(
        "# Performance\n\n\
         sockeye beside a hand-written epoll loop and beside other libraries. This page and its \
         plots were written by `{command}`; nothing on it is written by \
         hand. Its figures are good for comparing the rows of one table. They are no promise for \
         another machine, and this one may have neighbours: where a ratio differs from 1 by less \
         than the row *the same twice* says, it says nothing."
    ));
    report.section("Other pages").text(OTHERS);
    let section = report.section("The machine and the servers");
    section.text(format!(
        "Machine: {}. Run: {}. One thread for each server (message-io and mill-net keep helper \
         threads besides; the CPU time is that of all threads).",
        machine::machine(),
        machine::when()
    ));
    let mut table = Table::text(["server", "version", "what it is"]);
    for server in servers {
        let version = machine::version(server.peer);
        table.row([server.name(), version, server.peer.about.to_owned()]);
    }
    section.table(table);
    if !missing.is_empty() {
        section.text(format!("Not to be had here: {}.", missing.join(", ")));
    }
}
