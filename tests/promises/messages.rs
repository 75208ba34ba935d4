//! M: messages from other threads, and leaving `run`.

use crate::kit::{Kit, PATIENCE, default, echo, peer, read_n, spawn, write};
use sockeye::{Config, Context, EventKind, Handler, Input, Reactor, SendError, Sender};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Turns with `run` in a thread of its own; each message goes to the other side, one larger.
fn player(
    serves: bool,
    to_other: mpsc::Sender<Sender<u64>>,
    other: mpsc::Receiver<Sender<u64>>,
    count: u64,
    done: mpsc::Sender<usize>,
) {
    spawn(move || {
        let mut kit = Kit::new(default);
        to_other.send(kit.sender()).unwrap();
        let other = other.recv().unwrap();
        kit.app.on_message = Some(Box::new(move |cx, number| {
            if number >= count - 1 {
                cx.stop();
            }
            if number < count {
                other.send(number + 1).unwrap();
            }
        }));
        if serves {
            kit.sender().send(0).unwrap();
        }
        kit.reactor.run(&mut kit.app).unwrap();
        let count = kit.log().messages.len();
        // What the other side posted meanwhile.
        kit.app.on_message = None;
        kit.end();
        done.send(count).unwrap();
    });
}

fn play(ping_pongs: u64, patience: Duration) {
    let ((to_first, first), (to_second, second)) = (mpsc::channel(), mpsc::channel());
    let (done, results) = mpsc::channel();
    player(true, to_second, first, ping_pongs, done.clone());
    player(false, to_first, second, ping_pongs, done);
    let mut count = 0;
    for _ in 0..2 {
        count += results.recv_timeout(patience).expect("a stall");
    }
    // From 0 on, and the last one only stops its receiver.
    assert_eq!(count as u64, ping_pongs + 1);
}

// M4: it is remembered, also if it comes between two messages of which one was left over.
#[test]
fn a_stop_between_two_messages_ends_the_run() {
    let (done, end) = mpsc::channel();
    spawn(move || {
        let mut config = Config::default();
        config.messages_per_turn = 2;
        let mut kit = Kit::with_config(config, default);
        let sender = kit.sender();
        (1..=3).for_each(|number| sender.send(number).unwrap());
        kit.app.on_message = Some(Box::new(move |_, number| match number {
            2 => sender.send(4).unwrap(),
            3 => assert!(sender.stop()),
            _ => {}
        }));
        kit.reactor.run(&mut kit.app).unwrap();
        kit.app.on_message = None;
        kit.end();
        done.send(()).unwrap();
    });
    end.recv_timeout(PATIENCE).expect("the stop is lost");
}

// M1
#[test]
fn no_wakeup_is_lost_between_two_threads_that_wait_for_each_other() {
    play(50_000, PATIENCE);
}

// M1
#[test]
#[ignore = "20 s: two switches of context each time"]
fn no_wakeup_is_lost_in_a_million_ping_pongs() {
    play(1_000_000, 10 * PATIENCE);
}

// M1: many senders at once, with pauses of all lengths in which the loop falls asleep.
#[test]
fn messages_of_many_threads_all_come_and_each_threads_in_its_order() {
    const EACH: u64 = 5_000;
    let mut kit = Kit::new(default);
    let senders: Vec<_> = (0..4u64)
        .map(|thread| {
            let sender = kit.sender();
            spawn(move || {
                for number in 0..EACH {
                    sender.send(thread << 32 | number).unwrap();
                    for _ in 0..number % 97 {
                        std::hint::spin_loop();
                    }
                }
            })
        })
        .collect();
    // Only the wakeups keep it going.
    let start = Instant::now();
    while kit.log().messages.len() < 4 * EACH as usize {
        kit.reactor.turn(&mut kit.app, Some(PATIENCE)).unwrap();
        assert!(start.elapsed() < PATIENCE, "a stall");
    }
    senders
        .into_iter()
        .for_each(|sender| sender.join().unwrap());
    for thread in 0..4 {
        let messages = kit.log().messages.iter();
        let its: Vec<u64> = messages
            .filter(|message| *message >> 32 == thread)
            .map(|message| message & u64::from(u32::MAX))
            .collect();
        assert!(its.into_iter().eq(0..EACH), "thread {thread}");
    }
    assert_eq!(kit.cx().stats().messages, 4 * EACH);
    kit.end();
}

// M1: a message may come at any moment of the delivery of another thread's, after which its thread
// posts no more until it is answered.
#[test]
fn no_message_is_forgotten_that_comes_while_another_is_delivered() {
    const EACH: u64 = 5_000;
    let mut kit = Kit::new(default);
    let mut answers = Vec::new();
    let threads: Vec<_> = (0..2)
        .map(|thread| {
            let (answer, answered) = mpsc::channel();
            answers.push(answer);
            let sender = kit.sender();
            spawn(move || {
                for _ in 0..EACH {
                    sender.send(thread).unwrap();
                    answered.recv_timeout(PATIENCE).expect("a stall");
                }
            })
        })
        .collect();
    kit.app.on_message = Some(Box::new(move |_, thread| {
        answers[thread as usize].send(()).unwrap();
    }));
    let start = Instant::now();
    while kit.log().messages.len() < 2 * EACH as usize {
        kit.reactor.turn(&mut kit.app, Some(PATIENCE)).unwrap();
        assert!(start.elapsed() < PATIENCE, "a stall");
    }
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    kit.end();
}

/// Counts how often it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Default)]
struct Keeps(Vec<Counted>);

impl Handler<Counted> for Keeps {
    fn on_data(&mut self, _: &mut Context, _: sockeye::ConnId, _: &mut Input) {}

    fn on_message(&mut self, _: &mut Context, message: Counted) {
        self.0.push(message);
    }
}

// M3, X9
#[test]
fn a_message_to_a_dropped_reactor_comes_back_and_none_is_leaked() {
    let drops = Arc::new(AtomicUsize::new(0));
    let mut reactor = Reactor::with_messages().unwrap();
    let sender = reactor.sender();
    let mut app = Keeps::default();
    sender.send(Counted(drops.clone())).ok().unwrap();
    reactor.turn(&mut app, None).unwrap();
    assert_eq!((app.0.len(), drops.load(Ordering::SeqCst)), (1, 0));
    (0..10).for_each(|_| sender.send(Counted(drops.clone())).ok().unwrap());
    drop(reactor);
    assert_eq!(drops.load(Ordering::SeqCst), 10);
    let Err(error) = sender.clone().send(Counted(drops.clone())) else {
        panic!("a message for nobody was taken");
    };
    assert_eq!(error.to_string(), "the reactor is gone");
    drop(error.into_inner());
    assert_eq!(drops.load(Ordering::SeqCst), 11);
    drop(app);
    assert_eq!(drops.load(Ordering::SeqCst), 12);
}

// M3
#[test]
fn threads_that_post_while_the_reactor_is_dropped_all_come_to_their_end() {
    let mut config = Config::default();
    config.message_limit = 1_000;
    for _ in 0..50 {
        let mut reactor = Reactor::<u64>::with_messages_and_config(config.clone()).unwrap();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let sender = reactor.sender();
                let start = Instant::now();
                spawn(move || {
                    while sender.send(1) != Err(SendError::Closed(1)) {
                        assert!(start.elapsed() < PATIENCE, "it does not hear of the end");
                    }
                })
            })
            .collect();
        let mut app = Kit::new(default).app;
        reactor.turn(&mut app, None).unwrap();
        drop(reactor);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }
}

// M4
#[test]
fn a_stop_before_run_is_remembered_and_run_can_be_called_again() {
    let mut kit = Kit::new(|cx, event| match event {
        EventKind::Timer { .. } => panic!("`run` does not come back"),
        other => echo(cx, other),
    });
    let addr = kit.listen();
    let watchdog = kit.cx().set_timer(PATIENCE, 0);
    for _ in 0..3 {
        kit.cx().stop();
        let report = kit.reactor.run(&mut kit.app).unwrap();
        assert!(!report.finished);
    }
    kit.app.on_message = Some(Box::new(|cx, message| {
        if message == 2 {
            cx.stop();
        }
    }));
    // Messages from before `run`, and those behind the one that stops, are delivered all the same.
    for message in [1, 2, 3] {
        kit.sender().send(message).unwrap();
    }
    kit.reactor.run(&mut kit.app).unwrap();
    assert_eq!(kit.log().messages, [1, 2, 3]);
    // A stop is used up by the run that it ended; connections live on from one run to the next.
    let mut stream = peer(addr);
    kit.until("it is open", |log| log.count("open") == 1);
    let sender = kit.sender();
    let asker = spawn(move || {
        write(&mut stream, "ping");
        assert_eq!(read_n(&mut stream, 4), b"ping");
        sender.send(2).unwrap();
        stream
    });
    kit.reactor.run(&mut kit.app).unwrap();
    let conn = kit.log().ids[0];
    assert!(kit.cx().is_open(conn));
    assert_eq!(kit.log().life(conn).received, b"ping");
    kit.cx().cancel_timer(watchdog);
    drop(kit.until_done(asker));
    kit.until_all_closed();
    kit.end();
}

// M4
#[test]
fn a_reactor_and_its_sender_go_to_another_thread() {
    fn is_send<T: Send>(_: &T) {}
    fn is_sync<T: Sync>(_: &T) {}
    let reactor = Reactor::<String>::with_messages().unwrap();
    let sender = reactor.sender();
    is_send(&reactor);
    is_send(&sender);
    is_sync(&sender);

    #[derive(Default)]
    struct App(Vec<String>);
    impl Handler<String> for App {
        fn on_data(&mut self, _: &mut Context, _: sockeye::ConnId, _: &mut Input) {}
        fn on_message(&mut self, cx: &mut Context, message: String) {
            self.0.push(message);
            cx.stop();
        }
    }
    let other = spawn(move || {
        let (mut reactor, mut app) = (reactor, App::default());
        reactor.run(&mut app).unwrap();
        app.0
    });
    sender.send("hello".to_owned()).unwrap();
    assert_eq!(other.join().unwrap(), ["hello"]);
}

// M3
#[test]
fn a_full_mailbox_gives_the_message_back_and_takes_more_once_it_is_empty() {
    let mut config = Config::default();
    config.message_limit = 2;
    let mut kit = Kit::with_config(config, default);
    let sender = kit.sender();
    assert_eq!(sender.send(1), Ok(()));
    assert_eq!(sender.send(2), Ok(()));
    assert_eq!(sender.send(3), Err(SendError::Full(3)));
    kit.turn();
    assert_eq!(sender.send(4), Ok(()));
    kit.until("it comes", |log| log.messages == [1, 2, 4]);
    kit.end();
}

// M4: from another thread, while the loop sleeps, and from before `run`.
#[test]
fn a_sender_stops_the_loop_and_knows_when_it_is_gone() {
    let mut kit = Kit::new(|cx, event| match event {
        EventKind::Timer { .. } => panic!("`run` does not come back"),
        other => echo(cx, other),
    });
    let watchdog = kit.cx().set_timer(PATIENCE, 0);
    let sender = kit.sender();
    assert!(!sender.is_closed() && sender.stop() && sender.stop());
    assert!(!kit.reactor.run(&mut kit.app).unwrap().finished);
    // What was posted before comes before, and what comes behind it waits for the next run.
    let from = sender.clone();
    let thread = spawn(move || {
        from.send(1).unwrap();
        assert!(from.stop());
        from.send(2).unwrap();
    });
    kit.reactor.run(&mut kit.app).unwrap();
    thread.join().unwrap();
    assert_eq!(kit.log().messages.first(), Some(&1));
    // It is used up: in a host's loop too, which learns of it by the turn that it ends.
    kit.until("the rest comes", |log| log.messages == [1, 2]);
    assert!(!kit.turn().stopped);
    assert!(sender.stop());
    assert!(kit.turn().stopped && !kit.turn().stopped);
    assert!(kit.turn_for(Duration::from_millis(5)) <= 2, "it spins");
    kit.cx().cancel_timer(watchdog);
    kit.end();
    assert!(sender.is_closed() && !sender.stop());
}
