//! Models that can be asked for, over all agents.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use common::ModelName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::{AgentView, Api, Page, caller::Caller, error::Error, listing, whereabouts::Whereabouts},
    store::{Among, EntryFilter, Scope},
};

/// A model and where it is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServedModel)]
pub(in crate::api) struct Listed {
    /// Its name.
    #[schema(value_type = String)]
    id: ModelName,
    /// Engines that serve it.
    engines: u32,
    /// Of these, engines that have it in memory, as far as they tell.
    loaded: u32,
    /// Requests that these engines work on at once, for all their models.
    slots: u32,
    /// Requests that this server has with these engines.
    in_flight: u32,
}

pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Json<Page<Listed>>, Error> {
    let whereabouts = Whereabouts::of(&api);
    let filter =
        EntryFilter { among: Among::These(whereabouts.ids()), ..EntryFilter::within(caller.scope.clone()) };
    let agents = match listing::all(&api.store, &whereabouts, filter).await {
        Ok(agents) => agents,
        // The registry knows without the store, but not whose they are.
        Err(error) if caller.scope == Scope::Everything => {
            tracing::warn!(%error, "the list of models has those of this server's agents only");
            whereabouts.into_here()
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Json(over(&agents).into()))
}

fn over(agents: &[AgentView]) -> Vec<Listed> {
    let mut models: BTreeMap<ModelName, Listed> = BTreeMap::new();
    for engine in agents.iter().flat_map(|agent| &agent.engines) {
        for model in &engine.models {
            let listed = models.entry(model.name.clone()).or_insert_with(|| Listed {
                id: model.name.clone(),
                engines: 0,
                loaded: 0,
                slots: 0,
                in_flight: 0,
            });
            listed.engines += 1;
            listed.loaded += u32::from(model.loaded == Some(true));
            listed.slots = listed.slots.saturating_add(engine.slots);
            listed.in_flight = listed.in_flight.saturating_add(engine.in_flight);
        }
    }
    models.into_values().collect()
}
