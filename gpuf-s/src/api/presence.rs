//! Where agents are: with this server, with another one, or away.

use std::collections::HashMap;

use common::AgentId;

use super::{AgentView, Api};
use crate::auth::desk::JoinPoint;

/// Who has a session somewhere, at one moment.
#[derive(Debug, Default)]
pub(super) struct Presence {
    here: HashMap<AgentId, AgentView>,
    elsewhere: HashMap<AgentId, Elsewhere>,
}

/// What other servers tell of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Elsewhere {
    /// `connected` or `draining`.
    pub(super) state: String,
    /// The servers that have it.
    pub(super) servers: Vec<String>,
}

impl Presence {
    pub(super) async fn of(api: &Api) -> Self {
        let here = api.fleet.agents().into_iter().map(|view| (view.id, view)).collect();
        Self { here, elsewhere: elsewhere(api).await }
    }

    /// Everybody who has a session.
    pub(super) fn ids(&self) -> Vec<AgentId> {
        let mut ids: Vec<_> = self.here.keys().chain(self.elsewhere.keys()).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    pub(super) fn here(&self, id: AgentId) -> Option<&AgentView> {
        self.here.get(&id)
    }

    pub(super) fn elsewhere(&self, id: AgentId) -> Option<&Elsewhere> {
        self.elsewhere.get(&id)
    }

    /// Those of this server, by id.
    pub(super) fn into_here(self) -> Vec<AgentView> {
        let mut views: Vec<_> = self.here.into_values().collect();
        views.sort_unstable_by_key(|view| view.id);
        views
    }
}

/// Where machines join: with this process, or with a server of the same database that is up.
pub(super) async fn join_point(api: &Api) -> Option<JoinPoint> {
    api.join.clone()
}

/// What the other servers of the same database tell.
#[allow(clippy::unused_async)]
async fn elsewhere(_api: &Api) -> HashMap<AgentId, Elsewhere> {
    HashMap::new()
}
