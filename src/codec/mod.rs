//! Where a message ends: bytes to frames, and frames to bytes.
//!
//! A stream has no messages: two may come in one read, and one in a hundred pieces. There are four
//! ways to tell where a message ends, and a decoder for each:
//!
//! | the message | decoder |
//! |---|---|
//! | has a fixed length | [`Fixed`] |
//! | ends with a delimiter | [`Lines`], [`TextLines`], [`Delimited`] |
//! | starts with its length | [`LengthPrefixed`] |
//! | ends with the stream | [`UntilEof`] |
//!
//! Two whole protocols are here, too: RESP, the protocol of Redis, in [`resp`], and WebSocket, in
//! `codec::websocket` (feature `websocket`).
//!
//! [`Framed`](crate::Framed) puts a decoder in front of a handler of frames.
//! [`Frames`](crate::Frames) is a field of a handler: it has a decoder for each connection, and the
//! handler pulls frames from it.
//!
//! A frame is a [`Chunk`](crate::Chunk) of the input: borrowed, not copied, until it is turned into
//! `Bytes`; a frame of `TextLines` is a `&str`. Every decoder has a maximum and never allocates
//! what a peer merely claims. It remembers how far it has searched, so a frame that arrives one
//! byte at a time costs no more than one that arrives whole.
//!
//! ```
//! use sockeye::InputBuffer;
//! use sockeye::codec::{Decoder, Encoder, LengthPrefixed};
//!
//! const CODEC: LengthPrefixed = LengthPrefixed::u16(1024);
//!
//! let mut buffer = Vec::new();
//! CODEC.encode(b"hello", &mut buffer)?;
//! assert_eq!(buffer, b"\0\x05hello");
//!
//! let (mut codec, mut input) = (CODEC, InputBuffer::from(buffer[..4].to_vec()));
//! assert!(codec.decode(&mut input)?.is_none()); // it comes in two pieces
//! input.append(&buffer[4..]);
//! assert_eq!(codec.decode(&mut input)?.as_deref(), Some(&b"hello"[..]));
//! # Ok::<(), sockeye::codec::CodecError>(())
//! ```

mod delimited;
mod error;
mod fixed;
mod length_prefixed;
mod lines;
pub mod resp;
mod text_lines;
#[cfg(feature = "tokio-util")]
mod tokio_util;
mod until_eof;
#[cfg(feature = "websocket")]
pub mod websocket;

pub use delimited::Delimited;
pub use error::{CodecError, Excerpt};
pub use fixed::Fixed;
pub use length_prefixed::LengthPrefixed;
pub use lines::Lines;
pub use text_lines::TextLines;
#[cfg(feature = "tokio-util")]
pub use tokio_util::TokioCodec;
pub use until_eof::UntilEof;

use crate::buffer::input::Input;
use crate::buffer::payload::{Payload, ToPayload};
use bytes::BufMut;

/// Bytes to frames. Each connection has a decoder of its own, which may remember what it has seen.
///
/// Your own decoder can give a frame of any type, one that borrows from the input too:
///
/// ```
/// use bytes::Buf;
/// use sockeye::codec::{CodecError, Decoder};
/// use sockeye::{Chunk, Input};
///
/// /// A byte that says what it is, then two that say how much.
/// #[derive(Clone)]
/// struct Readings;
///
/// impl Decoder for Readings {
///     type Frame<'d, 'i> = (u8, u16);
///
///     fn decode(&mut self, input: &mut Input) -> Result<Option<(u8, u16)>, CodecError> {
///         if input.len() < 3 {
///             return input.incomplete();
///         }
///         Ok(Some((input.get_u8(), input.get_u16())))
///     }
/// }
/// ```
///
/// It may borrow from the decoder, too: what a frame is made of is then used again for the next.
///
/// ```
/// use sockeye::codec::{CodecError, Decoder};
/// use sockeye::{Input, InputBuffer};
/// use std::ops::Range;
///
/// /// A line of words, with a table of them that is the decoder's.
/// #[derive(Clone, Default)]
/// struct Words(Vec<Range<usize>>);
///
/// struct Command<'d, 'i> {
///     line: &'i [u8],
///     words: &'d [Range<usize>],
/// }
///
/// impl Decoder for Words {
///     type Frame<'d, 'i> = Command<'d, 'i>;
///
///     fn decode<'d, 'i>(
///         &'d mut self,
///         input: &'i mut Input,
///     ) -> Result<Option<Command<'d, 'i>>, CodecError> {
///         let Some(end) = input.find(b'\n') else {
///             return input.incomplete();
///         };
///         let line = &input.take(end + 1).into_slice()[..end];
///         self.0.clear();
///         let mut start = 0;
///         for word in line.split(|byte| *byte == b' ') {
///             self.0.push(start..start + word.len());
///             start += word.len() + 1;
///         }
///         let words = &self.0;
///         Ok(Some(Command { line, words }))
///     }
/// }
///
/// let (mut words, mut input) = (Words::default(), InputBuffer::from(b"SET a 1\n".to_vec()));
/// let command = words.decode(&mut input)?.ok_or("it is whole")?;
/// assert_eq!(&command.line[command.words[1].clone()], b"a");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no decoder",
    label = "no `Decoder`",
    note = "those of this crate are in `sockeye::codec`: `Lines::new(1024)`, for example",
    note = "one that was written for `tokio_util` runs in a `TokioCodec`, with the feature \
            `tokio-util`"
)]
pub trait Decoder {
    /// What a decoder gives: a [`Chunk`](crate::Chunk) mostly. It may borrow from the decoder
    /// (`'d`) and from the input (`'i`).
    type Frame<'d, 'i>
    where
        Self: 'd;

    /// The next frame, taken from the input; `None`: the rest of it has not come yet. For that
    /// answer with [`Input::incomplete`], which makes an error of it where no more will come. What
    /// the end of the stream ends is a frame where [`Input::is_ended`] says so.
    ///
    /// Where a frame does not borrow from the decoder, the first lifetime may be left out:
    /// `fn decode<'i>(&mut self, input: &'i mut Input) -> Result<Option<Chunk<'i>>, CodecError>`.
    ///
    /// # Errors
    ///
    /// What comes cannot become a frame, or the stream has ended within one. The stream is then out
    /// of step: no further call makes sense.
    fn decode<'d, 'i>(
        &'d mut self,
        input: &'i mut Input,
    ) -> Result<Option<Self::Frame<'d, 'i>>, CodecError>;

    /// Gives one frame after another to `each`, until it answers `false`, or the rest of the next
    /// frame has not come yet. Default: by `decode`; a decoder may have a quicker way.
    ///
    /// # Errors
    ///
    /// As `decode`, after the frames before it.
    #[inline]
    fn decode_each(
        &mut self,
        input: &mut Input,
        mut each: impl FnMut(Self::Frame<'_, '_>) -> bool,
    ) -> Result<(), CodecError> {
        while let Some(frame) = self.decode(input)? {
            if !each(frame) {
                break;
            }
        }
        Ok(())
    }

    /// How many bytes may wait for the rest of their frame, at most. `Framed` raises the
    /// connection's input limit to it. Default: 0, the limit stays as it is.
    fn max_input(&self) -> usize {
        0
    }
}

/// Frames to bytes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no encoder",
    label = "no `Encoder`",
    note = "those of this crate are in `sockeye::codec`: `Lines::new(1024)`, for example"
)]
pub trait Encoder {
    /// A payload as a frame, for `send` and `broadcast`. The payload is not copied.
    ///
    /// # Errors
    ///
    /// The decoder at the other end would not give this payload back: it is longer than the
    /// maximum, or has the delimiter in it.
    fn frame<'a>(&'a self, payload: impl ToPayload<'a>) -> Result<Payload<'a>, CodecError>;

    /// Appends a frame to a buffer.
    ///
    /// # Errors
    ///
    /// As `frame`; the buffer is then as it was.
    fn encode(&self, payload: &[u8], buffer: &mut impl BufMut) -> Result<(), CodecError> {
        self.frame(payload)?.put_into(buffer);
        Ok(())
    }
}

impl Input {
    /// What a [`Decoder`] answers when the rest of a frame has not come: `Ok(None)`, or `Truncated`
    /// if bytes are left and no more will come.
    ///
    /// # Errors
    ///
    /// The stream has ended within a frame.
    #[inline]
    pub fn incomplete<F>(&self) -> Result<Option<F>, CodecError> {
        match self.is_ended() && !self.is_empty() {
            true => Err(CodecError::truncated(self)),
            false => Ok(None),
        }
    }
}

/// An encoder's first check.
fn check_len(len: usize, limit: usize, payload: &Payload<'_>) -> Result<(), CodecError> {
    match len > limit {
        false => Ok(()),
        true => Err(CodecError::too_long(
            limit,
            Some(len as u64),
            payload.first(),
        )),
    }
}
