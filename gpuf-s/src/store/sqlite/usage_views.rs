//! Usage as its readers see it: within their scope, as records or as sums.

use common::ModelName;
use sqlx::{AssertSqlSafe, FromRow};

use super::{Sqlite, in_time, machines::agent_id, usage};
use crate::store::{
    Error, KeyId, Outcome, Scope, USAGE_PAGE_ROWS_MAX, UsageBy, UsageFilter, UsageGroup, UsageSeen, UsageSum,
};

/// Whether a record's key is the asker's, and which records that is asked of: those of its keys and those
/// that its agents served. A key may be asked for only by whom it belongs to, or the answer would tell
/// whose request it was.
const SEEN: &str = "SELECT usage.*, (?7 IS NULL OR key_id IN (SELECT id FROM api_keys WHERE tenant = ?7)) \
     AS key_is_own FROM usage WHERE id >= ?1 AND id < ?2 \
     AND (?3 IS NULL OR (key_id = ?3 AND (?7 IS NULL \
     OR ?3 IN (SELECT id FROM api_keys WHERE tenant = ?7)))) \
     AND (?4 IS NULL OR model = ?4) AND (?5 IS NULL OR agent_id = ?5) AND (?6 IS NULL OR outcome = ?6) \
     AND (?7 IS NULL OR key_id IN (SELECT id FROM api_keys WHERE tenant = ?7) \
     OR agent_id IN (SELECT id FROM agents WHERE owner = ?7))";

/// The eight arguments of [`SEEN`] and its limit.
macro_rules! bound {
    ($query:expr, $scope:expr, $filter:expr) => {
        $query
            .bind(usage::lower_bound($filter).as_bytes().to_vec())
            .bind(usage::upper_bound($filter).as_bytes().to_vec())
            .bind($filter.key_id.map(KeyId::to_i64))
            .bind($filter.model.as_ref().map(ModelName::as_str))
            .bind($filter.agent_id.map(|id| id.as_bytes().to_vec()))
            .bind($filter.outcome.map(Outcome::as_str))
            .bind($scope.text())
            .bind($filter.limit.min(USAGE_PAGE_ROWS_MAX))
    };
}

#[derive(FromRow)]
struct Seen {
    #[sqlx(flatten)]
    record: usage::Row,
    key_is_own: bool,
}

#[derive(FromRow)]
struct Sum {
    by_key: Option<i64>,
    by_model: Option<String>,
    by_agent: Option<Vec<u8>>,
    by_day: Option<u32>,
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

impl Sqlite {
    pub(in crate::store) async fn usage_within(
        &self,
        scope: &Scope,
        filter: &UsageFilter,
    ) -> Result<Vec<UsageSeen>, Error> {
        let sql = format!("{SEEN} ORDER BY id DESC LIMIT ?8");
        let query = bound!(sqlx::query_as::<_, Seen>(AssertSqlSafe(sql)), scope, filter);
        let rows = in_time(query.fetch_all(&self.desk)).await?;
        let seen = |row: Seen| Ok(UsageSeen { record: row.record.try_into()?, key_is_own: row.key_is_own });
        rows.into_iter().map(seen).collect()
    }

    pub(in crate::store) async fn usage_sums(
        &self,
        scope: &Scope,
        by: UsageBy,
        filter: &UsageFilter,
    ) -> Result<Vec<UsageSum>, Error> {
        let group = match by {
            UsageBy::Key => {
                "iif(key_is_own, key_id, NULL) AS by_key, NULL AS by_model, NULL AS by_agent, NULL AS by_day"
            }
            UsageBy::Model => "NULL AS by_key, model AS by_model, NULL AS by_agent, NULL AS by_day",
            UsageBy::Agent => "NULL AS by_key, NULL AS by_model, agent_id AS by_agent, NULL AS by_day",
            UsageBy::Day => {
                "NULL AS by_key, NULL AS by_model, NULL AS by_agent, started_unix_ms / 86400000 AS by_day"
            }
        };
        let order = if by == UsageBy::Day { "by_day DESC" } else { "requests DESC, 1, 2, 3" };
        let sql = format!(
            "SELECT {group}, count(*) AS requests, sum(outcome = 'ok') AS ok, \
             sum(outcome = 'cancelled') AS cancelled, sum(outcome = 'aborted') AS aborted, \
             sum(outcome = 'failed') AS failed, coalesce(sum(prompt_tokens), 0) AS prompt_tokens, \
             coalesce(sum(completion_tokens), 0) AS completion_tokens, sum(bytes) AS bytes, \
             sum(duration_ms) AS duration_ms, count(first_token_ms) AS first_tokens, \
             coalesce(sum(first_token_ms), 0) AS first_token_ms FROM ({SEEN}) \
             GROUP BY 1, 2, 3, 4 ORDER BY {order} LIMIT ?8"
        );
        let query = bound!(sqlx::query_as::<_, Sum>(AssertSqlSafe(sql)), scope, filter);
        let rows = in_time(query.fetch_all(&self.desk)).await?;
        rows.into_iter().map(|row| sum(row, by)).collect()
    }
}

fn sum(row: Sum, by: UsageBy) -> Result<UsageSum, Error> {
    let model = row.by_model.map(|name| name.parse().map_err(|_| Error::Corrupt("a model's name")));
    let group = match by {
        UsageBy::Key => UsageGroup::Key(row.by_key.map(KeyId::from_i64)),
        UsageBy::Model => UsageGroup::Model(model.transpose()?),
        UsageBy::Agent => UsageGroup::Agent(row.by_agent.as_deref().map(agent_id).transpose()?),
        UsageBy::Day => UsageGroup::Day(row.by_day.ok_or(Error::Corrupt("a day"))?),
    };
    Ok(UsageSum {
        group,
        requests: row.requests.cast_unsigned(),
        ended: [row.ok, row.cancelled, row.aborted, row.failed].map(i64::cast_unsigned),
        prompt_tokens: row.prompt_tokens.cast_unsigned(),
        completion_tokens: row.completion_tokens.cast_unsigned(),
        bytes: row.bytes.cast_unsigned(),
        duration_ms: row.duration_ms.cast_unsigned(),
        first_tokens: row.first_tokens.cast_unsigned(),
        first_token_ms: row.first_token_ms.cast_unsigned(),
    })
}
