//! Where a message ends: bytes to frames, and frames to bytes.
//!
//! A stream has no messages: two may come in one read, and one in a hundred pieces. There are four
//! ways to tell where a message ends, and a decoder for each:
//!
//! | the message | decoder |
//! |---|---|
//! | has a fixed length | [`Fixed`] |
//! | ends with a delimiter | [`Lines`], [`TextLines`], [`Delimited`] |
//! | says its length first | [`LengthPrefixed`] |
//! | ends with the stream | [`UntilEof`] |
//!
//! [`Framed`](crate::Framed) puts one of them before a handler of frames. Without it, call
//! [`decode`](Decoder::decode) in `on_data` until it gives `None`.
//!
//! A frame is a [`Chunk`](crate::Chunk) of the input: borrowed, not copied, until it is turned into
//! `Bytes`; that of `TextLines` is a `&str`. Every decoder has a maximum, remembers how far it has
//! searched (a frame that comes one byte at a time costs no more than one that comes whole), and
//! never allocates what a peer merely claims.
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
mod text_lines;
#[cfg(feature = "tokio-util")]
mod tokio_util;
mod until_eof;

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
use crate::buffer::payload::Payload;
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
///     type Frame<'a> = (u8, u16);
///
///     fn decode(&mut self, input: &mut Input) -> Result<Option<(u8, u16)>, CodecError> {
///         if input.len() < 3 {
///             return Ok(None);
///         }
///         Ok(Some((input.get_u8(), input.get_u16())))
///     }
/// }
/// ```
pub trait Decoder {
    /// What a decoder gives: a [`Chunk`](crate::Chunk) mostly.
    type Frame<'a>;

    /// The next frame, taken from the input; `None`: the rest of it has not come yet.
    ///
    /// # Errors
    ///
    /// What comes cannot become a frame. The stream is then out of step: no further call makes
    /// sense.
    fn decode<'a>(&mut self, input: &'a mut Input) -> Result<Option<Self::Frame<'a>>, CodecError>;

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
        mut each: impl FnMut(Self::Frame<'_>) -> bool,
    ) -> Result<(), CodecError> {
        while let Some(frame) = self.decode(input)? {
            if !each(frame) {
                break;
            }
        }
        Ok(())
    }

    /// No more will come, and `decode` has given `None`: the frame that the end of the stream ends,
    /// if there is one; called until it gives `None`. Default: what is left is `Truncated`.
    ///
    /// # Errors
    ///
    /// What is left is no frame.
    fn decode_eof<'a>(
        &mut self,
        input: &'a mut Input,
    ) -> Result<Option<Self::Frame<'a>>, CodecError> {
        match input.is_empty() {
            true => Ok(None),
            false => Err(CodecError::truncated(input)),
        }
    }

    /// How many bytes may wait for the rest of their frame, at most. `Framed` raises the
    /// connection's input limit to it. Default: 0, the limit stays as it is.
    fn max_input(&self) -> usize {
        0
    }
}

/// Frames to bytes.
pub trait Encoder {
    /// A payload as a frame, for `send` and `broadcast`. The payload is not copied.
    ///
    /// # Errors
    ///
    /// The decoder at the other end would not give this payload back: it is longer than the
    /// maximum, or has the delimiter in it.
    fn frame<'a>(&'a self, payload: impl Into<Payload<'a>>) -> Result<Payload<'a>, CodecError>;

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
