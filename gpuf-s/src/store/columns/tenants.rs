//! Rows of tenants, of the roster, of the catalogue and of what readers see of usage.

use sqlx::FromRow;

use super::{Key, Usage, agent_id, owner};
use crate::store::{
    AgentEntry, AgentReport, Day, Error, KeyId, KnownModel, OwnedKey, Shown, TenantHash, TenantId, TenantRow,
    UnixSeconds, UsageBy, UsageGroup, UsageSeen, UsageSum, sample_columns::ReportColumns,
};

/// A row of `tenants`.
#[derive(FromRow)]
pub(in crate::store) struct TenantColumns {
    id: i64,
    name: String,
    hash: Vec<u8>,
    prefix: String,
    created_unix: i64,
    revoked_unix: Option<i64>,
}

/// A row of `api_keys`, with its tenant.
#[derive(FromRow)]
pub(in crate::store) struct OwnedKeyColumns {
    #[sqlx(flatten)]
    key: Key,
    tenant: Option<String>,
}

/// A row of `agents`, with what it told and how it is to be shown.
#[derive(FromRow)]
pub(in crate::store) struct EntryColumns {
    #[sqlx(flatten)]
    report: ReportColumns,
    shown_name: Option<String>,
    shown_labels: Option<String>,
    shown_location: Option<String>,
}

/// A row of `catalogue`.
#[derive(FromRow)]
pub(in crate::store) struct CatalogueColumns {
    name: String,
    engines: String,
    size_bytes: Option<i64>,
    checksum_sha256: Option<Vec<u8>>,
    gpu_memory_bytes: Option<i64>,
    description: Option<String>,
    added_unix: i64,
    changed_unix: i64,
}

/// A row of `usage`, with whether its key is the asker's.
#[derive(FromRow)]
pub(in crate::store) struct SeenColumns {
    #[sqlx(flatten)]
    record: Usage,
    key_is_own: bool,
}

/// Sums over rows of `usage`; one of the first four is what they are grouped by.
#[derive(FromRow)]
pub(in crate::store) struct SumColumns {
    by_key: Option<i64>,
    by_model: Option<String>,
    by_agent: Option<Vec<u8>>,
    by_day: Option<i64>,
    requests: i64,
    ok: i64,
    cancelled: i64,
    aborted: i64,
    failed: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    bytes: i64,
    duration_ms: i64,
    first_tokens: i64,
    first_token_ms: i64,
}

/// A value as a column of text.
pub(in crate::store) fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| Error::Refused("a value is no JSON".into()))
}

impl TryFrom<TenantColumns> for TenantRow {
    type Error = Error;

    fn try_from(row: TenantColumns) -> Result<Self, Error> {
        let hash = row.hash.try_into().map_err(|_| Error::Corrupt("a tenant's hash"))?;
        Ok(Self {
            id: TenantId::from_i64(row.id),
            name: row.name.parse().map_err(|_| Error::Corrupt("a tenant's name"))?,
            hash: TenantHash::from_bytes(hash),
            prefix: row.prefix,
            created: UnixSeconds(row.created_unix),
            revoked: row.revoked_unix.map(UnixSeconds),
        })
    }
}

impl TryFrom<OwnedKeyColumns> for OwnedKey {
    type Error = Error;

    fn try_from(row: OwnedKeyColumns) -> Result<Self, Error> {
        Ok(Self { row: row.key.try_into()?, tenant: owner(row.tenant)? })
    }
}

impl TryFrom<EntryColumns> for AgentEntry {
    type Error = Error;

    fn try_from(row: EntryColumns) -> Result<Self, Error> {
        let labels = row.shown_labels.map(|json| serde_json::from_str(&json)).transpose();
        let AgentReport { agent, facts, last_seen_unix_ms, .. } = row.report.try_into()?;
        Ok(Self {
            row: agent,
            facts,
            last_seen_unix_ms,
            shown: Shown {
                name: owner(row.shown_name)?,
                labels: labels.map_err(|_| Error::Corrupt("an agent's labels"))?,
                location: row.shown_location,
            },
        })
    }
}

impl TryFrom<CatalogueColumns> for KnownModel {
    type Error = Error;

    fn try_from(row: CatalogueColumns) -> Result<Self, Error> {
        let checksum = row.checksum_sha256.map(TryInto::try_into).transpose();
        Ok(Self {
            name: row.name.parse().map_err(|_| Error::Corrupt("a model's name"))?,
            engines: serde_json::from_str(&row.engines).map_err(|_| Error::Corrupt("a model's engines"))?,
            size_bytes: row.size_bytes.map(i64::cast_unsigned),
            checksum_sha256: checksum.map_err(|_| Error::Corrupt("a model's checksum"))?,
            gpu_memory_bytes: row.gpu_memory_bytes.map(i64::cast_unsigned),
            description: row.description,
            added: UnixSeconds(row.added_unix),
            changed: UnixSeconds(row.changed_unix),
        })
    }
}

impl TryFrom<SeenColumns> for UsageSeen {
    type Error = Error;

    fn try_from(row: SeenColumns) -> Result<Self, Error> {
        Ok(Self { record: row.record.try_into()?, key_is_own: row.key_is_own })
    }
}

impl SumColumns {
    pub(in crate::store) fn sum(self, by: UsageBy) -> Result<UsageSum, Error> {
        let model = self.by_model.map(|name| name.parse().map_err(|_| Error::Corrupt("a model's name")));
        let group = match by {
            UsageBy::Key => UsageGroup::Key(self.by_key.map(KeyId::from_i64)),
            UsageBy::Model => UsageGroup::Model(model.transpose()?),
            UsageBy::Agent => UsageGroup::Agent(self.by_agent.as_deref().map(agent_id).transpose()?),
            UsageBy::Day => {
                let day = self.by_day.and_then(Day::from_number);
                UsageGroup::Day(day.ok_or(Error::Corrupt("a day"))?)
            }
        };
        Ok(UsageSum {
            group,
            requests: self.requests.cast_unsigned(),
            ended: [self.ok, self.cancelled, self.aborted, self.failed].map(i64::cast_unsigned),
            prompt_tokens: self.prompt_tokens.cast_unsigned(),
            completion_tokens: self.completion_tokens.cast_unsigned(),
            bytes: self.bytes.cast_unsigned(),
            duration_ms: self.duration_ms.cast_unsigned(),
            first_tokens: self.first_tokens.cast_unsigned(),
            first_token_ms: self.first_token_ms.cast_unsigned(),
        })
    }
}
