//! F3, and what else a codec of lines or delimiters does by choice: the same however it is cut.

use sockeye::codec::{CodecError, Decoder, Delimited, Encoder, Lines, TextLines};
use sockeye::{Chunk, InputBuffer};

/// A decoder of lines that may skip.
trait Skips: Decoder + Clone + 'static {
    fn skipped(&mut self) -> u64;
}

impl Skips for Lines {
    fn skipped(&mut self) -> u64 {
        self.take_skipped()
    }
}

impl Skips for TextLines {
    fn skipped(&mut self) -> u64 {
        self.take_skipped()
    }
}

/// The frames of a stream that comes in these pieces and ends, by `decode` or by `decode_each`; and
/// how many lines were skipped.
fn run<D: Skips>(mut codec: D, pieces: &[&[u8]], one_by_one: bool) -> (Vec<Vec<u8>>, u64)
where
    for<'d, 'i> D::Frame<'d, 'i>: AsRef<[u8]>,
{
    let (mut frames, mut input) = (Vec::new(), InputBuffer::from(Vec::new()));
    for (n, piece) in pieces.iter().enumerate() {
        input.append(piece);
        if n + 1 == pieces.len() {
            input.end();
        }
        if one_by_one {
            while let Some(frame) = codec.decode(&mut input).unwrap() {
                frames.push(frame.as_ref().to_vec());
            }
        } else {
            let each = codec.decode_each(&mut input, |frame| {
                frames.push(frame.as_ref().to_vec());
                true
            });
            each.unwrap();
        }
        assert!(input.len() <= codec.max_input(), "it would meet the limit");
    }
    assert!(input.len() <= 1, "but for half of an end");
    (frames, codec.skipped())
}

/// However it is cut.
#[track_caller]
fn gives<D: Skips>(codec: D, bytes: &[u8], frames: &[&str], skipped: u64)
where
    for<'d, 'i> D::Frame<'d, 'i>: AsRef<[u8]>,
{
    let check = |pieces: &[&[u8]]| {
        for one_by_one in [true, false] {
            let (got, count) = run(codec.clone(), pieces, one_by_one);
            let got: Vec<_> = got.iter().map(|f| String::from_utf8_lossy(f)).collect();
            assert_eq!(
                (got, count),
                (frames.iter().map(|f| (*f).into()).collect(), skipped)
            );
        }
    };
    check(&bytes.chunks(1).collect::<Vec<_>>());
    for one in 0..=bytes.len() {
        for two in one..=bytes.len() {
            check(&[&bytes[..one], &bytes[one..two], &bytes[two..]]);
        }
    }
}

// F3
#[test]
fn a_line_that_is_too_long_is_skipped_by_choice_and_what_follows_is_a_line() {
    let lines: [(&[u8], &[&str], u64); 9] = [
        (b"abcd\nabcde\nef\n", &["abcd", "ef"], 1),
        (b"abcd\r\nabcde\r\nef\r\n", &["abcd", "ef"], 1),
        (b"abcdefghijklmnopq\n\n", &[""], 1),
        (b"abcde\nfghij\nklmno\nx\n", &["x"], 3),
        (b"abcd\r", &[], 0),
        (b"abcde", &[], 1),
        (b"a\nabcdefgh", &["a"], 1),
        (b"abcd\re\nx\n", &["x"], 1),
        (b"\xff\xff\xff\xff\xff\nx\n", &["x"], 1),
    ];
    for (bytes, frames, skipped) in lines {
        let is_whole = bytes.ends_with(b"\n") || skipped > 0;
        if is_whole {
            gives(Lines::new(4).skip_too_long(), bytes, frames, skipped);
            gives(TextLines::new(4).skip_too_long(), bytes, frames, skipped);
        }
        let last: &[&str] = if is_whole { frames } else { &["abcd"] };
        gives(Lines::new(4).skip_too_long().or_eof(), bytes, last, skipped);
    }
}

// F3: without the choice it is an error, and a decoder that has skipped nothing says so.
#[test]
fn a_line_that_is_too_long_is_an_error_otherwise() {
    let mut input = InputBuffer::from(b"abcde\nx\n".to_vec());
    let mut lines = Lines::new(4);
    let error = lines.decode(&mut input).unwrap_err();
    assert!(matches!(error, CodecError::TooLong { limit: 4, .. }));
    assert_eq!(lines.take_skipped(), 0);
}

// F3
#[test]
fn lines_are_sent_with_cr_lf_by_choice() {
    let mut sent = Vec::new();
    Lines::new(4).crlf().encode(b"abcd", &mut sent).unwrap();
    TextLines::new(4).crlf().encode(b"", &mut sent).unwrap();
    Lines::new(4).encode(b"x", &mut sent).unwrap();
    assert_eq!(sent, b"abcd\r\n\r\nx\n");
    gives(Lines::new(4).crlf(), &sent, &["abcd", "", "x"], 0);
    for refused in ["abcde", "a\r", "a\nb"] {
        assert!(Lines::new(4).crlf().frame(refused).is_err(), "{refused:?}");
    }
}

#[test]
fn a_delimiter_is_kept_by_choice() {
    let codec = Delimited::new("--", 3).or_eof().keep_delimiter();
    let bytes = b"abc----de";
    for cut in 0..=bytes.len() {
        let (mut codec, mut frames) = (codec.clone(), Vec::new());
        let mut input = InputBuffer::from(bytes[..cut].to_vec());
        let mut take = |input: &mut InputBuffer| {
            while let Some(frame) = codec.decode(input).unwrap() {
                frames.push(frame.to_vec());
            }
        };
        take(&mut input);
        input.append(&bytes[cut..]);
        input.end();
        take(&mut input);
        assert_eq!(frames, [&b"abc--"[..], b"--", b"de"], "{cut}");
    }
    let mut input = InputBuffer::from(b"abcd--".to_vec());
    assert!(codec.clone().decode(&mut input).is_err());
    // What is sent is the same.
    let mut sent = Vec::new();
    codec.encode(b"abc", &mut sent).unwrap();
    assert_eq!(sent, b"abc--");
}

// F2: the compiler sees that a chunk does not borrow from its decoder.
#[test]
fn a_frame_that_borrows_from_the_input_leaves_its_decoder_free() {
    let (mut lines, mut input) = (Lines::new(4), InputBuffer::from(b"ab\nabcdef\n".to_vec()));
    let first: Chunk<'_> = lines.decode(&mut input).unwrap().unwrap();
    lines = Lines::new(first.len() * 3);
    assert_eq!(&first[..], b"ab");
    assert_eq!(&lines.decode(&mut input).unwrap().unwrap()[..], b"abcdef");
}
