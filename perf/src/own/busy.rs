//! What `Config::busy_poll` gains and costs: one connection that waits for each of its answers.

use super::child::{Server, answer, on_other_core};
use super::measure::figure;
use crate::Result;
use crate::peers::by_sockeye::{Echo, listening};
use crate::report::Table;
use crate::run::Run;
use crate::stats::median;
use sockeye::{Config, Reactor};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const SIZE: usize = 64;

/// Microseconds of spinning, as the children get them.
const SPINS: [&str; 3] = ["0", "20", "1000"];

/// One kind of server with what was measured of it, a sample a round.
struct Side {
    server: Server,
    peer: TcpStream,
    p50: Vec<f64>,
    p99: Vec<f64>,
    cpu: Vec<f64>,
}

pub(crate) fn run(run: &mut Run) -> Result<()> {
    let (messages, rounds) = run.scale.pick((500, 1), (10_000, 5), (30_000, 11));
    let mut sides = SPINS.map(start).into_iter().collect::<Result<Vec<_>>>()?;
    for round in 0..=rounds {
        for side in &mut sides {
            run.progress.message(format!("busy_poll, round {round}"));
            side.measure(messages, round > 0)?; // the first one warms up
        }
    }
    let mut table = Table::new(["busy_poll", "p50 µs", "p99 µs", "server's CPU µs a message"]);
    for (spin, side) in SPINS.iter().zip(&sides) {
        let name = match *spin {
            "0" => "off".to_owned(),
            spin => format!("{spin} µs"),
        };
        let medians = [&side.p50, &side.p99, &side.cpu].map(|samples| figure(median(samples)));
        let [p50, p99, cpu] = medians;
        table.row(vec![name, p50, p99, cpu]);
    }
    let text = format!(
        "One connection sends {SIZE} bytes, waits for them to come back, and sends the next; \
         server and client have a core each. Medians of {rounds} rounds in turn, {messages} \
         messages each. While nobody sends, a server that spins takes all of its core for \
         `busy_poll` after each message, and nothing from then on."
    );
    run.report.section("Busy polling").text(text).table(table);
    Ok(())
}

fn start(spin: &str) -> Result<Side> {
    let server = Server::start(&format!("busy {spin}"))?;
    let peer = TcpStream::connect(server.addrs[0])?;
    peer.set_nodelay(true)?;
    peer.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(Side {
        server,
        peer,
        p50: Vec::new(),
        p99: Vec::new(),
        cpu: Vec::new(),
    })
}

impl Side {
    fn measure(&mut self, messages: usize, counts: bool) -> Result<()> {
        let before = self.server.cpu()?;
        let mut times = on_other_core(|| exchange(&mut self.peer, messages))?;
        let cpu = (self.server.cpu()? - before).as_nanos() as f64 / messages as f64;
        times.sort_by(f64::total_cmp);
        if counts {
            self.p50.push(times[messages / 2]);
            self.p99.push(times[messages * 99 / 100]);
            self.cpu.push(cpu / 1e3);
        }
        Ok(())
    }
}

/// How long each round trip took, in microseconds.
fn exchange(peer: &mut TcpStream, messages: usize) -> Result<Vec<f64>> {
    let (message, mut answer) = ([b'x'; SIZE], [0; SIZE]);
    let mut times = Vec::with_capacity(messages);
    for _ in 0..messages {
        let started = Instant::now();
        peer.write_all(&message)?;
        peer.read_exact(&mut answer)?;
        times.push(started.elapsed().as_nanos() as f64 / 1e3);
        if answer != message {
            return Err("another answer than what was sent".into());
        }
    }
    Ok(times)
}

pub(crate) fn child(words: &[String]) -> Result<()> {
    let micros = words.first().ok_or("how long?")?.parse()?;
    let mut config = Config::default();
    config.busy_poll = Duration::from_micros(micros);
    let mut reactor = Reactor::with_config(config)?;
    let listener = reactor.listen("127.0.0.1:0")?;
    answer(&[listening(&mut reactor, listener)?])?;
    reactor.run(&mut Echo)?;
    Ok(())
}
