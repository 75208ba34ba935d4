//! What a connection's state consists of, besides its phase: one bit each.

use crate::readiness::Readiness;

/// Yes-or-no state, a bit each: there may be a great many connections.
#[derive(Clone, Copy, Default)]
pub(crate) struct Flags(pub(super) u16);

impl Flags {
    /// The system may have bytes, an end or an error for us. This bit and the next are those of
    /// [`Readiness`].
    pub(crate) const READABLE: Flags = Flags(1);
    /// The system may take bytes.
    pub(crate) const WRITABLE: Flags = Flags(1 << 1);
    /// A short read does not prove that no more is there: with this kind of socket, or because an
    /// end, an error or urgent data was seen.
    pub(crate) const READ_ON: Flags = Flags(1 << 2);
    pub(crate) const PAUSED: Flags = Flags(1 << 3);
    /// Reads were resumed: what is left over is to be offered again.
    pub(crate) const RESUMED: Flags = Flags(1 << 4);
    /// The peer's end was reported.
    pub(crate) const EOF: Flags = Flags(1 << 5);
    /// `shutdown_write` was asked for; `SHUT`: and done.
    pub(crate) const SHUT_ASKED: Flags = Flags(1 << 6);
    pub(crate) const SHUT: Flags = Flags(1 << 7);
    /// A `Sent::Wait` was answered, or `await_drain` was called; its `on_drain` is still to come.
    pub(crate) const WAITING: Flags = Flags(1 << 8);
    /// A write failed: nothing more can be sent, but there may be input.
    pub(crate) const WRITE_FAILED: Flags = Flags(1 << 9);
    /// `close` was asked for while connecting with bytes pending: connect, flush, close.
    pub(crate) const CLOSE_ASKED: Flags = Flags(1 << 10);
    /// The connection is on the list of those to read; `IN_DIRTY`: of those to flush.
    pub(crate) const IN_READY: Flags = Flags(1 << 11);
    pub(crate) const IN_DIRTY: Flags = Flags(1 << 12);
    /// Reads are paused until the wait for the peer to take what is pending is over.
    pub(crate) const UNTIL_DRAINED: Flags = Flags(1 << 15);
    /// The transport is not plain: the masks of the usual ways exclude it.
    pub(crate) const LAYERED: Flags = Flags(1 << 14);
    /// The phase is `Open`: here again, so that the usual case is one comparison.
    pub(super) const OPEN: Flags = Flags(1 << 13);
}

// A wait's news is put into the flags as it is.
const _: () = assert!(Flags::READABLE.0 == Readiness::READABLE.directions() as u16);
const _: () = assert!(Flags::WRITABLE.0 == Readiness::WRITABLE.directions() as u16);
