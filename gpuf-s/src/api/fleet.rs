//! What the API shows of agents; the composition root answers it from the registry.

use std::collections::BTreeMap;

use common::{
    AgentId, EngineId, EngineKind, ModelName,
    message::{GpuSample, HostSample},
};
use serde::{Deserialize, Serialize};

/// An agent with a live session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentView {
    /// Its id.
    pub id: AgentId,
    /// What it calls itself.
    pub name: String,
    /// `connected` or `draining`; `offline` or `revoked` for one that is enrolled but has no session.
    pub state: String,
    /// Seconds since its session began; none where it is away.
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

    /// Ends the session of an agent that was revoked; whether it had one.
    fn disconnect(&self, id: AgentId) -> bool;

    /// Whether the server takes requests; false while it drains.
    fn ready(&self) -> bool;
}
