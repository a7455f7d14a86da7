//! Models that the operator has described, with the agents that serve them at the moment.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use common::{AgentId, EngineId, EngineKind, ModelName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::{
        AgentView, Api, Page,
        caller::Caller,
        error::Error,
        extract::{Asked, Body, limit},
        hex, listing,
        openapi::shapes,
        whereabouts::Whereabouts,
    },
    store::{Among, CatalogueFilter, EntryFilter, KnownModel, UnixSeconds},
};

/// Agents that are listed with a model; how many there are is told beside them.
const AGENTS_SHOWN: usize = 100;
const DESCRIPTION_BYTES_MAX: usize = 4096;
/// SQLite and PostgreSQL keep integers of 63 bits.
const BYTES_MAX: u64 = i64::MAX.cast_unsigned();

/// Which models, and how many of them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Query {
    /// Exactly this one.
    #[param(value_type = Option<String>)]
    pub(in crate::api) model: Option<ModelName>,
    /// Only those whose name contains this, whatever its case.
    name: Option<String>,
    /// Only those that this kind of engine can serve.
    #[param(inline, value_type = Option<shapes::EngineName>)]
    engine: Option<EngineKind>,
    /// At most so many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<ModelName>,
}

/// What to say of a model; whatever was said of it before is replaced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CatalogueWish)]
pub(in crate::api) struct Wish {
    /// Its name, as requests carry it.
    #[schema(value_type = String, min_length = 1, max_length = 256)]
    name: ModelName,
    /// The kinds of engines that can serve it; any, unless told.
    #[serde(default)]
    #[schema(schema_with = shapes::engine_kinds, required = false)]
    engines: Vec<EngineKind>,
    /// Size of its weights, bytes.
    #[serde(default)]
    size_bytes: Option<u64>,
    /// SHA-256 of its weights, 64 hexadecimal digits.
    #[serde(default)]
    #[schema(pattern = "^[0-9a-fA-F]{64}$")]
    checksum_sha256: Option<String>,
    /// The least GPU memory that it needs, bytes.
    #[serde(default)]
    gpu_memory_min_bytes: Option<u64>,
    /// What people should know, up to 4096 bytes.
    #[serde(default)]
    description: Option<String>,
}

/// A model that the operator has described.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct CatalogueModel {
    /// Its name, as requests carry it.
    #[schema(value_type = String)]
    name: ModelName,
    /// The kinds of engines that can serve it; empty for any.
    #[schema(schema_with = shapes::engine_kinds)]
    engines: Vec<EngineKind>,
    /// Size of its weights, bytes.
    size_bytes: Option<u64>,
    /// SHA-256 of its weights.
    checksum_sha256: Option<String>,
    /// The least GPU memory that it needs, bytes.
    gpu_memory_min_bytes: Option<u64>,
    /// What people should know.
    description: Option<String>,
    /// When it was described first, seconds since the Unix epoch.
    added_unix: i64,
    /// When it was described last.
    changed_unix: i64,
    /// How many agents serve it at the moment.
    agents_total: usize,
    /// The first hundred of them.
    agents: Vec<ServedBy>,
}

/// An agent that serves a model.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::api) struct ServedBy {
    /// Its id.
    #[schema(schema_with = shapes::agent_id)]
    agent_id: AgentId,
    /// Its name.
    name: String,
    /// Its engine.
    #[schema(value_type = String)]
    engine: EngineId,
    /// What that is.
    #[schema(schema_with = shapes::engine_kind)]
    kind: EngineKind,
    /// Whether the weights are in memory, where the engine tells.
    loaded: Option<bool>,
}

pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<Query>,
) -> Result<Json<Page<CatalogueModel>>, Error> {
    page(&api, &caller, query).await.map(Json)
}

pub(in crate::api) async fn put(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(wish): Body<Wish>,
) -> Result<(StatusCode, Json<CatalogueModel>), Error> {
    let (status, model) = describe(&api, &caller, wish).await?;
    Ok((status, Json(model)))
}

/// Which model.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Which {
    /// Its name.
    #[param(value_type = String)]
    model: ModelName,
}

/// What was taken out.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Removed {
    /// The model's name.
    #[schema(value_type = String)]
    name: ModelName,
    /// Always true.
    removed: bool,
}

pub(in crate::api) async fn remove(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(which): Asked<Which>,
) -> Result<Json<Removed>, Error> {
    api.desk(&caller).forget_model(&which.model).await?;
    Ok(Json(Removed { name: which.model, removed: true }))
}

/// Models by their names; each agent that serves one of them is of the asker's scope.
pub(in crate::api) async fn page(
    api: &Api,
    caller: &Caller,
    query: Query,
) -> Result<Page<CatalogueModel>, Error> {
    let filter = CatalogueFilter {
        is: query.model,
        name: query.name,
        engine: query.engine,
        after: query.cursor,
        limit: limit(query.limit, 100)?,
    };
    let known = api.store.known_models(&filter).await?;
    let full = known.len() >= filter.limit as usize;
    let next = known.last().filter(|_| full).map(|model| model.name.to_string());
    let mut serving = serving(api, caller).await?;
    let data = known.into_iter().map(|model| {
        let agents = serving.remove(&model.name).unwrap_or_default();
        view(model, agents)
    });
    Ok(Page { data: data.collect(), next })
}

/// Describes a model; 201 where it was not described before.
pub(in crate::api) async fn describe(
    api: &Api,
    caller: &Caller,
    wish: Wish,
) -> Result<(StatusCode, CatalogueModel), Error> {
    let now = UnixSeconds::now();
    let mut model = wish.checked(now)?;
    let before =
        CatalogueFilter { is: Some(model.name.clone()), name: None, engine: None, after: None, limit: 1 };
    let is_new = api.store.known_models(&before).await?.is_empty();
    model.added = api.desk(caller).describe_model(&model).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let agents = serving(api, caller).await?.remove(&model.name).unwrap_or_default();
    Ok((status, view(model, agents)))
}

async fn serving(api: &Api, caller: &Caller) -> Result<BTreeMap<ModelName, Vec<ServedBy>>, Error> {
    let whereabouts = Whereabouts::of(api);
    let filter =
        EntryFilter { among: Among::These(whereabouts.ids()), ..EntryFilter::within(caller.scope.clone()) };
    Ok(by_model(&listing::all(&api.store, &whereabouts, filter).await?))
}

fn by_model(agents: &[AgentView]) -> BTreeMap<ModelName, Vec<ServedBy>> {
    let mut serving: BTreeMap<ModelName, Vec<ServedBy>> = BTreeMap::new();
    for agent in agents {
        for engine in &agent.engines {
            for model in &engine.models {
                serving.entry(model.name.clone()).or_default().push(ServedBy {
                    agent_id: agent.id,
                    name: agent.name.clone(),
                    engine: engine.id.clone(),
                    kind: engine.kind,
                    loaded: model.loaded,
                });
            }
        }
    }
    serving
}

fn view(model: KnownModel, mut agents: Vec<ServedBy>) -> CatalogueModel {
    let mut ids: Vec<_> = agents.iter().map(|agent| agent.agent_id).collect();
    ids.sort_unstable();
    ids.dedup();
    agents.truncate(AGENTS_SHOWN);
    CatalogueModel {
        name: model.name,
        engines: model.engines,
        size_bytes: model.size_bytes,
        checksum_sha256: model.checksum_sha256.map(|sum| hex::write(&sum)),
        gpu_memory_min_bytes: model.gpu_memory_bytes,
        description: model.description,
        added_unix: model.added.0,
        changed_unix: model.changed.0,
        agents_total: ids.len(),
        agents,
    }
}

impl Wish {
    fn checked(self, now: UnixSeconds) -> Result<KnownModel, Error> {
        let malformed = |text: &str| Error::Malformed(text.to_owned());
        let mut engines = self.engines;
        engines.sort_unstable_by_key(|kind| kind.as_str());
        engines.dedup();
        for size in [self.size_bytes, self.gpu_memory_min_bytes].into_iter().flatten() {
            if !(1..=BYTES_MAX).contains(&size) {
                return Err(malformed("sizes are between 1 and 9223372036854775807 bytes"));
            }
        }
        let text = self.description.as_ref();
        if text.is_some_and(|text| text.len() > DESCRIPTION_BYTES_MAX || text.contains('\0')) {
            return Err(malformed("description is up to 4096 bytes without NUL"));
        }
        let checksum = self.checksum_sha256.map(|text| {
            hex::read(&text).ok_or_else(|| malformed("checksum_sha256 is 64 hexadecimal digits"))
        });
        Ok(KnownModel {
            name: self.name,
            engines,
            size_bytes: self.size_bytes,
            checksum_sha256: checksum.transpose()?,
            gpu_memory_bytes: self.gpu_memory_min_bytes,
            description: self.description,
            added: now,
            changed: now,
        })
    }
}
