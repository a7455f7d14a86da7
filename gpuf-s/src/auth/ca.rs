//! The server's own certificate authority: made at the first start, it names agents and the server.

mod authority;
mod view;

pub use authority::Place;
pub use view::CertificateView;

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use common::{
    AgentId,
    tls::{Fingerprint, SERVER_NAME, agent_uri, expires_unix},
};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _,
};
use time::OffsetDateTime;

use crate::{
    data_dir::{self, DataDir},
    store::UnixSeconds,
};

/// How long an agent's certificate lives. Agents renew it by themselves; a stolen one ends soon.
pub const AGENT_LIFE: Duration = Duration::from_secs(7 * DAY_S);
/// How long the server's certificate lives. Its key lies beside the authority's, so a short life would
/// protect nothing, and a server may run for years between two starts.
pub const SERVER_LIFE: Duration = Duration::from_secs(10 * 365 * DAY_S);
/// How long the authority lives: every agent pins it, so it outlives the hardware.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(30 * 365 * DAY_S);
/// Certificates begin this much in the past, for machines whose clocks are behind.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);
const DAY_S: u64 = 24 * 3600;

const FOLDER: &str = "tls";
const SERVER_CERTIFICATE: &str = "server.pem";
const SERVER_KEY: &str = "server.key";

/// Why there is no authority or no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Its folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// A certificate could not be made, or a request is not valid.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A file holds no certificate or no key.
    #[error("{path} does not hold {what}: {reason}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why it was not found.
        reason: String,
    },
    /// One half of the authority is missing; making another would lock out every agent.
    #[error("{present} is there but {missing} is not; restore it, or delete both to make a new authority \
             (every agent has to join again)", present = present.display(), missing = missing.display())]
    Half {
        /// The file that exists.
        present: PathBuf,
        /// The file that does not.
        missing: PathBuf,
    },
    /// The shared folder is empty while this server has an authority that its agents trust.
    #[error("{} holds no authority, but this server has one of its own in {}: move ca.pem and ca.key there to \
             keep its agents, or delete both to begin with another authority (every agent has to join again)",
            shared.display(), own.display())]
    Own {
        /// The folder that was named.
        shared: PathBuf,
        /// The folder that holds one.
        own: PathBuf,
    },
    /// Another server is making the authority, or has locked the folder and hangs.
    #[error("{} cannot be locked: {reason}; it must be on a file system that has locks, and no other server may \
             hang while it starts", path.display())]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The operating system has no randomness to give.
    #[error("no randomness: {0}")]
    Random(#[from] getrandom::Error),
}

/// Certificate chain and key in PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Leaf first; the last one is what agents will trust.
    pub chain: PathBuf,
    /// The leaf's key.
    pub key: PathBuf,
}

/// A chain with its key, as TLS wants them.
pub struct Identity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// The fingerprint of the authority in a folder that servers share.
///
/// # Errors
/// [`Error::File`] when there is none.
pub fn authority_fingerprint(folder: &Path) -> Result<Fingerprint, Error> {
    let chain = read_chain(&folder.join(authority::CERTIFICATE))?;
    Ok(Fingerprint::of(chain.last().map_or(&[], |der| der)))
}

impl Identity {
    /// Reads chain and key.
    ///
    /// # Errors
    /// [`Error::File`] when a file cannot be read or holds something else.
    pub fn read(files: &CertificateFiles) -> Result<Self, Error> {
        let chain = read_chain(&files.chain)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| bad_file(&files.key, "a private key", &error))?;
        Ok(Self { chain, key })
    }

    /// Of the certificate that agents trust: the last one of the chain.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.chain.last().map_or(&[], |der| der))
    }
}

/// The authority and the server's identity.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    server: Identity,
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ca({})", self.fingerprint())
    }
}

impl Ca {
    /// The authority at `place`, made where there is none, with a server certificate for `advertised`, or
    /// the operator's own where `own` names one.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn open(
        place: Place<'_>,
        advertised: Option<&str>,
        own: Option<&CertificateFiles>,
        now: UnixSeconds,
    ) -> Result<Self, Error> {
        let folder = place.data.folder(FOLDER)?;
        let (issuer, certificate) = authority::open(place, now)?;
        let server = match own {
            Some(files) => Identity::read(files)?,
            None => open_server(&folder, &issuer, &certificate, advertised, now)?,
        };
        Ok(Self { issuer, certificate, server })
    }

    /// What the control and proxy ports present.
    #[must_use]
    pub const fn server(&self) -> &Identity {
        &self.server
    }

    /// The certificate that agents' certificates are checked against.
    #[must_use]
    pub const fn authority(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What join strings carry: of the last certificate that the server presents.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.server.fingerprint()
    }

    /// What servers must have in common for an agent of one to be at home with the other: the certificate
    /// that agents trust and, where the operator's own is presented, the one that vouches for agents.
    #[must_use]
    pub fn kinship(&self) -> String {
        let (trusted, issuer) = (self.fingerprint(), Fingerprint::of(&self.certificate));
        if trusted == issuer { trusted.to_string() } else { format!("{trusted}+{issuer}") }
    }

    /// A certificate for the key of a PKCS #10 request that says `id` and nothing of what the request
    /// says about itself: leaf first, DER.
    ///
    /// # Errors
    /// [`Error::Certificate`] when the request does not read, or is not signed by its own key.
    pub fn issue_agent(
        &self,
        request_der: &[u8],
        id: AgentId,
        now: UnixSeconds,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let request =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request_der))?;
        let mut params = leaf(format!("agent {}", id.short()), ExtendedKeyUsagePurpose::ClientAuth)?;
        params.subject_alt_names = vec![SanType::URI(agent_uri(id).try_into()?)];
        set_life(&mut params, now, AGENT_LIFE);
        let certificate = params.signed_by(&request.public_key, &self.issuer)?;
        Ok(vec![certificate.der().to_vec()])
    }
}

/// Removes the server's certificate, so that [`Ca::open`] makes another; the authority stays.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn drop_server_certificate(data: &DataDir) -> Result<(), Error> {
    Ok(data.folder(FOLDER)?.remove(SERVER_CERTIFICATE)?)
}

/// The server's certificate as it lies there, or another one where that is past half its life, is not
/// of this authority, or lacks a name.
fn open_server(
    folder: &DataDir,
    issuer: &Issuer<'static, KeyPair>,
    authority: &CertificateDer<'static>,
    advertised: Option<&str>,
    now: UnixSeconds,
) -> Result<Identity, Error> {
    let names = server_names(advertised)?;
    let files = CertificateFiles { chain: folder.file(SERVER_CERTIFICATE), key: folder.file(SERVER_KEY) };
    if let Ok(identity) = Identity::read(&files)
        && is_good(&identity, authority, &names, now)
    {
        return Ok(identity);
    }
    make_server(folder, issuer, authority, names, now)
}

fn is_good(
    identity: &Identity,
    authority: &CertificateDer<'static>,
    names: &[SanType],
    now: UnixSeconds,
) -> bool {
    let [leaf, last] = identity.chain.as_slice() else { return false };
    let half_life = now.after(SERVER_LIFE / 2);
    let fresh = expires_unix(leaf).is_some_and(|ends| ends > half_life.0);
    last == authority && fresh && names.iter().all(|name| has_name(leaf, name))
}

fn make_server(
    folder: &DataDir,
    issuer: &Issuer<'static, KeyPair>,
    authority: &CertificateDer<'static>,
    names: Vec<SanType>,
    now: UnixSeconds,
) -> Result<Identity, Error> {
    let mut params = leaf("GPUFabric server".into(), ExtendedKeyUsagePurpose::ServerAuth)?;
    params.subject_alt_names = names;
    set_life(&mut params, now, SERVER_LIFE);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, issuer)?;
    let chain = format!("{}{}", certificate.pem(), pem_of(authority));
    folder.write(SERVER_KEY, key.serialize_pem().as_bytes())?;
    folder.write(SERVER_CERTIFICATE, chain.as_bytes())?;
    tracing::info!(path = %folder.file(SERVER_CERTIFICATE).display(), "made a server certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(Identity { chain: vec![certificate.der().clone(), authority.clone()], key })
}

fn leaf(name: String, usage: ExtendedKeyUsagePurpose) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(random_serial()?);
    Ok(params)
}

fn common_name(name: String) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// Unless told, two certificates for one key would share a serial number.
fn random_serial() -> Result<SerialNumber, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    // The number is signed: a leading one would make it negative.
    bytes[0] &= 0x7f;
    Ok(SerialNumber::from_slice(&bytes))
}

fn set_life(params: &mut CertificateParams, now: UnixSeconds, life: Duration) {
    let present = OffsetDateTime::from_unix_timestamp(now.0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    params.not_before = present.saturating_sub(CLOCK_SKEW.try_into().unwrap_or_default());
    params.not_after = present.saturating_add(life.try_into().unwrap_or_default());
}

fn server_names(advertised: Option<&str>) -> Result<Vec<SanType>, Error> {
    let mut names = vec![
        SanType::DnsName(SERVER_NAME.try_into()?),
        SanType::DnsName("localhost".try_into()?),
        SanType::IpAddress(IpAddr::from([127, 0, 0, 1])),
        SanType::IpAddress(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])),
    ];
    if let Some(host) = advertised {
        names.push(match host.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.try_into()?),
        });
    }
    Ok(names)
}

fn has_name(certificate: &CertificateDer<'_>, name: &SanType) -> bool {
    use x509_parser::extensions::GeneralName;
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|found| match (found, name) {
        (GeneralName::DNSName(found), SanType::DnsName(wanted)) => *found == wanted.as_str(),
        (GeneralName::IPAddress(found), SanType::IpAddress(IpAddr::V4(wanted))) => *found == wanted.octets(),
        (GeneralName::IPAddress(found), SanType::IpAddress(IpAddr::V6(wanted))) => *found == wanted.octets(),
        _ => false,
    })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad_file(path, "certificates", &error))?;
    if chain.is_empty() {
        return Err(bad_file(path, "certificates", &"it has none"));
    }
    Ok(chain)
}

fn bad_file(path: &Path, what: &'static str, reason: &dyn fmt::Display) -> Error {
    Error::File { path: path.to_owned(), what, reason: reason.to_string() }
}

fn pem_of(certificate: &CertificateDer<'_>) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(certificate);
    let lines = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
}

#[cfg(test)]
mod tests;
