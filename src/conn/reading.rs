//! Reading from one connection: when it is worth a call, and what the call says.

use super::{Conn, End, Flags, Phase};
use crate::backend::is_shortage;
use crate::buffer::receive::{Leftover, Receive};
use crate::hold::Hold;
use crate::readiness::Readiness;
use crate::transport::Transport;
use std::io;

/// What a read gave.
pub(crate) enum Read {
    Data(usize),
    Eof,
    Nothing,
    /// The system is short of memory, and no edge will tell that this is over.
    Later,
    Failed(io::Error),
    /// The stream has ended, and the transport's peer has not said so.
    #[cfg(feature = "tls")]
    Truncated,
    /// The peer has broken a rule of the transport.
    #[cfg(feature = "tls")]
    Broken(io::Error),
}

impl Conn {
    /// Is there something that a read phase should do for it?
    #[inline]
    pub(crate) fn wants_read(&self) -> bool {
        self.is_plainly_readable() || self.wants_unusual_read()
    }

    fn wants_unusual_read(&self) -> bool {
        match self.phase {
            // A handshake goes on in a pause.
            Phase::Open if self.has(Flags::LAYERED) && self.is_handshaking() => {
                self.has(Flags::READABLE)
            }
            // An error is looked for in a pause too: a peer that is gone is not waited for.
            Phase::Open if self.has(Flags::PAUSED) => self.is_faulted,
            Phase::Open if self.has(Flags::LAYERED) => {
                self.has_any(Flags::RESUMED, Flags::READABLE)
            }
            Phase::Open => self.has(Flags::RESUMED),
            Phase::Handshaking => self.has(Flags::READABLE),
            Phase::Connecting => self.flags.0 & (Flags::READABLE.0 | Flags::WRITABLE.0) != 0,
            Phase::Closing | Phase::Lingering => self.has(Flags::READABLE) && !self.has(Flags::EOF),
            Phase::Dead => false,
        }
    }

    /// Is there something before a read: another phase than the usual one, a pause, an end that is
    /// to be told, a handshake?
    #[inline]
    pub(crate) fn is_out_of_the_ordinary(&self) -> bool {
        self.phase != Phase::Open
            || self.has(Flags::PAUSED)
            || self.is_at_end()
            || self.is_handshaking()
    }

    /// Is its handshake what a read is for?
    #[cfg(feature = "tls")]
    pub(crate) fn wants_handshake(&self) -> bool {
        match self.phase {
            Phase::Handshaking | Phase::Open => self.is_handshaking(),
            // Only sealed can go out what waits.
            Phase::Closing => self.is_handshaking() && !self.is_all_out(),
            Phase::Connecting | Phase::Lingering | Phase::Dead => false,
        }
    }

    /// Is it open, with input to be read, and nothing out of the ordinary?
    #[inline]
    pub(crate) fn is_plainly_readable(&self) -> bool {
        self.is(
            &[Flags::OPEN, Flags::READABLE],
            &[Flags::RESUMED, Flags::PAUSED, Flags::LAYERED],
        )
    }

    /// The read phase has come to it, with news from the wait or without.
    #[inline]
    pub(crate) fn leave_ready_list(&mut self, news: Readiness) {
        // An entry from the wait is not the one that the flag tells of: a callback may have listed
        // the connection since.
        if news == Readiness::default() {
            self.clear(Flags::IN_READY);
        }
        self.flags.0 |= u16::from(news.directions());
        if news.is_unusual() {
            self.on_readiness(news);
        }
    }

    /// An edge. Errors and hang-ups count as readable, errors as writable too: a call meets them.
    #[inline]
    pub(crate) fn on_readiness(&mut self, readiness: Readiness) {
        self.flags.0 |= u16::from(readiness.directions());
        if readiness.is_unusual() {
            self.set(Flags::READABLE);
            self.set(Flags::READ_ON);
            if readiness.is_error() {
                self.set(Flags::WRITABLE);
                self.is_faulted = true;
            }
        }
    }

    /// Pauses reads for this reason.
    pub(crate) fn hold(&mut self, hold: Hold) {
        self.holds |= hold.bit();
        self.set(Flags::PAUSED);
    }

    /// Pauses reads until what is pending has drained. `false`: so little is pending that nothing
    /// would end the pause.
    pub(crate) fn hold_until_drained(&mut self, pending: usize) -> bool {
        let waits = self.has(Flags::WAITING) || pending > self.limits.low_watermark;
        if waits {
            self.set(Flags::UNTIL_DRAINED);
            self.set(Flags::PAUSED);
        }
        waits
    }

    /// Lifts this reason of a pause. Answers whether it was the last, so that reads go on.
    pub(crate) fn release(&mut self, hold: Hold) -> bool {
        self.holds &= !hold.bit();
        self.go_on()
    }

    /// What was pending has drained. Answers as `release`.
    pub(crate) fn release_drained(&mut self) -> bool {
        self.clear(Flags::UNTIL_DRAINED);
        self.go_on()
    }

    fn go_on(&mut self) -> bool {
        let is_over = self.has(Flags::PAUSED) && self.holds == 0 && !self.has(Flags::UNTIL_DRAINED);
        if is_over {
            self.clear(Flags::PAUSED);
            self.set(Flags::RESUMED);
            if self.end == End::LastOffered {
                self.end = End::Seen;
            }
        }
        is_over
    }

    /// A pause means nothing to a connection that closes.
    pub(super) fn forget_holds(&mut self) {
        self.holds = 0;
        self.clear(Flags::UNTIL_DRAINED);
        self.clear(Flags::PAUSED);
    }

    /// Bytes that the handler may leave.
    pub(crate) fn input_limit(&self) -> usize {
        let raised = self.rare.as_ref().map_or(0, |rare| rare.raised_input);
        self.limits.input_limit.max(raised)
    }

    /// One read of one receive buffer.
    #[inline(always)]
    pub(crate) fn read(&mut self, receive: &mut Receive) -> Read {
        let Some(Transport::Plain(stream)) = &mut self.transport else {
            return self.read_layered(receive);
        };
        let buffer = receive.buffer();
        match stream.read(buffer) {
            Ok(0) => {
                self.clear(Flags::READABLE);
                Read::Eof
            }
            Ok(count) => {
                if count < buffer.len() && !self.has(Flags::READ_ON) {
                    self.clear(Flags::READABLE);
                }
                receive.filled(count);
                Read::Data(count)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    self.clear(Flags::READABLE);
                    Read::Nothing
                }
                io::ErrorKind::Interrupted => Read::Nothing,
                _ if is_shortage(&error) => {
                    self.clear(Flags::READABLE);
                    Read::Later
                }
                _ => Read::Failed(error),
            },
        }
    }

    /// The end of the stream was read. What was left may still lie in the receive buffer.
    pub(crate) fn see_end(&mut self, receive: &mut Receive) {
        self.end = End::Seen;
        if !receive.is_empty() {
            self.left = receive.leftover();
            receive.clear();
        }
    }

    /// The end was told, and is to be told again.
    pub(crate) fn put_off_end(&mut self) {
        self.clear(Flags::EOF);
        self.end = End::Seen;
    }

    /// Was the end of the stream read, and not told yet?
    #[inline]
    pub(crate) fn is_at_end(&self) -> bool {
        self.end != End::Far && !self.has(Flags::EOF)
    }

    /// Is what was left of the input to be offered once more, before the end is told? Asked once,
    /// and once more after a pause. What comes next comes with no read.
    pub(crate) fn take_last(&mut self) -> bool {
        let is_due = self.end == End::Seen;
        if is_due {
            self.end = End::LastOffered;
            self.set(Flags::RESUMED);
        }
        is_due
    }

    /// Has the handler left something?
    #[inline]
    pub(crate) fn has_left(&self) -> bool {
        self.left.is_some()
    }

    #[inline]
    pub(crate) fn take_left(&mut self) -> Option<Leftover> {
        self.left.take()
    }

    #[inline]
    pub(crate) fn put_left(&mut self, left: Option<Leftover>) {
        self.left = left;
    }

    /// Lets the handler leave up to so many bytes, if it may leave fewer.
    #[inline]
    pub(crate) fn raise_input_limit(&mut self, bytes: usize) {
        if bytes > self.input_limit() {
            self.rare().raised_input = bytes;
        }
    }

    /// Is a handshake under way?
    #[inline]
    pub(crate) fn is_handshaking(&self) -> bool {
        self.transport
            .as_ref()
            .is_some_and(Transport::is_handshaking)
    }
}

/// Without another transport there is nothing behind a stream that is not plain.
#[cfg(not(feature = "tls"))]
impl Conn {
    fn read_layered(&mut self, _: &mut Receive) -> Read {
        Read::Nothing
    }

    pub(crate) fn discard(&mut self, receive: &mut Receive) -> Read {
        self.read(receive)
    }
}
