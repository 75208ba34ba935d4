//! Connects to names, all at once, and says how each ended and after how long: for `.ci/names`.
//! Then how many threads there were at most, and how much memory.

use clap::Parser;
use sockeye::{
    Closed, ConnId, ConnMap, Connect, Context, Handler, Input, Origin, Reactor, TimerId,
};
use std::fs;
use std::io::{self, BufRead};
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "Connects to the names on standard input, NAME:PORT a line")]
struct Args {
    /// Milliseconds for each of them
    #[arg(long, default_value_t = 10_000)]
    timeout: u64,
}

struct Dialer {
    names: ConnMap<String>,
    start: Instant,
    threads: u64,
}

impl Dialer {
    fn said(&mut self, cx: &mut Context, conn: ConnId, outcome: &str) {
        let took = self.start.elapsed().as_millis();
        if let Some(name) = self.names.remove(conn) {
            println!("{took} ms {name} {outcome}");
        }
        self.threads = self.threads.max(status("Threads:"));
        if self.names.is_empty() {
            cx.stop();
        }
    }
}

impl Handler for Dialer {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        let peer = cx.peer_addr(conn).map(ToString::to_string);
        self.said(cx, conn, &format!("open {}", peer.unwrap_or_default()));
        cx.abort(conn);
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_close(&mut self, cx: &mut Context, conn: ConnId, closed: Closed) {
        self.said(cx, conn, &closed.to_string());
    }

    fn on_timer(&mut self, _: &mut Context, _: TimerId, _: u64) {
        self.threads = self.threads.max(status("Threads:"));
    }
}

/// A number of /proc/self/status.
fn status(name: &str) -> u64 {
    let all = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = all.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let names = io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()?;
    let mut reactor = Reactor::new()?;
    let mut dialer = Dialer {
        names: ConnMap::new(),
        start: Instant::now(),
        threads: 1,
    };
    let before = status("VmRSS:");
    let cx = reactor.context();
    cx.set_interval(Duration::from_millis(5), 0);
    for name in names {
        let timeout = Duration::from_millis(args.timeout);
        let conn = cx.connect(Connect::new(name.as_str()).timeout(timeout));
        dialer.names.insert(conn, name);
    }
    let began = dialer.start.elapsed().as_micros();
    reactor.run(&mut dialer)?;
    let (threads, most) = (dialer.threads, status("VmHWM:"));
    let stats = reactor.context().stats();
    let (lookups, failed) = (stats.lookups, stats.lookups_failed);
    println!("begun in {began} us, {threads} threads, from {before} to {most} kB");
    println!("{lookups} looked up, {failed} failed");
    Ok(())
}
