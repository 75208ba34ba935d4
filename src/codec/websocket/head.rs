//! The head of an HTTP message: where it ends, and what stands in it.

use crate::buffer::input::Input;
use crate::codec::CodecError;
use memchr::memchr_iter;
use sha1_smol::Sha1;

/// Header fields at most.
pub(super) const FIELDS: usize = 64;

/// Finds the end of a head; each byte is looked at once, however they come.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadEnd {
    pub(super) max: usize,
    /// Bytes at the start of the input in which no head ends.
    searched: usize,
}

impl HeadEnd {
    pub(super) const fn new(max: usize) -> HeadEnd {
        HeadEnd { max, searched: 0 }
    }

    /// Where the head ends that the input begins with: behind its empty line. `None`: that has not
    /// come.
    pub(super) fn find(&mut self, input: &Input) -> Result<Option<usize>, CodecError> {
        let bytes: &[u8] = &input[..input.len().min(self.max)];
        let mut from = bytes.len();
        for at in memchr_iter(b'\n', bytes.get(self.searched..).unwrap_or_default()) {
            let at = self.searched + at;
            let end = match bytes[at + 1..] {
                [b'\n', ..] => at + 2,
                [b'\r', b'\n', ..] => at + 3,
                [] | [b'\r'] => {
                    from = at;
                    break;
                }
                _ => continue,
            };
            self.searched = 0;
            return Ok(Some(end));
        }
        self.searched = from;
        match input.len() >= self.max {
            true => Err(CodecError::too_long(self.max, None, input)),
            false => input.incomplete(),
        }
    }
}

/// The header fields of a head that was parsed already: name and value.
pub(super) fn fields(head: &str) -> impl Iterator<Item = (&str, &str)> {
    // An empty line may stand before the first one.
    let lines = head.trim_start_matches(['\r', '\n']).lines().skip(1);
    lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name, value.trim_matches([' ', '\t'])))
    })
}

/// The value of the first field of this name.
pub(super) fn field<'i>(head: &'i str, name: &str) -> Option<&'i str> {
    named(head, name).next()
}

/// The only value of this name: a second one is an attempt to be read in two ways.
pub(super) fn only<'i>(head: &'i str, name: &str) -> Option<&'i str> {
    let mut values = named(head, name);
    values.next().filter(|_| values.next().is_none())
}

fn named<'i>(head: &'i str, name: &str) -> impl Iterator<Item = &'i str> {
    fields(head)
        .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// The elements of a list, which may be spread over several fields.
pub(super) fn list<'i>(head: &'i str, name: &str) -> impl Iterator<Item = &'i str> {
    let values = named(head, name).flat_map(|value| value.split(','));
    values.map(str::trim).filter(|value| !value.is_empty())
}

/// Is this among the elements?
pub(super) fn lists(head: &str, name: &str, element: &str) -> bool {
    list(head, name).any(|other| other.eq_ignore_ascii_case(element))
}

/// A head as text. HTTP allows other bytes in a value, and who sends them gets no upgrade.
pub(super) fn text(head: &[u8]) -> Result<&str, CodecError> {
    std::str::from_utf8(head).map_err(|_| CodecError::malformed("HTTP header is not UTF-8", head))
}

/// What the two sides prove to each other that they speak WebSocket: the answer to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accept([u8; 28]);

impl Accept {
    pub(super) fn of(key: &str) -> Accept {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let mut sha1 = Sha1::new();
        sha1.update(key.as_bytes());
        sha1.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let mut accept = [0; 28];
        // 20 bytes are 28 characters, so that it fits.
        let written = STANDARD.encode_slice(sha1.digest().bytes(), &mut accept);
        debug_assert_eq!(written, Ok(28));
        Accept(accept)
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::input::InputBuffer;

    // The example of RFC 6455, section 1.3.
    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        let accept = Accept::of("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept.as_str(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    // R8
    #[test]
    fn each_byte_of_a_head_is_looked_at_once() {
        let (mut end, mut input) = (HeadEnd::new(10_000), InputBuffer::from(Vec::new()));
        for count in 1..9_000 {
            input.append(if count % 50 == 0 { b"\n" } else { b"x" });
            assert!(end.find(&input).unwrap().is_none());
            assert!(end.searched + 1 >= count);
        }
        input.append(b"\r\n\r\n");
        assert_eq!(end.find(&input).unwrap(), Some(9_003));
    }
}
