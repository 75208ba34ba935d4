//! Decoders for the connections of a handler: a part of it.

use crate::buffer::input::Input;
use crate::codec::{CodecError, Decoder};
use crate::context::Context;
use crate::id::ConnId;
use crate::tables::conn_map::ConnMap;

/// A decoder for each connection, as a field of your handler, which pulls frames from it.
///
/// ```
/// use sockeye::codec::{Encoder, Lines};
/// use sockeye::{Chunk, ConnId, Context, Frames, Handler, Input};
///
/// /// Says each line again. `LIMIT n` changes how long the lines of this connection may be.
/// struct Echo {
///     lines: Frames<Lines>,
/// }
///
/// impl Handler for Echo {
///     fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
///         while let Some(line) = self.lines.next(cx, conn, input) {
///             self.said(cx, conn, line);
///         }
///     }
/// }
///
/// impl Echo {
///     fn said(&mut self, cx: &mut Context, conn: ConnId, line: Chunk<'_>) {
///         let text = str::from_utf8(&line).unwrap_or_default();
///         let limit = text.strip_prefix("LIMIT ").map(str::parse);
///         if let Some(Ok(limit)) = limit {
///             self.lines.set(cx, conn, Lines::new(limit)); // from the next line on
///         } else if let Ok(frame) = Lines::new(line.len()).frame(line) {
///             cx.send(conn, frame);
///         }
///     }
/// }
///
/// let echo = Echo { lines: Frames::new(Lines::new(1024)) };
/// ```
///
/// A frame borrows from the input, and from the decoder only where its type says so. So inside the
/// loop all of `self` is free, as above, or, with a decoder whose frames borrow from it, all other
/// fields. In code that is generic over the decoder a frame counts as borrowing from both.
///
/// **A connection without a decoder has no frames here.** So several framings over one state are
/// several fields, and several such loops one after the other. An upgrade in mid-stream is
/// [`remove`](Frames::remove) from one and [`set`](Frames::set) in another; no byte is lost, and if
/// the loop of the new one stands behind that of the old one, it goes on in the same call. Which
/// one a connection begins with is chosen in `on_open`, by its origin or its tag.
///
/// The loop ends when the rest of a frame has not come, and when the connection is closed or its
/// reads are paused; then the frames behind wait in the input. What stands behind the loop is done
/// once for each batch; answers that are sent only there want [`try_next`](Frames::try_next), for
/// `next` has closed before them where a frame was none. What is left when the peer sends no more
/// comes to `on_data` once more: it is a frame (`or_eof`), or
/// [`Truncated`](CodecError::Truncated). Nothing is to be done in `on_eof`, but with
/// [`UntilEof`](crate::codec::UntilEof) there: nothing at all is a frame too, and comes with no
/// `on_data`, so pull in both.
///
/// Nor is anything to be done in `on_close`: a decoder is not found again once its connection is
/// over. Its memory goes to the next connection in that place, or at once with `remove`.
#[derive(Debug)]
pub struct Frames<C> {
    /// What a connection begins with.
    codec: Option<C>,
    /// `None`: this one has no decoder, whatever others begin with.
    decoders: ConnMap<Option<C>>,
}

/// Those connections only that are given a decoder with [`set`](Frames::set) have frames.
impl<C> Default for Frames<C> {
    fn default() -> Frames<C> {
        Frames {
            codec: None,
            decoders: ConnMap::new(),
        }
    }
}

impl<C> Frames<C> {
    /// Each connection begins with a copy of this decoder, as it is before anything has come.
    pub fn new(codec: C) -> Frames<C>
    where
        C: Decoder,
    {
        Frames {
            codec: Some(codec),
            decoders: ConnMap::new(),
        }
    }

    /// Drops the decoder of a connection that is over.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        self.decoders.remove(conn);
    }
}

impl<C: Decoder + Clone> Frames<C> {
    /// Gives a connection this decoder, from the next frame on, in the place of the one that it has
    /// had. The bytes that are not yet taken are the new one's. `false`: no such connection, or it
    /// is closing.
    pub fn set(&mut self, cx: &mut Context, conn: ConnId, codec: C) -> bool {
        let lives = cx.raise_input_limit(conn, codec.max_input());
        if lives {
            self.decoders.insert(conn, Some(codec));
        }
        lives
    }

    /// The connection's decoder, to change. A maximum that grows raises the input limit with the
    /// next frame. `None`: it has none here, or the connection is over.
    pub fn get_mut(&mut self, cx: &mut Context, conn: ConnId) -> Option<&mut C> {
        if !self.decoders.contains(conn) {
            let codec = self.codec.clone().filter(|_| cx.live(conn).is_some())?;
            self.decoders.insert(conn, Some(codec));
        }
        self.decoders.get_mut(conn)?.as_mut()
    }

    /// Takes the decoder of a connection, which has no frames here from now on, until it is given
    /// another one. `None`: it had none, or nothing has come for it yet.
    pub fn remove(&mut self, cx: &mut Context, conn: ConnId) -> Option<C> {
        match self.codec.is_some() && cx.live(conn).is_some() {
            // Or the next call would begin with a copy.
            true => self.decoders.insert(conn, None)?,
            false => self.decoders.remove(conn)?,
        }
    }

    /// The next frame. `None`: the rest of it has not come, or the connection is closed or paused,
    /// or it has no decoder here. What is no frame closes the connection after a flush, with
    /// [`Protocol`](crate::Reason::Protocol) and the error.
    #[inline]
    pub fn next<'d, 'i>(
        &'d mut self,
        cx: &mut Context,
        conn: ConnId,
        input: &'i mut Input,
    ) -> Option<C::Frame<'d, 'i>> {
        match self.try_next(cx, conn, input) {
            Ok(frame) => frame,
            Err(error) => {
                cx.close_because(conn, error);
                None
            }
        }
    }

    /// The next frame, as [`next`](Frames::next) gives it, but bytes that are not a frame are an
    /// error and close nothing. So you can send a last word.
    ///
    /// # Errors
    ///
    /// The bytes received are not a frame. The decoder has then lost its place: close the
    /// connection ([`close_because`](Context::close_because) keeps the reason), or give it another
    /// decoder.
    #[inline]
    pub fn try_next<'d, 'i>(
        &'d mut self,
        cx: &mut Context,
        conn: ConnId,
        input: &'i mut Input,
    ) -> Result<Option<C::Frame<'d, 'i>>, CodecError> {
        match self.wanted(cx, conn) {
            Some(decoder) => decoder.decode(input),
            None => Ok(None),
        }
    }

    /// Gives one frame after another to `each`, as many as have come and are wanted: quicker than
    /// `try_next` where the decoder has a quicker way.
    #[inline]
    pub(crate) fn each(
        &mut self,
        cx: &mut Context,
        conn: ConnId,
        input: &mut Input,
        mut each: impl FnMut(&mut Context, C::Frame<'_, '_>),
    ) -> Result<(), CodecError> {
        let Some(decoder) = self.wanted(cx, conn) else {
            return Ok(());
        };
        decoder.decode_each(input, |frame| {
            each(cx, frame);
            cx.wants_frames(conn, 0)
        })
    }

    /// The connection's decoder, if it wants frames.
    #[inline]
    fn wanted(&mut self, cx: &mut Context, conn: ConnId) -> Option<&mut C> {
        let decoder = self.get_mut(cx, conn)?;
        let max = decoder.max_input();
        cx.wants_frames(conn, max).then_some(decoder)
    }
}
