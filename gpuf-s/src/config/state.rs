//! Where state is kept: beside the process, or in servers that several of it share.

use std::path::PathBuf;

use super::{Error, Settings, in_range};
use crate::{bus::KafkaSettings, secret::SecretUrl, store::Database};

/// Partitions of a topic that does not exist yet, unless told otherwise.
const PARTITIONS: u16 = 8;
const PARTITIONS_MAX: u16 = 1024;
/// Days for which single heartbeats are kept, unless told otherwise.
const HEARTBEAT_DAYS: u16 = 30;
const HEARTBEAT_DAYS_MAX: u16 = 3650;
const TOPIC_PREFIX_BYTES_MAX: usize = 64;

/// The servers that state is kept in, each of which may be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Keys, agents, usage and heartbeats.
    pub database: Database,
    /// Looked-up keys that several servers share; in memory without it.
    pub redis: Option<SecretUrl>,
    /// What heartbeats and usage go through; straight into the database without it.
    pub kafka: Option<KafkaSettings>,
    /// Whether this process stores what arrives in Kafka.
    pub consumer: bool,
    /// Days for which single heartbeats are kept.
    pub heartbeat_days: u16,
    /// The folder of the authority, where it is not the data directory's.
    pub authority_dir: Option<PathBuf>,
}

impl State {
    /// Checks what concerns state among `settings`.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub fn check(settings: &Settings) -> Result<Self, Error> {
        let days = settings.heartbeat_days.unwrap_or(HEARTBEAT_DAYS);
        in_range("heartbeat_days", days.into(), 1, HEARTBEAT_DAYS_MAX.into())?;
        Ok(Self {
            database: database(settings)?,
            redis: settings.redis_url.clone().map(redis).transpose()?,
            kafka: settings.bootstrap_server.as_deref().map(|at| kafka(at, settings)).transpose()?,
            consumer: settings.consumer.unwrap_or(true),
            heartbeat_days: days,
            authority_dir: settings.authority_dir.clone(),
        })
    }
}

fn database(settings: &Settings) -> Result<Database, Error> {
    let Some(url) = &settings.database_url else { return Ok(Database::Embedded) };
    if let Some(path) = sqlite_file(url) {
        return Ok(Database::File(path));
    }
    let url = SecretUrl::new(url.clone());
    match url.scheme() {
        "postgres" | "postgresql" => Ok(Database::Postgres(url)),
        _ => Err(Error::Url {
            name: "--database-url",
            given: url,
            wanted: "postgres://USER:PASSWORD@HOST/DATABASE or sqlite:///path/to/gpuf.db",
        }),
    }
}

/// The file that a `sqlite:` URL names: one that lasts, and no options.
fn sqlite_file(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    let lasting = !path.is_empty() && !path.starts_with(':') && !path.contains('?');
    lasting.then(|| path.into())
}

fn redis(url: String) -> Result<SecretUrl, Error> {
    let url = SecretUrl::new(url);
    match url.scheme() {
        "redis" | "rediss" => Ok(url),
        _ => Err(Error::Url { name: "--redis-url", given: url, wanted: "redis://HOST or rediss://HOST" }),
    }
}

fn kafka(servers: &str, settings: &Settings) -> Result<KafkaSettings, Error> {
    let has_port = |server: &str| {
        server.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if !servers.split(',').all(|server| has_port(server.trim())) {
        let given = SecretUrl::new(servers.to_owned());
        return Err(Error::Url { name: "--bootstrap-server", given, wanted: "HOST:PORT" });
    }
    let topic_prefix = settings.topic_prefix.clone().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if topic_prefix.len() > TOPIC_PREFIX_BYTES_MAX || !topic_prefix.bytes().all(plain) {
        return Err(Error::TopicPrefix(topic_prefix));
    }
    let partitions = settings.topic_partitions.unwrap_or(PARTITIONS);
    in_range("topic_partitions", partitions.into(), 1, PARTITIONS_MAX.into())?;
    let options = settings.kafka_config.iter().flatten().map(|text| KafkaSettings::option(text));
    Ok(KafkaSettings {
        servers: servers.to_owned(),
        options: options.collect::<Result<_, _>>()?,
        topic_prefix,
        partitions,
    })
}
