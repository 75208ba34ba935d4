//! `codec::resp`: every cut, every limit, the same commands from arrays and from lines, and what
//! the replies look like. R8, R9.

use allocation_counter::measure;
use proptest::collection::vec;
use proptest::prelude::*;
use sockeye::InputBuffer;
use sockeye::codec::resp::{self, Commands};
use sockeye::codec::{CodecError, Decoder};

const MAX: usize = 1 << 20;

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
    let (mut commands, mut got) = (Commands::new(MAX), Vec::new());
    let mut input = InputBuffer::from(Vec::new());
    let mut all = |input: &mut InputBuffer| loop {
        match commands.decode(input) {
            Ok(Some(command)) => got.push(command.iter().map(|word| word.to_vec()).collect()),
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
        assert!(input.len() <= MAX, "it would meet the input limit");
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

/// The name is in capitals.
fn named(mut words: Words) -> Words {
    words
        .iter_mut()
        .take(1)
        .for_each(|name| name.make_ascii_uppercase());
    words
}

// R8, R9
#[test]
fn commands_are_the_same_as_arrays_and_as_lines_wherever_they_are_cut() {
    let arrays =
        b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$0\r\n\r\n*0\r\n";
    let wanted = [&["GET", "a"][..], &["PING"], &["ECHO", ""], &[]].map(words);
    assert_eq!(all_cuts(arrays), (wanted.to_vec(), End::Well));
    let wanted = [&["GET", "a"][..], &[], &["PING"], &["*"]].map(words);
    let (got, end) = all_cuts(b"gEt  a \r\n\r\n PING\n");
    assert_eq!((got, end), (wanted[..3].to_vec(), End::Well));
    // An end of a line within a word is a byte.
    let (got, _) = all_cuts(b"*2\r\n$1\r\nx\r\n$6\r\na\r\nb\r\n\r\n");
    assert_eq!(got, [words(&["X", "a\r\nb\r\n"])]);
}

// R9
#[test]
fn what_is_no_command_is_refused_as_early_as_it_is_known() {
    for bytes in [
        &b"*x\r\n"[..],
        b"*-1\r\n",
        b"*\r\n",
        b"*1\n",
        b"*99999999999",
        b"*1\r\nPING\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$+1\r\n",
        b"*1\r\n$1\r\nab\r\n",
        b"*1\r\n$1\r\na\n\n",
    ] {
        assert_eq!(
            all_cuts(bytes),
            (vec![], End::Malformed),
            "{}",
            bytes.escape_ascii()
        );
    }
    for bytes in [
        &[b'x'; 20_000][..],
        b"*174763\r\n",
        b"*9999999999\r\n",
        b"*1\r\n$1048577\r\n",
        b"*1\r\n$1048561\r\n",
    ] {
        assert_eq!(decode(&[bytes]).1, End::TooLong, "{}", bytes.len());
    }
    assert_eq!(decode(&[b"*1\r\n$1048560\r\n"]).1, End::Truncated);
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
    let mut commands = Commands::new(MAX);
    let mut input = InputBuffer::from(b"*65536\r\n$1000000\r\n".to_vec());
    let info = measure(|| assert!(commands.decode(&mut input).unwrap().is_none()));
    assert_eq!(info.bytes_total, 0);
    let (mut commands, mut count) = (Commands::new(MAX), 0);
    let mut input = InputBuffer::from(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".repeat(100));
    assert!(commands.decode(&mut input).unwrap().is_some());
    let info = measure(|| {
        while commands.decode(&mut input).unwrap().is_some() {
            count += 1;
        }
    });
    assert_eq!((info.count_total, count), (0, 99));
}

#[test]
fn replies_are_as_the_protocol_wants_them() {
    let mut out = Vec::new();
    resp::simple(&mut out, "O\r\nK");
    resp::error(&mut out, "ERR no\n");
    resp::integer(&mut out, i64::MIN);
    resp::bulk(&mut out, b"\r\n");
    resp::null(&mut out);
    resp::array(&mut out, 0);
    let wanted = "+O  K\r\n-ERR no \r\n:-9223372036854775808\r\n$2\r\n\r\n\r\n$-1\r\n*0\r\n";
    assert_eq!(
        out.escape_ascii().to_string(),
        wanted.as_bytes().escape_ascii().to_string()
    );
}

/// Few words and many, and those of a line.
#[test]
fn a_command_is_a_slice_of_its_words_the_name_in_capitals() {
    for count in [1, 7, 8, 9, 100] {
        let mut wire = format!("*{count}\r\n").into_bytes();
        let words: Words = (0..count).map(|at| format!("w{at}").into_bytes()).collect();
        words.iter().for_each(|word| resp::bulk(&mut wire, word));
        let line = [words.join(&b' '), b"\n".to_vec()].concat();
        for wire in [wire, line] {
            let mut input = InputBuffer::from(wire);
            let command = Commands::new(MAX).decode(&mut input).unwrap().unwrap();
            assert_eq!((command.len(), command[0]), (count, &b"W0"[..]));
            assert!(command.iter().skip(1).eq(words.iter().skip(1)));
        }
    }
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
            resp::array(&mut wire, command.len());
            command.iter().for_each(|word| resp::bulk(&mut wire, word));
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
        prop_assert_eq!(decode(&pieces), (commands.into_iter().map(named).collect(), End::Well));
        for reply in replies {
            let mut out = Vec::new();
            resp::integer(&mut out, reply);
            resp::bulk(&mut out, b"x");
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
