//! R9, R10 on real sockets: `Framed` where frames come to an end: too long a one, half of one, the
//! end of the stream.

use crate::kit::framed::{Recorder, Shared, all_closed, framed, protocol_error, texts};
use crate::kit::{PATIENCE, pattern, peer, read_all, read_n, spawn, write};
use sockeye::codec::{CodecError, Decoder, Delimited, Encoder, LengthPrefixed, Lines, UntilEof};
use sockeye::{
    Chunk, ConnId, Context, Event, EventKind, Framed, Handler, Input, InputBuffer, Reactor, Reason,
};
use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

/// What an application of several parts sees in its own `on_event`.
struct EndsSeen<H>(H, usize);

impl<H: Handler> Handler for EndsSeen<H> {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_event(&mut self, cx: &mut Context, event: Event<'_>) {
        self.1 += usize::from(matches!(event.kind, EventKind::Eof { .. }));
        self.0.on_event(cx, event);
    }
}

// R10, R6: also when the pause is made in a frame that the end of the stream ends.
#[test]
fn after_a_pause_in_the_last_frame_the_end_waits_for_the_resume() {
    let seen = Shared::default();
    let recorder = Recorder {
        seen: seen.clone(),
        on_frame: |cx: &mut Context, conn, _: Chunk<'_>| {
            cx.pause_reads(conn);
        },
    };
    let mut app = EndsSeen(Framed::new(Lines::new(64).or_eof(), recorder), 0);
    let mut reactor = Reactor::new().unwrap();
    let listener = reactor.listen("127.0.0.1:0").unwrap();
    let addr = reactor.context().listener_addr(listener).unwrap().ip();
    let mut peer = peer(addr.unwrap());
    write(&mut peer, "the last");
    peer.shutdown(Shutdown::Write).unwrap();
    let start = Instant::now();
    while seen.borrow().frames.is_empty() {
        assert!(start.elapsed() < PATIENCE);
        reactor
            .turn(&mut app, Some(Duration::from_millis(5)))
            .unwrap();
    }
    for _ in 0..3 {
        assert_eq!(reactor.next_wakeup(), None);
        reactor.turn(&mut app, Some(Duration::ZERO)).unwrap();
        assert_eq!((seen.borrow().eofs, seen.borrow().closed), (0, 0));
    }
    let conn = seen.borrow().frames[0].0;
    assert!(reactor.context().resume_reads(conn));
    while seen.borrow().closed == 0 {
        assert!(start.elapsed() < PATIENCE);
        reactor
            .turn(&mut app, Some(Duration::from_millis(5)))
            .unwrap();
    }
    assert_eq!(app.1, 1);
    assert_eq!((seen.borrow().eofs, seen.borrow().frames.len()), (1, 1));
    assert_eq!(read_all(peer), b"");
}

// R9
#[test]
fn a_frame_above_the_maximum_closes_its_connection_with_a_last_word() {
    let lies: [&[u8]; 3] = [
        b"\0\0\x04\x01",
        b"\xff\xff\xff\xff",
        b"\0\0\0\x02ok\x7f\xff\xff\xff",
    ];
    for lie in lies {
        let (mut kit, seen) = framed(LengthPrefixed::u32(1024), |_, _, _| {});
        let addr = kit.listen();
        let client = spawn(move || {
            let mut peer = peer(addr);
            write(&mut peer, lie);
            let answer = read_n(&mut peer, 7);
            (answer, peer.write_all(b"more").is_ok())
        });
        assert_eq!(kit.until_done(client).0, b"goodbye");
        all_closed(&mut kit, 1);
        let life = kit.log().life(kit.log().ids[0]);
        match protocol_error(life.reason()) {
            CodecError::TooLong {
                limit: 1024,
                claimed: Some(length),
                ..
            } => {
                assert!(*length > 1024);
            }
            other => panic!("{other}"),
        }
        assert_eq!(seen.borrow().errors.len(), 1);
        assert_eq!(seen.borrow().frames.len(), usize::from(lie.len() > 4));
        assert_eq!(seen.borrow().eofs, 0);
        kit.end();
    }
}

// R9, W1: the last word has no room, for the peer does not read.
#[test]
fn a_last_word_above_the_hard_limit_ends_as_pending_limit() {
    let (mut kit, seen) = framed(LengthPrefixed::u32(1024), |cx, conn, _| {
        cx.send(conn, vec![0; 16 << 20]);
    });
    let mut peer = peer(kit.listen());
    write(&mut peer, b"\0\0\0\x02ok");
    kit.until_cx("some of it is left", |_, cx| {
        cx.connections()
            .next()
            .is_some_and(|conn| cx.pending(conn) > 0)
    });
    write(&mut peer, b"\x7f\xff\xff\xff");
    all_closed(&mut kit, 1);
    let life = kit.log().life(kit.log().ids[0]);
    assert!(matches!(life.reason(), Reason::PendingLimit));
    assert_eq!(seen.borrow().errors.len(), 1);
    kit.end();
}

#[test]
fn half_a_frame_at_the_end_is_truncated() {
    let (mut kit, seen) = framed(Delimited::new("--", 64), |_, _, _| {});
    let addr = kit.listen();
    let mut peer = peer(addr);
    write(&mut peer, "whole--half-");
    peer.shutdown(Shutdown::Write).unwrap();
    all_closed(&mut kit, 1);
    let life = kit.log().life(kit.log().ids[0]);
    let error = protocol_error(life.reason());
    let text = r#"stream ended within a frame, after 5 bytes: "half-""#;
    assert_eq!(error.to_string(), text);
    assert_eq!(
        (texts(&seen), seen.borrow().eofs),
        (vec!["whole".to_owned()], 0)
    );
    assert_eq!(read_all(peer), b"goodbye");
    kit.end();
}

// R9: a codec's maximum above the input limit of 64 KiB raises it.
#[test]
fn a_frame_may_be_larger_than_the_input_limit() {
    const SIZE: usize = 700_000;
    let (mut kit, seen) = framed(LengthPrefixed::u32(SIZE), |_, _, _| {});
    let addr = kit.listen();
    let feeder = spawn(move || {
        let mut frame = Vec::new();
        LengthPrefixed::u32(SIZE)
            .encode(&pattern(SIZE), &mut frame)
            .unwrap();
        write(&mut peer(addr), frame.repeat(3));
    });
    kit.until_done(feeder);
    all_closed(&mut kit, 1);
    assert_eq!(seen.borrow().frames.len(), 3);
    assert!(
        seen.borrow()
            .frames
            .iter()
            .all(|(_, frame)| *frame == pattern(SIZE))
    );
    assert!(
        kit.log()
            .life(kit.log().ids[0])
            .closed
            .as_ref()
            .unwrap()
            .is_clean()
    );
    kit.end();
}

// R9: what a codec needs at the most is a number, whatever it is made of. No frame of these ever
// begins, and the input limit of 64 KiB does not strike before the end comes.
#[test]
fn a_header_longer_than_memory_raises_the_input_limit_without_an_overflow() {
    let endless = [
        LengthPrefixed::u8(64).offset(usize::MAX),
        LengthPrefixed::varint(64).offset(usize::MAX - 9),
        LengthPrefixed::decimal(19, usize::MAX).offset(usize::MAX - 1),
    ];
    for codec in endless {
        assert_eq!(codec.max_input(), usize::MAX);
        let (mut kit, seen) = framed(codec, |_, _, _| {});
        let addr = kit.listen();
        let client = spawn(move || write(&mut peer(addr), vec![b'1'; 100_000]));
        kit.until_done(client);
        all_closed(&mut kit, 1);
        let life = kit.log().life(kit.log().ids[0]);
        let error = protocol_error(life.reason());
        assert!(matches!(error, CodecError::Truncated { .. }), "{error}");
        assert_eq!(seen.borrow().frames.len(), 0);
        kit.end();
    }
}

#[test]
fn the_largest_adjustments_overflow_nothing() {
    for adjustment in [i64::MIN, i64::MAX] {
        for length in [0, 64, 1 << 63, u64::MAX] {
            let mut codec = LengthPrefixed::u64(64).adjustment(adjustment);
            assert_eq!(codec.max_input(), 64 + 8);
            let mut input = InputBuffer::from(length.to_be_bytes().to_vec());
            let frame = codec.decode(&mut input);
            match i128::from(length) + i128::from(adjustment) {
                0 => assert_eq!(frame.unwrap().as_deref(), Some(&b""[..])),
                _ => assert!(frame.is_err(), "{length} {adjustment:+}: {frame:?}"),
            }
        }
    }
}

#[test]
fn a_request_that_its_end_ends_is_answered_also_when_it_is_empty() {
    let (mut kit, seen) = framed(UntilEof::new(200_000), |cx, conn, frame| {
        let size = format!("{} bytes", frame.len());
        cx.send(conn, size);
    });
    let addr = kit.listen();
    for (size, answer) in [
        (0, "0 bytes"),
        (200_000, "200000 bytes"),
        (200_001, "goodbye"),
    ] {
        let client = spawn(move || {
            let mut peer = peer(addr);
            write(&mut peer, pattern(size));
            peer.shutdown(Shutdown::Write).unwrap();
            read_all(peer)
        });
        assert_eq!(kit.until_done(client), answer.as_bytes());
    }
    all_closed(&mut kit, 3);
    assert_eq!(
        (seen.borrow().frames.len(), seen.borrow().errors.len()),
        (2, 1)
    );
    kit.end();
}
