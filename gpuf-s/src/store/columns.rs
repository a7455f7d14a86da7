//! Rows as a database hands them out, checked on the way in. Both databases have the same columns.

mod glances;
mod tenants;

pub(super) use glances::{
    DeviceOf, DevicePointColumns, EngineOf, HostPointColumns, ModelOf, engines_by_agent, samples_with_names,
};
pub(super) use tenants::{
    CatalogueColumns, EntryColumns, OwnedKeyColumns, SeenColumns, SumColumns, TenantColumns, json,
};

use common::{AgentId, Dialect, Endpoint};
use sqlx::FromRow;

use super::{
    Access, AgentRow, Error, KeyHash, KeyId, KeyRow, Models, Name, ServerRow, TokenHash, TokenId, TokenRow,
    UnixSeconds, UsageId, UsageRecord, servers::agents,
};

/// In the order of their discriminants.
pub(super) const DIALECTS: [Dialect; 3] = [Dialect::OpenAi, Dialect::Anthropic, Dialect::Ollama];

/// A row of `api_keys`.
#[derive(FromRow)]
pub(super) struct Key {
    id: i64,
    name: String,
    hash: Vec<u8>,
    prefix: String,
    models: Option<String>,
    owner: Option<String>,
    access: String,
    created_unix: i64,
    expires_unix: Option<i64>,
    revoked_unix: Option<i64>,
}

/// A row of `join_tokens`.
#[derive(FromRow)]
pub(super) struct Token {
    id: i64,
    name: String,
    hash: Vec<u8>,
    owner: Option<String>,
    uses_left: i64,
    created_unix: i64,
    expires_unix: i64,
    revoked_unix: Option<i64>,
}

/// A row of `agents`.
#[derive(FromRow)]
pub(super) struct Agent {
    id: Vec<u8>,
    name: String,
    owner: Option<String>,
    enrolled_unix: i64,
    revoked_unix: Option<i64>,
}

/// A row of `servers`.
#[derive(FromRow)]
pub(super) struct Server {
    id: Vec<u8>,
    name: String,
    version: String,
    control: String,
    public: String,
    api: String,
    fingerprint: String,
    started_unix: i64,
    seen_unix_ms: i64,
    agents: Vec<u8>,
}

/// A row of `usage`.
#[derive(FromRow)]
pub(super) struct Usage {
    id: Vec<u8>,
    key_id: i64,
    model: Option<String>,
    agent_id: Option<Vec<u8>>,
    engine: Option<String>,
    dialect: String,
    endpoint: String,
    status: i32,
    outcome: String,
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
    first_token_ms: Option<i64>,
    duration_ms: i64,
    bytes: i64,
    started_unix_ms: i64,
}

impl TryFrom<Key> for KeyRow {
    type Error = Error;

    fn try_from(row: Key) -> Result<Self, Error> {
        Ok(Self {
            id: KeyId::from_i64(row.id),
            name: row.name.parse().map_err(|_| Error::Corrupt("a key's name"))?,
            hash: key_hash(row.hash)?,
            prefix: row.prefix,
            models: models(row.models.as_deref())?,
            access: access(&row.access, row.owner)?,
            created: UnixSeconds(row.created_unix),
            expires: row.expires_unix.map(UnixSeconds),
            revoked: row.revoked_unix.map(UnixSeconds),
        })
    }
}

impl TryFrom<Token> for TokenRow {
    type Error = Error;

    fn try_from(row: Token) -> Result<Self, Error> {
        let hash = row.hash.try_into().map_err(|_| Error::Corrupt("a token's hash"))?;
        Ok(Self {
            id: TokenId::from_i64(row.id),
            name: row.name.parse().map_err(|_| Error::Corrupt("a token's name"))?,
            hash: TokenHash::from_bytes(hash),
            owner: owner(row.owner)?,
            uses_left: row.uses_left.try_into().map_err(|_| Error::Corrupt("a token's uses"))?,
            created: UnixSeconds(row.created_unix),
            expires: UnixSeconds(row.expires_unix),
            revoked: row.revoked_unix.map(UnixSeconds),
        })
    }
}

impl TryFrom<Agent> for AgentRow {
    type Error = Error;

    fn try_from(row: Agent) -> Result<Self, Error> {
        Ok(Self {
            id: agent_id(&row.id)?,
            name: row.name.parse().map_err(|_| Error::Corrupt("an agent's name"))?,
            owner: owner(row.owner)?,
            enrolled: UnixSeconds(row.enrolled_unix),
            revoked: row.revoked_unix.map(UnixSeconds),
        })
    }
}

impl TryFrom<Server> for ServerRow {
    type Error = Error;

    fn try_from(row: Server) -> Result<Self, Error> {
        Ok(Self {
            id: row.id.try_into().map_err(|_| Error::Corrupt("a server's id"))?,
            name: row.name,
            version: row.version,
            control: row.control,
            public: row.public,
            api: row.api,
            fingerprint: row.fingerprint,
            started: UnixSeconds(row.started_unix),
            seen_unix_ms: row.seen_unix_ms.cast_unsigned(),
            agents: agents(&row.agents)?,
        })
    }
}

impl TryFrom<Usage> for UsageRecord {
    type Error = Error;

    fn try_from(row: Usage) -> Result<Self, Error> {
        let dialect = DIALECTS.into_iter().find(|dialect| dialect.as_str() == row.dialect);
        let model = row.model.map(|name| name.parse().map_err(|_| Error::Corrupt("a model's name")));
        let engine = row.engine.map(|kind| kind.parse().map_err(|_| Error::Corrupt("an engine's kind")));
        Ok(Self {
            id: row.id.try_into().map(UsageId::from_bytes).map_err(|_| Error::Corrupt("a usage id"))?,
            key_id: KeyId::from_i64(row.key_id),
            model: model.transpose()?,
            agent_id: row.agent_id.as_deref().map(agent_id).transpose()?,
            engine: engine.transpose()?,
            dialect: dialect.ok_or(Error::Corrupt("a dialect"))?,
            endpoint: Endpoint::at(&row.endpoint).ok_or(Error::Corrupt("an endpoint"))?,
            status: row.status.try_into().map_err(|_| Error::Corrupt("a status"))?,
            outcome: row.outcome.parse()?,
            prompt_tokens: row.prompt_tokens.map(count).transpose()?,
            completion_tokens: row.completion_tokens.map(count).transpose()?,
            first_token_ms: row.first_token_ms.map(count).transpose()?,
            duration_ms: count(row.duration_ms)?,
            bytes: row.bytes.cast_unsigned(),
            started_unix_ms: row.started_unix_ms.cast_unsigned(),
        })
    }
}

pub(super) fn key_hash(bytes: Vec<u8>) -> Result<KeyHash, Error> {
    bytes.try_into().map(KeyHash::from_bytes).map_err(|_| Error::Corrupt("a key's hash"))
}

pub(super) fn agent_id(bytes: &[u8]) -> Result<AgentId, Error> {
    bytes.try_into().map(AgentId::from_bytes).map_err(|_| Error::Corrupt("an agent's id"))
}

/// The column `models` of a key.
pub(super) fn models_json(models: &Models) -> Result<Option<String>, Error> {
    match models {
        Models::All => Ok(None),
        list => serde_json::to_string(list).map(Some).map_err(|_| Error::Corrupt("a key's models")),
    }
}

/// The columns `access` and `owner` of a key.
pub(super) fn access_columns(access: &Access) -> (&'static str, Option<&str>) {
    match access {
        Access::Shared => ("shared", None),
        Access::Dedicated(owner) => ("dedicated", Some(owner.as_str())),
    }
}

/// Text that somebody else chose and that people read. PostgreSQL stores no NUL; losing the whole line over
/// one would be worse than losing the NUL.
pub(super) fn readable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Text that must read back as it was, or not be stored at all: a NUL, which PostgreSQL does not store, is
/// refused by every database.
pub(super) fn exact(text: &str) -> Result<&str, Error> {
    if text.contains('\0') { Err(Error::Refused("a text holds a NUL character".into())) } else { Ok(text) }
}

/// A list that does not read back is an error: taken for "all" it would open every model.
fn models(json: Option<&str>) -> Result<Models, Error> {
    let Some(json) = json else { return Ok(Models::All) };
    match serde_json::from_str(json) {
        Ok(list @ Models::List(_)) => Ok(list),
        _ => Err(Error::Corrupt("a key's models")),
    }
}

fn access(access: &str, owner: Option<String>) -> Result<Access, Error> {
    let owner = owner.map(|owner| owner.parse().map_err(|_| Error::Corrupt("a key's owner"))).transpose()?;
    match (access, owner) {
        ("shared", _) => Ok(Access::Shared),
        ("dedicated", Some(owner)) => Ok(Access::Dedicated(owner)),
        _ => Err(Error::Corrupt("a key's access")),
    }
}

pub(super) fn owner(text: Option<String>) -> Result<Option<Name>, Error> {
    text.map(|text| text.parse().map_err(|_| Error::Corrupt("an owner"))).transpose()
}

fn count(stored: i64) -> Result<u32, Error> {
    stored.try_into().map_err(|_| Error::Corrupt("a count of a usage record"))
}
