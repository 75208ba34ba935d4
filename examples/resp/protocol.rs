//! RESP, the protocol of Redis: commands in, replies out.

use sockeye::Input;
use sockeye::codec::{CodecError, Decoder};

/// Bytes of a command and its words, at most; and of a line, where its end must be looked for.
pub(crate) const MAX_BYTES: usize = 1 << 20;
const MAX_WORDS: usize = 1 << 16;
const MAX_LINE: usize = 1 << 14;

/// Commands: arrays of words, or lines as one types them.
#[derive(Clone, Default)]
pub(crate) struct Commands {
    /// Where the words are that have come. The table is used again for the next command.
    words: Vec<(u32, u32)>,
    /// How many are to come, and where the next one begins.
    left: usize,
    at: usize,
}

/// It lies in the input, and the table of its words in the decoder: nothing is copied.
pub(crate) struct Command<'d, 'i> {
    bytes: &'i [u8],
    words: &'d [(u32, u32)],
}

impl<'i> Command<'_, 'i> {
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    pub(crate) fn word(&self, index: usize) -> &'i [u8] {
        let (start, end) = self.words.get(index).copied().unwrap_or_default();
        &self.bytes[start as usize..end as usize]
    }

    pub(crate) fn words(&self, from: usize) -> impl Iterator<Item = &'i [u8]> {
        (from..self.len()).map(|index| self.word(index))
    }
}

impl Decoder for Commands {
    type Frame<'d, 'i> = Command<'d, 'i>;

    fn decode<'d, 'i>(
        &'d mut self,
        input: &'i mut Input,
    ) -> Result<Option<Command<'d, 'i>>, CodecError> {
        let Some(end) = self.find_end(input)? else {
            return input.incomplete();
        };
        let (bytes, words) = (input.take(end).into_slice(), &self.words);
        Ok(Some(Command { bytes, words }))
    }

    fn max_input(&self) -> usize {
        MAX_BYTES
    }
}

impl Commands {
    /// Where the command ends; no byte of a word is looked at twice.
    fn find_end(&mut self, input: &[u8]) -> Result<Option<usize>, CodecError> {
        if self.left == 0 {
            self.words.clear();
            let Some((line, next)) = line(input, 0)? else {
                return Ok(None);
            };
            match line.strip_prefix(b"*") {
                Some(count) => (self.left, self.at) = (size(count, MAX_WORDS)?, next),
                None => {
                    self.split(line);
                    return Ok(Some(next));
                }
            }
        }
        while self.left > 0 {
            let Some((line, start)) = line(input, self.at)? else {
                return Ok(None);
            };
            let end = start + size(line.strip_prefix(b"$").unwrap_or(b"?"), MAX_BYTES)?;
            match input.get(end..end + 2) {
                _ if end + 2 > MAX_BYTES => {
                    return Err(CodecError::too_long(MAX_BYTES, Some(end as u64), line));
                }
                None => return Ok(None),
                Some(b"\r\n") => self.words.push((start as u32, end as u32)),
                Some(_) => return Err(CodecError::malformed("a word without its end", line)),
            }
            (self.left, self.at) = (self.left - 1, end + 2);
        }
        Ok(Some(self.at))
    }

    fn split(&mut self, line: &[u8]) {
        let mut start = 0;
        for word in line.split(u8::is_ascii_whitespace) {
            let end = start + word.len() as u32;
            self.words.extend((end > start).then_some((start, end)));
            start = end + 1;
        }
    }
}

/// A line without its end, and where the next one begins.
fn line(input: &[u8], start: usize) -> Result<Option<(&[u8], usize)>, CodecError> {
    let bytes = &input[start..input.len().min(start + MAX_LINE)];
    match memchr::memchr(b'\n', bytes) {
        Some(end) => {
            let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
            Ok(Some((line, start + end + 1)))
        }
        None if bytes.len() < MAX_LINE && start + bytes.len() < MAX_BYTES => Ok(None),
        None => Err(CodecError::too_long(MAX_LINE, None, bytes)),
    }
}

fn size(digits: &[u8], max: usize) -> Result<usize, CodecError> {
    let mut size = 0;
    for digit in digits {
        size = 10 * size + usize::from(digit.wrapping_sub(b'0'));
        if !digit.is_ascii_digit() || size > max {
            return Err(CodecError::malformed("an invalid length", digits));
        }
    }
    match digits.is_empty() {
        false => Ok(size),
        true => Err(CodecError::malformed("no length", digits)),
    }
}

pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Appends a line of a sign and a number: `:7`, `$3`, `*2`.
pub(crate) fn number(out: &mut Vec<u8>, sign: u8, number: i64) {
    // From the end, in one piece: a reply may have hundreds of them.
    let (mut line, mut at, mut rest) = (*b"                      \r\n", 22, number.unsigned_abs());
    while rest > 0 || at == 22 {
        at -= 1;
        line[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    if number < 0 {
        at -= 1;
        line[at] = b'-';
    }
    line[at - 1] = sign;
    out.extend_from_slice(&line[at - 1..]);
}

/// Appends a string.
pub(crate) fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 32);
    number(out, b'$', bytes.len() as i64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends an array of strings.
pub(crate) fn array(out: &mut Vec<u8>, words: &[&[u8]]) {
    number(out, b'*', words.len() as i64);
    words.iter().for_each(|word| bulk(out, word));
}
