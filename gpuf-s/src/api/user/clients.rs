//! Clients as they are listed and edited.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use common::{AgentId, EngineId, EngineKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ClientQuery, status_of};
use crate::{
    api::{
        AgentView, Api, EngineView,
        caller::Caller,
        envelope::{Envelope, Items},
        error::Error,
        extract::{Asked, Body},
        listing, moment,
        openapi::shapes,
        v1::agents::{self, given},
        whereabouts::Whereabouts,
    },
    store::Name,
};

/// A client, which is an agent.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Client {
    /// Its id.
    #[schema(schema_with = shapes::agent_id)]
    client_id: AgentId,
    /// Its name.
    client_name: String,
    /// The tenant whose it is; null for the operator's.
    #[schema(value_type = Option<String>)]
    user_id: Option<Name>,
    /// `online`, `offline` or `revoked`.
    status: &'static str,
    /// Whether it takes no further requests.
    draining: bool,
    /// Its software version.
    version: Option<String>,
    /// Operating system.
    os: Option<String>,
    /// Processor architecture.
    arch: Option<String>,
    /// Where it dialled from.
    address: Option<String>,
    /// Labels.
    labels: BTreeMap<String, String>,
    /// Where it stands.
    location: Option<String>,
    /// Its engines.
    engines: Vec<ClientEngine>,
    /// Its latest stored heartbeat.
    last_seen: Option<String>,
    /// When it was let in.
    enrolled_at: Option<String>,
    /// When it was put out.
    revoked_at: Option<String>,
}

/// An engine of a client.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ClientEngine {
    /// Its name within the client.
    #[schema(value_type = String)]
    engine: EngineId,
    /// What it is.
    #[schema(schema_with = shapes::engine_kind)]
    kind: EngineKind,
    /// Its version.
    version: Option<String>,
    /// Requests that it works on at once.
    slots: u32,
    /// The names of its models.
    models: Vec<String>,
}

pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<ClientQuery>,
) -> Result<Envelope<Items<Client>>, Error> {
    let whereabouts = Whereabouts::of(&api);
    let found = listing::find(&api, &whereabouts, &query.filter(&caller, &whereabouts)?).await?;
    let items: Vec<_> = found.agents.into_iter().map(Client::from).collect();
    let message = format!("{} clients", items.len());
    Ok(Envelope::of(Items { items, next: found.next.map(|id| id.to_string()) }, message))
}

/// What to change about a client: a field that is left out stays, and null goes back to what the client tells.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ClientEdit {
    /// Which one.
    #[schema(schema_with = shapes::agent_id)]
    client_id: AgentId,
    /// Its name.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, required = false)]
    client_name: Option<Option<Name>>,
    /// Its labels.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<BTreeMap<String, String>>, required = false)]
    labels: Option<Option<BTreeMap<String, String>>>,
    /// Where it stands.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, required = false)]
    location: Option<Option<String>>,
    /// The tenant whose it is, null for the operator; only the operator may change it.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>, required = false)]
    user_id: Option<Option<Name>>,
}

pub(in crate::api) async fn edit(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(wish): Body<ClientEdit>,
) -> Result<Envelope<Client>, Error> {
    let edit = agents::Edit {
        name: wish.client_name,
        labels: wish.labels,
        location: wish.location,
        owner: wish.user_id,
    };
    let edited = edit.apply(&api, &caller, wish.client_id).await?;
    Ok(Envelope::of(edited.into(), "client changed"))
}

impl From<AgentView> for Client {
    fn from(agent: AgentView) -> Self {
        Self {
            client_id: agent.id,
            status: status_of(&agent),
            draining: agent.state == "draining",
            client_name: agent.name,
            user_id: agent.owner,
            version: agent.version,
            os: agent.os,
            arch: agent.arch,
            address: agent.address,
            labels: agent.labels,
            location: agent.location,
            engines: agent.engines.into_iter().map(ClientEngine::from).collect(),
            last_seen: agent.last_seen_unix_ms.and_then(moment::of_ms),
            enrolled_at: agent.enrolled_unix.and_then(moment::of_seconds),
            revoked_at: agent.revoked_unix.and_then(moment::of_seconds),
        }
    }
}

impl From<EngineView> for ClientEngine {
    fn from(engine: EngineView) -> Self {
        Self {
            engine: engine.id,
            kind: engine.kind,
            version: engine.version,
            slots: engine.slots,
            models: engine.models.into_iter().map(|model| model.name.to_string()).collect(),
        }
    }
}
