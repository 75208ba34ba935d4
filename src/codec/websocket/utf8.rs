//! UTF-8 that comes in pieces.

/// Checks text as it comes: what can no longer become UTF-8 is known at the byte that decides it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Utf8 {
    /// A character that has begun.
    begun: [u8; 4],
    len: u8,
}

impl Utf8 {
    pub(super) const fn new() -> Utf8 {
        Utf8 {
            begun: [0; 4],
            len: 0,
        }
    }

    /// Takes the next piece. `false`: this is no UTF-8.
    pub(super) fn takes(&mut self, mut piece: &[u8]) -> bool {
        while self.len > 0 {
            let Some((byte, rest)) = piece.split_first() else {
                return true;
            };
            piece = rest;
            // A character has four bytes at most, and this many make one or none.
            self.begun[usize::from(self.len)] = *byte;
            self.len += 1;
            match std::str::from_utf8(&self.begun[..usize::from(self.len)]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        let Err(error) = std::str::from_utf8(piece) else {
            return true;
        };
        let begun = &piece[error.valid_up_to()..];
        self.begun[..begun.len().min(4)].copy_from_slice(&begun[..begun.len().min(4)]);
        self.len = begun.len().min(4) as u8;
        error.error_len().is_none()
    }

    /// Has no character begun that is not at its end?
    pub(super) fn is_whole(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many bytes each of these is refused, one by one.
    #[test]
    fn what_is_no_text_is_known_at_the_byte_that_decides_it() {
        let refused = |text: &[u8]| {
            let mut utf8 = Utf8::new();
            let at = text.iter().position(|byte| !utf8.takes(&[*byte]));
            at.or((!utf8.is_whole()).then_some(usize::MAX))
        };
        assert_eq!(refused("κόσμε \u{10ffff}\u{0}".as_bytes()), None);
        assert_eq!(refused(b"a\xff"), Some(1));
        assert_eq!(refused(b"\xc0\x80"), Some(0));
        assert_eq!(refused(b"\xf4\x90\x80\x80"), Some(1)); // above the last character
        assert_eq!(refused(b"\xed\xa0\x80"), Some(1)); // half of a surrogate pair
        assert_eq!(refused(b"\xce\xbaa\x80"), Some(3));
        assert_eq!(refused(b"\xe2\x82"), Some(usize::MAX));
    }

    #[test]
    fn wherever_it_is_cut_it_is_what_it_is_whole() {
        for text in ["grüß €\u{10348}!", "", "\u{fffd}\u{ffff}"] {
            let mut bytes = text.as_bytes().to_vec();
            for broken in 0..=bytes.len() {
                if broken > 0 {
                    bytes[broken - 1] ^= 0x40;
                }
                let whole = std::str::from_utf8(&bytes).is_ok();
                for (a, b) in (0..=bytes.len()).flat_map(|a| (a..=bytes.len()).map(move |b| (a, b)))
                {
                    let mut utf8 = Utf8::new();
                    let pieces = [&bytes[..a], &bytes[a..b], &bytes[b..]];
                    let good = pieces.iter().all(|piece| utf8.takes(piece)) && utf8.is_whole();
                    assert_eq!(good, whole, "{bytes:?} {a} {b}");
                }
                if broken > 0 {
                    bytes[broken - 1] ^= 0x40;
                }
            }
        }
    }
}
