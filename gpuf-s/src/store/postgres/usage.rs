//! Records of usage: a batch per statement on the way in, a page at a time on the way out.

use std::borrow::Borrow;

use sqlx::PgConnection;

use super::{Lease, Postgres, statements::statements};
use crate::store::{Error, KeyId, Outcome, USAGE_PAGE_ROWS_MAX, UsageFilter, UsageRecord, columns::Usage};

statements! {
    INSERT = "INSERT INTO usage (id, key_id, model, agent_id, engine, dialect, endpoint, status, outcome, \
              prompt_tokens, completion_tokens, first_token_ms, duration_ms, bytes, started_unix_ms) \
              SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::text[], $4::bytea[], $5::text[], $6::text[], \
              $7::text[], $8::integer[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], \
              $13::bigint[], $14::bigint[], $15::bigint[]) ON CONFLICT (id) DO NOTHING";
    PAGE = "SELECT id, key_id, model, agent_id, engine, dialect, endpoint, status, outcome, prompt_tokens, \
            completion_tokens, first_token_ms, duration_ms, bytes, started_unix_ms FROM usage \
            WHERE id >= $1 AND id < $2 AND ($3::bigint IS NULL OR key_id = $3) \
            AND ($4::text IS NULL OR model = $4) AND ($5::bytea IS NULL OR agent_id = $5) \
            AND ($6::text IS NULL OR outcome = $6) ORDER BY id DESC LIMIT $7";
}

impl Postgres {
    pub(in crate::store) async fn insert_usage(&self, records: &[UsageRecord]) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        self.in_time(async {
            let mut ledger = Lease::of(&self.ledger).await?;
            insert(&mut ledger, records).await?;
            ledger.done(());
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn usage(&self, filter: &UsageFilter) -> Result<Vec<UsageRecord>, Error> {
        let page = sqlx::query_as::<_, Usage>(PAGE)
            .bind(filter.lower_bound().as_bytes().to_vec())
            .bind(filter.upper_bound().as_bytes().to_vec())
            .bind(filter.key_id.map(KeyId::to_i64))
            .bind(filter.model.as_ref().map(|model| model.as_str()))
            .bind(filter.agent_id.map(|id| id.as_bytes().to_vec()))
            .bind(filter.outcome.map(Outcome::as_str))
            .bind(i64::from(filter.limit.min(USAGE_PAGE_ROWS_MAX)));
        self.all(page).await?.into_iter().map(UsageRecord::try_from).collect()
    }
}

/// Adds records, by themselves or within a transaction; how many were not there before.
pub(super) async fn insert<R: Borrow<UsageRecord>>(
    work: &mut PgConnection,
    records: &[R],
) -> Result<u64, sqlx::Error> {
    // In one order everywhere: two batches that share records would otherwise wait for each other.
    let mut rows: Vec<_> = records.iter().map(Borrow::borrow).collect();
    rows.sort_unstable_by_key(|row| row.id);
    fn column<'a, T>(rows: &[&'a UsageRecord], of: impl Fn(&'a UsageRecord) -> T) -> Vec<T> {
        rows.iter().map(|row| of(row)).collect()
    }
    let insert = sqlx::query(INSERT)
        .bind(column(&rows, |row| row.id.as_bytes().as_slice()))
        .bind(column(&rows, |row| row.key_id.to_i64()))
        .bind(column(&rows, |row| row.model.as_ref().map(|model| model.as_str())))
        .bind(column(&rows, |row| row.agent_id.as_ref().map(|id| id.as_bytes().as_slice())))
        .bind(column(&rows, |row| row.engine.map(|kind| kind.as_str())))
        .bind(column(&rows, |row| row.dialect.as_str()))
        .bind(column(&rows, |row| row.endpoint.path()))
        .bind(column(&rows, |row| i32::from(row.status)))
        .bind(column(&rows, |row| row.outcome.as_str()))
        .bind(column(&rows, |row| row.prompt_tokens.map(i64::from)))
        .bind(column(&rows, |row| row.completion_tokens.map(i64::from)))
        .bind(column(&rows, |row| row.first_token_ms.map(i64::from)))
        .bind(column(&rows, |row| i64::from(row.duration_ms)))
        .bind(column(&rows, |row| row.bytes.cast_signed()))
        .bind(column(&rows, |row| row.started_unix_ms.cast_signed()));
    Ok(insert.execute(work).await?.rows_affected())
}
