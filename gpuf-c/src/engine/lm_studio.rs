//! LM Studio.

use common::{Endpoint, EndpointSet, ModelReport};
use serde::Deserialize;

use super::{
    client::{Answer, Client, Error},
    openai, routes,
    survey::Facts,
};

/// The default of "Max Concurrent Predictions", which LM Studio's documentation gives as 4 from release
/// 0.4.0 on. It is set per model while that is loaded, and told nowhere.
const SLOTS: u32 = 4;

const ALWAYS: EndpointSet =
    EndpointSet::of(&[Endpoint::ChatCompletions, Endpoint::Completions, Endpoint::Embeddings]);

/// What later releases added.
const ADDED: [Endpoint; 2] = [Endpoint::Responses, Endpoint::Messages];

#[derive(Debug, Deserialize)]
struct Greeting {
    lmstudio: bool,
}

/// `/api/v0/models`.
#[derive(Debug, Deserialize)]
struct List {
    data: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    id: String,
    state: Option<String>,
    loaded_context_length: Option<u32>,
    max_context_length: Option<u32>,
}

/// Asks whether this is LM Studio, by the path that its own tools use for it.
pub async fn recognise(client: &mut Client) -> Result<bool, Error> {
    let answer = client.get("/lmstudio-greeting").await?;
    Ok(answer.json::<Greeting>().is_ok_and(|greeting| greeting.lmstudio))
}

/// Its endpoints; it tells no version.
pub async fn learn(client: &mut Client) -> Result<Facts, Error> {
    let added = routes::complaining(client, &ADDED, is_missing).await?;
    let endpoints = ALWAYS.union(added);
    Ok(Facts { version: None, endpoints, slots: SLOTS, context_tokens: None, waiting_at: None })
}

/// It answers 200 to paths that it does not have.
fn is_missing(answer: &Answer) -> bool {
    routes::is_missing(answer) || answer.any_text().contains("Unexpected endpoint")
}

/// What is there, and what of it is in memory.
pub async fn models(client: &mut Client) -> Result<Vec<ModelReport>, Error> {
    let list: List = match client.get("/api/v0/models").await?.json() {
        // That interface is on its way out.
        Err(Error::Json { .. } | Error::Status { .. }) => return openai::models(client).await,
        list => list?,
    };
    Ok(openai::reports(list.data, |listed| {
        let mut report = openai::named(&listed.id)?;
        report.loaded = listed.state.as_deref().map(|state| state == "loaded");
        report.context_tokens = listed.loaded_context_length.or(listed.max_context_length);
        Some(report)
    }))
}
