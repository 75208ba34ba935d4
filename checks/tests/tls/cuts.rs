//! TLS that is cut at every byte, of the handshake and of what follows, on either side: S1.

use crate::simulated::*;
use rustls::{ClientConfig, ServerConfig, ServerConnection};
use sockeye::Config;
use sockeye::sim::{Peer, World};
use std::io::{Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Both configurations, for all the worlds of a test: keys take long. Nothing is resumed, so that
/// every handshake has the same length.
#[derive(Clone)]
struct Both {
    client: ClientConfig,
    server: Arc<ServerConfig>,
}

impl Both {
    fn new() -> Both {
        let authority = Authority::new();
        let mut client = authority.client();
        client.resumption = rustls::client::Resumption::disabled();
        let server = Arc::new(authority.server());
        Both { client, server }
    }

    /// Runs this for each number, on all cores.
    fn each(&self, numbers: std::ops::Range<usize>, run: impl Fn(&Both, usize) + Sync) {
        let next = std::sync::atomic::AtomicUsize::new(numbers.start);
        let work = || {
            loop {
                let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if number >= numbers.end {
                    return;
                }
                run(self, number);
            }
        };
        thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    }
}

const WORDS: &[u8] = b"some words";

/// The end comes after so many bytes.
#[derive(Clone, Copy)]
struct Cut {
    left: usize,
}

impl Cut {
    /// Sends as much of this as there is to be sent. Answers whether that is all.
    fn send(&mut self, peer: &Peer, said: &[u8]) -> bool {
        let now = said.len().min(self.left);
        peer.send(&said[..now]);
        self.left -= now;
        now == said.len()
    }
}

fn end(world: &mut World, peer: &Peer, reset: bool) {
    match reset {
        true => peer.reset(),
        false => peer.shutdown(),
    }
    world.settle();
    world.advance(Duration::from_secs(60));
    if !reset {
        peer.close();
    }
    world.advance(Duration::from_secs(60));
    world.assert_no_leaks();
}

// S1: of a server's peer nobody hears who was not through; of the others an end that is none.
#[test]
fn an_end_or_a_reset_at_any_byte_of_a_client_is_told_as_what_it_is() {
    Both::new().each(0..1200, |both, number| {
        let (mut cut, reset) = (Cut { left: number / 2 }, number % 2 == 1);
        let mut world = World::new();
        let seen = server_with(&mut world, both.server.clone(), Config::default());
        let mut guest = Guest {
            peer: world.connect(ADDR),
            client: Client::new(both.client.clone()),
        };
        let mut opened = false;
        while cut.left > 0 {
            let mut said = guest.client.says();
            if said.is_empty() {
                assert!(!guest.client.session.is_handshaking(), "{number}");
                opened = true;
                said = guest.client.send(WORDS);
            }
            cut.send(&guest.peer, &said);
            world.settle();
            let heard = guest.peer.received_bytes();
            guest.client.hears(&heard).unwrap();
        }
        end(&mut world, &guest.peer, reset);
        let seen = seen.borrow();
        let told = seen.iter().any(|word| word.starts_with("open"));
        assert!(told || !opened, "{number} {seen:?}");
        assert!(!seen.iter().any(|word| word == "eof"), "{number} {seen:?}");
        let last = seen.last().cloned().unwrap_or_default();
        match (told, reset) {
            (false, _) => assert!(seen.is_empty(), "{number} {seen:?}"),
            (true, true) => assert_eq!(last, "close reset by peer", "{number}"),
            (true, false) => assert!(last.starts_with("close truncated"), "{number} {seen:?}"),
        }
    });
}

// S1: a client of ours always hears of it, for it has begun to connect.
#[test]
fn an_end_or_a_reset_at_any_byte_of_a_server_is_told_as_what_it_is() {
    Both::new().each(0..2000, |both, number| {
        let (mut cut, reset) = (Cut { left: number / 2 }, number % 2 == 1);
        let mut world = World::new();
        let listener = world.listen(ADDR);
        let sender = Sender::waiting();
        let node = connects(&mut world, "client", both.client.clone(), sender);
        world.settle();
        let peer = listener.accept().unwrap();
        let mut session = ServerConnection::new(both.server.clone()).unwrap();
        let (mut plain, mut was_cut) = (0, cut.left == 0);
        while !was_cut {
            let heard = peer.received_bytes();
            let mut bytes = &heard[..];
            while !bytes.is_empty() {
                session.read_tls(&mut bytes).unwrap();
                session.process_new_packets().unwrap();
                let _ = session.reader().read(&mut [0; 100]);
            }
            if !session.wants_write() {
                assert!(!session.is_handshaking(), "{number}");
                let words = [(plain / 3) as u8; 3];
                session.writer().write_all(&words).unwrap();
                plain += 3;
            }
            let mut said = Vec::new();
            while session.wants_write() {
                session.write_tls(&mut said).unwrap();
            }
            was_cut = !cut.send(&peer, &said) || cut.left == 0;
            world.settle();
        }
        end(&mut world, &peer, reset);
        let sender = world.app(node);
        let closed = sender.closed.clone().unwrap();
        assert!(sender.received <= plain, "{number}");
        match (sender.conn.is_some(), reset) {
            (_, true) => assert_eq!(closed, "reset by peer", "{number}"),
            (true, false) => assert!(closed.starts_with("truncated"), "{number} {closed}"),
            (false, false) => {
                assert!(
                    closed.starts_with("TLS: the peer has left"),
                    "{number} {closed}"
                );
            }
        }
    });
}

// S1: the handshake of both sides, some words and an end, with a pause behind any byte.
#[test]
fn two_pieces_are_one_wherever_they_are_split() {
    Both::new().each(1..700, |both, at| {
        let mut world = World::new();
        let seen = server_with(&mut world, both.server.clone(), Config::default());
        let mut guest = Guest {
            peer: world.connect(ADDR),
            client: Client::new(both.client.clone()),
        };
        let (mut sent, mut plain, mut asked) = (0, Vec::new(), false);
        loop {
            let mut said = guest.client.says();
            if said.is_empty() && !asked {
                asked = true;
                said = guest.client.send(WORDS);
                guest.client.session.send_close_notify();
                said.extend(guest.client.says());
            }
            let end = sent + said.len();
            let piece = match (sent..end).contains(&at) {
                true => at - sent,
                false => said.len(),
            };
            let (first, second) = said.split_at(piece);
            for piece in [first, second] {
                guest.peer.send(piece);
                world.settle();
            }
            sent = end;
            let heard = guest.peer.received_bytes();
            plain.extend(guest.client.hears(&heard).unwrap());
            if said.is_empty() {
                break;
            }
        }
        assert_eq!(plain, WORDS, "{at}");
        guest.peer.shutdown();
        world.settle();
        let seen = seen.borrow();
        let rest = &seen[seen.len() - 2..];
        assert_eq!(rest, ["eof", "close closed by peer"], "{at} {seen:?}");
        world.assert_no_leaks();
    });
}
