//! Fixed lengths: any length, any cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sockeye::codec::Fixed;
use sockeye_fuzz::{Stream, comes_back};

fuzz_target!(|input: (Stream, u8)| {
    let (stream, len) = input;
    let len = usize::from(len) + 1;
    let frames = stream.check(&Fixed::new(len), len);
    comes_back(&Fixed::new(len), &frames, len);
});
