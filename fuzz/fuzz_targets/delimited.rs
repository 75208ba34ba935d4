//! Any delimiter, any cut, and what is decoded can be encoded again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sockeye::codec::{Delimited, Encoder};
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
    // In parts it is the same payload, and has the delimiter in it or not.
    let payload = &stream.bytes[..stream.bytes.len().min(max.into())];
    let cut = stream.cuts.first().map_or(0, |cut| usize::from(*cut));
    let (one, two) = payload.split_at(cut.min(payload.len()));
    let (two, three) = two.split_at(two.len() / 2);
    let (mut whole, mut parts) = (Vec::new(), Vec::new());
    let refused = codec.encode(payload, &mut whole).is_err();
    match codec.frame((one, (two, three))) {
        Ok(frame) => frame.put_into(&mut parts),
        Err(_) => assert!(refused),
    }
    assert_eq!(whole, parts);
});
