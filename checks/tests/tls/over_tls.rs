//! The scenarios of `tests/scenarios` by TLS: their listeners have it, and so have their peers,
//! which are clients by rustls without a socket.

use crate::authority::{Authority, name};
use crate::kit::layer::{Layer, Session};
use rustls::{ClientConfig, ClientConnection, ServerConfig};
use sockeye::Listen;
use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// The layer that a scenario gets.
pub(crate) fn tls() -> Box<dyn Layer> {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    let authority = AUTHORITY.get_or_init(Authority::new);
    Box::new(Tls {
        server: Arc::new(authority.server()),
        client: Arc::new(authority.client()),
    })
}

impl Layer for Tls {
    fn listens(&self, listen: Listen) -> Listen {
        listen.tls(self.server.clone())
    }

    fn session(&self) -> Box<dyn Session> {
        let mut session = ClientConnection::new(self.client.clone(), name()).unwrap();
        // It waits on the peer's side for as long as it must.
        session.set_buffer_limit(None);
        Box::new(Client {
            session,
            ended: false,
        })
    }
}

struct Client {
    session: ClientConnection,
    ended: bool,
}

impl Session for Client {
    fn is_ready(&self) -> bool {
        !self.session.is_handshaking()
    }

    fn send(&mut self, plain: &[u8]) {
        self.session.writer().write_all(plain).unwrap();
    }

    fn end(&mut self) {
        self.session.send_close_notify();
    }

    fn says(&mut self) -> Vec<u8> {
        let mut said = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut said).unwrap();
        }
        said
    }

    fn hears(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        while !bytes.is_empty() {
            self.session.read_tls(&mut bytes).unwrap();
            let state = self.session.process_new_packets().unwrap();
            self.ended |= state.peer_has_closed();
            // It ends with `WouldBlock`: more may come.
            let _ = self.session.reader().read_to_end(&mut plain);
        }
        plain
    }

    fn has_ended(&self) -> bool {
        self.ended
    }
}

/// Three tests for each scenario that runs on every edge.
macro_rules! on_every_edge {
    ($($name:ident,)*) => {$(
        mod $name {
            use crate::kit::edge::On;
            use crate::over_tls::tls;

            #[test]
            fn on_real_sockets_by_tls() {
                super::$name(On::RealUnder(tls));
            }

            #[test]
            fn on_the_simulated_network_by_tls() {
                super::$name(On::SimUnder(tls));
            }

            #[test]
            fn on_the_simulated_network_with_faults_by_tls() {
                for seed in 0..2 {
                    super::$name(On::FaultyUnder(seed, tls));
                }
            }
        }
    )*};
}

/// What is about one kind of socket only, or connects itself, does not run here.
macro_rules! on_both_edges {
    ($($name:ident,)*) => {
        const _: &[fn(crate::kit::edge::On)] = &[$($name),*];
    };
}

pub(crate) use {on_both_edges, on_every_edge};
