//! K1, K2, and what else several workers do, on real sockets.

use crate::kit::workers::{Kit, Say, config, has_panicked, until, waiting_in_backlog};
use crate::kit::{PATIENCE, peer, read_all, read_n, write};
use sockeye::{
    Accept, Addr, Config, ConnId, Context, HandOver, Handler, Input, Listen, ListenerId, Origin,
    Workers,
};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};

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

// K2
#[test]
fn with_1024_in_the_mail_of_each_nobody_is_accepted() {
    let kit = Kit::new(1);
    let release = kit.block(0);
    let mut peers: Vec<_> = (0..1024).map(|_| peer(kit.addr)).collect();
    until("all are accepted", || waiting_in_backlog(kit.addr) == 0);
    // It rests, tries again once a while, and takes one of them each time at most.
    peers.extend((0..100).map(|_| peer(kit.addr)));
    assert!(waiting_in_backlog(kit.addr) > 50);
    drop(release);
    until("all are open", || kit.seen.shares() == [1124]);
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

#[cfg(unix)] // on Windows nobody shares a port
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

/// Waits in its first `on_accept` until the test drops the other end.
struct Asked {
    asked: Arc<AtomicUsize>,
    release: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Handler for Asked {
    fn on_accept(&mut self, _: &mut Context, _: ListenerId, _: &Addr) -> Accept {
        if self.asked.fetch_add(1, SeqCst) == 0 {
            let _ = self.release.lock().unwrap().recv_timeout(PATIENCE);
        }
        Accept::Keep
    }

    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        cx.send(conn, "open");
    }

    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
}

#[test]
fn a_place_that_one_worker_asks_about_is_offered_to_no_other() {
    let mut config = config();
    config.max_connections = 1;
    let workers = Workers::with_config(2, config).unwrap();
    let mut workers = workers.hand_over(HandOver::RoundRobin);
    let listen = Listen::new("127.0.0.1:0").last_word("full");
    let listener = workers.listen(listen).unwrap();
    let addr = workers.listener_addr(listener).unwrap().ip().unwrap();
    let (asked, (hold, release)) = (Arc::new(AtomicUsize::new(0)), mpsc::channel());
    let (count, release) = (asked.clone(), Arc::new(Mutex::new(release)));
    let running = workers.start::<(), _, _>(move |_| Asked {
        asked: count.clone(),
        release: release.clone(),
    });
    let running = running.unwrap();
    let mut first = peer(addr);
    until("the handler is asked", || asked.load(SeqCst) == 1);
    let mut second = peer(addr);
    assert_eq!(read_n(&mut second, 4), b"full");
    drop(hold);
    assert_eq!(read_n(&mut first, 4), b"open");
    assert_eq!(asked.load(SeqCst), 1);
    drop((first, second));
    assert!(running.team().finish(PATIENCE));
    assert!(running.join().report.finished);
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
    use crate::kit::peer_at;
    let path = crate::kit::unix_path();
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

/// All descriptors are in use.
#[cfg(unix)]
mod exhausted {
    use super::*;
    use crate::kit::places::{in_own_process, is_own_process};

    #[test]
    fn with_too_few_descriptors_for_so_many_workers_the_error_says_so() {
        in_own_process("workers::exhausted::too_few_descriptors");
    }

    #[test]
    #[ignore = "runs in a process of its own, whose descriptors it uses up"]
    fn too_few_descriptors() {
        if is_own_process() {
            // Nobody has so many.
            let text = Workers::new(usize::MAX).unwrap_err().to_string();
            assert!(text.starts_with("cannot make worker "), "{text}");
        }
    }
}

/// Pauses its listener. Worker 0 ends by a panic or a stop, and is dropped when the test lets it.
struct Slow {
    number: usize,
    panics: bool,
    dropping: mpsc::Sender<()>,
    release: Arc<Mutex<mpsc::Receiver<()>>>,
}

impl Handler<Option<mpsc::Sender<()>>> for Slow {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_message(&mut self, cx: &mut Context, answer: Option<mpsc::Sender<()>>) {
        match answer {
            Some(answer) => drop(answer.send(())),
            None if self.number > 0 => cx.finish(PATIENCE),
            None if self.panics => panic!("as the test has asked for"),
            None => cx.stop(),
        }
    }

    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        cx.send(conn, "bye");
        cx.close(conn);
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        if self.number == 0 {
            let _ = self.dropping.send(());
            let _ = self.release.lock().unwrap().recv_timeout(PATIENCE);
        }
    }
}

// K1
#[test]
fn what_waits_for_one_that_has_ended_is_not_lost_while_its_handler_is_dropped() {
    for panics in [true, false] {
        lose_nobody_while_a_handler_is_dropped(panics);
    }
}

fn lose_nobody_while_a_handler_is_dropped(panics: bool) {
    let mut workers = Workers::new(2).unwrap();
    let listener = workers.listen("127.0.0.1:0").unwrap();
    let addr = workers.listener_addr(listener).unwrap().ip().unwrap();
    let (hold, release) = mpsc::channel();
    let release = Arc::new(Mutex::new(release));
    let (dropping, is_dropping) = mpsc::channel();
    let running = workers.start(move |worker| {
        worker.context().pause_accepts(listener);
        Slow {
            number: worker.number(),
            panics,
            dropping: dropping.clone(),
            release: release.clone(),
        }
    });
    let running = running.unwrap();
    let team = running.team();
    let peers: Vec<_> = (0..10).map(|_| peer(addr)).collect();
    until("all are accepted", || waiting_in_backlog(addr) == 0);
    team[0].send(None).unwrap();
    is_dropping.recv_timeout(PATIENCE).expect("it ends");
    team[1].send(None).unwrap();
    // The other has the time to end, if it does not know that somebody may still come.
    let (answer, heard) = mpsc::channel();
    for _ in 0..100 {
        if team[1].send(Some(answer.clone())).is_err() {
            break;
        }
        let _ = heard.recv_timeout(PATIENCE);
    }
    drop(hold);
    for peer in peers {
        assert_eq!(read_all(peer), b"bye");
    }
    assert!(running.join().workers[1].report.finished);
}
