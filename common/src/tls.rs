//! TLS 1.3 between agents and servers: whom each side trusts, and how a certificate names an agent.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use sha2::{Digest, Sha256};

use crate::AgentId;

/// The name that a server's own authority puts into its certificate. It stands for "the server of
/// this authority", so that a server may be dialled by any address.
pub const SERVER_NAME: &str = "server.gpuf.internal";
const AGENT_URI: &str = "urn:gpuf:agent:";

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Certificate and key do not fit, or one of them is not usable.
    #[error("certificate or key: {0}")]
    Rustls(#[from] rustls::Error),
    /// A trusted certificate is none.
    #[error("trusted certificate: {0}")]
    Trust(String),
}

/// SHA-256 of a certificate in DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of `der`.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// From its 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The URI by which a certificate names an agent.
#[must_use]
pub fn agent_uri(id: AgentId) -> String {
    format!("{AGENT_URI}{id}")
}

/// The agent that a certificate names. The caller has verified the certificate.
#[must_use]
pub fn agent_of(certificate: &CertificateDer<'_>) -> Option<AgentId> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        x509_parser::extensions::GeneralName::URI(uri) => uri.strip_prefix(AGENT_URI)?.parse().ok(),
        _ => None,
    })
}

/// When a certificate ends, seconds since the Unix epoch.
#[must_use]
pub fn expires_unix(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// For a port where strangers may speak first: enrolment, or the public port.
///
/// # Errors
/// When certificate and key do not fit.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    alpn: &[&[u8]],
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// For a port where only agents with a certificate of `authority` may speak.
///
/// # Errors
/// When certificate and key do not fit, or `authority` is no certificate.
pub fn agent_port_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authority: &CertificateDer<'static>,
    alpn: &[u8],
) -> Result<ServerConfig, Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(authority)?.into(), provider())
        .build()
        .map_err(|error| Error::Trust(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(AgentVerifier(verifier)))
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}

/// For an agent that has no certificate yet and knows the authority by its fingerprint.
///
/// # Errors
/// Never in practice: only when the crypto provider lacks TLS 1.3.
pub fn enrolment_config(pin: Fingerprint, alpn: &[u8]) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier { trust: Trust::Pinned(pin) }))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}

/// For an agent with a certificate.
///
/// # Errors
/// When certificate and key do not fit, or `authority` is no certificate.
pub fn agent_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authority: &CertificateDer<'static>,
    alpn: &[u8],
) -> Result<ClientConfig, Error> {
    let trust = Trust::Known(known_verifier(roots(authority)?)?);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier { trust }))
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(config)
}

/// The certificate among `chain` whose fingerprint is `pin`.
#[must_use]
pub fn pinned<'a>(chain: &'a [CertificateDer<'a>], pin: Fingerprint) -> Option<&'a CertificateDer<'a>> {
    chain.iter().find(|der| Fingerprint::of(der) == pin)
}

fn roots(authority: &CertificateDer<'_>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone().into_owned()).map_err(|error| Error::Trust(error.to_string()))?;
    Ok(roots)
}

fn known_verifier(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, Error> {
    WebPkiServerVerifier::builder_with_provider(roots.into(), provider())
        .build()
        .map_err(|error| Error::Trust(error.to_string()))
}

/// Accepts a server of one authority, by [`SERVER_NAME`] or by the name that was dialled.
///
/// Whoever trusts an authority that serves others too (a public one) is still safe: nobody else can
/// have a certificate for the dialled name or for a name under `.internal`.
#[derive(Debug)]
struct ServerVerifier {
    trust: Trust,
}

#[derive(Debug)]
enum Trust {
    Pinned(Fingerprint),
    Known(Arc<WebPkiServerVerifier>),
}

impl ServerVerifier {
    fn verifier(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
    ) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
        let pin = match &self.trust {
            Trust::Known(verifier) => return Ok(verifier.clone()),
            Trust::Pinned(pin) => *pin,
        };
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let authority = chain.iter().chain([leaf]).find(|der| Fingerprint::of(der) == pin).ok_or(unknown)?;
        let general = |error: Error| rustls::Error::General(error.to_string());
        known_verifier(roots(authority).map_err(general)?).map_err(general)
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        dialled: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verifier = self.verifier(leaf, chain)?;
        let own =
            ServerName::try_from(SERVER_NAME).map_err(|error| rustls::Error::General(error.to_string()))?;
        verifier
            .verify_server_cert(leaf, chain, &own, ocsp, now)
            .or_else(|_| verifier.verify_server_cert(leaf, chain, dialled, ocsp, now))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// As webpki verifies, and the certificate must name an agent.
#[derive(Debug)]
struct AgentVerifier(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AgentVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.0.verify_client_cert(leaf, chain, now)?;
        let nameless = rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForName);
        agent_of(leaf).map(|_| verified).ok_or(nameless)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
