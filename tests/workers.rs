//! K1, K2, K3: several workers on real sockets.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kit;

use kit::{PATIENCE, peer, peer_at, read_all, read_n, spawn, write};
use sockeye::{
    Accept, Addr, Closed, Config, ConnId, Context, HandOver, Handler, Input, Listen, ListenerId,
    Origin, Reason, Running, Team, Workers, WorkersReport,
};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// What a test says to a worker.
#[derive(Clone)]
enum Say {
    /// Panics.
    Panic,
    /// Finishes, this worker alone.
    Finish,
    /// Closes its listener.
    Unlisten,
    /// Pauses its listener.
    Pause,
    /// Waits until the test drops the other end, and does something then.
    Block(
        Arc<Mutex<mpsc::Receiver<()>>>,
        mpsc::Sender<()>,
        Option<Box<Say>>,
    ),
    /// A text for all connections.
    Text(&'static str),
}

/// What all workers have seen.
#[derive(Default)]
struct Seen {
    /// Connections that are open, by worker.
    open: Vec<AtomicUsize>,
    accepts: AtomicUsize,
    opened: AtomicUsize,
    finished: AtomicUsize,
    closed: AtomicUsize,
    handlers: AtomicUsize,
    errors: AtomicUsize,
    listeners: Mutex<Vec<ListenerId>>,
    reasons: Mutex<Vec<String>>,
}

impl Seen {
    fn shares(&self) -> Vec<usize> {
        self.open.iter().map(|open| open.load(SeqCst)).collect()
    }
}

/// Sends back the number of its worker at the beginning, and then what comes.
struct App {
    number: usize,
    seen: Arc<Seen>,
    listener: Option<ListenerId>,
    conns: Vec<ConnId>,
}

impl Handler<Say> for App {
    fn on_accept(&mut self, cx: &mut Context, listener: ListenerId, _: &Addr) -> Accept {
        assert!(cx.listener_addr(listener).is_some());
        self.seen.accepts.fetch_add(1, SeqCst);
        self.seen.listeners.lock().unwrap().push(listener);
        Accept::Keep
    }

    fn on_open(&mut self, cx: &mut Context, conn: ConnId, origin: Origin) {
        let Origin::Accepted(listener) = origin else {
            panic!("{origin:?}")
        };
        assert!(cx.listener_addr(listener).is_some());
        self.seen.opened.fetch_add(1, SeqCst);
        self.seen.open[self.number].fetch_add(1, SeqCst);
        self.conns.push(conn);
        cx.send(conn, self.number.to_string());
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        cx.send(conn, input.take_all());
    }

    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        self.seen.finished.fetch_add(1, SeqCst);
        cx.send(conn, "bye");
        cx.close(conn);
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, closed: Closed) {
        self.seen.closed.fetch_add(1, SeqCst);
        self.seen.open[self.number].fetch_sub(1, SeqCst);
        self.conns.retain(|other| *other != conn);
        self.seen
            .reasons
            .lock()
            .unwrap()
            .push(format!("{:?}", closed.reason));
        assert!(!matches!(closed.reason, Reason::Io(_)), "{closed:?}");
    }

    fn on_accept_error(&mut self, _: &mut Context, _: ListenerId, _: std::io::Error) {
        self.seen.errors.fetch_add(1, SeqCst);
    }

    fn on_message(&mut self, cx: &mut Context, say: Say) {
        match say {
            Say::Panic => panic!("as the test has asked for"),
            Say::Finish => cx.finish(PATIENCE),
            Say::Unlisten => drop(self.listener.map(|listener| cx.unlisten(listener))),
            Say::Pause => drop(self.listener.map(|listener| cx.pause_accepts(listener))),
            Say::Block(until, blocked, then) => {
                blocked.send(()).ok();
                until.lock().unwrap().recv().ok();
                if let Some(then) = then {
                    self.on_message(cx, *then);
                }
            }
            Say::Text(text) => {
                for conn in &self.conns {
                    cx.send(*conn, text);
                }
            }
        }
    }
}

/// Peers who stay are not waited for.
fn config() -> Config {
    let mut config = Config::default();
    config.limits.linger_silence = Duration::from_millis(50);
    config
}

/// Workers that run, and where they listen.
struct Kit {
    running: Running<Say>,
    addr: SocketAddr,
    seen: Arc<Seen>,
}

impl Kit {
    fn new(workers: usize) -> Kit {
        Kit::with(
            Workers::with_config(workers, config()).unwrap(),
            Listen::new("127.0.0.1:0"),
            workers,
        )
    }

    fn with(mut workers: Workers, listen: Listen, count: usize) -> Kit {
        let listener = workers.listen(listen).unwrap();
        let addr = workers.listener_addr(listener).unwrap().clone();
        let seen = Arc::new(Seen {
            open: (0..count).map(|_| AtomicUsize::new(0)).collect(),
            ..Seen::default()
        });
        let all = seen.clone();
        let running = workers.start(move |worker| {
            all.handlers.fetch_add(1, SeqCst);
            assert!(worker.context().listener_addr(listener).is_some());
            all.open[worker.number()].store(0, SeqCst);
            App {
                number: worker.number(),
                seen: all.clone(),
                listener: Some(listener),
                conns: Vec::new(),
            }
        });
        let running = running.unwrap();
        let addr = addr.ip().unwrap_or(([0, 0, 0, 0], 0).into());
        Kit {
            running,
            addr,
            seen,
        }
    }

    fn team(&self) -> &Team<Say> {
        self.running.team()
    }

    /// A peer that has heard which worker has it.
    fn peer(&self) -> (std::net::TcpStream, usize) {
        let mut peer = peer(self.addr);
        let number = read_n(&mut peer, 1)[0] - b'0';
        (peer, number.into())
    }

    /// Blocks a worker until the answer is dropped.
    fn block(&self, worker: usize) -> mpsc::Sender<()> {
        self.block_before(worker, None)
    }

    /// Blocks a worker, which does something as soon as the answer is dropped.
    fn block_before(&self, worker: usize, then: Option<Say>) -> mpsc::Sender<()> {
        let ((release, until), (blocked, is)) = (mpsc::channel(), mpsc::channel());
        let until = Arc::new(Mutex::new(until));
        let then = then.map(Box::new);
        self.team()[worker]
            .send(Say::Block(until, blocked, then))
            .ok()
            .unwrap();
        is.recv().unwrap();
        release
    }

    fn finish(self) -> WorkersReport {
        assert!(self.team().finish(PATIENCE));
        let report = self.running.join();
        assert!(
            self.seen.opened.load(SeqCst) == self.seen.closed.load(SeqCst) || has_panicked(&report)
        );
        report
    }
}

fn has_panicked(report: &WorkersReport) -> bool {
    report
        .workers
        .iter()
        .any(|worker| !worker.panics.is_empty())
}

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_connection_is_served_by_one_of_the_workers_under_one_listener_id() {
    let kit = Kit::new(3);
    let mut peers: Vec<_> = (0..6).map(|_| kit.peer()).collect();
    for (peer, _) in &mut peers {
        write(peer, "hello");
        assert_eq!(read_n(peer, 5), b"hello");
    }
    let mut numbers: Vec<usize> = peers.iter().map(|(_, number)| *number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 0, 1, 1, 2, 2]);
    let seen = kit.seen.clone();
    let report = kit.finish();
    assert!(report.report.finished && report.error.is_none(), "{report}");
    assert_eq!((report.report.closed, report.report.aborted), (6, 0));
    for (mut peer, _) in peers {
        assert_eq!(read_all(&mut peer), b"bye");
    }
    let listeners = seen.listeners.lock().unwrap();
    assert!(listeners.iter().all(|listener| *listener == listeners[0]));
    assert_eq!(seen.accepts.load(SeqCst), 6);
    assert_eq!(
        report
            .workers
            .iter()
            .map(|worker| worker.stats.accepted)
            .sum::<u64>(),
        6
    );
}

// K2
#[test]
fn after_a_batch_of_equals_the_shares_differ_by_one_at_most() {
    let kit = Kit::new(3);
    let mut peers = Vec::new();
    for batch in [1, 2, 10, 100, 7] {
        peers.extend((0..batch).map(|_| kit.peer()));
        let shares = kit.seen.shares();
        let (least, most) = (shares.iter().min(), shares.iter().max());
        assert!(most.unwrap() - least.unwrap() <= 1, "{shares:?}");
    }
    // One loses all that it has, and the next come to it alone.
    let lost = peers
        .extract_if(.., |(_, number)| *number == 1)
        .collect::<Vec<_>>()
        .len();
    until("those of one worker are gone", || kit.seen.shares()[1] == 0);
    // Their ends are known to the loop that accepts when a turn is over: one more turn is made.
    for _ in 0..lost {
        peers.push(kit.peer());
    }
    let shares = kit.seen.shares();
    let (least, most) = (shares.iter().min(), shares.iter().max());
    assert!(most.unwrap() - least.unwrap() <= 2, "{shares:?}");
    kit.finish();
}

// K2
#[test]
fn a_worker_that_is_busy_gets_no_more_than_its_share() {
    let kit = Kit::new(2);
    let release = kit.block(0);
    let peers: Vec<_> = (0..20).map(|_| peer(kit.addr)).collect();
    until("the other has its share", || kit.seen.shares()[1] == 10);
    drop(release);
    until("all are open", || kit.seen.shares() == [10, 10]);
    drop(peers);
    kit.finish();
}

#[test]
fn in_turn_means_in_turn_whoever_has_how_many() {
    let workers = Workers::with_config(2, config()).unwrap();
    let workers = workers.hand_over(HandOver::RoundRobin);
    let kit = Kit::with(workers, Listen::new("127.0.0.1:0"), 2);
    let mut kept = Vec::new();
    for _ in 0..5 {
        let (first, number) = kit.peer();
        assert_eq!(number, 0);
        kept.push(first);
        let (_gone, number) = kit.peer();
        assert_eq!(number, 1);
    }
    kit.finish();
}

#[test]
fn each_worker_may_have_a_socket_of_its_own() {
    let workers = Workers::with_config(2, config()).unwrap();
    let workers = workers.hand_over(HandOver::ReusePort);
    let kit = Kit::with(workers, Listen::new("127.0.0.1:0"), 2);
    let peers: Vec<_> = (0..64).map(|_| kit.peer()).collect();
    let shares = kit.seen.shares();
    // The system's hash: no share is known, but that both have one.
    assert!(shares.iter().all(|share| *share > 0) && shares.iter().sum::<usize>() == 64);
    let report = kit.finish();
    assert_eq!(report.report.closed, 64);
    drop(peers);
}

// K1
#[test]
fn what_waits_in_the_mail_at_a_finish_is_opened_and_told_of_it() {
    let kit = Kit::new(2);
    let blocks = [kit.block(0), kit.block(1)];
    let peers: Vec<_> = (0..200).map(|_| peer(kit.addr)).collect();
    // All are in the mail of one or the other when the listener is closed. That they were
    // accepted is seen by an empty backlog: who connects later finds nobody.
    until("all are accepted", || waiting_in_backlog(kit.addr) == 0);
    kit.team().finish(PATIENCE);
    until("nobody listens", || {
        std::net::TcpStream::connect(kit.addr).is_err()
    });
    drop(blocks);
    for peer in peers {
        let heard = read_all(peer);
        assert!(heard == b"0bye" || heard == b"1bye", "{heard:?}");
    }
    let seen = kit.seen.clone();
    // Some of those who asked whether somebody listens were accepted, too.
    let (report, opened) = (kit.running.join(), seen.opened.load(SeqCst));
    assert!(opened >= 200 && report.report.closed as usize == opened);
    assert!(seen.finished.load(SeqCst) >= 200 && report.report.aborted == 0);
}

/// Connections that wait behind a listener, by /proc/net/tcp; elsewhere none are seen.
fn waiting_in_backlog(addr: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let port = format!(":{:04X}", addr.port());
    let listens = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut listens =
        listens.filter(|line| line.len() > 4 && line[1].ends_with(&port) && line[3] == "0A");
    listens.next().map_or(0, |line| {
        let queued = line[4].split(':').next_back().unwrap_or_default();
        usize::from_str_radix(queued, 16).unwrap_or(0)
    })
}

// K1
#[test]
fn what_waits_in_the_mail_of_a_worker_that_ends_goes_to_the_next() {
    for say in [Say::Panic, Say::Finish, Say::Unlisten] {
        let kit = Kit::new(2);
        let release = kit.block_before(0, Some(say));
        let mut peers: Vec<_> = (0..20).map(|_| peer(kit.addr)).collect();
        until("the other has its share", || kit.seen.shares()[1] == 10);
        drop(release);
        for peer in &mut peers {
            assert_eq!(read_n(peer, 1), b"1");
        }
        // Those who come later, too.
        assert_eq!(kit.peer().1, 1);
        kit.finish();
    }
}

// K1
#[test]
fn with_no_worker_left_that_takes_them_nobody_is_accepted() {
    let kit = Kit::new(2);
    assert_eq!(kit.team().broadcast(Say::Unlisten), 2);
    until("nobody listens", || {
        std::net::TcpStream::connect(kit.addr).is_err()
    });
    kit.finish();
}

// K1
#[test]
fn a_grace_of_zero_aborts_those_too_who_waited_in_the_mail() {
    let kit = Kit::new(1);
    let release = kit.block(0);
    let peers: Vec<_> = (0..200).map(|_| peer(kit.addr)).collect();
    until("all are accepted", || waiting_in_backlog(kit.addr) == 0);
    kit.team().finish(Duration::ZERO);
    until("nobody listens", || {
        std::net::TcpStream::connect(kit.addr).is_err()
    });
    drop(release);
    let (seen, report) = (kit.seen.clone(), kit.running.join());
    let ended = (report.report.closed + report.report.aborted) as usize;
    assert!(
        ended >= 200 && ended == seen.opened.load(SeqCst),
        "{report}"
    );
    drop(peers);
}

// K3
#[test]
fn a_panic_takes_the_connections_of_its_worker_and_no_others() {
    let kit = Kit::new(2);
    let mut peers: Vec<_> = (0..10).map(|_| kit.peer()).collect();
    kit.team()[1].send(Say::Panic).ok().unwrap();
    for (peer, number) in &mut peers {
        if *number == 1 {
            let mut rest = Vec::new();
            assert!(!matches!(peer.read_to_end(&mut rest), Ok(1..)));
        }
    }
    for (peer, number) in &mut peers {
        if *number == 0 {
            write(peer, "there?");
            assert_eq!(read_n(peer, 6), b"there?");
        }
    }
    assert!(kit.team()[1].is_closed());
    assert_eq!(kit.peer().1, 0);
    let report = kit.finish();
    assert_eq!(report.workers[1].panics, ["as the test has asked for"]);
    assert!(report.workers[0].panics.is_empty() && !report.report.finished);
    assert!(
        report
            .to_string()
            .ends_with("worker 1 panicked: as the test has asked for")
    );
}

// K3
#[test]
fn a_worker_that_has_panicked_begins_again_as_often_as_it_may() {
    let workers = Workers::with_config(2, config()).unwrap().restarts(1);
    let kit = Kit::with(workers, Listen::new("127.0.0.1:0"), 2);
    let others: Vec<_> = (0..10).map(|_| kit.peer()).collect();
    let made = kit.seen.handlers.load(SeqCst);
    kit.team()[0].send(Say::Panic).ok().unwrap();
    until("it is there again", || {
        kit.seen.handlers.load(SeqCst) > made
    });
    // It has none: it gets the next ones, under the same id, and hears what is posted.
    let mut peers: Vec<_> = (0..4).map(|_| kit.peer()).collect();
    assert!(peers.iter().all(|(_, number)| *number == 0));
    kit.team()[0].send(Say::Text("x")).ok().unwrap();
    peers
        .iter_mut()
        .for_each(|(peer, _)| assert_eq!(read_n(peer, 1), b"x"));
    kit.team()[0].send(Say::Panic).ok().unwrap();
    until("it is over", || kit.team()[0].is_closed());
    assert_eq!(kit.peer().1, 1);
    let report = kit.finish();
    assert_eq!(report.workers[0].panics.len(), 2);
    drop(others);
}

// K3
#[test]
fn a_factory_that_panics_is_a_worker_that_has() {
    let mut workers = Workers::new(2).unwrap().restarts(3);
    let listener = workers.listen("127.0.0.1:0").unwrap();
    let addr = workers.listener_addr(listener).unwrap().ip().unwrap();
    struct Hello;
    impl Handler for Hello {
        fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
            cx.send(conn, "hello");
        }
        fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
    }
    let running = workers.start(|worker| match worker.number() {
        0 => panic!("not today"),
        _ => Hello,
    });
    let running = running.unwrap();
    for _ in 0..5 {
        assert_eq!(read_n(&mut peer(addr), 5), b"hello");
    }
    running.team().finish(PATIENCE);
    let report = running.join();
    assert_eq!(report.workers[0].panics, ["not today"; 4]);
}

#[test]
fn with_all_workers_gone_it_is_over() {
    let kit = Kit::new(2);
    kit.team().broadcast(Say::Panic);
    let report = kit.running.join();
    assert!(!report.report.finished && has_panicked(&report));
    assert!(std::net::TcpStream::connect(kit.addr).is_err());
}

#[test]
fn a_message_to_all_comes_to_all_in_the_order_of_posting() {
    let kit = Kit::new(3);
    let mut peers: Vec<_> = (0..6).map(|_| kit.peer()).collect();
    for text in ["a", "b", "c"] {
        assert_eq!(kit.team().broadcast(Say::Text(text)), 3);
    }
    for (peer, _) in &mut peers {
        assert_eq!(read_n(peer, 3), b"abc");
    }
    kit.finish();
}

#[test]
fn messages_from_before_a_worker_begins_wait_for_it() {
    let (told, heard) = mpsc::channel();
    struct Tell(mpsc::Sender<usize>);
    impl Handler<usize> for Tell {
        fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
        fn on_message(&mut self, _: &mut Context, from: usize) {
            self.0.send(from).unwrap();
        }
    }
    let running = Workers::new(4).unwrap().start(move |worker| {
        worker.team().broadcast(worker.number());
        assert_eq!(worker.count(), 4);
        Tell(told.clone())
    });
    let running = running.unwrap();
    let mut all: Vec<usize> = (0..16)
        .map(|_| heard.recv_timeout(PATIENCE).unwrap())
        .collect();
    all.sort_unstable();
    assert_eq!(all, (0..16).map(|at| at / 4).collect::<Vec<_>>());
    assert!(running.team().stop());
    let report = running.join();
    assert!(!report.report.finished && !has_panicked(&report));
}

#[test]
fn the_cap_on_connections_is_for_all_workers() {
    let mut config = config();
    config.max_connections = 5;
    let workers = Workers::with_config(2, config).unwrap();
    let listen = Listen::new("127.0.0.1:0").last_word("full");
    let kit = Kit::with(workers, listen, 2);
    let peers: Vec<_> = (0..5).map(|_| kit.peer()).collect();
    for _ in 0..10 {
        assert_eq!(read_all(peer(kit.addr)), b"full");
    }
    assert_eq!(kit.seen.shares().iter().sum::<usize>(), 5);
    // Two leave, and there is room for two, wherever they were.
    drop(peers);
    until("there is room", || kit.seen.shares() == [0, 0]);
    let again: Vec<_> = (0..5).map(|_| read_first(kit.addr)).collect();
    assert!(
        again.iter().filter(|(_, word)| *word != b'f').count() >= 4,
        "{again:?}"
    );
    let report = kit.finish();
    let refused: u64 = report
        .workers
        .iter()
        .map(|worker| worker.stats.refused)
        .sum();
    assert!((10..=11).contains(&refused), "{refused}");
}

fn read_first(addr: SocketAddr) -> (std::net::TcpStream, u8) {
    let mut peer = peer(addr);
    let first = read_n(&mut peer, 1)[0];
    (peer, first)
}

#[test]
fn a_worker_that_pauses_keeps_its_share_waiting_and_opens_it_at_a_finish() {
    let kit = Kit::new(2);
    kit.team()[0].send(Say::Pause).ok().unwrap();
    // A message that was taken is one that was acted on, when the next is.
    drop(kit.block(0));
    let peers: Vec<_> = (0..8).map(|_| peer(kit.addr)).collect();
    until("the other has its share", || kit.seen.shares()[1] == 4);
    assert_eq!(kit.seen.shares()[0], 0);
    let seen = kit.seen.clone();
    let report = kit.finish();
    assert_eq!((report.report.closed, seen.finished.load(SeqCst)), (8, 8));
    for peer in peers {
        assert!(read_all(peer).ends_with(b"bye"));
    }
}

#[test]
#[cfg(unix)]
fn unix_listeners_and_names_are_for_all_too() {
    let path = kit::unix_path();
    let mut workers = Workers::new(2).unwrap();
    let unix = workers.listen(Listen::new(Addr::unix(&path))).unwrap();
    let named = workers.listen("localhost:0").unwrap();
    let addrs = [unix, named].map(|id| workers.listener_addr(id).unwrap().clone());
    assert_ne!(unix, named);
    struct Tell(ListenerId);
    impl Handler for Tell {
        fn on_open(&mut self, cx: &mut Context, conn: ConnId, origin: Origin) {
            let Origin::Accepted(listener) = origin else {
                panic!()
            };
            cx.send(conn, if listener == self.0 { "unix" } else { "name" });
            cx.close(conn);
        }
        fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
    }
    let running = workers.start(move |_| Tell(unix)).unwrap();
    for _ in 0..3 {
        assert_eq!(read_all(peer_at(&addrs[0])), b"unix");
        assert_eq!(read_all(peer_at(&addrs[1])), b"name");
    }
    running.team().finish(PATIENCE);
    running.join();
    assert!(!path.exists());
}

#[test]
fn workers_may_be_bound_to_processors() {
    let workers = Workers::new(3).unwrap().pin(true);
    if cfg!(not(any(target_os = "linux", target_os = "android"))) {
        return assert!(workers.start(|_| Quiet).is_err());
    }
    let (told, heard) = mpsc::channel();
    let running = workers.start(move |worker| {
        told.send((worker.number(), allowed())).unwrap();
        Quiet
    });
    let running = running.unwrap();
    for _ in 0..3 {
        let (number, allowed) = heard.recv_timeout(PATIENCE).unwrap();
        assert!(
            !allowed.contains([',', '-']),
            "worker {number} may run on {allowed}"
        );
    }
    running.team().stop();
    running.join();
}

struct Quiet;

impl Handler for Quiet {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
}

/// The processors that this thread may run on, as the system writes them.
fn allowed() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.unwrap_or_default().trim().to_owned()
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut config = Config::default();
    config.reads_per_turn = 0;
    assert!(Workers::with_config(2, config).is_err());
    let mut workers = Workers::new(0).unwrap();
    let first = workers.listen("127.0.0.1:0").unwrap();
    let taken = workers.listener_addr(first).unwrap().clone();
    assert!(workers.listen(taken).is_err());
    let second = workers.listen("127.0.0.1:0").unwrap();
    assert_ne!(first, second);
    let mut workers = workers.hand_over(HandOver::ReusePort);
    let third = workers.listen("127.0.0.1:0").unwrap();
    assert!(third != first && third != second);
    assert!(workers.listen(Addr::unix("/nowhere")).is_err());
}

/// Peers that connect all the time, and count what they have heard: nothing, a whole answer, or a
/// part of one.
fn storm(addr: SocketAddr, ends: Arc<AtomicUsize>) -> (usize, usize, usize) {
    let (mut whole, mut none, mut parts) = (0, 0, 0);
    while ends.load(SeqCst) == 0 {
        let Ok(mut peer) = std::net::TcpStream::connect(addr) else {
            break;
        };
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut heard = Vec::new();
        let said = peer
            .write_all(b"hi")
            .and_then(|()| peer.shutdown(std::net::Shutdown::Write));
        let read = said.and_then(|()| peer.read_to_end(&mut heard));
        match (read, heard.len()) {
            (_, 0) => none += 1,
            (Ok(_), 3..) => whole += 1,
            _ => parts += 1,
        }
    }
    (whole, none, parts)
}

// K1
#[test]
fn nothing_that_was_accepted_is_lost_in_twenty_finishes_under_load() {
    for round in 0..20 {
        let kit = Kit::new(1 + round % 3);
        let ends = Arc::new(AtomicUsize::new(0));
        let storms: Vec<_> = (0..3)
            .map(|_| (kit.addr, ends.clone()))
            .map(|(addr, ends)| spawn(move || storm(addr, ends)))
            .collect();
        until("it is under way", || kit.seen.opened.load(SeqCst) > 50);
        let seen = kit.seen.clone();
        let report = kit.finish();
        ends.store(1, SeqCst);
        let mut whole = 0;
        for storm in storms {
            whole += storm.join().unwrap().0;
        }
        // Who was opened was closed, and no answer was lost: each peer that the handler has seen
        // has heard of it. Whom it has not seen waited in the system's backlog.
        assert_eq!(seen.accepts.load(SeqCst), seen.opened.load(SeqCst));
        assert_eq!(report.report.aborted, 0, "{report}");
        assert!(whole > 0);
        let accepted: u64 = report
            .workers
            .iter()
            .map(|worker| worker.stats.accepted)
            .sum();
        assert_eq!(accepted as usize, seen.closed.load(SeqCst));
    }
}

// K3
#[test]
fn a_worker_that_panics_under_load_is_there_again_and_the_others_never_went() {
    let workers = Workers::with_config(2, config())
        .unwrap()
        .restarts(usize::MAX);
    let kit = Kit::with(workers, Listen::new("127.0.0.1:0"), 2);
    let (mut stays, _) = (0..)
        .map(|_| kit.peer())
        .find(|(_, number)| *number == 0)
        .unwrap();
    let ends = Arc::new(AtomicUsize::new(0));
    let storms: Vec<_> = (0..3)
        .map(|_| (kit.addr, ends.clone()))
        .map(|(addr, ends)| spawn(move || storm(addr, ends)))
        .collect();
    for panics in 1..=10 {
        until("it takes the message", || {
            kit.team()[1].send(Say::Panic).is_ok()
        });
        until("it is there again", || {
            kit.seen.handlers.load(SeqCst) > 1 + panics
        });
        write(&mut stays, "still");
        assert_eq!(read_n(&mut stays, 5), b"still");
        let opened = kit.seen.opened.load(SeqCst);
        until("it goes on", || kit.seen.opened.load(SeqCst) > opened + 50);
    }
    ends.store(1, SeqCst);
    for storm in storms {
        let (whole, _, parts) = storm.join().unwrap();
        assert!(whole > parts, "{whole} whole, {parts} parts");
    }
    let report = kit.finish();
    assert_eq!(report.workers[1].panics.len(), 10);
    assert!(report.workers[0].panics.is_empty());
}
