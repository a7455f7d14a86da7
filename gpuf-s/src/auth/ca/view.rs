//! A certificate as people read it.

use common::tls::Fingerprint;
use rustls::pki_types::CertificateDer;
use serde::Serialize;
use x509_parser::extensions::GeneralName;

use crate::store::UnixSeconds;

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateView {
    /// Whom it names.
    pub subject: String,
    /// Under which names and addresses.
    pub names: Vec<String>,
    /// When it ends, seconds since the Unix epoch.
    pub expires_unix: UnixSeconds,
    /// SHA-256 of its DER.
    pub fingerprint: String,
}

impl CertificateView {
    /// Of a certificate; `None` where it is none.
    #[must_use]
    pub fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(der).ok()?;
        let names = parsed.subject_alternative_name().ok()?;
        let names = names.iter().flat_map(|names| &names.value.general_names).filter_map(name).collect();
        Some(Self {
            subject: parsed.subject().to_string(),
            names,
            expires_unix: UnixSeconds(parsed.validity().not_after.timestamp()),
            fingerprint: Fingerprint::of(der).to_string(),
        })
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(std::net::IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(std::net::IpAddr::from);
    v4().or_else(v6).map(|address| address.to_string())
}
