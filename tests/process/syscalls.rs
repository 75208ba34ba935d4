//! Guards: system calls of the loop for each message, line and connection, counted by strace and
//! not timed, so that nothing else on the machine can disturb them.
//!
//! The examples run under strace. A first peer marks the part of the trace that counts: what lies
//! between the reading of its `BEGIN` and of its `END`. So that all peers have written before the
//! loop looks, the process is stopped meanwhile (SIGSTOP); a wait that is stopped ends with EINTR,
//! which costs one more wait a round.
//!
//! `cargo test` builds the examples first; for one shelf alone run `cargo build --examples`.

use crate::kit::programs::{Process, example, peer, until};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

const ANY: &str = "127.0.0.1:0";

/// strace is not everywhere, and where it is, tracing may be forbidden.
fn can_trace() -> bool {
    let probe = Command::new("strace")
        .args(["-D", "-o", "/dev/null", "true"])
        .stdin(Stdio::null())
        .output();
    let can = probe.is_ok_and(|output| output.status.success() && output.stderr.is_empty());
    if !can {
        // Past the test harness, which would keep it for a failure.
        let note = b"note: strace cannot trace here, so no system calls are counted\n";
        let _ = std::io::stderr().write_all(note);
    }
    can
}

/// An example under strace, and its trace so far.
struct Traced {
    process: Process,
    trace: PathBuf,
    /// The peer that marks what counts.
    marker: TcpStream,
    addr: std::net::SocketAddr,
}

impl Traced {
    fn start(name: &str) -> Option<Traced> {
        if !can_trace() {
            return None;
        }
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = format!("sockeye-{}-{count}.strace", std::process::id());
        let trace = std::env::temp_dir().join(file);
        let mut command = Command::new("strace");
        // As a grandchild (-D), so that the process that we start is the example itself.
        command.args(["-D", "-o"]).arg(&trace).arg(example(name));
        let mut process = Process::spawn(name, command.args(["--listen", ANY]), Stdio::null());
        let addr = process.ip();
        let marker = connect(addr);
        Some(Traced {
            process,
            trace,
            marker,
            addr,
        })
    }

    fn peers(&self, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| connect(self.addr)).collect()
    }

    /// Waits until the process sleeps: what it does too much it must do before what comes next,
    /// or it would pass for a part of that.
    fn until_asleep(&self) {
        until("it sleeps", || self.process.state() == 'S');
    }

    /// Runs `meanwhile` while the process stands still.
    fn stopped(&self, meanwhile: impl FnOnce()) {
        self.until_asleep();
        let stops = || {
            fs::read_to_string(&self.trace)
                .unwrap()
                .matches("stopped by")
                .count()
        };
        let before = stops();
        self.process.signal(Signal::STOP);
        until("it is stopped", || stops() > before);
        meanwhile();
        self.process.signal(Signal::CONT);
    }

    /// Writes and reads back, so the process has been told of all that was written before.
    fn mark(&mut self, word: &str) {
        self.marker.write_all(word.as_bytes()).unwrap();
        expect(&mut self.marker, word.as_bytes());
    }

    /// The calls that the process makes in `what`, and for one more message: a wait, a read, and
    /// the writes.
    fn count(mut self, what: impl FnOnce(&mut Traced)) -> Calls {
        self.mark("BEGIN\n");
        what(&mut self);
        self.mark("END\n");
        self.process.signal(Signal::TERM);
        self.process.wait();
        // strace outlives it by a moment.
        let mut text = String::new();
        until("the trace is complete", || {
            text = fs::read_to_string(&self.trace).unwrap();
            text.contains("+++ killed by")
        });
        fs::remove_file(&self.trace).unwrap();
        Calls::between(&text, "\"BEGIN", "\"END")
    }
}

/// A peer whose small messages go out at once.
fn connect(addr: std::net::SocketAddr) -> TcpStream {
    let stream = peer(addr);
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads what must come.
fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).unwrap();
    assert_eq!(read, bytes);
}

/// How often each call was made.
#[derive(Debug)]
struct Calls(BTreeMap<String, usize>);

impl Calls {
    /// Those after the reading of one mark, and before that of another.
    fn between(trace: &str, begin: &str, end: &str) -> Calls {
        let lines: Vec<&str> = trace.lines().collect();
        let find = |mark: &str| lines.iter().position(|line| line.contains(mark));
        let (begin, end) = (find(begin).expect(trace), find(end).expect(trace));
        let mut calls = BTreeMap::new();
        for line in &lines[begin + 1..end] {
            // Signals; and std without optimization asks whether what it closes is open.
            if line.starts_with("---") || line.contains("F_GETFD") {
                continue;
            }
            // Of 32 bits the calls have other names.
            let name = match line.split('(').next().unwrap_or_default() {
                "send" => "sendto",
                "recv" => "recvfrom",
                name => name,
            };
            *calls.entry(name.to_owned()).or_default() += 1;
        }
        Calls(calls)
    }

    fn of(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// All of them are at most so many for each of `count` things.
    #[track_caller]
    fn are_at_most(&self, each: f64, count: usize) {
        let all: usize = self.0.values().sum();
        let bound = each * count as f64;
        assert!(all as f64 <= bound, "{all} calls, above {bound}: {self:?}");
    }
}

const ROUNDS: usize = 10;

const MESSAGE: [u8; 64] = [b'x'; 64];

/// Every peer has written a message before the loop looks, and reads its echo.
fn echo_round(traced: &Traced, peers: &mut [TcpStream]) {
    traced.stopped(|| {
        let peers = peers.iter_mut();
        peers.for_each(|peer| peer.write_all(&MESSAGE).unwrap());
    });
    peers.iter_mut().for_each(|peer| expect(peer, &MESSAGE));
}

// Two a message, and for a hundred of them a wait, one more after the stop, and now and then one
// that has nothing to tell.
#[test]
fn an_echo_on_100_connections_is_a_read_and_a_write_and_a_share_of_a_wait() {
    const PEERS: usize = 100;
    let Some(traced) = Traced::start("echo") else {
        return;
    };
    let mut peers = traced.peers(PEERS);
    echo_round(&traced, &mut peers); // all are accepted
    let calls = traced.count(|traced| {
        (0..ROUNDS).for_each(|_| echo_round(traced, &mut peers));
    });
    assert_eq!(calls.of("epoll_ctl"), 0, "{calls:?}");
    calls.are_at_most(2.1, ROUNDS * PEERS);
}

#[test]
fn an_echo_on_one_connection_is_a_wait_a_read_and_a_write() {
    const MESSAGES: usize = 50;
    let Some(mut traced) = Traced::start("echo") else {
        return;
    };
    traced.mark("accepted");
    let calls = traced.count(|traced| {
        for _ in 0..MESSAGES {
            traced.until_asleep();
            traced.mark("a message");
        }
    });
    assert_eq!(calls.of("epoll_ctl"), 0, "{calls:?}");
    calls.are_at_most(3.05, MESSAGES);
}

/// One line, or one of each member at the same time, to all of them.
fn line_round(traced: &mut Traced, members: &mut [TcpStream], speakers: usize) {
    let line = [&MESSAGE[1..], b"\n"].concat();
    traced.stopped(|| {
        for member in &mut members[..speakers] {
            member.write_all(&line).unwrap();
        }
    });
    for member in members.iter_mut().chain([&mut traced.marker]) {
        expect(member, &line.repeat(speakers));
    }
}

#[test]
fn a_line_is_one_read_and_one_write_for_each_member_and_turn_however_many_speak() {
    const MEMBERS: usize = 20;
    for speakers in [1, MEMBERS] {
        let Some(mut traced) = Traced::start("broadcast") else {
            return;
        };
        let mut members = traced.peers(MEMBERS);
        // A room that is not complete yet would miss the first line.
        traced.process.sleeps();
        line_round(&mut traced, &mut members, speakers);
        let calls = traced.count(|traced| {
            members
                .iter_mut()
                .for_each(|member| expect(member, b"BEGIN\n"));
            (0..ROUNDS).for_each(|_| line_round(traced, &mut members, speakers));
        });
        let writes = (ROUNDS + 1) * (MEMBERS + 1);
        assert_eq!(calls.of("sendto"), writes, "{calls:?}");
        assert_eq!(calls.of("recvfrom"), ROUNDS * speakers, "{calls:?}");
        // What is left is the waits, two a round at most, and a few that have nothing to tell.
        calls.are_at_most(1.0, writes + ROUNDS * (speakers + 3));
    }
}

// By hand it is: accept, epoll_ctl, a read and a write, a read that gives the end, close: six. If
// each comes alone it is also an accept that finds nobody, and three waits, or four if its bytes
// come after it is told to be writable.
#[test]
fn a_connection_from_accept_to_close_costs_what_it_must() {
    const PEERS: usize = 50;
    let (Some(together), Some(alone)) = (Traced::start("echo"), Traced::start("echo")) else {
        return;
    };
    let calls = together.count(|traced| {
        for _ in 0..ROUNDS {
            let mut peers = Vec::new();
            traced.stopped(|| {
                peers = traced.peers(PEERS);
                let peers = peers.iter_mut();
                peers.for_each(|peer| peer.write_all(&MESSAGE).unwrap());
            });
            peers.iter_mut().for_each(|peer| expect(peer, &MESSAGE));
            traced.stopped(|| drop(peers));
            traced.mark("they are read");
        }
    });
    assert!(calls.of("close") >= (ROUNDS - 1) * PEERS, "{calls:?}");
    calls.are_at_most(6.5, ROUNDS * PEERS);
    const ALONE: usize = 50;
    let calls = alone.count(|traced| {
        for _ in 0..ALONE {
            traced.until_asleep();
            let mut peer = connect(traced.addr);
            peer.write_all(&MESSAGE).unwrap();
            expect(&mut peer, &MESSAGE);
        }
    });
    assert!(calls.of("close") >= ALONE - 1, "{calls:?}");
    calls.are_at_most(11.1, ALONE);
}
