//! Ollama.

use std::collections::BTreeMap;

use common::{Endpoint, EndpointSet, ModelReport};
use serde::Deserialize;

use super::{
    client::{Client, Error},
    openai, routes,
    survey::Facts,
};

/// Ollama's own setting for requests that one model works on at once. It is read from this process's
/// environment, which is the engine's too where one unit or shell starts both.
const PARALLEL_VARIABLE: &str = "OLLAMA_NUM_PARALLEL";
/// Where that variable is not set, Ollama works on one request at a time (its pull request 11330, in
/// releases from 0.10 on).
const PARALLEL_DEFAULT: u32 = 1;
/// Before, it chose 4 where memory sufficed.
const PARALLEL_DEFAULT_BEFORE_0_10: u32 = 4;

const ALWAYS: EndpointSet = EndpointSet::of(&[
    Endpoint::ChatCompletions,
    Endpoint::Completions,
    Endpoint::Embeddings,
    Endpoint::OllamaChat,
    Endpoint::OllamaGenerate,
    Endpoint::OllamaEmbed,
    Endpoint::OllamaEmbeddings,
    Endpoint::OllamaShow,
]);
/// What later releases added, as their notes say.
const ADDED: [((u32, u32, u32), Endpoint); 2] =
    [((0, 13, 3), Endpoint::Responses), ((0, 14, 0), Endpoint::Messages)];

#[derive(Debug, Deserialize)]
struct Version {
    version: String,
}

/// `/api/tags`, and `/api/ps` in as far as it says the same.
#[derive(Debug, Deserialize)]
struct Tags {
    #[serde(default)]
    models: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
struct Tag {
    name: String,
    size: Option<u64>,
    digest: Option<String>,
    modified_at: Option<String>,
    context_length: Option<u32>,
}

/// Asks whether this is Ollama.
pub async fn recognise(client: &mut Client) -> Result<bool, Error> {
    let greeting = client.get("/").await?;
    if !greeting.status.is_success() || !greeting.text()?.contains("Ollama is running") {
        return Ok(false);
    }
    Ok(client.get("/api/version").await?.json::<Version>().is_ok())
}

/// Its version, and what follows from that.
pub async fn learn(client: &mut Client) -> Result<Facts, Error> {
    let Version { version } = client.get("/api/version").await?.json()?;
    let setting = std::env::var(PARALLEL_VARIABLE).ok();
    let endpoints = match parse(&version) {
        Some(version) => endpoints(version),
        // Built from source: it must be asked.
        None => ALWAYS
            .union(routes::complaining(client, &ADDED.map(|(_, added)| added), routes::is_missing).await?),
    };
    Ok(Facts {
        endpoints,
        slots: slots(&version, setting.as_deref()),
        context_tokens: None,
        waiting_at: None,
        version: Some(version),
    })
}

/// What is there, and what of it is in memory.
pub async fn models(client: &mut Client) -> Result<Vec<ModelReport>, Error> {
    let tags: Tags = client.get("/api/tags").await?.json()?;
    let running: Tags = client.get("/api/ps").await?.json()?;
    let running: BTreeMap<String, Tag> =
        running.models.into_iter().map(|tag| (tag.name.clone(), tag)).collect();
    Ok(openai::reports(tags.models, |tag| {
        let mut report = openai::named(&tag.name)?;
        let loaded = running.get(&tag.name);
        report.loaded = Some(loaded.is_some());
        report.context_tokens = loaded.and_then(|loaded| loaded.context_length);
        report.size_bytes = tag.size;
        report.modified_unix = tag.modified_at.as_deref().and_then(openai::unix_seconds);
        report.digest = tag.digest.filter(|digest| !digest.is_empty() && digest.len() <= 128);
        Some(report)
    }))
}

fn endpoints(version: (u32, u32, u32)) -> EndpointSet {
    let added = ADDED.iter().filter(|(since, _)| version >= *since);
    added.fold(ALWAYS, |set, (_, endpoint)| set.union(EndpointSet::of(&[*endpoint])))
}

fn slots(version: &str, setting: Option<&str>) -> u32 {
    let set = setting.and_then(|text| text.trim_matches(['"', '\'', ' ']).parse().ok()).filter(|n| *n > 0);
    let is_old = parse(version).is_some_and(|version| version < (0, 10, 0));
    set.unwrap_or(if is_old { PARALLEL_DEFAULT_BEFORE_0_10 } else { PARALLEL_DEFAULT })
}

/// The numbers of `0.13.3-rc1`; `None` for a build from source, which has none.
fn parse(version: &str) -> Option<(u32, u32, u32)> {
    let core = version.trim_start_matches('v').split(['-', '+']).next()?;
    let mut numbers = core.split('.').map(|part| part.parse::<u32>().ok());
    let parsed = (numbers.next()??, numbers.next()??, numbers.next().unwrap_or(Some(0))?);
    (parsed != (0, 0, 0)).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_release_has_the_endpoints_of_its_notes() {
        let has = |version, endpoint| endpoints(parse(version).unwrap()).contains(endpoint);
        assert!(!has("0.13.2", Endpoint::Responses) && has("0.13.3", Endpoint::Responses));
        assert!(!has("0.13.9", Endpoint::Messages) && has("0.14.0-rc2", Endpoint::Messages));
        assert_eq!((parse("0.0.0"), parse("main"), parse("v1.2")), (None, None, Some((1, 2, 0))));
        assert!(has("0.1.0", Endpoint::OllamaChat) && !has("9.9.9", Endpoint::Rerank));
    }

    #[test]
    fn slots_follow_the_setting_then_the_release() {
        assert_eq!(slots("0.14.0", Some("\"8\"")), 8);
        assert_eq!(slots("0.14.0", Some("0")), 1);
        assert_eq!(slots("0.14.0", None), 1);
        assert_eq!(slots("0.9.6", None), 4);
        assert_eq!(slots("0.0.0", None), 1);
    }
}
