//! Records of usage: many rows per statement on the way in, a page at a time on the way out.

use std::sync::{Arc, LazyLock};

use common::{Dialect, Endpoint, EngineKind};
use sqlx::{Arguments as _, AssertSqlSafe, FromRow, SqliteConnection, sqlite::SqliteArguments};

use super::{Sqlite, in_time, machines::agent_id};
use crate::store::{Error, KeyId, Outcome, USAGE_PAGE_ROWS_MAX, UsageFilter, UsageId, UsageRecord};

/// Rows per statement, largest first: few enough statements to stay prepared, few enough calls per batch.
const STATEMENT_ROWS: [usize; 4] = [128, 32, 8, 1];
const COLUMNS: usize = 15;

/// The statements, by their place in [`STATEMENT_ROWS`].
static INSERTS: LazyLock<[Arc<str>; STATEMENT_ROWS.len()]> =
    LazyLock::new(|| STATEMENT_ROWS.map(|rows| insert_sql(rows).into()));

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

/// In the order of their discriminants.
const DIALECTS: [Dialect; 3] = [Dialect::OpenAi, Dialect::Anthropic, Dialect::Ollama];

fn insert_sql(rows: usize) -> String {
    let row = format!("({})", vec!["?"; COLUMNS].join(","));
    format!(
        "INSERT INTO usage (id, key_id, model, agent_id, engine, dialect, endpoint, status, outcome, \
         prompt_tokens, completion_tokens, first_token_ms, duration_ms, bytes, started_unix_ms) VALUES {} \
         ON CONFLICT DO NOTHING",
        vec![row; rows].join(",")
    )
}

impl Sqlite {
    pub(in crate::store) async fn insert_usage(&self, records: &[UsageRecord]) -> Result<(), Error> {
        in_time(async {
            let mut work = self.ledger.begin_with("BEGIN IMMEDIATE").await?;
            let mut rest = records;
            for (rows, sql) in STATEMENT_ROWS.into_iter().zip(INSERTS.iter()) {
                while let Some((chunk, after)) = rest.split_at_checked(rows) {
                    insert(&mut work, sql, chunk).await?;
                    rest = after;
                }
            }
            work.commit().await
        })
        .await
    }

    pub(in crate::store) async fn usage(&self, filter: &UsageFilter) -> Result<Vec<UsageRecord>, Error> {
        let query = sqlx::query_as::<_, Row>(
            "SELECT * FROM usage WHERE id >= ?1 AND id < ?2 AND (?3 IS NULL OR key_id = ?3) \
             AND (?4 IS NULL OR model = ?4) AND (?5 IS NULL OR agent_id = ?5) \
             AND (?6 IS NULL OR outcome = ?6) ORDER BY id DESC LIMIT ?7",
        )
        .bind(lower_bound(filter).as_bytes().to_vec())
        .bind(upper_bound(filter).as_bytes().to_vec())
        .bind(filter.key_id.map(KeyId::to_i64))
        .bind(filter.model.as_ref().map(|model| model.as_str()))
        .bind(filter.agent_id.map(|id| id.as_bytes().to_vec()))
        .bind(filter.outcome.map(Outcome::as_str))
        .bind(filter.limit.min(USAGE_PAGE_ROWS_MAX));
        in_time(query.fetch_all(&self.desk)).await?.into_iter().map(UsageRecord::try_from).collect()
    }
}

pub(super) fn lower_bound(filter: &UsageFilter) -> UsageId {
    UsageId::first_at(filter.since_unix_ms.unwrap_or(0))
}

pub(super) fn upper_bound(filter: &UsageFilter) -> UsageId {
    let end = filter.until_unix_ms.map_or(UsageId::from_bytes([0xff; 16]), UsageId::first_at);
    filter.before.map_or(end, |before| before.min(end))
}

async fn insert(
    work: &mut SqliteConnection,
    sql: &Arc<str>,
    records: &[UsageRecord],
) -> Result<(), sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(records.len() * COLUMNS, 0);
    for record in records {
        add(&mut arguments, record).map_err(sqlx::Error::Encode)?;
    }
    sqlx::query_with(AssertSqlSafe(sql.clone()), arguments).execute(work).await.map(|_| ())
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

#[derive(FromRow)]
pub(super) struct Row {
    id: Vec<u8>,
    key_id: i64,
    model: Option<String>,
    agent_id: Option<Vec<u8>>,
    engine: Option<String>,
    dialect: String,
    endpoint: String,
    status: u16,
    outcome: String,
    prompt_tokens: Option<u32>,
    completion_tokens: Option<u32>,
    first_token_ms: Option<u32>,
    duration_ms: u32,
    bytes: i64,
    started_unix_ms: i64,
}

impl TryFrom<Row> for UsageRecord {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
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
            status: row.status,
            outcome: row.outcome.parse()?,
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.completion_tokens,
            first_token_ms: row.first_token_ms,
            duration_ms: row.duration_ms,
            bytes: row.bytes.cast_unsigned(),
            started_unix_ms: row.started_unix_ms.cast_unsigned(),
        })
    }
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
