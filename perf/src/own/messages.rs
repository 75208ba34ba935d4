//! Messages to a loop from other threads: how many a second, how often they wake it, and how long
//! there and back takes.

use super::measure::{figure, percentile, process_cpu};
use crate::Result;
use crate::report::Table;
use crate::run::Run;
use crate::stats::median;
use mio::{Events, Poll, Token};
use sockeye::{ConnId, Context, Handler, Input, Reactor};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What the other threads do.
#[derive(Clone, Copy)]
enum Load {
    /// So many threads post, together so many messages, as fast as they can.
    Flood(usize, u64),
    /// One thread posts so often, and waits for each answer.
    PingPong(u64),
}

/// What came of it.
struct Outcome {
    took: Duration,
    cpu: Duration,
    /// How often the loop's wait returned.
    waits: u64,
    /// There and back, in microseconds.
    trips: Vec<f64>,
}

type System = fn(Load) -> Result<Outcome>;

const SYSTEMS: [(&str, System); 5] = [
    ("sockeye `Sender`", sockeye),
    (
        "crossbeam channel, mio `Waker` when a flag says so",
        with_flag,
    ),
    ("crossbeam channel, mio `Waker` each time", without_flag),
    ("calloop `channel`", calloop),
    ("tokio `mpsc::unbounded_channel`, current_thread", tokio),
];

pub(crate) fn run(run: &mut Run) -> Result<()> {
    let (flood, trips, rounds) = run.scale.pick(
        (20_000, 500, 1),
        (500_000, 5_000, 3),
        (2_000_000, 50_000, 7),
    );
    let loads = [
        Load::Flood(1, flood),
        Load::Flood(4, flood),
        Load::PingPong(trips),
    ];
    let mut samples = vec![vec![Vec::new(); 8]; SYSTEMS.len()];
    for round in 1..=rounds {
        for load in loads {
            for ((name, system), samples) in SYSTEMS.iter().zip(&mut samples) {
                run.progress
                    .message(format!("messages, {name}, round {round}"));
                record(load, &system(load)?, samples);
            }
        }
    }
    let mut table = Table::new([
        "loop",
        "1 thread: M/s",
        "waits each",
        "CPU ns",
        "4 threads: M/s",
        "waits each",
        "CPU ns",
        "there and back: p50 µs",
        "p99 µs",
    ]);
    for ((name, _), columns) in SYSTEMS.iter().zip(&samples) {
        let figures = columns.iter().map(|column| figure(median(column)));
        table.row(std::iter::once((*name).to_owned()).chain(figures));
    }
    let text = format!(
        "{flood} messages of eight bytes from one thread and from four, as fast as they can; then \
         {trips} there and back between one thread and the loop, the answer by a crossbeam channel \
         for all. Waits: how often the loop's wait returned, for each message. CPU time is that of \
         all threads. Median of {rounds} rounds in turn."
    );
    run.report
        .section("Messages from other threads")
        .text(text)
        .table(table);
    Ok(())
}

/// Puts the figures of one run into their columns.
fn record(load: Load, outcome: &Outcome, columns: &mut [Vec<f64>]) {
    match load {
        Load::Flood(threads, messages) => {
            let (first, messages) = (if threads == 1 { 0 } else { 3 }, messages as f64);
            columns[first].push(messages / outcome.took.as_secs_f64() / 1e6);
            columns[first + 1].push(outcome.waits as f64 / messages);
            columns[first + 2].push(outcome.cpu.as_nanos() as f64 / messages);
        }
        Load::PingPong(_) => {
            columns[6].push(percentile(&outcome.trips, 50.0));
            columns[7].push(percentile(&outcome.trips, 99.0));
        }
    }
}

/// The threads of a load, and what the loop has to do for them.
struct Running {
    left: u64,
    answer: Option<crossbeam_channel::Sender<u64>>,
    threads: Vec<JoinHandle<Vec<f64>>>,
    started: Instant,
    cpu: Duration,
}

impl Running {
    fn start(load: Load, post: impl Fn(u64) + Clone + Send + 'static) -> Running {
        let (started, cpu) = (Instant::now(), process_cpu());
        let (left, answer, threads) = match load {
            Load::Flood(threads, messages) => {
                let each = messages / threads as u64;
                let spawn = |_| {
                    let post = post.clone();
                    thread::spawn(move || {
                        (0..each).for_each(post);
                        Vec::new()
                    })
                };
                let threads: Vec<_> = (0..threads).map(spawn).collect();
                (each * threads.len() as u64, None, threads)
            }
            Load::PingPong(trips) => {
                let (answer, answers) = crossbeam_channel::bounded(1);
                let trip = move |n| {
                    let sent = Instant::now();
                    post(n);
                    answers.recv().expect("the loop answers each");
                    sent.elapsed().as_nanos() as f64 / 1e3
                };
                let thread = thread::spawn(move || (0..trips).map(trip).collect());
                (trips, Some(answer), vec![thread])
            }
        };
        Running {
            left,
            answer,
            threads,
            started,
            cpu,
        }
    }

    /// The loop has got a message. `true`: it was the last one.
    fn got(&mut self, message: u64) -> bool {
        self.left -= 1;
        if let Some(answer) = &self.answer {
            answer.send(message).expect("the thread waits for it");
        }
        self.left == 0
    }

    fn end(self, waits: u64) -> Outcome {
        let took = self.started.elapsed();
        let threads = self.threads.into_iter();
        let trips = threads.flat_map(|thread| thread.join().unwrap_or_default());
        let trips = trips.collect();
        Outcome {
            took,
            cpu: process_cpu() - self.cpu,
            waits,
            trips,
        }
    }
}

impl Handler<u64> for Running {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_message(&mut self, cx: &mut Context, message: u64) {
        if self.got(message) {
            cx.stop();
        }
    }
}

fn sockeye(load: Load) -> Result<Outcome> {
    let mut reactor = Reactor::with_messages()?;
    let sender = reactor.sender();
    let post = move |message| sender.send(message).expect("the loop is there");
    let mut running = Running::start(load, post);
    reactor.run(&mut running)?;
    let waits = reactor.context().stats().turns;
    Ok(running.end(waits))
}

/// What a careful user would write: many messages posted while the loop is busy wake it once.
fn with_flag(load: Load) -> Result<Outcome> {
    let woken = Arc::new(AtomicBool::new(false));
    let flag = woken.clone();
    by_hand(
        load,
        move |wake| {
            if !flag.swap(true, Ordering::SeqCst) {
                wake();
            }
        },
        move || woken.store(false, Ordering::SeqCst),
    )
}

fn without_flag(load: Load) -> Result<Outcome> {
    by_hand(load, |wake| wake(), || ())
}

/// `gate` decides whether to wake; `awake` is called before the loop empties the channel.
fn by_hand(
    load: Load,
    gate: impl Fn(&dyn Fn()) + Clone + Send + 'static,
    awake: impl Fn(),
) -> Result<Outcome> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    let waker = Arc::new(mio::Waker::new(poll.registry(), Token(0))?);
    let (sender, receiver) = crossbeam_channel::unbounded();
    // The loop holds it too: with the last owner a wake that was not seen yet would go.
    let theirs = waker.clone();
    let post = move |message: u64| {
        sender.send(message).expect("the loop is there");
        gate(&|| theirs.wake().expect("an eventfd is never full"));
    };
    let (mut running, mut waits) = (Running::start(load, post), 0);
    loop {
        poll.poll(&mut events, None)?;
        waits += 1;
        awake();
        while let Ok(message) = receiver.try_recv() {
            if running.got(message) {
                drop(waker);
                return Ok(running.end(waits));
            }
        }
    }
}

fn calloop(load: Load) -> Result<Outcome> {
    let mut event_loop = calloop::EventLoop::try_new()?;
    let (sender, channel) = calloop::channel::channel();
    let inserted =
        event_loop
            .handle()
            .insert_source(channel, |event, (), state: &mut (Running, bool)| {
                if let calloop::channel::Event::Msg(message) = event {
                    state.1 |= state.0.got(message);
                }
            });
    inserted.map_err(|error| error.to_string())?;
    let post = move |message| sender.send(message).expect("the loop is there");
    let (mut state, mut waits) = ((Running::start(load, post), false), 0);
    while !state.1 {
        event_loop.dispatch(None, &mut state)?;
        waits += 1;
    }
    Ok(state.0.end(waits))
}

fn tokio(load: Load) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let post = move |message| sender.send(message).expect("the loop is there");
    let mut running = Running::start(load, post);
    // A task of its own, as in a server: what `block_on` itself waits for is woken otherwise.
    let task = async move {
        while let Some(message) = receiver.recv().await {
            if running.got(message) {
                break;
            }
        }
        running
    };
    let running = runtime.block_on(async { tokio::spawn(task).await })?;
    Ok(running.end(runtime.metrics().worker_park_count(0)))
}
