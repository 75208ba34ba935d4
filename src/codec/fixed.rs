//! Messages of one length.

use super::{CodecError, Decoder, Encoder};
use crate::buffer::input::{Chunk, Input};
use crate::buffer::payload::{Payload, ToPayload};

/// Frames that are all of the same length.
#[derive(Clone, Copy, Debug)]
pub struct Fixed(usize);

impl Fixed {
    /// Frames of `len` bytes.
    ///
    /// # Panics
    ///
    /// If that is 0: every input would have endless many.
    pub const fn new(len: usize) -> Fixed {
        assert!(len > 0, "a frame must have at least one byte");
        Fixed(len)
    }
}

impl Decoder for Fixed {
    type Frame<'d, 'i> = Chunk<'i>;

    #[inline]
    fn decode<'i>(&mut self, input: &'i mut Input) -> Result<Option<Chunk<'i>>, CodecError> {
        match input.len() >= self.0 {
            true => Ok(Some(input.take(self.0))),
            false => input.incomplete(),
        }
    }

    fn max_input(&self) -> usize {
        self.0
    }
}

impl Encoder for Fixed {
    fn frame<'a>(&'a self, payload: impl ToPayload<'a>) -> Result<Payload<'a>, CodecError> {
        let payload = payload.into();
        match payload.len() == self.0 {
            true => Ok(payload),
            false => {
                let what = "a payload of another length than all frames have";
                Err(CodecError::malformed(what, payload.first()))
            }
        }
    }
}
