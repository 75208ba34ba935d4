//! Frames: R9, R10.

use crate::kit::edge::{On, on_both_edges};
use crate::kit::frames::Scene;
use sockeye::codec::{CodecError, Encoder, LengthPrefixed, Lines, TextLines};
use sockeye::{Closed, ConnId, Context, Reason};
use std::time::Duration;

on_both_edges! {
    thousands_of_frames_in_one_read_all_come,
    a_header_may_come_in_two_pieces_wherever_it_is_cut,
    a_length_of_zero_is_an_empty_frame,
    a_handler_that_ends_the_connection_in_mid_batch_gets_no_further_frame,
    a_handler_that_pauses_in_mid_batch_gets_one_frame_for_each_resume,
    half_a_frame_at_the_end_is_truncated_and_at_a_reset_it_is_lost,
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
