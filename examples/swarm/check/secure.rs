//! TLS in the swarm (feature `tls`; without it nobody speaks it). Which connections have it is
//! drawn apart, so that a seed is the same without it.
//!
//! What goes over the wire differs from run to run, for the provider draws its randomness from the
//! system. How much, and when, does not: one group, signatures of one length, a clock that stands.

#[cfg(feature = "tls")]
pub use real::{Secure, Session};
#[cfg(not(feature = "tls"))]
pub use stub::{Secure, Session};

/// Where a node listens with TLS, beside 7000.
pub const PORT: u16 = 7443;

#[cfg(not(feature = "tls"))]
mod stub {
    use sockeye::{Config, Connect, Listen};

    /// Nobody has it.
    pub enum Secure {}

    pub enum Session {}

    impl Secure {
        pub fn new(_: u64) -> Option<Secure> {
            None
        }

        pub fn of_node(&self, _: usize) -> Secure {
            match *self {}
        }

        pub fn config(&mut self, _: &mut Config, _: bool) {
            match *self {}
        }

        pub fn drawn(&mut self) -> Option<&mut Secure> {
            match *self {}
        }

        pub fn listen(&self, _: Listen) -> Listen {
            match *self {}
        }

        pub fn connect(&self, _: Connect) -> Connect {
            match *self {}
        }

        pub fn session(&mut self) -> Session {
            match *self {}
        }
    }

    impl Session {
        pub fn says(&mut self) -> Vec<u8> {
            match *self {}
        }

        pub fn sends(&mut self, _: &[u8]) {
            match *self {}
        }

        pub fn hears(&mut self, _: &[u8]) -> Vec<u8> {
            match *self {}
        }

        pub fn ends(&mut self, _: bool) -> bool {
            match *self {}
        }

        pub fn has_ended(&self) -> bool {
            match *self {}
        }
    }
}

#[cfg(feature = "tls")]
mod real {
    use super::super::random::Random;
    use rustls::crypto::{CryptoProvider, ring};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
    use rustls::time_provider::TimeProvider;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
    use sockeye::{Config, Connect, Listen};
    use std::io::{Read, Write};
    use std::sync::Arc;
    use std::time::Duration;

    /// A certificate that signs itself, and its key: for nobody but the nodes of a swarm.
    const PEM: &[u8] = include_bytes!("node.pem");

    /// Early in 2027.
    #[derive(Debug)]
    struct Standing;

    impl TimeProvider for Standing {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(Duration::from_secs(
                1_800_000_000,
            )))
        }
    }

    /// Who has TLS, and how. Sessions of one node, or of all peers, may be resumed.
    pub struct Secure {
        random: Random,
        percent: usize,
        server: Arc<ServerConfig>,
        client: Arc<ClientConfig>,
    }

    fn provider() -> Arc<CryptoProvider> {
        Arc::new(CryptoProvider {
            kx_groups: vec![ring::kx_group::X25519],
            ..ring::default_provider()
        })
    }

    fn name() -> ServerName<'static> {
        ServerName::try_from("node").expect("a name")
    }

    fn server(chain: Vec<CertificateDer<'static>>) -> Result<ServerConfig, rustls::Error> {
        let key = PrivateKeyDer::from_pem_slice(PEM).expect("a key");
        ServerConfig::builder_with_details(provider(), Arc::new(Standing))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)
    }

    fn client(chain: &[CertificateDer<'static>], old: bool) -> Result<ClientConfig, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for root in chain {
            roots.add(root.clone())?;
        }
        let versions: &[_] = match old {
            true => &[&rustls::version::TLS12],
            false => &[&rustls::version::TLS13],
        };
        Ok(
            ClientConfig::builder_with_details(provider(), Arc::new(Standing))
                .with_protocol_versions(versions)?
                .with_root_certificates(roots)
                .with_no_client_auth(),
        )
    }

    impl Secure {
        /// `None`: nobody here has it.
        pub fn new(seed: u64) -> Option<Secure> {
            let mut random = Random::new(seed.rotate_left(16) ^ 0x71_55e1);
            let percent = *random.pick(&[0, 30, 60, 100]);
            if percent == 0 {
                return None;
            }
            let chain = CertificateDer::pem_slice_iter(PEM).collect::<Result<Vec<_>, _>>();
            let chain = chain.expect("certificates");
            let client = client(&chain, random.percent(20)).expect("a client");
            Some(Secure {
                percent,
                client: Arc::new(client),
                server: Arc::new(server(chain).expect("a server")),
                random,
            })
        }

        /// That of a node of the same world.
        pub fn of_node(&self, index: usize) -> Secure {
            Secure {
                random: Random::new(self.random.clone().next().rotate_left(index as u32 + 1)),
                percent: self.percent,
                client: self.client.clone(),
                server: self.server.clone(),
            }
        }

        /// What handshakes are bounded by.
        pub fn config(&mut self, config: &mut Config, patient: bool) {
            config.handshakes_per_turn = *self.random.pick(&[1, 2, 16]);
            config.max_handshakes = *self.random.pick(&[1, 3, 1000, 1000]);
            config.max_handshakes_from_one = *self.random.pick(&[1, 3, 1000, 1000]);
            config.limits.handshake = match patient {
                true => Duration::from_secs(3600),
                false => Duration::from_micros(self.random.skewed(20_000_000) as u64),
            };
        }

        /// Has the next connection TLS?
        pub fn drawn(&mut self) -> Option<&mut Secure> {
            self.random.percent(self.percent).then_some(self)
        }

        pub fn listen(&self, listen: Listen) -> Listen {
            listen.tls(self.server.clone())
        }

        pub fn connect(&self, connect: Connect) -> Connect {
            connect.tls(self.client.clone(), name())
        }

        /// That of a scripted peer, which is not ours.
        pub fn session(&mut self) -> Session {
            let session = ClientConnection::new(self.client.clone(), name());
            let mut session = session.expect("a session");
            session.set_buffer_limit(None);
            Session {
                session,
                random: Random::new(self.random.next()),
                has_ended: false,
            }
        }
    }

    pub struct Session {
        session: ClientConnection,
        random: Random,
        has_ended: bool,
    }

    impl Session {
        /// What it has to say now.
        pub fn says(&mut self) -> Vec<u8> {
            let mut said = Vec::new();
            while self.session.wants_write() {
                self.session.write_tls(&mut said).expect("a Vec takes all");
            }
            said
        }

        /// Plaintext to be said, as one record or many.
        pub fn sends(&mut self, bytes: &[u8]) {
            let piece = self.random.skewed(bytes.len());
            for piece in bytes.chunks(piece) {
                let all = self.session.writer().write_all(piece);
                all.expect("a session without a limit");
            }
            if self.random.percent(5) && !self.session.is_handshaking() {
                // TLS 1.2 has none.
                let _ = self.session.refresh_traffic_keys();
            }
        }

        /// Hears this, and answers the plaintext in it.
        pub fn hears(&mut self, mut bytes: &[u8]) -> Vec<u8> {
            let mut plain = Vec::new();
            while !bytes.is_empty() {
                let count = self.session.read_tls(&mut bytes);
                let count = count.expect("all was taken before");
                let state = self.session.process_new_packets();
                let state = state.unwrap_or_else(|error| panic!("a peer heard: {error}"));
                let mut some = vec![0; state.plaintext_bytes_to_read()];
                let read = self.session.reader().read_exact(&mut some);
                read.expect("the plaintext that is there");
                plain.extend(some);
                assert!(count > 0 || state.peer_has_closed(), "bytes of no record");
                if state.peer_has_closed() {
                    self.has_ended = true;
                    break;
                }
            }
            plain
        }

        /// Says its end, or, if it may be rude, perhaps not. Answers whether it did.
        pub fn ends(&mut self, is_polite: bool) -> bool {
            let says = !self.session.is_handshaking() && (is_polite || self.random.percent(50));
            if says {
                self.session.send_close_notify();
            }
            says
        }

        /// Has the other side said its end?
        pub fn has_ended(&self) -> bool {
            self.has_ended
        }
    }
}
