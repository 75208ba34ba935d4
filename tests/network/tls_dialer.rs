//! Connects by TLS, some times one after the other with one configuration, says a line each time,
//! and says what the session has come to and what it has heard: for `.ci/tls_more`.

use anyhow::Context as _;
use clap::Parser;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sockeye::{Closed, ConnId, Connect, Context, Handler, Input, Origin, Reactor};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Parser)]
#[command(about = "Says a line by TLS, and hears one")]
struct Args {
    /// IP:PORT
    addr: String,
    /// Who is to be there
    #[arg(long, default_value = "localhost")]
    name: String,
    /// Who must have signed its certificate, PEM
    #[arg(long)]
    ca: PathBuf,
    /// Our own certificate, PEM
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long)]
    key: Option<PathBuf>,
    /// Protocols to choose from, the best first (ALPN)
    #[arg(long)]
    alpn: Vec<String>,
    /// Connections, one after the other
    #[arg(long, default_value_t = 1)]
    times: usize,
}

fn config(args: &Args) -> anyhow::Result<ClientConfig> {
    let chain = |path: &PathBuf| -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let chain = CertificateDer::pem_file_iter(path)?;
        Ok(chain.collect::<Result<_, _>>()?)
    };
    let mut roots = RootCertStore::empty();
    for root in chain(&args.ca).context("the root")? {
        roots.add(root)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => {
            builder.with_client_auth_cert(chain(cert)?, PrivateKeyDer::from_pem_file(key)?)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = args.alpn.iter().map(|name| name.clone().into()).collect();
    Ok(config)
}

struct Dialer {
    connect: Connect,
    left: usize,
}

impl Dialer {
    fn next(&mut self, cx: &mut Context) {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return cx.stop(),
        }
        cx.connect(self.connect.clone());
    }
}

impl Handler for Dialer {
    fn on_open(&mut self, cx: &mut Context, conn: ConnId, _: Origin) {
        println!("open {:?}", cx.tls(conn));
        cx.send(conn, "hello\n");
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        if let Some(end) = input.iter().position(|byte| *byte == b'\n') {
            println!("heard {}", String::from_utf8_lossy(&input.take(end)));
            cx.close(conn);
        }
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, closed: Closed) {
        println!("close {closed}");
        self.next(cx);
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let name = ServerName::try_from(args.name.clone())?;
    let connect = Connect::new(args.addr.as_str()).tls(Arc::new(config(&args)?), name);
    let mut dialer = Dialer {
        connect,
        left: args.times,
    };
    let mut reactor = Reactor::new()?;
    dialer.next(reactor.context());
    reactor.run(&mut dialer)?;
    Ok(())
}
