//! Reading and writing through a transport that is not plain, and its handshake.

use super::{Beginning, Conn, Flags, Phase, Read, Written};
use crate::backend::is_shortage;
use crate::buffer::receive::Receive;
use crate::buffer::write_queue::SLICES;
use crate::clock::{Tick, after};
use crate::options::StartTls;
use crate::transport::{Opened, Tls, TlsInfo, Transport};
use std::io::{self, IoSlice};

impl Conn {
    /// Puts TLS over its stream. What is pending goes out first, as it is, and `lent` bytes with
    /// it, which are about to be queued.
    pub(crate) fn secure(&mut self, side: StartTls, lent: usize) -> io::Result<()> {
        let plain = self.queued() + lent;
        match self.transport.take() {
            Some(Transport::Plain(stream)) => match Tls::new(stream, side, plain) {
                Ok(tls) => {
                    self.transport = Some(Transport::Tls(tls));
                    self.set(Flags::LAYERED);
                    Ok(())
                }
                Err((stream, error)) => {
                    self.transport = Some(Transport::Plain(stream));
                    Err(error)
                }
            },
            other => {
                self.transport = other;
                let text = "it speaks TLS already, or has no socket";
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
        }
    }

    /// Accepted or connected, and its handshake begins, for which there is this time.
    pub(crate) fn begin_handshake(&mut self, now: Tick) {
        if self.phase == Phase::Connecting {
            self.enter(Phase::Handshaking);
        } else {
            // Accepted: it was never open for anybody.
            self.phase = Phase::Handshaking;
            self.clear(Flags::OPEN);
        }
        self.set(Flags::WRITABLE);
        self.beginning = Beginning::Handshake;
        self.limit_at = after(now, self.limits.handshake);
    }

    /// A handshake in mid-stream begins, for which there is this time.
    pub(crate) fn bound_handshake(&mut self, now: Tick) {
        let at = after(now, self.limits.handshake);
        self.rare().handshake_at = Some(at);
        self.set(Flags::READABLE);
    }

    /// Counts its handshake among those for which there are places.
    pub(crate) fn take_place(&mut self) {
        self.beginning = Beginning::HandshakeInPlace;
    }

    /// No place is needed for its handshake any more. Answers whether it had one.
    pub(crate) fn give_place_up(&mut self) -> bool {
        let had = self.beginning == Beginning::HandshakeInPlace;
        if had {
            self.beginning = Beginning::Handshake;
        }
        had
    }

    pub(crate) fn is_unsecured(&self) -> bool {
        self.beginning != Beginning::Over
    }

    pub(crate) fn tls(&self) -> Option<TlsInfo<'_>> {
        match self.transport.as_ref()? {
            Transport::Plain(_) => None,
            Transport::Tls(tls) => Some(TlsInfo::new(tls)),
        }
    }

    /// One read through the transport, of one receive buffer.
    #[inline(never)]
    pub(super) fn read_layered(&mut self, receive: &mut Receive) -> Read {
        let proof = !self.has(Flags::READ_ON);
        let Some(Transport::Tls(tls)) = &mut self.transport else {
            return Read::Nothing;
        };
        let (buffer, scratch) = receive.buffers();
        let opened = tls.open(buffer, scratch, proof);
        if let Opened::Data { bytes, .. } = opened {
            receive.filled(bytes);
        }
        self.judge_opened(opened)
    }

    /// The session has told the end. No more comes behind that, whatever a failed write has made
    /// of the flag; of a plain stream, another read says so.
    pub(crate) fn expect_no_more(&mut self) {
        if self.has(Flags::LAYERED) {
            self.clear(Flags::READABLE);
        }
    }

    /// A step of its handshake, which takes what was received before it. `Data`: it is through.
    pub(crate) fn shake_hands(&mut self, receive: &mut Receive) -> Read {
        let left = self.left.take();
        let proof = !self.has(Flags::READ_ON);
        let Some(Transport::Tls(tls)) = &mut self.transport else {
            return Read::Nothing;
        };
        if let Some(left) = left {
            tls.take_received(left.bytes());
        }
        let opened = tls.shake_hands(receive.buffers().1, proof);
        let read = self.judge_opened(opened);
        if matches!(read, Read::Data(_)) {
            // What came with the last of the handshake is read next.
            self.set(Flags::READABLE);
        }
        read
    }

    /// The handshake is through.
    pub(crate) fn be_secured(&mut self) {
        self.beginning = Beginning::Over;
        if let Some(rare) = &mut self.rare {
            rare.handshake_at = None;
        }
    }

    /// One read of a connection that closes, whose input nobody wants: not even as plaintext.
    pub(crate) fn discard(&mut self, receive: &mut Receive) -> Read {
        let proof = !self.has(Flags::READ_ON);
        let Some(Transport::Tls(tls)) = &mut self.transport else {
            return self.read(receive);
        };
        let opened = tls.skip(receive.buffers().1, proof);
        self.judge_opened(opened)
    }

    fn judge_opened(&mut self, opened: Opened) -> Read {
        match opened {
            Opened::Data { bytes, is_dry } => {
                if is_dry {
                    self.clear(Flags::READABLE);
                }
                Read::Data(bytes)
            }
            Opened::Nothing { is_dry } => {
                if is_dry {
                    self.clear(Flags::READABLE);
                }
                Read::Nothing
            }
            Opened::End => {
                self.clear(Flags::READABLE);
                Read::Eof
            }
            Opened::Truncated => Read::Truncated,
            Opened::Broken(error) => Read::Broken(error),
            Opened::Failed(error) => match error.kind() {
                io::ErrorKind::Interrupted => Read::Nothing,
                _ if is_shortage(&error) => {
                    self.clear(Flags::READABLE);
                    Read::Later
                }
                _ => Read::Failed(error),
            },
        }
    }

    /// Is it open, with nothing but its transport that would follow from an empty queue?
    #[inline]
    pub(crate) fn is_secure_at_ease(&self) -> bool {
        use Flags as F;
        self.is(&[F::OPEN], &[F::WAITING, F::UNTIL_DRAINED, F::SHUT_ASKED])
    }

    /// One write through the transport.
    #[inline(never)]
    pub(super) fn write_layered(&mut self, pieces: &[IoSlice<'_>]) -> Written {
        let Some(Transport::Tls(tls)) = &mut self.transport else {
            return Written::Nothing;
        };
        match tls.seal(pieces) {
            Ok(sealed) => {
                if sealed.is_full {
                    self.clear(Flags::WRITABLE);
                }
                Written::Sealed(sealed)
            }
            Err(error) => self.judge(0, Err(error)),
        }
    }

    /// One write of the queue, or of what the transport owes.
    #[inline(never)]
    pub(super) fn write_queue_layered(&mut self) -> Written {
        let Some(mut queue) = self.queue.take() else {
            return self.write_layered(&[]);
        };
        let written = match queue.as_slice() {
            Some(slice) => self.write_layered(&[IoSlice::new(slice)]),
            None => {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = queue.gather(&mut slices);
                self.write_layered(&slices[..count])
            }
        };
        if let Written::Sealed(sealed) = &written {
            queue.take(sealed.taken);
        }
        self.queue = Some(queue);
        written
    }
}
