//! What lies between a connection and its stream: nothing, or TLS.
//!
//! A connection reads and writes plaintext; what goes over the wire is its transport's affair. Some
//! things that are one for a plain stream are two behind a transport:
//!
//! - What was *taken* from the queue need not be *out*: the transport may still have it
//!   ([`Transport::held`]), and may owe the peer words of its own ([`Transport::owes`]). So
//!   backpressure, `pending` and what is lost count what is held, and a FIN, the end of a close and
//!   the end of a stall wait until nothing is owed. A read may have to be answered, so whoever
//!   reads asks for that, and lists the connection for a flush.
//! - That the stream has no more *bytes* does not say that there is no more *input*: what did not
//!   fit into the receive buffer waits in the transport, and no edge will come for it. So only a
//!   read that leaves nothing inside may clear `Flags::READABLE`.
//! - A *handshake* comes before the first byte. It is a phase of its own (`Phase::Handshaking`) of
//!   a connection that begins with it, and a state of the transport for one that turns to it later
//!   (`start_tls`).
//!
//! A plain stream is read and written by the connection itself (`conn/reading.rs`,
//! `conn/writing.rs`): an answer that fitted every kind would cost each echo four instructions.
//! Another kind is read and written in `conn/layered.rs`. A flag (`Flags::LAYERED`) takes it out of
//! the two masks that say "nothing but plain": `is_plainly_readable`, for which
//! `wants_unusual_read` then answers, and `is_at_ease`.

#[cfg(feature = "tls")]
mod info;
#[cfg(feature = "tls")]
mod tls;

#[cfg(feature = "tls")]
pub use info::{TlsInfo, TlsVersion};
#[cfg(feature = "tls")]
pub(crate) use tls::Tls;

use crate::addr::Addr;
#[cfg(unix)]
use crate::addr::Credentials;
use crate::backend::Stream;
use std::io;

/// The transport of a connection, and in it the stream.
pub(crate) enum Transport {
    /// The bytes of the connection are those on the wire.
    Plain(Stream),
    #[cfg(feature = "tls")]
    Tls(Box<Tls>),
}

/// What a read through a transport gave.
#[cfg(feature = "tls")]
pub(crate) enum Opened {
    /// So many bytes of plaintext. `is_dry`: neither the stream nor the transport has more for now.
    Data { bytes: usize, is_dry: bool },
    /// Nothing to tell of.
    Nothing { is_dry: bool },
    /// The peer has said that it sends no more.
    End,
    /// The stream has ended without that.
    Truncated,
    /// The peer broke a rule; what it is to be told is among what is owed.
    Broken(io::Error),
    /// A call of the system failed.
    Failed(io::Error),
}

/// What a write through a transport did.
#[cfg(feature = "tls")]
#[derive(Default)]
pub(crate) struct Sealed {
    /// Bytes of the connection that the transport has taken.
    pub(crate) taken: usize,
    /// Bytes of the connection that the system has taken, whenever the transport has.
    pub(crate) out: usize,
    /// Has anything gone over the wire? Only that is progress for a stall.
    pub(crate) moved: bool,
    /// The next write would block.
    pub(crate) is_full: bool,
}

/// What the loop asks of what lies between. `Plain` has nothing to say.
impl Transport {
    /// Bytes of the connection that the transport has taken, and the system not yet.
    #[inline(always)]
    pub(crate) fn held(&self) -> usize {
        match self {
            Transport::Plain(_) => 0,
            #[cfg(feature = "tls")]
            Transport::Tls(tls) => tls.held(),
        }
    }

    /// Is anything to be written that the transport has made and the system has not taken, be it
    /// the connection's or its own?
    #[inline(always)]
    pub(crate) fn owes(&self) -> bool {
        match self {
            Transport::Plain(_) => false,
            #[cfg(feature = "tls")]
            Transport::Tls(tls) => tls.owes(),
        }
    }

    /// Nothing more is written: a transport with an end of its own says it now, and owes that until
    /// it is out. Only then comes `shutdown_write`.
    #[inline(always)]
    pub(crate) fn announce_eof(&mut self) {
        match self {
            Transport::Plain(_) => {}
            #[cfg(feature = "tls")]
            Transport::Tls(tls) => tls.announce_eof(),
        }
    }

    /// What is held is lost, and what is owed with it.
    #[inline(always)]
    pub(crate) fn drop_held(&mut self) {
        match self {
            Transport::Plain(_) => {}
            #[cfg(feature = "tls")]
            Transport::Tls(tls) => tls.drop_held(),
        }
    }
}

/// What only a transport that is not plain answers with anything but no.
impl Transport {
    /// Is a handshake to come through before bytes of the connection move?
    #[inline(always)]
    pub(crate) fn is_handshaking(&self) -> bool {
        match self {
            Transport::Plain(_) => false,
            #[cfg(feature = "tls")]
            Transport::Tls(tls) => tls.is_handshaking(),
        }
    }

    /// Would it take bytes of the connection, if the system took some?
    #[inline(always)]
    pub(crate) fn takes_bytes(&self) -> bool {
        match self {
            Transport::Plain(_) => true,
            #[cfg(feature = "tls")]
            Transport::Tls(tls) => tls.takes_bytes(),
        }
    }

    /// Does a peer see by itself that something is missing, at a mere FIN?
    pub(crate) fn shows_loss(&self) -> bool {
        match self {
            Transport::Plain(_) => false,
            #[cfg(feature = "tls")]
            Transport::Tls(tls) => !tls.is_handshaking(),
        }
    }
}

/// What concerns the socket alone.
impl Transport {
    #[inline(always)]
    fn stream(&self) -> &Stream {
        match self {
            Transport::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Transport::Tls(tls) => tls.stream(),
        }
    }

    #[inline(always)]
    fn stream_mut(&mut self) -> &mut Stream {
        match self {
            Transport::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Transport::Tls(tls) => tls.stream_mut(),
        }
    }

    /// May the system send a file by itself? Only where nothing lies between.
    pub(crate) fn sends_files(&self) -> bool {
        match self {
            Transport::Plain(stream) => stream.sends_files(),
            #[cfg(feature = "tls")]
            Transport::Tls(_) => false,
        }
    }

    /// Does a short call of the stream prove that the next would block?
    #[inline(always)]
    pub(crate) fn short_is_proof(&self) -> bool {
        self.stream().short_is_proof()
    }

    pub(crate) fn local_addr(&self) -> io::Result<Addr> {
        self.stream().local_addr()
    }

    #[cfg(unix)]
    pub(crate) fn peer_credentials(&self) -> Option<Credentials> {
        self.stream().peer_credentials()
    }

    pub(crate) fn is_connected(&mut self) -> io::Result<bool> {
        self.stream_mut().is_connected()
    }

    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        self.stream_mut().take_error()
    }

    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        self.stream_mut().shutdown_write()
    }

    pub(crate) fn reset_on_drop(&mut self) {
        self.stream_mut().reset_on_drop();
    }
}
