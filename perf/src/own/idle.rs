//! What an idle deadline, which every message moves, costs per message.

use super::child::{Server, answer, instructions_of, on_server_core};
use super::measure::figure;
use crate::Result;
use crate::peers::by_sockeye::{Echo, listening};
use crate::report::Table;
use crate::run::{Run, Scale};
use crate::stats::median;
use sockeye::{Listen, Reactor};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const SIZE: usize = 64;

pub(crate) fn run(run: &mut Run) -> Result<()> {
    let (messages, rounds) = run.scale.pick((2_000, 1), (60_000, 3), (300_000, 9));
    let mut table = Table::new([
        "connections",
        "CPU ns without",
        "with",
        "ratio",
        "instructions without",
        "with",
    ]);
    for conns in [1, 100] {
        let what = format!("idle deadline, {conns} connections");
        run.progress.message(what);
        // One connection waits for each of its answers.
        let messages = if conns == 1 { messages / 4 } else { messages };
        let (without, with, ratio) = times(conns, messages, rounds)?;
        let mut row = vec![
            conns.to_string(),
            figure(without),
            figure(with),
            format!("{ratio:.3}"),
        ];
        let modes: &[&str] = match run.scale {
            Scale::Smoke => &[],
            _ => &["without", "with"],
        };
        for mode in modes {
            row.extend(
                instructions(mode, conns, messages.min(run.scale.pick(1, 5_000, 20_000)))
                    .map(figure),
            );
        }
        table.row(row);
    }
    let text = format!(
        "The CPU time of an echo server for each message of {SIZE} bytes, without an idle \
         deadline and with one of a minute on every connection. The client sends one message on \
         each connection, then reads the answers, on the same core. Medians of {rounds} rounds \
         in turn; the ratio is the median of the rounds' ratios. Instructions are those of the \
         program itself, counted by callgrind where it is installed."
    );
    run.report
        .section("An idle deadline for each message")
        .text(text)
        .table(table);
    Ok(())
}

/// CPU time per message without and with the deadline, in nanoseconds, and the ratio.
fn times(conns: usize, messages: usize, rounds: usize) -> Result<(f64, f64, f64)> {
    let mut sides = Vec::new();
    for mode in ["without", "with"] {
        let server = Server::start(&format!("idle {mode}"))?;
        let client = Client::connect(server.addrs[0], conns)?;
        sides.push((server, client, Vec::new()));
    }
    for round in 0..=rounds {
        for (server, client, samples) in &mut sides {
            let before = server.cpu()?;
            on_server_core(|| client.exchange(messages))?;
            let nanos = (server.cpu()? - before).as_nanos() as f64 / messages as f64;
            if round > 0 {
                samples.push(nanos); // the first round warms up
            }
        }
    }
    let ratios: Vec<f64> = (0..rounds)
        .map(|round| sides[1].2[round] / sides[0].2[round])
        .collect();
    Ok((median(&sides[0].2), median(&sides[1].2), median(&ratios)))
}

/// User instructions per message.
fn instructions(mode: &str, conns: usize, messages: usize) -> Option<f64> {
    let role = format!("idle {mode}");
    let all = instructions_of(&role, messages, |server, messages| {
        let mut client = Client::connect(server.addrs[0], conns)?;
        client.exchange(messages)?;
        Ok(client)
    });
    all.map(|all| all / messages as f64)
}

/// Connections that all send, and then all read.
struct Client(Vec<TcpStream>);

impl Client {
    fn connect(addr: SocketAddr, conns: usize) -> Result<Client> {
        let connect = |_| {
            let stream = TcpStream::connect(addr)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            Ok(stream)
        };
        (0..conns).map(connect).collect::<Result<_>>().map(Client)
    }

    fn exchange(&mut self, messages: usize) -> Result<()> {
        let (message, mut answer) = ([b'x'; SIZE], [0; SIZE]);
        for _ in 0..messages / self.0.len() {
            for stream in &mut self.0 {
                stream.write_all(&message)?;
            }
            for stream in &mut self.0 {
                stream.read_exact(&mut answer)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn child(words: &[String]) -> Result<()> {
    let mut listen = Listen::new("127.0.0.1:0");
    if words == ["with"] {
        listen = listen.idle(Duration::from_secs(60));
    }
    let mut reactor = Reactor::new()?;
    let listener = reactor.listen(listen)?;
    answer(&[listening(&mut reactor, listener)?])?;
    reactor.run(&mut Echo)?;
    Ok(())
}
