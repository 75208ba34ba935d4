//! A scripted peer: the other end of a connection, as a test plays it.

use crate::addr::{Addr, AnyAddr, Target};
use crate::backend::simnet::Owner;
use crate::backend::simnet::State;
use crate::backend::simnet::net::nanos;
use crate::backend::simnet::{SharedNet, SockId};
use crate::options::{Listen, SocketOptions};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The other end of a connection, played by a test. What it does takes effect in the world's next
/// `settle` or `advance`.
///
/// A peer that is dropped stays open, so that a test may forget those that it has no more to say
/// with: `close` ends one, and [`World::assert_no_leaks`](super::World::assert_no_leaks) wants that
/// or that the handler has closed.
pub struct Peer {
    net: SharedNet,
    id: SockId,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match () {
            () if self.net.lock().peer(self.id).was_refused() => "refused",
            () if self.was_reset() => "reset",
            () if self.is_open() => "open",
            () if self.is_connected() => "half open",
            () if self.net.lock().peer(self.id).state == State::Closed => "closed",
            () => "connecting",
        };
        write!(f, "Peer({} {state})", self.addr())
    }
}

impl Peer {
    #[track_caller]
    pub(super) fn connect(net: &SharedNet, host: IpAddr, addr: AnyAddr) -> Peer {
        let Target::Addr(addr) = addr.0 else {
            panic!(
                "{} is not an address: expected IP:PORT or unix:PATH",
                addr.0
            );
        };
        let options = SocketOptions {
            send_buffer: Some(usize::MAX),
            ..SocketOptions::default()
        };
        // That a Unix path has no listener shows in the peer, as with any other address.
        let (id, _) = net.lock().begin_connect(Owner::Peer, host, &addr, &options);
        // As a blocking connect(2): if nothing takes time on the way, it is through now.
        net.lock().deliver_due();
        Peer {
            net: net.clone(),
            id,
        }
    }

    /// The peer's address, as the handler's `on_accept` sees it.
    pub fn addr(&self) -> Addr {
        self.net.lock().local_addr(self.id)
    }

    /// The address of the other end.
    pub fn peer_addr(&self) -> Option<Addr> {
        let mut net = self.net.lock();
        let other = net.peer(self.id).other?;
        Some(net.local_addr(other))
    }

    /// What its side of the connection holds unread, before the other side has to wait; 64 KiB
    /// unless you say so.
    pub fn receive_buffer(&self, bytes: usize) {
        self.net.lock().peer(self.id).inbox_limit = bytes.max(1);
    }

    /// Sends. There is no limit to what waits on this side. To a connection that the other side has
    /// reset nothing is sent, as on a real network.
    ///
    /// # Panics
    ///
    /// When this peer has closed or shut its writing side, or its connect was refused: then the
    /// test is wrong.
    #[track_caller]
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.check_sends();
        self.net.lock().peer_send(self.id, bytes.as_ref());
    }

    #[track_caller]
    fn check_sends(&self) {
        let mut net = self.net.lock();
        let socket = net.peer(self.id);
        let wrong = match (socket.state, socket.shut, socket.was_refused()) {
            (.., true) => Some("its connect was refused: nobody listens there"),
            (State::Closed, ..) => Some("this peer has closed"),
            (_, true, _) => Some("this peer has shut its writing side"),
            _ => None,
        };
        drop(net);
        if let Some(wrong) = wrong {
            panic!("{self:?} cannot send: {wrong}");
        }
    }

    /// What has come since the last time, as text. The beginning of a character waits for its end,
    /// as long as more may come.
    pub fn received(&self) -> String {
        let mut bytes = self.received_bytes();
        let mut net = self.net.lock();
        let socket = net.peer(self.id);
        if !socket.is_at_eof() {
            socket.heard = bytes.split_off(bytes.len() - begun_character(&bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What has come since the last time.
    pub fn received_bytes(&self) -> Vec<u8> {
        std::mem::take(&mut self.net.lock().peer(self.id).heard)
    }

    /// Reads no more, until `hear`: the other side meets backpressure.
    pub fn ignore(&self) {
        self.net.lock().peer_deaf(self.id, true);
    }

    /// Reads again, first what has come meanwhile.
    pub fn hear(&self) {
        self.net.lock().peer_deaf(self.id, false);
    }

    /// Reads so many bytes, for peers that otherwise ignore what comes.
    pub fn read(&self, count: usize) {
        self.net.lock().peer_read(self.id, count);
    }

    /// Reads at this pace from now on, until `hear` or `ignore`: slowly, but all the time.
    pub fn hear_at(&self, pace: Pace) {
        self.net.lock().peer_hears_at(self.id, Some(pace.ticks()));
    }

    /// Sends at this pace, the first piece when the first time is over. What else it sends comes
    /// after that; if it shuts its writing side or closes earlier, what is
    /// left goes at once.
    ///
    /// # Panics
    ///
    /// As `send` does.
    #[track_caller]
    pub fn send_at(&self, bytes: impl AsRef<[u8]>, pace: Pace) {
        self.check_sends();
        let mut net = self.net.lock();
        net.peer_drips(self.id, bytes.as_ref(), pace.ticks());
    }

    /// Sends at once what it is still to send at a pace.
    pub fn hurry(&self) {
        self.net.lock().peer_hurries(self.id);
    }

    /// Sends no more: FIN after the last byte.
    pub fn shutdown(&self) {
        // It fails only when the connection is gone, which `is_closed` tells.
        let _ = self.net.lock().shutdown_write(self.id);
    }

    /// Closes; with unread bytes, that is a reset.
    pub fn close(&self) {
        self.net.lock().close(self.id);
    }

    /// Resets.
    pub fn reset(&self) {
        let mut net = self.net.lock();
        net.reset_on_close(self.id);
        net.close(self.id);
    }

    /// Is the peer through: accepted into the other side's backlog at least?
    pub fn is_connected(&self) -> bool {
        self.net.lock().peer(self.id).state == State::Open
    }

    /// Is the peer connected, and neither side has closed or reset?
    pub fn is_open(&self) -> bool {
        self.net.lock().peer(self.id).is_open()
    }

    /// Does the other side send no more, or is the connection gone?
    pub fn is_closed(&self) -> bool {
        self.net.lock().peer(self.id).is_at_eof()
    }

    /// Was the peer reset or refused?
    pub fn was_reset(&self) -> bool {
        let mut net = self.net.lock();
        let socket = net.peer(self.id);
        socket.dead && socket.error.is_some()
    }

    /// Bytes sent that the other side has not made room for yet, or whose time has not come.
    pub fn unsent(&self) -> usize {
        let mut net = self.net.lock();
        let socket = net.peer(self.id);
        socket.outbox.len() + socket.drip.len()
    }

    /// What the other side has done with this connection: the truth that a test may hold its
    /// timeouts against. `None`: there is no other side yet.
    pub fn traffic(&self) -> Option<Traffic> {
        let mut net = self.net.lock();
        let other = net.peer(self.id).other?;
        let unsent = net.peer(self.id).outbox.len() + net.peer(self.id).drip.len();
        let socket = net.peer(other);
        let (waiting, incoming, times) = (socket.inbox.len(), socket.incoming, socket.times);
        let at = |tick: Option<u64>| tick.map(|tick| net.at(tick));
        Some(Traffic {
            unread: unsent + incoming + waiting,
            waiting,
            arrived: at(times.arrived),
            read: at(times.read),
            read_tried: at(times.read_tried),
            written: at(times.written),
            write_tried: at(times.write_tried),
        })
    }
}

/// How fast a peer reads or sends: so many bytes, each time so long after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    bytes: usize,
    every: Duration,
}

impl Pace {
    /// So many bytes (at least one) each time that `every` is over.
    pub fn new(bytes: usize, every: Duration) -> Pace {
        let bytes = bytes.max(1);
        Pace { bytes, every }
    }

    fn ticks(self) -> (usize, u64) {
        (self.bytes, nanos(self.every).max(1))
    }
}

/// What the other side has done with the connection of a [`Peer`], and when it last did.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Traffic {
    /// Bytes that this peer has sent and the other side has not read, wherever they are.
    pub unread: usize,
    /// Those of them that have arrived.
    pub waiting: usize,
    /// When bytes of this peer last arrived.
    pub arrived: Option<Instant>,
    /// When the other side last read some.
    pub read: Option<Instant>,
    /// When it last tried to.
    pub read_tried: Option<Instant>,
    /// When its system last took bytes from it.
    pub written: Option<Instant>,
    /// When it last tried to write.
    pub write_tried: Option<Instant>,
}

/// How many bytes at the end are the beginning of a character.
fn begun_character(mut bytes: &[u8]) -> usize {
    while let Err(error) = std::str::from_utf8(bytes) {
        let tail = &bytes[error.valid_up_to()..];
        match error.error_len() {
            None => return tail.len(),
            Some(wrong) => bytes = &tail[wrong..],
        }
    }
    0
}

/// A scripted server: what a handler connects to.
#[derive(Debug)]
pub struct PeerListener {
    net: SharedNet,
    key: Addr,
    addr: Addr,
}

impl PeerListener {
    #[track_caller]
    pub(super) fn listen(net: &SharedNet, host: IpAddr, listen: &Listen) -> PeerListener {
        match net.lock().peer_listen(host, listen) {
            Ok((key, addr)) => PeerListener {
                net: net.clone(),
                key,
                addr,
            },
            Err(error) => panic!("a peer cannot listen on {}: {error}", listen.target),
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> &Addr {
        &self.addr
    }

    /// Accepts who waits longest. `None`: nobody does.
    pub fn accept(&self) -> Option<Peer> {
        let id = self.net.lock().peer_accept(&self.key)?;
        Some(Peer {
            net: self.net.clone(),
            id,
        })
    }
}

/// The peer listens no more; who waits is reset.
impl Drop for PeerListener {
    fn drop(&mut self) {
        self.net.lock().unlisten(&self.key);
    }
}
