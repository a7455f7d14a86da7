//! The routes of `/api/user` and `/api/models`: the same facts in the envelope, where a client is an agent.

pub(super) mod clients;
pub(super) mod detail;
pub(super) mod downloads;
pub(super) mod health;
pub(super) mod insert;
pub(super) mod models;
pub(super) mod monitor;
pub(super) mod stat;
pub(super) mod status;

use common::AgentId;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    AgentView, caller::Caller, error::Error, extract::limit, listing::Status, moment::When,
    whereabouts::Whereabouts,
};
use crate::store::{EntryFilter, Name};

/// Which clients, and how many of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ClientQuery {
    /// This one.
    #[param(value_type = Option<String>, pattern = "^[0-9a-f]{32}$")]
    client_id: Option<AgentId>,
    /// Of this tenant; a tenant can name itself only.
    #[param(value_type = Option<String>)]
    user_id: Option<Name>,
    /// Only those of this status.
    #[param(inline)]
    status: Option<Status>,
    /// Only those whose name contains this, whatever its case.
    name: Option<String>,
    /// Let in at or after: `2027-01-15T08:00:00Z` or `2027-01-15`.
    #[param(value_type = Option<String>)]
    from: Option<When>,
    /// Let in before.
    #[param(value_type = Option<String>)]
    to: Option<When>,
    /// At most so many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(value_type = Option<String>, pattern = "^[0-9a-f]{32}$")]
    cursor: Option<AgentId>,
}

impl ClientQuery {
    /// The question to the store, within what the caller reaches.
    fn filter(self, caller: &Caller, whereabouts: &Whereabouts) -> Result<EntryFilter, Error> {
        if self.from.zip(self.to).is_some_and(|(from, to)| from >= to) {
            return Err(Error::Malformed("from must be before to".into()));
        }
        let mut filter = EntryFilter {
            id: self.client_id,
            owner: caller.filter_by("user_id", self.user_id)?,
            name: self.name,
            enrolled_from: self.from.map(When::seconds),
            enrolled_before: self.to.map(When::seconds),
            after: self.cursor,
            limit: limit(self.limit, 100)?,
            ..EntryFilter::within(caller.scope.clone())
        };
        if let Some(status) = self.status {
            status.narrow(&mut filter, whereabouts);
        }
        Ok(filter)
    }
}

/// `online`, `offline` or `revoked`.
fn status_of(agent: &AgentView) -> &'static str {
    match agent.state.as_str() {
        _ if agent.revoked_unix.is_some() => "revoked",
        "connected" | "draining" => "online",
        _ => "offline",
    }
}
