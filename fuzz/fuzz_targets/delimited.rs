//! Any delimiter, any cut, and what is decoded can be encoded again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sockeye::codec::Delimited;
use sockeye_fuzz::{Stream, comes_back};

fuzz_target!(|input: (Stream, Vec<u8>, u8, bool)| {
    let (stream, mut delimiter, max, or_eof) = input;
    delimiter.truncate(4);
    if delimiter.is_empty() {
        delimiter.push(0);
    }
    let codec = Delimited::new(&delimiter, max.into());
    let codec = if or_eof { codec.or_eof() } else { codec };
    let frames = stream.check(&codec, max.into());
    comes_back(&codec, &frames, max.into());
});
