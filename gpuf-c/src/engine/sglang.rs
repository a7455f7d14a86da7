//! SGLang.

use common::{Endpoint, EndpointSet};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    client::{Answer, Client, Error},
    metrics, routes,
    survey::{Facts, SLOTS_UNTOLD, WaitingAt},
};

const WAITING: &str = "sglang:num_queue_reqs";
/// Where releases report on their load, the recent ones first.
const LOADS_AT: [&str; 2] = ["/v1/loads?include=core", "/get_load"];
/// What a server has that does not describe itself.
const UNDESCRIBED: EndpointSet = EndpointSet::of(&[
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Embeddings,
    Endpoint::Rerank,
    Endpoint::Score,
]);

/// `/server_info`, in older releases `/get_server_info`: its arguments and what came of them. Most of it
/// is not read, the keys that it was started with above all.
#[derive(Debug, Deserialize)]
struct ServerInfo {
    version: Option<String>,
    max_running_requests: Option<u32>,
    #[serde(default)]
    internal_states: Vec<InternalState>,
}

#[derive(Debug, Deserialize)]
struct InternalState {
    effective_max_running_requests_per_dp: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct ModelInfo {
    #[serde(rename = "model_path")]
    _model_path: IgnoredAny,
    #[serde(rename = "is_generation")]
    _is_generation: IgnoredAny,
}

/// The report on its load, per rank, in the recent and the older form.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Loads {
    Recent { loads: Vec<Load> },
    Older(Vec<Load>),
}

#[derive(Debug, Deserialize)]
struct Load {
    num_waiting_reqs: u32,
}

impl Loads {
    fn waiting(&self) -> u32 {
        let (Self::Recent { loads } | Self::Older(loads)) = self;
        loads.iter().fold(0, |sum, rank| sum.saturating_add(rank.num_waiting_reqs))
    }
}

/// Asks whether this is SGLang.
pub async fn recognise(client: &mut Client) -> Result<bool, Error> {
    let answer = either(client, "/model_info", "/get_model_info").await?;
    Ok(answer.json::<ModelInfo>().is_ok())
}

/// Its version, routes and limit of running requests.
pub async fn learn(client: &mut Client) -> Result<Facts, Error> {
    let info: ServerInfo = either(client, "/server_info", "/get_server_info").await?.json()?;
    let endpoints = routes::described(client).await?.unwrap_or(UNDESCRIBED);
    Ok(Facts {
        endpoints,
        slots: info.slots().unwrap_or(SLOTS_UNTOLD),
        context_tokens: None,
        waiting_at: waiting_at(client).await,
        version: info.version,
    })
}

impl ServerInfo {
    /// What all ranks take together; the argument, where they do not tell.
    fn slots(&self) -> Option<u32> {
        let ranks =
            self.internal_states.iter().filter_map(|state| state.effective_max_running_requests_per_dp);
        let total = ranks.fold(0, u32::saturating_add);
        Some(total).filter(|total| *total > 0).or(self.max_running_requests)
    }
}

/// Its metrics are off unless asked for, its load never is.
async fn waiting_at(client: &mut Client) -> Option<WaitingAt> {
    if metrics::sum(client, WAITING).await.is_ok_and(|gauge| gauge.is_some()) {
        return Some(WaitingAt::Metric(WAITING));
    }
    for path in LOADS_AT {
        if waiting(client, path).await.is_ok() {
            return Some(WaitingAt::Load(path));
        }
    }
    None
}

/// Requests that wait, over all ranks.
pub async fn waiting(client: &mut Client, path: &'static str) -> Result<u32, Error> {
    Ok(client.get(path).await?.json::<Loads>()?.waiting())
}

async fn either(client: &mut Client, recent: &'static str, older: &'static str) -> Result<Answer, Error> {
    let answer = client.get(recent).await?;
    if answer.status.is_success() { Ok(answer) } else { client.get(older).await }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(info: &str) -> Option<u32> {
        serde_json::from_str::<ServerInfo>(info).unwrap().slots()
    }

    #[test]
    fn slots_are_what_came_of_the_arguments() {
        let two_ranks = r#"{"max_running_requests":null,"api_key":"secret","internal_states":[
            {"effective_max_running_requests_per_dp":48,"x":[]},{"effective_max_running_requests_per_dp":48}]}"#;
        assert_eq!(slots(two_ranks), Some(96));
        assert_eq!(slots(r#"{"max_running_requests":32,"internal_states":[{}]}"#), Some(32));
        assert_eq!(slots("{}"), None);
    }

    #[test]
    fn load_is_read_in_both_forms() {
        let waiting = |text| serde_json::from_str::<Loads>(text).unwrap().waiting();
        assert_eq!(waiting(r#"{"version":"x","loads":[{"num_waiting_reqs":2},{"num_waiting_reqs":1}]}"#), 3);
        assert_eq!(waiting(r#"[{"dp_rank":0,"num_reqs":9,"num_waiting_reqs":4}]"#), 4);
    }
}
