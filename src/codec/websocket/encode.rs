//! Messages to frames.

use super::close::CloseCode;
use super::message::Control;
use super::{CONTROL, FIN, opcode};
use crate::buffer::payload::{Header, Payload, ToPayload};
use crate::codec::{CodecError, check_len};

/// A frame as a server sends it: a [`Payload`] for [`send`](crate::Context::send) and
/// [`broadcast`](crate::Context::broadcast). A client masks it first, with
/// [`Masks::mask`](super::Masks::mask).
#[derive(Debug)]
pub struct Frame<'a>(Payload<'a>);

impl<'a> Frame<'a> {
    /// A payload that begins with a header.
    pub(super) fn from_payload(payload: Payload<'a>) -> Frame<'a> {
        Frame(payload)
    }
}

impl<'a> From<Frame<'a>> for Payload<'a> {
    fn from(frame: Frame<'a>) -> Payload<'a> {
        frame.0
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    fn opcode(self) -> u8 {
        match self {
            Kind::Text => opcode::TEXT,
            Kind::Binary => opcode::BINARY,
        }
    }
}

/// A text as one frame. What is sent is not checked for UTF-8; a peer closes for what is none.
pub fn text<'a>(text: impl ToPayload<'a>) -> Frame<'a> {
    data(opcode::TEXT, text.into())
}

/// Bytes as one frame.
pub fn binary<'a>(bytes: impl ToPayload<'a>) -> Frame<'a> {
    data(opcode::BINARY, bytes.into())
}

/// The first part of a message whose length is not known yet; then come [`more`] and [`end`], and
/// no other message before that.
pub fn begin<'a>(kind: Kind, part: impl ToPayload<'a>) -> Frame<'a> {
    frame(kind.opcode(), part.into())
}

/// A part of a message that was begun.
pub fn more<'a>(part: impl ToPayload<'a>) -> Frame<'a> {
    frame(opcode::CONTINUATION, part.into())
}

/// The last part of a message that was begun.
pub fn end<'a>(part: impl ToPayload<'a>) -> Frame<'a> {
    frame(FIN | opcode::CONTINUATION, part.into())
}

/// A question whether the peer is there, with bytes that come back.
///
/// # Errors
///
/// More than 125 bytes.
pub fn ping<'a>(bytes: impl ToPayload<'a>) -> Result<Frame<'a>, CodecError> {
    let bytes = bytes.into();
    check_len(bytes.len(), CONTROL, &bytes)?;
    Ok(frame(FIN | opcode::PING, bytes))
}

/// The answer to a ping.
pub fn pong(ping: Control<'_>) -> Frame<'_> {
    frame(FIN | opcode::PONG, ping.into())
}

/// The last frame of a side. As an answer it has the code that it answers. The reason is for a log;
/// what is longer than 123 bytes of it is left out.
pub fn close(code: impl Into<Option<CloseCode>>, reason: &str) -> Frame<'_> {
    let Some(code) = code.into() else {
        return frame(FIN | opcode::CLOSE, "".into());
    };
    let reason = start(reason, CONTROL - 2);
    let mut header = Header::default();
    header.push(&[FIN | opcode::CLOSE, 2 + reason.len() as u8]);
    header.push(&code.get().to_be_bytes());
    Frame(Payload::from((header, reason)))
}

/// The characters that end within so many bytes.
fn start(text: &str, most: usize) -> &str {
    let ends = (0..=most.min(text.len())).rev();
    let mut ends = ends.filter(|at| text.is_char_boundary(*at));
    &text[..ends.next().unwrap_or(0)]
}

/// A whole message as one frame.
pub(super) fn data(opcode: u8, payload: Payload<'_>) -> Frame<'_> {
    frame(FIN | opcode, payload)
}

fn frame(first: u8, payload: Payload<'_>) -> Frame<'_> {
    let len = payload.len();
    let mut header = Header::default();
    match len {
        0..126 => header.push(&[first, len as u8]),
        126..0x1_0000 => {
            let [a, b] = (len as u16).to_be_bytes();
            header.push(&[first, 126, a, b]);
        }
        _ => {
            header.push(&[first, 127]);
            header.push(&(len as u64).to_be_bytes());
        }
    }
    Frame(Payload::from((header, payload)))
}
