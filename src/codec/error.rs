//! What is wrong with what came.

use std::error::Error;
use std::fmt;

/// Why bytes are no frame, or a payload cannot become one.
///
/// [`Framed`](crate::Framed) closes the connection with it; in `on_close` it is found again so:
///
/// ```
/// # use sockeye::{codec::CodecError, Closed, Reason};
/// fn was_too_long(closed: &Closed) -> bool {
///     let Reason::Protocol(error) = &closed.reason else { return false };
///     let error = error.get_ref().and_then(|error| error.downcast_ref());
///     matches!(error, Some(CodecError::TooLong { .. }))
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum CodecError {
    /// A frame above the maximum.
    #[non_exhaustive]
    TooLong {
        /// The maximum.
        limit: usize,
        /// What the frame's prefix says; `None`: it has none, and its end was not found in time.
        claimed: Option<u64>,
        /// How it begins.
        found: Excerpt,
    },
    /// No frame at all.
    #[non_exhaustive]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// What came instead.
        found: Excerpt,
    },
    /// The end of the stream came within a frame.
    #[non_exhaustive]
    Truncated {
        /// What came of it.
        found: Excerpt,
    },
    /// The error of a decoder that is not from here.
    Other(Box<dyn Error + Send + Sync>),
}

impl CodecError {
    /// What came is no frame: for decoders of your own.
    #[cold]
    pub fn malformed(what: &'static str, found: &[u8]) -> CodecError {
        CodecError::Malformed {
            what,
            found: Excerpt::new(found),
        }
    }

    /// What came is more than allowed; `claimed`: what its prefix says.
    #[cold]
    pub fn too_long(limit: usize, claimed: Option<u64>, found: &[u8]) -> CodecError {
        CodecError::TooLong {
            limit,
            claimed,
            found: Excerpt::new(found),
        }
    }

    /// The end of the stream came within a frame.
    #[cold]
    pub fn truncated(found: &[u8]) -> CodecError {
        CodecError::Truncated {
            found: Excerpt::new(found),
        }
    }
}

/// `frame of 4294967295 bytes exceeds the limit of 65536: "\xff\xff\xff\xff"`.
impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CodecError::TooLong {
                limit,
                claimed: Some(claimed),
                found,
            } => write!(
                f,
                "frame of {claimed} bytes exceeds the limit of {limit}: {found}"
            ),
            CodecError::TooLong { limit, found, .. } => {
                write!(f, "frame exceeds the limit of {limit} bytes: {found}")
            }
            CodecError::Malformed { what, found } => write!(f, "{what}: {found}"),
            CodecError::Truncated { found } => {
                write!(
                    f,
                    "stream ended within a frame, after {} bytes: {found}",
                    found.len
                )
            }
            CodecError::Other(error) => error.fmt(f),
        }
    }
}

impl Error for CodecError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            CodecError::Other(error) => error.source(),
            _ => None,
        }
    }
}

/// How something began that may be long and anything: its first bytes, printed so that they steer
/// no terminal.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt {
    start: Box<[u8]>,
    len: usize,
}

/// Bytes kept of it.
const KEPT: usize = 32;

impl Excerpt {
    fn new(bytes: &[u8]) -> Excerpt {
        Excerpt {
            start: bytes[..bytes.len().min(KEPT)].into(),
            len: bytes.len(),
        }
    }

    /// The first bytes of the frame, 32 at most.
    pub fn start(&self) -> &[u8] {
        &self.start
    }
}

/// `"GET / HTTP/1.1\r\nHost: exampl"...`.
impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.len > KEPT { "..." } else { "" };
        write!(f, "\"{}\"{more}", self.start.escape_ascii())
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
