//! Text lines.

use super::{CodecError, Decoder, Encoder};
use crate::buffer::input::{Chunk, Input};
use crate::buffer::payload::{Payload, ToPayload};
use bytes::Buf;
use memchr::memchr;

/// Lines that end with LF or CRLF, which the frame does not have; with a maximum of bytes without
/// it. A NUL is a byte like any other, and so is what is no UTF-8: `str::from_utf8(&line)` checks
/// it, `String::from_utf8_lossy(&line)` repairs it.
///
/// It sends lines that end with LF, or with CR LF by choice.
#[derive(Clone, Copy, Debug)]
#[doc(alias("readline", "LinesCodec"))]
pub struct Lines {
    pub(super) max: usize,
    or_eof: bool,
    pub(super) skips: bool,
    /// The input begins within a line that is too long.
    pub(super) within: bool,
    /// Lines that were skipped and not asked for.
    pub(super) skipped: u64,
    end: &'static str,
    /// Bytes at the start of the input that have no LF.
    pub(super) searched: usize,
}

impl Lines {
    /// Lines of `max` bytes at most.
    pub const fn new(max: usize) -> Lines {
        Lines {
            max,
            or_eof: false,
            skips: false,
            within: false,
            skipped: 0,
            end: "\n",
            searched: 0,
        }
    }

    /// A line that is too long is skipped, up to its end, and what follows is a line again. Without
    /// this it is `TooLong`, which ends the connection. No more than the maximum of it ever waits
    /// in memory. Who has something to say about it asks
    /// [`take_skipped`](Lines::take_skipped).
    ///
    /// ```
    /// use sockeye::InputBuffer;
    /// use sockeye::codec::{Decoder, Lines};
    ///
    /// let mut lines = Lines::new(4).skip_too_long();
    /// let mut input = InputBuffer::from(b"NICK a-very-long-one\nPING\n".to_vec());
    /// assert_eq!(lines.decode(&mut input)?.as_deref(), Some(&b"PING"[..]));
    /// assert_eq!(lines.take_skipped(), 1);
    /// # Ok::<(), sockeye::codec::CodecError>(())
    /// ```
    pub const fn skip_too_long(self) -> Lines {
        Lines {
            skips: true,
            ..self
        }
    }

    /// How many lines were skipped since this was asked last. A line counts as soon as it is too
    /// long. With [`Frames`](crate::Frames) the decoder is reached by
    /// [`get_mut`](crate::Frames::get_mut).
    pub const fn take_skipped(&mut self) -> u64 {
        std::mem::replace(&mut self.skipped, 0)
    }

    /// Lines are sent with CR LF at their end, as IRC, SMTP and HTTP want it. Both ends are taken
    /// in any case.
    pub const fn crlf(self) -> Lines {
        Lines {
            end: "\r\n",
            ..self
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
        loop {
            if self.within && !self.skip(input) {
                return Ok(None);
            }
            let bytes: &[u8] = input;
            let window = bytes.len().min(self.max.saturating_add(2));
            let searched = self.searched.min(window);
            let at = memchr(b'\n', &bytes[searched..window]);
            let end = at.map_or(window, |at| searched + at);
            let content = content(&bytes[..end]);
            if content > self.max {
                self.too_long(bytes)?;
            } else if at.is_some() {
                self.searched = 0;
                return Ok(Some(input.take_part(end + 1, 0, content)));
            } else {
                self.searched = window;
                return match self.or_eof && input.is_ended() {
                    true => Ok(last(input)),
                    false => input.incomplete(),
                };
            }
        }
    }

    /// Content, and the CR that belongs to the end.
    fn max_input(&self) -> usize {
        self.max.saturating_add(1)
    }
}

impl Lines {
    /// What comes is too long: an error, or to be skipped.
    #[cold]
    fn too_long(&mut self, found: &[u8]) -> Result<(), CodecError> {
        if !self.skips {
            return Err(CodecError::too_long(self.max, None, found));
        }
        self.within = true;
        self.skipped += 1;
        self.searched = 0;
        Ok(())
    }

    /// Skips what has come of a line that is too long. Has its end come?
    #[cold]
    fn skip(&mut self, input: &mut Input) -> bool {
        let end = input.find(b'\n');
        input.advance(end.map_or(input.len(), |end| end + 1));
        self.within = end.is_none();
        !self.within
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
    fn frame<'a>(&'a self, payload: impl ToPayload<'a>) -> Result<Payload<'a>, CodecError> {
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
            true => Err(CodecError::malformed("line ends with CR", b"\r")),
            false => Ok(Payload::from((payload, self.end))),
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
