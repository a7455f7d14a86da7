//! Whether clients are there, and what they have to do.

use std::sync::Arc;

use axum::extract::State;
use common::AgentId;
use serde::Serialize;
use utoipa::ToSchema;

use super::{ClientQuery, status_of};
use crate::api::{
    AgentView, Api,
    caller::Caller,
    envelope::{Envelope, Items},
    error::Error,
    extract::Asked,
    listing, moment,
    openapi::shapes,
    whereabouts::Whereabouts,
};

/// Whether a client is there, and what it has to do.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ClientStatus {
    /// Its id.
    #[schema(schema_with = shapes::agent_id)]
    client_id: AgentId,
    /// Its name.
    client_name: String,
    /// `online`, `offline` or `revoked`.
    status: &'static str,
    /// Whether it takes no further requests.
    draining: bool,
    /// Seconds since its session with this server began.
    connected_for_s: Option<u64>,
    /// Its latest stored heartbeat.
    last_seen: Option<String>,
    /// Requests that its engines work on at once.
    slots: u64,
    /// Requests that this server has with them.
    in_flight: u64,
    /// Last measured round trip of its session, milliseconds.
    round_trip_ms: Option<f64>,
    /// Other servers that it has a session with.
    servers: Vec<String>,
}

pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<ClientQuery>,
) -> Result<Envelope<Items<ClientStatus>>, Error> {
    let whereabouts = Whereabouts::of(&api);
    let found = listing::find(&api, &whereabouts, &query.filter(&caller, &whereabouts)?).await?;
    let online = found.agents.iter().filter(|agent| status_of(agent) == "online").count();
    let message = format!("{} clients, {online} of them online", found.agents.len());
    let items = found.agents.into_iter().map(ClientStatus::from).collect();
    Ok(Envelope::of(Items { items, next: found.next.map(|id| id.to_string()) }, message))
}

impl From<AgentView> for ClientStatus {
    fn from(agent: AgentView) -> Self {
        let sum = |count: fn(&crate::api::EngineView) -> u32| {
            agent.engines.iter().map(count).map(u64::from).sum::<u64>()
        };
        Self {
            client_id: agent.id,
            status: status_of(&agent),
            draining: agent.state == "draining",
            connected_for_s: agent.connected_for_s,
            last_seen: agent.last_seen_unix_ms.and_then(moment::of_ms),
            slots: sum(|engine| engine.slots),
            in_flight: sum(|engine| engine.in_flight),
            round_trip_ms: agent.round_trip_ms,
            client_name: agent.name,
            servers: agent.servers,
        }
    }
}
