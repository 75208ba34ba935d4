//! The loop's reads without a loop, to measure decoders with.
//!
//! The buffers are the loop's own. What stands in for the loop is a table of what each connection
//! left, which is a part of the connection there, and a copy where the system would copy. It is in
//! this crate so that nothing of the receive buffer has to be public.

use crate::buffer::input::{Hidden, Input};
use crate::buffer::receive::{Leftover, Receive};

/// Reads as the loop makes them, with the same buffers: for `benches/codec.rs`.
#[doc(hidden)]
#[allow(missing_debug_implementations, reason = "nobody looks at it")]
pub struct Reads {
    receive: Receive,
    /// What each connection left.
    left: Vec<Option<Leftover>>,
    leftover_of: Option<usize>,
}

impl Reads {
    /// For so many connections.
    pub fn new(receive_buffer: usize, conns: usize) -> Reads {
        Reads {
            receive: Receive::new(receive_buffer, Hidden::default()),
            left: (0..conns).map(|_| None).collect(),
            leftover_of: None,
        }
    }

    /// Reads once from a connection; the bytes are copied, as the system does. What fits is taken,
    /// and the answer says how much.
    #[inline]
    pub fn read(&mut self, conn: usize, bytes: &[u8], on_data: impl FnOnce(&mut Input)) -> usize {
        if self
            .leftover_of
            .is_none_or(|owner| !self.stays(owner, conn))
        {
            self.receive.clear();
        }
        let buffer = self.receive.buffer();
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.receive.filled(count);
        let left = self.receive.put_in_front(self.left[conn].take());
        on_data(self.receive.offer(left));
        self.leftover_of = None;
        match self.receive.is_joined() {
            false => self.leftover_of = (!self.receive.is_empty()).then_some(conn),
            true => self.left[conn] = self.receive.leftover(),
        }
        count
    }

    #[inline]
    fn stays(&mut self, owner: usize, conn: usize) -> bool {
        let stays = owner == conn && self.receive.make_room();
        if !stays {
            self.left[owner] = self.receive.leftover();
            self.leftover_of = None;
        }
        stays
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Buf, Bytes};

    /// Numbers that look like chance: the same ones in every run.
    fn chance(state: &mut u64, below: usize) -> usize {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (*state >> 33) as usize % below
    }

    // R4, R8: whoever is read next, and whatever is taken, kept or left.
    #[test]
    fn whatever_is_left_is_offered_again_in_front_of_what_is_new() {
        for seed in 0..60_u64 {
            let (mut state, conns) = (seed, 1 + seed as usize % 3);
            let mut reads = Reads::new([1, 3, 16, 50, 400, 6000][seed as usize % 6], conns);
            let (mut sent, mut taken) = (vec![0_u8; conns], vec![0_u8; conns]);
            let mut kept: Vec<(Bytes, Vec<u8>)> = Vec::new();
            for _ in 0..3_000 {
                let conn = chance(&mut state, conns);
                let most = 1 << chance(&mut state, 8);
                let bytes: Vec<u8> = (0..chance(&mut state, most))
                    .map(|n| sent[conn].wrapping_add(n as u8))
                    .collect();
                let count = reads.read(conn, &bytes, |input| {
                    let take = chance(&mut state, input.len() + 1);
                    let next = taken[conn];
                    let all = input.iter().enumerate();
                    assert!(
                        all.into_iter()
                            .all(|(n, b)| *b == next.wrapping_add(n as u8))
                    );
                    taken[conn] = next.wrapping_add(take as u8);
                    if chance(&mut state, 3) == 0 {
                        let chunk = input.take(take);
                        kept.push((Bytes::from(chunk), vec![]));
                        let last = kept.last_mut().unwrap();
                        last.1 = last.0.to_vec();
                    } else {
                        input.advance(take);
                    }
                });
                assert!(count > 0 || bytes.is_empty(), "no room to read into");
                sent[conn] = sent[conn].wrapping_add(count as u8);
                if chance(&mut state, 40) == 0 {
                    assert!(kept.drain(..).all(|(bytes, copy)| bytes == copy));
                }
            }
        }
    }

    // R8
    #[test]
    fn a_message_in_single_bytes_is_not_copied_for_each_of_them() {
        const SIZE: usize = 300_000;
        let mut reads = Reads::new(1000, 2);
        for _ in 0..SIZE {
            reads.read(0, b"x", |_| {});
            // It does not stay in the receive buffer, for another one is read in between.
            reads.read(1, b"y", |input| {
                input.take_all();
            });
        }
        reads.read(0, b"x", |input| assert_eq!(input.len(), SIZE + 1));
    }
}
