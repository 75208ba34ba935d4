//! How a connection ended.

use std::fmt;
use std::io;

/// The argument of `on_close`: why the connection ended, and what was lost.
#[derive(Debug)]
pub struct Closed {
    /// Why. The first error wins; see [`Reason`].
    pub reason: Reason,
    /// Bytes that were queued with `send` and never taken by the operating system.
    ///
    /// Zero does not mean that the peer has read everything: only its own answer can say so.
    pub undelivered: u64,
}

impl Closed {
    /// Did it end as at least one side wished, with nothing left behind?
    pub fn is_clean(&self) -> bool {
        self.undelivered == 0 && self.reason.is_clean()
    }
}

/// `closed by peer`, `reset by peer, 512 bytes undelivered`.
impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)?;
        if self.undelivered > 0 {
            write!(f, ", {} bytes undelivered", self.undelivered)?;
        }
        Ok(())
    }
}

/// A close as the log may show it: without the text of `close_because`, or of a source's error,
/// which the application may have made of what its peer sent.
pub(crate) struct Discreet<'a>(pub(crate) &'a Closed);

impl fmt::Display for Discreet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Closed {
            reason,
            undelivered,
        } = self.0;
        match reason {
            Reason::Protocol(_) => f.write_str("closed because of a protocol error"),
            Reason::Source(_) => f.write_str("source failed"),
            reason => reason.fmt(f),
        }?;
        match undelivered {
            0 => Ok(()),
            lost => write!(f, ", {lost} bytes undelivered"),
        }
    }
}

/// Why a connection ended.
///
/// The first error wins: what went wrong first is reported, even if more went wrong afterwards.
/// `Local` and `Eof` are not errors: an error that prevents a close from completing replaces them.
///
/// What the peer sees: a reset (RST) if pending bytes were dropped, so that it does not take a part
/// for the whole (`Aborted`, `PendingLimit`, `TimedOut` of a write stall or close flush, `Source`,
/// `Finished`); otherwise its data and then an end. Unix sockets have no reset.
/// [`guide::endings`](crate::guide::endings) has the table.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// `close` was called, and the peer had sent no end.
    Local,
    /// `abort` was called.
    Aborted,
    /// The peer sent its end (`recv` returned 0 bytes), and then this side closed, too.
    Eof,
    /// The peer reset the connection (RST: `ECONNRESET` or `EPIPE`).
    Reset,
    /// A deadline passed. For `Set` and `Idle`, the handler then called
    /// [`close_timed_out`](crate::Context::close_timed_out), as `on_deadline` does by default.
    TimedOut(Deadline),
    /// `connect` failed: at which step, after how many attempts, and with which error, for example
    /// `ECONNREFUSED`.
    ConnectFailed(Box<ConnectError>),
    /// `connect` took longer than [`Limits::connect_timeout`](crate::Limits::connect_timeout), from
    /// the look-up of a name to the answer of one of its addresses.
    ConnectTimedOut,
    /// The handler left more input unconsumed than
    /// [`Limits::input_limit`](crate::Limits::input_limit). What is pending was sent first.
    InputLimit,
    /// Something was sent after a `Sent::Wait` to a peer that had left more unread than
    /// [`Limits::hard_limit`](crate::Limits::hard_limit) allows, and the policy is `Close`.
    PendingLimit,
    /// `close_because` was called; the caller's own error.
    Protocol(io::Error),
    /// A source of [`send_from`](crate::Context::send_from) failed or panicked, or its file has
    /// become shorter. The peer sees a reset, so that it does not take a part for the whole.
    Source(io::Error),
    /// The grace period of `finish` ended before the connection did.
    Finished,
    /// TLS failed: a certificate that is no good, a peer that speaks no TLS or refuses ours, a
    /// broken record (feature `tls`). The error says what, and the peer was told by an alert.
    Tls(io::Error),
    /// The peer's end came without the word that TLS has for it (close_notify): somebody may have
    /// cut the stream off (RFC 8446, 6.1; feature `tls`). What is pending was sent first.
    Truncated,
    /// [`release`](crate::Context::release) was called: here is the connection, with all that
    /// belongs to it.
    #[cfg(unix)]
    Released(Box<Released>),
    /// Any other error of the operating system, such as a keep-alive without an answer
    /// (`ETIMEDOUT`).
    Io(io::Error),
}

impl Reason {
    /// Did one side intend it: `Local`, `Eof` or `Released`?
    pub fn is_clean(&self) -> bool {
        #[cfg(unix)]
        if matches!(self, Reason::Released(_)) {
            return true;
        }
        matches!(self, Reason::Local | Reason::Eof)
    }

    /// What an error of `read` or `write` on a connected socket means.
    pub(crate) fn from_io(error: io::Error) -> Reason {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        match error.kind() {
            // Linux says EPIPE for an RST that comes after the peer's FIN: tcp_reset() in
            // tcp_input.c.
            ConnectionReset | BrokenPipe | ConnectionAborted => Reason::Reset,
            _ => Reason::Io(error),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Local => f.write_str("closed locally"),
            Reason::Aborted => f.write_str("aborted locally"),
            Reason::Eof => f.write_str("closed by peer"),
            Reason::Reset => f.write_str("reset by peer"),
            Reason::TimedOut(which) => write!(f, "timed out ({which})"),
            Reason::ConnectFailed(error) => error.fmt(f),
            Reason::ConnectTimedOut => f.write_str("connect timed out"),
            Reason::InputLimit => f.write_str("unconsumed input exceeds `input_limit`"),
            Reason::PendingLimit => f.write_str("pending output exceeds `hard_limit`"),
            Reason::Protocol(error) => write!(f, "closed because: {error}"),
            Reason::Source(error) => write!(f, "source failed: {error}"),
            Reason::Finished => f.write_str("still open when the grace period ended"),
            Reason::Tls(error) => write!(f, "TLS: {error}"),
            Reason::Truncated => f.write_str("truncated: end of stream without close_notify"),
            #[cfg(unix)]
            Reason::Released(_) => f.write_str("released"),
            Reason::Io(error) => write!(f, "I/O error: {error}"),
        }
    }
}

/// A connection that the loop has given away: its socket, and what the loop had of its bytes.
#[cfg(unix)]
#[non_exhaustive]
pub struct Released {
    /// The socket, connected and non-blocking. Nobody has it registered any more.
    pub stream: std::os::fd::OwnedFd,
    /// What was received and not taken by the handler. It comes before what the socket still has.
    pub input: Vec<u8>,
    /// What was sent and not taken by the system. It goes before what is sent from now on.
    pub output: Vec<u8>,
    /// `shutdown_write` was called, and is still to be done, behind `output`.
    pub shuts: bool,
}

/// Says how much it is, and nothing of what peers have sent.
#[cfg(unix)]
impl fmt::Debug for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Released")
            .field("stream", &self.stream)
            .field("input", &self.input.len())
            .field("output", &self.output.len())
            .field("shuts", &self.shuts)
            .finish()
    }
}

/// Why a connect failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConnectError {
    /// How far it had come.
    pub step: ConnectStep,
    /// How many addresses were tried: a name may have several.
    pub attempts: u8,
    /// The error of the system or of the resolver. Of several attempts it is the first error that
    /// says something about the peer, and not only that this machine has no such network.
    pub error: io::Error,
}

/// How far a connect had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectStep {
    /// Nothing was tried, because it was refused locally: an invalid address or name, invalid
    /// limits or options, `max_connections`, or `finish` has begun.
    Begin,
    /// The name was looked up, and has no address.
    LookUp,
    /// All addresses were tried, or the only one.
    Dial,
}

impl ConnectError {
    pub(crate) fn new(step: ConnectStep, attempts: u8, error: io::Error) -> Box<ConnectError> {
        Box::new(ConnectError {
            step,
            attempts,
            error,
        })
    }

    /// The kind of its error.
    pub fn kind(&self) -> io::ErrorKind {
        self.error.kind()
    }

    /// The number of its error, if it is the system's.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.error.raw_os_error()
    }
}

/// `connect failed: Connection refused (os error 111), after 3 attempts`.
impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.step {
            ConnectStep::LookUp => "look-up",
            ConnectStep::Begin | ConnectStep::Dial => "connect",
        };
        write!(f, "{what} failed: {}", self.error)?;
        match self.attempts {
            0 | 1 => Ok(()),
            many => write!(f, ", after {many} attempts"),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Which deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Deadline {
    /// The one that `set_deadline` set with this key; reported by `on_deadline`.
    Set(u32),
    /// No byte moved in either direction for the idle time; reported by `on_deadline`.
    Idle,
    /// Bytes were pending and the peer took none for
    /// [`Limits::write_stall`](crate::Limits::write_stall); goes straight to `on_close`.
    WriteStall,
    /// After `close` the peer took no byte for
    /// [`Limits::close_flush`](crate::Limits::close_flush); goes straight to `on_close`.
    CloseFlush,
    /// A TLS handshake took longer than [`Limits::handshake`](crate::Limits::handshake); goes
    /// straight to `on_close`.
    Handshake,
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deadline::Set(key) => write!(f, "deadline {key}"),
            Deadline::Idle => f.write_str("idle"),
            Deadline::WriteStall => f.write_str("write stall"),
            Deadline::CloseFlush => f.write_str("close flush"),
            Deadline::Handshake => f.write_str("TLS handshake"),
        }
    }
}
