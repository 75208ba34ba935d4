//! K1, K3: workers that finish, end by themselves, or panic, on real sockets and under load.

use crate::kit::workers::{Kit, Say, config, has_panicked, until, waiting_in_backlog};
use crate::kit::{PATIENCE, peer, read_all, read_n, spawn, write};
use sockeye::{
    ConnId, Context, Handler, Input, Listen, ListenerId, Origin, Running, Worker, Workers,
    WorkersReport,
};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

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
fn what_waits_in_the_mail_when_the_last_worker_ends_by_itself_is_opened_and_told_of_it() {
    // What each worker does until none is left that takes anybody: in this order, or all at once.
    let ways: [(&[Say], bool); 6] = [
        (&[Say::Finish], true),
        (&[Say::Finish, Say::Finish], true),
        (&[Say::Finish, Say::Finish], false),
        (&[Say::Finish, Say::Finish, Say::Finish], true),
        (&[Say::Panic, Say::Finish], false),
        (&[Say::Unlisten, Say::Finish], false),
    ];
    for (ways, at_once) in ways {
        let kit = Kit::new(ways.len());
        let blocks = ways.iter().enumerate();
        let blocks = blocks.map(|(number, say)| kit.block_before(number, Some(say.clone())));
        let mut blocks: Vec<_> = blocks.collect();
        let peers: Vec<_> = (0..30).map(|_| peer(kit.addr)).collect();
        until("all are accepted", || waiting_in_backlog(kit.addr) == 0);
        let last = blocks.pop();
        drop(blocks);
        if !at_once && matches!(ways[0], Say::Unlisten) {
            // It is said, and then the mail is read that came before: else it might be the last.
            (0..2).for_each(|_| drop(kit.block(0)));
        } else if !at_once {
            let before_the_last = &kit.team()[..ways.len() - 1];
            until("the others are over", || {
                before_the_last.iter().all(|worker| worker.is_closed())
            });
        }
        drop(last);
        for peer in peers {
            let heard = String::from_utf8(read_all(peer)).unwrap();
            assert!(heard.ends_with("bye"), "{heard:?}");
        }
        let seen = kit.seen.clone();
        if ways.len() > 1 && matches!(ways[0], Say::Unlisten) {
            kit.team().finish(PATIENCE);
        }
        let report = end_of(kit.running);
        assert_eq!(seen.finished.load(SeqCst), 30, "{report}");
        assert_eq!(report.report.aborted, 0);
    }
}

// K1
#[test]
fn one_that_has_finished_by_itself_stays_for_a_finish_of_all_and_opens_what_another_leaves() {
    let kit = Kit::new(2);
    let first = kit.block_before(0, Some(Say::Finish));
    let second = kit.block_before(1, Some(Say::Panic));
    let peers: Vec<_> = (0..20).map(|_| peer(kit.addr)).collect();
    until("all are accepted", || waiting_in_backlog(kit.addr) == 0);
    kit.team().finish(PATIENCE);
    until("nobody listens", || {
        std::net::TcpStream::connect(kit.addr).is_err()
    });
    drop(first);
    // If it ended alone, it would do so soon.
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(50) && !kit.team()[0].is_closed() {
        std::thread::yield_now();
    }
    drop(second);
    for peer in peers {
        assert_eq!(read_all(peer), b"0bye");
    }
    let seen = kit.seen.clone();
    assert!(has_panicked(&end_of(kit.running)));
    assert!(seen.finished.load(SeqCst) >= 20);
}

// K1
#[test]
fn what_waits_behind_a_paused_listener_goes_to_the_next_when_its_worker_gives_up() {
    for say in [Say::Panic, Say::Finish, Say::Unlisten] {
        let kit = Kit::new(2);
        kit.team()[0].send(Say::Pause).ok().unwrap();
        drop(kit.block(0));
        let mut peers: Vec<_> = (0..20).map(|_| peer(kit.addr)).collect();
        until("the other has its share", || kit.seen.shares()[1] == 10);
        // The second block is seen a turn after the mail that came before the first.
        (0..2).for_each(|_| drop(kit.block(0)));
        kit.team()[0].send(say).ok().unwrap();
        for peer in &mut peers {
            assert_eq!(read_n(peer, 1), b"1");
        }
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
fn a_stop_in_the_turn_of_a_panic_is_not_undone_by_a_restart() {
    let workers = Workers::with_config(2, config()).unwrap().restarts(9);
    let kit = Kit::with(workers, Listen::new("127.0.0.1:0"), 2);
    let release = kit.block_before(0, Some(Say::Panic));
    assert!(kit.team()[0].stop());
    drop(release);
    until("it is over", || kit.team()[0].is_closed());
    assert_eq!(kit.peer().1, 1);
    let seen = kit.seen.clone();
    let report = kit.finish();
    assert_eq!(seen.handlers.load(SeqCst), 2);
    assert_eq!(report.workers[0].panics.len(), 1);
}

// K3: the stop is seen first, in the turn in which a later message panics.
#[test]
fn a_stop_that_was_seen_in_the_turn_of_a_panic_is_not_undone_by_a_restart() {
    let workers = Workers::with_config(2, config()).unwrap().restarts(9);
    let kit = Kit::with(workers, Listen::new("127.0.0.1:0"), 2);
    let release = kit.block(0);
    kit.team()[0].send(Say::Panic).ok().unwrap();
    assert!(kit.team()[0].stop());
    drop(release);
    assert!(kit.team()[1].stop());
    let seen = kit.seen.clone();
    let report = end_of(kit.running);
    assert_eq!(seen.handlers.load(SeqCst), 2);
    assert_eq!(report.workers[0].panics.len(), 1);
}

// K3
#[cfg(unix)] // on Windows nobody shares a port
#[test]
fn one_that_begins_again_has_a_socket_of_its_own_again() {
    let workers = Workers::with_config(2, config()).unwrap().restarts(9);
    let workers = workers.hand_over(sockeye::HandOver::ReusePort);
    let kit = Kit::with(workers, Listen::new("127.0.0.1:0"), 2);
    for round in 0..3 {
        kit.team()[round % 2].send(Say::Panic).ok().unwrap();
        until("it is there again", || {
            kit.seen.handlers.load(SeqCst) == 3 + round
        });
        // The system's hash: all are served, and by both.
        let peers: Vec<_> = (0..64).map(|_| kit.peer()).collect();
        for number in 0..2 {
            assert!(peers.iter().any(|(_, its)| *its == number));
        }
    }
    let report = kit.finish();
    let panics = report.workers.iter().map(|worker| worker.panics.len());
    assert_eq!(panics.sum::<usize>(), 3);
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
    let tries = Arc::new(AtomicUsize::new(0));
    let all = tries.clone();
    let running = workers.start(move |worker| {
        if worker.number() == 0 {
            all.fetch_add(1, SeqCst);
            panic!("not today");
        }
        Hello
    });
    let running = running.unwrap();
    for _ in 0..5 {
        assert_eq!(read_n(&mut peer(addr), 5), b"hello");
    }
    // Nobody begins again in a finish.
    until("it has tried", || tries.load(SeqCst) == 4);
    running.team().finish(PATIENCE);
    let report = running.join();
    assert_eq!(report.workers[0].panics, ["not today"; 4]);
}

/// The end, which must come.
fn end_of<M: Send + 'static>(running: Running<M>) -> WorkersReport {
    let (sender, end) = mpsc::channel();
    spawn(move || sender.send(running.join()));
    end.recv_timeout(PATIENCE).expect("it ends")
}

// K3
#[test]
fn nobody_begins_again_once_all_are_told_to_end() {
    struct Broken;
    impl Handler for Broken {
        fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
        fn on_message(&mut self, _: &mut Context, (): ()) {
            panic!("by a message");
        }
    }
    for round in 0..100 {
        let workers = Workers::new(2).unwrap().restarts(usize::MAX);
        let running = workers.start(|_| Broken).unwrap();
        running.team().broadcast(());
        match round % 2 {
            0 => running.team().stop(),
            _ => running.team().finish(PATIENCE),
        };
        end_of(running);
    }
    let workers = Workers::new(1).unwrap().restarts(usize::MAX);
    let running = workers.start(|_| -> Broken { panic!("at once") }).unwrap();
    running.team().finish(PATIENCE);
    end_of(running);
}

// K1
#[test]
fn a_listener_that_is_paused_in_a_finish_holds_it_up_for_nobody() {
    struct Pausing(ListenerId, Arc<Mutex<mpsc::Receiver<()>>>);
    impl Handler for Pausing {
        fn on_open(&mut self, _: &mut Context, _: ConnId, _: Origin) {
            // The first holds the worker up until all is said; later ones find nobody who speaks.
            _ = self.1.lock().unwrap().recv();
        }
        fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
            cx.pause_accepts(self.0);
            cx.close(conn);
        }
        fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
    }
    let mut config = config();
    config.accepts_per_turn = 1;
    let mut workers = Workers::with_config(1, config).unwrap();
    let listener = workers.listen("127.0.0.1:0").unwrap();
    let addr = workers.listener_addr(listener).unwrap().ip().unwrap();
    let (go, wait) = mpsc::channel();
    let wait = Arc::new(Mutex::new(wait));
    let running = workers.start(move |_| Pausing(listener, wait.clone()));
    let running = running.unwrap();
    let peers: Vec<_> = (0..20).map(|_| peer(addr)).collect();
    until("all are accepted", || waiting_in_backlog(addr) == 0);
    running.team().finish(PATIENCE);
    drop(go);
    assert_eq!(end_of(running).report.closed, 20);
    drop(peers);
}

#[test]
fn with_all_workers_gone_it_is_over() {
    let kit = Kit::new(2);
    kit.team().broadcast(Say::Panic);
    let report = kit.running.join();
    assert!(!report.report.finished && has_panicked(&report));
    assert!(std::net::TcpStream::connect(kit.addr).is_err());
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
    // Of all together: on a busy machine one of them may not have begun.
    let (mut whole, mut parts) = (0, 0);
    for storm in storms {
        let its = storm.join().unwrap();
        whole += its.0;
        parts += its.2;
    }
    assert!(whole > parts, "{whole} whole, {parts} parts");
    let report = kit.finish();
    assert_eq!(report.workers[1].panics.len(), 10);
    assert!(report.workers[0].panics.is_empty());
}

/// Panics as it is dropped, unless it is in a panic.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("as it is dropped");
        }
    }
}

/// Workers whose first has panicked with a message of this number.
fn panicked_by<H: Handler<u8>>(made: impl Fn() -> H + Send + Sync + 'static) -> WorkersReport {
    let workers = Workers::new(2).unwrap();
    let running = workers.start(move |_: &mut Worker<'_, u8>| made()).unwrap();
    running.team()[0].send(0).unwrap();
    until("it has panicked", || running.team()[0].is_closed());
    running.team().finish(PATIENCE);
    let report = end_of(running);
    assert!(report.workers[1].report.finished && report.workers[1].panics.is_empty());
    report
}

// K3
#[test]
fn what_a_panic_carries_may_panic_as_it_is_dropped() {
    struct Throws;
    impl Handler<u8> for Throws {
        fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
        fn on_message(&mut self, _: &mut Context, _: u8) {
            std::panic::panic_any(Bomb);
        }
    }
    let report = panicked_by(|| Throws);
    assert_eq!(report.workers[0].panics, ["without a message"]);
}

// K3
#[test]
fn a_handler_that_panics_as_it_is_dropped_after_its_panic_takes_no_other_along() {
    /// As many do: the callback's panic has poisoned the mutex.
    struct Poisons(Arc<Mutex<u8>>);
    impl Handler<u8> for Poisons {
        fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
        fn on_message(&mut self, _: &mut Context, _: u8) {
            let _guard = self.0.lock().unwrap();
            panic!("with the mutex");
        }
    }
    impl Drop for Poisons {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let report = panicked_by(|| Poisons(Arc::default()));
    let [first, second] = &report.workers[0].panics[..] else {
        panic!("{report}");
    };
    assert!(
        first == "with the mutex" && second.contains("PoisonError"),
        "{report}"
    );
}

// K3
#[test]
fn a_panic_is_told_of_and_a_restart_counts_once_whatever_is_dropped_then() {
    struct Once;
    impl Handler<Option<Bomb>> for Once {
        fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
        fn on_message(&mut self, _: &mut Context, _: Option<Bomb>) {
            panic!("by a message");
        }
    }
    impl Drop for Once {
        fn drop(&mut self) {
            panic!("the handler");
        }
    }
    let lives = Arc::new(AtomicUsize::new(0));
    let lived = lives.clone();
    let workers = Workers::new(1).unwrap().restarts(2);
    let running = workers.start(move |worker: &mut Worker<'_, Option<Bomb>>| {
        lives.fetch_add(1, SeqCst);
        // The first makes it panic, the others wait then.
        for message in [None, Some(Bomb), Some(Bomb)] {
            assert!(worker.team()[0].send(message).is_ok());
        }
        Once
    });
    let report = end_of(running.unwrap());
    assert_eq!(lived.load(SeqCst), 3);
    assert_eq!(
        report.workers[0].panics,
        ["by a message", "the handler"].repeat(3)
    );
}
