//! A loop over messages ends by itself when its connection is closed or paused: F1.

use crate::kit::default;
use crate::kit::edge::{Edge, On};
use crate::on_every_edge;
use sockeye::bytes::Buf;
use sockeye::codec::{Decoder, Delimited, Fixed, Lines, TextLines};
use sockeye::{Config, ConnId, Context, EventKind, Input};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

on_every_edge! {
    after_a_close_nothing_that_was_pipelined_is_carried_out,
    after_an_abort_nothing_that_was_pipelined_is_carried_out,
    after_a_pause_the_rest_comes_when_reads_are_resumed,
    a_resume_in_the_same_callback_brings_the_rest_back,
    what_is_left_at_the_end_is_not_carried_out_after_a_close,
    a_message_that_was_found_before_a_pause_can_still_be_taken,
    another_connection_that_is_closed_or_paused_hides_nothing,
}

/// A loop as handlers write it: it gives each message to a function.
type Loop = Box<dyn FnMut(&mut Input, &mut dyn FnMut(&[u8]))>;

fn by<D: Decoder + 'static>(mut decoder: D, bytes: fn(D::Frame<'_, '_>) -> Vec<u8>) -> Loop {
    Box::new(move |input, each| {
        while let Some(frame) = decoder.decode(input).unwrap() {
            each(&bytes(frame));
        }
    })
}

/// All ways to look for messages. A message is a digit and a newline.
fn loops() -> Vec<(&'static str, Loop)> {
    let mut loops = by_hand();
    loops.extend(by_decoders());
    loops
}

/// Loops that look at the bytes.
fn by_hand() -> Vec<(&'static str, Loop)> {
    vec![
        (
            "find",
            Box::new(|input, each| {
                while let Some(end) = input.find(b'\n') {
                    each(&input.take(end + 1)[..end]);
                }
            }),
        ),
        (
            "position",
            Box::new(|input, each| {
                while let Some(end) = input.iter().position(|byte| *byte == b'\n') {
                    each(&input.take(end + 1)[..end]);
                }
            }),
        ),
        (
            "a slice, and advance behind the callback",
            Box::new(|input, each| {
                while let [digit, b'\n', ..] = input[..] {
                    each(&[digit]);
                    input.advance(2);
                }
            }),
        ),
        (
            "len",
            Box::new(|input, each| {
                while input.len() >= 2 {
                    each(&input.take(2)[..1]);
                }
            }),
        ),
        (
            "is_empty",
            Box::new(|input, each| {
                while !input.is_empty() && input.len() % 2 == 0 {
                    each(&input.take(2)[..1]);
                }
            }),
        ),
        (
            "the getters of Buf",
            Box::new(|input, each| {
                while input.remaining() >= 2 {
                    each(&input.get_u16().to_be_bytes()[..1]);
                }
            }),
        ),
        (
            "try_get_u16",
            Box::new(|input, each| {
                while let Ok(message) = input.try_get_u16() {
                    each(&message.to_be_bytes()[..1]);
                }
            }),
        ),
    ]
}

fn by_decoders() -> Vec<(&'static str, Loop)> {
    let mut text = TextLines::new(9);
    #[allow(unused_mut, reason = "one more with a feature")]
    let mut loops: Vec<(&'static str, Loop)> = vec![
        (
            "decode_each",
            Box::new(move |input, each| {
                let all = |line: &str| {
                    each(line.as_bytes());
                    true
                };
                text.decode_each(input, all).unwrap();
            }),
        ),
        ("Lines", by(Lines::new(9), |line| line.to_vec())),
        ("TextLines", by(TextLines::new(9), |line| line.into())),
        (
            "Delimited",
            by(Delimited::new("\n", 9), |line| line.to_vec()),
        ),
        ("Fixed", by(Fixed::new(2), |line| line[..1].to_vec())),
    ];
    #[cfg(feature = "tokio-util")]
    loops.push((
        "TokioCodec",
        by(
            sockeye::codec::TokioCodec::new(tokio_util::codec::LinesCodec::new(), 9),
            |line: String| line.into_bytes(),
        ),
    ));
    loops
}

fn lines() -> Vec<u8> {
    (b'0'..=b'9').flat_map(|digit| [digit, b'\n']).collect()
}

struct Scene {
    edge: Edge,
    seen: Rc<RefCell<Vec<u8>>>,
    name: &'static str,
}

impl Scene {
    /// A handler that looks for messages by `each`, when it is told to, and acts at the third.
    fn new(
        on: On,
        (name, mut each): (&'static str, Loop),
        mut act: impl FnMut(&mut Context, ConnId) + 'static,
        at_the_end: bool,
    ) -> Scene {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let see = seen.clone();
        let edge = on.edge_with(Config::default(), move |cx, event| {
            let is_end = matches!(event, EventKind::Eof { .. });
            match event {
                EventKind::Data { conn, input } | EventKind::Eof { conn, input }
                    if is_end == at_the_end =>
                {
                    each(input, &mut |message| {
                        see.borrow_mut().extend_from_slice(message);
                        if message == b"2" {
                            act(cx, conn);
                        }
                    });
                    if is_end {
                        cx.close(conn);
                    }
                }
                EventKind::Data { .. } => {}
                other => default(cx, other),
            }
        });
        Scene { edge, seen, name }
    }

    #[track_caller]
    fn has_seen(&self, what: &str) {
        let seen = self.seen.borrow();
        assert_eq!(String::from_utf8_lossy(&seen), what, "{}", self.name);
    }

    /// All at once; then what the handler has seen at rest.
    #[track_caller]
    fn sends_all(&mut self, seen: &str) {
        let addr = self.edge.listen();
        let peer = self.edge.peer(&addr);
        peer.send(lines());
        let of = self.seen.clone();
        self.edge
            .until("enough is seen", |_| of.borrow().len() >= seen.len());
        self.edge.pass(Duration::from_millis(3));
        self.has_seen(seen);
    }
}

// F1
fn after_a_close_nothing_that_was_pipelined_is_carried_out(on: On) {
    for each in loops() {
        let close = |cx: &mut Context, conn| _ = cx.close(conn);
        Scene::new(on, each, close, false).sends_all("012");
    }
}

// F1
fn after_an_abort_nothing_that_was_pipelined_is_carried_out(on: On) {
    for each in loops() {
        let abort = |cx: &mut Context, conn| _ = cx.abort(conn);
        Scene::new(on, each, abort, false).sends_all("012");
    }
}

// F1, R6
fn after_a_pause_the_rest_comes_when_reads_are_resumed(on: On) {
    for each in loops() {
        let pause = |cx: &mut Context, conn| _ = cx.pause_reads(conn);
        let mut scene = Scene::new(on, each, pause, false);
        scene.sends_all("012");
        let id = scene.edge.id(0);
        scene.edge.cx().resume_reads(id);
        let seen = scene.seen.clone();
        scene.edge.until("the rest", |_| seen.borrow().len() >= 10);
        scene.has_seen("0123456789");
    }
}

// F1
fn a_resume_in_the_same_callback_brings_the_rest_back(on: On) {
    for each in loops() {
        let pause = |cx: &mut Context, conn| {
            cx.pause_reads(conn);
            cx.resume_reads(conn);
        };
        Scene::new(on, each, pause, false).sends_all("0123456789");
    }
}

// F1
fn what_is_left_at_the_end_is_not_carried_out_after_a_close(on: On) {
    for each in loops() {
        let close = |cx: &mut Context, conn| _ = cx.close(conn);
        let mut scene = Scene::new(on, each, close, true);
        let addr = scene.edge.listen();
        let peer = scene.edge.peer(&addr);
        peer.send(lines());
        peer.shutdown();
        scene.edge.until_open(1);
        scene.edge.until_all_closed();
        scene.has_seen("012");
    }
}

/// What has been found is whole, though the pause comes before it is taken.
fn a_message_that_was_found_before_a_pause_can_still_be_taken(on: On) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let see = seen.clone();
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Data { conn, input } => {
            while let Some(end) = input.find(b'\n') {
                cx.pause_reads(conn);
                see.borrow_mut().extend_from_slice(&input.take(end + 1));
            }
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    edge.peer(&addr).send(lines());
    for count in 1..=10 {
        edge.until("one more", |_| seen.borrow().len() >= 2 * count);
        edge.pass(Duration::from_millis(1));
        assert_eq!(seen.borrow()[..], lines()[..2 * count]);
        let id = edge.id(0);
        edge.cx().resume_reads(id);
    }
    edge.end();
}

fn another_connection_that_is_closed_or_paused_hides_nothing(on: On) {
    let others: Rc<RefCell<Vec<ConnId>>> = Rc::default();
    let act = others.clone();
    let third = move |cx: &mut Context, _| {
        let others = act.borrow();
        cx.pause_reads(others[0]);
        cx.close(others[1]);
        cx.abort(others[2]);
    };
    let find = loops().remove(0);
    let mut scene = Scene::new(on, find, third, false);
    let addr = scene.edge.listen();
    for index in 0..3 {
        scene.edge.peer(&addr);
        scene.edge.until_open(index + 1);
        let id = scene.edge.id(index);
        others.borrow_mut().push(id);
    }
    let peer = scene.edge.peer(&addr);
    peer.send(lines());
    let seen = scene.seen.clone();
    scene
        .edge
        .until("all is seen", |_| seen.borrow().len() == 10);
    scene.has_seen("0123456789");
}
