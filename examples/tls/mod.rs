//! TLS by the command line, for the examples that speak it (feature `tls`; without it there is no
//! such option).

#![allow(dead_code, reason = "each example uses a part of it")]

#[cfg(feature = "tls")]
use anyhow::Context as _;
#[cfg(feature = "tls")]
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use sockeye::{Connect, Listen};
#[cfg(feature = "tls")]
use std::{path::PathBuf, sync::Arc};

/// Of one who listens.
#[derive(clap::Args, Clone)]
pub(crate) struct Server {
    /// Speak TLS with this certificate chain, PEM
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// Of one who connects.
#[derive(clap::Args, Clone)]
pub(crate) struct Client {
    /// Speak TLS, and expect a certificate for this name
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true,
          default_missing_value = "localhost", requires = "ca")]
    tls: Option<String>,
    /// Trusted certificates, PEM
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca: Option<PathBuf>,
}

#[cfg(not(feature = "tls"))]
impl Server {
    pub(crate) fn over(&self, listen: Listen) -> anyhow::Result<Listen> {
        Ok(listen)
    }
}

#[cfg(not(feature = "tls"))]
impl Client {
    pub(crate) fn over(&self) -> anyhow::Result<impl Fn(Connect) -> Connect + use<>> {
        Ok(|connect| connect)
    }
}

#[cfg(feature = "tls")]
impl Server {
    /// Listens with TLS, if that was said.
    pub(crate) fn over(&self, listen: Listen) -> anyhow::Result<Listen> {
        let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(listen);
        };
        let chain = certificates(cert)?;
        let pem = PrivateKeyDer::from_pem_file(key);
        let key = pem.with_context(|| key.display().to_string())?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        // Every suite is a good one; scanners want to see that somebody has thought of it.
        config.ignore_client_order = true;
        Ok(listen.tls(Arc::new(config)))
    }
}

#[cfg(feature = "tls")]
impl Client {
    /// Makes a connect one with TLS, if that was said.
    pub(crate) fn over(&self) -> anyhow::Result<impl Fn(Connect) -> Connect + use<>> {
        let tls = match (&self.tls, &self.ca) {
            (Some(name), Some(ca)) => {
                let mut roots = rustls::RootCertStore::empty();
                for root in certificates(ca)? {
                    roots.add(root)?;
                }
                let config = rustls::ClientConfig::builder_with_provider(provider())
                    .with_safe_default_protocol_versions()?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                Some((Arc::new(config), ServerName::try_from(name.clone())?))
            }
            _ => None,
        };
        Ok(move |connect: Connect| match tls.clone() {
            Some((config, name)) => connect.tls(config, name),
            None => connect,
        })
    }
}

#[cfg(feature = "tls")]
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[cfg(feature = "tls")]
fn certificates(path: &PathBuf) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.with_context(|| path.display().to_string())
}
