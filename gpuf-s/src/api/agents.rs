//! Agents: the connected as they are, the others as they enrolled.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use axum::{Json, extract::State};
use common::AgentId;

use super::{AgentView, Api, Page, error::Error, extract::Id};
use crate::{
    auth::desk::Revoked,
    store::{AgentRow, Presence, ServerRow, Store},
};

pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Page<AgentView>>, Error> {
    let connected = api.fleet.agents();
    // Whoever is connected is shown even while the store is away: this is when operators look.
    let elsewhere = api.fleet.elsewhere();
    match listed(&api.store, connected.clone(), &elsewhere).await {
        Ok(agents) => Ok(Json(agents.into())),
        Err(error) if connected.is_empty() => Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, "the list of agents lacks those that are offline");
            Ok(Json(merged(&[], connected, &elsewhere).into()))
        }
    }
}

pub(super) async fn revoke(State(api): State<Arc<Api>>, Id(id): Id<AgentId>) -> Result<Json<Revoked>, Error> {
    let revoked = api.desk().revoke_agent(id).await?;
    api.fleet.disconnect(id);
    Ok(Json(revoked))
}

/// The agents that are connected here and, after them, all others that are enrolled, as they are `elsewhere`.
///
/// # Errors
/// When the store does not answer.
pub async fn listed(
    store: &Store,
    connected: Vec<AgentView>,
    elsewhere: &[ServerRow],
) -> Result<Vec<AgentView>, crate::store::Error> {
    Ok(merged(&store.agents().await?, connected, elsewhere))
}

fn merged(rows: &[AgentRow], connected: Vec<AgentView>, elsewhere: &[ServerRow]) -> Vec<AgentView> {
    let mut presence = presence(elsewhere);
    let here: HashSet<_> = connected.iter().map(|agent| agent.id).collect();
    let mut agents = connected;
    for agent in &mut agents {
        agent.servers.extend(presence.remove(&agent.id).unwrap_or_default().1);
    }
    let away = rows.iter().filter(|row| !here.contains(&row.id));
    agents.extend(away.map(|row| away_from_here(row, presence.remove(&row.id))));
    agents
}

/// How each agent is at the best of the servers that it is connected to, and the names of all of these.
fn presence(elsewhere: &[ServerRow]) -> HashMap<AgentId, (Option<Presence>, Vec<String>)> {
    let mut all: HashMap<_, (Option<Presence>, Vec<String>)> = HashMap::new();
    for server in elsewhere {
        for agent in &server.agents {
            let (state, names) = all.entry(agent.id).or_default();
            *state = Some(state.map_or(agent.state, |before| before.min(agent.state)));
            names.push(server.name.clone());
        }
    }
    all
}

fn away_from_here(row: &AgentRow, presence: Option<(Option<Presence>, Vec<String>)>) -> AgentView {
    let (state, servers) = presence.unwrap_or_default();
    let state = match (row.revoked, state) {
        (Some(_), _) => "revoked",
        (None, Some(state)) => state.as_str(),
        (None, None) => "offline",
    };
    AgentView {
        id: row.id,
        name: row.name.to_string(),
        state: state.to_owned(),
        servers,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Name, PresentAgent, UnixSeconds};

    fn row(id: u8, revoked: bool) -> AgentRow {
        let revoked = revoked.then_some(UnixSeconds(2));
        let (id, name) = (AgentId::from_bytes([id; 16]), Name::lossy("box"));
        AgentRow { id, name, owner: None, enrolled: UnixSeconds(1), revoked }
    }

    fn server(name: &str, agents: &[(u8, Presence)]) -> ServerRow {
        let agent = |&(id, state): &(u8, Presence)| PresentAgent { id: AgentId::from_bytes([id; 16]), state };
        ServerRow {
            id: [0; 16],
            name: name.into(),
            version: String::new(),
            control: String::new(),
            public: String::new(),
            api: String::new(),
            fingerprint: String::new(),
            started: UnixSeconds(0),
            seen_unix_ms: 0,
            agents: agents.iter().map(agent).collect(),
        }
    }

    #[test]
    fn an_agent_is_as_it_is_at_the_best_of_its_servers() {
        let (connected, draining) = (Presence::Connected, Presence::Draining);
        let mut here = away_from_here(&row(1, false), None);
        (here.state, here.servers) = ("connected".into(), vec!["a".into()]);
        let elsewhere = [
            server("b", &[(1, draining), (2, draining), (3, draining), (5, connected)]),
            server("c", &[(2, connected)]),
        ];
        let rows: Vec<_> = (1..=5).map(|id| row(id, id == 5)).collect();
        let agents = merged(&rows, vec![here], &elsewhere);
        let seen: Vec<_> =
            agents.iter().map(|agent| (agent.state.as_str(), agent.servers.join(","))).collect();
        let expected = [
            ("connected", "a,b"),
            ("connected", "b,c"),
            ("draining", "b"),
            ("offline", ""),
            ("revoked", "b"),
        ];
        assert_eq!(seen, expected.map(|(state, servers)| (state, servers.to_owned())));
    }
}
