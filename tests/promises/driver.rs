//! H1: a reactor behind one descriptor, in hosts that have one rule: when it is readable, turn
//! once. They wait by poll(2), by level-triggered epoll and by edge-triggered epoll, for nothing
//! else and without a timeout of the reactor's.

use crate::kit::places::{TempDir, refusing};
use crate::kit::{
    App, Kit, Log, default, echo, pattern, peer, read_all, read_n, small_peer, spawn, write,
};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use sockeye::{Addr, Config, ConnId, Context, Driver, EventKind, Listen, Reason, Report, Turn};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Nothing here is silent for so long unless a wakeup was lost. Less than the connect timeout: its
/// timer, which a connection leaves behind, would be a wakeup too.
const SILENCE: Duration = Duration::from_secs(5);

/// Longer than a wakeup that follows from what has been done takes to come.
const A_WHILE: Duration = Duration::from_millis(60);

/// What a host waits with.
enum Waits {
    Poll,
    Level(OwnedFd),
    Edge(OwnedFd),
}

impl Waits {
    fn all() -> [Waits; 3] {
        let epoll = || epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        [Waits::Poll, Waits::Level(epoll()), Waits::Edge(epoll())]
    }

    /// Takes the descriptor in, once and for all.
    fn adopt(&self, fd: BorrowedFd<'_>) {
        let (epoll, flags) = match self {
            Waits::Poll => return,
            Waits::Level(epoll) => (epoll, epoll::EventFlags::IN),
            Waits::Edge(epoll) => (epoll, epoll::EventFlags::IN | epoll::EventFlags::ET),
        };
        epoll::add(epoll, fd, epoll::EventData::new_u64(1), flags).unwrap();
    }

    /// Is it readable within that time?
    fn wait(&self, fd: BorrowedFd<'_>, timeout: Duration) -> bool {
        let timeout = Timespec::try_from(timeout).unwrap();
        match self {
            Waits::Poll => {
                poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap() > 0
            }
            Waits::Level(epoll) | Waits::Edge(epoll) => {
                let mut events = [epoll::Event {
                    flags: epoll::EventFlags::empty(),
                    data: epoll::EventData::new_u64(0),
                }];
                epoll::wait(epoll, &mut events, Some(&timeout)).unwrap() > 0
            }
        }
    }
}

/// A host, and the reactor that is its guest.
struct Host<F> {
    waits: Waits,
    driver: Driver<u64>,
    app: App<F>,
    report: Option<Report>,
}

impl<F: FnMut(&mut Context, EventKind<'_>)> Host<F> {
    fn new(waits: Waits, config: Config, react: F) -> Host<F> {
        let Kit { reactor, app, .. } = Kit::with_config(config, react);
        let driver = reactor.into_driver().unwrap();
        waits.adopt(driver.as_fd());
        Host {
            waits,
            driver,
            app,
            report: None,
        }
    }

    fn listen_on(&mut self, listen: Listen) -> Addr {
        self.driver.with(|cx| {
            let listener = cx.listen(listen).unwrap();
            cx.listener_addr(listener).unwrap().clone()
        })
    }

    fn listen(&mut self) -> SocketAddr {
        self.listen_on(Listen::new("127.0.0.1:0")).ip().unwrap()
    }

    /// Waits for the descriptor and turns once. `false`: it was not readable within that time.
    fn step(&mut self, timeout: Duration) -> bool {
        let readable = self.waits.wait(self.driver.as_fd(), timeout);
        if readable {
            let turn: Turn = self.driver.turn(&mut self.app).unwrap();
            if let Some(report) = turn.report {
                assert!(self.report.replace(report).is_none(), "told twice");
            }
        }
        readable
    }

    /// What a host does, and no turn more.
    #[track_caller]
    fn until(&mut self, condition: impl Fn(&Log) -> bool) {
        while !condition(&self.app.log) {
            assert!(self.step(SILENCE), "silence: {:?}", self.app.log);
        }
    }

    /// Comes to rest, by a few turns at most; and then nobody is woken.
    #[track_caller]
    fn rests(&mut self) {
        let mut turns = 0;
        while self.step(A_WHILE) {
            turns += 1;
            assert!(turns <= 10, "it spins");
        }
        assert!(!self.driver.has_work());
        assert!(!self.step(A_WHILE), "woken for nothing");
    }

    /// The ends of the kit's: no spin, one `on_close` for each id.
    fn end(self) {
        let mut kit = Kit::with_config(Config::default(), |_: &mut Context, _: EventKind<'_>| {});
        drop(std::mem::replace(
            &mut kit.reactor,
            self.driver.into_reactor(),
        ));
        kit.app.log = self.app.log;
        kit.end();
    }
}

/// Every budget at its least, so that each turn leaves work over.
fn frugal() -> Config {
    let mut config = Config::default();
    config.accepts_per_turn = 1;
    config.reads_per_turn = 1;
    config.messages_per_turn = 1;
    config.expiries_per_turn = 1;
    config.rounds_per_turn = 1;
    config.events_per_wait = 1;
    config.receive_buffer = 4096;
    config
}

/// In every kind of host, with budgets as they are and all at 1.
fn everywhere(test: impl Fn(Waits, Config)) {
    for config in [Config::default(), frugal()] {
        for waits in Waits::all() {
            test(waits, config.clone());
        }
    }
}

// H1
#[test]
fn a_session_completes_by_the_one_rule() {
    everywhere(|waits, config| {
        const PEERS: usize = 8;
        let mut host = Host::new(waits, config, echo);
        let listen = Listen::new("127.0.0.1:0").send_buffer(4096);
        let addr = host.listen_on(listen).ip().unwrap();
        let peers: Vec<_> = (0..PEERS)
            .map(|_| {
                spawn(move || {
                    let stream = small_peer(addr);
                    let mut writer = stream.try_clone().unwrap();
                    let writes = spawn(move || {
                        write(&mut writer, pattern(100_000));
                        writer.shutdown(Shutdown::Write).unwrap();
                    });
                    assert!(read_all(stream) == pattern(100_000));
                    writes.join().unwrap();
                })
            })
            .collect();
        host.until(|log| log.closed() == PEERS);
        for peer in peers {
            peer.join().unwrap();
        }
        host.rests();
        host.end();
    });
}

// H1: more events than one batch holds, and then silence.
#[test]
fn what_does_not_fit_into_a_batch_is_heard_of() {
    everywhere(|waits, config| {
        let mut host = Host::new(waits, config, echo);
        let addr = host.listen();
        let mut peers: Vec<_> = (0..5).map(|_| peer(addr)).collect();
        host.until(|log| log.count("open") == 5);
        host.rests();
        for round in 1..=3 {
            peers.iter_mut().for_each(|peer| write(peer, "ping"));
            host.until(|log| log.count("data") == 5 * round);
            for peer in &mut peers {
                assert_eq!(read_n(peer, 4), b"ping");
            }
        }
        drop(peers);
        host.until(|log| log.closed() == 5);
        host.rests();
        host.end();
    });
}

// H1
#[test]
fn messages_make_it_readable() {
    everywhere(|waits, config| {
        let mut host = Host::new(waits, config, echo);
        let sender = host.driver.sender();
        for round in 1..=20 {
            let sender = sender.clone();
            let poster = spawn(move || {
                (0..1 + round % 3).for_each(|_| sender.send(round).unwrap());
            });
            let goal = host.app.log.messages.len() + 1 + round as usize % 3;
            host.until(|log| log.messages.len() == goal);
            poster.join().unwrap();
        }
        host.rests();
        host.end();
    });
}

// H1: twenty timers, some due together, set outside of turns and in callbacks.
#[test]
fn timers_make_it_readable_and_never_early() {
    const STEP: Duration = Duration::from_millis(2);
    everywhere(|waits, config| {
        let start = Instant::now();
        let mut host = Host::new(waits, config, move |cx: &mut Context, event| match event {
            EventKind::Timer { key, .. } => {
                assert!(start.elapsed() >= STEP * key as u32, "early: {key}");
                if key % 2 == 0 {
                    // One that is due at once, and one for a time that has not come.
                    cx.set_timer(Duration::ZERO, key + 1);
                    cx.set_timer(STEP, key + 1);
                }
            }
            other => default(cx, other),
        });
        for key in (0..10).rev().map(|key| key * 2) {
            let after = STEP * key as u32 + STEP;
            host.driver.with(|cx| cx.set_timer(after, key));
            host.driver.with(|cx| cx.set_timer(after, key + 1));
        }
        host.until(|log| log.timers.len() == 40);
        host.rests();
        host.end();
    });
}

// H1: a deadline that was given up wakes nobody, and one that has moved wakes at its time.
#[test]
fn a_timer_that_moves_takes_the_wakeup_along() {
    everywhere(|waits, config| {
        let mut host = Host::new(waits, config, default);
        let (near, far) = (A_WHILE / 3, Duration::from_secs(3600));
        let timer = host.driver.with(|cx| cx.set_timer(near, 1));
        assert!(host.driver.with(|cx| cx.cancel_timer(timer)));
        host.rests();
        let timer = host.driver.with(|cx| cx.set_timer(near, 2));
        assert!(host.driver.with(|cx| cx.reset_timer(timer, far)));
        host.rests();
        assert!(host.driver.with(|cx| cx.reset_timer(timer, near)));
        host.until(|log| log.timers == [2]);
        // It has gone off, and nobody has looked: what was said then is no longer so.
        let timer = host
            .driver
            .with(|cx| cx.set_timer(Duration::from_millis(1), 3));
        let fd = host.driver.as_fd().try_clone_to_owned().unwrap();
        assert!(Waits::Poll.wait(fd.as_fd(), SILENCE));
        assert!(host.driver.with(|cx| cx.cancel_timer(timer)));
        assert!(!Waits::Poll.wait(fd.as_fd(), Duration::ZERO));
        host.rests();
        assert_eq!(host.app.log.timers, [2]);
        host.end();
    });
}

// H1: what is asked for outside of a turn.
#[test]
fn commands_from_outside_make_it_readable() {
    everywhere(|waits, config| {
        let mut host = Host::new(waits, config, echo);
        host.rests();
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = server.local_addr().unwrap();
        let conn: ConnId = host.driver.with(|cx| cx.connect(addr));
        host.until(|log| log.count("open") == 1);
        let (mut far, _) = server.accept().unwrap();
        host.rests();
        host.driver.with(|cx| cx.send(conn, "from outside"));
        assert!(host.driver.has_work() && host.step(Duration::ZERO));
        assert_eq!(read_n(&mut far, 12), b"from outside");
        host.driver.with(|cx| cx.pause_reads(conn));
        write(&mut far, "held back");
        host.rests();
        assert_eq!(host.app.log.count("data"), 0);
        host.driver.with(|cx| cx.resume_reads(conn));
        host.until(|log| log.count("data") == 1);
        host.driver.with(|cx| cx.abort(conn));
        host.until(|log| log.is_closed(conn));
        drop(server);
        let (_bound, nobody) = refusing();
        let refused = host.driver.with(|cx| cx.connect(nobody));
        host.until(|log| log.is_closed(refused));
        let life = host.app.log.life(refused);
        assert!(matches!(life.reason(), Reason::ConnectFailed(_)));
        host.rests();
        host.end();
    });
}

// H1: a connect that is through at once leaves nothing for the kernel to say.
#[test]
fn a_unix_connect_from_outside_makes_it_readable() {
    let dir = TempDir::new();
    everywhere(|waits, config| {
        let mut host = Host::new(waits, config, echo);
        let server = host.listen_on(Listen::new(dir.file("server").as_path()));
        let conn = host.driver.with(|cx| {
            let conn = cx.connect(server);
            cx.send(conn, "ping");
            cx.shutdown_write(conn);
            conn
        });
        host.until(|log| log.closed() == 2);
        assert_eq!(host.app.log.life(conn).received, b"ping");
        host.rests();
        host.end();
    });
}

// H1, H2
#[test]
fn the_end_of_a_finish_is_told_once_and_then_nothing_is_due() {
    everywhere(|waits, config| {
        let mut host = Host::new(waits, config, |cx: &mut Context, event| match event {
            EventKind::Finish { conn } => drop(cx.send(conn, "bye")),
            other => echo(cx, other),
        });
        let addr = host.listen();
        let mut peers: Vec<_> = (0..3).map(|_| peer(addr)).collect();
        host.until(|log| log.count("open") == 3);
        host.driver.with(|cx| cx.finish(A_WHILE));
        host.until(|log| log.count("finish") == 3);
        for peer in &mut peers {
            assert_eq!(read_n(peer, 3), b"bye");
        }
        drop(peers.pop());
        while host.report.is_none() {
            assert!(host.step(SILENCE));
        }
        let report = host.report.unwrap();
        assert_eq!(
            (report.finished, report.closed, report.aborted),
            (true, 1, 2)
        );
        host.rests();
        host.end();
    });
}

// H1, H2
#[test]
fn a_finish_from_outside_with_nobody_there_is_told_by_the_next_turn() {
    everywhere(|waits, config| {
        let mut host = Host::new(waits, config, echo);
        host.listen();
        host.driver.with(|cx| cx.finish(Duration::from_secs(3600)));
        assert!(host.step(Duration::ZERO));
        assert!(host.report.is_some_and(|report| report.finished));
        host.rests();
        host.end();
    });
}

// H1
#[test]
fn a_stop_wakes_nobody() {
    everywhere(|waits, config| {
        let mut host = Host::new(waits, config, echo);
        host.driver.with(Context::stop);
        host.rests();
        host.end();
    });
}

// H1, J13
#[test]
fn after_a_panic_only_the_network_wakes_the_host_and_once() {
    everywhere(|waits, config| {
        let mut host = Host::new(waits, config, echo);
        let addr = host.listen();
        host.app.on_message = Some(Box::new(|_, _| panic!("on purpose")));
        let sender = host.driver.sender();
        host.driver.with(|cx| cx.set_timer(A_WHILE / 2, 0));
        (0..3).for_each(|_| sender.send(1).unwrap());
        let step = AssertUnwindSafe(|| host.step(SILENCE));
        assert!(catch_unwind(step).is_err());
        assert!(sender.send(2).is_err(), "nobody will deliver it");
        assert!(!host.driver.has_work());
        let _peers = [peer(addr), peer(addr)];
        let mut refused = 0;
        while host.waits.wait(host.driver.as_fd(), A_WHILE) {
            assert!(host.driver.turn(&mut host.app).is_err());
            refused += 1;
            assert!(refused < 5, "it spins");
        }
        assert!(refused > 0);
    });
}

// H1, J13
#[test]
fn after_a_panic_in_the_last_turn_nothing_is_due() {
    everywhere(|waits, config| {
        let mut host = Host::new(waits, config, echo);
        host.app.on_message = Some(Box::new(|_, _| panic!("on purpose")));
        host.driver.sender().send(1).unwrap();
        host.driver.with(|cx| cx.finish(Duration::ZERO));
        let step = AssertUnwindSafe(|| host.step(SILENCE));
        assert!(catch_unwind(step).is_err());
        assert!(!host.waits.wait(host.driver.as_fd(), A_WHILE));
    });
}

// H1: a panic in commands from outside is no panic of the reactor's.
#[test]
fn commands_that_panic_leave_the_descriptor_right() {
    everywhere(|waits, config| {
        let mut host = Host::new(waits, config, echo);
        let panics = AssertUnwindSafe(|| {
            host.driver.with(|cx| {
                cx.set_timer(Duration::ZERO, 1);
                panic!("on purpose");
            })
        });
        assert!(catch_unwind(panics).is_err());
        host.until(|log| log.timers == [1]);
        host.rests();
        host.end();
    });
}

// H1: a host may own a duplicate, which does not keep the driver's things alive.
#[test]
fn a_duplicate_may_be_given_up_before_the_driver_or_after_it() {
    for waits in Waits::all() {
        let mut host = Host::new(waits, Config::default(), echo);
        let sender = host.driver.sender();
        let fd = host.driver.as_fd().try_clone_to_owned().unwrap();
        sender.send(1).unwrap();
        assert!(Waits::Poll.wait(fd.as_fd(), SILENCE));
        drop(fd);
        host.until(|log| log.messages == [1]);
        let late = host.driver.as_fd().try_clone_to_owned().unwrap();
        host.driver.with(|cx| cx.set_timer(A_WHILE / 2, 0));
        drop(host);
        assert!(
            !Waits::Poll.wait(late.as_fd(), A_WHILE),
            "its timer is gone"
        );
    }
}

// H1
#[test]
fn a_reactor_that_leaves_its_driver_runs_by_itself() {
    let mut host = Host::new(
        Waits::Poll,
        Config::default(),
        |cx: &mut Context, event| match event {
            EventKind::Timer { .. } => cx.stop(),
            other => echo(cx, other),
        },
    );
    host.driver
        .with(|cx| cx.set_timer(Duration::from_millis(1), 0));
    let mut reactor = host.driver.into_reactor();
    reactor.run(&mut host.app).unwrap();
    assert_eq!(host.app.log.timers, [0]);
}
