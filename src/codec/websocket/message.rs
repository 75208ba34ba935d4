//! What a WebSocket gives.

use super::close::Close;
use super::encode::Frame;
use super::{MASKED, encode};
use crate::buffer::input::Chunk;
use crate::buffer::payload::Payload;
use bytes::{Buf, Bytes};
use std::fmt;
use std::ops::Deref;

/// A message, or a control frame, which may come between the parts of one.
#[derive(Debug)]
pub enum Message<'i> {
    /// A text; it is UTF-8.
    Text(Text<'i>),
    /// Any bytes.
    Binary(Data<'i>),
    /// To be answered with [`pong`](super::pong), soon.
    Ping(Control<'i>),
    /// The answer to a ping, or a sign of life that nobody has asked for.
    Pong(Control<'i>),
    /// Nothing comes after it, whatever the peer sends: answer with [`close`](super::close) and
    /// [close](crate::Context::close) the connection.
    Close(Close<'i>),
}

/// The bytes of a message: they are borrowed from the input if it has come in one frame, and owned
/// if it has come in several. Derefs to `[u8]`.
///
/// As a [`Payload`] it is its bytes, for peers of another protocol;
/// [`into_frame`](Data::into_frame) sends it on to those of a WebSocket.
pub struct Data<'i>(Inner<'i>);

enum Inner<'i> {
    /// A frame with its header, which ends at `start`.
    Whole { frame: Chunk<'i>, start: usize },
    /// Parts that were put together.
    Joined { opcode: u8, bytes: Vec<u8> },
}

impl<'i> Data<'i> {
    pub(super) fn whole(frame: Chunk<'i>, start: usize) -> Data<'i> {
        Data(Inner::Whole { frame, start })
    }

    pub(super) fn joined(opcode: u8, bytes: Vec<u8>) -> Data<'i> {
        Data(Inner::Joined { opcode, bytes })
    }

    /// This message as one frame, to send on from a server: the header goes where the old one and
    /// its mask were, so that nothing is copied, and an answer to who has sent it is lent from
    /// where it lies.
    pub fn into_frame(self) -> Frame<'i> {
        match self.0 {
            Inner::Whole { mut frame, start } => {
                if frame.get(1).is_some_and(|byte| byte & MASKED != 0) {
                    frame[1] &= !MASKED;
                    frame.copy_within(..start - 4, 4);
                    frame.advance(4);
                }
                Frame::from_payload(Payload::from(frame))
            }
            Inner::Joined { opcode, bytes } => encode::data(opcode, Payload::from(bytes)),
        }
    }
}

impl Deref for Data<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Inner::Whole { frame, start } => &frame[*start..],
            Inner::Joined { bytes, .. } => bytes,
        }
    }
}

impl AsRef<[u8]> for Data<'_> {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data").field("len", &self.len()).finish()
    }
}

/// To keep it: as with a [`Chunk`], few bytes are copied and many are shared.
impl From<Data<'_>> for Bytes {
    fn from(data: Data<'_>) -> Bytes {
        match data.0 {
            Inner::Whole { mut frame, start } => {
                frame.advance(start);
                frame.into()
            }
            Inner::Joined { bytes, .. } => bytes.into(),
        }
    }
}

/// The bytes without a header.
impl<'i> From<Data<'i>> for Payload<'i> {
    fn from(data: Data<'i>) -> Payload<'i> {
        match data.0 {
            Inner::Whole { mut frame, start } => {
                frame.advance(start);
                frame.into()
            }
            Inner::Joined { bytes, .. } => bytes.into(),
        }
    }
}

/// A message that is text. Derefs to its bytes; [`as_str`](Text::as_str) is for who reads it.
#[derive(Debug)]
pub struct Text<'i>(pub(super) Data<'i>);

impl<'i> Text<'i> {
    /// The text. It was checked as it came, and is once more here, for this crate has no unsafe
    /// code: who sends it on as it is need not ask.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// This message as one frame: [`Data::into_frame`].
    pub fn into_frame(self) -> Frame<'i> {
        self.0.into_frame()
    }

    /// The bytes of the text.
    pub fn into_data(self) -> Data<'i> {
        self.0
    }
}

impl Deref for Text<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Text<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The text without a header.
impl<'i> From<Text<'i>> for Payload<'i> {
    fn from(text: Text<'i>) -> Payload<'i> {
        text.0.into()
    }
}

/// What a ping or a pong carries: 125 bytes at most. Derefs to `[u8]`.
#[derive(Debug)]
pub struct Control<'i>(pub(super) Data<'i>);

impl Deref for Control<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Control<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<'i> From<Control<'i>> for Payload<'i> {
    fn from(control: Control<'i>) -> Payload<'i> {
        control.0.into()
    }
}
