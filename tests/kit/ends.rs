//! Who a scenario talks to: the other ends of its connections.

use super::real_peer::RealPeer;
use socket2::Socket;
use sockeye::{Addr, sim};
use std::cell::{Cell, RefCell};
use std::net::TcpListener;
use std::rc::Rc;

/// A scripted server.
pub enum Server {
    Real(TcpListener),
    Unix(Socket, Addr),
    Sim(sim::PeerListener),
}

impl Server {
    pub fn addr(&self) -> Addr {
        match self {
            Server::Real(listener) => Addr::Ip(listener.local_addr().unwrap()),
            Server::Unix(_, addr) => addr.clone(),
            Server::Sim(listener) => listener.addr().clone(),
        }
    }
}

/// A Unix one leaves its file; no test finds it there.
impl Drop for Server {
    fn drop(&mut self) {
        if let Server::Unix(_, addr) = self {
            let _ = std::fs::remove_file(addr.path().unwrap());
        }
    }
}

/// The other end of a connection. It reads at once whatever comes, and what it sends waits on its
/// side for as long as it must.
#[derive(Clone)]
pub struct Peer {
    end: End,
    heard: Rc<RefCell<Vec<u8>>>,
    finished: Rc<Cell<bool>>,
}

/// What a peer is, on either edge.
#[derive(Clone)]
pub enum End {
    Real(Rc<RefCell<RealPeer>>),
    Sim(Rc<sim::Peer>),
}

macro_rules! either {
    ($self:ident, $peer:ident => $what:expr) => {
        match &$self.end {
            End::Real($peer) => {
                #[allow(unused_mut, reason = "some ask, some act")]
                let mut $peer = $peer.borrow_mut();
                $what
            }
            End::Sim($peer) => $what,
        }
    };
}

impl Peer {
    pub fn new(end: End) -> Peer {
        Peer {
            end,
            heard: Rc::default(),
            finished: Rc::default(),
        }
    }

    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        // A wrong use on the simulated network; on a real one it is an error that nobody looks at.
        if !self.finished.get() && !self.was_reset() {
            either!(self, peer => peer.send(bytes.as_ref()));
        }
    }

    pub fn shutdown(&self) {
        self.finished.set(true);
        either!(self, peer => peer.shutdown());
    }

    pub fn close(&self) {
        self.finished.set(true);
        either!(self, peer => peer.close());
    }

    pub fn reset(&self) {
        self.finished.set(true);
        either!(self, peer => peer.reset());
    }

    /// Reads no more, until `hear`.
    pub fn ignore(&self) {
        either!(self, peer => peer.ignore());
    }

    pub fn hear(&self) {
        either!(self, peer => peer.hear());
    }

    pub fn is_closed(&self) -> bool {
        either!(self, peer => peer.is_closed())
    }

    pub fn was_reset(&self) -> bool {
        either!(self, peer => peer.was_reset())
    }

    /// Bytes that wait on this side: none of them has been offered to the other one.
    pub fn unsent(&self) -> usize {
        either!(self, peer => peer.unsent())
    }

    /// How many bytes it has received so far.
    pub fn count(&self) -> usize {
        let new = either!(self, peer => peer.received_bytes());
        let mut heard = self.heard.borrow_mut();
        heard.extend(new);
        heard.len()
    }

    /// All bytes it has received so far.
    pub fn received(&self) -> Vec<u8> {
        self.count();
        self.heard.borrow().clone()
    }
}
