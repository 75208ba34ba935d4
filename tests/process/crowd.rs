//! E5: nine thousand idle connections.

use crate::kit::places::{end_in_time, is_own_process, own_process};
use crate::kit::{PATIENCE, peer, read_n, write};
use sockeye::{Closed, Config, ConnId, Context, Handler, Input, Reactor};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Callbacks of nine thousand, counted.
#[derive(Default)]
struct Counts {
    opened: Vec<ConnId>,
    closed: usize,
    others: usize,
}

impl Handler for Counts {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: sockeye::Origin) {
        self.opened.push(conn);
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        self.others += 1;
        cx.send(conn, input.take_all());
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, _: Closed) {
        self.closed += 1;
    }
}

/// The processor time that this thread has used so far.
fn processor_time() -> Duration {
    // Nanoseconds on the processor, then those of waiting for it (proc_schedstat(5)).
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos = text.split_whitespace().next().unwrap();
    Duration::from_nanos(nanos.parse().unwrap())
}

/// What a turn costs in which one connection has something to do: the least of some tries.
fn cost_of_a_turn(reactor: &mut Reactor, counts: &mut Counts, stream: &mut TcpStream) -> Duration {
    let tries = (0..20).map(|_| {
        let goal = counts.others + 20;
        let before = processor_time();
        while counts.others < goal {
            write(stream, "ping");
            let seen = counts.others;
            while counts.others == seen {
                reactor.turn(counts, Some(ms(5))).unwrap();
            }
            read_n(stream, 4);
        }
        processor_time() - before
    });
    tries.min().unwrap() / 20
}

const CROWD: usize = 9_000;

// E5
#[test]
fn nine_thousand_idle_connections_cost_no_processor_time() {
    let mut config = Config::default();
    config.accepts_per_turn = 1024;
    let mut reactor = Reactor::with_config(config).unwrap();
    let listener = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.context().listener_addr(listener).unwrap().ip();
    let mut counts = Counts::default();
    let mut stream = peer(addr.unwrap());
    let alone = cost_of_a_turn(&mut reactor, &mut counts, &mut stream);

    let mut child = own_process("crowd::inner_crowd")
        .env("ADDR", addr.unwrap().to_string())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while counts.opened.len() <= CROWD {
        assert!(start.elapsed() < PATIENCE, "only {}", counts.opened.len());
        reactor.turn(&mut counts, Some(ms(5))).unwrap();
    }
    let (turns, before) = (reactor.context().stats().turns, processor_time());
    let end = Instant::now() + ms(200);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        reactor.turn(&mut counts, Some(left)).unwrap();
    }
    let used = processor_time() - before;
    let turns = reactor.context().stats().turns - turns;
    assert!(turns <= 20, "a spin: {turns} turns in 200 ms");
    assert!(used < ms(20), "{used:?} in 200 ms with nothing to do");
    let in_crowd = cost_of_a_turn(&mut reactor, &mut counts, &mut stream);
    assert!(
        in_crowd < alone * 3 + Duration::from_micros(20),
        "a turn costs {alone:?} alone, {in_crowd:?} in the crowd"
    );

    drop((child.stdin.take(), stream));
    while counts.closed <= CROWD {
        assert!(start.elapsed() < PATIENCE, "{} closed", counts.closed);
        reactor.turn(&mut counts, Some(ms(5))).unwrap();
    }
    assert!(child.wait().unwrap().success());
    let mut ids = counts.opened;
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), counts.closed), (CROWD + 1, CROWD + 1));
    assert_eq!(reactor.context().connections().count(), 0);
}

#[test]
#[ignore = "for a process of its own"]
fn inner_crowd() {
    if !is_own_process() {
        return;
    }
    end_in_time();
    let addr: SocketAddr = std::env::var("ADDR").unwrap().parse().unwrap();
    let crowd: Vec<TcpStream> = (0..CROWD).map(|_| peer(addr)).collect();
    // Until the other side has seen enough.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    drop(crowd);
}
