//! One layer of configuration: everything optional, the same names as flags and as keys of the file.

use std::{net::IpAddr, path::PathBuf};

use serde::Deserialize;

use super::limits::LimitsInFile;

/// Where the server keeps its things and finds its file.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Place {
    /// Folder that holds keys, certificates and the database [env: GPUF_DATA_DIR] [default:
    /// ~/.local/share/gpufabric/server]
    #[arg(long, value_name = "DIR", global = true, help_heading = "Place")]
    pub data_dir: Option<PathBuf>,
    /// Configuration file: these flags as keys with underscores, time limits under "limits" [env: GPUF_CONFIG]
    #[arg(long, value_name = "FILE.toml", global = true, help_heading = "Place")]
    pub config: Option<PathBuf>,
}

/// One layer; `None` leaves it to the layer below.
#[derive(Clone, Default, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address for agents and callers to arrive at [default: 0.0.0.0]
    #[arg(long, value_name = "ADDR", help_heading = "Ports")]
    pub bind: Option<IpAddr>,
    /// Address for operators to arrive at [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR", help_heading = "Ports")]
    pub api_bind: Option<IpAddr>,
    /// Agents' control sessions [default: 17000]
    #[arg(long, value_name = "PORT", help_heading = "Ports")]
    pub control_port: Option<u16>,
    /// Agents' data connections [default: 17001]
    #[arg(long, value_name = "PORT", help_heading = "Ports")]
    pub proxy_port: Option<u16>,
    /// Callers: OpenAI, Anthropic and Ollama APIs [default: 18080]
    #[arg(long, value_name = "PORT", help_heading = "Ports")]
    pub public_port: Option<u16>,
    /// Operators: management API and metrics [default: 18081]
    #[arg(long, value_name = "PORT", help_heading = "Ports")]
    pub api_port: Option<u16>,
    /// Name or address under which others reach this server; goes into join strings and certificates
    #[arg(long, value_name = "HOST", help_heading = "Ports")]
    pub advertise: Option<String>,
    /// Further host names that the API port answers to
    #[arg(long, value_name = "HOST,…", value_delimiter = ',', help_heading = "Ports")]
    pub api_hosts: Option<Vec<String>>,
    /// Threads that serve [default: one per core]
    #[arg(long, value_name = "N", help_heading = "Ports")]
    pub workers: Option<usize>,

    /// One fixed key for callers, beside those made by `keys create` [env: API_KEY]
    #[arg(long, value_name = "KEY", help_heading = "Keys and certificates")]
    pub api_key: Option<String>,
    /// Your own certificate chain for the agents' ports (PEM, leaf first) instead of the built-in authority
    #[arg(long, value_name = "FILE", help_heading = "Keys and certificates")]
    pub proxy_cert_chain_path: Option<PathBuf>,
    /// The key of that chain
    #[arg(long, value_name = "FILE", help_heading = "Keys and certificates")]
    pub proxy_private_key_path: Option<PathBuf>,
    /// Certificate chain for callers (PEM, leaf first); without it the public port speaks clear text
    #[arg(long, value_name = "FILE", help_heading = "Keys and certificates")]
    pub public_tls_cert: Option<PathBuf>,
    /// The key of that chain
    #[arg(long, value_name = "FILE", help_heading = "Keys and certificates")]
    pub public_tls_key: Option<PathBuf>,

    /// Where keys, agents and usage are kept: postgres://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE
    /// [env: DATABASE_URL] [default: in the data folder]
    #[arg(long, value_name = "URL", help_heading = "State")]
    pub database_url: Option<String>,
    /// Redis that servers share for looked-up keys: redis://HOST or rediss://HOST [env: REDIS_URL] [default:
    /// in memory]
    #[arg(long, value_name = "URL", help_heading = "State")]
    pub redis_url: Option<String>,
    /// Kafka that heartbeats and usage go through [env: BOOTSTRAP_SERVER] [default: straight into the database]
    #[arg(long, value_name = "HOST:PORT,…", help_heading = "State")]
    pub bootstrap_server: Option<String>,
    /// Further client settings for Kafka, as librdkafka names them; security.protocol and sasl.* among them
    #[arg(long, value_name = "NAME=VALUE,…", value_delimiter = ',', help_heading = "State")]
    pub kafka_config: Option<Vec<String>>,
    /// What the names of the topics begin with, for several fleets on one Kafka
    #[arg(long, value_name = "TEXT", help_heading = "State")]
    pub topic_prefix: Option<String>,
    /// Partitions of a topic that does not exist yet [default: 8]
    #[arg(long, value_name = "N", help_heading = "State")]
    pub topic_partitions: Option<u16>,
    /// Whether this process also stores what arrives in Kafka; off where heartbeat_consumer runs [default: true]
    #[arg(long, value_name = "BOOL", help_heading = "State")]
    pub consumer: Option<bool>,
    /// Days for which single heartbeats are kept; figures per day stay [default: 30]
    #[arg(long, value_name = "DAYS", help_heading = "State")]
    pub heartbeat_days: Option<u16>,
    /// Folder with the authority that several servers share; made at the first start [default: in the data folder]
    #[arg(long, value_name = "DIR", help_heading = "State")]
    pub authority_dir: Option<PathBuf>,

    /// Only in the file: a flag of that name belongs to [`Place`].
    #[arg(skip)]
    pub data_dir: Option<PathBuf>,
    /// Only in the file.
    #[arg(skip)]
    pub(crate) limits: Option<LimitsInFile>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings(…)")
    }
}

impl Settings {
    /// This layer over a lower one.
    #[must_use]
    pub fn or(self, lower: Self) -> Self {
        Self {
            bind: self.bind.or(lower.bind),
            api_bind: self.api_bind.or(lower.api_bind),
            control_port: self.control_port.or(lower.control_port),
            proxy_port: self.proxy_port.or(lower.proxy_port),
            public_port: self.public_port.or(lower.public_port),
            api_port: self.api_port.or(lower.api_port),
            advertise: self.advertise.or(lower.advertise),
            api_hosts: self.api_hosts.or(lower.api_hosts),
            workers: self.workers.or(lower.workers),
            api_key: self.api_key.or(lower.api_key),
            proxy_cert_chain_path: self.proxy_cert_chain_path.or(lower.proxy_cert_chain_path),
            proxy_private_key_path: self.proxy_private_key_path.or(lower.proxy_private_key_path),
            public_tls_cert: self.public_tls_cert.or(lower.public_tls_cert),
            public_tls_key: self.public_tls_key.or(lower.public_tls_key),
            database_url: self.database_url.or(lower.database_url),
            redis_url: self.redis_url.or(lower.redis_url),
            bootstrap_server: self.bootstrap_server.or(lower.bootstrap_server),
            kafka_config: self.kafka_config.or(lower.kafka_config),
            topic_prefix: self.topic_prefix.or(lower.topic_prefix),
            topic_partitions: self.topic_partitions.or(lower.topic_partitions),
            consumer: self.consumer.or(lower.consumer),
            heartbeat_days: self.heartbeat_days.or(lower.heartbeat_days),
            authority_dir: self.authority_dir.or(lower.authority_dir),
            data_dir: self.data_dir.or(lower.data_dir),
            limits: self.limits.or(lower.limits),
        }
    }
}
