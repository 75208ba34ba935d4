//! TLS over a simulated connection: any bytes to either side, at once or behind a handshake that is
//! a true one, in any pieces. Nothing may panic, spin, or leave a socket behind, and no byte of
//! plaintext may come of what nobody has sealed.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use sockeye::sim::World;
use sockeye::{ConnId, Connect, Context, Handler, Input, Listen};
use sockeye_fuzz::Stream;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const PEM: &[u8] = include_bytes!("../../examples/swarm/check/node.pem");
const ADDR: &str = "10.0.0.1:443";

#[derive(Arbitrary, Debug)]
struct Case {
    stream: Stream,
    /// Which side hears it; a server may have heard a true handshake first.
    side: Side,
    reset: bool,
}

#[derive(Arbitrary, Debug, PartialEq)]
enum Side {
    Server,
    SecuredServer,
    Client,
}

#[derive(Default)]
struct Hears(usize);

impl Handler for Hears {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        self.0 += input.len();
        cx.send(conn, input.take_all());
    }
}

fn configs() -> &'static (Arc<ServerConfig>, Arc<ClientConfig>) {
    static CONFIGS: OnceLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = OnceLock::new();
    CONFIGS.get_or_init(|| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = CertificateDer::pem_slice_iter(PEM).collect::<Result<Vec<_>, _>>();
        let chain = chain.expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(chain[0].clone()).expect("a root");
        let key = PrivateKeyDer::from_pem_slice(PEM).expect("a key");
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server.expect("a server")), Arc::new(client))
    })
}

fn name() -> ServerName<'static> {
    ServerName::try_from("node").expect("a name")
}

fuzz_target!(|case: Case| {
    let (server, client) = configs().clone();
    let mut world = World::new();
    let (node, peer) = match case.side {
        Side::Client => {
            let listener = world.listen(ADDR);
            let node = world.start("client", Hears::default(), |_| Ok(()));
            world.with(node, |_, cx| cx.connect(Connect::new(ADDR).tls(client, name())));
            world.settle();
            (node, listener.accept().expect("a connect"))
        }
        _ => {
            let node = world.start("server", Hears::default(), |reactor| {
                reactor.listen(Listen::new(ADDR).tls(server)).map(drop)
            });
            let peer = world.connect(ADDR);
            if case.side == Side::SecuredServer {
                let mut session = ClientConnection::new(client, name()).expect("a session");
                while session.is_handshaking() || session.wants_write() {
                    let mut said = Vec::new();
                    while session.wants_write() {
                        session.write_tls(&mut said).expect("a Vec takes all");
                    }
                    peer.send(said);
                    world.settle();
                    let heard = peer.received_bytes();
                    let mut heard = &heard[..];
                    while !heard.is_empty() {
                        session.read_tls(&mut heard).expect("bytes");
                        session.process_new_packets().expect("records");
                    }
                }
            }
            (node, peer)
        }
    };
    for piece in case.stream.pieces() {
        peer.send(piece);
        world.settle();
    }
    match case.reset {
        true => peer.reset(),
        false => peer.shutdown(),
    }
    world.settle();
    world.advance(Duration::from_secs(100));
    if !case.reset {
        peer.close();
    }
    world.advance(Duration::from_secs(100));
    world.assert_no_leaks();
    assert_eq!(world.app(node).0, 0, "nobody has sealed that");
});
