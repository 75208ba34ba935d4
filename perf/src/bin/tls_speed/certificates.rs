//! One certificate for all, and what both sides are configured with.

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;

pub struct Files {
    dir: String,
}

impl Files {
    pub fn new() -> Files {
        let dir = std::env::temp_dir().join(format!("tls-speed-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let files = Files::at(&format!("{}/", dir.display()));
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(files.path("cert.pem"), certificate.pem()).expect("a file");
        std::fs::write(files.path("key.pem"), key.serialize_pem()).expect("a file");
        files
    }

    pub fn at(dir: &str) -> Files {
        Files {
            dir: dir.to_owned(),
        }
    }

    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.dir)
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        let chain = CertificateDer::pem_file_iter(self.path("cert.pem")).expect("a file");
        chain.collect::<Result<_, _>>().expect("a certificate")
    }

    pub fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_file(self.path("key.pem")).expect("a key");
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(self.chain(), key);
        Arc::new(config.expect("a server"))
    }

    pub fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for root in self.chain() {
            roots.add(root).expect("a root");
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        // Every handshake is a whole one.
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    }
}

/// One suite, one group.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![ring::kx_group::X25519],
        cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
        ..ring::default_provider()
    })
}
