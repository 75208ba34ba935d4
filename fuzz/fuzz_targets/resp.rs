//! The commands of the example `resp`, whole and in pieces.

#![no_main]

#[allow(dead_code, reason = "the example uses all of it")]
#[path = "../../examples/resp/protocol.rs"]
mod protocol;

use libfuzzer_sys::fuzz_target;
use protocol::{Commands, MAX_BYTES, array};
use sockeye::InputBuffer;
use sockeye::codec::{CodecError, Decoder};
use sockeye_fuzz::{End, Stream};

type Command = Vec<Vec<u8>>;

fn decode(pieces: &[&[u8]]) -> (Vec<Command>, End) {
    let (mut all, mut commands) = (Vec::new(), Commands::default());
    let mut run = || {
        let mut input = InputBuffer::from(Vec::new());
        for piece in pieces {
            input.append(piece);
            while let Some(command) = commands.decode(&mut input)? {
                all.push(command.words(0).map(<[u8]>::to_vec).collect());
            }
            assert!(input.len() <= MAX_BYTES, "it would meet the input limit");
        }
        input.end();
        while let Some(command) = commands.decode(&mut input)? {
            all.push(command.words(0).map(<[u8]>::to_vec).collect());
        }
        Ok::<(), CodecError>(())
    };
    let end = run().map_or_else(End::from, |()| End::Well);
    (all, end)
}

fuzz_target!(|stream: Stream| {
    let outcome = decode(&[&stream.bytes]);
    assert_eq!(outcome, decode(&stream.pieces()));
    // What came is the same when it is sent as arrays.
    let mut wire = Vec::new();
    for command in &outcome.0 {
        let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        array(&mut wire, &words);
    }
    assert_eq!(decode(&[&wire]), (outcome.0, End::Well));
});
