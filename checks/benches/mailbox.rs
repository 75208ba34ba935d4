//! Messages from other threads, beside channels with a waker by hand:
//! `cargo bench --bench mailbox`.
//!
//! Ours is the whole reactor; the others are a loop around `mio::Poll`. By the clock on the wall:
//! what is measured is how long threads wait for each other.

mod common;

use common::{compare, compare_few, rival_timed, timed_by_the_clock, title};
use mio::{Events, Poll, Token, Waker};
use sockeye::{ConnId, Context, Handler, Input, Reactor};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

/// Messages of a stream, over all threads that post.
const STREAM: usize = 200_000;

/// Messages of a conversation, there and back.
const TURNS: usize = 5_000;

/// Messages that a loop takes before it looks for readiness again, as ours does.
const AT_ONCE: usize = 1024;

type Post = Box<dyn Fn(usize) + Send>;

type NewSender = Box<dyn Fn() -> Post>;

type Receive = Box<dyn FnMut() -> Option<usize>>;

/// A loop that other threads post to.
trait Loop {
    /// A new end for one thread.
    fn sender(&mut self) -> Post;

    /// Runs until so many messages have come, and hands each to `take`.
    fn run(&mut self, count: usize, take: &mut dyn FnMut(usize));
}

struct Ours(Reactor<usize>);

struct Take<'a> {
    left: usize,
    take: &'a mut dyn FnMut(usize),
}

impl Handler<usize> for Take<'_> {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_message(&mut self, cx: &mut Context, message: usize) {
        (self.take)(message);
        self.left -= 1;
        if self.left == 0 {
            cx.stop();
        }
    }
}

impl Loop for Ours {
    fn sender(&mut self) -> Post {
        let sender = self.0.sender();
        Box::new(move |message| sender.send(message).expect("a reactor"))
    }

    fn run(&mut self, count: usize, take: &mut dyn FnMut(usize)) {
        let mut app = Take { left: count, take };
        self.0.run(&mut app).expect("it can wait");
    }
}

/// A channel and a waker: each message wakes the loop, which then empties the channel.
struct ByHand {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    sender: NewSender,
    receive: Receive,
}

impl ByHand {
    fn new(channel: &str) -> ByHand {
        let poll = Poll::new().expect("a poll");
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("a waker"));
        let (sender, receive): (NewSender, Receive) = match channel {
            "mpsc" => {
                let (sender, receiver) = mpsc::channel();
                let new = move || -> Post {
                    let sender = sender.clone();
                    Box::new(move |message| sender.send(message).expect("a loop"))
                };
                (Box::new(new), Box::new(move || receiver.try_recv().ok()))
            }
            _ => {
                let (sender, receiver) = crossbeam_channel::unbounded();
                let new = move || -> Post {
                    let sender = sender.clone();
                    Box::new(move |message| sender.send(message).expect("a loop"))
                };
                (Box::new(new), Box::new(move || receiver.try_recv().ok()))
            }
        };
        ByHand {
            poll,
            events: Events::with_capacity(1024),
            waker,
            sender,
            receive,
        }
    }
}

impl Loop for ByHand {
    fn sender(&mut self) -> Post {
        let (post, waker) = ((self.sender)(), self.waker.clone());
        Box::new(move |message| {
            post(message);
            waker.wake().expect("a loop");
        })
    }

    fn run(&mut self, count: usize, take: &mut dyn FnMut(usize)) {
        let (mut left, mut more) = (count, true);
        while left > 0 {
            let timeout = more.then_some(Duration::ZERO);
            self.poll
                .poll(&mut self.events, timeout)
                .expect("it can wait");
            more = true;
            for _ in 0..AT_ONCE.min(left) {
                let Some(message) = (self.receive)() else {
                    more = false;
                    break;
                };
                take(message);
                left -= 1;
            }
        }
    }
}

/// Several threads post as fast as they can.
fn stream(target: &mut impl Loop, threads: usize) -> (usize, Duration) {
    let begin = Arc::new(Barrier::new(threads + 1));
    let each = STREAM / threads;
    let posters: Vec<_> = (0..threads)
        .map(|_| {
            let (post, begin) = (target.sender(), begin.clone());
            thread::spawn(move || {
                begin.wait();
                (0..each).for_each(post);
            })
        })
        .collect();
    let mut sum = 0;
    let result = timed_by_the_clock(|| {
        begin.wait();
        target.run(each * threads, &mut |message| sum += message);
        each * threads
    });
    assert_eq!(sum, threads * (each * (each - 1) / 2));
    for poster in posters {
        poster.join().expect("it has posted");
    }
    result
}

/// One thread posts, waits for the answer, and posts again. The answer comes through a channel.
fn converse(target: &mut impl Loop) -> (usize, Duration) {
    let (answer, answers) = mpsc::channel();
    let post = target.sender();
    let other = thread::spawn(move || {
        for turn in 0..TURNS {
            post(turn);
            answers.recv().expect("an answer");
        }
    });
    let result = timed_by_the_clock(|| {
        target.run(TURNS, &mut |_| answer.send(()).expect("one who asks"));
        TURNS
    });
    other.join().expect("it has its answers");
    result
}

fn main() {
    title("messages to the loop, by the clock");
    let mut ours = Ours(Reactor::with_messages().expect("a reactor"));
    let (mut std, mut crossbeam) = (ByHand::new("mpsc"), ByHand::new("crossbeam"));
    for threads in [1, 4] {
        let rivals = vec![
            rival_timed("ours", || stream(&mut ours, threads)),
            rival_timed("mpsc+Waker", || stream(&mut std, threads)),
            rival_timed("crossbeam+Waker", || stream(&mut crossbeam, threads)),
        ];
        compare_few(&format!("a stream from {threads} threads"), rivals);
    }
    let rivals = vec![
        rival_timed("ours", || converse(&mut ours)),
        rival_timed("mpsc+Waker", || converse(&mut std)),
        rival_timed("crossbeam+Waker", || converse(&mut crossbeam)),
    ];
    compare("there and back", rivals);
}
