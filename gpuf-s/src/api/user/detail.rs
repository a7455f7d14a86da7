//! The devices of a client.

use std::sync::Arc;

use axum::extract::State;
use common::AgentId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::status_of;
use crate::api::{
    Api,
    caller::Caller,
    envelope::Envelope,
    error::Error,
    extract::Asked,
    listing, moment,
    openapi::shapes,
    readings::{self, DeviceFigures, HostFigures},
};

/// Which client.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Query {
    /// This one.
    #[param(value_type = String, pattern = "^[0-9a-f]{32}$")]
    client_id: AgentId,
}

/// A client's host and its GPUs, with their latest figures.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ClientDevices {
    /// Its id.
    #[schema(schema_with = shapes::agent_id)]
    client_id: AgentId,
    /// Its name.
    client_name: String,
    /// `online`, `offline` or `revoked`.
    status: &'static str,
    /// When the figures are from; null where there never were any.
    at: Option<String>,
    /// The host.
    host: Option<HostFigures>,
    /// Its GPUs.
    devices: Vec<DeviceFigures>,
}

pub(in crate::api) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<Query>,
) -> Result<Envelope<ClientDevices>, Error> {
    let agent = listing::one(&api, &caller.scope, query.client_id).await?;
    let latest = readings::latest(&api, &caller.scope, std::slice::from_ref(&agent)).await?.remove(&agent.id);
    let (at, host, devices) = match latest {
        Some(latest) => (moment::of_ms(latest.at_unix_ms), Some(latest.host), latest.devices),
        None => (None, None, Vec::new()),
    };
    let message = format!("{} devices", devices.len());
    let status = status_of(&agent);
    let data = ClientDevices { client_id: agent.id, client_name: agent.name, status, at, host, devices };
    Ok(Envelope::of(data, message))
}
