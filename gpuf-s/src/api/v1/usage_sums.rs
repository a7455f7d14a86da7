//! Usage added up by key, model, agent or day.

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
    store::{KeyId, UnixSeconds, UsageBy, UsageFilter, UsageGroup, UsageSum},
};

/// How far back is added up, unless told otherwise.
const DEFAULT_SPAN_MS: u64 = 30 * 86_400_000;

/// What to add up over.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum By {
    Key,
    Model,
    Agent,
    Day,
}

/// What to add up.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Query {
    /// One sum for each of these.
    #[param(inline)]
    by: By,
    /// Of this key; a tenant can ask for its own only.
    #[param(value_type = Option<String>, pattern = "^[0-9a-f]{16}$")]
    key: Option<KeyId>,
    /// Of this model.
    #[param(value_type = Option<String>)]
    model: Option<ModelName>,
    /// Served by this agent.
    #[param(value_type = Option<String>, pattern = "^[0-9a-f]{32}$")]
    agent: Option<AgentId>,
    /// Begun at or after, milliseconds since the Unix epoch; 30 days ago unless told.
    since_unix_ms: Option<u64>,
    /// Begun before, milliseconds since the Unix epoch.
    until_unix_ms: Option<u64>,
    /// At most so many sums, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// A sum. Of `key_id`, `model`, `agent_id` and `day` the one that was asked for is there; it is null for
/// requests that had none, and for keys of others.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = UsageSum)]
pub(in crate::api) struct Sum {
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<Option<String>>,
    /// The model.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Option<String>>,
    /// The agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<Option<String>>,
    /// The day, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    /// Requests.
    requests: u64,
    /// Of these, answered whole.
    ok: u64,
    /// Of these, left by their callers.
    cancelled: u64,
    /// Of these, cut.
    aborted: u64,
    /// Of these, answered with a failure.
    failed: u64,
    /// Tokens read, as far as engines told.
    prompt_tokens: u64,
    /// Tokens written, as far as engines told.
    completion_tokens: u64,
    /// Bytes of answers.
    bytes: u64,
    /// Time that the requests took together, milliseconds.
    duration_ms: u64,
    /// Average time to the first byte of those that had one, milliseconds.
    first_token_ms: Option<u64>,
}

pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<Query>,
) -> Result<Json<Page<Sum>>, Error> {
    let now_ms = UnixSeconds::now().0.cast_unsigned().saturating_mul(1000);
    let filter = UsageFilter {
        key_id: query.key,
        model: query.model,
        agent_id: query.agent,
        outcome: None,
        since_unix_ms: Some(query.since_unix_ms.unwrap_or(now_ms.saturating_sub(DEFAULT_SPAN_MS))),
        until_unix_ms: query.until_unix_ms,
        before: None,
        limit: limit(query.limit, 100)?,
    };
    let by = match query.by {
        By::Key => UsageBy::Key,
        By::Model => UsageBy::Model,
        By::Agent => UsageBy::Agent,
        By::Day => UsageBy::Day,
    };
    let sums = api.store.usage_sums(&caller.scope, by, &filter).await?;
    Ok(Json(sums.into_iter().map(Sum::from).collect::<Vec<_>>().into()))
}

impl From<UsageSum> for Sum {
    fn from(sum: UsageSum) -> Self {
        let [ok, cancelled, aborted, failed] = sum.ended;
        let bare = Self {
            requests: sum.requests,
            ok,
            cancelled,
            aborted,
            failed,
            prompt_tokens: sum.prompt_tokens,
            completion_tokens: sum.completion_tokens,
            bytes: sum.bytes,
            duration_ms: sum.duration_ms,
            first_token_ms: sum.first_token_ms.checked_div(sum.first_tokens),
            ..Self::default()
        };
        match sum.group {
            UsageGroup::Key(id) => Self { key_id: Some(id.map(|id| id.to_string())), ..bare },
            UsageGroup::Model(name) => Self { model: Some(name.map(|name| name.to_string())), ..bare },
            UsageGroup::Agent(id) => Self { agent_id: Some(id.map(|id| id.to_string())), ..bare },
            UsageGroup::Day(day) => Self { day: Some(day.to_string()), ..bare },
        }
    }
}
