//! The commands of `codec::resp`, whole and in pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sockeye::InputBuffer;
use sockeye::codec::resp::{self, Commands};
use sockeye::codec::{CodecError, Decoder};
use sockeye_fuzz::{End, Stream};

const MAX: usize = 1 << 20;

type Command = Vec<Vec<u8>>;

fn decode(pieces: &[&[u8]]) -> (Vec<Command>, End) {
    let (mut all, mut commands) = (Vec::new(), Commands::new(MAX));
    let mut run = || {
        let mut input = InputBuffer::from(Vec::new());
        for piece in pieces {
            input.append(piece);
            while let Some(command) = commands.decode(&mut input)? {
                all.push(command.iter().map(|word| word.to_vec()).collect());
            }
            assert!(input.len() <= MAX, "it would meet the input limit");
        }
        input.end();
        while let Some(command) = commands.decode(&mut input)? {
            all.push(command.iter().map(|word| word.to_vec()).collect());
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
        resp::array(&mut wire, command.len());
        command.iter().for_each(|word| resp::bulk(&mut wire, word));
    }
    assert_eq!(decode(&[&wire]), (outcome.0, End::Well));
});
