//! Writing to one connection: when it is worth a call, and what the call says.

use super::{Conn, Flags, Phase};
use crate::backend::{Stream, is_shortage};
use crate::buffer::outbox::Outbox;
use crate::buffer::write_queue::{SLICES, WriteQueue};
use crate::clock::Tick;
#[cfg(feature = "tls")]
use crate::transport::Sealed;
use crate::transport::Transport;
use std::io::{self, IoSlice};
use std::ops::Range;

/// What a write did.
pub(crate) enum Written {
    Bytes(usize),
    /// A transport that is not plain has taken some, and perhaps moved some.
    #[cfg(feature = "tls")]
    Sealed(Sealed),
    Nothing,
    /// The system is short of memory, and no edge will tell that this is over.
    Later,
    Failed(io::Error),
}

impl Conn {
    /// Has the system taken everything, the transport's own words too, and is no source left?
    #[inline]
    pub(crate) fn is_all_out(&self) -> bool {
        self.queued() == 0 && !self.owes() && !self.has_source()
    }

    /// Is there something to be written that is not, or not only, the connection's own?
    #[inline]
    pub(crate) fn owes(&self) -> bool {
        self.transport.as_ref().is_some_and(Transport::owes)
    }

    /// Is there something that could go out, if the system took it, or a source that may have some?
    #[inline]
    pub(crate) fn has_output(&self) -> bool {
        let takes_bytes = self.transport.as_ref().is_some_and(Transport::takes_bytes);
        let has_bytes = self.queued() > 0 || self.has_source() && self.is_source_awake();
        self.owes() || has_bytes && takes_bytes
    }

    /// If nothing more is to come, and the transport has all there was, it may tell the peer so.
    #[inline]
    pub(crate) fn announce_eof(&mut self) {
        let is_last = self.phase == Phase::Closing || self.has(Flags::SHUT_ASKED);
        if is_last
            && self.queued() == 0
            && !self.has_source()
            && let Some(transport) = &mut self.transport
        {
            transport.announce_eof();
        }
    }

    /// Is a wait over, so that an `on_drain` is due, or the end of a pause?
    #[inline]
    pub(crate) fn has_drained(&self) -> bool {
        self.has_any(Flags::WAITING, Flags::UNTIL_DRAINED)
            && self.phase == Phase::Open
            && self.pending() <= self.limits.low_watermark
            && !self.has_source()
    }

    /// May its bytes go out: neither connecting nor over?
    #[inline]
    pub(crate) fn is_flushing(&self) -> bool {
        self.has(Flags::OPEN) || matches!(self.phase, Phase::Closing | Phase::Handshaking)
    }

    /// Is there something that a flush phase should do for it?
    #[inline]
    pub(crate) fn wants_flush(&self) -> bool {
        match self.has(Flags::OPEN) {
            true => self.queue.is_some() || self.owes(),
            false => self.phase == Phase::Closing || self.owes(),
        }
    }

    /// Is it open, with nothing that would follow from an empty queue?
    #[inline]
    pub(crate) fn is_at_ease(&self) -> bool {
        use Flags as F;
        let unusual = [F::WAITING, F::UNTIL_DRAINED, F::SHUT_ASKED, F::LAYERED];
        self.is(&[F::OPEN], &unusual)
    }

    /// Nothing can be sent any more: a write has failed, or the socket has an error. Reads go on,
    /// and if they are paused, not for ever.
    pub(crate) fn fail_writing(&mut self, now: Tick, outbox: &mut Outbox) {
        self.drop_output(outbox);
        self.set(Flags::WRITE_FAILED);
        self.set(Flags::READABLE);
        self.set(Flags::READ_ON);
        self.wait_for_reads(now);
    }

    /// Takes the part of the turn's block away, if that is all there is to flush.
    #[inline]
    pub(crate) fn take_plain_broadcast(&mut self) -> Option<Range<usize>> {
        use Flags as F;
        let unusual = [F::SHUT_ASKED, F::WAITING, F::UNTIL_DRAINED, F::LAYERED];
        match self.is(&[F::OPEN, F::WRITABLE], &unusual) {
            true => self.take_broadcast(),
            false => None,
        }
    }

    /// One write of what is pending: of its part of the block, or of its queue.
    #[inline]
    pub(crate) fn write_pending(&mut self, outbox: &mut Outbox) -> Written {
        match self.take_broadcast() {
            Some(range) => self.write_broadcast(range, outbox),
            None => self.write_queue(),
        }
    }

    #[inline]
    fn write_queue(&mut self) -> Written {
        let (Some(Transport::Plain(stream)), Some(queue)) = (&mut self.transport, &mut self.queue)
        else {
            return self.write_queue_layered();
        };
        let (offered, result) = match queue.as_slice() {
            Some(slice) => (slice.len(), stream.write(slice)),
            None => write_pieces(stream, queue),
        };
        let written = self.judge(offered, result);
        if let (Written::Bytes(count), Some(queue)) = (&written, &mut self.queue) {
            queue.take(*count);
        }
        written
    }

    /// One write of bytes that are not queued.
    #[inline(always)]
    pub(crate) fn write_slice(&mut self, slice: &[u8]) -> Written {
        let Some(Transport::Plain(stream)) = &mut self.transport else {
            return self.write_layered(&[IoSlice::new(slice)]);
        };
        let result = stream.write(slice);
        self.judge(slice.len(), result)
    }

    /// One write of its part of the block; what the system does not take is queued.
    #[inline(always)]
    pub(crate) fn write_broadcast(&mut self, range: Range<usize>, outbox: &mut Outbox) -> Written {
        let (block, spare) = outbox.split();
        let bytes = &block[range];
        let written = self.write_slice(bytes);
        match &written {
            Written::Bytes(count) if *count == bytes.len() => {}
            Written::Bytes(count) => self.queue_untaken(&bytes[*count..], spare),
            #[cfg(feature = "tls")]
            Written::Sealed(sealed) if sealed.taken == bytes.len() => {}
            #[cfg(feature = "tls")]
            Written::Sealed(sealed) => self.queue_untaken(&bytes[sealed.taken..], spare),
            Written::Nothing | Written::Later | Written::Failed(_) => {
                self.queue_untaken(bytes, spare);
            }
        }
        written
    }

    /// What a write says about the next one.
    #[inline(always)]
    pub(super) fn judge(&mut self, offered: usize, result: io::Result<usize>) -> Written {
        match result {
            Ok(count) if count == offered => Written::Bytes(count),
            // Less than offered: where that is proof, the next call would block.
            Ok(count) => {
                if count == 0
                    || self
                        .transport
                        .as_ref()
                        .is_some_and(Transport::short_is_proof)
                {
                    self.clear(Flags::WRITABLE);
                }
                Written::Bytes(count)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    self.clear(Flags::WRITABLE);
                    Written::Nothing
                }
                // It stays writable: the next flush tries again.
                io::ErrorKind::Interrupted => Written::Nothing,
                // No edge will tell that this is over, so a timer does.
                _ if is_shortage(&error) => {
                    self.clear(Flags::WRITABLE);
                    Written::Later
                }
                _ => Written::Failed(error),
            },
        }
    }
}

/// Without another transport there is nothing behind a stream that is not plain.
#[cfg(not(feature = "tls"))]
impl Conn {
    fn write_queue_layered(&mut self) -> Written {
        Written::Nothing
    }

    fn write_layered(&mut self, _: &[IoSlice<'_>]) -> Written {
        Written::Nothing
    }
}

/// Several pieces in one call. Apart from `write_queue`, so that this does not pay for the array.
#[inline(never)]
fn write_pieces(stream: &mut Stream, queue: &WriteQueue) -> (usize, io::Result<usize>) {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let count = queue.gather(&mut slices);
    let offered = slices[..count].iter().map(|slice| slice.len()).sum();
    (offered, stream.write_vectored(&slices[..count]))
}
