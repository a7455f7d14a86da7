//! Agents: the connected as they are, the others as they enrolled.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use common::AgentId;

use super::{AgentView, Api, Page, error::Error, extract::Id};
use crate::{
    auth::desk::Revoked,
    store::{AgentRow, Store},
};

pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Page<AgentView>>, Error> {
    let connected = api.fleet.agents();
    // Whoever is connected is shown even while the store is away: this is when operators look.
    match listed(&api.store, connected.clone()).await {
        Ok(agents) => Ok(Json(agents.into())),
        Err(error) if connected.is_empty() => Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "the list of agents lacks those that are offline");
            Ok(Json(connected.into()))
        }
    }
}

pub(super) async fn revoke(State(api): State<Arc<Api>>, Id(id): Id<AgentId>) -> Result<Json<Revoked>, Error> {
    let revoked = api.desk().revoke_agent(id).await?;
    api.fleet.disconnect(id);
    Ok(Json(revoked))
}

/// The connected agents and, after them, those that are enrolled but away.
///
/// # Errors
/// When the store does not answer.
pub async fn listed(
    store: &Store,
    mut connected: Vec<AgentView>,
) -> Result<Vec<AgentView>, crate::store::Error> {
    let rows = store.agents().await?;
    let away = rows.iter().filter(|row| connected.iter().all(|agent| agent.id != row.id));
    let away: Vec<_> = away.map(offline).collect();
    connected.extend(away);
    Ok(connected)
}

fn offline(row: &AgentRow) -> AgentView {
    AgentView {
        id: row.id,
        name: row.name.to_string(),
        state: if row.revoked.is_some() { "revoked" } else { "offline" }.to_owned(),
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
    }
}
