//! One end of a connection, as the kernel has it.

use super::super::Source;
use crate::addr::Addr;
use crate::readiness::Readiness;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::IpAddr;

/// An end of a connection, for ever: it is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SockId(pub(crate) usize);

/// Who has this end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A reactor, and what it is registered for, once it is.
    Reactor(usize, Option<Source>),
    /// A scripted peer.
    Peer,
    /// In a backlog.
    Nobody,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    Open,
    /// The application has closed it; its bytes may still be on their way.
    Closed,
}

pub(crate) struct Socket {
    pub(crate) owner: Owner,
    pub(crate) state: State,
    pub(crate) local: Addr,
    pub(crate) host: IpAddr,
    /// The other end, once there is one.
    pub(crate) other: Option<SockId>,
    /// What is written differs from run to run: the length of it is noted, and no more.
    pub(crate) is_sealed: bool,
    /// Received, not yet read.
    pub(crate) inbox: VecDeque<u8>,
    pub(crate) inbox_limit: usize,
    /// On their way to this inbox: room is kept for them.
    pub(crate) incoming: usize,
    /// Written, not yet sent.
    pub(crate) outbox: VecDeque<u8>,
    pub(crate) outbox_limit: usize,
    /// With use that grows to this much.
    pub(crate) outbox_most: usize,
    /// The writing side is shut: FIN follows the outbox.
    pub(crate) shut: bool,
    pub(crate) fin_sent: bool,
    pub(crate) fin_received: bool,
    /// `SO_ERROR`: whoever asks first gets it.
    pub(crate) error: Option<ErrorKind>,
    /// Reset: reads end, writes fail.
    pub(crate) dead: bool,
    /// A write found the outbox full: an edge is due when there is room.
    pub(crate) starved: bool,
    pub(crate) reset_on_close: bool,
    pub(crate) proof: bool,
    /// On its poller's list of edges.
    pub(crate) edge: bool,
    /// The edge was late once.
    pub(crate) late: bool,
    /// When the last of its bytes arrives: later ones do not overtake.
    pub(crate) last_arrival: u64,
    /// A scripted peer that does not read.
    pub(crate) deaf: bool,
    /// A scripted peer that will read later.
    pub(crate) slow: bool,
    /// What a scripted peer has received.
    pub(crate) heard: Vec<u8>,
    /// A scripted peer reads so many bytes at a time, and how long that takes.
    pub(crate) hears_at: Option<(usize, u64)>,
    /// What a scripted peer is still to send, so many bytes at a time.
    pub(crate) drip: VecDeque<u8>,
    pub(crate) drips_at: (usize, u64),
    pub(crate) times: Times,
}

/// When something last happened to a socket.
#[derive(Clone, Copy, Default)]
pub(crate) struct Times {
    /// Bytes arrived.
    pub(crate) arrived: Option<u64>,
    /// The program read bytes, or tried to.
    pub(crate) read: Option<u64>,
    pub(crate) read_tried: Option<u64>,
    /// The program wrote bytes, or tried to.
    pub(crate) written: Option<u64>,
    pub(crate) write_tried: Option<u64>,
}

/// What the kernel's buffers hold at first, unless the options say otherwise.
pub(super) const BUFFER: usize = 64 * 1024;

impl Socket {
    pub(crate) fn new(owner: Owner, local: Addr, host: IpAddr) -> Socket {
        Socket {
            owner,
            state: State::Connecting,
            local,
            host,
            other: None,
            inbox: VecDeque::new(),
            inbox_limit: BUFFER,
            incoming: 0,
            outbox: VecDeque::new(),
            outbox_limit: BUFFER,
            outbox_most: BUFFER,
            shut: false,
            fin_sent: false,
            fin_received: false,
            error: None,
            dead: false,
            is_sealed: false,
            starved: false,
            reset_on_close: false,
            proof: true,
            edge: false,
            late: false,
            last_arrival: 0,
            deaf: false,
            slow: false,
            heard: Vec::new(),
            hears_at: None,
            drip: VecDeque::new(),
            drips_at: (1, 1),
            times: Times::default(),
        }
    }

    pub(crate) fn is_unix(&self) -> bool {
        matches!(self.local, Addr::Unix(_))
    }

    /// Room in the inbox that nothing on its way will take.
    pub(crate) fn window(&self) -> usize {
        self.inbox_limit
            .saturating_sub(self.inbox.len() + self.incoming)
    }

    pub(crate) fn room(&self) -> usize {
        self.outbox_limit.saturating_sub(self.outbox.len())
    }

    /// Is there so much room that the system calls it writable? A write takes what there is room
    /// for, however little: sk_stream_memory_free() and sk_stream_is_writeable() in sock.h,
    /// unix_writable() in af_unix.c.
    pub(crate) fn is_roomy(&self) -> bool {
        let used = self.outbox.len();
        match self.is_unix() {
            true => used <= self.outbox_limit / 4,
            false => self.room() >= used.div_ceil(2),
        }
    }

    /// The other end has taken so many bytes: the buffer grows, as Linux's does while the window of
    /// congestion opens (tcp_sndbuf_expand()).
    pub(crate) fn expand(&mut self, bytes: usize) {
        if !self.is_unix() {
            let more = self.outbox_limit.saturating_add(bytes);
            self.outbox_limit = more.min(self.outbox_most);
        }
    }

    /// Connected, and nobody has sent a FIN or a reset?
    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open && !self.dead && !self.fin_received && !self.shut
    }

    /// The other side sends no more, and a scripted peer that reads has read all before that.
    pub(crate) fn is_at_eof(&self) -> bool {
        let unread = self.slow && !self.deaf && !self.inbox.is_empty();
        self.dead || (self.fin_received && !unread)
    }

    /// A connecting end was told that nobody listens there.
    pub(crate) fn was_refused(&self) -> bool {
        self.error == Some(ErrorKind::ConnectionRefused)
    }

    /// What poll(2) would say now.
    pub(crate) fn readiness(&self) -> Readiness {
        if self.state == State::Connecting && self.error.is_none() {
            return Readiness::default();
        }
        let over = self.dead || self.error.is_some();
        Readiness::READABLE.when(!self.inbox.is_empty() || self.fin_received || over)
            | Readiness::WRITABLE.when(self.is_roomy() || over || self.shut)
            | Readiness::ERROR.when(self.error.is_some())
            | Readiness::HANG_UP.when(self.fin_received || over)
    }
}
