//! How far models are on their way to clients.
//!
//! Clients do not fetch models by order: whatever one reports is there whole.

use std::sync::Arc;

use axum::extract::State;
use common::{AgentId, EngineId, ModelName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::{
        AgentView, Api,
        caller::Caller,
        envelope::{Envelope, Items},
        error::Error,
        extract::{Asked, limit},
        listing,
        openapi::shapes,
        whereabouts::Whereabouts,
    },
    store::{EntryFilter, Name},
};

/// Which models of which clients.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Query {
    /// Of this client.
    #[param(value_type = Option<String>, pattern = "^[0-9a-f]{32}$")]
    client_id: Option<AgentId>,
    /// Of this tenant's clients; a tenant can name itself only.
    #[param(value_type = Option<String>)]
    user_id: Option<Name>,
    /// This model.
    #[param(value_type = Option<String>)]
    model: Option<ModelName>,
    /// The models of at most so many clients, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(value_type = Option<String>, pattern = "^[0-9a-f]{32}$")]
    cursor: Option<AgentId>,
}

/// A model on its way to a client.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Progress {
    /// The client.
    #[schema(schema_with = shapes::agent_id)]
    client_id: AgentId,
    /// Its name.
    client_name: String,
    /// The engine that the model is for.
    #[schema(value_type = String)]
    engine: EngineId,
    /// The model.
    #[schema(value_type = String)]
    model: ModelName,
    /// `loaded` where it is in memory, `ready` where it is there.
    state: &'static str,
    /// How much of it is there.
    percent: f64,
    /// Size of its weights, bytes.
    size_bytes: Option<u64>,
    /// How much of these is there.
    done_bytes: Option<u64>,
}

pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<Query>,
) -> Result<Envelope<Items<Progress>>, Error> {
    let filter = EntryFilter {
        id: query.client_id,
        owner: caller.filter_by("user_id", query.user_id)?,
        after: query.cursor,
        limit: limit(query.limit, 100)?,
        ..EntryFilter::within(caller.scope.clone())
    };
    let found = listing::find(&api, &Whereabouts::of(&api), &filter).await?;
    if query.client_id.is_some() && found.agents.is_empty() {
        return Err(Error::NoAgent);
    }
    let wanted = |progress: &Progress| query.model.as_ref().is_none_or(|model| *model == progress.model);
    let items: Vec<_> = found.agents.iter().flat_map(of).filter(wanted).collect();
    let message = format!("{} models, all of them there", items.len());
    Ok(Envelope::of(Items { items, next: found.next.map(|id| id.to_string()) }, message))
}

fn of(agent: &AgentView) -> Vec<Progress> {
    let models =
        agent.engines.iter().flat_map(|engine| engine.models.iter().map(move |model| (engine, model)));
    let progress = models.map(|(engine, model)| Progress {
        client_id: agent.id,
        client_name: agent.name.clone(),
        engine: engine.id.clone(),
        model: model.name.clone(),
        state: if model.loaded == Some(true) { "loaded" } else { "ready" },
        percent: 100.0,
        size_bytes: model.size_bytes,
        done_bytes: model.size_bytes,
    });
    progress.collect()
}
