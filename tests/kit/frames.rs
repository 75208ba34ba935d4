//! A handler of frames, on either edge.

use super::default;
use super::edge::{Edge, On};
use sockeye::codec::{CodecError, Decoder};
use sockeye::{ConnId, Context, EventKind, FrameHandler, Framed, Handler, Reason};
use std::cell::RefCell;
use std::rc::Rc;

pub type Frames = Rc<RefCell<Vec<(ConnId, Vec<u8>)>>>;

/// Writes down the frames, and does with each what the scenario says.
pub struct Recorder<F> {
    pub frames: Frames,
    pub errors: Rc<RefCell<usize>>,
    pub eofs: Rc<RefCell<usize>>,
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

    fn on_eof(&mut self, cx: &mut Context, conn: ConnId) {
        *self.eofs.borrow_mut() += 1;
        cx.close(conn);
    }

    fn on_drain(&mut self, cx: &mut Context, conn: ConnId) {
        cx.resume_reads(conn);
    }
}

pub struct Scene {
    pub edge: Edge,
    pub frames: Frames,
    pub errors: Rc<RefCell<usize>>,
    /// Ends that the handler of frames was told of.
    pub eofs: Rc<RefCell<usize>>,
}

impl Scene {
    pub fn new<C>(on: On, codec: C, act: impl FnMut(&mut Context, ConnId, &[u8]) + 'static) -> Scene
    where
        C: Decoder + Clone + 'static,
        for<'d, 'i> C::Frame<'d, 'i>: AsRef<[u8]>,
    {
        let (frames, errors, eofs) = (Frames::default(), Rc::default(), Rc::default());
        let recorder = Recorder {
            frames: frames.clone(),
            errors: Rc::clone(&errors),
            eofs: Rc::clone(&eofs),
            on_frame: act,
        };
        let mut framed = Framed::new(codec, recorder);
        let edge = on.edge(move |cx, event| match event {
            EventKind::Data { conn, input } => framed.on_data(cx, conn, input),
            EventKind::Eof { conn, input } => framed.on_eof(cx, conn, input),
            EventKind::Drain { conn } => framed.on_drain(cx, conn),
            EventKind::Close { conn, closed } => framed.on_close(cx, conn, closed),
            other => default(cx, other),
        });
        Scene {
            edge,
            frames,
            errors,
            eofs,
        }
    }

    #[track_caller]
    pub fn until_frames(&mut self, count: usize) {
        let frames = self.frames.clone();
        let what = format!("{count} frames");
        self.edge.until(&what, |_| frames.borrow().len() >= count);
    }

    pub fn texts(&self) -> Vec<String> {
        let frames = self.frames.borrow();
        let text = |(_, frame): &(ConnId, Vec<u8>)| String::from_utf8_lossy(frame).into_owned();
        frames.iter().map(text).collect()
    }

    /// The error that the only connection was closed with.
    #[track_caller]
    pub fn error(&mut self) -> &CodecError {
        let id = self.edge.id(0);
        match self.edge.log().life(id).reason() {
            Reason::Protocol(error) => error.get_ref().unwrap().downcast_ref().unwrap(),
            other => panic!("{other}"),
        }
    }
}
