//! Models that can be asked for, over all agents.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use common::ModelName;
use serde::Serialize;

use super::{AgentView, Api, Page};

/// A model and where it is.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
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

pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<Page<Listed>> {
    Json(over(&api.fleet.agents()).into())
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
