//! Tenants, and the part of the store that each of them sees.

use std::collections::BTreeMap;

use common::{AgentId, EngineKind, ModelName};

use super::{
    AgentFacts, Day,
    id::{KeyId, TenantHash, TenantId},
    rows::{AgentRow, KeyRow, Name, UnixSeconds},
    usage::{Outcome, UsageRecord},
};

/// Who shares the server. Its name is the owner of its agents and join tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRow {
    /// Its id.
    pub id: TenantId,
    /// What people call it; no two have the same, revoked ones included.
    pub name: Name,
    /// What its token is found by.
    pub hash: TenantHash,
    /// Its token's first characters, to be told apart by.
    pub prefix: String,
    /// When it was made.
    pub created: UnixSeconds,
    /// When its token was revoked.
    pub revoked: Option<UnixSeconds>,
}

/// How far a question or a deed reaches. Every query that takes one has it in its conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The operator's: everything.
    Everything,
    /// A tenant's: what is its own.
    Of(Name),
}

impl Scope {
    /// The tenant, where it is one's.
    #[must_use]
    pub const fn tenant(&self) -> Option<&Name> {
        match self {
            Self::Everything => None,
            Self::Of(name) => Some(name),
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        self.tenant().map(Name::as_str)
    }
}

/// A key and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedKey {
    /// The key.
    pub row: KeyRow,
    /// Its tenant; none for the operator's.
    pub tenant: Option<Name>,
}

/// How people want an agent shown, in place of what it tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// Its name.
    pub name: Option<Name>,
    /// Its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Where it stands.
    pub location: Option<String>,
}

/// An agent with all that the store knows of it but its engines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentEntry {
    /// As it enrolled.
    pub row: AgentRow,
    /// What it told of itself, once it has.
    pub facts: Option<AgentFacts>,
    /// When its latest heartbeat was taken, milliseconds since the Unix epoch.
    pub last_seen_unix_ms: Option<u64>,
    /// How it is to be shown.
    pub shown: Shown,
}

/// What to change about an agent: `None` leaves it, `Some(None)` takes it back to what the agent tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentEdit {
    /// Its name.
    pub name: Option<Option<Name>>,
    /// Its labels.
    pub labels: Option<Option<BTreeMap<String, String>>>,
    /// Where it stands.
    pub location: Option<Option<String>>,
    /// Whose it is; `Some(None)` makes it the operator's.
    pub owner: Option<Option<Name>>,
}

/// Which agents; every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryFilter {
    /// Whose.
    pub scope: Scope,
    /// This one.
    pub id: Option<AgentId>,
    /// Of this owner.
    pub owner: Option<Name>,
    /// Whose shown name contains this, whatever its case.
    pub name: Option<String>,
    /// Put out, or not.
    pub revoked: Option<bool>,
    /// Enrolled at or after.
    pub enrolled_from: Option<UnixSeconds>,
    /// Enrolled before.
    pub enrolled_before: Option<UnixSeconds>,
    /// Of these, or none of these.
    pub among: Among,
    /// With a higher id: where the page before ended.
    pub after: Option<AgentId>,
    /// At most so many, capped at [`super::AGENTS_PAGE_ROWS_MAX`].
    pub limit: u32,
}

/// A condition on ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Among {
    /// No condition.
    #[default]
    All,
    /// One of these.
    These(Vec<AgentId>),
    /// None of these.
    Others(Vec<AgentId>),
}

impl EntryFilter {
    /// Every agent of a scope, from the first on.
    #[must_use]
    pub const fn within(scope: Scope) -> Self {
        Self {
            scope,
            id: None,
            owner: None,
            name: None,
            revoked: None,
            enrolled_from: None,
            enrolled_before: None,
            among: Among::All,
            after: None,
            limit: super::AGENTS_PAGE_ROWS_MAX,
        }
    }
}

/// A record of usage, and whether whoever asks may know whose request it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageSeen {
    /// The record; its key is to be shown only where the next field says so.
    pub record: UsageRecord,
    /// Whether the key is within the scope that was asked for.
    pub key_is_own: bool,
}

/// What sums of usage are made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBy {
    /// Keys; in a tenant's scope all others' keys are one.
    Key,
    /// Models.
    Model,
    /// Agents.
    Agent,
    /// Days, UTC, as they began.
    Day,
}

impl UsageBy {
    /// The name in statements.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Model => "model",
            Self::Agent => "agent",
            Self::Day => "day",
        }
    }
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsageGroup {
    /// A key; none for those out of the scope.
    Key(Option<KeyId>),
    /// A model; none for requests that named none.
    Model(Option<ModelName>),
    /// An agent; none for requests that reached none.
    Agent(Option<AgentId>),
    /// A day.
    Day(Day),
}

/// Sums over the records of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageSum {
    /// Which.
    pub group: UsageGroup,
    /// Records.
    pub requests: u64,
    /// Of these, by how they ended, in the order of [`Outcome::ALL`].
    pub ended: [u64; Outcome::ALL.len()],
    /// Tokens read, as far as they are known.
    pub prompt_tokens: u64,
    /// Tokens written, as far as they are known.
    pub completion_tokens: u64,
    /// Bytes of answers.
    pub bytes: u64,
    /// Time that requests took, milliseconds.
    pub duration_ms: u64,
    /// Records with a time to the first token.
    pub first_tokens: u64,
    /// Sum of these times, milliseconds.
    pub first_token_ms: u64,
}

/// A model that the operator has described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownModel {
    /// Its name, as requests carry it.
    pub name: ModelName,
    /// The kinds of engines that can serve it; empty for any.
    pub engines: Vec<EngineKind>,
    /// Size of its weights, bytes.
    pub size_bytes: Option<u64>,
    /// SHA-256 of its weights.
    pub checksum_sha256: Option<[u8; 32]>,
    /// The least GPU memory that it needs, bytes.
    pub gpu_memory_bytes: Option<u64>,
    /// What people should know.
    pub description: Option<String>,
    /// When it was added.
    pub added: UnixSeconds,
    /// When it was last changed.
    pub changed: UnixSeconds,
}

/// Which described models; every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueFilter {
    /// Exactly this one.
    pub is: Option<ModelName>,
    /// Whose name contains this, whatever its case.
    pub name: Option<String>,
    /// That this kind of engine can serve.
    pub engine: Option<EngineKind>,
    /// With a later name: where the page before ended.
    pub after: Option<ModelName>,
    /// At most so many, capped at [`super::CATALOGUE_PAGE_ROWS_MAX`].
    pub limit: u32,
}
