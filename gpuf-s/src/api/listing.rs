//! Agents as they are shown: rows of the store, with what their sessions tell at the moment.

use std::collections::HashMap;

use common::AgentId;
use serde::Deserialize;

use super::{AgentView, Api, EngineView, error::Error, whereabouts::Whereabouts};
use crate::store::{self, AGENTS_PAGE_ROWS_MAX, AgentEntry, Among, EntryFilter, Scope, ServerRow, Store};

/// What an agent is doing, as a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// It has a session.
    Online,
    /// It is enrolled and has none.
    Offline,
    /// It was put out.
    Revoked,
}

/// A page of agents.
pub(super) struct Found {
    pub(super) agents: Vec<AgentView>,
    /// The last one, where there may be more after it.
    pub(super) next: Option<AgentId>,
}

impl Status {
    /// Limits a question to agents of this status.
    pub(super) fn narrow(self, filter: &mut EntryFilter, whereabouts: &Whereabouts) {
        filter.revoked = Some(self == Self::Revoked);
        filter.among = match self {
            Self::Online => Among::These(whereabouts.ids()),
            Self::Offline => Among::Others(whereabouts.ids()),
            Self::Revoked => Among::All,
        };
    }
}

pub(super) async fn find(api: &Api, whereabouts: &Whereabouts, filter: &EntryFilter) -> Result<Found, Error> {
    Ok(page(&api.store, whereabouts, filter).await?)
}

/// The agent of an id, if the scope has it.
pub(super) async fn one(api: &Api, scope: &Scope, id: AgentId) -> Result<AgentView, Error> {
    let filter = EntryFilter { id: Some(id), limit: 1, ..EntryFilter::within(scope.clone()) };
    let mut found = find(api, &Whereabouts::of(api), &filter).await?;
    found.agents.pop().ok_or(Error::NoAgent)
}

/// Every agent of a scope that is among these, however many pages that takes.
pub(super) async fn all(
    store: &Store,
    whereabouts: &Whereabouts,
    mut filter: EntryFilter,
) -> Result<Vec<AgentView>, store::Error> {
    filter.limit = AGENTS_PAGE_ROWS_MAX;
    let mut agents = Vec::new();
    loop {
        let found = page(store, whereabouts, &filter).await?;
        agents.extend(found.agents);
        filter.after = found.next;
        if filter.after.is_none() {
            return Ok(agents);
        }
    }
}

/// Every agent that is enrolled, as the store and the servers `elsewhere` know it.
///
/// # Errors
/// When the store does not answer.
pub async fn listed(store: &Store, elsewhere: &[ServerRow]) -> Result<Vec<AgentView>, store::Error> {
    let whereabouts = Whereabouts::new(Vec::new(), elsewhere);
    all(store, &whereabouts, EntryFilter::within(Scope::Everything)).await
}

async fn page(store: &Store, whereabouts: &Whereabouts, filter: &EntryFilter) -> Result<Found, store::Error> {
    let entries = store.agent_entries(filter).await?;
    let full = entries.len() >= filter.limit.min(AGENTS_PAGE_ROWS_MAX) as usize;
    let next = entries.last().filter(|_| full).map(|entry| entry.row.id);
    let mut agents: Vec<_> = entries.into_iter().map(|entry| view(whereabouts, entry)).collect();
    add_engines(store, &filter.scope, &mut agents).await?;
    Ok(Found { agents, next })
}

/// Agents without a session here have the engines that they last told of.
async fn add_engines(store: &Store, scope: &Scope, agents: &mut [AgentView]) -> Result<(), store::Error> {
    let is_away = |agent: &&AgentView| agent.connected_for_s.is_none();
    let away: Vec<_> = agents.iter().filter(is_away).map(|agent| agent.id).collect();
    if away.is_empty() {
        return Ok(());
    }
    let mut told: HashMap<_, _> = store.engines_within(scope, &away).await?.into_iter().collect();
    for agent in agents.iter_mut().filter(|agent| agent.connected_for_s.is_none()) {
        let engines = told.remove(&agent.id).unwrap_or_default();
        agent.engines = engines.into_iter().map(EngineView::from).collect();
    }
    Ok(())
}

fn view(whereabouts: &Whereabouts, entry: AgentEntry) -> AgentView {
    let shown = entry.shown.clone();
    let stored = as_stored(entry);
    let mut view = whereabouts.told(stored.clone());
    view.owner = stored.owner;
    view.enrolled_unix = stored.enrolled_unix;
    view.revoked_unix = stored.revoked_unix;
    view.last_seen_unix_ms = stored.last_seen_unix_ms;
    view.name = shown.name.map_or(view.name, |name| name.to_string());
    view.labels = shown.labels.unwrap_or(view.labels);
    view.location = shown.location.or(view.location);
    view
}

/// As the store alone knows it.
fn as_stored(entry: AgentEntry) -> AgentView {
    let AgentEntry { row, facts, last_seen_unix_ms, .. } = entry;
    let state = if row.revoked.is_some() { "revoked" } else { "offline" };
    let bare = AgentView {
        owner: row.owner,
        enrolled_unix: Some(row.enrolled),
        revoked_unix: row.revoked,
        last_seen_unix_ms,
        ..AgentView::bare(row.id, row.name.to_string(), state.to_owned())
    };
    let Some(facts) = facts else { return bare };
    AgentView {
        name: facts.name,
        address: facts.address,
        version: Some(facts.version),
        os: Some(facts.os),
        arch: Some(facts.arch),
        labels: facts.labels.into_iter().collect(),
        location: facts.location,
        ..bare
    }
}
