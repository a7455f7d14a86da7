//! Usage as its readers see it: within their scope, as records or as sums.

use common::ModelName;

use super::{Postgres, statements::statements};
use crate::store::{
    Error, KeyId, Outcome, Scope, USAGE_PAGE_ROWS_MAX, UsageBy, UsageFilter, UsageSeen, UsageSum,
    columns::{SeenColumns, SumColumns},
};

// A key may be asked for only by whom it belongs to, or the answer would tell whose request it was.
statements! {
    PAGE = "SELECT id, key_id, model, agent_id, engine, dialect, endpoint, status, outcome, prompt_tokens, \
            completion_tokens, first_token_ms, duration_ms, bytes, started_unix_ms, ($7::text IS NULL \
            OR key_id IN (SELECT id FROM api_keys WHERE tenant = $7)) AS key_is_own FROM usage \
            WHERE id >= $1 AND id < $2 \
            AND ($3::bigint IS NULL OR (key_id = $3 AND ($7::text IS NULL \
            OR $3 IN (SELECT id FROM api_keys WHERE tenant = $7)))) \
            AND ($4::text IS NULL OR model = $4) AND ($5::bytea IS NULL OR agent_id = $5) \
            AND ($6::text IS NULL OR outcome = $6) \
            AND ($7::text IS NULL OR key_id IN (SELECT id FROM api_keys WHERE tenant = $7) \
            OR agent_id IN (SELECT id FROM agents WHERE owner = $7)) \
            ORDER BY id DESC LIMIT $8";
    SUMS = "SELECT CASE WHEN $9 = 'key' AND key_is_own THEN key_id END AS by_key, \
            CASE WHEN $9 = 'model' THEN model END AS by_model, \
            CASE WHEN $9 = 'agent' THEN agent_id END AS by_agent, \
            CASE WHEN $9 = 'day' THEN started_unix_ms / 86400000 END AS by_day, count(*) AS requests, \
            count(*) FILTER (WHERE outcome = 'ok') AS ok, \
            count(*) FILTER (WHERE outcome = 'cancelled') AS cancelled, \
            count(*) FILTER (WHERE outcome = 'aborted') AS aborted, \
            count(*) FILTER (WHERE outcome = 'failed') AS failed, \
            coalesce(sum(prompt_tokens), 0)::bigint AS prompt_tokens, \
            coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens, sum(bytes)::bigint AS bytes, \
            sum(duration_ms)::bigint AS duration_ms, count(first_token_ms) AS first_tokens, \
            coalesce(sum(first_token_ms), 0)::bigint AS first_token_ms \
            FROM (SELECT *, ($7::text IS NULL OR key_id IN (SELECT id FROM api_keys WHERE tenant = $7)) \
            AS key_is_own FROM usage \
            WHERE id >= $1 AND id < $2 \
            AND ($3::bigint IS NULL OR (key_id = $3 AND ($7::text IS NULL \
            OR $3 IN (SELECT id FROM api_keys WHERE tenant = $7)))) \
            AND ($4::text IS NULL OR model = $4) AND ($5::bytea IS NULL OR agent_id = $5) \
            AND ($6::text IS NULL OR outcome = $6) \
            AND ($7::text IS NULL OR key_id IN (SELECT id FROM api_keys WHERE tenant = $7) \
            OR agent_id IN (SELECT id FROM agents WHERE owner = $7))) seen \
            GROUP BY 1, 2, 3, 4 ORDER BY 4 DESC NULLS LAST, requests DESC, 1, 2, 3 LIMIT $8";
}

/// The eight arguments of each.
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
            .bind(i64::from($filter.limit.min(USAGE_PAGE_ROWS_MAX)))
    };
}

impl Postgres {
    pub(in crate::store) async fn usage_within(
        &self,
        scope: &Scope,
        filter: &UsageFilter,
    ) -> Result<Vec<UsageSeen>, Error> {
        let query = bound!(sqlx::query_as::<_, SeenColumns>(PAGE), scope, filter);
        self.all(query).await?.into_iter().map(UsageSeen::try_from).collect()
    }

    pub(in crate::store) async fn usage_sums(
        &self,
        scope: &Scope,
        by: UsageBy,
        filter: &UsageFilter,
    ) -> Result<Vec<UsageSum>, Error> {
        let query = bound!(sqlx::query_as::<_, SumColumns>(SUMS), scope, filter).bind(by.as_str());
        self.all(query).await?.into_iter().map(|row| row.sum(by)).collect()
    }
}
