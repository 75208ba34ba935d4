//! R8, R9, R10 on real sockets: `Framed` between the loop and a handler of frames. How frames end
//! is in `framed_ends.rs`.

use crate::kit::framed::{Recorder, Shared, all_closed, framed, protocol_error, texts};
use crate::kit::{peer, read_all, read_n, reset, spawn, write};
use sockeye::codec::{CodecError, Encoder, LengthPrefixed, Lines};
use sockeye::{
    Chunk, ConnId, Context, Event, FrameHandler, Framed, Handler, Input, Listen, Reactor, Sent, Tag,
};
use std::net::Shutdown;
use std::time::Duration;

fn echo(cx: &mut Context, conn: ConnId, frame: Chunk<'_>) {
    cx.send(conn, Lines::new(usize::MAX).frame(frame).unwrap());
}

// R9
#[test]
fn ten_thousand_lines_in_one_piece_are_ten_thousand_frames() {
    let (mut kit, seen) = framed(Lines::new(64), |_, _, _| {});
    let addr = kit.listen();
    let lines: String = (0..10_000).map(|n| format!("line {n}\r\n")).collect();
    let feeder = spawn(move || write(&mut peer(addr), lines));
    kit.until_done(feeder);
    all_closed(&mut kit, 1);
    let wanted: Vec<String> = (0..10_000).map(|n| format!("line {n}")).collect();
    assert_eq!(texts(&seen), wanted);
    assert_eq!((seen.borrow().eofs, seen.borrow().closed), (1, 1));
    kit.end();
}

// R8
#[test]
fn frames_that_come_one_byte_at_a_time_are_the_same() {
    let (mut kit, seen) = framed(LengthPrefixed::u32(64), echo);
    let addr = kit.listen();
    let client = spawn(move || {
        let mut peer = peer(addr);
        peer.set_nodelay(true).unwrap();
        for word in ["one", "", "a\0b", "four"] {
            let mut frame = Vec::new();
            LengthPrefixed::u32(64)
                .encode(word.as_bytes(), &mut frame)
                .unwrap();
            frame.chunks(1).for_each(|byte| write(&mut peer, byte));
            // The answer comes before the next frame is begun.
            let answer = read_n(&mut peer, word.len() + 1);
            assert_eq!(answer, [word.as_bytes(), b"\n"].concat());
        }
    });
    kit.until_done(client);
    all_closed(&mut kit, 1);
    assert_eq!(texts(&seen), ["one", "", "a\0b", "four"]);
    kit.end();
}

#[test]
fn each_connection_has_a_decoder_of_its_own_and_a_new_one_begins_anew() {
    let (mut kit, seen) = framed(Lines::new(64), |_, _, _| {});
    let addr = kit.listen();
    for round in 1..=3 {
        let (mut one, mut two) = (peer(addr), peer(addr));
        write(&mut one, "half a li");
        write(&mut two, "half of another one");
        kit.until("both are there", |log| log.count("data") >= 4 * round - 2);
        write(&mut one, "ne\nleft over");
        write(&mut two, "\n");
        kit.until_cx("both are whole", |_, _| {
            seen.borrow().frames.len() == 2 * round
        });
        let mut texts = texts(&seen).split_off(2 * round - 2);
        texts.sort();
        assert_eq!(texts, ["half a line", "half of another one"]);
        reset(one);
        reset(two);
        all_closed(&mut kit, 2 * round);
    }
    kit.end();
}

// R10
#[test]
fn a_handler_that_pauses_in_mid_batch_gets_one_frame_for_each_resume() {
    let (mut kit, seen) = framed(Lines::new(64), |cx, conn, _| {
        cx.pause_reads(conn);
    });
    let addr = kit.listen();
    let mut peer = peer(addr);
    write(&mut peer, "1\n2\n3\n4\n5\n6");
    peer.shutdown(Shutdown::Write).unwrap();
    for count in 1..=5 {
        kit.until_cx("one more comes", |_, _| seen.borrow().frames.len() == count);
        let turns = kit.turn_for(Duration::from_millis(20));
        assert!(turns <= 3, "a spin: {turns} turns");
        assert_eq!(seen.borrow().frames.len(), count);
        let conn = seen.borrow().frames[0].0;
        kit.cx().resume_reads(conn);
    }
    // The end has waited too; what is left is half a line.
    all_closed(&mut kit, 1);
    let conn = seen.borrow().frames[0].0;
    let error = protocol_error(kit.log().life(conn).reason());
    assert!(matches!(error, CodecError::Truncated { .. }), "{error}");
    assert_eq!(texts(&seen), ["1", "2", "3", "4", "5"]);
    assert_eq!(read_all(peer), b"goodbye");
    kit.end();
}

// R10
#[test]
fn a_handler_that_closes_or_aborts_in_mid_batch_gets_no_further_frame() {
    type End = fn(&mut Context, ConnId) -> bool;
    let ends: [End; 3] = [
        |cx, conn| cx.close(conn),
        |cx, conn| cx.abort(conn),
        |cx, conn| cx.close_because(conn, "enough"),
    ];
    for end in ends {
        let (mut kit, seen) = framed(Lines::new(64), move |cx, conn, line| {
            if &line[..] == b"2" {
                end(cx, conn);
            }
        });
        let addr = kit.listen();
        let mut peer = peer(addr);
        write(&mut peer, "1\n2\n3\n4\n");
        kit.until("it is closed", |log| log.closed() == 1);
        assert_eq!(texts(&seen), ["1", "2"]);
        assert_eq!((seen.borrow().eofs, seen.borrow().closed), (0, 1));
        kit.end();
    }
}

// W1, R10: an echo of lines that is paused by its own backpressure loses nothing.
#[test]
fn lines_that_are_sent_back_with_backpressure_all_come_back() {
    let (mut kit, _) = framed(Lines::new(2_000), |cx, conn, line| {
        if cx.send(conn, Lines::new(2_000).frame(line).unwrap()) == Sent::Wait {
            cx.pause_reads(conn);
        }
    });
    let addr = kit.listen();
    let mut lines = Vec::new();
    for n in 0..2_000_usize {
        lines.extend(vec![b'a' + (n % 26) as u8; n]);
        lines.push(b'\n');
    }
    let sent = lines.clone();
    let client = spawn(move || {
        let mut peer = peer(addr);
        let mut writer = peer.try_clone().unwrap();
        let feeder = spawn(move || {
            write(&mut writer, sent);
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let back = read_all(&mut peer);
        feeder.join().unwrap();
        back
    });
    assert!(kit.until_done(client) == lines);
    all_closed(&mut kit, 1);
    kit.end();
}

/// Adds up what comes, and tells nobody but the message that asks.
#[derive(Default)]
struct Sum(u64);

impl FrameHandler<LengthPrefixed, u64> for Sum {
    fn on_frame(&mut self, _: &mut Context, _: ConnId, frame: Chunk<'_>) {
        self.0 += frame.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    }

    fn on_message(&mut self, _: &mut Context, message: u64) {
        self.0 += message;
    }
}

type OnFrame = fn(&mut Context, ConnId, Chunk<'_>);

/// Sends lines back, sums up frames, and is neither.
struct Parts {
    lines: Framed<Lines, Recorder<OnFrame>>,
    sums: Framed<LengthPrefixed, Sum>,
}

const LINES: Tag = Tag(1);
const SUMS: Tag = Tag(2);

impl Handler<u64> for Parts {
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}

    fn on_event(&mut self, cx: &mut Context, event: Event<'_>) {
        match event.tag {
            LINES => self.lines.on_event(cx, event),
            SUMS => self.sums.on_event(cx, event),
            _ => {}
        }
    }

    fn on_message(&mut self, cx: &mut Context, message: u64) {
        self.sums.on_message(cx, message);
        cx.stop();
    }
}

#[test]
fn two_framed_parts_live_under_one_on_event() {
    let seen = Shared::default();
    let recorder = Recorder {
        seen: seen.clone(),
        on_frame: echo as OnFrame,
    };
    let mut app = Parts {
        lines: Framed::new(Lines::new(64), recorder),
        sums: Framed::new(LengthPrefixed::u8(64), Sum::default()),
    };
    let mut reactor = Reactor::with_messages().unwrap();
    let mut listen = |tag| {
        let listener = reactor.listen(Listen::new("127.0.0.1:0").tag(tag)).unwrap();
        reactor
            .context()
            .listener_addr(listener)
            .unwrap()
            .ip()
            .unwrap()
    };
    let (lines, sums) = (listen(LINES), listen(SUMS));
    let sender = reactor.sender();
    let client = spawn(move || {
        let (mut lines, mut sums) = (peer(lines), peer(sums));
        write(&mut sums, b"\x03\x01\x02\x03\x01");
        write(&mut lines, "one\ntwo\n");
        assert_eq!(read_n(&mut lines, 8), b"one\ntwo\n");
        write(&mut sums, b"\x0a");
        sums.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(sums), b"");
        sender.send(100).unwrap();
    });
    reactor.run(&mut app).unwrap();
    client.join().unwrap();
    assert_eq!(texts(&seen), ["one", "two"]);
    assert_eq!(app.sums.handler().0, 116);
    assert_eq!(app.sums.into_handler().0, 116);
}

#[cfg(feature = "tokio-util")]
mod tokio {
    use super::*;
    use crate::kit::Kit;
    use crate::kit::framed::hand;
    use sockeye::codec::{Decoder, TokioCodec};
    use tokio_util::codec::{AnyDelimiterCodec, LinesCodec, LinesCodecError};

    struct Strings(Shared);

    impl FrameHandler<TokioCodec<LinesCodec>> for Strings {
        fn on_frame(&mut self, cx: &mut Context, conn: ConnId, frame: String) {
            self.0.borrow_mut().frames.push((conn, frame.into_bytes()));
            cx.pause_reads(conn);
        }

        fn on_frame_error(&mut self, _: &mut Context, _: ConnId, error: &CodecError) {
            let CodecError::Other(error) = error else {
                panic!("{error}");
            };
            let text = error.downcast_ref::<LinesCodecError>().unwrap().to_string();
            self.0.borrow_mut().errors.push(text);
        }
    }

    // R10
    #[test]
    fn a_codec_of_tokio_util_is_paused_in_mid_batch_too() {
        let seen = Shared::default();
        let codec = TokioCodec::new(LinesCodec::new_with_max_length(8), 1024);
        let mut framed = Framed::new(codec, Strings(seen.clone()));
        let mut kit = Kit::new(move |cx, event| hand(&mut framed, cx, event));
        let addr = kit.listen();
        let mut peer = peer(addr);
        write(&mut peer, "1\n2\n3\nnine bytes\n");
        for count in 1..=3 {
            kit.until_cx("one more", |_, _| seen.borrow().frames.len() == count);
            kit.turn_for(Duration::from_millis(20));
            assert_eq!(seen.borrow().frames.len(), count);
            let conn = seen.borrow().frames[0].0;
            kit.cx().resume_reads(conn);
        }
        all_closed(&mut kit, 1);
        assert_eq!(texts(&seen), ["1", "2", "3"]);
        assert_eq!(seen.borrow().errors, ["max line length exceeded"]);
        kit.end();
    }

    #[test]
    fn a_codec_of_tokio_util_is_bounded_and_its_last_frame_comes() {
        let codec = TokioCodec::new(AnyDelimiterCodec::new(b";".to_vec(), b"".to_vec()), 4);
        let (mut one, mut input) = (codec.clone(), sockeye::InputBuffer::from(b"a;bc".to_vec()));
        assert_eq!(one.decode(&mut input).unwrap().unwrap(), "a");
        assert!(one.decode(&mut input).unwrap().is_none());
        input.end();
        assert_eq!(one.decode(&mut input).unwrap().unwrap(), "bc");
        assert!(one.decode(&mut input).unwrap().is_none() && input.is_empty());
        let (mut two, mut input) = (codec, sockeye::InputBuffer::from(b"abcde".to_vec()));
        let error = two.decode(&mut input).unwrap_err();
        assert!(
            matches!(error, CodecError::TooLong { limit: 4, .. }),
            "{error}"
        );
        let mut lines = TokioCodec::new(LinesCodec::new(), 9);
        assert_eq!(lines.frame("abc").unwrap(), "abc\n");
    }
}
