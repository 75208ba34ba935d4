//! Why a WebSocket is closed.

use super::{NO_TEXT, decode};
use crate::codec::CodecError;
use std::fmt;

/// Why a WebSocket is closed, as a number (RFC 6455, section 7.4).
///
/// ```
/// use sockeye::codec::websocket::CloseCode;
///
/// assert_eq!(CloseCode::new(1000), Some(CloseCode::NORMAL));
/// assert_eq!(CloseCode::new(4001).map(CloseCode::get), Some(4001)); // an application's own
/// assert_eq!(CloseCode::new(1006), None); // it stands for a close without a frame
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// All was said.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// The server goes down, or the user has left the page.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// What came breaks the protocol.
    pub const PROTOCOL: CloseCode = CloseCode(1002);
    /// This kind of data is not taken here.
    pub const UNSUPPORTED: CloseCode = CloseCode(1003);
    /// What came is not what it says it is: a text that is no UTF-8.
    pub const INVALID: CloseCode = CloseCode(1007);
    /// What came is against the rules of this place.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// A message above the limit.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// The client wanted an extension, and the server has it not.
    pub const EXTENSION: CloseCode = CloseCode(1010);
    /// The server has failed.
    pub const INTERNAL: CloseCode = CloseCode(1011);

    /// The code with this number, if it may be sent: some stand for what no frame says, and some
    /// are reserved.
    pub const fn new(code: u16) -> Option<CloseCode> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(CloseCode(code)),
            _ => None,
        }
    }

    /// What a peer is to be told of what it has sent.
    pub fn of(error: &CodecError) -> CloseCode {
        match error {
            CodecError::TooLong { .. } => CloseCode::TOO_BIG,
            CodecError::Malformed { what, .. } if *what == NO_TEXT => CloseCode::INVALID,
            _ => CloseCode::PROTOCOL,
        }
    }

    /// The number that is sent.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A peer's wish to close, to be answered with [`close`](super::close) unless it answers ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Close<'i> {
    /// Why. `None`: it has not said.
    pub code: Option<CloseCode>,
    /// In words, for a log or for nobody.
    pub reason: &'i str,
}

impl<'i> Close<'i> {
    pub(super) fn read(payload: &'i [u8]) -> Result<Close<'i>, CodecError> {
        let (code, reason) = match payload {
            [] => (None, &[][..]),
            [_] => return Err(CodecError::malformed("close code is incomplete", payload)),
            [a, b, reason @ ..] => {
                let code = CloseCode::new(u16::from_be_bytes([*a, *b]))
                    .ok_or_else(|| CodecError::malformed("invalid close code", payload))?;
                (Some(code), reason)
            }
        };
        let reason = decode::str(reason)?;
        Ok(Close { code, reason })
    }
}
