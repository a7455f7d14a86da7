//! Agents: the connected as they are, the others as they were last heard of.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use common::AgentId;
use serde::{Deserialize, Deserializer};
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::{
        AgentView, Api, Page,
        caller::Caller,
        error::Error,
        extract::{Asked, Body, Id, limit},
        listing::{self, Status},
        whereabouts::Whereabouts,
    },
    auth::desk::Revoked,
    store::{AgentEdit, EntryFilter, Name, Scope},
};

/// Which agents, and how many of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Query {
    /// Only those of this status.
    #[param(inline)]
    status: Option<Status>,
    /// Only those whose name contains this, whatever its case.
    name: Option<String>,
    /// Only those of this owner; a tenant can name itself only.
    #[param(value_type = Option<String>)]
    owner: Option<Name>,
    /// At most so many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(value_type = Option<String>, pattern = "^[0-9a-f]{32}$")]
    cursor: Option<AgentId>,
}

pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<Query>,
) -> Result<Json<Page<AgentView>>, Error> {
    let plain = query.status.is_none() && query.name.is_none() && query.owner.is_none();
    let mut filter = EntryFilter {
        name: query.name,
        owner: caller.filter_by("owner", query.owner)?,
        after: query.cursor,
        limit: limit(query.limit, 1000)?,
        ..EntryFilter::within(caller.scope.clone())
    };
    let whereabouts = Whereabouts::of(&api);
    query.status.inspect(|status| status.narrow(&mut filter, &whereabouts));
    match listing::find(&api, &whereabouts, &filter).await {
        Ok(found) => Ok(Json(Page { data: found.agents, next: found.next.map(|id| id.to_string()) })),
        // Whoever is connected is shown even while the store is away: this is when operators look. What of
        // it is a tenant's only the store knows.
        Err(error) if plain && caller.scope == Scope::Everything => {
            let connected = whereabouts.into_here();
            if connected.is_empty() {
                return Err(error);
            }
            tracing::warn!(?error, "the list of agents lacks those that are offline");
            Ok(Json(connected.into()))
        }
        Err(error) => Err(error),
    }
}

pub(in crate::api) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<AgentId>,
) -> Result<Json<AgentView>, Error> {
    listing::one(&api, &caller.scope, id).await.map(Json)
}

/// How an agent is to be shown: a field that is left out stays, and null goes back to what the agent tells.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::api) struct Edit {
    /// Its name.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>, required = false)]
    pub(in crate::api) name: Option<Option<Name>>,
    /// Its labels.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<BTreeMap<String, String>>, required = false)]
    pub(in crate::api) labels: Option<Option<BTreeMap<String, String>>>,
    /// Where it stands.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>, required = false)]
    pub(in crate::api) location: Option<Option<String>>,
    /// Whose it is, null for the operator's; only the operator may change it.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>, required = false)]
    pub(in crate::api) owner: Option<Option<Name>>,
}

/// Tells a field that is null from one that is not there.
pub(in crate::api) fn given<'a, T: Deserialize<'a>, D: Deserializer<'a>>(
    value: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(value).map(Some)
}

impl Edit {
    /// Carries the change out, and shows the result.
    pub(in crate::api) async fn apply(
        self,
        api: &Api,
        caller: &Caller,
        id: AgentId,
    ) -> Result<AgentView, Error> {
        let moves = self.owner.is_some();
        let edit =
            AgentEdit { name: self.name, labels: self.labels, location: self.location, owner: self.owner };
        if edit == AgentEdit::default() {
            return Err(Error::Malformed("give at least one of name, labels, location and owner".into()));
        }
        api.desk(caller).edit_agent(id, &edit).await?;
        if moves {
            // Its session was opened under the former owner, and keys are checked against that: the next one
            // is opened under the present owner.
            api.fleet.disconnect(id);
        }
        listing::one(api, &caller.scope, id).await
    }
}

pub(in crate::api) async fn edit(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Body(edit): Body<Edit>,
) -> Result<Json<AgentView>, Error> {
    edit.apply(&api, &caller, id).await.map(Json)
}

pub(in crate::api) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<AgentId>,
) -> Result<Json<Revoked>, Error> {
    let revoked = api.desk(&caller).revoke_agent(id).await?;
    api.fleet.disconnect(id);
    Ok(Json(revoked))
}
