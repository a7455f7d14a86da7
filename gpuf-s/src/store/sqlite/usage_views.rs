//! Usage as its readers see it: within their scope, as records or as sums.

use common::ModelName;
use sqlx::AssertSqlSafe;

use super::{Sqlite, in_time};
use crate::store::{
    Error, KeyId, Outcome, Scope, USAGE_PAGE_ROWS_MAX, UsageBy, UsageFilter, UsageSeen, UsageSum,
    columns::{SeenColumns, SumColumns},
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
            .bind($filter.lower_bound().as_bytes().to_vec())
            .bind($filter.upper_bound().as_bytes().to_vec())
            .bind($filter.key_id.map(KeyId::to_i64))
            .bind($filter.model.as_ref().map(ModelName::as_str))
            .bind($filter.agent_id.map(|id| id.as_bytes().to_vec()))
            .bind($filter.outcome.map(Outcome::as_str))
            .bind($scope.text())
            .bind($filter.limit.min(USAGE_PAGE_ROWS_MAX))
    };
}

impl Sqlite {
    pub(in crate::store) async fn usage_within(
        &self,
        scope: &Scope,
        filter: &UsageFilter,
    ) -> Result<Vec<UsageSeen>, Error> {
        let sql = format!("{SEEN} ORDER BY id DESC LIMIT ?8");
        let query = bound!(sqlx::query_as::<_, SeenColumns>(AssertSqlSafe(sql)), scope, filter);
        let rows = in_time(query.fetch_all(&self.desk)).await?;
        rows.into_iter().map(UsageSeen::try_from).collect()
    }

    pub(in crate::store) async fn usage_sums(
        &self,
        scope: &Scope,
        by: UsageBy,
        filter: &UsageFilter,
    ) -> Result<Vec<UsageSum>, Error> {
        let sql = format!(
            "SELECT iif(?9 = 'key' AND key_is_own, key_id, NULL) AS by_key, \
             iif(?9 = 'model', model, NULL) AS by_model, iif(?9 = 'agent', agent_id, NULL) AS by_agent, \
             iif(?9 = 'day', started_unix_ms / 86400000, NULL) AS by_day, count(*) AS requests, sum(outcome = 'ok') AS ok, \
             sum(outcome = 'cancelled') AS cancelled, sum(outcome = 'aborted') AS aborted, \
             sum(outcome = 'failed') AS failed, coalesce(sum(prompt_tokens), 0) AS prompt_tokens, \
             coalesce(sum(completion_tokens), 0) AS completion_tokens, sum(bytes) AS bytes, \
             sum(duration_ms) AS duration_ms, count(first_token_ms) AS first_tokens, \
             coalesce(sum(first_token_ms), 0) AS first_token_ms FROM ({SEEN}) \
             GROUP BY 1, 2, 3, 4 ORDER BY 4 DESC, requests DESC, 1, 2, 3 LIMIT ?8"
        );
        let query =
            bound!(sqlx::query_as::<_, SumColumns>(AssertSqlSafe(sql)), scope, filter).bind(by.as_str());
        let rows = in_time(query.fetch_all(&self.desk)).await?;
        rows.into_iter().map(|row| row.sum(by)).collect()
    }
}
