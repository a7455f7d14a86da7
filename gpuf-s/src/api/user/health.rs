//! Whether clients are well, and what is wrong where they are not.

use std::sync::Arc;

use axum::extract::State;
use common::AgentId;
use serde::Serialize;
use utoipa::ToSchema;

use super::{ClientQuery, clients::ClientEngine, status_of};
use crate::api::{
    AgentView, Api,
    caller::Caller,
    envelope::{Envelope, Items},
    error::Error,
    extract::Asked,
    listing, moment,
    openapi::shapes,
    readings::{self, DeviceFigures, Latest},
    whereabouts::Whereabouts,
};

/// An agent with a session tells how it is every ten seconds; one that has not for this long is stale.
const STALE_AFTER_MS: u64 = 60_000;
/// GPUs slow themselves down above.
const HOT_C: f64 = 90.0;
/// Less free memory than this on a GPU, and the next request may fail.
const FULL_PERCENT: u64 = 97;

/// How a client is.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ClientHealth {
    /// Its id.
    #[schema(schema_with = shapes::agent_id)]
    client_id: AgentId,
    /// Its name.
    client_name: String,
    /// `online`; `stale` where it has a session and its heartbeats do not come; `offline`; or `revoked`.
    health: &'static str,
    /// What a person should know, in sentences; empty where all is well.
    reasons: Vec<String>,
    /// Its latest heartbeat.
    last_seen: Option<String>,
    /// Its engines, with their models.
    engines: Vec<ClientEngine>,
    /// Its GPUs as they last were.
    devices: Vec<DeviceFigures>,
}

pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<ClientQuery>,
) -> Result<Envelope<Items<ClientHealth>>, Error> {
    let whereabouts = Whereabouts::of(&api);
    let found = listing::find(&api, &whereabouts, &query.filter(&caller, &whereabouts)?).await?;
    let mut latest = readings::latest(&api, &caller.scope, &found.agents).await?;
    let now_ms = moment::now_ms();
    let health = |agent: AgentView| {
        let latest = latest.remove(&agent.id);
        ClientHealth::of(agent, latest, now_ms)
    };
    let items: Vec<_> = found.agents.into_iter().map(health).collect();
    let well = items.iter().filter(|one| one.health == "online" && one.reasons.is_empty()).count();
    let message = format!("{} clients, {well} of them well", items.len());
    Ok(Envelope::of(Items { items, next: found.next.map(|id| id.to_string()) }, message))
}

impl ClientHealth {
    fn of(agent: AgentView, latest: Option<Latest>, now_ms: u64) -> Self {
        let seen_ms = latest.as_ref().map(|latest| latest.at_unix_ms).max(agent.last_seen_unix_ms);
        let devices = latest.map(|latest| latest.devices).unwrap_or_default();
        let silent_ms = seen_ms.map(|seen_ms| now_ms.saturating_sub(seen_ms));
        let health = match status_of(&agent) {
            "online" if silent_ms.is_none_or(|silent_ms| silent_ms > STALE_AFTER_MS) => "stale",
            status => status,
        };
        Self {
            client_id: agent.id,
            reasons: reasons(&agent, health, silent_ms, &devices),
            client_name: agent.name,
            health,
            last_seen: seen_ms.and_then(moment::of_ms),
            engines: agent.engines.into_iter().map(ClientEngine::from).collect(),
            devices,
        }
    }
}

fn reasons(
    agent: &AgentView,
    health: &str,
    silent_ms: Option<u64>,
    devices: &[DeviceFigures],
) -> Vec<String> {
    let mut reasons = Vec::new();
    match (health, silent_ms) {
        ("revoked", _) => {
            reasons.push("It was put out, and cannot come back without another join string.".into())
        }
        ("offline", None) => reasons.push("It has no session, and never told how it is.".into()),
        ("offline", Some(ms)) => {
            reasons.push(format!("It has no session; it was last heard of {}.", ago(ms)))
        }
        ("stale", None) => reasons.push("It has a session, and no heartbeat has come yet.".into()),
        ("stale", Some(ms)) => {
            reasons.push(format!("It has a session; its last heartbeat came {}.", ago(ms)))
        }
        _ => {}
    }
    if matches!(health, "revoked" | "offline") {
        return reasons;
    }
    if agent.state == "draining" {
        reasons.push("It takes no further requests.".into());
    }
    if agent.engines.iter().all(|engine| engine.models.is_empty()) {
        reasons.push("No engine of it serves a model.".into());
    }
    reasons.extend(devices.iter().flat_map(device_reasons));
    reasons
}

fn device_reasons(device: &DeviceFigures) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(degrees) = device.temperature_c.filter(|degrees| *degrees >= HOT_C) {
        reasons.push(format!("GPU {} is hot: {degrees:.0} °C.", device.index));
    }
    if let (Some(used), Some(total)) = (device.memory_used_bytes, device.memory_total_bytes)
        && total > 0
        && used.saturating_mul(100) / total >= FULL_PERCENT
    {
        reasons.push(format!("The memory of GPU {} is full.", device.index));
    }
    reasons
}

fn ago(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..120 => format!("{seconds} seconds ago"),
        seconds @ 120..7200 => format!("{} minutes ago", seconds / 60),
        seconds @ 7200..172_800 => format!("{} hours ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_do() {
        for (ms, text) in
            [(500, "0 seconds"), (130_000, "2 minutes"), (7_300_000, "2 hours"), (1 << 40, "12725 days")]
        {
            assert_eq!(ago(ms), format!("{text} ago"));
        }
    }

    #[test]
    fn a_hot_or_full_gpu_is_a_reason() {
        let device = DeviceFigures {
            index: 1,
            name: String::new(),
            vendor: String::new(),
            busy_percent: None,
            memory_used_bytes: Some(97),
            memory_total_bytes: Some(100),
            power_watts: None,
            temperature_c: Some(90.2),
            energy_joules: None,
        };
        assert_eq!(device_reasons(&device), ["GPU 1 is hot: 90 °C.", "The memory of GPU 1 is full."]);
        let cool = DeviceFigures { temperature_c: Some(89.9), memory_used_bytes: Some(96), ..device };
        assert!(device_reasons(&cool).is_empty());
    }
}
