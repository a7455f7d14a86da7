//! What the API shows of agents; the composition root answers it from the registry.

use std::{collections::BTreeMap, sync::Arc};

use common::{
    AgentId, EngineId, EngineKind, EngineReport, ModelName, ModelReport, ServerId,
    message::{GpuSample, HostSample},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::openapi::shapes;
use crate::store::{Name, ServerRow, UnixSeconds};

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerView {
    /// Its id, another one after each start.
    #[schema(schema_with = shapes::agent_id)]
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

impl From<&ServerRow> for ServerView {
    fn from(server: &ServerRow) -> Self {
        Self {
            id: ServerId::from_bytes(server.id),
            name: server.name.clone(),
            state: if server.control.is_empty() { "draining" } else { "running" }.to_owned(),
            this: false,
            version: server.version.clone(),
            public: server.public.clone(),
            api: server.api.clone(),
            started_unix: server.started.0,
            agents: server.agents.len(),
        }
    }
}

/// An agent with a live session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentView {
    /// Its id.
    #[schema(schema_with = shapes::agent_id)]
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
    /// Whose it is; null for the operator's.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub owner: Option<Name>,
    /// When it was let in, seconds since the Unix epoch.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub enrolled_unix: Option<UnixSeconds>,
    /// When it was put out.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub revoked_unix: Option<UnixSeconds>,
    /// When its latest stored heartbeat was taken, milliseconds since the Unix epoch.
    #[serde(default)]
    pub last_seen_unix_ms: Option<u64>,
}

impl AgentView {
    /// An agent of which nothing is known but that it is there.
    #[must_use]
    pub const fn bare(id: AgentId, name: String, state: String) -> Self {
        Self {
            id,
            name,
            state,
            connected_for_s: None,
            address: None,
            version: None,
            os: None,
            arch: None,
            labels: BTreeMap::new(),
            location: None,
            engines: Vec::new(),
            round_trip_ms: None,
            tunnel_connections: 0,
            heartbeat: None,
            owner: None,
            enrolled_unix: None,
            revoked_unix: None,
            last_seen_unix_ms: None,
            servers: Vec::new(),
        }
    }
}

/// An engine of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EngineView {
    /// Its name within the agent.
    #[schema(value_type = String)]
    pub id: EngineId,
    /// What it is.
    #[schema(schema_with = shapes::engine_kind)]
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

impl From<EngineReport> for EngineView {
    fn from(report: EngineReport) -> Self {
        Self {
            id: report.id,
            kind: report.kind,
            version: report.version,
            slots: report.slots,
            in_flight: 0,
            models: report.models.into_iter().map(ModelView::from).collect(),
        }
    }
}

/// A model of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelView {
    /// Its name.
    #[schema(value_type = String)]
    pub name: ModelName,
    /// Whether its weights are in memory.
    pub loaded: Option<bool>,
    /// Size of the weights, bytes.
    pub size_bytes: Option<u64>,
    /// Longest context, tokens.
    pub context_tokens: Option<u32>,
}

impl From<ModelReport> for ModelView {
    fn from(report: ModelReport) -> Self {
        Self {
            name: report.name,
            loaded: report.loaded,
            size_bytes: report.size_bytes,
            context_tokens: report.context_tokens,
        }
    }
}

/// How a host is, and how long ago it said so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatView {
    /// Seconds since it arrived.
    pub age_s: u64,
    /// The host.
    #[schema(schema_with = shapes::host_sample)]
    pub host: HostSample,
    /// Its GPUs.
    #[schema(schema_with = shapes::gpu_samples)]
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
