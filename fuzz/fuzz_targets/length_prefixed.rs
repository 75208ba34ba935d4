//! Every kind of prefix, with every option; any cut, any lie about the length.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sockeye::codec::LengthPrefixed;
use sockeye_fuzz::{Stream, comes_back};

#[derive(Arbitrary, Debug)]
struct Options {
    kind: u8,
    max: u16,
    huge: bool,
    little: bool,
    counts_itself: bool,
    offset: u8,
    adjustment: i8,
    any_adjustment: Option<i64>,
    skip: Option<u8>,
}

fuzz_target!(|input: (Stream, Options, Vec<Vec<u8>>)| {
    let (stream, options, payloads) = input;
    let max = if options.huge {
        usize::MAX
    } else {
        options.max.into()
    };
    let plain = match options.kind % 8 {
        0 => LengthPrefixed::u8(max),
        1 => LengthPrefixed::u16(max),
        2 => LengthPrefixed::u24(max),
        3 => LengthPrefixed::u32(max),
        4 => LengthPrefixed::u64(max),
        5 => LengthPrefixed::varint(max),
        _ => LengthPrefixed::decimal(usize::from(options.kind) % 19 + 1, max),
    };
    let adjustment = options.any_adjustment.unwrap_or(options.adjustment.into());
    let mut codec = plain.adjustment(adjustment);
    if options.little {
        codec = codec.little_endian();
    }
    if options.counts_itself {
        codec = codec.counts_itself();
    }
    comes_back(&codec, &payloads, max);
    codec = codec.offset(options.offset.into());
    if let Some(skip) = options.skip {
        codec = codec.skip(skip.into());
    }
    // Without a skip the header is given too.
    let header = usize::from(options.offset) + 19;
    stream.check(&codec, max.saturating_add(header));
});
