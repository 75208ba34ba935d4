//! Frames by parts: F1, F2, R9, R10.

use crate::kit::default;
use crate::kit::edge::{Edge, On};
use crate::on_every_edge;
use sockeye::codec::{CodecError, Decoder, LengthPrefixed, Lines, UntilEof};
use sockeye::{ConnId, Context, EventKind, Frames, Input, InputBuffer, Reason, Tag};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

on_every_edge! {
    a_command_changes_the_limit_of_its_connection_alone,
    an_upgrade_in_mid_stream_goes_on_in_the_same_call_and_loses_no_byte,
    a_tag_chooses_the_framing_and_two_share_one_state,
    what_ends_a_batch_ends_it_by_parts_too,
    the_end_of_the_stream_is_right_by_parts_too,
    a_pause_in_the_last_frame_by_parts_puts_the_end_off,
    who_has_a_last_word_tells_the_error_himself,
    the_next_owner_of_a_place_begins_anew,
    a_pause_holds_for_an_input_of_ones_own_too,
    what_is_left_comes_with_the_end_and_again_after_a_pause_in_that,
}

/// What was said, by whom.
type Said = Rc<RefCell<Vec<(ConnId, String)>>>;

/// A program with two framings over one state.
struct Program<F> {
    lines: Frames<Lines>,
    binary: Frames<LengthPrefixed>,
    said: Said,
    on_frame: F,
}

impl<F: FnMut(&mut Program<()>, &mut Context, ConnId, &str)> Program<F> {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        while let Some(line) = self.lines.next(cx, conn, input) {
            let line = String::from_utf8_lossy(&line).into_owned();
            self.hear(cx, conn, &line);
        }
        while let Some(frame) = self.binary.next(cx, conn, input) {
            let frame = String::from_utf8_lossy(&frame).into_owned();
            self.hear(cx, conn, &frame);
        }
    }

    /// A method of the whole: it may change the decoders in mid-loop.
    fn hear(&mut self, cx: &mut Context, conn: ConnId, text: &str) {
        self.said.borrow_mut().push((conn, text.to_owned()));
        let mut program = Program {
            lines: std::mem::take(&mut self.lines),
            binary: std::mem::take(&mut self.binary),
            said: self.said.clone(),
            on_frame: (),
        };
        (self.on_frame)(&mut program, cx, conn, text);
        (self.lines, self.binary) = (program.lines, program.binary);
    }
}

struct Scene {
    edge: Edge,
    said: Said,
}

impl Scene {
    fn new(
        on: On,
        lines: Frames<Lines>,
        on_frame: impl FnMut(&mut Program<()>, &mut Context, ConnId, &str) + 'static,
    ) -> Scene {
        let said = Said::default();
        let mut program = Program {
            lines,
            binary: Frames::default(),
            said: said.clone(),
            on_frame,
        };
        let edge = on.edge(move |cx, event| match event {
            EventKind::Open { conn, .. } => match cx.tag(conn) {
                Some(Tag(1)) => assert!(program.lines.set(cx, conn, Lines::new(64))),
                Some(Tag(2)) => assert!(program.binary.set(cx, conn, LengthPrefixed::u8(64))),
                _ => {}
            },
            EventKind::Data { conn, input } => program.on_data(cx, conn, input),
            other => default(cx, other),
        });
        Scene { edge, said }
    }

    #[track_caller]
    fn until_said(&mut self, count: usize) {
        let said = self.said.clone();
        let what = format!("{count} frames");
        self.edge.until(&what, |_| said.borrow().len() >= count);
    }

    fn texts(&self) -> Vec<String> {
        self.said
            .borrow()
            .iter()
            .map(|(_, text)| text.clone())
            .collect()
    }

    /// Why the connection of this number is over.
    #[track_caller]
    fn ended(&mut self, index: usize, how: fn(&CodecError) -> bool) {
        let id = self.edge.id(index);
        match self.edge.log().life(id).reason() {
            Reason::Protocol(error) => {
                let error = error.get_ref().unwrap().downcast_ref().unwrap();
                assert!(how(error), "{error}");
            }
            other => panic!("{other}"),
        }
    }
}

// F2, F3
fn a_command_changes_the_limit_of_its_connection_alone(on: On) {
    let lines = Frames::new(Lines::new(8));
    let mut scene = Scene::new(on, lines, |program, cx, conn, text| {
        if text == "LONG" {
            assert!(program.lines.set(cx, conn, Lines::new(100_000)));
        } else if text == "REACH" {
            *program.lines.get_mut(cx, conn).unwrap() = Lines::new(100_000).skip_too_long();
        }
    });
    let addr = scene.edge.listen();
    // Above the input limit of 64 KiB: a decoder that is exchanged or changed raises it.
    let peers = [(); 3].map(|()| scene.edge.peer(&addr));
    scene.edge.until_open(3);
    for (peer, command) in peers.iter().zip(["LONG", "REACH"]) {
        peer.send(format!("{command}\n{}", "x".repeat(90_000)));
    }
    scene.until_said(2);
    scene.edge.pass(Duration::from_millis(20));
    peers[..2].iter().for_each(|peer| peer.send("x\n"));
    scene.until_said(4);
    scene.edge.pass(Duration::from_millis(2));
    assert_eq!(scene.edge.log().closed(), 0);
    peers[2].send("123456789\n");
    scene.edge.until("it has its end", |_| peers[2].is_closed());
    peers[2].close();
    scene
        .edge
        .until("one is closed", |edge| edge.log().closed() == 1);
    assert_eq!(scene.said.borrow().len(), 4);
    let closed = (0..3).filter(|n| {
        let id = scene.edge.id(*n);
        scene.edge.log().life(id).closed.is_some()
    });
    let closed: Vec<usize> = closed.collect();
    scene.ended(closed[0], |error| {
        matches!(error, CodecError::TooLong { limit: 8, .. })
    });
    scene.edge.end();
}

// F2
fn an_upgrade_in_mid_stream_goes_on_in_the_same_call_and_loses_no_byte(on: On) {
    let lines = Frames::new(Lines::new(64));
    let mut scene = Scene::new(on, lines, |program, cx, conn, text| {
        if text == "UPGRADE" {
            assert!(program.lines.remove(cx, conn).is_some());
            assert!(program.binary.set(cx, conn, LengthPrefixed::u8(64)));
        }
    });
    let addr = scene.edge.listen();
    // What looks like a line is none any more.
    let bytes = b"one\nUPGRADE\n\x03a\nb\x00\x02c\n";
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
    scene.until_said(5 * peers.len());
    for id in scene.edge.log().ids.clone() {
        let said = scene.said.borrow();
        let of_it: Vec<_> = said.iter().filter(|(conn, _)| *conn == id).collect();
        let of_it: Vec<&str> = of_it.iter().map(|(_, text)| &text[..]).collect();
        assert_eq!(of_it, ["one", "UPGRADE", "a\nb", "", "c\n"]);
    }
    if matches!(on, On::Sim) {
        // The first had all at once.
        let id = scene.edge.id(0);
        assert_eq!(scene.edge.log().life(id).count("data"), 1);
    }
    scene.edge.end();
}

// F2
fn a_tag_chooses_the_framing_and_two_share_one_state(on: On) {
    let mut scene = Scene::new(on, Frames::default(), |_, _, _, _| {});
    let lines = scene.edge.listen_with(|listen| listen.tag(Tag(1)));
    let binary = scene.edge.listen_with(|listen| listen.tag(Tag(2)));
    let none = scene.edge.listen();
    let peers = [lines, binary, none].map(|addr| scene.edge.peer(&addr));
    scene.edge.until_open(3);
    peers.iter().for_each(|peer| peer.send("\x02a\n"));
    scene.until_said(2);
    scene.edge.pass(Duration::from_millis(2));
    let mut texts = scene.texts();
    texts.sort();
    assert_eq!(texts, ["\x02a", "a\n"]);
    scene.edge.end();
}

// F1, R10
fn what_ends_a_batch_ends_it_by_parts_too(on: On) {
    type End = fn(&mut Context, ConnId) -> bool;
    let ends: [End; 4] = [
        Context::close,
        Context::abort,
        Context::pause_reads,
        |cx, conn| cx.close_because(conn, "enough"),
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let lines = Frames::new(Lines::new(4));
        let mut scene = Scene::new(on, lines, move |program, cx, conn, text| {
            if text == "2" {
                end(cx, conn);
                // No other loop gives it either.
                program.binary.set(cx, conn, LengthPrefixed::u8(64));
            }
        });
        let addr = scene.edge.listen();
        let peer = scene.edge.peer(&addr);
        peer.send("1\n2\n\x013\nno such line\n");
        scene.until_said(2);
        scene.edge.pass(Duration::from_millis(3));
        assert_eq!(scene.texts(), ["1", "2"], "{n}");
        peer.close();
        if n == 2 {
            let id = scene.edge.id(0);
            scene.edge.cx().resume_reads(id);
            scene.edge.until_all_closed();
            assert_eq!(scene.texts()[2], "\x013");
        }
        scene.edge.until_all_closed();
        scene.edge.end();
    }
}

// F1, R9: nothing is done for it in `on_eof`.
fn the_end_of_the_stream_is_right_by_parts_too(on: On) {
    for (codec, texts, is_clean) in [
        (Lines::new(64), &["whole"][..], false),
        (Lines::new(64).or_eof(), &["whole", "half"], true),
    ] {
        for reset in [false, true] {
            if reset && on.is_unix() {
                continue; // there it is an end
            }
            let mut scene = Scene::new(on, Frames::new(codec), |_, _, _, _| {});
            let addr = scene.edge.listen();
            let peer = scene.edge.peer(&addr);
            peer.send("whole\nha");
            scene.until_said(1);
            if reset {
                scene.edge.pass(Duration::from_millis(2));
                peer.reset();
            } else {
                peer.send("lf");
                peer.shutdown();
            }
            scene.edge.until_all_closed();
            let id = scene.edge.id(0);
            if reset {
                assert_eq!(scene.texts(), ["whole"]);
                assert!(matches!(scene.edge.log().life(id).reason(), Reason::Reset));
            } else if is_clean {
                assert_eq!(scene.texts(), texts);
                assert!(matches!(scene.edge.log().life(id).reason(), Reason::Eof));
            } else {
                assert_eq!(scene.texts(), texts);
                scene.ended(0, |error| matches!(error, CodecError::Truncated { .. }));
            }
            scene.edge.end();
        }
    }
}

// F1, R10, R6
fn a_pause_in_the_last_frame_by_parts_puts_the_end_off(on: On) {
    let lines = Frames::new(Lines::new(64).or_eof());
    let mut scene = Scene::new(on, lines, |_, cx, conn, _| {
        cx.pause_reads(conn);
    });
    let addr = scene.edge.listen();
    let peer = scene.edge.peer(&addr);
    peer.send("1\n2\n3");
    peer.shutdown();
    for count in 1..=3 {
        scene.until_said(count);
        scene.edge.pass(Duration::from_millis(3));
        assert_eq!(scene.texts().len(), count);
        assert_eq!(scene.edge.log().count("eof"), 0);
        let id = scene.edge.id(0);
        scene.edge.cx().resume_reads(id);
    }
    scene.edge.until_all_closed();
    assert_eq!(scene.texts(), ["1", "2", "3"]);
    assert_eq!(scene.edge.log().count("eof"), 1);
    scene.edge.end();
}

// R9, F2: an error closes nothing by itself then, and a connection goes on with another decoder.
fn who_has_a_last_word_tells_the_error_himself(on: On) {
    let (mut frames, mut whole) = (Frames::new(Lines::new(4)), Frames::<UntilEof>::default());
    let said = Rc::new(RefCell::new(Vec::new()));
    let heard = Rc::clone(&said);
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Data { conn, input } => {
            match frames.try_next(cx, conn, input) {
                Ok(line) => assert!(line.is_none(), "no line is short enough"),
                Err(error) => {
                    cx.send(conn, format!("{error}"));
                    frames.remove(cx, conn);
                    whole.set(cx, conn, UntilEof::new(64));
                }
            }
            while let Some(all) = whole.next(cx, conn, input) {
                heard.borrow_mut().push(all.to_vec());
            }
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    peer.send("too long\n");
    let word = br#"frame exceeds the limit of 4 bytes: "too lon"#;
    edge.until("the last word", |_| {
        peer.received().starts_with(&word[..30])
    });
    peer.send("and more");
    peer.shutdown();
    edge.until_all_closed();
    assert_eq!(*said.borrow(), [b"too long\nand more"]);
    edge.end();
}

// F2: with no `on_close`.
fn the_next_owner_of_a_place_begins_anew(on: On) {
    let lines = Frames::new(Lines::new(64));
    let mut scene = Scene::new(on, lines, |program, cx, conn, text| {
        if text == "NONE" {
            program.lines.remove(cx, conn);
        }
        let max = program
            .lines
            .get_mut(cx, conn)
            .map(|lines| lines.max_input());
        assert_eq!(max, (text != "NONE").then_some(65));
    });
    let addr = scene.edge.listen();
    for count in 1..=3 {
        let peer = scene.edge.peer(&addr);
        peer.send("NONE\nnothing\nha");
        scene.until_said(count);
        peer.close();
        scene.edge.until_all_closed();
    }
    let peer = scene.edge.peer(&addr);
    peer.send("here\n");
    scene.until_said(4);
    assert_eq!(scene.texts(), ["NONE", "NONE", "NONE", "here"]);
    scene.edge.end();
}

// F1: such an input does not come to look empty.
fn a_pause_holds_for_an_input_of_ones_own_too(on: On) {
    let mut frames = Frames::new(Lines::new(64));
    let said = Rc::new(RefCell::new(Vec::new()));
    let heard = Rc::clone(&said);
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Data { conn, input } => {
            let mut own = InputBuffer::from(input.take_all().to_vec());
            while let Some(line) = frames.next(cx, conn, &mut own) {
                heard.borrow_mut().push(line.to_vec());
                cx.pause_reads(conn);
            }
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    peer.send("1\n2\n");
    edge.until("one has come", |_| !said.borrow().is_empty());
    edge.pass(Duration::from_millis(2));
    assert_eq!(*said.borrow(), [b"1"]);
    edge.end();
}

// F1, R6: a handler of bytes may leave whole messages, too.
fn what_is_left_comes_with_the_end_and_again_after_a_pause_in_that(on: On) {
    let said = Rc::new(RefCell::new(Vec::new()));
    let heard = Rc::clone(&said);
    let mut edge = on.edge(move |cx, event| match event {
        EventKind::Data { conn, input } if input.is_ended() => {
            heard.borrow_mut().push(input.to_vec());
            input.take(1);
            cx.pause_reads(conn);
        }
        EventKind::Data { .. } => {}
        EventKind::Eof { conn, input } => {
            assert!(input.is_ended() && input.is_empty());
            cx.close(conn);
        }
        other => default(cx, other),
    });
    let addr = edge.listen();
    let peer = edge.peer(&addr);
    peer.send("abc");
    peer.shutdown();
    for count in 1..=3 {
        edge.until("it is offered", |_| said.borrow().len() == count);
        edge.pass(Duration::from_millis(2));
        assert_eq!((said.borrow().len(), edge.log().count("eof")), (count, 0));
        let id = edge.id(0);
        edge.cx().resume_reads(id);
    }
    edge.until_all_closed();
    assert_eq!(*said.borrow(), [&b"abc"[..], b"bc", b"c"]);
    edge.end();
}
