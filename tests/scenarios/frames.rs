//! Frames: R9, R10.

use crate::kit::default;
use crate::kit::edge::{Edge, On};
use allocation_counter::measure;
use sockeye::codec::{CodecError, Decoder, Encoder, LengthPrefixed, Lines, TextLines};
use sockeye::{Closed, ConnId, Context, EventKind, FrameHandler, Framed, Handler, Reason};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

on_both_edges! {
    thousands_of_frames_in_one_read_all_come,
    a_header_may_come_in_two_pieces_wherever_it_is_cut,
    a_length_of_zero_is_an_empty_frame,
    a_length_above_the_limit_is_one_clear_error_and_takes_no_memory,
    a_length_below_the_limit_takes_no_memory_before_its_bytes_come,
    a_handler_that_ends_the_connection_in_mid_batch_gets_no_further_frame,
    a_handler_that_pauses_in_mid_batch_gets_one_frame_for_each_resume,
    half_a_frame_at_the_end_is_truncated_and_at_a_reset_it_is_lost,
}

type Frames = Rc<RefCell<Vec<(ConnId, Vec<u8>)>>>;

/// Writes down the frames, and does with each what the scenario says.
struct Recorder<F> {
    frames: Frames,
    errors: Rc<RefCell<usize>>,
    on_frame: F,
}

impl<C, F> FrameHandler<C> for Recorder<F>
where
    C: Decoder + 'static,
    for<'d, 'i> C::Frame<'d, 'i>: AsRef<[u8]>,
    F: FnMut(&mut Context, ConnId, &[u8]),
{
    fn on_frame(&mut self, cx: &mut Context, conn: ConnId, frame: C::Frame<'_, '_>) {
        let frame = frame.as_ref();
        self.frames.borrow_mut().push((conn, frame.to_vec()));
        (self.on_frame)(cx, conn, frame);
    }

    fn on_frame_error(&mut self, cx: &mut Context, conn: ConnId, _: &CodecError) {
        *self.errors.borrow_mut() += 1;
        cx.send(conn, "goodbye");
    }
}

struct Scene {
    edge: Edge,
    frames: Frames,
    errors: Rc<RefCell<usize>>,
}

impl Scene {
    fn new<C>(on: On, codec: C, act: impl FnMut(&mut Context, ConnId, &[u8]) + 'static) -> Scene
    where
        C: Decoder + Clone + 'static,
        for<'d, 'i> C::Frame<'d, 'i>: AsRef<[u8]>,
    {
        let (frames, errors) = (Frames::default(), Rc::default());
        let recorder = Recorder {
            frames: frames.clone(),
            errors: Rc::clone(&errors),
            on_frame: act,
        };
        let mut framed = Framed::new(codec, recorder);
        let edge = on.edge(move |cx, event| match event {
            EventKind::Data { conn, input } => framed.on_data(cx, conn, input),
            EventKind::Eof { conn, input } => framed.on_eof(cx, conn, input),
            EventKind::Close { conn, closed } => framed.on_close(cx, conn, closed),
            other => default(cx, other),
        });
        Scene {
            edge,
            frames,
            errors,
        }
    }

    #[track_caller]
    fn until_frames(&mut self, count: usize) {
        let frames = self.frames.clone();
        let what = format!("{count} frames");
        self.edge.until(&what, |_| frames.borrow().len() >= count);
    }

    fn texts(&self) -> Vec<String> {
        let frames = self.frames.borrow();
        let text = |(_, frame): &(ConnId, Vec<u8>)| String::from_utf8_lossy(frame).into_owned();
        frames.iter().map(text).collect()
    }

    /// The error that the only connection was closed with.
    #[track_caller]
    fn error(&mut self) -> &CodecError {
        let id = self.edge.id(0);
        match self.edge.log().life(id).reason() {
            Reason::Protocol(error) => error.get_ref().unwrap().downcast_ref().unwrap(),
            other => panic!("{other}"),
        }
    }
}

fn prefixed(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    LengthPrefixed::u32(1 << 20)
        .encode(payload, &mut frame)
        .unwrap();
    frame
}

// R9
fn thousands_of_frames_in_one_read_all_come(on: On) {
    const COUNT: usize = 3_000;
    let number = |frame: &[u8]| String::from_utf8_lossy(frame).parse::<usize>().unwrap();
    let check = |mut scene: Scene, bytes: Vec<u8>| {
        let addr = scene.edge.listen();
        let peer = scene.edge.peer(&addr);
        peer.send(bytes);
        scene.until_frames(COUNT);
        let frames = scene.frames.borrow().clone();
        assert!(frames.iter().map(|(_, frame)| number(frame)).eq(0..COUNT));
        if matches!(on, On::Sim) {
            assert_eq!(scene.edge.log().count("data"), 1);
        }
        scene.edge.end();
    };
    let lines: String = (0..COUNT).map(|n| format!("{n}\r\n")).collect();
    check(
        Scene::new(on, Lines::new(8), |_, _, _| {}),
        lines.clone().into(),
    );
    check(
        Scene::new(on, TextLines::new(8), |_, _, _| {}),
        lines.into(),
    );
    let frames = (0..COUNT).flat_map(|n| prefixed(n.to_string().as_bytes()));
    let codec = LengthPrefixed::u32(8);
    check(Scene::new(on, codec, |_, _, _| {}), frames.collect());
}

// R9
fn a_header_may_come_in_two_pieces_wherever_it_is_cut(on: On) {
    let mut scene = Scene::new(on, LengthPrefixed::u32(1 << 20), |_, _, _| {});
    let addr = scene.edge.listen();
    let bytes = [prefixed(b"abc"), prefixed(b""), prefixed(b"de")].concat();
    let cuts = 0..=bytes.len();
    let peers: Vec<_> = cuts.clone().map(|_| scene.edge.peer(&addr)).collect();
    for (cut, peer) in cuts.zip(&peers) {
        peer.send(&bytes[..cut]);
    }
    scene.edge.until_open(peers.len());
    scene.edge.pass(Duration::from_millis(2));
    for (cut, peer) in peers.iter().enumerate() {
        peer.send(&bytes[cut..]);
    }
    scene.until_frames(3 * peers.len());
    let ids = scene.edge.log().ids.clone();
    assert_eq!(ids.len(), peers.len());
    for id in ids {
        let frames = scene.frames.borrow();
        let of_it = frames.iter().filter(|(conn, _)| *conn == id);
        let of_it: Vec<&[u8]> = of_it.map(|(_, frame)| &frame[..]).collect();
        assert_eq!(of_it, [&b"abc"[..], b"", b"de"]);
    }
    scene.edge.end();
}

// R9
fn a_length_of_zero_is_an_empty_frame(on: On) {
    let mut scene = Scene::new(on, LengthPrefixed::u16(0), |_, _, _| {});
    let addr = scene.edge.listen();
    let peer = scene.edge.peer(&addr);
    peer.send(b"\0\0\0\0");
    scene.until_frames(2);
    peer.send(b"\0\x01");
    scene.edge.until_all_closed();
    assert_eq!(scene.texts(), ["", ""]);
    assert!(matches!(
        scene.error(),
        CodecError::TooLong { limit: 0, .. }
    ));
    scene.edge.end();
}

// R9
fn a_length_above_the_limit_is_one_clear_error_and_takes_no_memory(on: On) {
    for length in [1_000, 1_001, 1 << 24, u32::MAX] {
        let mut scene = Scene::new(on, LengthPrefixed::u32(1_000), |_, _, _| {});
        let addr = scene.edge.listen();
        let peer = scene.edge.peer(&addr);
        peer.send(length.to_be_bytes());
        peer.send([7; 1_000]);
        if length == 1_000 {
            scene.until_frames(1);
            assert!(scene.frames.borrow()[0].1 == [7; 1_000]);
            scene.edge.end();
            continue;
        }
        let used = measure(|| {
            scene.edge.until_open(1);
            scene.edge.until_all_closed();
        });
        assert!(used.bytes_max < 1 << 20, "{used:?}");
        assert_eq!((scene.texts().len(), *scene.errors.borrow()), (0, 1));
        match scene.error() {
            CodecError::TooLong {
                limit: 1_000,
                claimed: Some(claimed),
                ..
            } => assert_eq!(*claimed, length.into()),
            other => panic!("{other}"),
        }
        scene
            .edge
            .until("the last word comes", |_| peer.received() == b"goodbye");
        scene.edge.end();
    }
}

// R9
fn a_length_below_the_limit_takes_no_memory_before_its_bytes_come(on: On) {
    let mut scene = Scene::new(on, LengthPrefixed::u64(usize::MAX), |_, _, _| {});
    let addr = scene.edge.listen();
    let peer = scene.edge.peer(&addr);
    peer.send(prefixed(&[]).repeat(2)); // eight zeros: an empty frame
    peer.send((u64::MAX / 2).to_be_bytes());
    peer.send("a little");
    let edge = &mut scene.edge;
    let used = measure(|| {
        edge.until("it is read", |edge| {
            peer.unsent() == 0 && {
                let log = edge.log();
                log.lives.iter().any(|(_, life)| life.received.len() >= 24)
            }
        });
    });
    assert!(used.bytes_max < 1 << 20, "{used:?}");
    assert_eq!(
        (scene.texts(), *scene.errors.borrow()),
        (vec![String::new()], 0)
    );
    scene.edge.end();
}

// R10
fn a_handler_that_ends_the_connection_in_mid_batch_gets_no_further_frame(on: On) {
    type End = fn(&mut Context, ConnId) -> bool;
    let ends: [End; 3] = [Context::close, Context::abort, |cx, conn| {
        cx.close_because(conn, "enough")
    }];
    for end in ends {
        let mut scene = Scene::new(on, TextLines::new(64), move |cx, conn, line| {
            if line == b"2" {
                end(cx, conn);
            }
        });
        let addr = scene.edge.listen();
        let peer = scene.edge.peer(&addr);
        peer.send("1\n2\n3\nno such line: \u{ff}\n");
        scene.edge.until_open(1);
        scene.edge.until_all_closed();
        assert_eq!(scene.texts(), ["1", "2"]);
        assert_eq!(*scene.errors.borrow(), 0);
        scene.edge.end();
    }
}

// R10
fn a_handler_that_pauses_in_mid_batch_gets_one_frame_for_each_resume(on: On) {
    let mut scene = Scene::new(on, TextLines::new(64), |cx, conn, _| {
        cx.pause_reads(conn);
    });
    let addr = scene.edge.listen();
    let peer = scene.edge.peer(&addr);
    peer.send("1\n2\n3\n4\n5\n");
    peer.shutdown();
    for count in 1..=5 {
        scene.until_frames(count);
        scene.edge.pass(Duration::from_millis(3));
        assert_eq!(scene.frames.borrow().len(), count);
        assert_eq!(scene.edge.log().count("eof"), 0);
        let id = scene.edge.id(0);
        scene.edge.cx().resume_reads(id);
    }
    scene.edge.until_all_closed();
    assert_eq!(scene.texts(), ["1", "2", "3", "4", "5"]);
    let id = scene.edge.id(0);
    assert!(
        scene
            .edge
            .log()
            .life(id)
            .closed
            .as_ref()
            .is_some_and(Closed::is_clean)
    );
    scene.edge.end();
}

fn half_a_frame_at_the_end_is_truncated_and_at_a_reset_it_is_lost(on: On) {
    for reset in [false, true] {
        let mut scene = Scene::new(on, Lines::new(64), |_, _, _| {});
        let addr = scene.edge.listen();
        let peer = scene.edge.peer(&addr);
        peer.send("whole\nha");
        scene.until_frames(1);
        if reset {
            scene.edge.pass(Duration::from_millis(2));
            peer.reset();
        } else {
            peer.send("lf");
            peer.shutdown();
        }
        scene.edge.until_all_closed();
        assert_eq!(scene.texts(), ["whole"]);
        assert_eq!(*scene.errors.borrow(), usize::from(!reset));
        if reset {
            let id = scene.edge.id(0);
            assert!(matches!(scene.edge.log().life(id).reason(), Reason::Reset));
        } else {
            let text = r#"stream ended within a frame, after 4 bytes: "half""#;
            assert_eq!(scene.error().to_string(), text);
        }
        scene.edge.end();
    }
}
