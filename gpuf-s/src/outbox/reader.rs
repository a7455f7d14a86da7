//! The connection that reads, and copies the log while the other one writes.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use sqlx::{SqlitePool, sqlite::SqlitePoolOptions};

use super::{
    counts::Durability,
    entry::{Entry, Seq, Topic},
    file,
};

/// Bytes of payloads that one reading gives.
const READ_BYTES_MAX: usize = 8 << 20;
/// How long a reading of the file waits for the one before.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// An unused reading connection, with its thread and its cache, is closed after this.
const READER_IDLE: Duration = Duration::from_secs(60);

/// One connection, which is there while it is used; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Reader(SqlitePool);

impl Reader {
    pub fn new(path: &Path, durability: Durability) -> Self {
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(READ_DEADLINE)
            .idle_timeout(READER_IDLE)
            .test_before_acquire(false);
        Self(pool.connect_lazy_with(file::options(path, durability)))
    }

    /// Entries after `after`, oldest first: at most `max`, and about [`READ_BYTES_MAX`].
    pub async fn read(&self, after: Seq, max: usize) -> Result<Vec<(Seq, Entry)>, sqlx::Error> {
        let mut rows = sqlx::query_as::<_, (i64, u8, Vec<u8>, Vec<u8>)>(
            "SELECT seq, topic, key, payload FROM entries WHERE seq > ? ORDER BY seq LIMIT ?",
        )
        .bind(after.0.cast_signed())
        .bind(i64::try_from(max).unwrap_or(i64::MAX))
        .fetch(&self.0);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some((seq, topic, key, payload)) = rows.try_next().await? {
            let topic = *Topic::ALL.get(usize::from(topic)).ok_or(sqlx::Error::Decode("a topic".into()))?;
            let key = key.try_into().map_err(|_| sqlx::Error::Decode("a key".into()))?;
            bytes += payload.len();
            entries.push((Seq(seq.cast_unsigned()), Entry { topic, key, payload: Bytes::from(payload) }));
            if bytes >= READ_BYTES_MAX {
                break;
            }
        }
        Ok(entries)
    }

    /// As [`file::checkpoint`].
    pub async fn checkpoint(&self) -> Result<bool, sqlx::Error> {
        file::checkpoint(&self.0).await
    }

    pub async fn close(&self) {
        self.0.close().await;
    }
}
