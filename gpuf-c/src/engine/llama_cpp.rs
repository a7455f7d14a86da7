//! llama.cpp's server, with one model or as a router of many.

use common::{Endpoint, EndpointSet, ModelReport};
use http::StatusCode;
use serde::{Deserialize, de::IgnoredAny};

use super::{
    client::{Client, Error},
    metrics, openai, routes,
    survey::{Facts, SLOTS_UNTOLD, WaitingAt},
};

const WAITING: &str = "llamacpp:requests_deferred";
/// What some build or other has. Whether embeddings, reranking and sound are there depends on how the
/// server was started, and an empty request is answered 501 where they are not.
const CANDIDATES: [Endpoint; 8] = [
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Responses,
    Endpoint::Messages,
    Endpoint::CountTokens,
    Endpoint::Embeddings,
    Endpoint::Rerank,
    Endpoint::AudioTranscriptions,
];

#[derive(Debug, Deserialize)]
struct Props {
    total_slots: Option<u32>,
    build_info: Option<String>,
    default_generation_settings: Option<Settings>,
    /// `router`, where it starts a server per model.
    role: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Settings {
    n_ctx: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct List {
    data: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    meta: Option<Meta>,
    /// Of a router only.
    status: Option<Status>,
}

#[derive(Debug, Deserialize)]
struct Meta {
    size: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Status {
    value: String,
}

/// Asks whether this is llama.cpp.
pub async fn recognise(client: &mut Client) -> Result<bool, Error> {
    let answer = client.get("/props").await?;
    if answer.server.as_ref().is_some_and(|server| server == "llama.cpp") {
        // 503 while it loads its model: come again.
        return if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            answer.good().map(|_| true)
        } else {
            Ok(true)
        };
    }
    Ok(answer.json::<Props>().is_ok_and(|props| props.total_slots.is_some() || props.is_router()))
}

impl Props {
    fn is_router(&self) -> bool {
        self.role.as_deref() == Some("router")
    }
}

/// Slots, version and what it was started for.
pub async fn learn(client: &mut Client) -> Result<Facts, Error> {
    let props: Props = client.get("/props").await?.json()?;
    let endpoints = routes::complaining(client, &CANDIDATES, routes::is_missing).await?;
    let counts_waiting = metrics::sum(client, WAITING).await.is_ok_and(|gauge| gauge.is_some());
    let slots = if props.is_router() { None } else { slots(client, &props).await };
    Ok(Facts {
        endpoints: if props.is_router() { EndpointSet::of(&CANDIDATES) } else { endpoints },
        slots: slots.unwrap_or(SLOTS_UNTOLD),
        // A router says 0: it depends on the model.
        context_tokens: props.default_generation_settings.and_then(|set| set.n_ctx).filter(|n| *n > 0),
        waiting_at: counts_waiting.then_some(WaitingAt::Metric(WAITING)),
        version: props.build_info,
    })
}

async fn slots(client: &mut Client, props: &Props) -> Option<u32> {
    if props.total_slots.is_some() {
        return props.total_slots;
    }
    let slots = client.get("/slots").await.ok()?.json::<Vec<IgnoredAny>>().ok()?;
    u32::try_from(slots.len()).ok()
}

/// What is there; of a router also what is in memory.
pub async fn models(client: &mut Client) -> Result<Vec<ModelReport>, Error> {
    let list: List = client.get("/v1/models").await?.json()?;
    Ok(openai::reports(list.data, |listed| {
        let mut report = openai::named(&listed.id)?;
        // Without a router the one model is loaded before the port answers.
        report.loaded = Some(listed.status.is_none_or(|status| status.value == "loaded"));
        report.size_bytes = listed.meta.and_then(|meta| meta.size);
        Some(report)
    }))
}
