//! E2: the reactor inside a foreign loop, which turns it only when its descriptor is readable or
//! its next wakeup is due: poll(2), level-triggered epoll, edge-triggered epoll.

use crate::kit;
use crate::kit::places::{TempDir, refusing};
use crate::kit::programs;
use crate::kit::{Kit, default, echo, pattern, peer, read_all, read_n, small_peer, spawn, write};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use sockeye::{Config, Context, EventKind, Listen, Reason};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing here is silent for so long unless a wakeup was lost. Less than the connect timeout: its
/// timer, which a connection leaves behind, would be a wakeup too.
const SILENCE: Duration = Duration::from_secs(5);

/// A foreign loop, which also waits for a descriptor of its own.
enum Host {
    Poll,
    Level(OwnedFd),
    Edge(OwnedFd),
}

/// Calls the test once for each kind of host.
fn on_all_hosts(test: impl Fn(Host)) {
    let new_epoll = || epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    test(Host::Poll);
    test(Host::Level(new_epoll()));
    test(Host::Edge(new_epoll()));
}

impl Host {
    /// Takes the reactor in, before anything happens in it.
    fn adopt(&self, fd: impl AsFd) {
        let (epoll, flags) = match self {
            Host::Poll => return,
            Host::Level(epoll) => (epoll, epoll::EventFlags::IN),
            Host::Edge(epoll) => (epoll, epoll::EventFlags::IN | epoll::EventFlags::ET),
        };
        epoll::add(epoll, fd, epoll::EventData::new_u64(1), flags).unwrap();
    }

    /// Waits; answers whether the reactor's descriptor is readable.
    fn wait(&self, fd: impl AsFd, timeout: Duration) -> bool {
        let timeout = Timespec::try_from(timeout).unwrap();
        match self {
            Host::Poll => {
                let mut fds = [PollFd::new(&fd, PollFlags::IN)];
                poll(&mut fds, Some(&timeout)).unwrap() > 0
            }
            Host::Level(epoll) | Host::Edge(epoll) => {
                let mut events = [epoll::Event {
                    flags: epoll::EventFlags::empty(),
                    data: epoll::EventData::new_u64(0),
                }];
                epoll::wait(epoll, &mut events, Some(&timeout)).unwrap() > 0
            }
        }
    }

    /// What an embedding application does, and no turn more.
    #[track_caller]
    fn until<F>(&self, kit: &mut Kit<F>, mut condition: impl FnMut(&kit::Log, &mut Context) -> bool)
    where
        F: FnMut(&mut Context, EventKind<'_>),
    {
        while !condition(&kit.app.log, kit.reactor.context()) {
            let wakeup = kit.reactor.next_wakeup();
            let until = wakeup.map(|at| at.saturating_duration_since(Instant::now()));
            let readable = self.wait(&kit.reactor, until.unwrap_or(SILENCE).min(SILENCE));
            let due = wakeup.is_some_and(|at| at <= Instant::now());
            assert!(readable || due, "silence: {:?}", kit.app.log);
            kit.turn();
        }
    }

    /// With nothing to do, it is not turned.
    fn rest<F: FnMut(&mut Context, EventKind<'_>)>(&self, kit: &mut Kit<F>) {
        let mut turns = 0;
        let end = Instant::now() + Duration::from_millis(50);
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let wakeup = kit.reactor.next_wakeup();
            let until = wakeup.map(|at| at.saturating_duration_since(Instant::now()));
            let readable = self.wait(&kit.reactor, until.unwrap_or(left).min(left));
            if readable || wakeup.is_some_and(|at| at <= Instant::now()) {
                kit.turn();
                turns += 1;
            }
        }
        assert!(turns <= 10, "{turns} turns with nothing to do");
    }
}

/// Every budget at its least, so that each turn leaves work over.
fn frugal() -> Config {
    let mut config = Config::default();
    config.accepts_per_turn = 1;
    config.reads_per_turn = 1;
    config.messages_per_turn = 1;
    config.rounds_per_turn = 1;
    config.events_per_wait = 1;
    config.receive_buffer = 4096;
    config
}

fn all_closed(log: &kit::Log, count: usize) -> bool {
    log.closed() == count
}

fn session(host: &Host, config: Config) {
    const PEERS: usize = 8;
    let mut kit = Kit::with_config(config, echo);
    host.adopt(&kit.reactor);
    let listen = Listen::new("127.0.0.1:0").send_buffer(4096);
    let addr = kit.listen_on(listen).ip().unwrap();
    let peers: Vec<_> = (0..PEERS)
        .map(|_| {
            spawn(move || {
                let stream = small_peer(addr);
                let mut writer = stream.try_clone().unwrap();
                let bytes = pattern(100_000);
                let expected = bytes.clone();
                let writes = spawn(move || {
                    write(&mut writer, bytes);
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                assert!(read_all(stream) == expected);
                writes.join().unwrap();
            })
        })
        .collect();
    host.until(&mut kit, |log, _| all_closed(log, PEERS));
    for conn in &kit.log().ids {
        let closed = kit.log().life(*conn).closed.as_ref().unwrap();
        assert!(closed.is_clean(), "{closed}");
    }
    peers.into_iter().for_each(|peer| peer.join().unwrap());
    host.rest(&mut kit);
    kit.end();
}

// E2
#[test]
fn a_session_completes_in_every_foreign_loop() {
    on_all_hosts(|host| session(&host, Config::default()));
}

// E2
#[test]
fn a_session_completes_although_every_turn_leaves_work_over() {
    on_all_hosts(|host| session(&host, frugal()));
}

// E2: more events than one batch, and then silence: an edge-triggered host hears of it only once.
#[test]
fn a_full_batch_of_events_counts_as_left_over_work() {
    on_all_hosts(|host| {
        let mut config = Config::default();
        config.events_per_wait = 1;
        let mut kit = Kit::with_config(config, echo);
        host.adopt(&kit.reactor);
        let addr = kit.listen();
        let mut peers: Vec<_> = (0..5).map(|_| peer(addr)).collect();
        host.until(&mut kit, |log, _| log.count("open") == 5);
        host.rest(&mut kit);
        for _ in 0..3 {
            // All of it is there before the host looks again.
            peers.iter_mut().for_each(|peer| write(peer, "ping"));
            let goal = kit.log().count("data") + 5;
            host.until(&mut kit, |log, _| log.count("data") == goal);
            for peer in &mut peers {
                assert_eq!(read_n(peer, 4), b"ping");
            }
        }
        assert!(kit.cx().stats().budget_hits.events > 0);
        drop(peers);
        host.until(&mut kit, |log, _| all_closed(log, 5));
        host.rest(&mut kit);
        kit.end();
    });
}

// E2
#[test]
fn a_message_wakes_the_foreign_loop() {
    on_all_hosts(|host| {
        let mut config = Config::default();
        config.messages_per_turn = 1;
        let mut kit = Kit::with_config(config, echo);
        host.adopt(&kit.reactor);
        let sender = kit.sender();
        for round in 1..=20 {
            let sender = sender.clone();
            // One at a time, and three at once with a budget of one.
            let poster = spawn(move || {
                (0..1 + round % 3).for_each(|_| sender.send(round).unwrap());
            });
            let goal = kit.log().messages.len() + 1 + round as usize % 3;
            host.until(&mut kit, |log, _| log.messages.len() == goal);
            poster.join().unwrap();
        }
        host.rest(&mut kit);
        kit.end();
    });
}

// E2: what is asked for outside of a turn.
#[test]
fn commands_from_outside_are_seen_by_the_foreign_loop() {
    on_all_hosts(|host| {
        let mut kit = Kit::new(echo);
        host.adopt(&kit.reactor);
        host.rest(&mut kit);

        let start = Instant::now();
        kit.cx().set_timer(Duration::from_millis(30), 7);
        host.until(&mut kit, |log, _| log.timers == [7]);
        assert!(start.elapsed() >= Duration::from_millis(30));
        kit.cx().set_timer(Duration::ZERO, 8);
        host.until(&mut kit, |log, _| log.timers == [7, 8]);

        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let conn = kit.connect(server.local_addr().unwrap());
        host.until(&mut kit, |log, cx| {
            cx.is_open(conn) && log.count("open") == 1
        });
        let (mut far, _) = server.accept().unwrap();
        host.rest(&mut kit);

        kit.cx().send(conn, "from outside");
        host.until(&mut kit, |_, cx| cx.pending(conn) == 0);
        assert_eq!(read_n(&mut far, 12), b"from outside");

        kit.cx().pause_reads(conn);
        write(&mut far, "held back");
        host.rest(&mut kit);
        assert_eq!(kit.log().count("data"), 0);
        kit.cx().resume_reads(conn);
        host.until(&mut kit, |log, _| log.count("data") == 1);
        assert_eq!(read_n(&mut far, 9), b"held back");

        kit.cx().abort(conn);
        host.until(&mut kit, |log, _| log.is_closed(conn));
        // A connect that fails, too.
        drop(server);
        let (_bound, nobody) = refusing();
        let refused = kit.connect(nobody);
        host.until(&mut kit, |log, _| log.is_closed(refused));
        assert!(matches!(
            kit.log().life(refused).reason(),
            Reason::ConnectFailed(_)
        ));
        host.rest(&mut kit);
        kit.end();
    });
}

// E2: a connect that is through at once leaves nothing for the kernel to say.
#[test]
fn a_unix_connect_from_outside_is_seen_by_the_foreign_loop() {
    let dir = TempDir::new();
    on_all_hosts(|host| {
        let mut kit = Kit::new(echo);
        host.adopt(&kit.reactor);
        let server = kit.listen_on(dir.file("server").as_path());
        let conn = kit.connect(server);
        kit.cx().send(conn, "ping");
        kit.cx().shutdown_write(conn);
        host.until(&mut kit, |log, _| all_closed(log, 2));
        assert_eq!(kit.log().life(conn).received, b"ping");
        host.rest(&mut kit);
        kit.end();
    });
}

// E2
#[test]
fn a_close_with_bytes_pending_comes_to_its_end_in_the_foreign_loop() {
    on_all_hosts(|host| {
        let bytes = pattern(200_000);
        let sent = bytes.clone();
        let mut kit = Kit::with_config(frugal(), move |cx, event| match event {
            EventKind::Open { conn, .. } => {
                cx.send(conn, sent.clone());
                cx.close(conn);
            }
            other => echo(cx, other),
        });
        host.adopt(&kit.reactor);
        let listen = Listen::new("127.0.0.1:0").send_buffer(4096);
        let addr = kit.listen_on(listen).ip().unwrap();
        let reader = spawn(move || read_all(small_peer(addr)));
        host.until(&mut kit, |log, _| all_closed(log, 1));
        assert!(reader.join().unwrap() == bytes);
        assert!(matches!(
            kit.log().life(kit.log().ids[0]).reason(),
            Reason::Local
        ));
        host.rest(&mut kit);
        kit.end();
    });
}

// E2: a graceful stop begun from outside.
#[test]
fn a_graceful_stop_comes_to_its_end_in_the_foreign_loop() {
    on_all_hosts(|host| {
        let mut kit = Kit::with_config(frugal(), |cx, event| match event {
            EventKind::Finish { conn } => drop(cx.send(conn, "bye")),
            other => echo(cx, other),
        });
        host.adopt(&kit.reactor);
        let addr = kit.listen();
        let mut peers: Vec<_> = (0..3).map(|_| peer(addr)).collect();
        host.until(&mut kit, |log, _| log.count("open") == 3);
        kit.cx().finish(Duration::from_millis(50));
        host.until(&mut kit, |log, _| log.count("finish") == 3);
        for peer in &mut peers {
            assert_eq!(read_n(peer, 3), b"bye");
        }
        drop(peers.pop());
        host.until(&mut kit, |log, _| all_closed(log, 3));
        let report = kit.reactor.take_report().unwrap();
        assert_eq!(
            (report.finished, report.closed, report.aborted),
            (true, 1, 2)
        );
        assert_eq!(kit.reactor.take_report(), None);
        host.rest(&mut kit);
        kit.end();
    });
}

// E2: a `stop` without a `run` to leave.
#[test]
fn a_stop_does_not_make_the_foreign_loop_spin() {
    on_all_hosts(|host| {
        let mut kit = Kit::new(echo);
        host.adopt(&kit.reactor);
        kit.cx().stop();
        host.rest(&mut kit);
        kit.end();
    });
}

// E2: the foreign loop's own descriptors next to the reactor's, and watched by it.
#[test]
fn a_descriptor_watched_by_the_reactor_wakes_the_foreign_loop() {
    on_all_hosts(|host| {
        let mut kit = Kit::new(echo);
        host.adopt(&kit.reactor);
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        let interest = sockeye::Interest::Readable;
        let watch = kit.cx().watch(&event, interest, 0).unwrap();
        host.rest(&mut kit);
        rustix::io::write(&event, &1u64.to_ne_bytes()).unwrap();
        host.until(&mut kit, |log, _| log.ready == 1);
        // It was not read: asked again, it says so again.
        assert!(kit.cx().rearm(watch, interest));
        host.until(&mut kit, |log, _| log.ready == 2);
        host.rest(&mut kit);
        kit.end();
    });
}

// E2: `cargo test` builds it first; for one shelf alone run `cargo build --examples`.
#[test]
fn the_example_sends_what_is_typed_to_all_and_says_goodbye() {
    let mut example = Command::new(programs::example("embed_poll"))
        .args(["--listen", "127.0.0.1:0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(example.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let addr = line.strip_prefix("listening on ").unwrap();
    let addr = addr.split(';').next().unwrap().parse().unwrap();
    let mut typed = example.stdin.take().unwrap();
    let peers: Vec<_> = (0..3).map(|_| peer(addr)).collect();
    for peer in &peers {
        write(&mut &*peer, "nobody listens");
        peer.set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
    }
    // It hears of a client later than the client itself: type until all have got something.
    let start = Instant::now();
    while !peers.iter().all(|peer| peer.peek(&mut [0]).is_ok()) {
        typed.write_all(b"hello\n").unwrap();
        assert!(start.elapsed() < SILENCE);
    }
    drop(typed);
    for peer in peers {
        peer.set_read_timeout(Some(kit::PATIENCE)).unwrap();
        let all = String::from_utf8(read_all(peer)).unwrap();
        assert!(all.lines().all(|line| line == "hello"), "{all}");
    }
    assert!(example.wait().unwrap().success());
}

// H2
#[test]
fn a_host_that_reads_its_clock_before_it_asks_turns_what_is_left() {
    let mut config = Config::default();
    config.reads_per_turn = 1;
    let mut kit = Kit::with_config(config, echo);
    let addr = kit.listen();
    let mut peers: Vec<_> = (0..5).map(|_| peer(addr)).collect();
    kit.until("all are open", |log| log.count("open") == 5);
    peers.iter_mut().for_each(|peer| write(peer, "x"));
    // All five lie in the kernel when the wait tells of them, and one is read in a turn.
    let clock = Instant::now();
    kit.until("somebody is read", |log| log.count("data") > 0);
    assert!(kit.log().count("data") < 5);
    assert!(kit.reactor.has_work());
    assert!(kit.reactor.next_wakeup().unwrap() <= clock);
    kit.until("all are read", |log| log.count("data") == 5);
    drop(peers);
    kit.until_all_closed();
    kit.end();
}

// H2
#[test]
fn a_finish_from_outside_with_nobody_there_is_due_at_once() {
    let mut kit = Kit::new(echo);
    kit.listen();
    let clock = Instant::now();
    kit.cx().finish(Duration::from_secs(3600));
    assert!(kit.reactor.next_wakeup().unwrap() <= clock);
    kit.turn();
    assert!(kit.reactor.take_report().unwrap().finished);
    assert_eq!(kit.reactor.next_wakeup(), None);
    kit.end();
}

// H2
#[test]
fn a_finish_that_ends_in_a_turn_is_due_until_its_report_is_taken() {
    on_all_hosts(|host| {
        let mut kit = Kit::new(echo);
        host.adopt(&kit.reactor);
        let addr = kit.listen();
        let peer = peer(addr);
        host.until(&mut kit, |log, _| log.count("open") == 1);
        let clock = Instant::now();
        kit.cx().finish(Duration::from_secs(3600));
        drop(peer);
        host.until(&mut kit, |log, _| log.closed() == 1);
        // Whoever looks for it late still finds it due.
        for _ in 0..3 {
            assert!(kit.reactor.next_wakeup().unwrap() <= clock);
            assert!(!kit.reactor.has_work());
            assert_eq!(kit.turn().report.unwrap().closed, 1);
        }
        assert_eq!(kit.reactor.take_report().unwrap().closed, 1);
        assert_eq!(kit.reactor.next_wakeup(), None);
        assert_eq!(kit.turn().report, None);
        host.rest(&mut kit);
        kit.end();
    });
}

// J13
#[test]
fn a_host_that_has_caught_a_panic_has_nothing_to_wait_for() {
    on_all_hosts(|host| {
        let mut kit = Kit::new(echo);
        host.adopt(&kit.reactor);
        let addr = kit.listen();
        kit.app.on_message = Some(Box::new(|_, _| panic!("on purpose")));
        let sender = kit.sender();
        kit.cx().set_timer(Duration::from_millis(1), 0);
        sender.send(1).unwrap();
        let turn = std::panic::AssertUnwindSafe(|| kit.turn());
        assert!(std::panic::catch_unwind(turn).is_err());
        assert!(sender.send(2).is_err(), "nobody will deliver it");
        assert_eq!(kit.reactor.next_wakeup(), None);
        // What comes from the network wakes it once, however it waits.
        let _peers = [peer(addr), peer(addr)];
        let mut refused = 0;
        while host.wait(&kit.reactor, Duration::from_millis(50)) {
            assert_eq!(kit.reactor.next_wakeup(), None);
            assert!(kit.reactor.turn(&mut kit.app, None).is_err());
            refused += 1;
            assert!(refused < 5, "it spins");
        }
        assert!(refused > 0);
    });
}

// J13
#[test]
fn a_part_whose_panics_are_caught_costs_its_own_connection_only() {
    let mut kit = Kit::new(|cx, event| {
        let EventKind::Data { conn, input } = event else {
            return default(cx, event);
        };
        // In the midst of it: something was taken, and something queued.
        let part = std::panic::AssertUnwindSafe(|| {
            let first = input[0];
            cx.send(conn, input.take(1));
            assert!(first == b'g', "on purpose");
            input.take_all();
        });
        if std::panic::catch_unwind(part).is_err() {
            cx.abort(conn);
        }
    });
    let addr = kit.listen();
    let (mut good, mut bad) = (peer(addr), peer(addr));
    kit.until("both are open", |log| log.count("open") == 2);
    write(&mut bad, "bad");
    kit.until("it is reset", |log| log.closed() == 1);
    assert!(bad.read(&mut [0]).is_err());
    write(&mut good, "good");
    kit.until("the other one is served", |log| log.count("data") == 2);
    kit.turn();
    assert_eq!(read_n(&mut good, 1), b"g");
    drop(good);
    kit.until_all_closed();
    kit.end();
}
