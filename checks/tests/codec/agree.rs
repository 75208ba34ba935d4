//! R8, R9: whatever is encoded and however it is cut, the same comes out; and the same as from the
//! codecs of `tokio_util`.

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use sockeye::codec::{Decoder, Delimited, Encoder, Fixed, LengthPrefixed, Lines};
use sockeye::{Chunk, InputBuffer};
use tokio_util::codec::{self as tokio, LengthDelimitedCodec};

/// What came out, and how it ended.
type Outcome = (Vec<Vec<u8>>, End);

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Well,
    /// With an error at the end of the stream.
    Truncated,
    /// With an error before.
    Wrong,
}

/// Cuts bytes into pieces of these sizes, again and again.
fn cut<'a>(mut bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
        if bytes.is_empty() {
            break;
        }
    }
    pieces
}

fn ours<D>(mut codec: D, pieces: &[&[u8]]) -> Outcome
where
    D: for<'d, 'i> Decoder<Frame<'d, 'i> = Chunk<'i>> + 'static,
{
    let (mut frames, mut input) = (Vec::new(), InputBuffer::from(Vec::new()));
    for piece in pieces {
        input.append(piece);
        loop {
            match codec.decode(&mut input) {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(_) => return (frames, End::Wrong),
            }
        }
    }
    input.end();
    loop {
        match codec.decode(&mut input) {
            Ok(Some(frame)) => frames.push(frame.to_vec()),
            Ok(None) => return (frames, End::Well),
            Err(_) => return (frames, End::Truncated),
        }
    }
}

fn theirs<D>(mut codec: D, pieces: &[&[u8]]) -> Outcome
where
    D: tokio::Decoder,
    D::Item: AsRef<[u8]>,
{
    let (mut frames, mut buffer) = (Vec::new(), BytesMut::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame.as_ref().to_vec()),
                Ok(None) => break,
                Err(_) => return (frames, End::Wrong),
            }
        }
    }
    loop {
        match codec.decode_eof(&mut buffer) {
            Ok(Some(frame)) => frames.push(frame.as_ref().to_vec()),
            Ok(None) => return (frames, End::Well),
            Err(_) => return (frames, End::Truncated),
        }
    }
}

/// Encodes, cuts, decodes.
fn comes_back<C>(codec: C, payloads: &[Vec<u8>], sizes: &[usize]) -> Result<(), TestCaseError>
where
    C: Encoder + for<'d, 'i> Decoder<Frame<'d, 'i> = Chunk<'i>> + 'static,
{
    let (mut bytes, mut sent) = (Vec::new(), Vec::new());
    for payload in payloads {
        // What is refused leaves nothing behind.
        if codec.encode(payload, &mut bytes).is_ok() {
            sent.push(payload.clone());
        }
    }
    prop_assert_eq!(ours(codec, &cut(&bytes, sizes)), (sent, End::Well));
    Ok(())
}

/// A length-prefixed codec of any kind, and its counterpart, which has no varint, no decimals, and
/// compares its maximum with what the prefix says.
fn prefixed(most_to_skip: usize) -> impl Strategy<Value = (LengthPrefixed, LengthDelimitedCodec)> {
    let width = prop::sample::select(vec![1, 2, 3, 4, 8]);
    let numbers = (0..3_usize, -3..4_i64, 0..=most_to_skip);
    (width, any::<bool>(), any::<bool>(), numbers).prop_map(
        |(width, little, itself, (offset, adjustment, skip))| {
            let mut ours = match width {
                1 => LengthPrefixed::u8(300),
                2 => LengthPrefixed::u16(300),
                3 => LengthPrefixed::u24(300),
                4 => LengthPrefixed::u32(300),
                _ => LengthPrefixed::u64(300),
            };
            let header = offset + width;
            ours = ours.offset(offset).adjustment(adjustment);
            let mut theirs = LengthDelimitedCodec::builder();
            theirs
                .length_field_offset(offset)
                .length_field_length(width)
                .max_frame_length(300);
            if little {
                (ours, _) = (ours.little_endian(), theirs.little_endian());
            }
            let mut added = adjustment as isize;
            // The first of them is the default. With another one, theirs takes lengths below zero
            // as long as the whole frame is not.
            let skip = skip.checked_sub(1).filter(|_| adjustment >= 0 && !itself);
            if itself {
                ours = ours.counts_itself();
                added -= width as isize;
            }
            if let Some(skip) = skip {
                ours = ours.skip(skip);
                added += header as isize - skip as isize;
                theirs.num_skip(skip);
            }
            (ours, theirs.length_adjustment(added).new_codec())
        },
    )
}

/// Bytes in which what matters is likely.
fn text(of: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(of.to_vec()), 0..80)
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(1..20_usize, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_comes_back_however_it_is_cut(
        payloads in vec(vec(any::<u8>(), 0..40), 0..12),
        lines in vec(text(b"a\r\n\0\xff"), 0..12),
        sizes in sizes(),
        (prefixed, _) in prefixed(0),
        digits in 1..20_usize,
    ) {
        comes_back(prefixed.offset(0), &payloads, &sizes)?;
        comes_back(LengthPrefixed::varint(300), &payloads, &sizes)?;
        comes_back(LengthPrefixed::varint(300).counts_itself(), &payloads, &sizes)?;
        comes_back(LengthPrefixed::decimal(digits, 300), &payloads, &sizes)?;
        comes_back(Fixed::new(7), &payloads, &sizes)?;
        comes_back(Lines::new(20), &lines, &sizes)?;
        comes_back(Delimited::new("a\n", 20), &lines, &sizes)?;
        comes_back(Delimited::new("\n\r\n", 20), &lines, &sizes)?;
        comes_back(Delimited::new("\0", 20), &lines, &sizes)?;
    }

    #[test]
    fn lines_are_those_of_tokio_util(bytes in text(b"aaaaaaaaa\r\n"), sizes in sizes()) {
        let theirs = theirs(tokio::LinesCodec::new(), &cut(&bytes, &sizes));
        prop_assert_eq!(ours(Lines::new(100).or_eof(), &cut(&bytes, &sizes)), theirs);
    }

    /// A CR before the LF counts there, and not here.
    #[test]
    fn lines_above_the_maximum_are_those_of_tokio_util(
        bytes in text(b"aaaaaaaaaa\n"),
        sizes in sizes(),
    ) {
        let codec = tokio::LinesCodec::new_with_max_length(12);
        let theirs = theirs(codec, &cut(&bytes, &sizes));
        let ours = ours(Lines::new(12).or_eof(), &cut(&bytes, &sizes));
        // Theirs takes a longer last line at the end.
        if ours.0.len() == theirs.0.len() {
            prop_assert_eq!(ours, theirs);
        } else {
            prop_assert!(ours.1 == End::Wrong && theirs.0.starts_with(&ours.0));
            prop_assert!(theirs.0[ours.0.len()].len() > 12);
        }
    }

    #[test]
    fn delimited_frames_are_those_of_tokio_util(bytes in text(b"aaaaaaa;"), sizes in sizes()) {
        let codec = tokio::AnyDelimiterCodec::new(b";".to_vec(), b";".to_vec());
        let theirs = theirs(codec, &cut(&bytes, &sizes));
        prop_assert_eq!(ours(Delimited::new(";", 100).or_eof(), &cut(&bytes, &sizes)), theirs);
    }

    #[test]
    fn prefixed_frames_are_those_of_tokio_util(
        bytes in text(b"\0\0\0\0\0\0\x01\x02\x05\x08a"),
        sizes in sizes(),
        (codec, other) in prefixed(9),
    ) {
        let ours = ours(codec, &cut(&bytes, &sizes));
        let theirs = theirs(other, &cut(&bytes, &sizes));
        prop_assert_eq!(&ours.0, &theirs.0, "{:?}", codec);
        // Theirs waits for the bytes to skip before it complains; and it drops them first, and then
        // sees no difference between an end right after them and one between two frames.
        let same = match theirs.1 {
            End::Well => ours.1 != End::Wrong,
            _ => ours.1 != End::Well,
        };
        prop_assert!(same, "{:?}: {:?}, {:?}", codec, ours.1, theirs.1);
    }
}
