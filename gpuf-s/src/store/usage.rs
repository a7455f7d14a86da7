//! What one request used, as it is stored.

use common::{AgentId, Dialect, Endpoint, EngineKind, ModelName};
use serde::{Deserialize, Serialize};

use super::id::{KeyId, UsageId};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered whole, whatever its status.
    Ok,
    /// The caller left first.
    Cancelled,
    /// Cut after the first byte.
    Aborted,
    /// No answer of an engine reached the caller.
    Failed,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Cancelled, Self::Aborted, Self::Failed];

    /// The name in the store, in metrics and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Cancelled => "cancelled",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for Outcome {
    type Err = super::Error;

    fn from_str(text: &str) -> Result<Self, super::Error> {
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or(super::Error::Corrupt("an outcome"))
    }
}

/// What one request used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRecord {
    /// Names the record for ever.
    pub id: UsageId,
    /// Whose request.
    pub key_id: KeyId,
    /// The model that was asked for, where the request got that far.
    pub model: Option<ModelName>,
    /// The agent that served it.
    pub agent_id: Option<AgentId>,
    /// The kind of engine that served it.
    pub engine: Option<EngineKind>,
    /// The dialect it was asked in.
    pub dialect: Dialect,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The HTTP status that the caller got, or would have got.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// Tokens that the engine read, as it told.
    pub prompt_tokens: Option<u32>,
    /// Tokens that the engine wrote, as it told.
    pub completion_tokens: Option<u32>,
    /// From the request's head to the first byte of the answer's body, milliseconds.
    pub first_token_ms: Option<u32>,
    /// From the request's head to its end, milliseconds.
    pub duration_ms: u32,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// When it began, milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
}

/// Which records of usage; every condition that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageFilter {
    /// Of this key.
    pub key_id: Option<KeyId>,
    /// Of this model.
    pub model: Option<ModelName>,
    /// Served by this agent.
    pub agent_id: Option<AgentId>,
    /// That ended so.
    pub outcome: Option<Outcome>,
    /// Begun at or after, milliseconds since the Unix epoch.
    pub since_unix_ms: Option<u64>,
    /// Begun before, milliseconds since the Unix epoch.
    pub until_unix_ms: Option<u64>,
    /// Older than this record: where the page before ended.
    pub before: Option<UsageId>,
    /// At most so many, capped at [`super::USAGE_PAGE_ROWS_MAX`].
    pub limit: u32,
}

impl UsageFilter {
    /// The first id that may match.
    pub(super) fn lower_bound(&self) -> UsageId {
        UsageId::first_at(self.since_unix_ms.unwrap_or(0))
    }

    /// The first id after all that may match.
    pub(super) fn upper_bound(&self) -> UsageId {
        let end = self.until_unix_ms.map_or(UsageId::from_bytes([0xff; 16]), UsageId::first_at);
        self.before.map_or(end, |before| before.min(end))
    }
}
