//! The write queue, beside what a program would keep its output in: `cargo bench --bench
//! write_queue`.
//!
//! The second table is what `SHARE_FROM` is set by: frames that are copied into one buffer and
//! written with one slice, and frames that are shared and written with a slice each.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the benchmark uses a part of each module"
)]

mod common;
#[path = "../../src/config.rs"]
mod config;
#[path = "../../src/buffer/input.rs"]
mod input;
#[path = "../../src/buffer/payload.rs"]
mod payload;
#[path = "../../src/buffer/pool.rs"]
mod pool;
#[path = "../../src/buffer/store.rs"]
mod store;
#[path = "../../src/buffer/write_queue.rs"]
mod write_queue;

use bytes::{Buf, Bytes, BytesMut};
use common::{compare, rival, title};
use payload::Payload;
use std::collections::VecDeque;
use std::hint::black_box;
use std::io::{IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use write_queue::{SLICES, WriteQueue};

const FRAMES: usize = 20_000;

/// What is asked of a queue.
trait Queue: Default {
    /// Queues bytes that the program goes on using.
    fn lend(&mut self, frame: &[u8]);

    /// Queues bytes that are shared already.
    fn give(&mut self, frame: &Bytes);

    /// Queues a header and what it announces.
    fn pair(&mut self, header: &[u8], body: &Bytes) {
        self.lend(header);
        self.give(body);
    }

    /// Gives what one system call would be given, at most so many bytes; answers how many.
    fn write(&mut self, most: usize) -> usize;
}

fn look_at(slices: &[IoSlice<'_>], most: usize) -> usize {
    let all: usize = black_box(slices).iter().map(|slice| slice.len()).sum();
    all.min(most)
}

impl Queue for WriteQueue {
    fn lend(&mut self, frame: &[u8]) {
        self.push(Payload::from(frame));
    }

    fn give(&mut self, frame: &Bytes) {
        self.push(Payload::from(frame));
    }

    fn pair(&mut self, header: &[u8], body: &Bytes) {
        self.push(Payload::from((header, body)));
    }

    fn write(&mut self, most: usize) -> usize {
        let count = match self.as_slice() {
            Some(slice) => look_at(&[IoSlice::new(slice)], most),
            None => {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = self.gather(&mut slices);
                look_at(&slices[..count], most)
            }
        };
        self.take(count);
        count
    }
}

impl Queue for VecDeque<Bytes> {
    fn lend(&mut self, frame: &[u8]) {
        self.push_back(Bytes::copy_from_slice(frame));
    }

    fn give(&mut self, frame: &Bytes) {
        self.push_back(frame.clone());
    }

    fn write(&mut self, most: usize) -> usize {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut pieces = 0;
        for (slice, frame) in slices.iter_mut().zip(self.iter()) {
            *slice = IoSlice::new(frame);
            pieces += 1;
        }
        let count = look_at(&slices[..pieces], most);
        let mut left = count;
        while let Some(front) = self.front_mut() {
            if left < front.len() {
                front.advance(left);
                break;
            }
            left -= front.len();
            self.pop_front();
        }
        count
    }
}

impl Queue for BytesMut {
    fn lend(&mut self, frame: &[u8]) {
        self.extend_from_slice(frame);
    }

    fn give(&mut self, frame: &Bytes) {
        self.extend_from_slice(frame);
    }

    fn write(&mut self, most: usize) -> usize {
        let count = look_at(&[IoSlice::new(self)], most);
        self.advance(count);
        if self.is_empty() {
            self.clear();
        }
        count
    }
}

/// Pushes `at_once` frames and writes them in pieces of at most `most` bytes, again and again.
fn run<Q: Queue>(
    queue: &mut Q,
    at_once: usize,
    most: usize,
    mut push: impl FnMut(&mut Q),
) -> usize {
    for _ in 0..FRAMES / at_once {
        (0..at_once).for_each(|_| push(queue));
        while queue.write(most) > 0 {}
    }
    FRAMES / at_once * at_once
}

macro_rules! three {
    ($what:expr, $at_once:expr, $most:expr, |$queue:ident| $push:expr) => {
        let (mut ours, mut deque, mut flat) = (
            WriteQueue::default(),
            VecDeque::<Bytes>::default(),
            BytesMut::default(),
        );
        compare(
            $what,
            vec![
                rival("ours", || run(&mut ours, $at_once, $most, |$queue| $push)),
                rival("VecDeque<Bytes>", || {
                    run(&mut deque, $at_once, $most, |$queue| $push)
                }),
                rival("BytesMut", || {
                    run(&mut flat, $at_once, $most, |$queue| $push)
                }),
            ],
        );
    };
}

fn main() {
    title("frames through a write queue");
    let line = Bytes::from(vec![b'x'; 64]);
    let body = Bytes::from(vec![b'x'; 16 * 1024]);
    let all = usize::MAX;
    three!("64 B, written at once", 1, all, |q| q.lend(&line));
    three!("64 B, a hundred in a write", 100, all, |q| q.lend(&line));
    three!("64 B shared, a hundred in a write", 100, all, |q| q
        .give(&line));
    three!("64 B, 1 MiB waits, 4 KiB a write", 16_384, 4096, |q| q
        .lend(&line));
    three!("16 KiB shared", 1, all, |q| q.give(&body));
    three!("5 B and 16 KiB shared, ten in a write", 10, all, |q| q
        .pair(b"head:", &body));

    title("copied into one buffer or shared, and written to a socket");
    for at_once in [1, 4, 16] {
        // Not above what the socket takes at once.
        let sizes = [512, 1024, 2048, 4096, 8192, 16_384, 32_768];
        for size in sizes.into_iter().filter(|size| size * at_once <= 32_768) {
            copy_or_share(at_once, size);
        }
    }
}

/// Writes so many frames in a call to a Unix socket, which is emptied without being timed.
fn copy_or_share(at_once: usize, size: usize) {
    let frame = Bytes::from(vec![b'x'; size]);
    let drain = |socket: &mut UnixStream, buffer: &mut [u8]| {
        socket.read_exact(buffer).expect("what was written");
    };
    let (mut near, mut far) = UnixStream::pair().expect("a pair of sockets");
    let (mut near_too, mut far_too) = UnixStream::pair().expect("a pair of sockets");
    let (mut read, mut read_too) = (vec![0; size * at_once], vec![0; size * at_once]);
    let (mut tail, mut blocks) = (Vec::new(), VecDeque::new());
    let rounds = 300;
    let rivals = vec![
        common::rival_timed("copied", || {
            let mut time = std::time::Duration::ZERO;
            for _ in 0..rounds {
                time += common::timed(|| {
                    for _ in 0..at_once {
                        tail.extend_from_slice(black_box(&frame));
                    }
                    near.write_all(&tail).expect("room for it");
                    tail.clear();
                    at_once
                })
                .1;
                drain(&mut far, &mut read);
            }
            (rounds * at_once, time)
        }),
        common::rival_timed("shared", || {
            let mut time = std::time::Duration::ZERO;
            for _ in 0..rounds {
                time += common::timed(|| {
                    for _ in 0..at_once {
                        blocks.push_back(black_box(&frame).clone());
                    }
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    for (slice, block) in slices.iter_mut().zip(&blocks) {
                        *slice = IoSlice::new(block);
                    }
                    let written = near_too.write_vectored(&slices[..at_once]);
                    assert_eq!(written.expect("room for it"), size * at_once);
                    blocks.clear();
                    at_once
                })
                .1;
                drain(&mut far_too, &mut read_too);
            }
            (rounds * at_once, time)
        }),
    ];
    compare(&format!("{at_once} of {size} bytes in a write"), rivals);
}
