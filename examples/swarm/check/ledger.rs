//! Who has sent what to whom: the truth that every received byte is held against.

use sockeye::Addr;
use sockeye::sim::Peer;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Which end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// One end of a connection, for the ledger.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub wire: usize,
    pub side: Side,
}

/// One end, and what it has put into the connection.
#[derive(Default)]
pub struct Half {
    /// Bytes that were accepted for sending, in order.
    pub sent: Vec<u8>,
    /// How many the other end has been offered so far.
    pub seen: usize,
    /// It has said that it sends no more.
    pub finished: bool,
    /// A handler or a peer knows of this end.
    pub known: bool,
    /// It is open as far as it knows itself, and means to go on.
    pub live: bool,
    /// It has not always read what came.
    pub held: bool,
    /// It has closed well, and the other end is owed all that it has sent.
    pub owed: bool,
    /// It has said its end in TLS, where nothing may be missing before it.
    pub said: bool,
    /// It has ended without that word, and so the other end closes.
    pub rude: bool,
    /// It was told that the other end has not.
    pub cut_off: bool,
    /// It has reset the connection.
    pub reset_at: Option<Instant>,
    /// The scripted peer that plays it.
    pub peer: Option<Rc<Peer>>,
}

#[derive(Default)]
struct Wire {
    client: Half,
    server: Half,
}

/// All connections of a world; the client's address names each.
#[derive(Default)]
pub struct Ledger {
    wires: Vec<Wire>,
    names: BTreeMap<Addr, usize>,
    /// Messages posted to each node from callbacks, in order; and those from outside, which come
    /// between them somewhere.
    pub posted: Vec<VecDeque<u64>>,
    pub posted_outside: Vec<VecDeque<u64>>,
    pub messages: u64,
    /// A link was cut some time.
    pub cut: bool,
    /// When each callback that took long has returned, and how long it took: the clock is one, so
    /// everybody is late by that.
    pub slow: Vec<(Instant, Duration)>,
}

pub type Shared = Rc<RefCell<Ledger>>;

impl Ledger {
    /// The connection of this client.
    pub fn end(&mut self, client: &Addr, side: Side) -> End {
        let wire = *self.names.entry(client.clone()).or_insert_with(|| {
            self.wires.push(Wire::default());
            self.wires.len() - 1
        });
        let end = End { wire, side };
        let half = self.half(end);
        assert!(!half.known, "{side:?} end of {client} is there twice");
        half.known = true;
        end
    }

    pub fn half(&mut self, end: End) -> &mut Half {
        let wire = &mut self.wires[end.wire];
        match end.side {
            Side::Client => &mut wire.client,
            Side::Server => &mut wire.server,
        }
    }

    /// The other end.
    pub fn other(&mut self, end: End) -> &mut Half {
        self.half(End {
            side: end.side.other(),
            ..end
        })
    }

    pub fn sent(&mut self, end: End, bytes: &[u8]) {
        self.half(end).sent.extend_from_slice(bytes);
    }

    /// This end is offered `bytes`, which come `at` bytes after the beginning.
    pub fn heard(&mut self, end: End, at: usize, bytes: &[u8]) {
        let from = self.other(end);
        let len = bytes.len();
        let sent = from.sent.get(at..at + len);
        let known = from.sent.len();
        let Some(sent) = sent else {
            panic!("{end:?}: {len} bytes at {at}, but only {known} were sent");
        };
        if sent != bytes {
            let wrong = (0..len).find(|i| sent[*i] != bytes[*i]).unwrap_or(0);
            panic!("{end:?}: wrong byte at {} of {known}", at + wrong);
        }
        from.seen = from.seen.max(at + len);
    }

    /// The scripted peer at the other end, as long as it means to go on.
    pub fn peer_of(&mut self, end: End) -> Option<Rc<Peer>> {
        let other = self.other(end);
        other.peer.clone().filter(|_| other.live)
    }

    /// Who closed well has been heard out.
    pub fn all_paid(&self) {
        for (number, wire) in self.wires.iter().enumerate() {
            for (half, side) in [(&wire.client, Side::Client), (&wire.server, Side::Server)] {
                let (seen, sent) = (half.seen, half.sent.len());
                assert!(
                    !half.owed || seen == sent,
                    "connection {number}: the {side:?} has closed, and only {seen} of {sent} \
                     bytes have arrived"
                );
            }
        }
    }

    /// This end was given up because the other took nothing: could it not, or would it not?
    pub fn given_up(&mut self, end: End) {
        let fair = self.cut;
        let other = self.other(end);
        assert!(
            fair || other.held || !other.live,
            "{end:?}: given up, though the other end always reads"
        );
    }

    /// This end was told that the other sends no more.
    pub fn ended(&mut self, end: End) {
        let rude = self.half(end).rude;
        let from = self.other(end);
        let (seen, sent) = (from.seen, from.sent.len());
        assert!(seen == sent, "{end:?}: an end after {seen} of {sent} bytes");
        // An end that nobody was told of was refused.
        assert!(
            from.finished || !from.known || rude,
            "{end:?}: an end that nobody made"
        );
    }

    /// This end has said its end, as TLS has a word for it.
    pub fn said(&mut self, end: End) {
        self.half(end).said = true;
        self.nobody_is_misled(end);
    }

    /// This end was told that the other one has not.
    pub fn cut_off(&mut self, end: End) {
        self.half(end).cut_off = true;
        let other = End {
            side: end.side.other(),
            ..end
        };
        self.nobody_is_misled(other);
    }

    fn nobody_is_misled(&mut self, end: End) {
        let (said, cut_off) = (self.half(end).said, self.other(end).cut_off);
        assert!(
            !(said && cut_off),
            "{end:?}: it has said its end, and the other is told that it has not"
        );
    }

    /// Nothing moves any more: between two ends that mean to go on, all has arrived.
    pub fn settled(&mut self) {
        for (number, wire) in self.wires.iter().enumerate() {
            let both = wire.client.live && wire.server.live;
            for (half, side) in [(&wire.client, Side::Client), (&wire.server, Side::Server)] {
                let (seen, sent) = (half.seen, half.sent.len());
                assert!(
                    !both || seen == sent,
                    "connection {number}: {seen} of {sent} bytes of the {side:?} have arrived, \
                     and nothing moves"
                );
            }
        }
    }

    /// A message has come: it is the next of its kind.
    pub fn message(&mut self, node: usize, id: u64) {
        for posted in [&mut self.posted[node], &mut self.posted_outside[node]] {
            if posted.front() == Some(&id) {
                posted.pop_front();
                return;
            }
        }
        panic!("message {id} out of order");
    }

    pub fn connections(&self) -> usize {
        let whole = |wire: &&Wire| wire.client.known && wire.server.known;
        self.wires.iter().filter(whole).count()
    }
}
