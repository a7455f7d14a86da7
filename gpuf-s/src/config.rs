//! What the operator wants, as checked types: flags before environment before file before defaults.

mod environment;
mod file;
mod limits;
mod settings;
mod state;

pub use environment::Environment;
pub use limits::Limits;
pub use settings::{Place, Settings};
pub use state::State;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    str::FromStr,
};

use crate::{
    auth::{StaticKey, ca::CertificateFiles, key::WeakKey},
    bus::BadOption,
    secret::SecretUrl,
};

/// Control port unless told otherwise.
pub const CONTROL_PORT: u16 = 17000;
/// Proxy port unless told otherwise.
pub const PROXY_PORT: u16 = 17001;
/// Public port unless told otherwise.
pub const PUBLIC_PORT: u16 = 18080;
/// API port unless told otherwise.
pub const API_PORT: u16 = 18081;
/// The most worker threads.
pub const WORKERS_MAX: usize = 512;

/// Why the configuration cannot be used; each says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be; the text shows the line.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What and where.
        reason: String,
    },
    /// A value is out of its range.
    #[error("{name} must be between {min} and {max}, not {value}")]
    Range {
        /// Its name in the file.
        name: &'static str,
        /// The lowest.
        min: u64,
        /// The highest.
        max: u64,
        /// What was given.
        value: u64,
    },
    /// One of two that only make sense together.
    #[error("{0} and {1} belong together: give both or neither")]
    Half(&'static str, &'static str),
    /// Two listeners on one address.
    #[error("{0} and {1} cannot both listen on {2}")]
    SamePort(&'static str, &'static str, SocketAddr),
    /// An address of a server that is none of ours.
    #[error("{name} {given} is not supported; give {wanted}")]
    Url {
        /// The setting.
        name: &'static str,
        /// Its value.
        given: SecretUrl,
        /// What would work.
        wanted: &'static str,
    },
    /// Not a part of a topic's name.
    #[error("--topic-prefix {0:?} is not up to 64 letters, digits, dots, dashes and underscores")]
    TopicPrefix(String),
    /// A setting of the Kafka client.
    #[error("--kafka-config: {0}")]
    Kafka(#[from] BadOption),
    /// The static key is no secret.
    #[error(transparent)]
    WeakKey(#[from] WeakKey),
    /// Not a host.
    #[error("{0} {1:?} is not a host name or an address")]
    Host(&'static str, String),
    /// Nowhere to keep anything.
    #[error("there is no home directory to keep data in; say where with --data-dir")]
    NoDataDir,
}

/// A host by name or address, as it stands in a URL: no port; an IPv6 address without brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(String);

impl Host {
    /// The host as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// With a port, as in an authority.
    #[must_use]
    pub fn with_port(&self, port: u16) -> String {
        let bracketed = self.0.contains(':');
        if bracketed { format!("[{}]:{port}", self.0) } else { format!("{}:{port}", self.0) }
    }
}

impl FromStr for Host {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self(address.to_string()));
        }
        let name = text.trim_end_matches('.').to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let valid = name.len() <= 253 && name.split('.').all(label);
        if valid { Ok(Self(name)) } else { Err(()) }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that the server was told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where state is kept.
    pub state: State,
    /// Where agents' control sessions arrive.
    pub control: SocketAddr,
    /// Where agents' proxy connections arrive.
    pub proxy: SocketAddr,
    /// Where callers arrive.
    pub public: SocketAddr,
    /// Where operators arrive.
    pub api: SocketAddr,
    /// Threads that serve.
    pub workers: NonZeroUsize,
    /// A key that works without any store.
    pub api_key: Option<StaticKey>,
    /// The operator's own certificate for control and proxy port.
    pub proxy_certificate: Option<CertificateFiles>,
    /// The certificate of the public port; in clear where there is none.
    pub public_certificate: Option<CertificateFiles>,
    /// The name or address under which agents and callers reach this server.
    pub advertise: Option<Host>,
    /// Further names under which the API port may be addressed.
    pub api_hosts: Vec<Host>,
    /// Time limits and bounds.
    pub limits: Limits,
}

impl Config {
    /// Puts the layers together and checks them.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn load(place: &Place, flags: Settings, environment: Environment) -> Result<Self, Error> {
        let path = place.config.clone().or_else(|| environment.config.clone());
        let file = path.as_deref().map(file::read).transpose()?.unwrap_or_default();
        let data_dir = place
            .data_dir
            .clone()
            .or_else(|| environment.data_dir.clone())
            .or_else(|| file.data_dir.clone())
            .or_else(|| environment.default_data_dir())
            .ok_or(Error::NoDataDir)?;
        Self::check(data_dir, flags.or(environment.settings()).or(file))
    }

    fn check(data_dir: PathBuf, settings: Settings) -> Result<Self, Error> {
        let every = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let (bind, loopback) = (settings.bind.unwrap_or(every), IpAddr::from(Ipv4Addr::LOCALHOST));
        let at = |port: Option<u16>, default| SocketAddr::new(bind, port.unwrap_or(default));
        let api =
            SocketAddr::new(settings.api_bind.unwrap_or(loopback), settings.api_port.unwrap_or(API_PORT));
        let config = Self {
            data_dir,
            state: State::check(&settings)?,
            control: at(settings.control_port, CONTROL_PORT),
            proxy: at(settings.proxy_port, PROXY_PORT),
            public: at(settings.public_port, PUBLIC_PORT),
            api,
            workers: workers(settings.workers)?,
            api_key: settings.api_key.as_deref().map(StaticKey::new).transpose()?,
            proxy_certificate: both(
                ("--proxy-cert-chain-path", settings.proxy_cert_chain_path),
                ("--proxy-private-key-path", settings.proxy_private_key_path),
            )?,
            public_certificate: both(
                ("--public-tls-cert", settings.public_tls_cert),
                ("--public-tls-key", settings.public_tls_key),
            )?,
            advertise: settings.advertise.map(|host| parse_host("--advertise", host)).transpose()?,
            api_hosts: (settings.api_hosts.unwrap_or_default().into_iter())
                .map(|host| parse_host("--api-hosts", host))
                .collect::<Result<_, _>>()?,
            limits: settings.limits.unwrap_or_default().checked()?,
        };
        config.listeners_differ()?;
        Ok(config)
    }

    fn listeners_differ(&self) -> Result<(), Error> {
        let listeners = [
            ("the control port", self.control),
            ("the proxy port", self.proxy),
            ("the public port", self.public),
            ("the API port", self.api),
        ];
        for (at, (name, address)) in listeners.iter().enumerate() {
            for (other, taken) in &listeners[..at] {
                let meet = address.ip() == taken.ip()
                    || address.ip().is_unspecified()
                    || taken.ip().is_unspecified();
                if address.port() != 0 && address.port() == taken.port() && meet {
                    return Err(Error::SamePort(other, name, *address));
                }
            }
        }
        Ok(())
    }
}

fn workers(given: Option<usize>) -> Result<NonZeroUsize, Error> {
    let one_per_core = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(WORKERS_MAX);
    let count = given.unwrap_or_else(one_per_core);
    let range = Error::Range { name: "workers", min: 1, max: WORKERS_MAX as u64, value: count as u64 };
    NonZeroUsize::new(count).filter(|count| count.get() <= WORKERS_MAX).ok_or(range)
}

fn both(
    (chain_name, chain): (&'static str, Option<PathBuf>),
    (key_name, key): (&'static str, Option<PathBuf>),
) -> Result<Option<CertificateFiles>, Error> {
    match (chain, key) {
        (Some(chain), Some(key)) => Ok(Some(CertificateFiles { chain, key })),
        (None, None) => Ok(None),
        _ => Err(Error::Half(chain_name, key_name)),
    }
}

fn parse_host(name: &'static str, host: String) -> Result<Host, Error> {
    host.parse().map_err(|()| Error::Host(name, host))
}

fn in_range(name: &'static str, value: u64, min: u64, max: u64) -> Result<u64, Error> {
    let inside = (min..=max).contains(&value);
    inside.then_some(value).ok_or(Error::Range { name, min, max, value })
}

#[cfg(test)]
mod tests;
