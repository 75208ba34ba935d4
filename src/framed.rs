//! A handler of frames as a handler of bytes.

use crate::addr::Addr;
use crate::buffer::input::Input;
use crate::closed::{Closed, Deadline};
use crate::codec::{CodecError, Decoder};
use crate::conn::Origin;
use crate::context::Context;
use crate::frames::Frames;
use crate::handler::{Accept, Handler};
use crate::id::{ConnId, ListenerId, TimerId, WatchId};
use crate::readiness::Readiness;
use std::io;

/// A handler of whole frames: [`Handler`], with [`on_frame`](FrameHandler::on_frame) instead of
/// `on_data`.
///
/// `C` is the decoder, and `M` the type of messages from other threads. Every other callback is
/// that of [`Handler`], with the same default.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of the frames that `{C}` gives",
    label = "no `FrameHandler<{C}, {M}>`",
    note = "write `impl FrameHandler<{C}, {M}> for {Self}`, with `on_frame`; `()`: no messages",
    note = "a handler of messages runs on the reactor that `Reactor::with_messages()` makes"
)]
#[allow(
    unused_variables,
    reason = "the defaults ignore most of what they are given"
)]
pub trait FrameHandler<C: Decoder, M = ()> {
    /// A frame has arrived. It is borrowed from the input; turn it into `Bytes` to keep it.
    ///
    /// If this closes the connection or pauses its reads, no further frame comes, or none until
    /// `resume_reads`, even if it has already arrived.
    fn on_frame(&mut self, cx: &mut Context, conn: ConnId, frame: C::Frame<'_, '_>);

    /// The bytes received are not a frame: too long, malformed, or cut off by the end of the
    /// stream. When this returns, the connection is closed after a flush, with
    /// [`Protocol`](crate::Reason::Protocol) and the error, so you can send a last word. If the
    /// peer does not read, and the last word meets the hard limit, the overflow policy applies:
    /// with `Close` the reason is then [`PendingLimit`](crate::Reason::PendingLimit). Default:
    /// nothing.
    fn on_frame_error(&mut self, cx: &mut Context, conn: ConnId, error: &CodecError) {}

    /// [`Handler::on_accept`]. Default: keep it.
    fn on_accept(&mut self, cx: &mut Context, listener: ListenerId, peer: &Addr) -> Accept {
        Accept::Keep
    }

    /// [`Handler::on_open`]. Default: nothing.
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, origin: Origin) {}

    /// [`Handler::on_drain`]. Default: nothing.
    fn on_drain(&mut self, cx: &mut Context, conn: ConnId) {}

    /// [`Handler::on_eof`], after the last frame, and with nothing left over. Default: close, after
    /// a flush.
    fn on_eof(&mut self, cx: &mut Context, conn: ConnId) {
        cx.close(conn);
    }

    /// [`Handler::on_secure`]. Default: nothing.
    #[cfg(feature = "tls")]
    fn on_secure(&mut self, cx: &mut Context, conn: ConnId) {}

    /// [`Handler::on_deadline`]. Default: close after a flush, with reason `TimedOut(which)`.
    fn on_deadline(&mut self, cx: &mut Context, conn: ConnId, which: Deadline) {
        cx.close_timed_out(conn, which);
    }

    /// [`Handler::on_finish`]. Default: close, after a flush.
    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        cx.close(conn);
    }

    /// [`Handler::on_close`]. Default: nothing.
    fn on_close(&mut self, cx: &mut Context, conn: ConnId, closed: Closed) {}

    /// [`Handler::on_timer`]. Default: nothing.
    fn on_timer(&mut self, cx: &mut Context, timer: TimerId, key: u64) {}

    /// [`Handler::on_message`]. Default: drop it.
    fn on_message(&mut self, cx: &mut Context, message: M) {}

    /// [`Handler::on_accept_error`]. Default: nothing.
    fn on_accept_error(&mut self, cx: &mut Context, listener: ListenerId, error: io::Error) {}

    /// [`Handler::on_ready`]. Default: nothing.
    fn on_ready(&mut self, cx: &mut Context, watch: WatchId, key: u64, readiness: Readiness) {}
}

/// A decoder in front of a handler of frames: together a [`Handler`].
///
/// Each connection has a copy of the decoder, and its input limit is raised to the decoder's
/// maximum.
///
/// ```no_run
/// use sockeye::codec::Lines;
/// use sockeye::{Chunk, ConnId, Context, FrameHandler, Framed, Reactor, Sent};
///
/// struct Shout;
///
/// impl FrameHandler<Lines> for Shout {
///     fn on_frame(&mut self, cx: &mut Context, conn: ConnId, line: Chunk<'_>) {
///         if cx.send(conn, (line.to_ascii_uppercase(), "!\n")) == Sent::Wait {
///             cx.pause_until_drained(conn); // no further line until they are read
///         }
///     }
/// }
///
/// let mut reactor = Reactor::new()?;
/// reactor.listen("127.0.0.1:7000")?;
/// reactor.run(&mut Framed::new(Lines::new(4096), Shout))?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// In an application of several parts, hand it its events in `on_event`, like any other handler.
#[derive(Debug)]
pub struct Framed<C, H> {
    frames: Frames<C>,
    handler: H,
}

impl<C, H> Framed<C, H> {
    /// Puts a decoder in front of a handler. Every connection starts with a copy of the decoder.
    pub fn new(codec: C, handler: H) -> Framed<C, H>
    where
        C: Decoder,
    {
        Framed {
            frames: Frames::new(codec),
            handler,
        }
    }

    /// The handler of frames.
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// The handler of frames, to change.
    pub fn handler_mut(&mut self) -> &mut H {
        &mut self.handler
    }

    /// Gives the handler back.
    pub fn into_handler(self) -> H {
        self.handler
    }
}

impl<C, H, M> Handler<M> for Framed<C, H>
where
    C: Decoder + Clone,
    H: FrameHandler<C, M>,
{
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        let (frames, handler) = (&mut self.frames, &mut self.handler);
        let frames = frames.each(cx, conn, input, |cx, frame| {
            handler.on_frame(cx, conn, frame);
        });
        if let Err(error) = frames {
            self.handler.on_frame_error(cx, conn, &error);
            cx.close_because(conn, error);
        }
    }

    /// The end of the stream may be a frame even if nothing is left of it.
    fn on_eof(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        self.on_data(cx, conn, input);
        if cx.is_open(conn) && !cx.put_off_eof(conn) {
            self.handler.on_eof(cx, conn);
        }
    }

    fn on_close(&mut self, cx: &mut Context, conn: ConnId, closed: Closed) {
        self.frames.forget(conn);
        self.handler.on_close(cx, conn, closed);
    }

    fn on_accept(&mut self, cx: &mut Context, listener: ListenerId, peer: &Addr) -> Accept {
        self.handler.on_accept(cx, listener, peer)
    }

    fn on_open(&mut self, cx: &mut Context, conn: ConnId, origin: Origin) {
        self.handler.on_open(cx, conn, origin);
    }

    fn on_drain(&mut self, cx: &mut Context, conn: ConnId) {
        self.handler.on_drain(cx, conn);
    }

    #[cfg(feature = "tls")]
    fn on_secure(&mut self, cx: &mut Context, conn: ConnId) {
        self.handler.on_secure(cx, conn);
    }

    fn on_deadline(&mut self, cx: &mut Context, conn: ConnId, which: Deadline) {
        self.handler.on_deadline(cx, conn, which);
    }

    fn on_finish(&mut self, cx: &mut Context, conn: ConnId) {
        self.handler.on_finish(cx, conn);
    }

    fn on_timer(&mut self, cx: &mut Context, timer: TimerId, key: u64) {
        self.handler.on_timer(cx, timer, key);
    }

    fn on_message(&mut self, cx: &mut Context, message: M) {
        self.handler.on_message(cx, message);
    }

    fn on_accept_error(&mut self, cx: &mut Context, listener: ListenerId, error: io::Error) {
        self.handler.on_accept_error(cx, listener, error);
    }

    fn on_ready(&mut self, cx: &mut Context, watch: WatchId, key: u64, readiness: Readiness) {
        self.handler.on_ready(cx, watch, key, readiness);
    }
}
