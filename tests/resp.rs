//! The decoder of the example `resp`: every cut, every limit, and the same commands from arrays and
//! from lines. R8, R9.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../examples/resp/protocol.rs"]
mod protocol;

use allocation_counter::measure;
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::{Commands, MAX_BYTES, array, bulk, number};
use sockeye::InputBuffer;
use sockeye::codec::{CodecError, Decoder};

type Words = Vec<Vec<u8>>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Well,
    TooLong,
    Malformed,
    Truncated,
}

/// Decodes pieces as they come, then the end.
fn decode(pieces: &[&[u8]]) -> (Vec<Words>, End) {
    let (mut commands, mut got) = (Commands::default(), Vec::new());
    let mut input = InputBuffer::from(Vec::new());
    let mut all = |input: &mut InputBuffer| loop {
        match commands.decode(input) {
            Ok(Some(command)) => got.push(command.words(0).map(<[u8]>::to_vec).collect()),
            Ok(None) => return End::Well,
            Err(CodecError::TooLong { .. }) => return End::TooLong,
            Err(CodecError::Truncated { .. }) => return End::Truncated,
            Err(_) => return End::Malformed,
        }
    };
    let mut end = End::Well;
    for piece in pieces {
        input.append(piece);
        end = all(&mut input);
        if end != End::Well {
            break;
        }
        assert!(input.len() <= MAX_BYTES, "it would meet the input limit");
    }
    input.end();
    if end == End::Well {
        end = all(&mut input);
    }
    (got, end)
}

#[track_caller]
fn all_cuts(bytes: &[u8]) -> (Vec<Words>, End) {
    let whole = decode(&[bytes]);
    for at in 0..=bytes.len() {
        assert_eq!(decode(&[&bytes[..at], &bytes[at..]]), whole, "cut at {at}");
    }
    let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(decode(&pieces), whole, "in single bytes");
    whole
}

fn words(words: &[&str]) -> Words {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

// R8, R9
#[test]
fn commands_are_the_same_as_arrays_and_as_lines_wherever_they_are_cut() {
    let arrays =
        b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n*0\r\n";
    let wanted = [&["GET", "a"][..], &["PING"], &["ECHO", ""], &[]].map(words);
    assert_eq!(all_cuts(arrays), (wanted.to_vec(), End::Well));
    let wanted = [&["GET", "a"][..], &[], &["PING"], &["*"]].map(words);
    let (got, end) = all_cuts(b"GET  a \r\n\r\n PING\n");
    assert_eq!((got, end), (wanted[..3].to_vec(), End::Well));
    // An end of a line within a word is a byte.
    let (got, _) = all_cuts(b"*1\r\n$6\r\na\r\nb\r\n\r\n");
    assert_eq!(got, [words(&["a\r\nb\r\n"])]);
}

// R9
#[test]
fn what_is_no_command_is_refused_as_early_as_it_is_known() {
    for bytes in [
        &b"*x\r\n"[..],
        b"*-1\r\n",
        b"*99999\r\n",
        b"*1\r\nPING\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$1048577\r\n",
        b"*1\r\n$1\r\nab\r\n",
        b"*1\r\n$9223372036854775808\r\n",
        b"*99999999999999999999\r\n",
    ] {
        assert_eq!(
            all_cuts(bytes),
            (vec![], End::Malformed),
            "{}",
            bytes.escape_ascii()
        );
    }
    assert_eq!(decode(&[&[b'x'; 20_000]]).1, End::TooLong);
    assert_eq!(decode(&[b"*1\r\n$1048570\r\n"]).1, End::TooLong);
    for bytes in [
        &b"*1"[..],
        b"*1\r\n",
        b"*1\r\n$1\r\n",
        b"*1\r\n$1\r\na\r",
        b"PING",
    ] {
        assert_eq!(all_cuts(bytes), (vec![], End::Truncated));
    }
    // Many words that are each allowed are too long together.
    let word = [b"$100\r\n".to_vec(), vec![b'x'; 100], b"\r\n".to_vec()].concat();
    let many = [&b"*65536\r\n"[..], &word.repeat(10_000)].concat();
    let pieces: Vec<&[u8]> = many.chunks(100_000).collect();
    assert_eq!(decode(&pieces), (vec![], End::TooLong));
}

#[test]
fn a_claim_takes_no_memory_and_a_command_none_that_is_not_used_again() {
    let mut commands = Commands::default();
    let mut input = InputBuffer::from(b"*65536\r\n$1000000\r\n".to_vec());
    let info = measure(|| assert!(commands.decode(&mut input).unwrap().is_none()));
    assert_eq!(info.bytes_total, 0);
    let (mut commands, mut count) = (Commands::default(), 0);
    let mut input = InputBuffer::from(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".repeat(100));
    assert!(commands.decode(&mut input).unwrap().is_some());
    let info = measure(|| {
        while commands.decode(&mut input).unwrap().is_some() {
            count += 1;
        }
    });
    assert_eq!((info.count_total, count), (0, 99));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // R8
    #[test]
    fn what_is_encoded_comes_back_however_it_is_cut(
        commands in vec(vec(vec(any::<u8>(), 0..30), 1..6), 0..8),
        sizes in vec(1..40_usize, 1..6),
        replies in vec(any::<i64>(), 0..5),
    ) {
        let mut wire = Vec::new();
        for command in &commands {
            let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            array(&mut wire, &words);
        }
        let (mut pieces, mut rest) = (Vec::new(), &wire[..]);
        for size in sizes.iter().cycle() {
            let (piece, more) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(decode(&pieces), (commands, End::Well));
        for reply in replies {
            let mut out = Vec::new();
            number(&mut out, b':', reply);
            bulk(&mut out, b"x");
            prop_assert_eq!(out, format!(":{reply}\r\n$1\r\nx\r\n").into_bytes());
        }
    }

    // R9
    #[test]
    fn nothing_that_comes_is_taken_otherwise_when_it_is_cut(
        bytes in vec(prop::sample::select(b"**$$\r\n\r\n\r\n0123 -aP".to_vec()), 0..60),
        at in 0..60_usize,
    ) {
        let at = at.min(bytes.len());
        prop_assert_eq!(decode(&[&bytes]), decode(&[&bytes[..at], &bytes[at..]]));
    }
}
