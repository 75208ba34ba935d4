//! Servers of two threads beside each other, and one of one, on two cores that also carry the load.
//!
//! Nobody is bound to a core, for that is how such servers run. So the figures are less quiet than
//! those of one loop, and two servers are there twice: how far these are apart from themselves is
//! what counts as equal.

use crate::Result;
use crate::child::{Ready, batch};
use crate::load::{Load, Options};
use crate::machine::{machine, when};
use crate::peers::{Mode, OF_TWO, Peer};
use crate::stats::{max, median, min};

struct Work {
    name: &'static str,
    mode: Mode,
    load: Load,
    conns: usize,
    depth: usize,
}

const WORKS: [Work; 3] = [
    Work {
        name: "pp1000",
        mode: Mode::Echo,
        load: Load::Echo,
        conns: 1000,
        depth: 1,
    },
    Work {
        name: "churn",
        mode: Mode::Echo,
        load: Load::Churn,
        conns: 32,
        depth: 1,
    },
    Work {
        name: "fan1000",
        mode: Mode::Broadcast,
        load: Load::Fan,
        conns: 1000,
        depth: 16,
    },
];

/// What all are compared with is the first of the two.
const TWICE: [&str; 2] = ["c-epoll-2", "workers"];

pub(crate) fn run(rounds: usize) -> Result<()> {
    let twice = |peer: &&Peer| TWICE.contains(&peer.name);
    let all: Vec<Ready> = OF_TWO
        .iter()
        .chain(OF_TWO.iter().filter(twice))
        .map(Ready::prepare)
        .collect::<Result<_>>()?;
    let base = all.iter().position(|ready| ready.peer.name == TWICE[0]);
    let base = base.ok_or("no baseline")?;
    println!("{}\n{}\n{rounds} rounds\n", machine(), when());
    for work in &WORKS {
        let mut costs = vec![Vec::new(); all.len()];
        let mut rates = vec![Vec::new(); all.len()];
        for round in 0..rounds {
            // Each begins a round in turn.
            for step in 0..all.len() {
                let at = (round + step) % all.len();
                let (cost, rate) = once(&all[at], work)?;
                costs[at].push(cost);
                rates[at].push(rate);
            }
        }
        println!(
            "| {} | CPU, µs | beside C | of the rounds | a second |",
            work.name
        );
        println!("|---|---|---|---|---|");
        for (at, ready) in all.iter().enumerate() {
            let pairs = costs[at].iter().zip(&costs[base]);
            let ratios: Vec<f64> = pairs.map(|(its, base)| its / base).collect();
            println!(
                "| {} | {:.3} | {:.3} | {:.3} to {:.3} | {:.0} |",
                ready.peer.name,
                median(&costs[at]),
                median(&ratios),
                min(&ratios),
                max(&ratios),
                median(&rates[at])
            );
        }
        println!();
    }
    Ok(())
}

/// Microseconds of the server's threads for an operation, and operations in a second.
fn once(server: &Ready, work: &Work) -> Result<(f64, f64)> {
    let started = server.start(work.mode, None, batch().unwrap_or_default())?;
    let load = Options {
        conns: work.conns,
        depth: work.depth,
        ..Options::plain(work.load)
    };
    let extra = ["--warm=200", "--millis=700"].map(str::to_owned);
    let sample = started.load(&load, &extra, None)?;
    let cost = sample.server / sample.ops / 1e3;
    Ok((cost, sample.ops / sample.wall * 1e9))
}
