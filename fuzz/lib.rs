//! What every fuzz target of a decoder checks. `cargo +nightly fuzz run lines` in this directory.

use arbitrary::Arbitrary;
use sockeye::InputBuffer;
use sockeye::codec::{CodecError, Decoder, Encoder};

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
    pub fn pieces(&self) -> Vec<&[u8]> {
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
        D: Decoder + Clone + 'static,
        for<'d, 'i> D::Frame<'d, 'i>: AsRef<[u8]>,
    {
        let whole = decode(codec.clone(), &[&self.bytes], longest);
        let cut = decode(codec.clone(), &self.pieces(), longest);
        assert_eq!(whole, cut);
        // As many at once as there are cuts.
        let batch = self.cuts.len() + 1;
        for pieces in [vec![&self.bytes[..]], self.pieces()] {
            let each = decode_each(codec.clone(), &pieces, batch);
            assert_eq!(whole, each);
        }
        whole.0
    }
}

fn decode<D>(mut codec: D, pieces: &[&[u8]], longest: usize) -> (Vec<Vec<u8>>, End)
where
    D: Decoder + 'static,
    for<'d, 'i> D::Frame<'d, 'i>: AsRef<[u8]>,
{
    let (mut frames, mut input) = (Vec::new(), InputBuffer::from(Vec::new()));
    let max_input = codec.max_input();
    let mut run = || {
        for piece in pieces {
            input.append(piece);
            while let Some(frame) = codec.decode(&mut input)? {
                assert!(frame.as_ref().len() <= longest);
                frames.push(frame.as_ref().to_vec());
            }
            assert!(input.len() <= max_input, "it would meet the input limit");
        }
        input.end();
        while let Some(frame) = codec.decode(&mut input)? {
            assert!(frame.as_ref().len() <= longest);
            frames.push(frame.as_ref().to_vec());
        }
        Ok::<(), CodecError>(())
    };
    let end = run().map_or_else(End::from, |()| End::Well);
    (frames, end)
}

/// The same in batches, as `Framed` does it for a handler that pauses after so many frames.
fn decode_each<D>(mut codec: D, pieces: &[&[u8]], batch: usize) -> (Vec<Vec<u8>>, End)
where
    D: Decoder + 'static,
    for<'d, 'i> D::Frame<'d, 'i>: AsRef<[u8]>,
{
    let (mut frames, mut input) = (Vec::new(), InputBuffer::from(Vec::new()));
    let mut run = || {
        for piece in pieces {
            input.append(piece);
            let mut pauses = true;
            while std::mem::take(&mut pauses) {
                codec.decode_each(&mut input, |frame| {
                    frames.push(frame.as_ref().to_vec());
                    pauses = frames.len() % batch == 0;
                    !pauses
                })?;
            }
        }
        input.end();
        while let Some(frame) = codec.decode(&mut input)? {
            frames.push(frame.as_ref().to_vec());
        }
        Ok::<(), CodecError>(())
    };
    let end = run().map_or_else(End::from, |()| End::Well);
    (frames, end)
}

/// What an encoder takes comes back from the decoder.
pub fn comes_back<C>(codec: &C, payloads: &[Vec<u8>], longest: usize)
where
    C: Encoder + Decoder + Clone + 'static,
    for<'d, 'i> C::Frame<'d, 'i>: AsRef<[u8]>,
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
