//! A layer between the peers of a scenario and its handler: TLS, where a shelf has certificates.
//!
//! The kit knows none by itself. A session says and hears what goes over the connection; what the
//! peer is told to do meanwhile waits until its handshake is over.

use sockeye::Listen;
use std::fmt;

/// What lies between the handler and all peers of an edge.
pub trait Layer {
    /// A listener whose connections have it.
    fn listens(&self, listen: Listen) -> Listen;

    /// The peer's side of a connection.
    fn session(&self) -> Box<dyn Session>;
}

/// Makes a layer.
pub type MakeLayer = fn() -> Box<dyn Layer>;

/// The peer's side of one connection.
pub trait Session {
    /// Is the handshake over?
    fn is_ready(&self) -> bool;
    fn send(&mut self, plain: &[u8]);
    /// Says that nothing follows.
    fn end(&mut self);
    /// What is to be sent now.
    fn says(&mut self) -> Vec<u8>;
    /// What has come; gives the plaintext in it.
    fn hears(&mut self, bytes: &[u8]) -> Vec<u8>;
    /// Has the other side said that nothing follows?
    fn has_ended(&self) -> bool;
}

/// What a peer is to do when its handshake is over, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Ignore,
    Shutdown,
    Close,
    Reset,
}

/// A session, and what waits for its handshake.
pub struct Under {
    pub session: Box<dyn Session>,
    pub plain: Vec<u8>,
    pub acts: Vec<Act>,
    /// Nothing can be sent any more.
    pub done: bool,
}

impl Under {
    pub fn new(session: Box<dyn Session>) -> Under {
        Under {
            session,
            plain: Vec::new(),
            acts: Vec::new(),
            done: false,
        }
    }
}

impl fmt::Debug for Under {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Under({} bytes, {:?})", self.plain.len(), self.acts)
    }
}
