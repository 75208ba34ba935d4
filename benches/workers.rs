//! Several workers: what a handler that computes gains by a second one, what a hand-over costs, and
//! how even the shares are when connections live for different times.
//!
//! `cargo bench --bench workers`; it wants two processors that are free, and Linux, for the times
//! of threads.

use sockeye::{Closed, ConnId, Context, Handler, Input, Origin, Workers};
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
    start_after(count, work, |_| {})
}

/// Something is done when the port is there, and before anybody accepts.
fn start_after(
    count: usize,
    work: Duration,
    before: impl FnOnce(SocketAddr),
) -> (sockeye::Running, SocketAddr, Counts, Counts) {
    let mut workers = Workers::new(count).expect("descriptors");
    let id = workers.listen("127.0.0.1:0").expect("a port");
    let addr = workers.listener_addr(id).and_then(|addr| addr.ip());
    before(addr.expect("an address"));
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

/// So many connections wait already in the backlog; the time of the thread that accepts, for each.
fn storm(count: usize) -> Duration {
    let mut peers = Vec::new();
    let (running, _, opened, _) = start_after(2, Duration::ZERO, |addr| {
        peers.extend((0..count).map(|_| TcpStream::connect(addr).expect("room")));
    });
    while sum(&opened) < count as u64 {
        thread::yield_now();
    }
    let time = cpu_of("sockeye-accept");
    end(running);
    drop(peers);
    time / count as u32
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

fn main() {
    for _ in 0..3 {
        let (one, two) = (throughput(1), throughput(2));
        println!(
            "100 µs a message: {one:.0}/s by one, {two:.0}/s by two: {:.2}",
            two / one
        );
    }
    for _ in 0..10 {
        println!(
            "a hand-over, accept included: {:?} of the thread that accepts",
            storm(1_000)
        );
    }
    for _ in 0..3 {
        println!(
            "10,000 of unequal life: the first of two has heard {:.3}",
            share()
        );
    }
}
