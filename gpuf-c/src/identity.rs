//! Who this agent is to each of its servers: key, certificate, and whom it trusts there.

mod enrol;
mod files;
mod membership;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use common::{
    AgentId,
    tls::{self, agent_of},
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName},
};

pub use enrol::enrol;
pub use files::authority;
pub use membership::Membership;

/// Why an identity cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing failed.
    #[error("{}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file is not what it should be.
    #[error("{} is damaged ({what}); move its folder away and join again", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The address is not `host:port`.
    #[error("{0:?} is not HOST:PORT")]
    BadAddress(String),
    /// The server cannot be reached.
    #[error("cannot reach {server}: {error}; check the address, the port, and that the server runs")]
    Unreachable {
        /// The address that was dialled.
        server: String,
        /// What the system said.
        error: io::Error,
    },
    /// TLS failed, most likely because another server answers there.
    #[error(
        "{server} is not the server of this join string, or speaks another version ({error}); \
         ask for a fresh join string"
    )]
    NotTrusted {
        /// The address that was dialled.
        server: String,
        /// What TLS said.
        error: io::Error,
    },
    /// No answer in time.
    #[error("{0} did not answer in time; try again, and look into its log if it stays")]
    Timeout(String),
    /// The server says no.
    #[error("the server refused: {0}")]
    Refused(String),
    /// An answer that makes no sense.
    #[error("the server's answer makes no sense ({0}); is it of the same version?")]
    BadAnswer(&'static str),
    /// A key or a request could not be made.
    #[error("making a key: {0}")]
    Key(#[from] rcgen::Error),
    /// Certificate and key do not work together.
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

/// One server's view of this agent.
#[derive(Clone)]
pub struct Identity {
    /// Names its folder, wherever the server has moved since.
    home: String,
    server: String,
    agent_id: AgentId,
    key: Vec<u8>,
    chain: Vec<CertificateDer<'static>>,
    authority: CertificateDer<'static>,
}

/// The key is a secret.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("server", &self.server)
            .field("agent", &self.agent_id)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// From its parts, which must fit together.
    fn assemble(
        server: String,
        key: Vec<u8>,
        chain: Vec<CertificateDer<'static>>,
        authority: CertificateDer<'static>,
    ) -> Result<Self, Error> {
        let leaf = chain.first().ok_or(Error::BadAnswer("no certificate"))?;
        let agent_id = agent_of(leaf).ok_or(Error::BadAnswer("a certificate that names no agent"))?;
        let identity = Self { home: server.clone(), server, agent_id, key, chain, authority };
        identity.tls(b"")?;
        Ok(identity)
    }

    /// `host:port` of the server's control port.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The id that the server knows this agent by.
    #[must_use]
    pub const fn agent_id(&self) -> AgentId {
        self.agent_id
    }

    /// The same identity at another address of its server, or at another server of the same authority
    /// (`host:port`).
    #[must_use]
    pub fn moved_to(mut self, server: String) -> Self {
        self.server = server;
        self
    }

    /// The same identity where `authority` vouches for the server.
    #[must_use]
    pub fn trusting(mut self, authority: CertificateDer<'static>) -> Self {
        self.authority = authority;
        self
    }

    /// For a connection to the server with the application protocol `alpn`.
    ///
    /// # Errors
    /// When certificate and key do not fit together.
    pub fn tls(&self, alpn: &[u8]) -> Result<ClientConfig, Error> {
        let key = PrivatePkcs8KeyDer::from(self.key.clone()).into();
        Ok(tls::agent_config(self.chain.clone(), key, &self.authority, alpn)?)
    }

    /// The one of server `folder`.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        files::load(folder)
    }

    /// Those of every server that this agent has joined, in the order of their folders.
    ///
    /// # Errors
    /// When one of them cannot be read; none at all is no error.
    pub fn load_all(data_dir: &Path) -> Result<Vec<Self>, Error> {
        files::folders(data_dir)?.iter().map(|folder| Self::load(folder)).collect()
    }

    /// The one for `server`, if this agent has joined it.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn load_for(data_dir: &Path, server: &str) -> Result<Option<Self>, Error> {
        let folder = files::folder_of(data_dir, server);
        if files::is_identity(&folder) { Self::load(&folder).map(Some) } else { Ok(None) }
    }

    /// Writes it into its server's folder under `data_dir`, whole or not at all.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn save(&self, data_dir: &Path) -> Result<(), Error> {
        files::save(&files::folder_of(data_dir, &self.home), self)
    }

    /// Whether half of the certificate's life is over.
    #[must_use]
    pub fn needs_renewal(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        self.validity().is_none_or(|(begins, ends)| now >= begins + (ends - begins) / 2)
    }

    /// When the certificate begins and ends, seconds since the Unix epoch.
    fn validity(&self) -> Option<(i64, i64)> {
        let (_, parsed) = x509_parser::parse_x509_certificate(self.chain.first()?).ok()?;
        let validity = parsed.validity();
        Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
    }

    /// A fresh key for this identity, and the request for its certificate.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn renewal_request(&self) -> Result<Renewal, Error> {
        Renewal::new()
    }

    /// This identity with the certificate that `renewal` asked for.
    ///
    /// # Errors
    /// When the certificate is of another key or names another agent.
    pub fn renewed(&self, renewal: Renewal, chain_der: Vec<Vec<u8>>) -> Result<Self, Error> {
        let chain = chain_der.into_iter().map(CertificateDer::from).collect();
        let renewed = Self::assemble(self.server.clone(), renewal.key, chain, self.authority.clone())?;
        let renewed = Self { home: self.home.clone(), ..renewed };
        if renewed.agent_id == self.agent_id {
            Ok(renewed)
        } else {
            Err(Error::BadAnswer("another agent's name"))
        }
    }
}

/// A key whose certificate is asked for.
pub struct Renewal {
    /// PKCS #10, DER.
    pub request_der: Vec<u8>,
    key: Vec<u8>,
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").finish_non_exhaustive()
    }
}

impl Renewal {
    fn new() -> Result<Self, Error> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let request = CertificateParams::default().serialize_request(&key)?;
        Ok(Self { request_der: request.der().to_vec(), key: key.serialize_der() })
    }
}

/// Host and port of `HOST:PORT`, the host as a certificate may name it.
///
/// # Errors
/// When `address` is something else.
pub fn server_name(address: &str) -> Result<ServerName<'static>, Error> {
    let bad = || Error::BadAddress(address.chars().take(128).collect());
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    port.parse::<u16>().map_err(|_| bad())?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(host.to_owned()).map_err(|_| bad())
}

#[cfg(test)]
pub(crate) mod tests;
