//! Codecs that were written for `tokio_util::codec`.

use super::{CodecError, Decoder};
use crate::buffer::input::Input;
use bytes::{Bytes, BytesMut};
use std::error::Error;
use tokio_util::codec;

/// Runs a codec that was written for `tokio_util::codec`, with the feature `tokio-util`.
///
/// Such codecs want a buffer of their own, so every byte is copied once. What they have decoded is
/// taken from the input, and the rest stays there too: so a pause holds for them as for others.
///
/// ```
/// use sockeye::InputBuffer;
/// use sockeye::codec::{Decoder, TokioCodec};
/// use tokio_util::codec::LinesCodec;
///
/// let mut codec = TokioCodec::new(LinesCodec::new(), 1024);
/// let mut input = InputBuffer::from(b"one\ntwo\n".to_vec());
/// assert_eq!(codec.decode(&mut input)?, Some("one".to_owned()));
/// assert_eq!(&input[..], b"two\n");
/// # Ok::<(), sockeye::codec::CodecError>(())
/// ```
#[derive(Clone, Debug)]
pub struct TokioCodec<C> {
    codec: C,
    max: usize,
    /// A copy of the bytes at the start of the input, as the codec wants them.
    buffer: BytesMut,
}

impl<C> TokioCodec<C> {
    /// A codec, and how many bytes may wait for the rest of their frame.
    pub fn new(codec: C, max: usize) -> TokioCodec<C> {
        TokioCodec {
            codec,
            max,
            buffer: BytesMut::new(),
        }
    }

    /// An item as a frame, for `send`.
    ///
    /// # Errors
    ///
    /// The codec's own.
    pub fn frame<I>(&mut self, item: I) -> Result<Bytes, C::Error>
    where
        C: codec::Encoder<I>,
    {
        let mut frame = BytesMut::new();
        self.codec.encode(item, &mut frame)?;
        Ok(frame.freeze())
    }
}

impl<C> TokioCodec<C>
where
    C: codec::Decoder,
    C::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn run(
        &mut self,
        input: &mut Input,
        decode: impl FnOnce(&mut C, &mut BytesMut) -> Result<Option<C::Item>, C::Error>,
    ) -> Result<Option<C::Item>, CodecError> {
        // An input that has come to look empty gives no more, though its bytes are in the buffer.
        let Some(new) = input.get(self.buffer.len()..) else {
            return Ok(None);
        };
        self.buffer.extend_from_slice(new);
        let before = self.buffer.len();
        let item = decode(&mut self.codec, &mut self.buffer)
            .map_err(|error| CodecError::Other(error.into()))?;
        input.take(before.saturating_sub(self.buffer.len()));
        Ok(item)
    }
}

impl<C> Decoder for TokioCodec<C>
where
    C: codec::Decoder,
    C::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Frame<'d, 'i>
        = C::Item
    where
        Self: 'd;

    fn decode(&mut self, input: &mut Input) -> Result<Option<C::Item>, CodecError> {
        let item = self.run(input, |codec, buffer| codec.decode(buffer))?;
        match item.is_none() {
            true if input.len() > self.max => Err(CodecError::too_long(self.max, None, input)),
            true if input.is_ended() => self.run(input, |codec, buffer| codec.decode_eof(buffer)),
            _ => Ok(item),
        }
    }

    fn max_input(&self) -> usize {
        self.max
    }
}
