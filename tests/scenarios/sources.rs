//! Sources: F4, F5.

use crate::kit::edge::{Edge, On};
use crate::kit::places::file;
use crate::kit::{default, pattern};
use crate::on_every_edge;
use crate::writing::small;
use sockeye::{ConnId, Context, EventKind, Output, Pull, Pulled, Reason, Sent, Source};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

on_every_edge! {
    iterators_readers_and_files_arrive_whole_and_in_the_order_of_the_calls,
    a_large_source_costs_a_slow_reader_no_more_than_the_high_mark,
    a_source_that_has_nothing_is_woken_from_another_thread,
    a_source_that_fails_resets_its_connection_and_no_other,
    a_file_that_has_become_shorter_resets_the_connection,
    what_was_asked_for_behind_a_source_waits_for_its_end,
    a_source_goes_with_its_connection,
    a_source_without_end_starves_nobody,
    requests_behind_an_answer_wait_until_it_is_out,
}

/// What another thread, or the test, sends into it. It can be seen whether it was dropped.
struct Fed(
    Receiver<&'static str>,
    #[allow(dead_code, reason = "it is counted")] Arc<()>,
);

impl Pull for Fed {
    fn pull(&mut self, out: &mut Output<'_>) -> io::Result<Pulled> {
        match self.0.try_recv() {
            Ok("fail") => Err(io::Error::other("as it was told")),
            Ok(text) => {
                out.put(text);
                Ok(Pulled::More)
            }
            Err(TryRecvError::Empty) => Ok(Pulled::Later),
            Err(TryRecvError::Disconnected) => Ok(Pulled::End),
        }
    }
}

/// Answers what comes with what the closure sends.
fn answering(
    on: On,
    mut answer: impl FnMut(&mut Context, ConnId) + 'static,
) -> (Edge, sockeye::Addr) {
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Data { conn, input } => {
            input.take_all();
            answer(cx, conn);
        }
        other => default(cx, other),
    });
    let addr = edge.listen_with(small);
    (edge, addr)
}

// F4, F5
fn iterators_readers_and_files_arrive_whole_and_in_the_order_of_the_calls(on: On) {
    let bytes = pattern(300_000);
    let (shared, given) = (Arc::new(file(&bytes)), bytes.clone());
    let (mut edge, addr) = answering(on, move |cx, conn| {
        let pieces: Vec<Vec<u8>> = given.chunks(7_001).map(<[u8]>::to_vec).collect();
        cx.send(conn, "first ");
        assert_eq!(cx.send_from(conn, Source::each(pieces)), Sent::Wait);
        cx.send(conn, " second ");
        cx.send_from(conn, Source::file(shared.clone(), 10..299_990));
        cx.send_from(conn, Source::read(io::Cursor::new(given.clone())));
        cx.send(conn, " last");
        cx.close(conn);
    });
    let peer = edge.peer(&addr);
    peer.send("go");
    edge.until_all_closed();
    edge.until("it has ended", |_| peer.is_closed());
    let part = &bytes[10..299_990];
    let whole = [&b"first "[..], &bytes, b" second ", part, &bytes, b" last"].concat();
    assert!(peer.received() == whole);
    edge.end();
}

// F4, F5
fn a_large_source_costs_a_slow_reader_no_more_than_the_high_mark(on: On) {
    let len = 3_000_000;
    let shared = Arc::new(file(&pattern(len)));
    for of_file in [true, false] {
        let shared = shared.clone();
        let (mut edge, addr) = answering(on, move |cx, conn| {
            let bytes = pattern(len);
            let source = match of_file {
                true => Source::file(shared.clone(), 0..len as u64),
                false => Source::read(io::Cursor::new(bytes)),
            };
            cx.send_from(conn, source);
        });
        let peer = edge.peer(&addr);
        peer.send("go");
        let mut heard = 0;
        edge.until("all is there", |edge| {
            let conn = edge.log().ids.first().copied();
            let pending = conn.map_or(0, |conn| edge.cx().pending(conn));
            assert!(pending <= 64 * 1024, "{pending}");
            // It reads in fits and starts.
            match heard % 3 {
                0 => peer.hear(),
                1 => peer.ignore(),
                _ => {}
            }
            heard += 1;
            peer.count() == len
        });
        assert!(peer.received() == pattern(len));
        let id = edge.id(0);
        edge.until("it has drained", |edge| {
            edge.log().life(id).count("drain") == 1
        });
        assert!(!edge.cx().is_waiting(id));
        edge.end();
    }
}

// F4
fn a_source_that_has_nothing_is_woken_from_another_thread(on: On) {
    let (feed, fed) = channel();
    let alive = Arc::new(());
    let mut source = Some(Source::new(Fed(fed, alive.clone())));
    let (mut edge, addr) = answering(on, move |cx, conn| {
        cx.send_from(conn, source.take().unwrap());
        cx.send(conn, "!");
    });
    let peer = edge.peer(&addr);
    peer.send("go");
    edge.until("it has been asked", |edge| edge.log().count("data") == 1);
    let id = edge.id(0);
    edge.app().on_message = Some(Box::new(move |cx, _| assert!(cx.wake_source(id))));
    for text in ["some", "more"] {
        let before = peer.count();
        assert!(edge.turns_at_rest() <= 20);
        feed.send(text).unwrap();
        edge.post(0);
        edge.until("it has come", |_| peer.count() == before + text.len());
    }
    assert_eq!(
        (edge.log().count("drain"), Arc::strong_count(&alive)),
        (0, 2)
    );
    drop(feed);
    edge.post(0);
    edge.until("it is at its end", |edge| edge.log().count("drain") == 1);
    edge.until("all has come", |_| peer.count() == 9);
    assert_eq!(peer.received(), b"somemore!");
    assert_eq!(Arc::strong_count(&alive), 1);
    edge.end();
}

// F4
fn a_source_that_fails_resets_its_connection_and_no_other(on: On) {
    let (feed, fed) = channel();
    feed.send("half of it").unwrap();
    let mut source = Some(Source::new(Fed(fed, Arc::default())));
    let (mut edge, addr) = answering(on, move |cx, conn| match source.take() {
        Some(source) => assert_eq!(cx.send_from(conn, source), Sent::Wait),
        None => assert_eq!(cx.send_from(conn, Source::each(["whole"])), Sent::Wait),
    });
    let (broken, whole) = (edge.peer(&addr), edge.peer(&addr));
    edge.until_open(2);
    broken.send("go");
    edge.until("the first half is there", |_| broken.count() > 9);
    whole.send("go");
    edge.until("the other is there", |_| whole.count() == 5);
    feed.send("fail").unwrap();
    let ids = edge.log().ids.clone();
    assert!(ids.iter().filter(|id| edge.cx().wake_source(**id)).count() == 1);
    // Of a Unix socket an abort is an end.
    edge.until("it is reset", |_| {
        broken.was_reset() || on.is_unix() && broken.is_closed()
    });
    edge.until("it is closed", |edge| edge.log().closed() == 1);
    let is_source = |id: &&ConnId| edge.log().is_closed(**id);
    let id = *ids.iter().find(is_source).unwrap();
    let reason = edge.log().life(id).reason();
    assert!(matches!(reason, Reason::Source(error) if error.to_string() == "as it was told"));
    edge.end();
}

// F5
fn a_file_that_has_become_shorter_resets_the_connection(on: On) {
    let cut = Arc::new(file(&pattern(400_000)));
    let shared = cut.clone();
    let (mut edge, addr) = answering(on, move |cx, conn| {
        cx.send_from(conn, Source::file(shared.clone(), 0..400_000));
        // Not even then it passes for the whole.
        cx.close(conn);
    });
    let peer = edge.peer(&addr);
    peer.ignore();
    edge.until_open(1);
    peer.send("go");
    edge.until("it has been asked", |edge| edge.log().count("data") == 1);
    cut.set_len(1_000).unwrap();
    peer.hear();
    edge.until_all_closed();
    let id = edge.id(0);
    let reason = edge.log().life(id).reason();
    assert!(matches!(reason, Reason::Source(_)), "{reason}");
    edge.until("it is reset", |_| {
        peer.was_reset() || on.is_unix() && peer.is_closed()
    });
    edge.end();
}

// F4
fn what_was_asked_for_behind_a_source_waits_for_its_end(on: On) {
    for ends in ["close", "shut", "finish"] {
        let (feed, fed) = channel();
        feed.send("a").unwrap();
        let mut source = Some(Source::new(Fed(fed, Arc::default())));
        let (mut edge, addr) = answering(on, move |cx, conn| {
            cx.send_from(conn, source.take().unwrap());
            cx.send(conn, "c");
            match ends {
                "close" => assert!(cx.close(conn)),
                "shut" => assert!(cx.shutdown_write(conn)),
                _ => cx.finish(Duration::from_secs(60)),
            }
        });
        let peer = edge.peer(&addr);
        edge.until_open(1);
        peer.send("go");
        edge.until("the first is there", |_| peer.count() == 1);
        assert!(edge.turns_at_rest() <= 20 && !peer.is_closed());
        let id = edge.id(0);
        feed.send("b").unwrap();
        drop(feed);
        assert!(edge.cx().wake_source(id));
        edge.until("it has ended", |_| peer.is_closed());
        assert_eq!(peer.received(), b"abc", "{ends}");
        peer.close();
        edge.until_all_closed();
        assert!(edge.log().life(id).closed.as_ref().unwrap().is_clean());
        edge.end();
    }
}

// F4
fn a_source_goes_with_its_connection(on: On) {
    for peer_ends in [false, true] {
        if peer_ends && on.is_unix() {
            continue; // its reset is an end
        }
        let alive = Arc::new(());
        let (_feed, fed) = channel();
        let mut source = Some(Source::new(Fed(fed, alive.clone())));
        let (mut edge, addr) = answering(on, move |cx, conn| {
            cx.send_from(conn, source.take().unwrap());
        });
        let peer = edge.peer(&addr);
        peer.send("go");
        edge.until("it is asked", |edge| edge.log().count("data") == 1);
        let id = edge.id(0);
        assert_eq!(Arc::strong_count(&alive), 2);
        match peer_ends {
            true => peer.reset(),
            false => assert!(edge.cx().abort(id)),
        }
        edge.until_all_closed();
        assert_eq!(
            (Arc::strong_count(&alive), edge.log().count("drain")),
            (1, 0)
        );
        edge.end();
    }
}

// F4
fn a_source_without_end_starves_nobody(on: On) {
    let rounds = Rc::new(Cell::new(0));
    let count = rounds.clone();
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Data { conn, input } if &**input == b"!" => {
            input.take_all();
            // The simulated network rests only when all is told.
            let items = if on.is_real() { usize::MAX } else { 100_000 };
            let endless = std::iter::repeat_n("without an end ", items);
            cx.send_from(conn, Source::each(endless));
        }
        EventKind::Data { conn, input } => {
            assert_eq!(cx.send(conn, input.take_all()), Sent::Queued);
        }
        EventKind::Timer { .. } => {
            count.set(count.get() + 1);
            if count.get() < 5 {
                cx.set_timer(Duration::from_millis(1), 0);
            }
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let greedy: Vec<_> = (0..5).map(|_| edge.peer(&addr)).collect();
    let modest = edge.peer(&addr);
    edge.until_open(6);
    edge.cx().set_timer(Duration::from_millis(1), 0);
    greedy.iter().for_each(|peer| peer.send("!"));
    for round in 1..=20 {
        modest.send("x");
        edge.until("the answer is there", |_| modest.count() == round);
    }
    edge.until("the timer went on", |_| rounds.get() == 5);
    edge.until("all have had some", |_| {
        greedy.iter().all(|peer| peer.count() > 15)
    });
    let ids = edge.log().ids.clone();
    ids.iter().for_each(|id| assert!(edge.cx().abort(*id)));
    edge.until_all_closed();
    edge.end();
}

// F4
fn requests_behind_an_answer_wait_until_it_is_out(on: On) {
    let under_way = Arc::new(Mutex::new(0));
    let count = under_way.clone();
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Data { conn, input } => {
            while !input.is_empty() {
                input.take(1);
                let mut under_way = count.lock().unwrap();
                assert_eq!(*under_way, 0, "an answer is under way");
                *under_way += 1;
                drop(under_way);
                let bytes = pattern(100_000);
                cx.send_from(conn, Source::read(io::Cursor::new(bytes)));
                assert!(cx.pause_until_drained(conn));
            }
        }
        EventKind::Drain { .. } => *count.lock().unwrap() -= 1,
        other => default(cx, other),
    });
    let addr = edge.listen_with(small);
    let peer = edge.peer(&addr);
    peer.send("12345");
    edge.until("all is there", |_| peer.count() == 500_000);
    assert!(peer.received() == pattern(100_000).repeat(5));
    edge.until("all have drained", |edge| edge.log().count("drain") == 5);
    edge.end();
}
