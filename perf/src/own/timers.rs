//! A million timers: armed, re-armed at random, cancelled at random, fired.

use super::child::numbers;
use super::measure::{Random, figure, resident, thread_cpu};
use crate::Result;
use crate::report::Table;
use crate::run::Run;
use crate::stats::median;
use calloop::RegistrationToken;
use calloop::timer::{TimeoutAction, Timer};
use sockeye::{ConnId, Context, Handler, Input, Reactor, TimerId};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};
use tokio_util::time::{DelayQueue, delay_queue};

/// Each armed timer is due in the next quarter of an hour or so, but for those that are to fire.
const FAR: u64 = 1000;
/// All that are to fire are due within a microsecond for each, and a little.
fn window(count: usize) -> Duration {
    Duration::from_millis(20) + Duration::from_micros(count as u64)
}

/// Its searches are linear in the number of its sources: a million would take hours.
const CALLOOP: usize = 10_000;

const SYSTEMS: [&str; 4] = ["sockeye", "DelayQueue", "Sleep", "calloop"];

const NAMES: [&str; 4] = [
    "sockeye `set_timer`",
    "tokio-util `DelayQueue`",
    "tokio `Sleep`, pinned; a task each to fire",
    "calloop `Timer`",
];

pub(crate) fn run(run: &mut Run) -> Result<()> {
    let (few, large, rounds) = run.scale.pick(
        (500, 1_000, 1),
        (CALLOOP, 1_000_000, 1),
        (CALLOOP, 1_000_000, 5),
    );
    let cases: Vec<(usize, usize)> = (0..4)
        .map(|system| (system, few))
        .chain((0..3).map(|system| (system, large)))
        .collect();
    let mut samples = vec![Vec::new(); cases.len()];
    for round in 1..=rounds {
        for (sample, (system, count)) in samples.iter_mut().zip(&cases) {
            let what = format!("{count} timers of {}, round {round}", SYSTEMS[*system]);
            run.progress.message(what);
            sample.push(numbers(&format!("timers {} {count}", SYSTEMS[*system]))?);
        }
    }
    let mut table = Table::new([
        "timers",
        "count",
        "arm ns",
        "re-arm ns",
        "cancel ns",
        "fire ns",
        "bytes each",
        "bytes after re-arming",
    ]);
    for ((system, count), samples) in cases.iter().zip(&samples) {
        let middle = |column: usize| {
            let column: Vec<f64> = samples.iter().map(|sample| sample[column]).collect();
            figure(median(&column))
        };
        let mut row = vec![NAMES[*system].to_owned(), count.to_string()];
        row.extend([0, 1, 2, 5, 3, 4].map(middle));
        table.row(row);
    }
    let text = format!(
        "CPU time for each: arm one after the other, due within a quarter of an hour; then \
         re-arm one at random, as often; then cancel all in random order; then as many that \
         fire, a million in a second. Resident bytes per timer, with the id that cancels it, \
         when all are armed, and after the re-arming. Median of {rounds} rounds in turn, each \
         run a process of its own. calloop looks for a free slot, and for a timer to cancel, \
         from one end of a list to the other: hence no row of a million. tokio's timers have a \
         millisecond's resolution."
    );
    run.report.section("Timers").text(text).table(table);
    Ok(())
}

/// What the phases need of each system.
trait Timers {
    fn arm(&mut self, delay: Duration);
    fn rearm(&mut self, index: usize, delay: Duration);
    fn cancel(&mut self, index: usize);
}

pub(crate) fn child(words: &[String]) -> Result<()> {
    let [system, count] = words else {
        return Err("timers SYSTEM COUNT".into());
    };
    let count = count.parse()?;
    match system.as_str() {
        "sockeye" => sockeye_timers(count),
        "calloop" => calloop_timers(count),
        other => {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time().build()?.block_on(async {
                match other {
                    "DelayQueue" => delay_queue(count).await,
                    _ => sleeps(count).await,
                }
            });
            Ok(())
        }
    }
}

/// All phases but the last.
fn exercise(timers: &mut impl Timers, count: usize) {
    let mut random = Random(count as u64);
    let mut far = move || Duration::from_micros(1 + random.next() % (FAR * 1_000_000));
    let before = resident();
    let nanos = |started: Duration| (thread_cpu() - started).as_nanos() as f64 / count as f64;

    let started = thread_cpu();
    (0..count).for_each(|_| timers.arm(far()));
    let (arm, armed) = (nanos(started), resident());

    let mut pick = Random(7);
    let started = thread_cpu();
    (0..count).for_each(|_| timers.rearm(pick.below(count), far()));
    let (rearm, rearmed) = (nanos(started), resident());

    let mut order: Vec<usize> = (0..count).collect();
    (1..count).for_each(|i| order.swap(i, pick.below(i + 1)));
    let started = thread_cpu();
    order.iter().for_each(|index| timers.cancel(*index));
    let cancel = nanos(started);
    let bytes = |now: u64| now.saturating_sub(before) as f64 / count as f64;
    println!(
        "{arm}\n{rearm}\n{cancel}\n{}\n{}",
        bytes(armed),
        bytes(rearmed)
    );
}

/// Delays of timers that are to fire.
fn near(count: usize) -> impl Iterator<Item = Duration> {
    let mut random = Random(11);
    (0..count).map(move |_| Duration::from_nanos(random.next() % window(count).as_nanos() as u64))
}

/// Waits until all are due.
fn let_all_be_due(count: usize) {
    let due = Instant::now() + window(count);
    while let Some(left) = due.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

fn print_fired(started: Duration, count: usize) {
    println!(
        "{}",
        (thread_cpu() - started).as_nanos() as f64 / count as f64
    );
}

#[derive(Default)]
struct Fired(usize);

impl Handler for Fired {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_timer(&mut self, _: &mut Context, _: TimerId, _: u64) {
        self.0 += 1;
    }
}

struct Ours<'a> {
    cx: &'a mut Context,
    ids: Vec<TimerId>,
}

impl Timers for Ours<'_> {
    fn arm(&mut self, delay: Duration) {
        self.ids.push(self.cx.set_timer(delay, 0));
    }

    fn rearm(&mut self, index: usize, delay: Duration) {
        self.cx.reset_timer(self.ids[index], delay);
    }

    fn cancel(&mut self, index: usize) {
        self.cx.cancel_timer(self.ids[index]);
    }
}

fn sockeye_timers(count: usize) -> Result<()> {
    let mut reactor = Reactor::new()?;
    let (cx, ids) = (reactor.context(), Vec::with_capacity(count));
    exercise(&mut Ours { cx, ids }, count);
    for delay in near(count) {
        reactor.context().set_timer(delay, 0);
    }
    let_all_be_due(count);
    let (mut app, started) = (Fired::default(), thread_cpu());
    while app.0 < count {
        reactor.turn(&mut app, None)?;
    }
    print_fired(started, count);
    Ok(())
}

struct Calloop<'a> {
    handle: calloop::LoopHandle<'a, usize>,
    ids: Vec<RegistrationToken>,
}

impl Calloop<'_> {
    fn insert(&self, delay: Duration) -> RegistrationToken {
        let timer = Timer::from_duration(delay);
        let inserted = self.handle.insert_source(timer, |_, (), fired| {
            *fired += 1;
            TimeoutAction::Drop
        });
        inserted.expect("a timer needs no descriptor")
    }
}

impl Timers for Calloop<'_> {
    fn arm(&mut self, delay: Duration) {
        self.ids.push(self.insert(delay));
    }

    fn rearm(&mut self, index: usize, delay: Duration) {
        self.handle.remove(self.ids[index]);
        self.ids[index] = self.insert(delay);
    }

    fn cancel(&mut self, index: usize) {
        self.handle.remove(self.ids[index]);
    }
}

fn calloop_timers(count: usize) -> Result<()> {
    let mut event_loop = calloop::EventLoop::<usize>::try_new()?;
    let (handle, ids) = (event_loop.handle(), Vec::with_capacity(count));
    let mut timers = Calloop { handle, ids };
    exercise(&mut timers, count);
    near(count).for_each(|delay| {
        timers.insert(delay);
    });
    let_all_be_due(count);
    let (mut fired, started) = (0, thread_cpu());
    while fired < count {
        event_loop.dispatch(None, &mut fired)?;
    }
    print_fired(started, count);
    Ok(())
}

struct Queue {
    queue: DelayQueue<usize>,
    keys: Vec<delay_queue::Key>,
}

impl Timers for Queue {
    fn arm(&mut self, delay: Duration) {
        self.keys.push(self.queue.insert(self.keys.len(), delay));
    }

    fn rearm(&mut self, index: usize, delay: Duration) {
        self.queue.reset(&self.keys[index], delay);
    }

    fn cancel(&mut self, index: usize) {
        self.queue.remove(&self.keys[index]);
    }
}

async fn delay_queue(count: usize) {
    let (queue, keys) = (DelayQueue::new(), Vec::with_capacity(count));
    let mut timers = Queue { queue, keys };
    exercise(&mut timers, count);
    let mut queue = timers.queue;
    near(count).for_each(|delay| {
        queue.insert(0, delay);
    });
    let_all_be_due(count);
    let started = thread_cpu();
    while poll_fn(|cx| queue.poll_expired(cx)).await.is_some() {}
    print_fired(started, count);
}

struct Sleeps(Vec<Option<Pin<Box<tokio::time::Sleep>>>>);

/// A sleep is in the wheel only once it was polled.
fn enter(sleep: &mut Pin<Box<tokio::time::Sleep>>) {
    let mut cx = std::task::Context::from_waker(Waker::noop());
    assert!(sleep.as_mut().poll(&mut cx).is_pending());
}

impl Timers for Sleeps {
    fn arm(&mut self, delay: Duration) {
        let mut sleep = Box::pin(tokio::time::sleep(delay));
        enter(&mut sleep);
        self.0.push(Some(sleep));
    }

    fn rearm(&mut self, index: usize, delay: Duration) {
        if let Some(sleep) = &mut self.0[index] {
            sleep.as_mut().reset(tokio::time::Instant::now() + delay);
            enter(sleep);
        }
    }

    fn cancel(&mut self, index: usize) {
        self.0[index] = None;
    }
}

async fn sleeps(count: usize) {
    // Without it every 128th poll of a task without an await is told to come again.
    let mut timers = Sleeps(Vec::with_capacity(count));
    tokio::task::coop::unconstrained(poll_fn(|_| {
        exercise(&mut timers, count);
        std::task::Poll::Ready(())
    }))
    .await;
    let (armed, fired) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for delay in near(count) {
        let (armed, fired) = (armed.clone(), fired.clone());
        tokio::spawn(async move {
            armed.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(delay).await;
            fired.fetch_add(1, Ordering::Relaxed);
        });
    }
    let all = |counter: &AtomicU64| counter.load(Ordering::Relaxed) == count as u64;
    while !all(&armed) {
        tokio::task::yield_now().await;
    }
    let_all_be_due(count);
    let started = thread_cpu();
    while !all(&fired) {
        tokio::task::yield_now().await;
    }
    print_fired(started, count);
}
