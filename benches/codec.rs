//! Frames per second of the decoders, beside those of `tokio_util::codec`, on the same bytes.
//!
//! `cargo bench --bench codec`; each figure is the best of several runs, for whatever else runs on
//! the machine only ever adds time. That a frame allocates nothing is in `tests/codec.rs`.

use bytes::BytesMut;
use sockeye::codec::{Decoder, Delimited, Encoder, LengthPrefixed, Lines};
use sockeye::{Chunk, Input};
use std::hint::black_box;
use std::time::{Duration, Instant};
use tokio_util::codec::{self as tokio, AnyDelimiterCodec, LengthDelimitedCodec, LinesCodec};

/// Bytes of one read, when there is enough to read.
const FULL: usize = 64 * 1024;

/// Bytes of one read, when there is not.
const PIECE: usize = 1024;

/// What either buffer begins with, as in `tokio_util::codec::FramedRead`.
const FIRST: usize = 8 * 1024;

const RUNS: usize = 40;

/// How often a run decodes the same bytes: they stay in the cache, as those do that a read has just
/// copied.
const ROUNDS: usize = 64;

fn main() {
    let line: Vec<u8> = [&[b'x'; 63][..], b"\n"].concat();
    let lines = line.repeat(FULL / line.len());
    let mut frame = Vec::new();
    LengthPrefixed::u32(PIECE)
        .encode(&[b'x'; PIECE], &mut frame)
        .expect("it is not too long");
    let frames = frame.repeat(FULL / frame.len());

    println!("million frames per second        ours   tokio_util");
    for (what, piece) in [("64 KiB", FULL), ("1 KiB", PIECE)] {
        let all: Vec<&[u8]> = lines.chunks(piece).collect();
        row(
            &format!("lines of 64, str, {what}"),
            || {
                ours(Lines::new(256), &all, |line| {
                    std::str::from_utf8(line).is_ok()
                })
            },
            || theirs(LinesCodec::new_with_max_length(256), &all),
        );
        row(
            &format!("lines of 64, bytes, {what}"),
            || {
                ours(Delimited::new("\n", 256), &all, |frame| {
                    !black_box(&frame[..]).is_empty()
                })
            },
            || {
                let (delimiter, sequence) = (b"\n".to_vec(), b"\n".to_vec());
                let codec = AnyDelimiterCodec::new_with_max_length(delimiter, sequence, 256);
                theirs(codec, &all)
            },
        );
        let all: Vec<&[u8]> = frames.chunks(piece).collect();
        row(
            &format!("prefixed of 1 KiB, {what}"),
            || {
                ours(LengthPrefixed::u32(4096), &all, |frame| {
                    !black_box(&frame[..]).is_empty()
                })
            },
            || theirs(LengthDelimitedCodec::new(), &all),
        );
    }
}

/// Prints how many frames each gets through, in turn, so that both meet the same disturbances.
fn row(what: &str, mut ours: impl FnMut() -> usize, mut theirs: impl FnMut() -> usize) {
    let (mut best, mut frames) = ([Duration::MAX; 2], 0);
    for _ in 0..RUNS {
        let (count, time) = timed(&mut ours);
        let (other, other_time) = timed(&mut theirs);
        assert_eq!(count, other, "they must agree");
        best = [best[0].min(time), best[1].min(other_time)];
        frames = count;
    }
    let [ours, theirs] = best.map(|time| frames as f64 / time.as_secs_f64() / 1e6);
    println!(
        "{what:<30} {ours:>7.1} {theirs:>12.1}  {:.1} times",
        ours / theirs
    );
}

fn timed(run: &mut impl FnMut() -> usize) -> (usize, Duration) {
    let start = Instant::now();
    let count = run();
    (count, start.elapsed())
}

fn ours<D>(mut codec: D, pieces: &[&[u8]], use_it: impl Fn(&Chunk<'_>) -> bool) -> usize
where
    D: for<'a> Decoder<Frame<'a> = Chunk<'a>>,
{
    let (mut count, mut input) = (0, Input::from(Vec::with_capacity(FIRST)));
    for piece in (0..ROUNDS).flat_map(|_| pieces) {
        input.append(piece);
        while let Some(frame) = codec.decode(&mut input).expect("good frames") {
            count += usize::from(use_it(&frame));
        }
    }
    count
}

fn theirs<D>(mut codec: D, pieces: &[&[u8]]) -> usize
where
    D: tokio::Decoder,
    D::Error: std::fmt::Debug,
{
    let (mut count, mut buffer) = (0, BytesMut::with_capacity(FIRST));
    for piece in (0..ROUNDS).flat_map(|_| pieces) {
        buffer.extend_from_slice(piece);
        while let Some(frame) = codec.decode(&mut buffer).expect("good frames") {
            black_box(&frame);
            count += 1;
        }
    }
    count
}
