//! Text lines that are text.

use super::{CodecError, Decoder, Encoder, Lines};
use crate::buffer::input::Input;
use crate::buffer::payload::{Payload, ToPayload};
use bytes::Buf;
use memchr::{memchr_iter, memrchr};

/// [`Lines`] in UTF-8: a frame is a `&str`, and one that is no UTF-8 is `Malformed`.
///
/// ```
/// use sockeye::InputBuffer;
/// use sockeye::codec::{Decoder, TextLines};
///
/// let mut codec = TextLines::new(1024);
/// let mut input = InputBuffer::from("grüß\r\nGott\n".as_bytes().to_vec());
/// assert_eq!(codec.decode(&mut input)?, Some("grüß"));
/// assert_eq!(codec.decode(&mut input)?, Some("Gott"));
/// # Ok::<(), sockeye::codec::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TextLines(Lines);

/// Bytes that are checked at once, ahead of the line that is given next: a check has a price for
/// each call, and what was checked for nothing, because the handler pauses, should be little.
const BLOCK: usize = 4096;

impl TextLines {
    /// Lines of `max` bytes at most.
    pub const fn new(max: usize) -> TextLines {
        TextLines(Lines::new(max))
    }

    /// The end of the stream ends a line too: [`Lines::or_eof`].
    pub const fn or_eof(self) -> TextLines {
        TextLines(self.0.or_eof())
    }

    /// A line that is too long is skipped: [`Lines::skip_too_long`].
    pub const fn skip_too_long(self) -> TextLines {
        TextLines(self.0.skip_too_long())
    }

    /// How many lines were skipped since this was asked last: [`Lines::take_skipped`].
    pub const fn take_skipped(&mut self) -> u64 {
        self.0.take_skipped()
    }

    /// Lines are sent with CR LF at their end: [`Lines::crlf`].
    pub const fn crlf(self) -> TextLines {
        TextLines(self.0.crlf())
    }

    /// The whole lines at the start of the input that are UTF-8, as far as the block goes.
    #[inline]
    fn block<'a>(&self, input: &'a [u8]) -> &'a str {
        // The rest of a line that is skipped need be no UTF-8.
        let len = if self.0.within { 0 } else { input.len() };
        let block = &input[..len.min(BLOCK)];
        // What is left of the last read is not searched again.
        let new = &block[self.0.searched.min(block.len())..];
        let Some(end) = memrchr(b'\n', new) else {
            return "";
        };
        let block = &block[..block.len() - new.len() + end + 1];
        std::str::from_utf8(block).unwrap_or_else(|error| {
            let valid = &block[..error.valid_up_to()];
            let lines = &valid[..memrchr(b'\n', valid).map_or(0, |end| end + 1)];
            std::str::from_utf8(lines).unwrap_or_default()
        })
    }
}

fn text(line: &[u8]) -> Result<&str, CodecError> {
    let what = "a line that is no UTF-8";
    std::str::from_utf8(line).map_err(|_| CodecError::malformed(what, line))
}

impl Decoder for TextLines {
    type Frame<'d, 'i> = &'i str;

    fn decode<'i>(&mut self, input: &'i mut Input) -> Result<Option<&'i str>, CodecError> {
        let line = self.0.decode(input)?;
        line.map(|line| text(line.into_slice())).transpose()
    }

    /// A block of lines is checked at once.
    #[inline]
    fn decode_each(
        &mut self,
        input: &mut Input,
        mut each: impl FnMut(&str) -> bool,
    ) -> Result<(), CodecError> {
        loop {
            let block = self.block(input);
            if block.is_empty() {
                // The next line is not whole, longer than a block, or no UTF-8.
                match self.decode(input)? {
                    Some(line) if each(line) => continue,
                    _ => return Ok(()),
                }
            }
            let (mut taken, mut outcome) = (0, Ok(true));
            for end in memchr_iter(b'\n', block.as_bytes()) {
                let line = &block[taken..end];
                let line = line.strip_suffix('\r').unwrap_or(line);
                if line.len() > self.0.max && self.0.skips {
                    self.0.skipped += 1;
                    taken = end + 1;
                    continue;
                }
                if line.len() > self.0.max {
                    let found = &block.as_bytes()[taken..];
                    outcome = Err(CodecError::too_long(self.0.max, None, found));
                    break;
                }
                taken = end + 1;
                // The input comes to look empty when its connection is closed or paused.
                if !each(line) || input.is_empty() {
                    outcome = Ok(false);
                    break;
                }
            }
            input.advance(taken);
            self.0.searched = 0;
            if !outcome? {
                return Ok(());
            }
        }
    }

    fn max_input(&self) -> usize {
        self.0.max_input()
    }
}

/// As [`Lines`]; what is sent is not checked for UTF-8.
impl Encoder for TextLines {
    fn frame<'a>(&'a self, payload: impl ToPayload<'a>) -> Result<Payload<'a>, CodecError> {
        self.0.frame(payload)
    }
}
