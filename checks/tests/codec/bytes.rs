//! R8, R9: the decoders and encoders by themselves: every cut, every limit, every lie.

use allocation_counter::measure;
use bytes::{Buf, Bytes};
use sockeye::codec::{
    CodecError, Decoder, Delimited, Encoder, Fixed, LengthPrefixed, Lines, TextLines, UntilEof,
};
use sockeye::{InputBuffer, Payload};

/// What a decoder gave, and how it ended.
type Outcome = (Vec<Vec<u8>>, Result<(), CodecError>);

/// Decodes pieces as they come, then the end.
fn decode<D>(mut codec: D, pieces: &[&[u8]]) -> Outcome
where
    D: Decoder + 'static,
    for<'d, 'i> D::Frame<'d, 'i>: AsRef<[u8]>,
{
    let mut frames = Vec::new();
    let mut run = || {
        let mut input = InputBuffer::from(Vec::new());
        for piece in pieces {
            input.append(piece);
            while let Some(frame) = codec.decode(&mut input)? {
                frames.push(frame.as_ref().to_vec());
            }
        }
        input.end();
        while let Some(frame) = codec.decode(&mut input)? {
            frames.push(frame.as_ref().to_vec());
        }
        Ok(())
    };
    let end = run();
    (frames, end)
}

/// The same in batches, stopped after so many frames each.
fn decode_each<D>(mut codec: D, pieces: &[&[u8]], batch: usize) -> Outcome
where
    D: Decoder + 'static,
    for<'d, 'i> D::Frame<'d, 'i>: AsRef<[u8]>,
{
    let mut frames: Vec<Vec<u8>> = Vec::new();
    let mut run = || {
        let mut input = InputBuffer::from(Vec::new());
        for piece in pieces {
            input.append(piece);
            let mut stopped = true;
            while std::mem::take(&mut stopped) {
                codec.decode_each(&mut input, |frame| {
                    assert!(!stopped);
                    frames.push(frame.as_ref().to_vec());
                    stopped = frames.len().is_multiple_of(batch);
                    !stopped
                })?;
            }
        }
        input.end();
        while let Some(frame) = codec.decode(&mut input)? {
            frames.push(frame.as_ref().to_vec());
        }
        Ok(())
    };
    let end = run();
    (frames, end)
}

/// The same, whole, cut at each place, at each two places, and in single bytes, with one outcome.
#[track_caller]
fn all_cuts<D>(codec: D, bytes: &[u8]) -> Outcome
where
    D: Decoder + Clone + 'static,
    for<'d, 'i> D::Frame<'d, 'i>: AsRef<[u8]>,
{
    let whole = decode(codec.clone(), &[bytes]);
    let same = |pieces: &[&[u8]]| {
        let by_one = decode(codec.clone(), pieces);
        let by_two = decode_each(codec.clone(), pieces, 2);
        for (frames, end) in [by_one, by_two, decode_each(codec.clone(), pieces, 1)] {
            assert_eq!(frames, whole.0, "{pieces:?}");
            // An excerpt may be shorter when the error was found before all had come.
            let kind =
                |end: &Result<(), CodecError>| end.as_ref().map_err(std::mem::discriminant).err();
            assert_eq!(kind(&end), kind(&whole.1), "{pieces:?}: {end:?}");
        }
    };
    for one in 0..=bytes.len() {
        same(&[&bytes[..one], &bytes[one..]]);
        for two in one..=bytes.len() {
            same(&[&bytes[..one], &bytes[one..two], &bytes[two..]]);
        }
    }
    same(&bytes.chunks(1).collect::<Vec<_>>());
    whole
}

#[track_caller]
fn gives<D>(codec: D, bytes: impl AsRef<[u8]>, frames: &[&str])
where
    D: Decoder + Clone + 'static,
    for<'d, 'i> D::Frame<'d, 'i>: AsRef<[u8]>,
{
    let (got, end) = all_cuts(codec, bytes.as_ref());
    end.unwrap();
    assert_eq!(got, frames.iter().map(|f| f.as_bytes()).collect::<Vec<_>>());
}

/// The frames before the error, and the error.
#[track_caller]
fn fails<D>(codec: D, bytes: impl AsRef<[u8]>, frames: usize) -> CodecError
where
    D: Decoder + Clone + 'static,
    for<'d, 'i> D::Frame<'d, 'i>: AsRef<[u8]>,
{
    let (got, end) = all_cuts(codec, bytes.as_ref());
    assert_eq!(got.len(), frames);
    end.unwrap_err()
}

#[track_caller]
fn is_too_long(error: &CodecError, wanted: usize, what: Option<u64>) {
    match error {
        CodecError::TooLong { limit, claimed, .. } => {
            assert_eq!((*limit, *claimed), (wanted, what), "{error}");
        }
        other => panic!("{other}"),
    }
}

// R8, R9
#[test]
fn lines_end_with_lf_or_crlf_wherever_they_are_cut() {
    let codec = Lines::new(6);
    gives(
        codec,
        "one\ntwo\r\n\n\r\na\rb\n",
        &["one", "two", "", "", "a\rb"],
    );
    gives(codec, "a\0b\n\0\n", &["a\0b", "\0"]);
    gives(codec, "", &[]);
    // One CR is the end's, another is not.
    gives(codec, "a\r\r\n", &["a\r"]);
}

#[test]
fn a_line_may_have_the_maximum_and_not_one_byte_more() {
    gives(Lines::new(3), "abc\nabc\r\n", &["abc", "abc"]);
    for line in [
        "abcd\n",
        "abcd\r\n",
        "abcd",
        "ok\nabcd\n",
        "abc\r",
        "abc\rd\n",
    ] {
        let frames = usize::from(line.starts_with("ok"));
        match fails(Lines::new(3), line, frames) {
            CodecError::Truncated { .. } if line == "abc\r" => {}
            error => is_too_long(&error, 3, None),
        }
    }
    gives(Lines::new(0), "\n\r\n", &["", ""]);
    is_too_long(&fails(Lines::new(0), "x", 0), 0, None);
    gives(Lines::new(usize::MAX), "abc\n", &["abc"]);
}

#[test]
fn a_last_line_without_an_end_is_truncated_unless_the_end_of_the_stream_ends_it() {
    let error = fails(Lines::new(8), "one\ntw", 1);
    assert!(matches!(error, CodecError::Truncated { .. }));
    let text = r#"stream ended within a frame, after 2 bytes: "tw""#;
    assert_eq!(error.to_string(), text);
    gives(Lines::new(8).or_eof(), "one\ntwo", &["one", "two"]);
    gives(Lines::new(8).or_eof(), "one\ntwo\r", &["one", "two"]);
    gives(Lines::new(8).or_eof(), "one\n\r", &["one"]);
}

#[test]
fn lines_of_text_are_lines_that_are_text() {
    let codec = TextLines::new(6);
    gives(codec, "one\r\n\n\rgrü\n\0\n", &["one", "", "\rgrü", "\0"]);
    gives(codec.or_eof(), "one\ntwo\r", &["one", "two"]);
    gives(codec, "", &[]);
    is_too_long(&fails(codec, "ok\nseven b\n", 1), 6, None);
    is_too_long(&fails(TextLines::new(0), "\nx\n", 1), 0, None);
    let no_text: [&[u8]; 4] = [
        b"ok\n\xff\nok\n",
        b"ok\na\xc3\n\xbc\n",
        b"ok\n\xc3\r\n",
        b"ok\n\xed\xa0\x80\n",
    ];
    for bytes in no_text {
        let error = fails(codec, bytes, 1);
        assert!(
            error.to_string().starts_with("a line that is no UTF-8: \""),
            "{error}"
        );
    }
    // One that is both is too long: only whole lines are looked at.
    is_too_long(&fails(codec, b"\xffabcdefg\n", 0), 6, None);
    assert!(matches!(
        fails(codec, b"\xff", 0),
        CodecError::Truncated { .. }
    ));
    assert!(matches!(
        fails(codec.or_eof(), b"\xff", 0),
        CodecError::Malformed { .. }
    ));
    let mut buffer = Vec::new();
    codec.encode(b"abc", &mut buffer).unwrap();
    assert_eq!(buffer, b"abc\n");
}

/// Above what it checks at once, with characters of several bytes where that may end.
#[test]
fn long_and_many_lines_of_text_are_found_however_they_come() {
    for long in [4090, 4095, 4096, 4097, 9000] {
        let line = "ü".repeat(long / 2);
        let text = format!("{line}\n{}{line}\n", "äöü€\n".repeat(1_500));
        let lines: Vec<&[u8]> = text.lines().map(str::as_bytes).collect();
        for size in [1, 7, 1000, 4096, 100_000] {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            for outcome in [
                decode(TextLines::new(10_000), &pieces),
                decode_each(TextLines::new(10_000), &pieces, 700),
            ] {
                outcome.1.unwrap();
                assert!(outcome.0 == lines, "{long} {size}");
            }
        }
    }
}

// R8, R9
#[test]
fn a_delimiter_is_found_wherever_it_is_cut() {
    gives(Delimited::new("\0", 8), "one\0\0two\0", &["one", "", "two"]);
    gives(
        Delimited::new("\r\n.\r\n", 9),
        "a\r\n.b\r\n.\r\n\r\n.\r\n",
        &["a\r\n.b", ""],
    );
    // One that overlaps itself: the first occurrence counts.
    gives(Delimited::new("aab", 8), "aaab-aab", &["a", "-"]);
    gives(Delimited::new("aa", 8), "aaa-aa", &["", "a-"]);
    gives(Delimited::new("--", 2).or_eof(), "ab--c", &["ab", "c"]);
    is_too_long(
        &fails(Delimited::new("--", 2).or_eof(), "ab--abc", 1),
        2,
        None,
    );
    let error = fails(Delimited::new("--", 2), "ab--c", 1);
    assert!(matches!(error, CodecError::Truncated { .. }));
}

#[test]
fn a_delimited_frame_may_have_the_maximum_and_not_one_byte_more() {
    gives(Delimited::new(";", 3), "abc;", &["abc"]);
    gives(Delimited::new("::", 3), "abc::a:b::", &["abc", "a:b"]);
    for text in ["abcd;", "abcd"] {
        is_too_long(&fails(Delimited::new(";", 3), text, 0), 3, None);
    }
    is_too_long(&fails(Delimited::new("::", 3), "abcd::", 0), 3, None);
    gives(Delimited::new(";", usize::MAX), "abc;", &["abc"]);
}

#[test]
fn fixed_frames_come_in_their_length() {
    gives(Fixed::new(3), "abcdef", &["abc", "def"]);
    gives(Fixed::new(1), "a\0", &["a", "\0"]);
    assert!(matches!(
        fails(Fixed::new(3), "abcd", 1),
        CodecError::Truncated { .. }
    ));
}

#[test]
fn all_until_the_end_is_one_frame_and_so_is_nothing() {
    gives(UntilEof::new(5), "abcde", &["abcde"]);
    gives(UntilEof::new(5), "", &[""]);
    is_too_long(&fails(UntilEof::new(5), "abcdef", 0), 5, None);
}

/// Every kind of prefix, with what it puts before `abc`.
fn prefixes() -> Vec<(LengthPrefixed, &'static [u8])> {
    type L = LengthPrefixed;
    vec![
        (L::u8(3), b"\x03"),
        (L::u16(3), b"\0\x03"),
        (L::u24(3), b"\0\0\x03"),
        (L::u32(3), b"\0\0\0\x03"),
        (L::u64(3), b"\0\0\0\0\0\0\0\x03"),
        (L::u8(3).little_endian(), b"\x03"),
        (L::u16(3).little_endian(), b"\x03\0"),
        (L::u24(3).little_endian(), b"\x03\0\0"),
        (L::u32(3).little_endian(), b"\x03\0\0\0"),
        (L::u64(3).little_endian(), b"\x03\0\0\0\0\0\0\0"),
        (L::varint(3), b"\x03"),
        (L::decimal(1, 3), b"3"),
        (L::decimal(4, 3), b"0003"),
        (L::decimal(19, 3), b"0000000000000000003"),
        (L::u16(3).counts_itself(), b"\0\x05"),
        (
            L::u64(3).little_endian().counts_itself(),
            b"\x0b\0\0\0\0\0\0\0",
        ),
        (L::varint(3).counts_itself(), b"\x04"),
        (L::decimal(4, 3).counts_itself(), b"0007"),
        (L::u16(3).adjustment(-7), b"\0\x0a"),
        (L::u16(3).adjustment(2), b"\0\x01"),
        (L::u16(3).counts_itself().adjustment(2), b"\0\x03"),
    ]
}

// R8, R9
#[test]
fn every_prefix_is_read_wherever_it_is_cut_and_written_the_same() {
    for (codec, header) in prefixes() {
        let frame = [header, b"abc"].concat();
        gives(codec, &frame, &["abc"]);
        gives(codec, frame.repeat(2), &["abc", "abc"]);
        let mut buffer = b"before".to_vec();
        codec.encode(b"abc", &mut buffer).unwrap();
        assert_eq!(buffer, [b"before", &frame[..]].concat(), "{codec:?}");
        // Another one is above the maximum, and nothing of it is written.
        is_too_long(&codec.encode(b"abcd", &mut buffer).unwrap_err(), 3, Some(4));
        assert_eq!(buffer.len(), 6 + frame.len());
        for cut in 1..frame.len() {
            let error = fails(codec, &frame[..cut], 0);
            assert!(
                matches!(error, CodecError::Truncated { .. }),
                "{codec:?} {cut}"
            );
        }
    }
}

#[test]
fn a_header_before_and_after_the_prefix_is_skipped_or_given() {
    let bytes = b"TT\0\x03abcTT\0\x03def";
    let codec = LengthPrefixed::u16(16).offset(2);
    gives(codec, bytes, &["abc", "def"]);
    gives(codec.skip(0), bytes, &["TT\0\x03abc", "TT\0\x03def"]);
    gives(codec.skip(2), bytes, &["\0\x03abc", "\0\x03def"]);
    gives(codec.skip(7), bytes, &["", ""]);
    let error = fails(codec.skip(8), bytes, 0);
    assert!(matches!(error, CodecError::Malformed { .. }));
    // The length counts neither type nor checksum, or the whole frame.
    gives(codec.adjustment(2), b"TT\0\x03abccc", &["abccc"]);
    gives(codec.adjustment(-4), b"TT\0\x07abc", &["abc"]);

    let mut buffer = Vec::new();
    assert!(codec.encode(b"abc", &mut buffer).is_err());
    for size in [0, 2, 29, 30, 300] {
        let (head, mut codec) = (vec![b'h'; size], LengthPrefixed::u16(16).offset(size));
        let mut frame = Vec::new();
        codec
            .frame_after(&head, "abc")
            .unwrap()
            .put_into(&mut frame);
        assert_eq!(frame, [&head, &b"\0\x03abc"[..]].concat());
        let mut input = InputBuffer::from(frame);
        assert_eq!(&codec.decode(&mut input).unwrap().unwrap()[..], b"abc");
    }
}

// R9
#[test]
fn a_length_of_zero_is_a_frame_of_no_bytes() {
    gives(LengthPrefixed::u8(0), "\0\0", &["", ""]);
    gives(LengthPrefixed::varint(0), "\0", &[""]);
    gives(LengthPrefixed::u16(0).counts_itself(), "\0\x02", &[""]);
    // One that counts itself cannot be zero.
    let error = fails(LengthPrefixed::u16(0).counts_itself(), "\0\0", 0);
    assert!(matches!(error, CodecError::Malformed { .. }));
}

// R9
#[test]
fn a_length_above_the_maximum_is_an_error_at_once_and_takes_no_memory() {
    type L = LengthPrefixed;
    let max = 1 << 20;
    let whole = usize::MAX;
    let lies: [(L, usize, &[u8], u64); 10] = [
        (L::u32(max), max, b"\0\x10\0\x01", max as u64 + 1),
        (L::u32(max), max, &[0xff; 4], u32::MAX.into()),
        (L::u24(max), max, &[0xff; 3], 0xff_ffff),
        (L::u64(max), max, &[0xff; 8], u64::MAX),
        (L::u64(max).little_endian(), max, &[0xff; 8], u64::MAX),
        (L::u64(max).adjustment(i64::MAX), max, &[0xff; 8], u64::MAX),
        (L::u64(max).counts_itself(), max, &[0xff; 8], u64::MAX),
        (
            L::varint(max),
            max,
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            u64::MAX,
        ),
        (
            L::decimal(19, max),
            max,
            &[b'9'; 19],
            9_999_999_999_999_999_999,
        ),
        (L::u64(whole).adjustment(1), whole, &[0xff; 8], u64::MAX),
    ];
    for (mut codec, limit, bytes, length) in lies {
        let mut input = InputBuffer::from(bytes.to_vec());
        let mut error = None;
        let used = measure(|| error = codec.decode(&mut input).err());
        is_too_long(error.as_ref().unwrap(), limit, Some(length));
        assert!(used.bytes_total <= 64, "{used:?}");
        fails(codec, bytes, 0);
    }
    // One that is allowed takes no memory either, before its bytes come.
    let mut codec = L::u64(usize::MAX);
    let mut input = InputBuffer::from((usize::MAX as u64).to_be_bytes().to_vec());
    let used = measure(|| assert!(codec.decode(&mut input).unwrap().is_none()));
    assert_eq!(used.count_total, 0);
}

#[test]
fn what_is_no_length_is_malformed_and_shown() {
    let error = fails(LengthPrefixed::decimal(4, 99), "12a4", 0);
    assert_eq!(error.to_string(), r#"length is not a number: "12a4""#);
    for text in ["+123", " 123", "-001", "12\u{0663}"] {
        fails(LengthPrefixed::decimal(4, 99), text, 0);
    }
    let error = fails(LengthPrefixed::varint(99), [0xff; 10], 0);
    assert!(matches!(error, CodecError::Malformed { .. }), "{error}");
    let lost = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02";
    let error = fails(LengthPrefixed::varint(99), lost, 0);
    assert!(matches!(error, CodecError::Malformed { .. }), "{error}");
    // Padded with zeros it is legal.
    gives(LengthPrefixed::varint(99), b"\x83\x80\x80\0abc", &["abc"]);
    let error = fails(LengthPrefixed::u16(99).adjustment(-7), "\0\x03", 0);
    assert!(matches!(error, CodecError::Malformed { .. }), "{error}");
    // What a peer sends steers no terminal, and is cut.
    let evil = format!("\x1b[2J\u{202e}{}", "x".repeat(100));
    let error = fails(Lines::new(99), evil, 0).to_string();
    assert!(error.starts_with(r#"frame exceeds the limit of 99 bytes: "\x1b[2J\xe2\x80\xaexxx"#));
    assert!(error.ends_with("xx\"...") && error.len() < 90, "{error}");
}

#[test]
fn a_payload_whose_frame_would_not_come_back_is_refused() {
    let mut buffer = Vec::new();
    for line in ["a\nb", "\n", "a\r", "\r", "abcdefghi"] {
        Lines::new(8)
            .encode(line.as_bytes(), &mut buffer)
            .unwrap_err();
    }
    assert!(Lines::new(8).frame(("a\n", "b")).is_err());
    assert!(Lines::new(8).frame(("a\r", "")).is_err());
    for text in ["a", "ba", "aab", "-aa", "abcdefghi"] {
        let codec = Delimited::new("aa", 8);
        codec.encode(text.as_bytes(), &mut buffer).unwrap_err();
    }
    assert!(Delimited::new("::", 8).frame(("a:", ":b")).is_err());
    assert!(Delimited::new(":::", 8).frame(("a:", (":", ":b"))).is_err());
    assert!(Delimited::new(":::", 8).frame((("", "a:"), "b:")).is_err());
    assert!(Delimited::new(":::", 8).frame(("a:", ("b", ":b"))).is_ok());
    Fixed::new(3).encode(b"ab", &mut buffer).unwrap_err();
    UntilEof::new(3).encode(b"abcd", &mut buffer).unwrap_err();
    let small = LengthPrefixed::u8(1 << 20);
    small.encode(&[0; 256], &mut buffer).unwrap_err();
    LengthPrefixed::decimal(2, 1 << 20)
        .encode(&[0; 100], &mut buffer)
        .unwrap_err();
    LengthPrefixed::u8(9)
        .adjustment(4)
        .encode(b"abc", &mut buffer)
        .unwrap_err();
    assert!(buffer.is_empty());
    small.encode(&[0; 255], &mut buffer).unwrap();
    Lines::new(8).encode(b"a\rb", &mut buffer).unwrap();
    assert!(buffer.ends_with(b"a\rb\n"));
}

// R9
#[test]
fn thousands_of_frames_in_one_read_allocate_nothing_and_only_large_ones_are_shared() {
    const COUNT: usize = 4_000;
    fn count<D: Decoder>(mut codec: D, bytes: Vec<u8>) {
        let mut input = InputBuffer::from(bytes);
        let mut frames = 0;
        let used = measure(|| {
            while codec.decode(&mut input).unwrap().is_some() {
                frames += 1;
            }
        });
        assert_eq!((frames, used.count_total), (COUNT, 0));
        assert!(input.is_empty());
    }
    count(Lines::new(64), b"a line of text\r\n".repeat(COUNT));
    count(Delimited::new("--", 64), b"some bytes--".repeat(COUNT));
    count(Fixed::new(7), b"7 bytes".repeat(COUNT));
    count(LengthPrefixed::u32(64), b"\0\0\0\x05hello".repeat(COUNT));
    count(LengthPrefixed::varint(64), b"\x05hello".repeat(COUNT));

    // Kept: a small one is a copy, a large one is not.
    let large = [&b"\0\x01\0\0"[..], &[7; 1 << 16]].concat();
    let mut input = InputBuffer::from([&b"\0\0\0\x05hello"[..], &large].concat());
    let (mut codec, at) = (LengthPrefixed::u32(1 << 20), input.as_ptr());
    let small: Bytes = codec.decode(&mut input).unwrap().unwrap().into();
    assert_eq!(
        (&small[..], small.as_ptr() == at.wrapping_add(4)),
        (&b"hello"[..], false)
    );
    let large: Bytes = codec.decode(&mut input).unwrap().unwrap().into();
    assert_eq!(large.as_ptr(), at.wrapping_add(13));
    assert_eq!(large, [7; 1 << 16][..]);
}

// R9: as the loop reads it, from full buffers and from pieces, of one connection and of many.
#[test]
fn an_encoder_does_not_copy_what_is_large() {
    const SIZE: usize = 1 << 20;
    fn frames<'a>(large: &'a Bytes, run: &mut dyn FnMut(Payload<'a>)) {
        run(large.into());
        run(("header", large).into());
        run((("several", "headers"), (large, "trailer")).into());
    }
    let large = Bytes::from(vec![b'x'; SIZE]);
    let (lines, delimited) = (Lines::new(2 * SIZE), Delimited::new("--", 2 * SIZE));
    let (prefixed, rest) = (LengthPrefixed::varint(2 * SIZE), UntilEof::new(2 * SIZE));
    frames(&large, &mut |payload| {
        let used = measure(|| drop(lines.frame(payload).unwrap()));
        assert!(used.bytes_total < 2048, "{used:?}");
    });
    frames(&large, &mut |payload| {
        let used = measure(|| drop(delimited.frame(payload).unwrap()));
        assert!(used.bytes_total < 2048, "{used:?}");
    });
    frames(&large, &mut |payload| {
        let used = measure(|| drop(prefixed.frame(payload).unwrap()));
        assert!(used.bytes_total < 2048, "{used:?}");
    });
    frames(&large, &mut |payload| {
        let used = measure(|| drop(rest.frame(payload).unwrap()));
        assert!(used.bytes_total < 2048, "{used:?}");
    });
}

#[test]
fn a_frame_is_read_as_numbers_in_network_order() {
    let mut input = InputBuffer::from(b"\x06\x01\x02\0\0\0\x03".to_vec());
    let mut frame = LengthPrefixed::u8(8).decode(&mut input).unwrap().unwrap();
    assert_eq!((frame.get_u16(), frame.get_u32_le()), (0x0102, 0x0300_0000));
    assert!(frame.try_get_u8().is_err());
}
