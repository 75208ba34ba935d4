//! Lines of bytes and of text: any cut, and what is decoded can be encoded again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sockeye::codec::{Lines, TextLines};
use sockeye_fuzz::{Stream, comes_back};

fuzz_target!(|input: (Stream, u8, bool)| {
    let (stream, max, or_eof) = input;
    let max = usize::from(max);
    let (mut lines, mut text) = (Lines::new(max), TextLines::new(max));
    if or_eof {
        (lines, text) = (lines.or_eof(), text.or_eof());
    }
    let frames = stream.check(&lines, max);
    comes_back(&lines, &frames, max);
    // Text ends where it is none, and is else the same.
    let texts = stream.check(&text, max);
    assert!(frames.starts_with(&texts));
    let next = frames.get(texts.len());
    assert!(next.is_none_or(|line| std::str::from_utf8(line).is_err()));
});
