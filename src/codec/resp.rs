//! RESP, the protocol of Redis, on the side of a server: commands come in, replies go out.
//!
//! A server that speaks it has clients in every language, is asked by hand with `redis-cli`, and
//! put under load with `redis-benchmark`; it need not be a Redis. Commands are frames of
//! [`Commands`], and a reply is appended to a buffer by the function of its kind, so that the
//! replies to a batch leave with one send:
//!
//! ```
//! use sockeye::codec::resp::{self, Commands};
//! use sockeye::{ConnId, Context, Frames, Handler, Input, Sent};
//!
//! struct Counter {
//!     commands: Frames<Commands>,
//!     count: i64,
//! }
//!
//! impl Handler for Counter {
//!     fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
//!         let mut out = Vec::new();
//!         // And not by `next`, which closes before the replies so far are sent.
//!         let error = loop {
//!             match self.commands.try_next(cx, conn, input) {
//!                 Ok(Some(command)) => match command[..] {
//!                     [b"INCR"] => {
//!                         self.count += 1;
//!                         resp::integer(&mut out, self.count);
//!                     }
//!                     [b"ECHO", text] => resp::bulk(&mut out, text),
//!                     [] => {} // an empty line
//!                     _ => resp::error(&mut out, "ERR unknown command"),
//!                 },
//!                 Ok(None) => break None,
//!                 Err(error) => break Some(error),
//!             }
//!         };
//!         if cx.send(conn, out) == Sent::Wait {
//!             cx.pause_until_drained(conn); // it does not read: neither do we
//!         }
//!         error.map(|error| cx.close_because(conn, error));
//!     }
//! }
//!
//! let counter = Counter { commands: Frames::new(Commands::new(1 << 20)), count: 0 };
//! ```
//!
//! This is version 2 of the protocol, with which every client begins: one that asks for another by
//! `HELLO` stays with it when that is an unknown command. The example `resp` is a small Redis.

use super::{CodecError, Decoder};
use crate::buffer::input::Input;
use memchr::memchr;
use std::ops::Deref;

/// Bytes of a command, whatever is asked for: where a word lies is kept in 32 bits.
const MOST: usize = 1 << 30;

/// Bytes of a line, at most: its end must be looked for, that of a word need not be.
const MAX_LINE: usize = 16 * 1024;

/// Bytes of the shortest word of an array, `$0`, and of the ends of its two lines.
const SHORTEST: usize = 6;

/// Digits of a length, at most: those of 32 bits.
const DIGITS: usize = 10;

/// Words that need no memory: those of nearly all commands.
const FEW: usize = 8;

/// Commands: arrays of words, or lines of words as one types them, without quotes; with a maximum
/// of bytes.
///
/// A word of an array may have any bytes, and where it ends is known: none of them is looked at.
/// What is claimed takes no memory before it comes.
#[derive(Clone, Debug)]
pub struct Commands {
    max: usize,
    /// Where the words are that have come. The table is used again for the next command.
    words: Vec<(u32, u32)>,
    /// How many are to come, and where the next one begins.
    left: usize,
    at: usize,
}

/// The words of a command, as a slice: `command[0]` is its name, in capitals however it was sent.
///
/// They lie in the input. None: an empty line or an empty array, which has no reply.
#[derive(Debug)]
pub struct Command<'i> {
    few: [&'i [u8]; FEW],
    len: usize,
    many: Vec<&'i [u8]>,
}

impl<'i> Command<'i> {
    #[inline]
    fn new(words: impl ExactSizeIterator<Item = &'i [u8]>) -> Command<'i> {
        let (few, len, many) = ([&[][..]; FEW], words.len(), Vec::new());
        let mut command = Command { few, len, many };
        match len > FEW {
            true => command.many = words.collect(),
            false => command
                .few
                .iter_mut()
                .zip(words)
                .for_each(|(to, word)| *to = word),
        }
        command
    }
}

impl<'i> Deref for Command<'i> {
    type Target = [&'i [u8]];

    #[inline]
    fn deref(&self) -> &[&'i [u8]] {
        match self.few.get(..self.len) {
            Some(few) => few,
            None => &self.many,
        }
    }
}

impl Commands {
    /// Commands of `max` bytes at most, with all that is around their words; 1 GiB at most.
    pub const fn new(max: usize) -> Commands {
        Commands {
            max: if max < MOST { max } else { MOST },
            words: Vec::new(),
            left: 0,
            at: 0,
        }
    }

    /// Has the command come to its end? No byte of a word is looked at, and no other one twice but
    /// those of a line that is not whole.
    #[inline]
    fn find_end(&mut self, input: &[u8]) -> Result<bool, CodecError> {
        if self.left == 0 {
            self.words.clear();
            self.words.shrink_to(4 * FEW);
            if input.first() != Some(&b'*') {
                return self.find_line(input);
            }
            let Some((count, next)) = length(input, 0, b'*', self.max / SHORTEST)? else {
                return Ok(false);
            };
            (self.left, self.at) = (count, next);
        }
        while self.left > 0 {
            let Some((size, start)) = length(input, self.at, b'$', self.max)? else {
                return Ok(false);
            };
            let end = start + size;
            if end + 2 > self.max {
                let claimed = Some(end as u64 + 2);
                return Err(CodecError::too_long(
                    self.max,
                    claimed,
                    &input[self.at..start],
                ));
            }
            match input.get(end..end + 2) {
                None => return Ok(false),
                Some(b"\r\n") => self.words.push((start as u32, end as u32)),
                Some(ends) => {
                    return Err(CodecError::malformed("missing CR LF after a word", ends));
                }
            }
            (self.left, self.at) = (self.left - 1, end + 2);
        }
        Ok(true)
    }

    /// Has the line come to its end?
    fn find_line(&mut self, input: &[u8]) -> Result<bool, CodecError> {
        let most = MAX_LINE.min(self.max);
        let bytes = &input[..input.len().min(most)];
        match memchr(b'\n', bytes) {
            Some(end) => {
                self.split(&bytes[..end]);
                self.at = end + 1;
                Ok(true)
            }
            None if bytes.len() < most => Ok(false),
            None => Err(CodecError::too_long(most, None, bytes)),
        }
    }

    /// The words of a line.
    fn split(&mut self, line: &[u8]) {
        let mut start = 0;
        for word in line.split(u8::is_ascii_whitespace) {
            let end = start + word.len() as u32;
            self.words.extend((end > start).then_some((start, end)));
            start = end + 1;
        }
    }
}

impl Decoder for Commands {
    type Frame<'d, 'i> = Command<'i>;

    #[inline]
    fn decode<'i>(&mut self, input: &'i mut Input) -> Result<Option<Command<'i>>, CodecError> {
        if !self.find_end(input)? {
            return match input.len() < self.max {
                true => input.incomplete(),
                false => Err(CodecError::too_long(self.max, None, input)),
            };
        }
        let mut bytes = input.take(self.at);
        if let Some((start, end)) = self.words.first() {
            bytes[*start as usize..*end as usize].make_ascii_uppercase();
        }
        let (bytes, words) = (bytes.into_slice(), self.words.iter());
        let words = words.map(|(start, end)| &bytes[*start as usize..*end as usize]);
        Ok(Some(Command::new(words)))
    }

    fn max_input(&self) -> usize {
        self.max
    }
}

/// What a line says, of a kind and a number, and where the next one begins.
#[inline]
fn length(
    input: &[u8],
    at: usize,
    kind: u8,
    max: usize,
) -> Result<Option<(usize, usize)>, CodecError> {
    let (line, mut length) = (&input[at..], 0_u64);
    for (index, byte) in line.iter().enumerate() {
        match byte {
            _ if index == 0 && *byte == kind => {}
            b'0'..=b'9' if (1..=DIGITS).contains(&index) => {
                length = 10 * length + u64::from(byte - b'0');
            }
            b'\r' if index > 1 => match line.get(index + 1) {
                None => return Ok(None),
                Some(b'\n') if length <= max as u64 => {
                    return Ok(Some((length as usize, at + index + 2)));
                }
                Some(b'\n') => return Err(CodecError::too_long(max, Some(length), line)),
                Some(_) => return Err(CodecError::malformed("missing CR LF after a length", line)),
            },
            _ => return Err(CodecError::malformed("invalid length", line)),
        }
    }
    Ok(None)
}

/// Appends a short text: `OK`, `PONG`. It is one line: an end of a line in it becomes a space.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    line_of(out, b'+', text);
}

/// Appends an error, which begins with a word of its kind: `ERR unknown command`. It is one line:
/// an end of a line in it becomes a space.
pub fn error(out: &mut Vec<u8>, text: &str) {
    line_of(out, b'-', text);
}

/// Appends an integer.
pub fn integer(out: &mut Vec<u8>, number: i64) {
    number_of(out, b':', number < 0, number.unsigned_abs());
}

/// Appends a string of any bytes.
#[inline]
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 32);
    number_of(out, b'$', false, bytes.len() as u64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends what stands for a string that is not there.
pub fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"$-1\r\n");
}

/// Begins an array of so many replies, which are appended after it.
pub fn array(out: &mut Vec<u8>, len: usize) {
    number_of(out, b'*', false, len as u64);
}

fn line_of(out: &mut Vec<u8>, kind: u8, text: &str) {
    let is_end = |byte: u8| byte == b'\r' || byte == b'\n';
    out.push(kind);
    out.extend(
        text.bytes()
            .map(|byte| if is_end(byte) { b' ' } else { byte }),
    );
    out.extend_from_slice(b"\r\n");
}

/// A line of a kind and a number, made from its end, in one piece: a reply may have hundreds.
#[inline]
fn number_of(out: &mut Vec<u8>, kind: u8, is_negative: bool, number: u64) {
    let (mut line, mut at, mut rest) = (*b"                      \r\n", 22, number);
    while rest > 0 || at == 22 {
        at -= 1;
        line[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    if is_negative {
        at -= 1;
        line[at] = b'-';
    }
    line[at - 1] = kind;
    out.extend_from_slice(&line[at - 1..]);
}
