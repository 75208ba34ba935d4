//! A recorder of frames, for tests of `Framed`.

use super::Kit;
use sockeye::codec::{CodecError, Decoder};
use sockeye::{Chunk, Closed, ConnId, Context, EventKind, FrameHandler, Framed, Handler, Reason};
use std::cell::RefCell;
use std::rc::Rc;

/// What a handler of frames has seen, for the test to look at while the kit has the handler.
#[derive(Default)]
pub struct Seen {
    pub frames: Vec<(ConnId, Vec<u8>)>,
    pub errors: Vec<String>,
    pub eofs: usize,
    pub closed: usize,
}

pub type Shared = Rc<RefCell<Seen>>;

/// Writes down what comes, and does what the test's closure says with each frame.
pub struct Recorder<F> {
    pub seen: Shared,
    pub on_frame: F,
}

impl<C, F> FrameHandler<C> for Recorder<F>
where
    C: for<'d, 'i> Decoder<Frame<'d, 'i> = Chunk<'i>> + 'static,
    F: FnMut(&mut Context, ConnId, Chunk<'_>),
{
    fn on_frame(&mut self, cx: &mut Context, conn: ConnId, frame: Chunk<'_>) {
        self.seen.borrow_mut().frames.push((conn, frame.to_vec()));
        (self.on_frame)(cx, conn, frame);
    }

    fn on_frame_error(&mut self, cx: &mut Context, conn: ConnId, error: &CodecError) {
        self.seen.borrow_mut().errors.push(error.to_string());
        cx.send(conn, "goodbye");
    }

    fn on_eof(&mut self, cx: &mut Context, conn: ConnId) {
        self.seen.borrow_mut().eofs += 1;
        cx.close(conn);
    }

    fn on_drain(&mut self, cx: &mut Context, conn: ConnId) {
        cx.resume_reads(conn);
    }

    fn on_close(&mut self, _: &mut Context, _: ConnId, _: Closed) {
        self.seen.borrow_mut().closed += 1;
    }
}

/// A kit around a framed recorder.
pub fn framed<C>(
    codec: C,
    on_frame: impl FnMut(&mut Context, ConnId, Chunk<'_>) + 'static,
) -> (Kit<impl FnMut(&mut Context, EventKind<'_>)>, Shared)
where
    C: Clone + for<'d, 'i> Decoder<Frame<'d, 'i> = Chunk<'i>> + 'static,
{
    let seen = Shared::default();
    let recorder = Recorder {
        seen: seen.clone(),
        on_frame,
    };
    let mut framed = Framed::new(codec, recorder);
    let kit = Kit::new(move |cx, event| hand(&mut framed, cx, event));
    (kit, seen)
}

/// Hands an event to a handler, as `on_event` does.
pub fn hand(handler: &mut impl Handler, cx: &mut Context, event: EventKind<'_>) {
    match event {
        EventKind::Open { conn, origin } => handler.on_open(cx, conn, origin),
        EventKind::Data { conn, input } => handler.on_data(cx, conn, input),
        EventKind::Eof { conn, input } => handler.on_eof(cx, conn, input),
        EventKind::Drain { conn } => handler.on_drain(cx, conn),
        EventKind::Close { conn, closed } => handler.on_close(cx, conn, closed),
        other => super::default(cx, other),
    }
}

#[track_caller]
pub fn all_closed(kit: &mut Kit<impl FnMut(&mut Context, EventKind<'_>)>, count: usize) {
    kit.until("all are closed", |log| log.closed() == count);
}

/// The frames, as text.
pub fn texts(seen: &Shared) -> Vec<String> {
    let text = |frame: &(ConnId, Vec<u8>)| String::from_utf8_lossy(&frame.1).into_owned();
    seen.borrow().frames.iter().map(text).collect()
}

/// The error that closed the first connection.
#[track_caller]
pub fn protocol_error(reason: &Reason) -> &CodecError {
    match reason {
        Reason::Protocol(error) => error.get_ref().unwrap().downcast_ref().unwrap(),
        other => panic!("{other}"),
    }
}
