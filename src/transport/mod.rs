//! What lies between a connection and its stream.
//!
//! A connection reads and writes plaintext; what goes over the wire is its transport's affair.
//! There is one kind so far, which does nothing. But the loop asks everything that another kind
//! would have to be asked, since some things that are one for a plain stream are two behind a
//! transport:
//!
//! - What was *taken* from the queue need not be *out*: the transport may still have it
//!   ([`Transport::held`]), and may owe the peer words of its own ([`Transport::owes`]). So
//!   backpressure, `pending` and what is lost count what is held, and a FIN, the end of a close and
//!   the end of a stall wait until nothing is owed. A read may have to be answered, so whoever
//!   reads asks for that, and lists the connection for a flush.
//! - That the stream has no more *bytes* does not say that there is no more *input*: what did not
//!   fit into the receive buffer waits in the transport, and no edge will come for it. So only a
//!   read that leaves nothing inside may clear `Flags::READABLE`.
//!
//! A plain stream is read and written by the connection itself (`conn/reading.rs`,
//! `conn/writing.rs`): an answer that fitted every kind would cost each echo four instructions. So
//! a further kind is a further arm there, in `read`, `write_queue` and `write_slice`. What is lent
//! and what is broadcast goes through the last of these, as it is. A flag (one is kept free) takes
//! such a connection out of the two masks that say "nothing but plain": `is_plainly_readable`, for
//! which `wants_unusual_read` then answers, and `is_at_ease`.
//!
//! Two things that such a kind needs are not here yet, for nothing could show that they are right.
//! `Written::Bytes` is one number: a transport that has taken bytes and moved none must not renew
//! the time of a stall. And a handshake is a phase of its own, between `Connecting` and `Open`:
//! `is_flushing`, `wants_unusual_read`, `restart_limit`, `expire`, `come_through` and the accept
//! phase would have to know it.

use crate::addr::Addr;
use crate::backend::Stream;
use std::io;

/// The transport of a connection, and in it the stream.
pub(crate) enum Transport {
    /// The bytes of the connection are those on the wire.
    Plain(Stream),
}

/// What the loop asks of what lies between. `Plain` has nothing to say.
impl Transport {
    /// Bytes of the connection that the transport has taken, and the system not yet.
    #[inline(always)]
    pub(crate) fn held(&self) -> usize {
        match self {
            Transport::Plain(_) => 0,
        }
    }

    /// Is anything to be written that the transport has made and the system has not taken, be it
    /// the connection's or its own?
    #[inline(always)]
    pub(crate) fn owes(&self) -> bool {
        match self {
            Transport::Plain(_) => false,
        }
    }

    /// Nothing more is written: a transport with an end of its own says it now, and owes that until
    /// it is out. Only then comes `shutdown_write`.
    #[inline(always)]
    pub(crate) fn announce_eof(&mut self) {
        match self {
            Transport::Plain(_) => {}
        }
    }

    /// What is held is lost, and what is owed with it.
    #[inline(always)]
    pub(crate) fn drop_held(&mut self) {
        match self {
            Transport::Plain(_) => {}
        }
    }
}

/// What concerns the socket alone.
impl Transport {
    #[inline(always)]
    fn stream(&self) -> &Stream {
        match self {
            Transport::Plain(stream) => stream,
        }
    }

    #[inline(always)]
    fn stream_mut(&mut self) -> &mut Stream {
        match self {
            Transport::Plain(stream) => stream,
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
