//! An authority for the tests of TLS: certificates, and those who show or check them.

#![allow(dead_code, unreachable_pub, reason = "each file uses a part of it")]

use rcgen::{Certificate, CertificateParams, CertifiedIssuer, KeyPair, PKCS_ED25519};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::sync::Arc;

/// The name that the certificate of the tests is for.
pub const NAME: &str = "chat.test";

/// Whose certificates are checked against one root.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// One group and Ed25519: so lengths are the same in each run.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: vec![ring::kx_group::X25519],
        ..ring::default_provider()
    })
}

impl Authority {
    pub fn new() -> Authority {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        Authority { issuer }
    }

    fn sign(&self, name: &str) -> (Certificate, KeyPair) {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    pub fn certificate(
        &self,
        name: &str,
    ) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let (certificate, key) = self.sign(name);
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        (vec![certificate.der().clone()], key)
    }

    /// What a program reads from files: the root, a certificate that it has signed, and its key.
    pub fn pem(&self, name: &str) -> [String; 3] {
        let (certificate, key) = self.sign(name);
        [self.issuer.pem(), certificate.pem(), key.serialize_pem()]
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    pub fn server(&self) -> ServerConfig {
        let (certificates, key) = self.certificate(NAME);
        ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap()
    }

    /// A server that wants a certificate of its clients.
    pub fn strict_server(&self) -> ServerConfig {
        let (certificates, key) = self.certificate(NAME);
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots().into(), provider());
        ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(certificates, key)
            .unwrap()
    }

    /// A client that shows a certificate.
    pub fn known_client(&self, name: &str) -> ClientConfig {
        let (certificates, key) = self.certificate(name);
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(certificates, key)
            .unwrap()
    }

    pub fn client(&self) -> ClientConfig {
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }
}

pub fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).unwrap()
}
