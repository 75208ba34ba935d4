//! Echo over TLS: the handler of `echo`, word for word, on a listener that speaks TLS.
//!
//! Try it, with a certificate that is made in one command:
//!
//! ```text
//! openssl req -x509 -newkey ed25519 -nodes -subj /CN=localhost \
//!     -addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE \
//!     -keyout key.pem -out cert.pem
//! cargo run --features tls --example tls_echo -- --cert cert.pem --key key.pem
//! ```
//!
//! Then in another terminal `openssl s_client -connect 127.0.0.1:7443 -CAfile cert.pem`.

use anyhow::Context as _;
use clap::Parser;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sockeye::{ConnId, Context, Handler, Input, Listen, Origin, Reactor, Sent};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Parser)]
#[command(about = "Sends back what it receives, over TLS")]
struct Args {
    /// Where to listen: IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7443")]
    listen: String,
    /// Certificate chain, PEM
    #[arg(long)]
    cert: PathBuf,
    /// Private key, PEM
    #[arg(long)]
    key: PathBuf,
    /// ALPN protocols, the preferred one first
    #[arg(long)]
    alpn: Vec<String>,
    /// Require a client certificate signed by one of these, PEM
    #[arg(long)]
    client_ca: Option<PathBuf>,
}

/// What the server shows, and what it demands.
fn config(args: &Args) -> anyhow::Result<ServerConfig> {
    let pem = |path: &PathBuf| path.display().to_string();
    let read = |path: &PathBuf| -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let certificates = CertificateDer::pem_file_iter(path)?;
        Ok(certificates.collect::<Result<_, _>>()?)
    };
    let certificates = read(&args.cert).with_context(|| pem(&args.cert))?;
    let key = PrivateKeyDer::from_pem_file(&args.key).with_context(|| pem(&args.key))?;
    let builder =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?;
    let builder = match &args.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in read(path).with_context(|| pem(path))? {
                roots.add(root)?;
            }
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_single_cert(certificates, key)?;
    config.alpn_protocols = args
        .alpn
        .iter()
        .map(|name| name.clone().into_bytes())
        .collect();
    Ok(config)
}

struct Echo;

impl Handler for Echo {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        if let Some(tls) = cx.tls(conn) {
            let _ = writeln!(io::stdout(), "{conn}: {tls:?}");
        }
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        if cx.send(conn, input.take_all()) == Sent::Wait {
            cx.pause_until_drained(conn); // the peer does not read: neither do we
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let tls = Arc::new(config(&args)?);
    let mut reactor = Reactor::new()?;
    let listener = reactor.listen(Listen::new(args.listen.as_str()).tls(tls))?;
    if let Some(addr) = reactor.context().listener_addr(listener) {
        // `println` would panic if nobody can read it.
        let _ = writeln!(io::stdout(), "listening on {addr}");
    }
    reactor.run(&mut Echo)?;
    Ok(())
}
