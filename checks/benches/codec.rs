//! Frames per second of the decoders, beside those of `tokio_util::codec`, on the same bytes.
//!
//! `cargo bench --bench codec`; each figure is the best of many runs, for whatever else runs on the
//! machine only ever adds time. `cargo bench --bench codec -- --count` makes no measurement but one
//! run of one row and side, for `valgrind --tool=callgrind`: see `main`.
//!
//! Both sides get their bytes as their own loop does it. Ours: a read into the loop's own
//! `Receive`, what was left of the last frame, and `decode_each`, as `Framed` calls it. Theirs: a
//! read into the connection's `BytesMut`, and `decode` until it gives `None`, as in `FramedRead`.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "the benchmark uses a part of each module"
)]

/// No file is sent here.
mod backend {
    pub(crate) fn read_file(_: &File, _: u64, _: usize, _: &mut Vec<u8>) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    use std::fs::File;
    use std::io;
}
#[path = "../../src/buffer/mod.rs"]
mod buffer;
#[path = "../../src/codec/mod.rs"]
mod codec;
#[path = "../../src/config.rs"]
mod config;
#[path = "../../src/id.rs"]
mod id;
#[path = "../../src/quietly.rs"]
mod quietly;

use buffer::input::{Chunk, Input, InputBuffer};
use buffer::payload::Payload;
use buffer::receive::{Leftover, Receive};
use buffer::store::Hidden;
use bytes::BytesMut;
use codec::{Decoder, Delimited, Encoder, LengthPrefixed, TextLines};
use id::Key;
use std::hint::black_box;
use std::time::{Duration, Instant};
use tokio_util::codec::{self as tokio, AnyDelimiterCodec, LengthDelimitedCodec, LinesCodec};

/// Bytes of one read, when there is enough to read.
const FULL: usize = 64 * 1024;

/// Bytes of one read, when there is not.
const PIECE: usize = 1024;

const RUNS: usize = 60;

/// How often a run decodes the same bytes: they stay in the cache, as those do that a read has just
/// copied.
const ROUNDS: usize = 64;

/// Connections that are read in turn in the rows that say so: nothing stays where it was read.
const MANY: usize = 16;

/// A row of the table: what is decoded, and in which pieces it comes to how many connections.
struct Row {
    what: String,
    pieces: Vec<Vec<u8>>,
    conns: usize,
    ours: fn(&Row) -> usize,
    theirs: fn(&Row) -> usize,
}

fn rows() -> Vec<Row> {
    let line: Vec<u8> = [&[b'x'; 63][..], b"\n"].concat();
    let lines = line.repeat(FULL / line.len());
    let mut frame = Vec::new();
    LengthPrefixed::u32(PIECE)
        .encode(&[b'x'; PIECE], &mut frame)
        .expect("it is not too long");
    let frames = frame.repeat(FULL / frame.len());
    let mut rows = Vec::new();
    for (size, conns) in [(FULL, 1), (PIECE, 1), (PIECE, MANY)] {
        let cut = |bytes: &[u8]| bytes.chunks(size).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let name = |what: &str| {
            let of = if conns > 1 { " of 16 in turn" } else { "" };
            format!("{what}, {} KiB{of}", size / 1024)
        };
        rows.push(Row {
            what: name("lines of 64, str"),
            pieces: cut(&lines),
            conns,
            ours: |row| {
                ours(row, TextLines::new(256), |line| {
                    black_box(line);
                })
            },
            theirs: |row| theirs(row, || LinesCodec::new_with_max_length(256)),
        });
        rows.push(Row {
            what: name("lines of 64, bytes"),
            pieces: cut(&lines),
            conns,
            ours: |row| {
                ours(row, Delimited::new("\n", 256), |line| {
                    black_box(&line[..]);
                })
            },
            theirs: |row| {
                theirs(row, || {
                    let (delimiter, sequence) = (b"\n".to_vec(), b"\n".to_vec());
                    AnyDelimiterCodec::new_with_max_length(delimiter, sequence, 256)
                })
            },
        });
        rows.push(Row {
            what: name("prefixed of 1 KiB"),
            pieces: cut(&frames),
            conns,
            ours: |row| {
                ours(row, LengthPrefixed::u32(4096), |frame| {
                    black_box(&frame[..]);
                })
            },
            theirs: |row| theirs(row, LengthDelimitedCodec::new),
        });
    }
    rows
}

/// With `--count ROW SIDE` one run of one side, to count its instructions; without, the table.
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let rows = rows();
    if let Some(at) = args.iter().position(|arg| arg == "--count") {
        let number = |at: usize| args[at].parse::<usize>().expect("a number");
        let row = &rows[number(at + 1)];
        let frames = match args[at + 2].as_str() {
            "ours" => (row.ours)(row),
            _ => (row.theirs)(row),
        };
        return println!("{}: {frames} frames", row.what);
    }
    println!("| million frames per second | ours | tokio_util | times |");
    println!("|---|---|---|---|");
    rows.iter().for_each(print);
}

/// Measures how many frames each gets through, in turn, so that both meet the same disturbances.
fn print(row: &Row) {
    let (mut best, mut frames) = ([Duration::MAX; 2], 0);
    for _ in 0..RUNS {
        let (count, time) = timed(row, row.ours);
        let (other, other_time) = timed(row, row.theirs);
        assert_eq!(count, other, "they must agree");
        best = [best[0].min(time), best[1].min(other_time)];
        frames = count;
    }
    let [ours, theirs] = best.map(|time| frames as f64 / time.as_secs_f64() / 1e6);
    println!(
        "| {} | {ours:.1} | {theirs:.1} | {:.2} |",
        row.what,
        ours / theirs
    );
}

fn timed(row: &Row, run: fn(&Row) -> usize) -> (usize, Duration) {
    let start = Instant::now();
    let count = run(row);
    (count, start.elapsed())
}

/// Reads as the loop makes them. What stands in for the loop is a table of what each connection
/// left, which is a part of the connection there, and a copy where the system would copy.
struct Reads {
    receive: Receive,
    left: Vec<Option<Leftover>>,
}

impl Reads {
    fn new(receive_buffer: usize, conns: usize) -> Reads {
        Reads {
            receive: Receive::new(receive_buffer, Hidden::default()),
            left: (0..conns).map(|_| None).collect(),
        }
    }

    /// Reads once from a connection. What fits is taken, and the answer says how much.
    #[inline]
    fn read(&mut self, conn: usize, bytes: &[u8], on_data: impl FnOnce(&mut Input)) -> usize {
        let key = Key {
            slot: conn as u32,
            generation: 0,
        };
        match self.receive.owner() {
            None => self.receive.clear(),
            Some(owner) => {
                self.left[owner.slot as usize] = self.receive.make_way(owner == key);
            }
        }
        let buffer = self.receive.buffer();
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.receive.filled(count);
        let left = self.receive.put_in_front(self.left[conn].take());
        on_data(self.receive.offer(left));
        match self.receive.is_joined() {
            false => self.receive.keep_for(key),
            true => self.left[conn] = self.receive.leftover(),
        }
        count
    }
}

fn ours<D: Decoder + Clone + 'static>(
    row: &Row,
    codec: D,
    use_it: impl Fn(D::Frame<'_, '_>),
) -> usize {
    let (mut count, mut reads) = (0, Reads::new(FULL, row.conns));
    let mut codecs = vec![codec; row.conns];
    for piece in (0..ROUNDS / row.conns).flat_map(|_| &row.pieces) {
        for (conn, codec) in codecs.iter_mut().enumerate() {
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let taken = reads.read(conn, rest, |input| {
                    let decoded = codec.decode_each(input, |frame| {
                        use_it(frame);
                        count += 1;
                        true
                    });
                    decoded.expect("good frames");
                });
                rest = &rest[taken..];
            }
        }
    }
    count
}

fn theirs<D>(row: &Row, codec: impl Fn() -> D) -> usize
where
    D: tokio::Decoder,
    D::Error: std::fmt::Debug,
{
    let mut count = 0;
    let size = row.pieces[0].len().max(8 * 1024);
    let new = || (codec(), BytesMut::with_capacity(size));
    let mut conns: Vec<(D, BytesMut)> = (0..row.conns).map(|_| new()).collect();
    for piece in (0..ROUNDS / row.conns).flat_map(|_| &row.pieces) {
        for (codec, buffer) in &mut conns {
            buffer.extend_from_slice(piece);
            while let Some(frame) = codec.decode(buffer).expect("good frames") {
                black_box(&frame);
                count += 1;
            }
        }
    }
    count
}
