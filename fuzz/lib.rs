//! What every fuzz target of a decoder checks. `cargo +nightly fuzz run lines` in this directory.

use arbitrary::Arbitrary;
use sockeye::codec::{CodecError, Decoder, Encoder};
use sockeye::{Chunk, Input};

/// Bytes, and where they are cut.
#[derive(Arbitrary, Debug)]
pub struct Stream {
    pub bytes: Vec<u8>,
    pub cuts: Vec<u8>,
}

/// How decoding ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Well,
    TooLong,
    Malformed,
    Truncated,
    Other,
}

impl From<CodecError> for End {
    fn from(error: CodecError) -> End {
        assert!(error.to_string().is_ascii(), "it may steer a terminal");
        match error {
            CodecError::TooLong { .. } => End::TooLong,
            CodecError::Malformed { .. } => End::Malformed,
            CodecError::Truncated { .. } => End::Truncated,
            _ => End::Other,
        }
    }
}

impl Stream {
    /// The pieces: each cut is the length of one, again and again.
    fn pieces(&self) -> Vec<&[u8]> {
        let (mut pieces, mut rest) = (Vec::new(), &self.bytes[..]);
        let cuts: Vec<usize> = self.cuts.iter().map(|cut| usize::from(*cut) + 1).collect();
        for cut in cuts.iter().cycle() {
            let (piece, more) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        pieces.extend((!rest.is_empty()).then_some(rest));
        pieces
    }

    /// Whole and in pieces, the same comes out, within the limits that the decoder states.
    pub fn check<D>(&self, codec: &D, longest: usize) -> Vec<Vec<u8>>
    where
        D: for<'a> Decoder<Frame<'a> = Chunk<'a>> + Clone,
    {
        let whole = decode(codec.clone(), &[&self.bytes], longest);
        let cut = decode(codec.clone(), &self.pieces(), longest);
        assert_eq!(whole, cut);
        whole.0
    }
}

fn decode<D>(mut codec: D, pieces: &[&[u8]], longest: usize) -> (Vec<Vec<u8>>, End)
where
    D: for<'a> Decoder<Frame<'a> = Chunk<'a>>,
{
    let (mut frames, mut input) = (Vec::new(), Input::from(Vec::new()));
    let max_input = codec.max_input();
    let mut run = || {
        for piece in pieces {
            input.append(piece);
            while let Some(frame) = codec.decode(&mut input)? {
                assert!(frame.len() <= longest);
                frames.push(frame.to_vec());
            }
            assert!(input.len() <= max_input, "it would meet the input limit");
        }
        while let Some(frame) = codec.decode_eof(&mut input)? {
            assert!(frame.len() <= longest);
            frames.push(frame.to_vec());
        }
        Ok::<(), CodecError>(())
    };
    let end = run().map_or_else(End::from, |()| End::Well);
    (frames, end)
}

/// What an encoder takes comes back from the decoder.
pub fn comes_back<C>(codec: &C, payloads: &[Vec<u8>], longest: usize)
where
    C: Encoder + for<'a> Decoder<Frame<'a> = Chunk<'a>> + Clone,
{
    let (mut bytes, mut sent) = (Vec::new(), Vec::new());
    for payload in payloads {
        if codec.encode(payload, &mut bytes).is_ok() {
            sent.push(payload.clone());
        }
    }
    let (frames, end) = decode(codec.clone(), &[&bytes], longest);
    assert_eq!((frames, end), (sent, End::Well));
}
