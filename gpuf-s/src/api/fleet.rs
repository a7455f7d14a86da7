//! What the API shows of agents; the composition root answers it from the registry.

use std::{collections::BTreeMap, sync::Arc};

use common::{
    AgentId, EngineId, EngineKind, ModelName, ServerId,
    message::{GpuSample, HostSample},
};
use serde::{Deserialize, Serialize};

use crate::store::ServerRow;

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerView {
    /// Its id, another one after each start.
    pub id: ServerId,
    /// What people call it: `host:port` of its control port.
    pub name: String,
    /// `running`, or `draining` while it takes no further agents.
    pub state: String,
    /// Whether it is the one that answers.
    pub this: bool,
    /// Its software version.
    pub version: String,
    /// `host:port` of its public port.
    pub public: String,
    /// `host:port` of its API port.
    pub api: String,
    /// When it started, seconds since the Unix epoch.
    pub started_unix: i64,
    /// Agents that hold a session with it.
    pub agents: usize,
}

/// An agent with a live session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentView {
    /// Its id.
    pub id: AgentId,
    /// What it calls itself.
    pub name: String,
    /// `connected` or `draining`, here or at another server; `offline` or `revoked` for one that is enrolled
    /// but has no session.
    pub state: String,
    /// The servers that it holds sessions with.
    #[serde(default)]
    pub servers: Vec<String>,
    /// Seconds since its session with this server began; none where it has none.
    pub connected_for_s: Option<u64>,
    /// Where it dialled from.
    pub address: Option<String>,
    /// Its software version.
    pub version: Option<String>,
    /// Operating system.
    pub os: Option<String>,
    /// Processor architecture.
    pub arch: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Where it stands.
    pub location: Option<String>,
    /// Its engines.
    pub engines: Vec<EngineView>,
    /// Last measured round trip of its control session, milliseconds.
    pub round_trip_ms: Option<f64>,
    /// Data connections that are open.
    pub tunnel_connections: u32,
    /// The last heartbeat.
    pub heartbeat: Option<HeartbeatView>,
}

/// An engine of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineView {
    /// Its name within the agent.
    pub id: EngineId,
    /// What it is.
    pub kind: EngineKind,
    /// Its version.
    pub version: Option<String>,
    /// Requests that it works on at once.
    pub slots: u32,
    /// Requests that this server has with it.
    pub in_flight: u32,
    /// Its models.
    pub models: Vec<ModelView>,
}

/// A model of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelView {
    /// Its name.
    pub name: ModelName,
    /// Whether its weights are in memory.
    pub loaded: Option<bool>,
    /// Size of the weights, bytes.
    pub size_bytes: Option<u64>,
    /// Longest context, tokens.
    pub context_tokens: Option<u32>,
}

/// How a host is, and how long ago it said so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatView {
    /// Seconds since it arrived.
    pub age_s: u64,
    /// The host.
    pub host: HostSample,
    /// Its GPUs.
    pub gpus: Vec<GpuSample>,
}

/// What the API asks of the connected agents. Short and synchronous: it reads a snapshot.
pub trait Fleet: Send + Sync {
    /// Every agent with a live session.
    fn agents(&self) -> Vec<AgentView>;

    /// Every server that shares the database, this one first.
    fn servers(&self) -> Vec<ServerView>;

    /// The other servers, and who is connected to them.
    fn elsewhere(&self) -> Arc<Vec<ServerRow>>;

    /// Ends the session of an agent that was revoked; whether it had one.
    fn disconnect(&self, id: AgentId) -> bool;

    /// Whether the server takes requests; false while it drains.
    fn ready(&self) -> bool;
}
