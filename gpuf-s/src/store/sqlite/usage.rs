//! Records of usage: many rows per statement on the way in, a page at a time on the way out.

use std::{
    borrow::Borrow,
    sync::{Arc, LazyLock},
};

use common::{Endpoint, EngineKind};
use sqlx::{Arguments as _, SqliteConnection, sqlite::SqliteArguments};

use super::{Sqlite, bulk::Bulk, in_time};
use crate::store::{
    Error, KeyId, Outcome, USAGE_PAGE_ROWS_MAX, UsageFilter, UsageRecord,
    columns::{DIALECTS, Usage},
};

const COLUMNS: &str = "id, key_id, model, agent_id, engine, dialect, endpoint, status, outcome, prompt_tokens, \
    completion_tokens, first_token_ms, duration_ms, bytes, started_unix_ms";

static INSERT: LazyLock<Bulk> = LazyLock::new(|| Bulk::insert("usage", COLUMNS, "ON CONFLICT DO NOTHING"));

/// Texts that repeat in every row, shared with the arguments of a statement and never copied.
struct Words {
    engines: Vec<Arc<str>>,
    dialects: [Arc<str>; 3],
    endpoints: Vec<Arc<str>>,
    outcomes: [Arc<str>; 4],
}

static WORDS: LazyLock<Words> = LazyLock::new(|| Words {
    engines: EngineKind::ALL.iter().map(|kind| kind.as_str().into()).collect(),
    dialects: DIALECTS.map(|dialect| dialect.as_str().into()),
    endpoints: Endpoint::ALL.iter().map(|endpoint| endpoint.path().into()).collect(),
    outcomes: Outcome::ALL.map(|outcome| outcome.as_str().into()),
});

impl Sqlite {
    pub(in crate::store) async fn insert_usage(&self, records: &[UsageRecord]) -> Result<(), Error> {
        in_time(async {
            let mut work = self.ledger.begin_with("BEGIN IMMEDIATE").await?;
            insert(&mut work, records).await?;
            work.commit().await
        })
        .await
    }

    pub(in crate::store) async fn usage(&self, filter: &UsageFilter) -> Result<Vec<UsageRecord>, Error> {
        let query = sqlx::query_as::<_, Usage>(
            "SELECT * FROM usage WHERE id >= ?1 AND id < ?2 AND (?3 IS NULL OR key_id = ?3) \
             AND (?4 IS NULL OR model = ?4) AND (?5 IS NULL OR agent_id = ?5) \
             AND (?6 IS NULL OR outcome = ?6) ORDER BY id DESC LIMIT ?7",
        )
        .bind(filter.lower_bound().as_bytes().to_vec())
        .bind(filter.upper_bound().as_bytes().to_vec())
        .bind(filter.key_id.map(KeyId::to_i64))
        .bind(filter.model.as_ref().map(|model| model.as_str()))
        .bind(filter.agent_id.map(|id| id.as_bytes().to_vec()))
        .bind(filter.outcome.map(Outcome::as_str))
        .bind(filter.limit.min(USAGE_PAGE_ROWS_MAX));
        in_time(query.fetch_all(&self.desk)).await?.into_iter().map(UsageRecord::try_from).collect()
    }
}

/// Adds records within a transaction; how many were not there before.
pub(super) async fn insert<R: Borrow<UsageRecord>>(
    work: &mut SqliteConnection,
    records: &[R],
) -> Result<u64, sqlx::Error> {
    INSERT.execute(work, records, |row, record| add(row, record.borrow())).await
}

fn add(row: &mut SqliteArguments, record: &UsageRecord) -> Result<(), sqlx::error::BoxDynError> {
    let words = &*WORDS;
    row.add(record.id.as_bytes().to_vec())?;
    row.add(record.key_id.to_i64())?;
    row.add(record.model.as_ref().map(|model| model.as_str()))?;
    row.add(record.agent_id.map(|id| id.as_bytes().to_vec()))?;
    row.add(record.engine.map(|kind| words.engines[kind as usize].clone()))?;
    row.add(words.dialects[record.dialect as usize].clone())?;
    row.add(words.endpoints[record.endpoint as usize].clone())?;
    row.add(record.status)?;
    row.add(words.outcomes[record.outcome as usize].clone())?;
    row.add(record.prompt_tokens)?;
    row.add(record.completion_tokens)?;
    row.add(record.first_token_ms)?;
    row.add(record.duration_ms)?;
    row.add(record.bytes.cast_signed())?;
    row.add(record.started_unix_ms.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_stands_where_its_value_points() {
        for &endpoint in Endpoint::ALL {
            assert_eq!(&*WORDS.endpoints[endpoint as usize], endpoint.path());
        }
        for &kind in EngineKind::ALL {
            assert_eq!(&*WORDS.engines[kind as usize], kind.as_str());
        }
        for dialect in DIALECTS {
            assert_eq!(&*WORDS.dialects[dialect as usize], dialect.as_str());
        }
        for outcome in Outcome::ALL {
            assert_eq!(&*WORDS.outcomes[outcome as usize], outcome.as_str());
        }
    }
}
