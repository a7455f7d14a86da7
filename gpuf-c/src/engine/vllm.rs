//! vLLM.

use common::{Endpoint, EndpointSet};
use serde::Deserialize;

use super::{
    client::{Client, Error},
    metrics, routes,
    survey::{Facts, SLOTS_UNTOLD, WaitingAt},
};

const WAITING: &str = "vllm:num_requests_waiting";
/// What a server has that does not describe itself (`--disable-fastapi-docs`).
const UNDESCRIBED: EndpointSet = EndpointSet::of(&[
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Responses,
    Endpoint::Embeddings,
    Endpoint::AudioTranscriptions,
    Endpoint::AudioTranslations,
    Endpoint::Rerank,
    Endpoint::Score,
    Endpoint::Messages,
    Endpoint::CountTokens,
]);
/// A description has no place for WebSockets. Where the model cannot do it, the engine refuses the
/// handshake by itself.
const UNDESCRIBABLE: EndpointSet = EndpointSet::of(&[Endpoint::Realtime]);

#[derive(Debug, Deserialize)]
struct Version {
    version: String,
}

/// Asks whether this is vLLM: others too have a `/version`, its metrics are its own.
pub async fn recognise(client: &mut Client) -> Result<bool, Error> {
    if client.get("/version").await?.json::<Version>().is_err() {
        return Ok(false);
    }
    match client.get_long("/metrics").await?.text() {
        Ok(page) => Ok(page.contains("vllm:")),
        Err(Error::Status { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Its version and routes. Its limit of running requests is told nowhere outside of development mode.
pub async fn learn(client: &mut Client) -> Result<Facts, Error> {
    let version: Version = client.get("/version").await?.json()?;
    let endpoints = routes::described(client).await?.unwrap_or(UNDESCRIBED);
    let counts_waiting = metrics::sum(client, WAITING).await?.is_some();
    Ok(Facts {
        endpoints: endpoints.union(UNDESCRIBABLE),
        slots: SLOTS_UNTOLD,
        context_tokens: None,
        waiting_at: counts_waiting.then_some(WaitingAt::Metric(WAITING)),
        version: Some(version.version),
    })
}
