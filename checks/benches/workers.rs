//! Several workers: what a handler that computes gains by a second one, what a hand-over costs, and
//! how even the shares are when connections live for different times.
//!
//! `cargo bench --bench workers`; it wants two processors that are free, and Linux, for the times
//! of threads.

#[path = "common/bare.rs"]
mod bare;

use bare::{Bare, By};
use sockeye::{Closed, ConnId, Context, HandOver, Handler, Input, Origin, Reactor, Workers};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Works for a while at each message, and counts what it was told.
struct App {
    work: Duration,
    opened: Arc<AtomicU64>,
    heard: Arc<AtomicU64>,
}

impl Handler for App {
    fn on_open(&mut self, _: &mut Context, _: ConnId, _: Origin) {
        self.opened.fetch_add(1, Relaxed);
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        let began = Instant::now();
        while began.elapsed() < self.work {
            std::hint::spin_loop();
        }
        self.heard.fetch_add(1, Relaxed);
        cx.send(conn, input.take_all());
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, _: Closed) {}
}

type Counts = Vec<Arc<AtomicU64>>;

fn start(count: usize, work: Duration) -> (sockeye::Running, SocketAddr, Counts, Counts) {
    let workers = Workers::new(count).expect("descriptors");
    run(workers, count, work)
}

fn run(
    mut workers: Workers,
    count: usize,
    work: Duration,
) -> (sockeye::Running, SocketAddr, Counts, Counts) {
    let id = workers.listen("127.0.0.1:0").expect("a port");
    let addr = workers.listener_addr(id).and_then(|addr| addr.ip());
    let counts = || (0..count).map(|_| Arc::default()).collect::<Counts>();
    let (opened, heard) = (counts(), counts());
    let all = (opened.clone(), heard.clone());
    let running = workers.start(move |worker| App {
        work,
        opened: all.0[worker.number()].clone(),
        heard: all.1[worker.number()].clone(),
    });
    let running = running.expect("threads");
    (running, addr.expect("an address"), opened, heard)
}

fn end(running: sockeye::Running) {
    running.team().stop();
    running.join();
}

fn sum(counts: &Counts) -> u64 {
    counts.iter().map(|count| count.load(Relaxed)).sum()
}

/// Messages in a second, of handlers that work for 100 µs at each.
fn throughput(workers: usize) -> f64 {
    let (running, addr, _, heard) = start(workers, Duration::from_micros(100));
    let until = Instant::now() + Duration::from_secs(3);
    let peers: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(move || {
                let mut peer = TcpStream::connect(addr).expect("a listener");
                peer.set_nodelay(true).expect("an option");
                let mut bytes = [1; 64];
                while Instant::now() < until {
                    peer.write_all(&bytes).expect("room");
                    peer.read_exact(&mut bytes).expect("an echo");
                }
            })
        })
        .collect();
    peers
        .into_iter()
        .for_each(|peer| peer.join().expect("no panic"));
    let rate = sum(&heard) as f64 / 3.0;
    end(running);
    rate
}

/// The processor time of a thread of this process, by its name.
fn cpu_of(name: &str) -> Duration {
    let tasks = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let times = tasks.filter_map(|task| {
        let its = fs::read_to_string(task.path().join("comm")).ok()?;
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let time = stat.split(' ').next()?.parse().ok()?;
        (its.trim() == name).then(|| Duration::from_nanos(time))
    });
    times.sum()
}

/// The processor time of this process without that of the thread that asks.
fn cpu_of_others() -> Duration {
    let time = |path: &str| {
        let stat = fs::read_to_string(path).ok()?;
        stat.split(' ').next()?.parse().ok()
    };
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    let all = tasks.flatten().filter_map(|task| {
        let path = task.path().join("schedstat");
        time(path.to_str()?)
    });
    let own = time("/proc/thread-self/schedstat").unwrap_or(0);
    Duration::from_nanos(all.sum::<u64>() - own)
}

/// With both ends of each in this process, that is what 20,000 descriptors suffice for.
const STORM: usize = 9_900;

/// So many at most have connected and are not open.
const BEHIND: u64 = 500;

/// So many connect at once to whoever listens there. Microseconds for each, of all threads but
/// those of the peers; and of the thread that accepts alone, if there is one.
fn storm(addr: SocketAddr, opened: &Counts, threads: usize) -> (f64, f64) {
    // Those of the storm before may be joined, and still be counted.
    let tasks = || fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    while tasks() > threads + 1 {
        thread::yield_now();
    }
    // All threads are there, and have what they need for the first.
    let first: Vec<_> = (0..8).map(|_| TcpStream::connect(addr)).collect();
    while sum(opened) < first.len() as u64 {
        thread::yield_now();
    }
    let before = (cpu_of_others(), cpu_of("sockeye-accept"));
    let peers: Vec<_> = (0..STORM as u64)
        .map(|number| {
            // A backlog that overflows costs a second.
            while number > sum(opened) + BEHIND {
                thread::yield_now();
            }
            TcpStream::connect(addr).expect("room")
        })
        .collect();
    while sum(opened) < (STORM + first.len()) as u64 {
        thread::yield_now();
    }
    let after = (cpu_of_others(), cpu_of("sockeye-accept"));
    drop((peers, first));
    let each = |time: Duration| time.as_secs_f64() * 1e6 / STORM as f64;
    (each(after.0 - before.0), each(after.1 - before.1))
}

fn storm_on_workers(count: usize) -> (f64, f64) {
    let (running, addr, opened, _) = start(count, Duration::ZERO);
    let times = storm(addr, &opened, count + 1);
    end(running);
    times
}

/// The same with a listener for each, so that nobody is handed over.
fn storm_on_reuse_port(count: usize) -> f64 {
    let workers = Workers::new(count).expect("descriptors");
    let workers = workers.hand_over(HandOver::ReusePort);
    let (running, addr, opened, _) = run(workers, count, Duration::ZERO);
    let (time, _) = storm(addr, &opened, count + 1);
    end(running);
    time
}

/// One loop that accepts by itself.
fn storm_on_one() -> f64 {
    let mut reactor = Reactor::new().expect("descriptors");
    let listener = reactor.listen("127.0.0.1:0").expect("a port");
    let addr = reactor.context().listener_addr(listener);
    let addr = addr.and_then(|addr| addr.ip()).expect("an address");
    let (opened, sender) = (vec![Arc::default()], reactor.sender());
    let mut app = App {
        work: Duration::ZERO,
        opened: Arc::clone(&opened[0]),
        heard: Arc::default(),
    };
    let one = thread::spawn(move || reactor.run(&mut app).map(drop));
    let (time, _) = storm(addr, &opened, 1);
    sender.stop();
    one.join().expect("no panic").expect("no error");
    time
}

/// A program that does nothing else: what no hand-over can be below.
fn storm_on_bare(receivers: usize, by: By) -> f64 {
    let bare = Bare::start(receivers, by);
    let (time, _) = storm(bare.addr, &vec![bare.opened.clone()], receivers + 1);
    bare.stop();
    time
}

/// The same without a hand-over, and with what shares chance gives.
fn storm_on_alike(count: usize) -> f64 {
    let bare = Bare::start_alike(count);
    let (time, _) = storm(bare.addr, &vec![bare.opened.clone()], count);
    bare.stop();
    time
}

/// What a hand-over costs: the storm on several loops without what it costs one.
fn hand_over() {
    let median = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        (all[0], all[all.len() / 2], all[all.len() - 1])
    };
    let mut times = [const { Vec::new() }; 10];
    for _ in 0..7 {
        let (one, again) = (storm_on_one(), storm_on_one());
        let (two, front) = storm_on_workers(2);
        let bare = storm_on_bare(0, By::Wake);
        let least = [By::Wake, By::Registry].map(|by| storm_on_bare(2, by) - bare);
        let handed = two - one.midpoint(again);
        let alike = storm_on_alike(2);
        let all = [
            one - again,
            handed,
            least[0],
            least[1],
            one,
            bare,
            front,
            two,
            storm_on_reuse_port(2),
            alike,
        ];
        times.iter_mut().zip(all).for_each(|(to, it)| to.push(it));
    }
    let names = [
        "the same loop twice differs by",
        "a hand-over to one of two costs",
        "a hand-over of a program that does nothing else costs",
        "the same, if who accepts registers for who receives, costs",
        "one loop accepts and opens in",
        "a program that does nothing else accepts in",
        "the thread that accepts for two spends",
        "two workers accept and open in",
        "two workers with a listener each do in",
        "two threads of such a program that accept for themselves do in",
    ];
    for (name, all) in names.into_iter().zip(times) {
        let (least, middle, most) = median(all);
        println!("{STORM} at once: {name} {middle:.2} µs ({least:.2} to {most:.2})");
    }
}

/// Ten thousand connections that live for 1 to 20 steps, 300 at a time; each speaks once a step.
/// The share of the first of two workers in what was heard.
fn share() -> f64 {
    let (running, addr, _, heard) = start(2, Duration::ZERO);
    let mut random = 1u64;
    let mut life = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        1 + (random >> 33) % 20
    };
    let mut alive: Vec<(TcpStream, u64)> = Vec::new();
    let mut born = 0;
    while born < 10_000 {
        alive.retain(|(_, left)| *left > 0);
        while alive.len() < 300 {
            alive.push((TcpStream::connect(addr).expect("room"), life()));
            born += 1;
        }
        for (peer, left) in &mut alive {
            peer.write_all(&[1]).expect("room");
            *left -= 1;
        }
        for (peer, _) in &mut alive {
            peer.read_exact(&mut [0]).expect("an echo");
        }
    }
    let share = heard[0].load(Relaxed) as f64 / sum(&heard) as f64;
    end(running);
    share
}

fn shares() {
    for _ in 0..3 {
        println!(
            "10,000 of unequal life: the first of two has heard {:.3}",
            share()
        );
    }
}

fn main() {
    // One of them alone: `cargo bench --bench workers -- hand-over`, or `-- shares`.
    if std::env::args().any(|word| word == "hand-over") {
        return hand_over();
    }
    if std::env::args().any(|word| word == "shares") {
        return shares();
    }
    for _ in 0..3 {
        let (one, two) = (throughput(1), throughput(2));
        println!(
            "100 µs a message: {one:.0}/s by one, {two:.0}/s by two: {:.2}",
            two / one
        );
    }
    hand_over();
    shares();
}
