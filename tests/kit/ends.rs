//! Who a scenario talks to: the other ends of its connections.

use super::layer::{Act, Session, Under};
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
    /// A session on it, which moves when it is pumped.
    under: Option<Rc<RefCell<Under>>>,
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
    pub fn new(end: End, session: Option<Box<dyn Session>>) -> Peer {
        let under = session.map(|session| Rc::new(RefCell::new(Under::new(session))));
        let peer = Peer {
            end,
            under,
            heard: Rc::default(),
            finished: Rc::default(),
        };
        peer.pump();
        peer
    }

    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        // A wrong use on the simulated network; on a real one it is an error that nobody looks at.
        if self.finished.get() || self.was_reset() {
            return;
        }
        match &self.under {
            None => either!(self, peer => peer.send(bytes.as_ref())),
            Some(under) => {
                under.borrow_mut().plain.extend(bytes.as_ref());
                self.pump();
            }
        }
    }

    pub fn shutdown(&self) {
        self.finished.set(true);
        self.act(Act::Shutdown);
    }

    pub fn close(&self) {
        self.finished.set(true);
        self.act(Act::Close);
    }

    pub fn reset(&self) {
        self.finished.set(true);
        self.act(Act::Reset);
    }

    /// Reads no more, until `hear`.
    pub fn ignore(&self) {
        self.act(Act::Ignore);
    }

    pub fn hear(&self) {
        if let Some(under) = &self.under {
            under.borrow_mut().acts.retain(|act| *act != Act::Ignore);
        }
        either!(self, peer => peer.hear());
        self.pump();
    }

    fn act(&self, act: Act) {
        match &self.under {
            None => self.act_now(act),
            Some(under) => {
                under.borrow_mut().acts.push(act);
                self.pump();
            }
        }
    }

    fn act_now(&self, act: Act) {
        match act {
            Act::Ignore => either!(self, peer => peer.ignore()),
            Act::Shutdown => either!(self, peer => peer.shutdown()),
            Act::Close => either!(self, peer => peer.close()),
            Act::Reset => either!(self, peer => peer.reset()),
        }
    }

    /// Lets its session go on, if it has one. Answers whether something moved.
    pub fn pump(&self) -> bool {
        let Some(under) = &self.under else {
            return false;
        };
        let under = &mut *under.borrow_mut();
        let mut moved = false;
        loop {
            let bytes = either!(self, peer => peer.received_bytes());
            let plain = under.session.hears(&bytes);
            self.heard.borrow_mut().extend(plain);
            let mut goes_on = !bytes.is_empty();
            if under.session.is_ready() && !under.plain.is_empty() {
                under.session.send(&std::mem::take(&mut under.plain));
            }
            goes_on |= self.say(under);
            if under.session.is_ready() && !under.acts.is_empty() {
                let act = under.acts.remove(0);
                if matches!(act, Act::Shutdown | Act::Close) {
                    under.session.end();
                    self.say(under);
                }
                under.done |= act != Act::Ignore;
                self.act_now(act);
                goes_on = true;
            }
            if !goes_on {
                return moved;
            }
            moved = true;
        }
    }

    fn say(&self, under: &mut Under) -> bool {
        let said = under.session.says();
        if !said.is_empty() && !under.done && !self.was_reset() {
            either!(self, peer => peer.send(&said[..]));
        }
        !said.is_empty()
    }

    pub fn is_closed(&self) -> bool {
        let ended = |under: &Rc<RefCell<Under>>| under.borrow().session.has_ended();
        self.under.as_ref().is_some_and(ended) || either!(self, peer => peer.is_closed())
    }

    pub fn was_reset(&self) -> bool {
        either!(self, peer => peer.was_reset())
    }

    /// Bytes that wait on this side: none of them has been offered to the other one.
    pub fn unsent(&self) -> usize {
        let waits = |under: &Rc<RefCell<Under>>| under.borrow().plain.len();
        self.under.as_ref().map_or(0, waits) + either!(self, peer => peer.unsent())
    }

    /// How many bytes it has received so far.
    pub fn count(&self) -> usize {
        if self.under.is_none() {
            let new = either!(self, peer => peer.received_bytes());
            self.heard.borrow_mut().extend(new);
        }
        self.heard.borrow().len()
    }

    /// All bytes it has received so far.
    pub fn received(&self) -> Vec<u8> {
        self.count();
        self.heard.borrow().clone()
    }
}
