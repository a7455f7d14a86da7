//! What an agent's host told: its devices, its heartbeats, its days.

use std::sync::Arc;

use axum::{Json, extract::State};
use common::AgentId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::{
        Api, Page,
        caller::Caller,
        days::{self, DayFigures},
        error::Error,
        extract::{Asked, Id, limit},
        listing,
        readings::{self, DeviceFigures, HostFigures},
    },
    store::{Day, Sample, SampleFilter, SampleId},
};

/// A heartbeat.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Heartbeat)]
pub(in crate::api) struct Listed {
    /// When it was taken, by the agent's clock, milliseconds since the Unix epoch.
    taken_unix_ms: u64,
    /// The host.
    host: HostFigures,
    /// Its GPUs.
    devices: Vec<DeviceFigures>,
}

/// Which heartbeats, and how many of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct HeartbeatQuery {
    /// Taken at or after, milliseconds since the Unix epoch.
    since_unix_ms: Option<u64>,
    /// Taken before, milliseconds since the Unix epoch.
    until_unix_ms: Option<u64>,
    /// At most so many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// Which days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct DayQuery {
    /// From this day on, UTC; 30 days back unless told.
    #[param(value_type = Option<String>, pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
    from: Option<Day>,
    /// Up to this day, which belongs to them; today unless told. 366 days at most.
    #[param(value_type = Option<String>, pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
    to: Option<Day>,
}

pub(in crate::api) async fn devices(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<AgentId>,
) -> Result<Json<Page<DeviceFigures>>, Error> {
    let agent = listing::one(&api, &caller.scope, id).await?;
    let latest = readings::latest(&api, &caller.scope, std::slice::from_ref(&agent)).await?.remove(&id);
    Ok(Json(latest.map(|latest| latest.devices).unwrap_or_default().into()))
}

pub(in crate::api) async fn heartbeats(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Asked(query): Asked<HeartbeatQuery>,
) -> Result<Json<Page<Listed>>, Error> {
    let filter = SampleFilter {
        agent_id: id,
        owner: caller.scope.tenant().cloned(),
        since_unix_ms: query.since_unix_ms,
        until_unix_ms: query.until_unix_ms,
        before: query.cursor.as_deref().map(before).transpose()?,
        limit: limit(query.limit, 100)?,
    };
    listing::one(&api, &caller.scope, id).await?;
    let samples = api.store.samples(&filter).await?;
    let full = samples.len() >= filter.limit as usize;
    let next = samples.last().filter(|_| full).map(|last| format!("{}.{}", last.taken_unix_ms, last.id));
    Ok(Json(Page { data: samples.into_iter().map(Listed::from).collect(), next }))
}

pub(in crate::api) async fn days(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<AgentId>,
    Asked(query): Asked<DayQuery>,
) -> Result<Json<Page<DayFigures>>, Error> {
    let span = days::span(query.from, query.to)?;
    listing::one(&api, &caller.scope, id).await?;
    let filter = days::filter(caller.scope.tenant().cloned(), Some(id), span, 1000);
    let (days, _) = days::page(&api, &filter).await?;
    Ok(Json(days.into_iter().map(|(_, figures)| figures).collect::<Vec<_>>().into()))
}

/// Where a page ended: a time and a heartbeat's id.
fn before(cursor: &str) -> Result<(u64, SampleId), Error> {
    let parts = cursor.split_once('.').and_then(|(taken, id)| {
        // The same 32 digits as every id of 16 bytes.
        let id: AgentId = id.parse().ok()?;
        Some((taken.parse().ok()?, SampleId::from_bytes(*id.as_bytes())))
    });
    parts.ok_or_else(|| Error::Malformed("cursor is none of a page before".into()))
}

impl From<Sample> for Listed {
    fn from(sample: Sample) -> Self {
        Self {
            taken_unix_ms: sample.taken_unix_ms,
            host: HostFigures::from(&sample),
            devices: sample.devices.into_iter().map(DeviceFigures::from).collect(),
        }
    }
}
