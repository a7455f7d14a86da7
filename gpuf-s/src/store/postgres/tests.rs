//! The shared database against real servers: at its best in the conformance suite, here on its bad days.

mod away;
mod opening;
mod rows;

use std::time::{Duration, Instant};

use common::{Dialect, Endpoint};
use sqlx::{ConnectOptions as _, PgConnection, postgres::PgConnectOptions};

use super::*;
use crate::{
    secret::SecretUrl,
    store::{Database, KeyId, Outcome, Store, UsageFilter, UsageId, UsageRecord},
};

/// Long enough for anything on a busy machine; what waits for it looks often.
const PATIENCE: Duration = Duration::from_secs(30);
const NOW_MS: u64 = 1_800_000_000_000;

async fn open(url: &str) -> Result<Store, Error> {
    Postgres::open(&SecretUrl::new(url.to_owned())).await.map(Store::Postgres)
}

/// A connection beside the store's.
async fn beside(url: &str) -> PgConnection {
    url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap()
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "it never came to be that {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until so many statements of stores wait for a lock.
async fn blocked(url: &str, statements: i64) {
    let mut look = beside(url).await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gpuf-s' \
                   AND wait_event_type = 'Lock' AND datname = current_database()";
    let what = format!("{statements} statements wait");
    eventually(&what, async || {
        sqlx::query_as::<_, (i64,)>(waiting).fetch_one(&mut look).await.unwrap() == (statements,)
    })
    .await;
}

fn record(started_unix_ms: u64) -> UsageRecord {
    UsageRecord {
        id: UsageId::next(started_unix_ms),
        key_id: KeyId::STATIC,
        model: None,
        agent_id: None,
        engine: None,
        dialect: Dialect::OpenAi,
        endpoint: Endpoint::ChatCompletions,
        status: 200,
        outcome: Outcome::Ok,
        prompt_tokens: None,
        completion_tokens: None,
        first_token_ms: None,
        duration_ms: 1,
        bytes: 1,
        started_unix_ms,
    }
}

async fn count(store: &Store) -> usize {
    store.usage(&UsageFilter { limit: 1000, ..UsageFilter::default() }).await.unwrap().len()
}
