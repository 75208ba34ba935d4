//! Sources: when they are asked, and what comes behind them.

use super::files::numbered;
use super::*;
use crate::buffer::source::{Output, Pull, Pulled, Source};
use crate::readiness::Readiness;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

pub(super) const KIB: usize = 1024;

/// What a source does when it is asked.
pub(super) enum Do {
    Give(&'static str),
    Fill(u8),
    Say(Pulled),
    Fail,
    Panic,
}

/// A source that does what it is told, in turn; then it says "later".
#[derive(Clone, Default)]
pub(super) struct Told {
    steps: Arc<Mutex<VecDeque<Do>>>,
    pulls: Arc<AtomicUsize>,
    drops: Arc<AtomicUsize>,
}

struct Teller(Told);

impl Told {
    pub(super) fn new(steps: impl IntoIterator<Item = Do>) -> Told {
        let told = Told::default();
        told.tell(steps);
        told
    }

    pub(super) fn tell(&self, steps: impl IntoIterator<Item = Do>) {
        self.steps.lock().unwrap().extend(steps);
    }

    pub(super) fn source(&self) -> Source {
        Source::new(Teller(self.clone()))
    }

    pub(super) fn pulls(&self) -> usize {
        self.pulls.load(Relaxed)
    }

    pub(super) fn drops(&self) -> usize {
        self.drops.load(Relaxed)
    }
}

impl Pull for Teller {
    fn pull(&mut self, out: &mut Output<'_>) -> io::Result<Pulled> {
        self.0.pulls.fetch_add(1, Relaxed);
        assert!(out.room() > 0);
        let step = self.0.steps.lock().unwrap().pop_front();
        match step {
            Some(Do::Give(text)) => out.put(text),
            Some(Do::Fill(byte)) => out.put(vec![byte; out.room()]),
            Some(Do::Say(pulled)) => return Ok(pulled),
            Some(Do::Fail) => return Err(io::Error::other("no more")),
            Some(Do::Panic) => panic!("a source panics, as it was told to"),
            None => return Ok(Pulled::Later),
        }
        Ok(Pulled::More)
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.drops.fetch_add(1, Relaxed);
    }
}

pub(super) const END: Do = Do::Say(Pulled::End);

// F4
#[test]
fn what_is_sent_behind_a_source_comes_behind_it_and_counts_at_once() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    let told = Told::new([Do::Give("one "), Do::Give("two "), Do::Say(Pulled::Later)]);
    bench.cx().send(conn, "before ");
    assert_eq!(bench.cx().send_from(conn, told.source()), Sent::Wait);
    assert_eq!(bench.cx().send(conn, "behind "), Sent::Wait);
    let second = Told::new([Do::Give("second "), END]);
    bench.cx().send_from(conn, second.source());
    assert_eq!(bench.cx().broadcast([conn], "last").waiting, 1);
    assert_eq!(bench.cx().pending(conn), "before behind last".len());
    bench.settle();
    assert_eq!(bench.written(socket), b"before one two ");
    assert_eq!(bench.cx().pending(conn), "behind last".len());
    assert_eq!(
        (told.drops(), second.pulls(), bench.cx().is_waiting(conn)),
        (0, 0, true)
    );
    told.tell([Do::Give("three "), END]);
    assert!(bench.cx().wake_source(conn) && !bench.cx().wake_source(conn));
    bench.settle();
    assert_eq!(
        bench.written(socket),
        b"before one two three behind second last"
    );
    assert_eq!((told.drops(), second.drops()), (1, 1));
    assert_eq!(bench.seen(), ["open", "drain"]);
    assert!(!bench.cx().wake_source(conn) && !bench.cx().is_waiting(conn));
    bench.cx().send(conn, "!");
    bench.settle();
    assert_eq!(bench.written(socket).last(), Some(&b'!'));
}

// F4: what is lent, and what lies in the block of broadcasts, is in front of it.
#[test]
fn a_source_comes_behind_what_was_lent_and_behind_what_was_broadcast() {
    for broadcasts in [false, true] {
        let mut bench = Bench::new();
        bench.app.echo = !broadcasts;
        let (socket, _) = bench.accept();
        bench.app.on_data.push_back(Box::new(move |cx, conn| {
            if broadcasts {
                cx.broadcast([conn], "hello");
            }
            cx.send_from(conn, Source::each(["a", "b"]));
            cx.broadcast([conn], "c");
        }));
        bench.script.arrives(socket, b"hello");
        bench.settle();
        assert_eq!(bench.written(socket), b"helloabc");
        bench.script.arrives(socket, b"!");
        bench.settle();
        assert_eq!(bench.seen(), ["open", "data 5", "drain", "data 1"]);
    }
}

// F4
#[test]
fn a_source_is_asked_only_while_little_is_pending() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    let told = Told::new((0..3).map(|_| Do::Fill(b'x')).chain([END]));
    bench.write_steps(socket, [WriteStep::Take(40 * KIB)]);
    bench.fill(socket, true);
    bench.cx().send_from(conn, told.source());
    bench.settle();
    assert_eq!((told.pulls(), bench.cx().pending(conn)), (1, 24 * KIB));
    // Above the low mark it is not asked, however often there is room; at the mark it is.
    bench.write_steps(socket, [WriteStep::Take(8 * KIB - 1)]);
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    assert_eq!((told.pulls(), bench.cx().pending(conn)), (1, 16 * KIB + 1));
    bench.write_steps(socket, [WriteStep::Take(1)]);
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    assert_eq!((told.pulls(), bench.cx().pending(conn)), (2, 64 * KIB));
    bench.fill(socket, false);
    bench.script.edge(socket, Readiness::WRITABLE);
    bench.settle();
    let given = (64 + 48 + 64) * KIB;
    assert_eq!(bench.written(socket).len(), given);
    assert_eq!((told.drops(), bench.cx().pending(conn)), (1, 0));
    assert_eq!(bench.seen(), ["open", "drain"]);
}

// F4: none of these spins, which `settle` would find.
#[test]
fn an_answer_without_bytes_means_later() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    let told = Told::new([
        Do::Give(""),
        Do::Give("a"),
        Do::Say(Pulled::More),
        Do::Give("b"),
        END,
    ]);
    bench.cx().send_from(conn, told.source());
    for (asked, written) in [(1, ""), (3, "a"), (5, "ab")] {
        bench.settle();
        assert_eq!(
            (told.pulls(), &*bench.written(socket)),
            (asked, written.as_bytes())
        );
        // Room on the wire is no reason to ask.
        bench.script.edge(socket, Readiness::WRITABLE);
        bench.settle();
        assert_eq!(told.pulls(), asked);
        assert_eq!(bench.cx().wake_source(conn), asked < 5);
    }
    let mut items = ["x", "", "y"].into_iter().chain(std::iter::repeat(""));
    bench
        .cx()
        .send_from(conn, Source::each(std::iter::from_fn(move || items.next())));
    for written in ["abx", "abxy", "abxy"] {
        bench.settle();
        assert_eq!(&*bench.written(socket), written.as_bytes());
        assert!(bench.cx().wake_source(conn));
    }
}

// F4: a wake that comes before the source is asked, or from inside of a callback.
#[test]
fn a_source_is_woken_in_a_callback_and_needs_no_waking_before_it_is_asked() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    let told = Told::new([Do::Give("a")]);
    bench.cx().send_from(conn, told.source());
    assert!(!bench.cx().wake_source(conn));
    bench.settle();
    told.tell([Do::Give("b"), END]);
    bench.app.echo = true;
    bench.app.on_data.push_back(Box::new(move |cx, conn| {
        assert!(cx.wake_source(conn));
    }));
    bench.script.arrives(socket, b"!");
    bench.settle();
    assert_eq!(bench.written(socket), b"ab!");
    assert_eq!(bench.seen(), ["open", "data 1", "drain"]);
}

// F4: a source that has nothing is not the peer's fault, but its connection is idle.
#[test]
fn a_source_that_has_nothing_stalls_no_write_and_is_idle() {
    let mut config = Config::default();
    config.limits.idle = Some(Duration::from_secs(100));
    let mut bench = Bench::with_config(config);
    bench.app.keep_late = true;
    let (socket, conn) = bench.accept();
    let told = Told::new([Do::Give("a"), Do::Say(Pulled::Later)]);
    bench.cx().send_from(conn, told.source());
    bench.settle();
    bench.pass(Duration::from_secs(99));
    assert_eq!(bench.seen(), ["open"]);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.seen(), ["deadline idle"]);
    // What it has given is the peer's to take.
    told.tell([Do::Give("b"), Do::Say(Pulled::Later)]);
    bench.fill(socket, true);
    bench.cx().wake_source(conn);
    bench.settle();
    bench.pass(Duration::from_secs(61));
    assert_eq!(
        bench.seen(),
        ["close timed out (write stall), 1 bytes undelivered"]
    );
}

// F4
#[test]
fn a_pause_until_drained_lasts_until_the_source_is_at_its_end() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    let told = Told::new([Do::Give("a"), Do::Say(Pulled::Later), END]);
    let source = told.clone();
    bench.app.on_data.push_back(Box::new(move |cx, conn| {
        cx.send_from(conn, source.source());
        assert!(cx.pause_until_drained(conn));
    }));
    bench.script.arrives(socket, b"first");
    bench.settle();
    bench.script.arrives(socket, b"second");
    bench.settle();
    assert_eq!(bench.seen(), ["open", "data 5"]);
    bench.cx().wake_source(conn);
    bench.settle();
    assert_eq!(bench.seen(), ["drain", "data 6"]);
    // A pause of the reads alone holds back no source.
    bench.cx().pause_reads(conn);
    bench.cx().send_from(conn, Source::each(["b"]));
    bench.settle();
    assert_eq!(bench.written(socket), b"ab");
}

// F4: a source that never ends gives no more in a turn than it may, and all have their turn.
#[test]
fn sources_without_end_share_what_a_turn_may_give() {
    let config = Config::default().source_bytes_per_turn(100 * KIB);
    let mut bench = Bench::with_config(config);
    let all: Vec<_> = (0..5).map(|_| bench.accept()).collect();
    for (_, conn) in &all {
        let endless = Source::each(std::iter::repeat("0123456789"));
        bench.cx().send_from(*conn, endless);
    }
    for turn in 1..=20 {
        assert!(bench.turn());
        let each: Vec<_> = all
            .iter()
            .map(|(socket, _)| bench.written(*socket).len())
            .collect();
        let sum: usize = each.iter().sum();
        assert!(sum <= turn * (100 * KIB + 10), "{each:?}");
        let (least, most) = (each.iter().min().unwrap(), each.iter().max().unwrap());
        assert!(most - least <= 2 * 64 * KIB + 20, "{each:?}");
    }
    assert!(bench.cx().stats().budget_hits.sources > 0);
    // One that is over meanwhile leaves all lists.
    for (_, conn) in &all {
        assert!(bench.cx().abort(*conn));
        bench.turn();
    }
    bench.settle();
}

// J5: the hard limit counts what queues behind a source at once, and the sources themselves.
#[test]
fn what_queues_up_behind_a_source_is_bounded() {
    for of_sources in [false, true] {
        let mut bench = Bench::new();
        let (_, conn) = bench.accept();
        bench.cx().send_from(conn, Told::default().source());
        let mut sent = 0;
        while sent < 1_000 {
            let answer = match of_sources {
                true => bench.cx().send_from(conn, Told::default().source()),
                false => bench.cx().send(conn, vec![0; 10_000]),
            };
            if answer == Sent::Gone {
                break;
            }
            assert_eq!(answer, Sent::Wait);
            sent += 1;
        }
        assert!((90..260).contains(&sent), "{sent}");
        bench.settle();
        assert!(bench.seen()[1].starts_with("close pending output exceeds `hard_limit`"));
    }
}

// F4
#[test]
fn a_reader_is_read_to_its_end() {
    let mut bench = Bench::new();
    let (socket, conn) = bench.accept();
    let bytes = numbered(300_000);
    bench
        .cx()
        .send_from(conn, Source::read(io::Cursor::new(bytes.clone())));
    bench.settle();
    assert!(bench.written(socket) == bytes);
    assert_eq!(bench.seen(), ["open", "drain"]);
}

// F4
#[test]
fn what_a_source_gives_goes_out_in_its_turn_and_one_that_sleeps_waits_for_none() {
    let mut bench = Bench::with_config(Config::default().source_bytes_per_turn(10));
    let (socket, conn) = bench.accept();
    let told = Told::new([Do::Give("0123456789"), Do::Say(Pulled::Later)]);
    bench.cx().send_from(conn, told.source());
    bench.turn();
    assert_eq!(bench.written(socket), b"0123456789");
    // It may have had more; asked again, it had not.
    bench.settle();
    assert_eq!(
        (told.pulls(), bench.cx().stats().budget_hits.sources),
        (2, 1)
    );
}
