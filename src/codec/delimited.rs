//! Messages that end with a delimiter.

use super::{CodecError, Decoder, Encoder};
use crate::buffer::input::{Chunk, Input};
use crate::buffer::payload::{Payload, ToPayload};
use memchr::{memchr, memmem};
use std::sync::Arc;

/// Frames that end with a delimiter, any string of bytes, which the frame has by choice only; with
/// a maximum of bytes without it. For lines see [`Lines`](super::Lines).
#[derive(Clone, Debug)]
#[doc(alias("AnyDelimiterCodec", "readuntil"))]
pub struct Delimited {
    /// Shared by all connections.
    delimiter: Arc<memmem::Finder<'static>>,
    max: usize,
    or_eof: bool,
    /// Bytes of the delimiter that a frame has: all, or none.
    kept: usize,
    /// Bytes at the start of the input where no delimiter begins.
    searched: usize,
}

impl Delimited {
    /// Frames of `max` bytes at most, each followed by `delimiter`.
    ///
    /// # Panics
    ///
    /// If the delimiter is empty: every input would have endless many.
    pub fn new(delimiter: impl AsRef<[u8]>, max: usize) -> Delimited {
        let delimiter = delimiter.as_ref();
        assert!(
            !delimiter.is_empty(),
            "a delimiter must have at least one byte"
        );
        Delimited {
            delimiter: Arc::new(memmem::Finder::new(delimiter).into_owned()),
            max,
            or_eof: false,
            kept: 0,
            searched: 0,
        }
    }

    /// The end of the stream ends a frame too, unless that would be empty. Without this, what comes
    /// after the last delimiter is `Truncated`.
    pub fn or_eof(self) -> Delimited {
        Delimited {
            or_eof: true,
            ..self
        }
    }

    /// A frame has its delimiter, to be sent on as it is, for example; one that the end of the
    /// stream ends has none. The maximum does not count it, and
    /// [`frame`](Encoder::frame) takes payloads without it in any case.
    pub fn keep_delimiter(self) -> Delimited {
        let kept = self.delimiter().len();
        Delimited { kept, ..self }
    }

    fn delimiter(&self) -> &[u8] {
        self.delimiter.needle()
    }

    /// Would the delimiter be found in this payload, or before its own place at the end? It may
    /// begin in one part and end in the next: "a" + "aa".
    fn is_in(&self, payload: &Payload<'_>) -> bool {
        let most = self.delimiter().len() - 1;
        // The last bytes so far, of which a delimiter may be the first ones.
        let mut tail = Vec::new();
        for part in payload.slices() {
            let before = tail.len();
            tail.extend_from_slice(&part[..part.len().min(most)]);
            if self.find(&tail).is_some() || self.find(part).is_some() {
                return true;
            }
            tail.truncate(before);
            tail.extend_from_slice(&part[part.len().saturating_sub(most)..]);
            tail.drain(..tail.len().saturating_sub(most));
        }
        let end = tail.len();
        tail.extend_from_slice(self.delimiter());
        self.find(&tail) != Some(end)
    }

    #[inline]
    fn find(&self, bytes: &[u8]) -> Option<usize> {
        match *self.delimiter() {
            [byte] => memchr(byte, bytes),
            _ => self.delimiter.find(bytes),
        }
    }
}

impl Decoder for Delimited {
    type Frame<'d, 'i> = Chunk<'i>;

    #[inline]
    fn decode<'i>(&mut self, input: &'i mut Input) -> Result<Option<Chunk<'i>>, CodecError> {
        let len = self.delimiter().len();
        let longest = self.max.saturating_add(len);
        let window = input.len().min(longest);
        let searched = self.searched.min(window);
        if let Some(at) = self.find(&input[searched..window]) {
            let end = searched + at;
            self.searched = 0;
            return Ok(Some(input.take_part(end + len, 0, end + self.kept)));
        }
        if input.len() >= longest {
            return Err(CodecError::too_long(self.max, None, input));
        }
        // Its first bytes may be there already.
        self.searched = searched.max((window + 1).saturating_sub(len));
        match self.or_eof && input.is_ended() && !input.is_empty() {
            false => input.incomplete(),
            true if input.len() > self.max => Err(CodecError::too_long(self.max, None, input)),
            true => Ok(Some(input.take_all())),
        }
    }

    fn max_input(&self) -> usize {
        self.max.saturating_add(self.delimiter().len())
    }
}

impl Encoder for Delimited {
    fn frame<'a>(&'a self, payload: impl ToPayload<'a>) -> Result<Payload<'a>, CodecError> {
        let payload = payload.into();
        super::check_len(payload.len(), self.max, &payload)?;
        match self.is_in(&payload) {
            false => Ok(Payload::from((payload, self.delimiter()))),
            true => {
                let what = "a payload with the delimiter in it";
                Err(CodecError::malformed(what, payload.first()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::input::InputBuffer;

    // R8
    #[test]
    fn every_byte_is_searched_once_but_for_those_that_may_begin_a_delimiter() {
        for delimiter in ["\0", "\r\n.\r\n"] {
            let mut codec = Delimited::new(delimiter, 9_999);
            let mut input = InputBuffer::from(Vec::new());
            for count in 1..=9_999 {
                input.append(b"x");
                assert!(codec.decode(&mut input).unwrap().is_none());
                assert_eq!(
                    codec.searched,
                    (count + 1_usize).saturating_sub(delimiter.len())
                );
            }
            input.append(delimiter.as_bytes());
            assert_eq!(codec.decode(&mut input).unwrap().unwrap().len(), 9_999);
            assert_eq!(codec.searched, 0);
        }
    }
}
