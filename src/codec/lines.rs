//! Text lines.

use super::{CodecError, Decoder, Encoder};
use crate::buffer::input::{Chunk, Input};
use crate::buffer::payload::Payload;
use memchr::memchr;

/// Lines that end with LF or CRLF, which the frame does not have; with a maximum of bytes without
/// it. A NUL is a byte like any other, and so is what is no UTF-8: `str::from_utf8(&line)` checks
/// it, `String::from_utf8_lossy(&line)` repairs it.
///
/// It sends lines that end with LF.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    pub(super) max: usize,
    or_eof: bool,
    /// Bytes at the start of the input that have no LF.
    pub(super) searched: usize,
}

impl Lines {
    /// Lines of `max` bytes at most.
    pub const fn new(max: usize) -> Lines {
        Lines {
            max,
            or_eof: false,
            searched: 0,
        }
    }

    /// The end of the stream ends a line too, as in a file. Without this, a last line that has no
    /// end is `Truncated`: half a command should not be carried out.
    pub const fn or_eof(self) -> Lines {
        Lines {
            or_eof: true,
            ..self
        }
    }
}

impl Decoder for Lines {
    type Frame<'d, 'i> = Chunk<'i>;

    #[inline]
    fn decode<'i>(&mut self, input: &'i mut Input) -> Result<Option<Chunk<'i>>, CodecError> {
        let bytes: &[u8] = input;
        let window = bytes.len().min(self.max.saturating_add(2));
        let searched = self.searched.min(window);
        let Some(at) = memchr(b'\n', &bytes[searched..window]) else {
            self.searched = window;
            return match content(&bytes[..window]) > self.max {
                true => Err(CodecError::too_long(self.max, None, bytes)),
                false if self.or_eof && input.is_ended() => Ok(last(input)),
                false => input.incomplete(),
            };
        };
        let end = searched + at;
        let content = content(&bytes[..end]);
        if content > self.max {
            return Err(CodecError::too_long(self.max, None, bytes));
        }
        self.searched = 0;
        Ok(Some(input.take_part(end + 1, 0, content)))
    }

    /// Content, and the CR that belongs to the end.
    fn max_input(&self) -> usize {
        self.max.saturating_add(1)
    }
}

/// The line that the end of the stream ends. Half of a line's end is none.
#[cold]
fn last(input: &mut Input) -> Option<Chunk<'_>> {
    let len = input.len();
    match content(input) {
        0 => None,
        content => Some(input.take_part(len, 0, content)),
    }
}

/// The length of a line without its CR.
#[inline]
fn content(line: &[u8]) -> usize {
    line.len() - usize::from(line.last() == Some(&b'\r'))
}

impl Encoder for Lines {
    fn frame<'a>(&'a self, payload: impl Into<Payload<'a>>) -> Result<Payload<'a>, CodecError> {
        let payload = payload.into();
        super::check_len(payload.len(), self.max, &payload)?;
        for part in payload.slices() {
            if let Some(at) = memchr(b'\n', part) {
                return Err(CodecError::malformed(
                    "a line with an LF in it",
                    &part[at..],
                ));
            }
        }
        match payload.last() == Some(b'\r') {
            true => Err(CodecError::malformed("a line that ends with CR", b"\r")),
            false => Ok(Payload::from((payload, "\n"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::input::InputBuffer;

    // R8
    #[test]
    fn every_byte_is_searched_once_however_they_come() {
        let (mut lines, mut input) = (Lines::new(9_999), InputBuffer::from(Vec::new()));
        for count in 1..=9_999 {
            input.append(b"x");
            assert!(lines.decode(&mut input).unwrap().is_none());
            assert_eq!(lines.searched, count);
        }
        input.append(b"\n");
        assert_eq!(lines.decode(&mut input).unwrap().unwrap().len(), 9_999);
        assert_eq!(lines.searched, 0);
    }
}
