//! Lines: any cut, and what is decoded can be encoded again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sockeye::codec::Lines;
use sockeye_fuzz::{Stream, comes_back};

fuzz_target!(|input: (Stream, u8, bool)| {
    let (stream, max, or_eof) = input;
    let lines = Lines::new(max.into());
    let codec = if or_eof { lines.or_eof() } else { lines };
    let frames = stream.check(&codec, max.into());
    comes_back(&codec, &frames, max.into());
});
