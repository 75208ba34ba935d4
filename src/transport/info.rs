//! What a TLS session has come to.

use super::Tls;
use std::fmt;

/// The TLS session of a connection: [`Context::tls`](crate::Context::tls).
///
/// Everything is known when `on_open` comes, or `on_secure` after
/// [`start_tls`](crate::Context::start_tls); before that it is `None`, or empty.
#[derive(Clone, Copy)]
pub struct TlsInfo<'a>(&'a Tls);

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl<'a> TlsInfo<'a> {
    pub(crate) fn new(tls: &'a Tls) -> TlsInfo<'a> {
        TlsInfo(tls)
    }

    /// Is the handshake through?
    pub fn is_secured(&self) -> bool {
        !self.0.session().is_handshaking()
    }

    /// The version that both have agreed on.
    pub fn version(&self) -> Option<TlsVersion> {
        match self.0.session().protocol_version()? {
            rustls::ProtocolVersion::TLSv1_2 => Some(TlsVersion::V1_2),
            rustls::ProtocolVersion::TLSv1_3 => Some(TlsVersion::V1_3),
            _ => None,
        }
    }

    /// The name of the cipher suite that both have agreed on, as rustls writes it:
    /// `TLS13_AES_256_GCM_SHA384`.
    pub fn cipher_suite(&self) -> Option<String> {
        let suite = self.0.session().negotiated_cipher_suite()?;
        Some(format!("{:?}", suite.suite()))
    }

    /// The protocol that both have agreed on (ALPN, RFC 7301): `h2`, for example.
    pub fn alpn(&self) -> Option<&'a [u8]> {
        self.0.session().alpn_protocol()
    }

    /// The name that the client has asked for (SNI, RFC 6066), at the server's end.
    pub fn server_name(&self) -> Option<&'a str> {
        match self.0.session() {
            rustls::Connection::Server(session) => session.server_name(),
            rustls::Connection::Client(_) => None,
        }
    }

    /// The peer's certificates (DER), its own first; none if it was not asked for one. They are
    /// good: a peer whose are not gets no `on_open`.
    pub fn peer_certificates(&self) -> impl Iterator<Item = &'a [u8]> {
        let certificates = self.0.session().peer_certificates().unwrap_or_default();
        certificates.iter().map(|certificate| certificate.as_ref())
    }

    /// Did the handshake resume an earlier session, so that no certificate was checked again?
    pub fn is_resumed(&self) -> bool {
        self.0.session().handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }
}

impl fmt::Debug for TlsInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsInfo")
            .field("version", &self.version())
            .field("cipher_suite", &self.cipher_suite())
            .field("alpn", &self.alpn().map(String::from_utf8_lossy))
            .field("server_name", &self.server_name())
            .field("is_resumed", &self.is_resumed())
            .finish_non_exhaustive()
    }
}
