//! What must survive a restart: keys, join tokens, agents, usage and the audit trail.
//!
//! A store is one of the enum's databases; `store/conformance.rs` is what all of them must do.

mod day;
mod glances;
pub mod id;
mod ingest;
mod reports;
mod rows;
mod samples;
mod servers;
mod tenants;
mod usage;

mod migrations;
mod postgres;
mod sqlite;

mod columns;
mod day_columns;
mod sample_columns;
mod verdict;

pub use day::{BadDay, DAY_MS, Day};
pub use glances::{Chart, ChartFilter, DevicePoint, HostPoint};
pub use id::{KeyHash, KeyId, TenantHash, TenantId, TokenHash, TokenId, UsageId};
pub use migrations::{Migrations, Step};
pub use reports::{
    AgentDay, AgentFacts, AgentFilter, AgentReport, DayFilter, Device, DeviceDay, Difference, Gauge,
    REPORT_PAGE_ROWS_MAX, Rebuild, Rebuilt, SampleFilter,
};
pub use rows::{
    Access, AgentRow, AuditLine, BadName, KeyRow, MODELS_PER_KEY_MAX, Models, Name, TokenRow, UnixSeconds,
};
pub use samples::{
    Batch, DeviceSample, Inventory, Offset, REFUSED_PARTITION, SET_ASIDE_BYTES_MAX, Sample, SampleId,
    SetAside, Stored,
};
pub use servers::{Presence, PresentAgent, ServerRow};
pub use tenants::{
    AgentEdit, AgentEntry, Among, CatalogueFilter, EntryFilter, KnownModel, OwnedKey, Scope, Shown,
    TenantRow, UsageBy, UsageGroup, UsageSeen, UsageSum,
};
pub use usage::{Outcome, UsageFilter, UsageRecord};

use std::{fmt, path::PathBuf, time::Duration};

use common::{AgentId, EngineReport, ModelName};

use crate::{data_dir::DataDir, secret::SecretUrl};

/// How long a statement waits for a connection.
pub const ACQUIRE_DEADLINE: Duration = Duration::from_millis(500);
/// How long a statement may take in all.
pub const STATEMENT_DEADLINE: Duration = Duration::from_secs(2);
/// Lines of the audit trail that are kept.
pub const AUDIT_LINES_MAX: i64 = 100_000;
/// Rows of usage that one question may ask for.
pub const USAGE_PAGE_ROWS_MAX: u32 = 1000;
/// Agents that one question may ask for.
pub const AGENTS_PAGE_ROWS_MAX: u32 = 1000;
/// Described models that one question may ask for.
pub const CATALOGUE_PAGE_ROWS_MAX: u32 = 1000;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It does not answer, or not in time; trying later can help.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// A row of that id exists; trying with another id can help.
    #[error("the id is taken")]
    Taken,
    /// It does not take the row, whenever it is asked: it holds what no column can. Others of its batch are not stored
    /// either, but can be.
    #[error("the store refuses the row: {0}")]
    Refused(String),
    /// A row does not read back: somebody else wrote into the database.
    #[error("the store holds a row that does not read back: {0}")]
    Corrupt(&'static str),
    /// It cannot be opened; the operator has to act.
    #[error("cannot open the store {at}: {reason}")]
    Open {
        /// Which one.
        at: String,
        /// Why.
        reason: String,
    },
    /// Its folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] crate::data_dir::Error),
}

/// How an enrolment ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrolment {
    /// A use of the token is spent and the agent is known.
    Done,
    /// The token is unknown, spent, revoked or expired.
    BadToken,
    /// Another agent has the id; the token is not spent.
    IdTaken,
}

/// Where keys, agents, usage and heartbeats are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// In the data directory.
    Embedded,
    /// In an SQLite file elsewhere.
    File(PathBuf),
    /// In a PostgreSQL.
    Postgres(SecretUrl),
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded => f.write_str("in the data directory"),
            Self::File(path) => path.display().fmt(f),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

impl Database {
    /// Whether other servers may use it too.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_) | Self::File(_))
    }
}

/// Handle of an open store; clones share it.
#[derive(Debug, Clone)]
pub enum Store {
    /// The embedded database.
    Sqlite(sqlite::Sqlite),
    /// A PostgreSQL.
    Postgres(postgres::Postgres),
}

/// Whether a store can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It was not reached since the start, or is not migrated yet; every operation is [`Error::Unavailable`].
    Starting,
    /// It answers.
    Ready,
    /// It did not answer when it was last asked.
    Away,
}

/// Every operation is the database's own; this keeps the one `match` in one place.
macro_rules! delegate {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)+) => {
        impl Store {
            $($(#[$doc])*
            ///
            /// # Errors
            /// As [`Error`] says.
            pub async fn $name(&self, $($arg: $type),*) -> Result<$out, Error> {
                match self {
                    Self::Sqlite(store) => store.$name($($arg),*).await,
                    Self::Postgres(store) => store.$name($($arg),*).await,
                }
            })+
        }
    };
}

delegate! {
    /// Adds a key. [`Error::Taken`] where its id or hash exists.
    insert_key(key: &KeyRow) -> ();
    /// Every key, oldest first, revoked ones included.
    keys() -> Vec<KeyRow>;
    /// The key of `hash`, whatever its state.
    key_by_hash(hash: &KeyHash) -> Option<KeyRow>;
    /// Revokes a key; its hash, for whoever caches it, or `None` where there is no such key.
    revoke_key(id: KeyId, now: UnixSeconds) -> Option<KeyHash>;
    /// The hashes of keys that were revoked at or after a point in time.
    revoked_since(at: UnixSeconds) -> Vec<KeyHash>;
    /// Adds a join token. [`Error::Taken`] where its id or hash exists.
    insert_join_token(token: &TokenRow) -> ();
    /// Every join token, oldest first.
    join_tokens() -> Vec<TokenRow>;
    /// Revokes a join token; whether there is one.
    revoke_join_token(id: TokenId, now: UnixSeconds) -> bool;
    /// Spends a use of a token and makes the agent known, both or neither. The agent's owner is the token's.
    enrol(token: &TokenHash, agent: &AgentRow) -> Enrolment;
    /// Every agent, oldest first, revoked ones included.
    agents() -> Vec<AgentRow>;
    /// The agent of `id`.
    agent(id: AgentId) -> Option<AgentRow>;
    /// Revokes an agent; whether there is one.
    revoke_agent(id: AgentId, now: UnixSeconds) -> bool;
    /// The agents that were revoked at or after a point in time.
    agents_revoked_since(at: UnixSeconds) -> Vec<AgentId>;
    /// Writes a server's row, in place of the one that it has, and drops rows that are a day old.
    put_server(server: &ServerRow) -> ();
    /// Writes that a server lives and is otherwise as its row says; whether it has one.
    touch_server(id: [u8; 16], seen_unix_ms: u64) -> bool;
    /// The servers that were seen at or after a point in time, by name.
    servers(since_unix_ms: u64) -> Vec<ServerRow>;
    /// Removes a server's row, if it has one.
    remove_server(id: [u8; 16]) -> ();
    /// Adds records of usage, all or none; those whose ids exist are left as they are.
    insert_usage(records: &[UsageRecord]) -> ();
    /// Records of usage, newest first.
    usage(filter: &UsageFilter) -> Vec<UsageRecord>;
    /// Adds a line to the audit trail and drops the oldest past [`AUDIT_LINES_MAX`].
    audit(line: &AuditLine) -> ();
    /// The newest lines of the audit trail, newest first.
    audit_lines(limit: u32) -> Vec<AuditLine>;

    /// Adds a tenant. [`Error::Taken`] where its id, name or hash exists.
    insert_tenant(tenant: &TenantRow) -> ();
    /// Every tenant, oldest first, revoked ones included.
    tenants() -> Vec<TenantRow>;
    /// The tenant of `hash`, whatever its state.
    tenant_by_hash(hash: &TenantHash) -> Option<TenantRow>;
    /// Revokes a tenant's token; whether there is such a tenant.
    revoke_tenant(id: TenantId, now: UnixSeconds) -> bool;
    /// Adds a key of a tenant or of the operator. [`Error::Taken`] where its id or hash exists.
    insert_owned_key(key: &OwnedKey) -> ();
    /// The keys of a scope, oldest first, revoked ones included.
    keys_within(scope: &Scope) -> Vec<OwnedKey>;
    /// Revokes a key of a scope; its hash, or `None` where the scope has no such key.
    revoke_key_within(scope: &Scope, id: KeyId, now: UnixSeconds) -> Option<KeyHash>;
    /// The join tokens of a scope, oldest first.
    join_tokens_within(scope: &Scope) -> Vec<TokenRow>;
    /// Revokes a join token of a scope; whether the scope has it.
    revoke_join_token_within(scope: &Scope, id: TokenId, now: UnixSeconds) -> bool;
    /// Agents by their ids, a page at a time, revoked ones included.
    agent_entries(filter: &EntryFilter) -> Vec<AgentEntry>;
    /// The engines of agents of a scope with their models, as these last told.
    engines_within(scope: &Scope, agents: &[AgentId]) -> Vec<(AgentId, Vec<EngineReport>)>;
    /// The latest heartbeat of each of these agents that the scope has.
    latest_samples(scope: &Scope, agents: &[AgentId]) -> Vec<Sample>;
    /// Heartbeats of an agent, added up in steps of time.
    chart(filter: &ChartFilter) -> Chart;
    /// Changes how an agent of a scope is shown, and whose it is; whether the scope has it.
    edit_agent(scope: &Scope, id: AgentId, edit: &AgentEdit) -> bool;
    /// Revokes an agent of a scope; whether the scope has it.
    revoke_agent_within(scope: &Scope, id: AgentId, now: UnixSeconds) -> bool;
    /// Records of usage of a scope's keys and of what its agents served, newest first. A key that is asked
    /// for must be the scope's.
    usage_within(scope: &Scope, filter: &UsageFilter) -> Vec<UsageSeen>;
    /// Sums over the same records, the largest groups first, days newest first.
    usage_sums(scope: &Scope, by: UsageBy, filter: &UsageFilter) -> Vec<UsageSum>;
    /// Describes a model, in place of what was said of it before; when it was first described.
    put_known_model(model: &KnownModel) -> UnixSeconds;
    /// Described models by their names, a page at a time.
    known_models(filter: &CatalogueFilter) -> Vec<KnownModel>;
    /// Takes a model out of the catalogue; whether it was in it.
    remove_known_model(name: &ModelName) -> bool;
    /// Stores a batch whole or not at all, and each of its records once, however often it is sent. A record that
    /// the database refuses is set aside and does not hold up the others.
    ingest(batch: &Batch) -> Stored;
    /// How far a group of consumers has come, by topic and partition.
    offsets(group: &str) -> Vec<Offset>;
    /// The newest records that were set aside, newest first.
    set_aside(limit: u32) -> Vec<SetAside>;
    /// Marks the agents offline whose latest heartbeat was taken more than `silent_ms` ago; how many.
    sweep_offline(now_unix_ms: u64, silent_ms: u64) -> u64;
    /// Drops the heartbeats of the days before that of `before_unix_ms`; how many rows or parts of the table.
    /// Later ones of these days are set aside from then on, and what was set aside before goes too. Figures per
    /// day stay.
    prune_samples(before_unix_ms: u64) -> u64;
    /// Counts the figures of a day again from its heartbeats. `None` where those are gone, which
    /// [`Rebuild::Force`] overrides.
    rebuild_day(day: Day, how: Rebuild) -> Option<Rebuilt>;
    /// Agents with what is known of them.
    agent_reports(filter: &AgentFilter) -> Vec<AgentReport>;
    /// Heartbeats of an agent.
    samples(filter: &SampleFilter) -> Vec<Sample>;
    /// Figures of agents per day.
    agent_days(filter: &DayFilter) -> Vec<AgentDay>;
    /// Figures of devices per day.
    device_days(filter: &DayFilter) -> Vec<DeviceDay>;
    /// The devices of an agent, if it is `owner`'s.
    devices(agent: AgentId, owner: Option<&Name>) -> Vec<Device>;
    /// The engines of an agent with their models, as it last told, if it is `owner`'s.
    engines(agent: AgentId, owner: Option<&Name>) -> Vec<EngineReport>;
}

impl Store {
    /// Opens the store, making and migrating it as needed. A PostgreSQL that does not answer is waited for in
    /// the background: [`Self::state`] tells.
    ///
    /// # Errors
    /// [`Error::Open`] when it is no database of ours or of a later version, or does not let us in or write.
    pub async fn open(database: &Database, data: &DataDir) -> Result<Self, Error> {
        match Self::shared(database).await? {
            Some(store) => Ok(store),
            None => Self::embedded(data).await,
        }
    }

    /// Opens a store outside of the data directory; `None` where it is to be in there.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn shared(database: &Database) -> Result<Option<Self>, Error> {
        match database {
            Database::Embedded => Ok(None),
            Database::File(path) => Ok(Some(Self::Sqlite(sqlite::Sqlite::open_file(path).await?))),
            Database::Postgres(url) => Ok(Some(Self::Postgres(postgres::Postgres::open(url).await?))),
        }
    }

    /// Opens the store in the data directory.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn embedded(data: &DataDir) -> Result<Self, Error> {
        sqlite::Sqlite::open(data).await.map(Self::Sqlite)
    }

    /// Whether it can be used, as far as is known.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Sqlite(_) => State::Ready,
            Self::Postgres(store) => store.state(),
        }
    }

    /// Whether it answers, as far as is known.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state() == State::Ready
    }

    /// Waits for running statements, then closes every connection.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

#[cfg(test)]
mod conformance;
