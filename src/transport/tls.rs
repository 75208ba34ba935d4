//! TLS, by rustls: `open` makes plaintext of what the stream gives, `seal` makes records of
//! plaintext and writes them.
//!
//! All that is of rustls is in here, behind the two calls that its next version will have.

use super::{Opened, Sealed};
use crate::backend::{Stream, is_shortage};
use crate::options::{StartTls, TlsSide};
use rustls::Connection;
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};

/// Ciphertext that may lie ahead of the system, beside the records that one call adds: the bytes of
/// a connection that it has taken are those which a limit can no longer take back.
const AHEAD: usize = 64 * 1024;

/// Records without plaintext in one call, before others have their turn: a peer may send nothing
/// else.
const ROUNDS: usize = 4;

/// Slices of records in one write: so many rustls gives at most.
const SLICES: usize = 64;

/// A TLS session over a stream.
pub(crate) struct Tls {
    stream: Stream,
    session: Connection,
    /// Ciphertext that was received before the session, or that it had no room for.
    received: Vec<u8>,
    /// Bytes at the start of the queue that go out as they are: they were sent before `start_tls`.
    plain: usize,
    /// Plaintext that waits in the session.
    inside: usize,
    /// What was met behind the plaintext that waits.
    fault: Option<Fault>,
    /// The peer has said that it sends no more (close_notify).
    is_ended: bool,
    /// How many bytes of the connection are out when so much ciphertext is: in order.
    ledger: VecDeque<(u64, usize)>,
    /// Ciphertext that is out.
    out: u64,
    /// Bytes of the connection that are sealed, and not out.
    held: usize,
    /// Our own end is said, or need not be said any more.
    is_closed: bool,
    /// Nothing can be written any more.
    is_mute: bool,
}

/// Why nothing more will come.
enum Fault {
    /// The stream has ended, and the session has not.
    Truncated,
    /// The peer has broken a rule, or refuses the session.
    Broken(io::Error),
}

/// The stream as the session writes to it.
struct Wire<'a> {
    stream: &'a mut Stream,
    /// How much of what the session had to write it has offered.
    offered: usize,
    /// That may not have been all.
    is_cut: bool,
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.offered = bytes.len();
        self.stream.write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.offered = slices.iter().map(|slice| slice.len()).sum();
        self.is_cut = slices.len() == SLICES;
        match slices {
            [slice] => self.stream.write(slice),
            slices => self.stream.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), Interrupted | WouldBlock) || is_shortage(error)
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Tls {
    /// A session over this stream. `plain` bytes are pending that go out before it begins.
    ///
    /// # Errors
    ///
    /// The configuration is invalid: a name that the client cannot check, for example.
    pub(crate) fn new(
        mut stream: Stream,
        side: StartTls,
        plain: usize,
    ) -> Result<Box<Tls>, (Stream, io::Error)> {
        let session = match side.0 {
            TlsSide::Server(config) => {
                rustls::ServerConnection::new(config).map(Connection::Server)
            }
            TlsSide::Client(config, name) => {
                rustls::ClientConnection::new(config, name).map(Connection::Client)
            }
        };
        let mut session = match session {
            Ok(session) => session,
            Err(error) => return Err((stream, broken(error))),
        };
        // What lies ahead is bounded in `seal`.
        session.set_buffer_limit(None);
        stream.carry_ciphertext();
        Ok(Box::new(Tls {
            stream,
            session,
            received: Vec::new(),
            plain,
            inside: 0,
            fault: None,
            is_ended: false,
            ledger: VecDeque::new(),
            out: 0,
            held: 0,
            is_closed: false,
            is_mute: false,
        }))
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn stream_mut(&mut self) -> &mut Stream {
        &mut self.stream
    }

    pub(crate) fn session(&self) -> &Connection {
        &self.session
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn owes(&self) -> bool {
        !self.is_mute && self.plain == 0 && self.session.wants_write()
    }

    /// Can bytes of the connection go out: those from before the session, or sealed ones?
    pub(super) fn takes_bytes(&self) -> bool {
        self.plain > 0 || !self.session.is_handshaking() && !self.is_closed
    }

    pub(super) fn announce_eof(&mut self) {
        if !self.session.is_handshaking() && !std::mem::replace(&mut self.is_closed, true) {
            self.session.send_close_notify();
        }
    }

    pub(super) fn drop_held(&mut self) {
        self.is_mute = true;
        self.ledger.clear();
        self.held = 0;
    }

    /// Input that was received before the session began belongs to it.
    pub(crate) fn take_received(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// One read of the stream at most, unless it brought nothing to tell of. Plaintext goes into
    /// `buffer`; `scratch` is for the ciphertext of this call. `proof`: a short read of the stream
    /// says that no more is there.
    pub(crate) fn open(&mut self, buffer: &mut [u8], scratch: &mut [u8], proof: bool) -> Opened {
        let mut is_dry = false;
        for _ in 0..ROUNDS {
            // What is decrypted comes before whatever was met behind it.
            if self.inside > 0 {
                let bytes = self.take_plaintext(buffer);
                // Of a session that is broken it is not known whether there is any.
                if bytes > 0 || self.fault.is_none() {
                    return Opened::Data {
                        bytes,
                        is_dry: is_dry && self.is_empty(),
                    };
                }
            }
            match self.fault.take() {
                Some(Fault::Truncated) => return Opened::Truncated,
                Some(Fault::Broken(error)) => return Opened::Broken(error),
                None if self.inside == 0 && self.is_ended => return Opened::End,
                None => {}
            }
            if is_dry {
                break;
            }
            match self.receive(buffer.len(), scratch, proof) {
                Ok(short) => is_dry = short,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => is_dry = true,
                Err(error) => return Opened::Failed(error),
            }
        }
        Opened::Nothing {
            is_dry: is_dry && self.is_empty(),
        }
    }

    /// Is nothing inside that is to be told?
    fn is_empty(&self) -> bool {
        self.inside == 0 && self.fault.is_none() && !self.is_ended && self.received.is_empty()
    }

    /// One read of the stream at most, unless it brought nothing new. `Data`: the handshake is
    /// through; what was met behind it is for `open` to tell.
    pub(crate) fn shake_hands(&mut self, scratch: &mut [u8], proof: bool) -> Opened {
        let mut is_dry = false;
        for _ in 0..ROUNDS {
            if !self.session.is_handshaking() {
                let bytes = 0;
                return Opened::Data { bytes, is_dry };
            }
            match self.fault.take() {
                Some(Fault::Truncated) => return Opened::Truncated,
                Some(Fault::Broken(error)) => return Opened::Broken(error),
                None if self.is_ended => return Opened::Truncated,
                None if is_dry => break,
                None => {}
            }
            match self.receive(0, scratch, proof) {
                Ok(short) => is_dry = short,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => is_dry = true,
                Err(error) => return Opened::Failed(error),
            }
        }
        match self.session.is_handshaking() {
            true => Opened::Nothing {
                is_dry: is_dry && self.is_empty(),
            },
            false => Opened::Data { bytes: 0, is_dry },
        }
    }

    fn take_plaintext(&mut self, buffer: &mut [u8]) -> usize {
        let mut count = 0;
        while count < buffer.len() && self.inside > 0 {
            match self.session.reader().read(&mut buffer[count..]) {
                Ok(0) | Err(_) => self.inside = 0,
                Ok(bytes) => {
                    count += bytes;
                    self.inside = self.inside.saturating_sub(bytes);
                }
            }
        }
        count
    }

    /// Gives the session what is there. Answers whether no more is there for now.
    fn receive(&mut self, room: usize, scratch: &mut [u8], proof: bool) -> io::Result<bool> {
        if !self.received.is_empty() {
            let received = std::mem::take(&mut self.received);
            self.decrypt(&received);
            return Ok(false);
        }
        // No more than will fit as plaintext, or almost: what does not is copied once more.
        let most = scratch.len().min(room.max(4096));
        let scratch = &mut scratch[..most];
        let count = self.stream.read(scratch)?;
        if count == 0 {
            self.fault = Some(Fault::Truncated);
            return Ok(true);
        }
        self.decrypt(&scratch[..count]);
        Ok(proof && count < most)
    }

    /// Reads what nobody wants, not even as plaintext.
    pub(crate) fn skip(&mut self, scratch: &mut [u8], proof: bool) -> Opened {
        match self.stream.read(scratch) {
            Ok(0) => Opened::End,
            Ok(bytes) => Opened::Data {
                bytes,
                is_dry: proof && bytes < scratch.len(),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Opened::Nothing { is_dry: true }
            }
            Err(error) => Opened::Failed(error),
        }
    }

    /// What the session takes of these bytes; the others wait until its plaintext is taken.
    fn decrypt(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // It takes no more than it can hold. If it holds nothing, that is no reason.
            match self.session.read_tls(&mut bytes) {
                Ok(1..) => {}
                Ok(0) | Err(_) if self.inside > 0 => break,
                result => {
                    let error = result.err().unwrap_or(io::ErrorKind::InvalidData.into());
                    self.fault = Some(Fault::Broken(error));
                    return;
                }
            }
            match self.session.process_new_packets() {
                Ok(state) => {
                    self.inside = state.plaintext_bytes_to_read();
                    self.is_ended = state.peer_has_closed();
                }
                Err(error) => {
                    self.fault = Some(Fault::Broken(broken(error)));
                    self.is_closed = true;
                    // The session keeps what came before, and does not say how much that is.
                    self.inside = usize::MAX;
                    return;
                }
            }
            // Nothing behind the peer's end is its own.
            if self.is_ended {
                return;
            }
        }
        self.received.extend_from_slice(bytes);
    }

    /// One write of the stream at most, of as many of these bytes as may lie ahead of it.
    pub(crate) fn seal(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<Sealed> {
        if self.is_mute {
            return Ok(Sealed::default());
        }
        if self.plain > 0 {
            return self.write_plain(pieces);
        }
        let taken = match self.takes_bytes() {
            true => self.encrypt(pieces)?,
            false => 0,
        };
        if !self.session.wants_write() {
            return Ok(Sealed::default());
        }
        let mut wire = Wire {
            stream: &mut self.stream,
            offered: 0,
            is_cut: false,
        };
        let result = self.session.write_tls(&mut wire);
        let Wire {
            offered, is_cut, ..
        } = wire;
        if result.is_ok() && !self.session.wants_write() {
            // As almost always: all of it is out.
            self.ledger.clear();
            return Ok(Sealed {
                taken,
                out: std::mem::take(&mut self.held) + taken,
                moved: true,
                is_full: false,
            });
        }
        self.remember(taken, (!is_cut).then_some(offered));
        match result {
            Ok(count) => Ok(Sealed {
                taken,
                out: self.note_out(count),
                moved: count > 0,
                is_full: count < offered && (count == 0 || self.stream.short_is_proof()),
            }),
            // What was sealed cannot be taken back. A shortage is met again by the next write.
            Err(error) if taken > 0 && is_passing(&error) => Ok(Sealed {
                taken,
                out: 0,
                moved: false,
                is_full: error.kind() == io::ErrorKind::WouldBlock,
            }),
            Err(error) => {
                // The queue has these bytes still.
                self.held -= taken;
                if taken > 0 {
                    self.ledger.pop_back();
                }
                Err(error)
            }
        }
    }

    /// So many bytes of the connection are sealed, and behind so much ciphertext; if that is not
    /// known, a later write tells.
    fn remember(&mut self, taken: usize, offered: Option<usize>) {
        if taken > 0 {
            self.ledger.push_back((u64::MAX, taken));
            self.held += taken;
        }
        let Some(offered) = offered else {
            return;
        };
        let end = self.out + offered as u64;
        for (at, _) in self.ledger.iter_mut().rev() {
            if *at != u64::MAX {
                break;
            }
            *at = end;
        }
    }

    /// So much ciphertext more is out. Answers how many bytes of the connection are with it.
    fn note_out(&mut self, count: usize) -> usize {
        self.out += count as u64;
        let held = self.held;
        while let Some((at, bytes)) = self.ledger.front() {
            if *at > self.out {
                break;
            }
            self.held -= bytes;
            self.ledger.pop_front();
        }
        held - self.held
    }

    /// What was sent before the session goes out as it is.
    fn write_plain(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<Sealed> {
        let piece = pieces.iter().find(|piece| !piece.is_empty());
        let piece = piece.map_or(&[][..], |piece| piece);
        let piece = &piece[..piece.len().min(self.plain)];
        let count = self.stream.write(piece)?;
        self.plain -= count;
        Ok(Sealed {
            taken: count,
            out: count,
            moved: count > 0,
            is_full: count < piece.len() && (count == 0 || self.stream.short_is_proof()),
        })
    }

    /// Seals as many of these bytes as there is room for. Answers how many.
    fn encrypt(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut room = AHEAD.saturating_sub(self.held);
        if let [piece] = pieces {
            return self.session.writer().write(&piece[..piece.len().min(room)]);
        }
        let mut some = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        for (some, piece) in some.iter_mut().zip(pieces) {
            let piece = &piece[..piece.len().min(room)];
            room -= piece.len();
            *some = IoSlice::new(piece);
            count += 1;
        }
        self.session.writer().write_vectored(&some[..count])
    }
}
