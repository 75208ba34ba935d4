//! `Framed` as a part of an application, and what its codecs promise beside it.

use crate::kit::{peer, read_all, read_n, spawn, write};
use sockeye::InputBuffer;
use sockeye::codec::{Decoder, Encoder, LengthPrefixed, Lines};
use sockeye::{
    Chunk, ConnId, Context, Event, FrameHandler, Framed, Handler, Input, Listen, Reactor, Tag,
};
use std::cell::RefCell;
use std::net::Shutdown;
use std::rc::Rc;

/// Sends lines back, and keeps them.
#[derive(Default)]
struct Echo(Rc<RefCell<Vec<String>>>);

impl FrameHandler<Lines> for Echo {
    fn on_frame(&mut self, cx: &mut Context, conn: ConnId, frame: Chunk<'_>) {
        let text = String::from_utf8_lossy(&frame).into_owned();
        self.0.borrow_mut().push(text);
        cx.send(conn, Lines::new(usize::MAX).frame(frame).unwrap());
    }
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

/// Sends lines back, sums up frames, and is neither.
struct Parts {
    lines: Framed<Lines, Echo>,
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
    let seen = Rc::default();
    let mut app = Parts {
        lines: Framed::new(Lines::new(64), Echo(Rc::clone(&seen))),
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
    assert_eq!(*seen.borrow(), ["one", "two"]);
    assert_eq!(app.sums.handler().0, 116);
    assert_eq!(app.sums.into_handler().0, 116);
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

#[cfg(feature = "tokio-util")]
mod tokio {
    use sockeye::codec::{CodecError, Decoder, TokioCodec};
    use tokio_util::codec::{AnyDelimiterCodec, LinesCodec};

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
