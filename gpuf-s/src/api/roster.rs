//! Agents as they are shown: rows of the store, with what their sessions tell at the moment.

use common::AgentId;
use serde::Deserialize;

use super::{AgentView, Api, error::Error, presence::Presence};
use crate::store::{self, AGENTS_PAGE_ROWS_MAX, AgentEntry, Among, RosterFilter, Scope, Store};

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
    pub(super) fn narrow(self, filter: &mut RosterFilter, presence: &Presence) {
        filter.revoked = Some(self == Self::Revoked);
        filter.among = match self {
            Self::Online => Among::These(presence.ids()),
            Self::Offline => Among::Others(presence.ids()),
            Self::Revoked => Among::All,
        };
    }
}

pub(super) async fn find(api: &Api, presence: &Presence, filter: &RosterFilter) -> Result<Found, Error> {
    Ok(page(&api.store, presence, filter).await?)
}

/// The agent of an id, if the scope has it.
pub(super) async fn one(api: &Api, scope: &Scope, id: AgentId) -> Result<AgentView, Error> {
    let filter = RosterFilter { id: Some(id), limit: 1, ..RosterFilter::within(scope.clone()) };
    let mut found = find(api, &Presence::of(api).await, &filter).await?;
    found.agents.pop().ok_or(Error::NoAgent)
}

/// Every agent of a scope that is among these, however many pages that takes.
pub(super) async fn all(
    store: &Store,
    presence: &Presence,
    mut filter: RosterFilter,
) -> Result<Vec<AgentView>, store::Error> {
    filter.limit = AGENTS_PAGE_ROWS_MAX;
    let mut agents = Vec::new();
    loop {
        let found = page(store, presence, &filter).await?;
        agents.extend(found.agents);
        filter.after = found.next;
        if filter.after.is_none() {
            return Ok(agents);
        }
    }
}

/// Every agent that is enrolled, as the store alone knows it.
///
/// # Errors
/// When the store does not answer.
pub async fn listed(store: &Store) -> Result<Vec<AgentView>, store::Error> {
    all(store, &Presence::default(), RosterFilter::within(Scope::Everything)).await
}

async fn page(store: &Store, presence: &Presence, filter: &RosterFilter) -> Result<Found, store::Error> {
    let entries = store.roster(filter).await?;
    let full = entries.len() >= filter.limit.min(AGENTS_PAGE_ROWS_MAX) as usize;
    let next = entries.last().filter(|_| full).map(|entry| entry.row.id);
    Ok(Found { agents: entries.into_iter().map(|entry| view(presence, entry)).collect(), next })
}

fn view(presence: &Presence, entry: AgentEntry) -> AgentView {
    let id = entry.row.id;
    let mut view = match (presence.here(id), presence.elsewhere(id)) {
        (Some(view), _) => view.clone(),
        (None, Some(elsewhere)) => AgentView { state: elsewhere.state.clone(), ..away(&entry) },
        (None, None) => away(&entry),
    };
    view.servers = presence.elsewhere(id).map(|elsewhere| elsewhere.servers.clone()).unwrap_or_default();
    view.owner = entry.row.owner;
    view.enrolled_unix = Some(entry.row.enrolled);
    view.revoked_unix = entry.row.revoked;
    view.name = entry.shown.name.map_or(view.name, |name| name.to_string());
    view.labels = entry.shown.labels.unwrap_or(view.labels);
    view.location = entry.shown.location.or(view.location);
    view
}

/// As the store alone knows it.
fn away(entry: &AgentEntry) -> AgentView {
    let state = if entry.row.revoked.is_some() { "revoked" } else { "offline" };
    AgentView::bare(entry.row.id, entry.row.name.to_string(), state.to_owned())
}
