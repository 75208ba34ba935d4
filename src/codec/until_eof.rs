//! Messages that the end of the stream ends.

use super::{CodecError, Decoder, Encoder};
use crate::buffer::input::{Chunk, Input};
use crate::buffer::payload::{Payload, ToPayload};

/// All that comes until the peer sends no more is one frame; so is nothing at all.
///
/// It waits in memory, so it has a maximum. For more than that, take bytes as they come, in
/// `on_data`. To send such a frame, send its bytes, then `shutdown_write` or `close`.
#[derive(Clone, Copy, Debug)]
pub struct UntilEof {
    max: usize,
    given: bool,
}

impl UntilEof {
    /// A frame of `max` bytes at most.
    pub const fn new(max: usize) -> UntilEof {
        UntilEof { max, given: false }
    }
}

impl Decoder for UntilEof {
    type Frame<'d, 'i> = Chunk<'i>;

    fn decode<'i>(&mut self, input: &'i mut Input) -> Result<Option<Chunk<'i>>, CodecError> {
        if input.len() > self.max {
            return Err(CodecError::too_long(self.max, None, input));
        }
        let is_now = input.is_ended() && !std::mem::replace(&mut self.given, true);
        Ok(is_now.then(|| input.take_all()))
    }

    fn max_input(&self) -> usize {
        self.max
    }
}

impl Encoder for UntilEof {
    fn frame<'a>(&'a self, payload: impl ToPayload<'a>) -> Result<Payload<'a>, CodecError> {
        let payload = payload.into();
        super::check_len(payload.len(), self.max, &payload)?;
        Ok(payload)
    }
}
