//! Frames: R8, R9, R10.

use crate::kit::edge::On;
use crate::kit::frames::Scene;
use crate::kit::pattern;
#[cfg(feature = "tokio-util")]
use crate::on_both_edges;
use crate::on_every_edge;
use sockeye::codec::{CodecError, Decoder, Delimited, Encoder, LengthPrefixed, Lines};
use sockeye::codec::{TextLines, UntilEof};
use sockeye::{Closed, ConnId, Context, Reason, Sent};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

on_every_edge! {
    thousands_of_frames_in_one_read_all_come,
    a_header_may_come_in_two_pieces_wherever_it_is_cut,
    a_length_of_zero_is_an_empty_frame,
    a_frame_above_the_maximum_closes_its_connection_with_a_last_word,
    a_last_word_above_the_hard_limit_ends_as_pending_limit,
    a_frame_may_be_larger_than_the_input_limit,
    a_header_longer_than_memory_raises_the_input_limit_without_an_overflow,
    each_connection_has_a_decoder_of_its_own_and_a_new_one_begins_anew,
    a_handler_that_ends_the_connection_in_mid_batch_gets_no_further_frame,
    a_handler_that_pauses_in_mid_batch_gets_one_frame_for_each_resume,
    a_pause_in_the_last_frame_puts_the_end_off,
    lines_that_are_sent_back_with_backpressure_all_come_back,
    half_a_frame_at_the_end_is_truncated_and_at_a_reset_it_is_lost,
    a_request_that_its_end_ends_is_answered_also_when_it_is_empty,
}

#[cfg(feature = "tokio-util")]
on_both_edges! {
    a_codec_of_tokio_util_is_paused_in_mid_batch_too,
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
        peer.close();
        scene.edge.until_all_closed();
        assert_eq!(
            (scene.frames.borrow().len(), *scene.eofs.borrow()),
            (COUNT, 1)
        );
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

// R8, R9
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
    // And one whose bytes come one by one.
    let slow = scene.edge.peer(&addr);
    for byte in bytes.chunks(1) {
        slow.send(byte);
        scene.edge.pass(Duration::from_millis(1));
    }
    scene.until_frames(3 * (peers.len() + 1));
    let ids = scene.edge.log().ids.clone();
    assert_eq!(ids.len(), peers.len() + 1);
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
    scene.edge.until("it has its end", |_| peer.is_closed());
    peer.close();
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
        peer.send(b"1\n2\n3\nno such line: \xff\n");
        scene.edge.until("it has its end", |_| peer.is_closed());
        peer.close();
        scene.edge.until_all_closed();
        assert_eq!(scene.texts(), ["1", "2"]);
        assert_eq!((*scene.errors.borrow(), *scene.eofs.borrow()), (0, 0));
        scene.edge.end();
    }
}

// R10: the end waits, too; what is left is no frame, or half of one.
fn a_handler_that_pauses_in_mid_batch_gets_one_frame_for_each_resume(on: On) {
    for half in [false, true] {
        let mut scene = Scene::new(on, TextLines::new(64), |cx, conn, _| {
            cx.pause_reads(conn);
        });
        let addr = scene.edge.listen();
        let peer = scene.edge.peer(&addr);
        peer.send("1\n2\n3\n4\n5\n");
        if half {
            peer.send("6");
        }
        peer.shutdown();
        for count in 1..=5 {
            scene.until_frames(count);
            if count == 1 {
                let turns = scene.edge.turns_at_rest();
                assert!(turns <= 20 || on.is_faulty(), "it spins");
            } else {
                scene.edge.pass(Duration::from_millis(3));
            }
            assert_eq!(scene.frames.borrow().len(), count);
            assert_eq!(scene.edge.log().count("eof"), 0);
            let id = scene.edge.id(0);
            scene.edge.cx().resume_reads(id);
        }
        scene.edge.until("it has its end", |_| peer.is_closed());
        scene.edge.until_all_closed();
        assert_eq!(scene.texts(), ["1", "2", "3", "4", "5"]);
        if half {
            assert!(matches!(scene.error(), CodecError::Truncated { .. }));
            assert_eq!(
                (*scene.eofs.borrow(), peer.received()),
                (0, b"goodbye".to_vec())
            );
        } else {
            let id = scene.edge.id(0);
            let closed = scene.edge.log().life(id).closed.as_ref();
            assert!(closed.is_some_and(Closed::is_clean));
            assert_eq!((*scene.eofs.borrow(), peer.count()), (1, 0));
        }
        scene.edge.end();
    }
}

// R10, R6: also when the pause is made in a frame that the end of the stream ends.
fn a_pause_in_the_last_frame_puts_the_end_off(on: On) {
    let mut scene = Scene::new(on, Lines::new(64).or_eof(), |cx, conn, _| {
        cx.pause_reads(conn);
    });
    let addr = scene.edge.listen();
    let peer = scene.edge.peer(&addr);
    peer.send("the last");
    peer.shutdown();
    scene.until_frames(1);
    assert!(
        scene.edge.turns_at_rest() <= 20 || on.is_faulty(),
        "it spins"
    );
    assert_eq!((*scene.eofs.borrow(), scene.edge.log().closed()), (0, 0));
    let id = scene.edge.id(0);
    assert!(scene.edge.cx().resume_reads(id));
    scene.edge.until_all_closed();
    assert_eq!(scene.texts(), ["the last"]);
    assert_eq!(
        (*scene.eofs.borrow(), scene.edge.log().count("eof")),
        (1, 1)
    );
    scene.edge.end();
}

// R10
#[cfg(feature = "tokio-util")]
fn a_codec_of_tokio_util_is_paused_in_mid_batch_too(on: On) {
    use sockeye::codec::TokioCodec;
    use tokio_util::codec::{LinesCodec, LinesCodecError};

    let codec = TokioCodec::new(LinesCodec::new_with_max_length(8), 1024);
    let mut scene = Scene::new(on, codec, |cx, conn, _| {
        cx.pause_reads(conn);
    });
    let addr = scene.edge.listen();
    let peer = scene.edge.peer(&addr);
    peer.send("1\n2\n3\nnine bytes\n");
    for count in 1..=3 {
        scene.until_frames(count);
        scene.edge.pass(Duration::from_millis(3));
        assert_eq!(scene.frames.borrow().len(), count);
        let id = scene.edge.id(0);
        scene.edge.cx().resume_reads(id);
    }
    scene.edge.until("it has its end", |_| peer.is_closed());
    peer.close();
    scene.edge.until_all_closed();
    assert_eq!(scene.texts(), ["1", "2", "3"]);
    let CodecError::Other(error) = scene.error() else {
        panic!("{}", scene.error());
    };
    let text = error.downcast_ref::<LinesCodecError>().unwrap().to_string();
    assert_eq!(text, "max line length exceeded");
    scene.edge.end();
}

// W1, R10: an echo that is paused by its own backpressure loses nothing.
fn lines_that_are_sent_back_with_backpressure_all_come_back(on: On) {
    let waits = Rc::new(Cell::new(0));
    let count = waits.clone();
    let mut scene = Scene::new(on, Lines::new(2_000), move |cx, conn, line| {
        if cx.send(conn, Lines::new(2_000).frame(line).unwrap()) == Sent::Wait {
            cx.pause_reads(conn);
            count.set(count.get() + 1);
        }
    });
    let addr = scene.edge.listen_with(|listen| listen.send_buffer(4096));
    let peer = scene.edge.small_peer(&addr);
    let mut lines = Vec::new();
    for size in 0..1_000_usize {
        lines.extend(vec![b'a' + (size % 26) as u8; size]);
        lines.push(b'\n');
    }
    peer.ignore();
    peer.send(&lines);
    peer.shutdown();
    scene.edge.until("it waits", |_| waits.get() > 0);
    peer.hear();
    scene.edge.until("all has come back", |_| peer.is_closed());
    assert!(peer.received() == lines);
    scene.edge.until_all_closed();
    scene.edge.end();
}

// R9
fn a_frame_above_the_maximum_closes_its_connection_with_a_last_word(on: On) {
    let lies: [&[u8]; 3] = [
        b"\0\0\x04\x01",
        b"\xff\xff\xff\xff",
        b"\0\0\0\x02ok\x7f\xff\xff\xff",
    ];
    for lie in lies {
        let mut scene = Scene::new(on, LengthPrefixed::u32(1024), |_, _, _| {});
        let addr = scene.edge.listen();
        let peer = scene.edge.peer(&addr);
        peer.send(lie);
        scene.edge.until("it has its end", |_| peer.is_closed());
        assert_eq!(peer.received(), b"goodbye");
        peer.send("more");
        peer.close();
        scene.edge.until_all_closed();
        match scene.error() {
            CodecError::TooLong {
                limit: 1024,
                claimed: Some(length),
                ..
            } => assert!(*length > 1024),
            other => panic!("{other}"),
        }
        let seen = (*scene.errors.borrow(), *scene.eofs.borrow());
        assert_eq!(seen, (1, 0));
        assert_eq!(scene.frames.borrow().len(), usize::from(lie.len() > 4));
        scene.edge.end();
    }
}

// R9, W1: the last word has no room, for the peer does not read.
fn a_last_word_above_the_hard_limit_ends_as_pending_limit(on: On) {
    let mut scene = Scene::new(on, LengthPrefixed::u32(1024), |cx, conn, _| {
        cx.send(conn, vec![0; 16 << 20]);
    });
    let addr = scene.edge.listen();
    let peer = scene.edge.small_peer(&addr);
    peer.ignore();
    peer.send(b"\0\0\0\x02ok");
    scene.until_frames(1);
    scene.edge.pass(Duration::from_millis(5));
    let id = scene.edge.id(0);
    assert!(scene.edge.cx().pending(id) > 0);
    peer.send(b"\x7f\xff\xff\xff");
    scene.edge.until_all_closed();
    let reason = scene.edge.log().life(id).reason();
    assert!(matches!(reason, Reason::PendingLimit), "{reason}");
    assert_eq!(*scene.errors.borrow(), 1);
    scene.edge.end();
}

// R9: a codec's maximum above the input limit of 64 KiB raises it.
fn a_frame_may_be_larger_than_the_input_limit(on: On) {
    const SIZE: usize = 700_000;
    let mut scene = Scene::new(on, LengthPrefixed::u32(SIZE), |_, _, _| {});
    let addr = scene.edge.listen();
    let peer = scene.edge.peer(&addr);
    peer.send(prefixed(&pattern(SIZE)).repeat(2));
    peer.shutdown();
    scene.until_frames(2);
    scene.edge.until_all_closed();
    let frames = scene.frames.borrow().clone();
    assert!(frames.iter().all(|(_, frame)| *frame == pattern(SIZE)));
    let id = scene.edge.id(0);
    assert!(
        scene
            .edge
            .log()
            .life(id)
            .closed
            .as_ref()
            .unwrap()
            .is_clean()
    );
    scene.edge.end();
}

// R9: what a codec needs at the most is a number, whatever it is made of. No frame of these ever
// begins, and the input limit of 64 KiB does not strike before the end comes.
fn a_header_longer_than_memory_raises_the_input_limit_without_an_overflow(on: On) {
    let endless = [
        LengthPrefixed::u8(64).offset(usize::MAX),
        LengthPrefixed::varint(64).offset(usize::MAX - 9),
        LengthPrefixed::decimal(19, usize::MAX).offset(usize::MAX - 1),
    ];
    for codec in endless {
        assert_eq!(codec.max_input(), usize::MAX);
        let mut scene = Scene::new(on, codec, |_, _, _| {});
        let addr = scene.edge.listen();
        let peer = scene.edge.peer(&addr);
        peer.send(vec![b'1'; 100_000]);
        peer.shutdown();
        scene.edge.until("it has its end", |_| peer.is_closed());
        scene.edge.until_all_closed();
        assert!(matches!(scene.error(), CodecError::Truncated { .. }));
        assert_eq!(scene.frames.borrow().len(), 0);
        scene.edge.end();
    }
}

fn each_connection_has_a_decoder_of_its_own_and_a_new_one_begins_anew(on: On) {
    let mut scene = Scene::new(on, Lines::new(64), |_, _, _| {});
    let addr = scene.edge.listen();
    for round in 1..=3 {
        let [one, two] = [0, 1].map(|_| scene.edge.peer(&addr));
        one.send("half a li");
        two.send("half of another one");
        scene.edge.until_open(2 * round);
        scene.edge.pass(Duration::from_millis(3));
        one.send("ne\nleft over");
        two.send("\n");
        scene.until_frames(2 * round);
        scene.edge.pass(Duration::from_millis(3));
        let mut texts = scene.texts().split_off(2 * round - 2);
        texts.sort_unstable();
        assert_eq!(texts, ["half a line", "half of another one"]);
        one.reset();
        two.reset();
        scene.edge.until_all_closed();
    }
    scene.edge.end();
}

fn a_request_that_its_end_ends_is_answered_also_when_it_is_empty(on: On) {
    let mut scene = Scene::new(on, UntilEof::new(200_000), |cx, conn, frame| {
        let size = format!("{} bytes", frame.len());
        cx.send(conn, size);
    });
    let addr = scene.edge.listen();
    for (size, answer) in [
        (0, "0 bytes"),
        (200_000, "200000 bytes"),
        (200_001, "goodbye"),
    ] {
        let peer = scene.edge.peer(&addr);
        peer.send(pattern(size));
        peer.shutdown();
        scene.edge.until("it is answered", |_| peer.is_closed());
        assert_eq!(peer.received(), answer.as_bytes());
        scene.edge.until_all_closed();
    }
    assert_eq!(
        (scene.frames.borrow().len(), *scene.errors.borrow()),
        (2, 1)
    );
    scene.edge.end();
}

fn half_a_frame_at_the_end_is_truncated_and_at_a_reset_it_is_lost(on: On) {
    for reset in [false, true] {
        let mut scene = Scene::new(on, Delimited::new("--", 64), |_, _, _| {});
        let addr = scene.edge.listen();
        let peer = scene.edge.peer(&addr);
        peer.send("whole--ha");
        scene.until_frames(1);
        if reset {
            scene.edge.pass(Duration::from_millis(2));
            peer.reset();
        } else {
            peer.send("lf-");
            peer.shutdown();
            scene.edge.until("it has its end", |_| peer.is_closed());
            assert_eq!(peer.received(), b"goodbye");
        }
        scene.edge.until_all_closed();
        assert_eq!(scene.texts(), ["whole"]);
        let seen = (*scene.errors.borrow(), *scene.eofs.borrow());
        if reset && on.is_unix() {
            // There it is an end.
            assert!(matches!(scene.error(), CodecError::Truncated { .. }));
        } else if reset {
            let id = scene.edge.id(0);
            assert_eq!(seen, (0, 0));
            assert!(matches!(scene.edge.log().life(id).reason(), Reason::Reset));
        } else {
            let text = r#"stream ended within a frame, after 5 bytes: "half-""#;
            assert_eq!(seen, (1, 0));
            assert_eq!(scene.error().to_string(), text);
        }
        scene.edge.end();
    }
}
