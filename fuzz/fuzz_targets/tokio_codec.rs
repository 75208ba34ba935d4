//! The adapter of `tokio_util`'s codecs gives what the codec gives by itself, however it is cut.

#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use sockeye::InputBuffer;
use sockeye::codec::{Decoder, TokioCodec};
use sockeye_fuzz::Stream;
use tokio_util::codec::{Decoder as _, LengthDelimitedCodec};

fuzz_target!(|input: (Stream, u8)| {
    let (stream, max) = input;
    let bare = LengthDelimitedCodec::builder()
        .length_field_length(1)
        .max_frame_length(max.into())
        .new_codec();
    let (mut codec, mut other) = (TokioCodec::new(bare.clone(), 300), bare);
    let (mut input, mut buffer) = (InputBuffer::from(Vec::new()), BytesMut::new());
    for piece in stream.bytes.chunks(7) {
        input.append(piece);
        buffer.extend_from_slice(piece);
        loop {
            let (ours, theirs) = (codec.decode(&mut input), other.decode(&mut buffer));
            assert_eq!(input[..], buffer[..]);
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => {
                    assert_eq!(ours, theirs);
                    if ours.is_none() {
                        break;
                    }
                }
                (Err(_), Err(_)) => return,
                (ours, theirs) => panic!("{ours:?}, {theirs:?}"),
            }
        }
    }
});
