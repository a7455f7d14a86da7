//! Records of usage, newest first, a page at a time.

use std::sync::Arc;

use axum::{Json, extract::State};
use common::{AgentId, ModelName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::{
        Api, Page,
        caller::Caller,
        error::Error,
        extract::{Asked, limit},
    },
    store::{KeyId, Outcome, UsageFilter, UsageSeen},
};

const LIMIT: u32 = 100;

/// Which records, and how many of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Query {
    /// Of this key; a tenant can ask for its own only.
    #[param(value_type = Option<String>, pattern = "^[0-9a-f]{16}$")]
    key: Option<KeyId>,
    /// Of this model.
    #[param(value_type = Option<String>)]
    model: Option<ModelName>,
    /// Served by this agent.
    #[param(value_type = Option<String>, pattern = "^[0-9a-f]{32}$")]
    agent: Option<AgentId>,
    /// That ended so.
    #[param(inline)]
    outcome: Option<Outcome>,
    /// Begun at or after, milliseconds since the Unix epoch.
    since_unix_ms: Option<u64>,
    /// Begun before, milliseconds since the Unix epoch.
    until_unix_ms: Option<u64>,
    /// The `next` of the page before.
    #[param(pattern = "^[0-9a-f]{32}$")]
    before: Option<String>,
    /// At most so many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// A record as it is shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UsageRecord)]
pub(in crate::api) struct Listed {
    /// Names the record.
    id: String,
    /// Whose request; to a tenant null where the key is not its own.
    #[schema(value_type = Option<String>)]
    key_id: Option<KeyId>,
    /// The model that was asked for, where the request got that far.
    #[schema(value_type = Option<String>)]
    model: Option<ModelName>,
    /// The agent that answered.
    #[schema(value_type = Option<String>)]
    agent_id: Option<AgentId>,
    /// The kind of its engine.
    engine: Option<&'static str>,
    /// `openai`, `anthropic` or `ollama`.
    dialect: &'static str,
    /// The path.
    endpoint: &'static str,
    /// The HTTP status that the caller got.
    status: u16,
    /// How it ended.
    #[schema(inline)]
    outcome: Outcome,
    /// As the engine counted.
    prompt_tokens: Option<u32>,
    /// As the engine counted.
    completion_tokens: Option<u32>,
    /// From the request's head to the first byte of the answer, milliseconds.
    first_token_ms: Option<u32>,
    /// From the request's head to its end, milliseconds.
    duration_ms: u32,
    /// Bytes of the answer's body.
    bytes: u64,
    /// When it began, milliseconds since the Unix epoch.
    started_unix_ms: u64,
}

pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<Query>,
) -> Result<Json<Page<Listed>>, Error> {
    let filter = filter(query)?;
    let records = api.store.usage_within(&caller.scope, &filter).await?;
    let full = records.len() >= filter.limit as usize;
    let next = records.last().filter(|_| full).map(|seen| seen.record.id.to_string());
    Ok(Json(Page { data: records.into_iter().map(Listed::from).collect(), next }))
}

fn filter(query: Query) -> Result<UsageFilter, Error> {
    let before =
        query.before.map(|id| id.parse().map_err(|_| Error::Malformed("before is no usage id".into())));
    Ok(UsageFilter {
        key_id: query.key,
        model: query.model,
        agent_id: query.agent,
        outcome: query.outcome,
        since_unix_ms: query.since_unix_ms,
        until_unix_ms: query.until_unix_ms,
        before: before.transpose()?,
        limit: limit(query.limit, LIMIT)?,
    })
}

impl From<UsageSeen> for Listed {
    fn from(UsageSeen { record, key_is_own }: UsageSeen) -> Self {
        Self {
            id: record.id.to_string(),
            key_id: key_is_own.then_some(record.key_id),
            model: record.model,
            agent_id: record.agent_id,
            engine: record.engine.map(common::EngineKind::as_str),
            dialect: record.dialect.as_str(),
            endpoint: record.endpoint.path(),
            status: record.status,
            outcome: record.outcome,
            prompt_tokens: record.prompt_tokens,
            completion_tokens: record.completion_tokens,
            first_token_ms: record.first_token_ms,
            duration_ms: record.duration_ms,
            bytes: record.bytes,
            started_unix_ms: record.started_unix_ms,
        }
    }
}
