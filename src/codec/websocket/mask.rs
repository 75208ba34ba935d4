//! Masks: what a client makes unreadable for proxies, and what a server makes readable again.

use super::MASKED;
use super::encode::Frame;
use crate::buffer::payload::Payload;
use std::hash::{BuildHasher, RandomState};

/// Masks bytes where they lie, or unmasks them, which is the same; `offset`: bytes of the payload
/// before these.
#[inline]
pub(super) fn apply(key: [u8; 4], offset: usize, bytes: &mut [u8]) {
    let turned: [u8; 4] = std::array::from_fn(|i| key[(offset + i) % 4]);
    let word = u32::from_ne_bytes(turned);
    let wide = u64::from(word) << 32 | u64::from(word);
    // Eight bytes a step, of which the compiler makes as many as the processor has room for.
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for eight in words {
        *eight = (u64::from_ne_bytes(*eight) ^ wide).to_ne_bytes();
    }
    for (i, byte) in rest.iter_mut().enumerate() {
        *byte ^= turned[i % 4];
    }
}

/// Where the masks of a client come from: each frame that it sends has one, which nobody can guess.
///
/// One of them does for all connections of a handler.
///
/// ```
/// use sockeye::codec::websocket::{Masks, text};
///
/// let mut masks = Masks::seeded(7);
/// let frame = masks.mask(text("hello"));
/// assert_eq!((frame.len(), frame[0], frame[1]), (2 + 4 + 5, 0x81, 0x80 | 5));
/// ```
#[derive(Clone, Debug)]
pub struct Masks {
    /// `None`: the same masks each time, from the counter.
    random: Option<RandomState>,
    counter: u64,
}

impl Default for Masks {
    fn default() -> Masks {
        Masks::random()
    }
}

impl Masks {
    /// Masks that nobody can guess: a keyed hash of a counter, whose key is the system's chance.
    pub fn random() -> Masks {
        Masks {
            random: Some(RandomState::new()),
            counter: 0,
        }
    }

    /// Masks that are the same each time, for tests: a page in a browser could guess them.
    pub fn seeded(seed: u64) -> Masks {
        Masks {
            random: None,
            counter: seed,
        }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        match &self.random {
            Some(random) => random.hash_one(self.counter),
            None => {
                // The finisher of SplitMix64: neighbours look alike no longer.
                let z = self.counter;
                let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ z >> 31
            }
        }
    }

    /// A frame as a client sends it: masked.
    pub fn mask(&mut self, frame: Frame<'_>) -> Vec<u8> {
        let mut buffer = Vec::new();
        self.mask_into(frame, &mut buffer);
        buffer
    }

    /// Appends a frame, masked, to a buffer: many frames, or one after the other in the same
    /// memory, cost no allocation each.
    pub fn mask_into(&mut self, frame: Frame<'_>, buffer: &mut Vec<u8>) {
        let payload = Payload::from(frame);
        let start = buffer.len();
        buffer.reserve(payload.len() + 4);
        // Room for the mask, in front; then the header moves there.
        buffer.extend_from_slice(&[0; 4]);
        payload.put_into(buffer);
        let bytes = &mut buffer[start..];
        let header = match bytes[5] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        bytes.copy_within(4..4 + header, 0);
        bytes[1] |= MASKED;
        let number = self.next().to_ne_bytes();
        let key = [number[0], number[1], number[2], number[3]];
        bytes[header..header + 4].copy_from_slice(&key);
        apply(key, 0, &mut bytes[header + 4..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_its_part_of_the_key_whatever_the_length_and_the_offset() {
        let key = [1, 2, 4, 8];
        for len in 0..40 {
            for offset in 0..9 {
                let mut bytes = vec![0; len];
                apply(key, offset, &mut bytes);
                let wanted = (0..len).map(|i| key[(offset + i) % 4]);
                assert_eq!(bytes, wanted.collect::<Vec<_>>(), "{len} {offset}");
            }
        }
    }

    #[test]
    fn masks_differ_from_frame_to_frame_and_from_client_to_client() {
        let mut seen = std::collections::HashSet::new();
        for masks in [
            &mut Masks::random(),
            &mut Masks::random(),
            &mut Masks::seeded(1),
        ] {
            (0..100).for_each(|_| assert!(seen.insert(masks.next())));
        }
        let first = |seed| Masks::seeded(seed).next();
        assert_eq!(first(3), first(3));
        assert_ne!(first(3), first(4));
    }
}
