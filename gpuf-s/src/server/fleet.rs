//! The registry as the management API shows it.

use std::{sync::Arc, time::Duration};

use common::AgentId;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{AgentView, EngineView, Fleet, HeartbeatView, ModelView, ServerView},
    registry::{Agent, Engine, Registry},
    roster::Roster,
    store::ServerRow,
};

/// What the API may ask.
#[derive(Debug)]
pub struct View {
    /// Who is connected.
    pub registry: Registry,
    /// The other servers.
    pub roster: Roster,
    /// Whether the server is leaving.
    pub lame: CancellationToken,
}

impl Fleet for View {
    fn agents(&self) -> Vec<AgentView> {
        let name = &self.roster.own().name;
        self.registry.agents().iter().map(|agent| view(agent, name)).collect()
    }

    fn servers(&self) -> Vec<ServerView> {
        let agents = self.registry.agents().len();
        let own = ServerView { this: true, agents, ..ServerView::from(self.roster.own()) };
        let state = if self.ready() { "running" } else { "draining" };
        let own = ServerView { state: state.to_owned(), ..own };
        std::iter::once(own).chain(self.roster.others().iter().map(ServerView::from)).collect()
    }

    fn elsewhere(&self) -> Arc<Vec<ServerRow>> {
        self.roster.others()
    }

    fn disconnect(&self, id: AgentId) -> bool {
        let agent = self.registry.agent(id);
        agent.inspect(|agent| agent.stop.cancel()).is_some()
    }

    fn ready(&self) -> bool {
        !self.lame.is_cancelled()
    }
}

fn view(agent: &Agent, server: &str) -> AgentView {
    let login = &agent.login;
    let state = if agent.is_leaving() { "draining" } else { "connected" };
    AgentView {
        connected_for_s: Some(agent.connected.elapsed().as_secs()),
        address: Some(agent.address.to_string()),
        version: Some(login.version.clone()),
        os: Some(login.os.clone()),
        arch: Some(login.arch.clone()),
        labels: login.labels.iter().cloned().collect(),
        location: login.location.clone(),
        engines: agent.engines().iter().map(|engine| engine_view(engine)).collect(),
        round_trip_ms: agent.round_trip().map(|time: Duration| time.as_secs_f64() * 1000.0),
        tunnel_connections: u32::try_from(agent.tunnel.connections()).unwrap_or(u32::MAX),
        heartbeat: agent.heartbeat().map(|heartbeat| HeartbeatView {
            age_s: heartbeat.0.elapsed().as_secs(),
            host: heartbeat.1.host,
            gpus: heartbeat.1.gpus.clone(),
        }),
        servers: vec![server.to_owned()],
        ..AgentView::bare(agent.id, login.name.clone(), state.to_owned())
    }
}

fn engine_view(engine: &Engine) -> EngineView {
    let load = engine.slots.load();
    let model = |model: &common::ModelReport| ModelView {
        name: model.name.clone(),
        loaded: model.loaded,
        size_bytes: model.size_bytes,
        context_tokens: model.context_tokens,
    };
    EngineView {
        id: engine.report.id.clone(),
        kind: engine.report.kind,
        version: engine.report.version.clone(),
        slots: load.slots,
        in_flight: load.in_flight,
        models: engine.report.models.iter().map(model).collect(),
    }
}
