//! The commands of the control session and the first frame of a proxy connection.
//!
//! Within one protocol version, variants and fields are only ever appended: bincode writes a variant
//! as its index and a struct as its fields in order. `docs/protocol.md` pins the bytes.

use serde::{Deserialize, Serialize};

use crate::{AgentId, EngineReport, ProxyConnId, ServerId, engine::ENGINES_MAX};

/// The most GPUs in one heartbeat.
pub const GPUS_MAX: usize = 64;
/// The most labels of one agent.
pub const LABELS_MAX: usize = 64;
/// The most servers that an agent is told of, or holds sessions with.
pub const SERVERS_MAX: usize = 64;
/// The longest free text (host name, label, reason), in bytes.
pub const TEXT_BYTES_MAX: usize = 256;
/// The largest certificate request or certificate, in bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// From the agent to the server on a control session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AgentMessage {
    /// First message of every session.
    Login(Login),
    /// All engines, whenever something about them changed.
    Engines(Vec<EngineReport>),
    /// How the host is.
    Heartbeat(Heartbeat),
    /// Answer to [`ServerMessage::Ping`].
    Pong {
        /// As in the ping.
        nonce: u64,
    },
    /// A proxy connection that was asked for cannot be made.
    ProxyConnFailed {
        /// Which one.
        proxy_conn_id: ProxyConnId,
        /// Why, for the server's log.
        reason: String,
    },
    /// The agent takes no further requests and will leave when the running ones have ended.
    Draining,
    /// Asks for a fresh certificate for the same identity.
    RenewCertificate {
        /// PKCS #10 request, DER.
        request_der: Vec<u8>,
    },
}

/// From the server to the agent on a control session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerMessage {
    /// The answer to a login.
    Welcome(Welcome),
    /// The login is not accepted; the session ends.
    Refused {
        /// Why, for a person at the agent.
        reason: String,
    },
    /// Dial the proxy port and present this id.
    RequestNewProxyConn {
        /// To be presented once, within the pairing time.
        proxy_conn_id: ProxyConnId,
        /// What the connection is for.
        mode: ProxyMode,
    },
    /// Are you there?
    Ping {
        /// To be sent back.
        nonce: u64,
    },
    /// The server is going away; open a session elsewhere or wait for its successor.
    Drain {
        /// Streams that run are cut after this many milliseconds.
        deadline_ms: u64,
    },
    /// Another session of the same identity has taken over.
    Superseded,
    /// The certificate that was asked for.
    Certificate {
        /// Leaf first, DER.
        chain_der: Vec<Vec<u8>>,
    },
    /// The other servers, in place of those that were told before; sent whenever they change.
    Servers(Vec<String>),
    /// The login named this very server among those that the agent holds sessions with: it came by
    /// another address of it. The session ends, and the one that lives goes on.
    SameServer {
        /// Which one.
        server: ServerId,
    },
}

/// What a proxy connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProxyMode {
    /// HTTP/2, the server being the client: many requests.
    Multiplexed,
    /// As above with windows for large bodies.
    Bulk,
    /// HTTP/1.1 with an upgrade: one user connection.
    Dedicated,
}

/// Who the agent is beyond its certificate, and what it brings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The agent's software version.
    pub version: String,
    /// A name that people chose; the host name unless told.
    pub name: String,
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
    /// Labels, `key=value`.
    pub labels: Vec<(String, String)>,
    /// Where it stands, in words or coordinates.
    pub location: Option<String>,
    /// Engines at the time of login.
    pub engines: Vec<EngineReport>,
    /// Servers that this agent holds sessions with at the time of login, so that two addresses of one
    /// server do not become two sessions that supersede each other.
    pub servers: Vec<ServerId>,
}

/// What the server tells an agent that it accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The server's software version.
    pub version: String,
    /// Counts the sessions of this identity on this server; the highest is the live one.
    pub epoch: u64,
    /// Send a heartbeat this often, milliseconds.
    pub heartbeat_every_ms: u32,
    /// A session in which nothing arrives for this long is dead, milliseconds.
    pub dead_after_ms: u32,
    /// Port of the proxy listener on the address that the agent dialled.
    pub proxy_port: u16,
    /// Other servers to hold sessions with, as `host:port` of their control ports.
    pub servers: Vec<String>,
    /// The server itself, whatever address led to it.
    pub server: ServerId,
}

/// How a host and its GPUs are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Names the sample for ever: made here, checked at the last hop, so that nothing counts twice.
    pub id: [u8; 16],
    /// When it was taken, milliseconds since the Unix epoch, by the agent's clock.
    pub taken_unix_ms: u64,
    /// The host.
    pub host: HostSample,
    /// Its GPUs.
    pub gpus: Vec<GpuSample>,
}

/// A host at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct HostSample {
    /// Share of all processors in use, 0–100.
    pub cpu_percent: f32,
    /// Bytes of memory in use.
    pub memory_used_bytes: u64,
    /// Bytes of memory in all.
    pub memory_total_bytes: u64,
    /// Bytes used on the disks.
    pub disk_used_bytes: u64,
    /// Bytes on the disks.
    pub disk_total_bytes: u64,
    /// Bytes received since the host started.
    pub network_received_bytes: u64,
    /// Bytes sent since the host started.
    pub network_sent_bytes: u64,
    /// Seconds since the host started.
    pub uptime_s: u64,
}

/// A GPU at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GpuSample {
    /// Index within the host.
    pub index: u32,
    /// Marketing name.
    pub name: String,
    /// Maker: `nvidia`, `amd`, `apple`, `intel`.
    pub vendor: String,
    /// Share of time that it worked, 0–100.
    pub busy_percent: Option<f32>,
    /// Bytes of memory in use.
    pub memory_used_bytes: Option<u64>,
    /// Bytes of memory in all.
    pub memory_total_bytes: Option<u64>,
    /// Power drawn, watts.
    pub power_watts: Option<f32>,
    /// Temperature, degrees Celsius.
    pub temperature_c: Option<f32>,
    /// Energy since the driver started, joules.
    pub energy_joules: Option<f64>,
}

/// First frame of a proxy connection, from the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewProxyConn {
    /// The id from [`ServerMessage::RequestNewProxyConn`].
    pub proxy_conn_id: ProxyConnId,
}

/// Asks for a first certificate; the only message of an enrolment connection.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrol {
    /// One-time token of the join string.
    pub token: String,
    /// PKCS #10 request, DER; its subject is ignored.
    pub request_der: Vec<u8>,
    /// A name for people.
    pub name: String,
    /// The identity to have, where the owner wants a certain one; must be unused.
    pub wanted_id: Option<AgentId>,
}

impl std::fmt::Debug for Enrol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrol").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The answer to [`Enrol`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enrolled {
    /// The identity and its certificate.
    Accepted {
        /// The agent's id from here on.
        agent_id: AgentId,
        /// Leaf first, DER.
        chain_der: Vec<Vec<u8>>,
    },
    /// No certificate.
    Refused {
        /// Why, for a person at the agent.
        reason: String,
    },
}

/// A value that came off the wire and may be out of bounds.
pub trait Bounded {
    /// Whether every count and text is within its bound.
    fn is_bounded(&self) -> bool;
}

fn short(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX
}

fn bounded_servers(servers: &[String]) -> bool {
    servers.len() <= SERVERS_MAX && servers.iter().all(|server| short(server))
}

fn bounded_engines(engines: &[EngineReport]) -> bool {
    engines.len() <= ENGINES_MAX && engines.iter().all(EngineReport::is_bounded)
}

impl Bounded for Login {
    fn is_bounded(&self) -> bool {
        let texts = [&self.version, &self.name, &self.os, &self.arch];
        texts.into_iter().all(|text| short(text))
            && self.location.as_deref().is_none_or(short)
            && self.labels.len() <= LABELS_MAX
            && self.labels.iter().all(|(key, value)| short(key) && short(value))
            && bounded_engines(&self.engines)
            && self.servers.len() <= SERVERS_MAX
    }
}

impl Bounded for Heartbeat {
    fn is_bounded(&self) -> bool {
        self.gpus.len() <= GPUS_MAX && self.gpus.iter().all(|gpu| short(&gpu.name) && short(&gpu.vendor))
    }
}

impl Bounded for AgentMessage {
    fn is_bounded(&self) -> bool {
        match self {
            Self::Login(login) => login.is_bounded(),
            Self::Engines(engines) => bounded_engines(engines),
            Self::Heartbeat(heartbeat) => heartbeat.is_bounded(),
            Self::ProxyConnFailed { reason, .. } => short(reason),
            Self::RenewCertificate { request_der } => request_der.len() <= CERTIFICATE_BYTES_MAX,
            Self::Pong { .. } | Self::Draining => true,
        }
    }
}

impl Bounded for ServerMessage {
    fn is_bounded(&self) -> bool {
        match self {
            Self::Welcome(welcome) => bounded_servers(&welcome.servers) && short(&welcome.version),
            Self::Servers(servers) => bounded_servers(servers),
            Self::Refused { reason } => short(reason),
            Self::Certificate { chain_der } => bounded_chain(chain_der),
            Self::RequestNewProxyConn { .. }
            | Self::Ping { .. }
            | Self::Drain { .. }
            | Self::Superseded
            | Self::SameServer { .. } => true,
        }
    }
}

impl Bounded for NewProxyConn {
    fn is_bounded(&self) -> bool {
        true
    }
}

impl Bounded for Enrol {
    fn is_bounded(&self) -> bool {
        short(&self.token) && short(&self.name) && self.request_der.len() <= CERTIFICATE_BYTES_MAX
    }
}

impl Bounded for Enrolled {
    fn is_bounded(&self) -> bool {
        match self {
            Self::Accepted { chain_der, .. } => bounded_chain(chain_der),
            Self::Refused { reason } => short(reason),
        }
    }
}

fn bounded_chain(chain_der: &[Vec<u8>]) -> bool {
    chain_der.len() <= 8 && chain_der.iter().all(|der| der.len() <= CERTIFICATE_BYTES_MAX)
}
