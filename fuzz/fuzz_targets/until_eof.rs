//! Until the end: any cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sockeye::codec::UntilEof;
use sockeye_fuzz::Stream;

fuzz_target!(|input: (Stream, u8)| {
    let (stream, max) = input;
    let frames = stream.check(&UntilEof::new(max.into()), max.into());
    assert!(frames.is_empty() || frames == [stream.bytes]);
});
