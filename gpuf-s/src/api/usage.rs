//! Records of usage, newest first, a page at a time.

use std::sync::Arc;

use axum::{Json, extract::State};
use common::{AgentId, ModelName};
use serde::{Deserialize, Serialize};

use super::{Api, Page, error::Error, extract::Asked};
use crate::store::{KeyId, Outcome, USAGE_PAGE_ROWS_MAX, UsageFilter, UsageRecord};

const LIMIT: u32 = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    key: Option<KeyId>,
    model: Option<ModelName>,
    agent: Option<AgentId>,
    outcome: Option<Outcome>,
    since_unix_ms: Option<u64>,
    until_unix_ms: Option<u64>,
    before: Option<String>,
    limit: Option<u32>,
}

/// A record as it is shown.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    id: String,
    key_id: KeyId,
    model: Option<ModelName>,
    agent_id: Option<AgentId>,
    engine: Option<&'static str>,
    dialect: &'static str,
    endpoint: &'static str,
    status: u16,
    outcome: Outcome,
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    first_token_ms: Option<u32>,
    duration_ms: u32,
    bytes: u64,
    started_unix_ms: u64,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<Query>,
) -> Result<Json<Page<Listed>>, Error> {
    let filter = filter(query)?;
    let records = api.store.usage(&filter).await?;
    let full = records.len() >= filter.limit as usize;
    let next = records.last().filter(|_| full).map(|record| record.id.to_string());
    Ok(Json(Page { data: records.into_iter().map(Listed::from).collect(), next }))
}

fn filter(query: Query) -> Result<UsageFilter, Error> {
    let before =
        query.before.map(|id| id.parse().map_err(|_| Error::Malformed("before is no usage id".into())));
    let limit = query.limit.unwrap_or(LIMIT);
    if !(1..=USAGE_PAGE_ROWS_MAX).contains(&limit) {
        return Err(Error::Malformed(format!("limit must be between 1 and {USAGE_PAGE_ROWS_MAX}")));
    }
    Ok(UsageFilter {
        key_id: query.key,
        model: query.model,
        agent_id: query.agent,
        outcome: query.outcome,
        since_unix_ms: query.since_unix_ms,
        until_unix_ms: query.until_unix_ms,
        before: before.transpose()?,
        limit,
    })
}

impl From<UsageRecord> for Listed {
    fn from(record: UsageRecord) -> Self {
        Self {
            id: record.id.to_string(),
            key_id: record.key_id,
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
