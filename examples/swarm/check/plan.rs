//! What happens in one world: everything follows from the seed, and a cut of it is a smaller plan
//! of the same seed.

use super::random::Random;
use sockeye::sim::{Faults, Link};
use sockeye::{Config, Limits, Overflow};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What a node does with what it is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Echo,
    Proxy,
    Broadcast,
    Sink,
}

#[derive(Debug)]
pub struct NodePlan {
    pub role: Role,
    pub config: Config,
    pub backlog: u32,
    pub receive_buffer: usize,
    /// `None`: the system's, which grows with use.
    pub send_buffer: Option<usize>,
    /// How many times in a hundred a callback does something of its own.
    pub busy: usize,
    /// How many such things it may do in all.
    pub fuel: usize,
    /// No timeout is short enough to matter: who waits long enough has been forgotten.
    pub patient: bool,
    /// Its callbacks may take long.
    pub slow: bool,
    /// Who lingers may have to give way: to others, or for want of descriptors.
    pub gives_way: bool,
    /// Nobody's callbacks take long, and no process is ever stopped: what is due comes at its time.
    pub exact: bool,
    pub seed: u64,
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    Connect {
        peer: usize,
        node: usize,
        buffer: usize,
    },
    Send {
        peer: usize,
        len: usize,
    },
    Shutdown(usize),
    Close(usize),
    Reset(usize),
    Ignore(usize),
    Hear(usize),
    Read {
        peer: usize,
        len: usize,
    },
    /// Reads slowly, but all the time.
    HearAt {
        peer: usize,
        len: usize,
        micros: u64,
    },
    /// Sends for a while.
    SendAt {
        peer: usize,
        len: usize,
        pieces: usize,
        micros: u64,
    },
    Settle,
    Advance(u64),
    Cut(usize, usize),
    Heal,
    Post {
        node: usize,
        acts: usize,
    },
    Outside {
        node: usize,
        acts: usize,
    },
    Listen(usize),
    /// Faults stop, and everything must come to rest and to its destination.
    Calm,
}

pub struct Plan {
    pub seed: u64,
    pub faults: Faults,
    pub link: Link,
    pub send_buffers: (usize, usize),
    pub nodes: Vec<NodePlan>,
    pub steps: Vec<Step>,
    /// The largest send, and the like.
    pub unit: usize,
    /// Connections may speak TLS, if the seed says so.
    pub secure: bool,
    /// If it was quiet, it goes on for a while.
    pub goes_on: bool,
}

/// The number of the first peer that the scripted server accepts.
pub const ACCEPTED: usize = 1000;

/// How many of the nodes' own actions a plan allows at most.
const FUEL: usize = 120;

/// The close-flush time of nodes that are patient otherwise.
const CLOSE_FLUSH: Duration = Duration::from_secs(10);

impl Plan {
    pub fn new(seed: u64) -> Plan {
        let mut random = Random::new(seed ^ 0x5eed_0000);
        let unit = *random.pick(&[8, 60, 500, 4_000, 20_000]);
        let patient = random.percent(60);
        let nodes = (0..random.range(1, 3))
            .map(|_| node(&mut random, unit, patient))
            .collect::<Vec<_>>();
        let faults = faults(&mut random);
        let mut nodes = nodes;
        let exhausts = faults.accept_fails > 0 || faults.connect_fails > 0;
        nodes.iter_mut().for_each(|node| node.gives_way |= exhausts);
        let stops = faults.stalls > 0 || faults.slow_callbacks > 0;
        let exact = !stops && !nodes.iter().any(|node| node.slow);
        nodes.iter_mut().for_each(|node| node.exact = exact);
        let mut link = Link::default();
        if random.percent(60) {
            link.latency = Duration::from_micros(random.skewed(20_000) as u64);
            link.jitter = Duration::from_micros(random.skewed(5_000) as u64);
        }
        if random.percent(20) {
            link.bandwidth = Some(random.range(100_000, 10_000_000) as u64);
        }
        let send_buffers = (random.skewed(unit), random.skewed(unit * 50));
        let steps = steps(&mut random, unit, nodes.len());
        Plan {
            seed,
            faults,
            link,
            send_buffers,
            nodes,
            steps,
            unit,
            secure: true,
            goes_on: true,
        }
    }

    pub fn cut(mut self, cut: &Cut) -> Plan {
        self.goes_on = !cut.ends_early;
        self.secure = !cut.plain_sockets;
        let kept = |index: &usize| cut.steps.as_ref().is_none_or(|steps| steps.contains(index));
        let steps = std::mem::take(&mut self.steps);
        let steps = steps.into_iter().enumerate();
        self.steps = steps
            .filter(|(index, _)| kept(index))
            .map(|(_, step)| step)
            .collect();
        for node in &mut self.nodes {
            node.fuel = cut.fuel.map_or(node.fuel, |fuel| fuel.min(node.fuel));
        }
        if let Some(names) = &cut.faults {
            each_fault(&mut self.faults, |name, chance| {
                if !names.iter().any(|kept| kept == name) {
                    *chance = 0;
                }
            });
        }
        if cut.plain_link {
            self.link = Link::default();
        }
        self
    }

    /// The names of the faults that this plan has.
    pub fn fault_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        each_fault(&mut self.faults.clone(), |name, chance| {
            if *chance > 0 {
                names.push(name.to_owned());
            }
        });
        names
    }
}

/// For whoever looks into a seed.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}\n{:?}", self.faults, self.link)?;
        for node in &self.nodes {
            writeln!(f, "{node:?}")?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "step {number}: {step:?}")?;
        }
        Ok(())
    }
}

fn node(random: &mut Random, unit: usize, patient: bool) -> NodePlan {
    let role = *random.pick(&[Role::Echo, Role::Proxy, Role::Broadcast, Role::Sink]);
    let mut config = Config::default();
    let budget = |random: &mut Random| *random.pick(&[1, 1, 2, 3, 7, 1024]);
    config.accepts_per_turn = budget(random);
    config.reads_per_turn = budget(random);
    config.messages_per_turn = budget(random);
    config.expiries_per_turn = budget(random);
    config.rounds_per_turn = *random.pick(&[1, 2, 3, 8]);
    config.events_per_wait = *random.pick(&[1, 2, 5, 1024]);
    config.receive_buffer = random.range(unit.div_ceil(40), unit * 2);
    config.max_connections = *random.pick(&[4, 8, 1000, 1000]);
    config.message_limit = *random.pick(&[1, 3, 1000]);
    config.accept_backoff = Duration::from_micros(random.skewed(100_000) as u64);
    // By itself, so that older seeds keep the rest of their plans.
    config.source_bytes_per_turn = *random.clone().pick(&[100, 4_000, 4 << 20]);
    let limits = &mut config.limits;
    limits.high_watermark = random.skewed(unit * 2);
    limits.low_watermark = random.below(limits.high_watermark + 1);
    limits.hard_limit = limits.high_watermark + random.below(unit * 4);
    limits.overflow = *random.pick(&[Overflow::Close, Overflow::DropNewest]);
    limits.input_limit = random.range(unit / 2, unit * 4);
    if patient {
        let long = Duration::from_secs(3600);
        (limits.connect_timeout, limits.write_stall) = (long, long);
        // Two that close wait for each other's bytes, and only this ends it.
        (limits.close_flush, limits.linger_time) = (CLOSE_FLUSH, Duration::from_secs(2));
        limits.linger_silence = Duration::from_millis(*random.pick(&[10, 300, 1000]));
        limits.close_time = *random.pick(&[long, CLOSE_FLUSH * 3 / 2]);
    } else {
        let mut short = || Duration::from_micros(random.skewed(500_000) as u64);
        (limits.connect_timeout, limits.write_stall) = (short(), short());
        (limits.close_flush, limits.linger_time) = (short(), short());
        limits.linger_silence = short();
        limits.idle = Some(short());
    }
    let gives_way = config.max_connections < 1000;
    let asks = random.percent(50);
    // By itself, so that older seeds keep the rest of their plans.
    if !patient && random.clone().percent(50) {
        config.limits.close_time = config.limits.close_flush * 3 / 2;
    }
    // As long as several attempts take, and by itself again.
    let mut aside = Random::new(!random.clone().next());
    if !patient && aside.percent(60) {
        let millis = aside.range(300, 2_000) as u64;
        config.limits.connect_timeout = Duration::from_millis(millis);
    }
    let falls_idle = !patient && falls_idle(random, &mut config.limits);
    NodePlan {
        role,
        config,
        backlog: *random.pick(&[1, 2, 128]) as u32,
        receive_buffer: random.range(unit.div_ceil(10), unit * 4),
        send_buffer: asks.then(|| random.range(unit.div_ceil(10), unit * 4)),
        busy: *random.pick(&[0, 5, 20, 50]),
        fuel: FUEL,
        patient,
        slow: random.percent(40) || falls_idle,
        gives_way,
        exact: false,
        seed: random.next(),
    }
}

/// Who falls idle beside callbacks that take long.
fn falls_idle(random: &Random, limits: &mut Limits) -> bool {
    // By itself, so that older seeds keep the rest of their plans.
    let mut aside = Random::new(random.clone().next().rotate_left(32));
    let falls_idle = aside.percent(25);
    if falls_idle {
        limits.idle = Some(Duration::from_millis(aside.range(1, 300) as u64));
        limits.write_stall = Duration::from_secs(60);
    }
    falls_idle
}

fn faults(random: &mut Random) -> Faults {
    let mut faults = Faults::some();
    // Some seeds have a lot of a few faults, and some a little of all.
    let (keep, times) = *random.pick(&[(30, 3), (60, 1), (100, 1), (20, 1)]);
    // By itself, so that what was found before this fault was known is found by the same seeds.
    let mut aside = Random::new(!random.clone().next());
    each_fault(&mut faults, |name, chance| {
        let random = match name {
            "shortages" | "lookups_fail" | "slow_lookups" | "partial_lookups" => &mut aside,
            _ => &mut *random,
        };
        *chance = match random.percent(keep) {
            true => (*chance * times).min(900),
            false => 0,
        };
    });
    // At least one, and one that is met in every world.
    faults.splits = faults.splits.max(20);
    faults.would_block = faults.would_block.max(10);
    faults
}

/// Every fault with its name.
fn each_fault(faults: &mut Faults, mut each: impl FnMut(&str, &mut u16)) {
    each("short_io", &mut faults.short_io);
    each("no_proof", &mut faults.no_proof);
    each("would_block", &mut faults.would_block);
    each("shortages", &mut faults.shortages);
    each("spurious", &mut faults.spurious);
    each("late_edges", &mut faults.late_edges);
    each("reordered", &mut faults.reordered);
    each("interrupts", &mut faults.interrupts);
    each("accept_fails", &mut faults.accept_fails);
    each("accept_aborted", &mut faults.accept_aborted);
    each("connect_fails", &mut faults.connect_fails);
    each("resets", &mut faults.resets);
    each("splits", &mut faults.splits);
    each("slow_peers", &mut faults.slow_peers);
    each("stalls", &mut faults.stalls);
    each("slow_callbacks", &mut faults.slow_callbacks);
    each("lookups_fail", &mut faults.lookups_fail);
    each("slow_lookups", &mut faults.slow_lookups);
    each("partial_lookups", &mut faults.partial_lookups);
}

fn steps(random: &mut Random, unit: usize, nodes: usize) -> Vec<Step> {
    let connect = |random: &mut Random, peer: usize| Step::Connect {
        peer,
        node: random.below(nodes),
        buffer: random.range(unit.div_ceil(10), unit * 4),
    };
    let mut steps: Vec<Step> = (0..5).map(|peer| connect(random, peer)).collect();
    let mut peers = steps.len();
    for _ in 0..random.range(60, 140) {
        let peer = match random.percent(20) {
            true => ACCEPTED + random.below(4),
            false => random.below(peers),
        };
        steps.push(match random.below(100) {
            0..4 => {
                peers += 1;
                connect(random, peers - 1)
            }
            4..34 => Step::Send {
                peer,
                len: random.skewed(unit * 2),
            },
            34..36 => Step::Shutdown(peer),
            36..38 => Step::Close(peer),
            38..40 => Step::Reset(peer),
            40..45 => Step::Ignore(peer),
            45..50 => Step::Hear(peer),
            50..52 => Step::Read {
                peer,
                len: random.skewed(unit),
            },
            52..55 => Step::HearAt {
                peer,
                len: random.skewed(unit),
                micros: random.skewed(300_000) as u64,
            },
            55..59 => {
                let pieces = random.range(2, 40);
                Step::SendAt {
                    peer,
                    len: random.skewed(unit),
                    pieces,
                    micros: random.skewed(2_000_000 / pieces) as u64,
                }
            }
            59..65 => Step::Settle,
            65..82 => Step::Advance(random.skewed(20_000) as u64),
            82..84 => Step::Cut(random.below(nodes), random.below(nodes + 1)),
            84..86 => Step::Heal,
            86..91 => Step::Post {
                node: random.below(nodes),
                acts: random.range(1, 3),
            },
            91..94 => Step::Outside {
                node: random.below(nodes),
                acts: random.range(1, 4),
            },
            94..95 => Step::Listen(random.below(nodes)),
            95..96 => Step::Calm,
            _ => Step::Advance(random.skewed(500_000) as u64),
        });
    }
    steps.push(Step::Calm);
    steps
}

/// A smaller plan of the same seed. It is written and read as `steps=0-4.9,fuel=3,faults=resets`.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The steps that are kept.
    pub steps: Option<Vec<usize>>,
    pub fuel: Option<usize>,
    /// The faults that are kept.
    pub faults: Option<Vec<String>>,
    pub plain_link: bool,
    /// Nobody speaks TLS.
    pub plain_sockets: bool,
    /// It is over after its steps.
    pub ends_early: bool,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(steps) = &self.steps {
            let mut runs: Vec<(usize, usize)> = Vec::new();
            for step in steps {
                match runs.last_mut() {
                    Some((_, last)) if *last + 1 == *step => *last = *step,
                    _ => runs.push((*step, *step)),
                }
            }
            let runs: Vec<String> = runs.iter().map(|(a, b)| format!("{a}-{b}")).collect();
            parts.push(format!("steps={}", runs.join(".")));
        }
        if let Some(fuel) = self.fuel {
            parts.push(format!("fuel={fuel}"));
        }
        if let Some(faults) = &self.faults {
            parts.push(format!("faults={}", faults.join(".")));
        }
        if self.plain_link {
            parts.push("link=plain".to_owned());
        }
        if self.plain_sockets {
            parts.push("tls=none".to_owned());
        }
        if self.ends_early {
            parts.push("end=early".to_owned());
        }
        f.write_str(&parts.join(","))
    }
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Cut, String> {
        let mut cut = Cut::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or(format!("no `=` in {part:?}"))?;
            let number = |text: &str| text.parse::<usize>().map_err(|e| format!("{text}: {e}"));
            let words = || value.split('.').filter(|word| !word.is_empty());
            match name {
                "steps" => {
                    let mut steps = Vec::new();
                    for run in words() {
                        let (first, last) = run.split_once('-').unwrap_or((run, run));
                        steps.extend(number(first)?..=number(last)?);
                    }
                    cut.steps = Some(steps);
                }
                "fuel" => cut.fuel = Some(number(value)?),
                "faults" => cut.faults = Some(words().map(str::to_owned).collect()),
                "end" => cut.ends_early = value == "early",
                "link" => cut.plain_link = value == "plain",
                "tls" => cut.plain_sockets = value == "none",
                _ => return Err(format!("a cut has no {name:?}")),
            }
        }
        Ok(cut)
    }
}
