//! What every store must do, as one function over an opened, empty store.

#[cfg(test)]
mod agents;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod days;
#[cfg(test)]
mod glances;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod machines;
#[cfg(test)]
mod poison;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod usage;

use common::{AgentId, Dialect, Endpoint, EngineKind};

use super::*;
use crate::{data_dir::DataDir, secret::SecretUrl};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const NOW_MS: u64 = 1_800_000_000_000;

/// Runs the whole suite.
async fn conforms(store: &Store) {
    keys::conform(store).await;
    machines::conform(store).await;
    usage::conform(store).await;
    audit::conform(store).await;
    servers::conforms(store).await;
    tenants::conform(store).await;
    glances::conform(store).await;
    samples::conform(store).await;
    agents::conform(store).await;
    days::conform(store).await;
}

#[tokio::test]
async fn sqlite_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::embedded(&DataDir::open(folder.path()).unwrap()).await.unwrap();
    conforms(&store).await;
    store.close().await;
}

#[tokio::test]
async fn postgres_conforms() {
    let url = test_services::Postgres::shared().database().await;
    let store = postgres(&url).await;
    conforms(&store).await;
    store.close().await;
}

async fn postgres(url: &str) -> Store {
    let database = Database::Postgres(SecretUrl::new(url.to_owned()));
    let folder = tempfile::tempdir().unwrap();
    Store::open(&database, &DataDir::open(folder.path()).unwrap()).await.unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn key(text: &str) -> KeyRow {
    KeyRow {
        id: KeyId::random().unwrap(),
        name: name(text),
        hash: KeyHash::of(text.as_bytes()),
        prefix: "gpuf_abcd".into(),
        models: Models::All,
        access: Access::Shared,
        created: NOW,
        expires: None,
        revoked: None,
    }
}

fn token(text: &str, uses: u32) -> TokenRow {
    TokenRow {
        id: TokenId::random().unwrap(),
        name: name(text),
        hash: TokenHash::of(text.as_bytes()),
        owner: None,
        uses_left: uses,
        created: NOW,
        expires: NOW.after(Duration::from_secs(60)),
        revoked: None,
    }
}

fn agent() -> AgentRow {
    AgentRow { id: AgentId::random().unwrap(), name: name("host"), owner: None, enrolled: NOW, revoked: None }
}

fn record(started_unix_ms: u64) -> UsageRecord {
    UsageRecord {
        id: UsageId::next(started_unix_ms),
        key_id: KeyId::random().unwrap(),
        model: Some("llama3.2:1b".parse().unwrap()),
        agent_id: Some(AgentId::random().unwrap()),
        engine: Some(EngineKind::Vllm),
        dialect: Dialect::Ollama,
        endpoint: Endpoint::OllamaChat,
        status: 200,
        outcome: Outcome::Ok,
        prompt_tokens: Some(7),
        completion_tokens: Some(u32::MAX),
        first_token_ms: Some(40),
        duration_ms: 900,
        bytes: 1 << 40,
        started_unix_ms,
    }
}

async fn usage_of(store: &Store, key_id: KeyId) -> Vec<UsageRecord> {
    store.usage(&UsageFilter { key_id: Some(key_id), limit: 1000, ..UsageFilter::default() }).await.unwrap()
}
