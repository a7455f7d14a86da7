//! What the store said of keys lately, in memory or in a Redis that servers share.
//!
//! Nobody depends on it: what it does not know, the store is asked for. So no operation fails, and none
//! takes longer than [`OPERATION_DEADLINE`]. It never says that a key works after it was told of the key's
//! revocation; what it was not told, the watcher of revocations learns from the store.

mod breaker;
mod entry;
mod memory;
mod redis;

pub use memory::Memory;
pub use redis::Redis;

use std::{fmt, time::Duration};

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::{
    secret::SecretUrl,
    store::{KeyHash, KeyRow},
};

/// How long a row may be relied on after the store told it.
pub const ROW_TTL: Duration = Duration::from_secs(300);
/// How long the store's word that there is no such key may be relied on. A key that is made overwrites it;
/// this bounds what is left where that fails, and how much memory a flood of guesses takes.
pub const NOBODY_TTL: Duration = Duration::from_secs(30);
/// How long a revocation stands in the way of rows that were read before it: longer than any of them lives.
pub const TOMBSTONE_TTL: Duration = Duration::from_secs(360);
/// What one operation may take.
pub const OPERATION_DEADLINE: Duration = Duration::from_millis(50);
/// Revocations that a slow listener may leave unread; the oldest are dropped.
const REVOCATIONS_UNREAD_MAX: usize = 1024;

/// Why a cache cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL names no Redis; the operator has to act.
    #[error("--redis-url {url} cannot be used: {reason}")]
    Url {
        /// Which.
        url: SecretUrl,
        /// Why.
        reason: String,
    },
}

/// What a cache says about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The store had this row of it.
    Row(KeyRow),
    /// The store had none, or it was revoked.
    Nobody,
    /// It does not know, or cannot be asked.
    Unknown,
}

/// Handle of a cache; clones share it.
#[derive(Debug, Clone)]
pub enum Cache {
    /// Of this process alone.
    Memory(Memory),
    /// Of all servers that share a Redis.
    Redis(Redis),
}

/// How the way to a cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Operations that failed so far.
    pub errors: u64,
    /// Whether it is left alone because too many failed in a row.
    pub breaker_open: bool,
}

/// How long entries live.
#[derive(Debug, Clone, Copy)]
struct Lifetimes {
    row: Duration,
    nobody: Duration,
    tombstone: Duration,
}

const LIFETIMES: Lifetimes = Lifetimes { row: ROW_TTL, nobody: NOBODY_TTL, tombstone: TOMBSTONE_TTL };

impl Cache {
    /// The cache in the Redis at `redis`, or in memory; and the task that keeps it connected, which whoever
    /// owns the runtime spawns. A Redis that does not answer is no error.
    ///
    /// # Errors
    /// [`Error::Url`] where the URL names no Redis.
    pub fn open(redis: Option<&SecretUrl>) -> Result<(Self, Courier), Error> {
        match redis {
            None => Ok((Self::Memory(Memory::new(LIFETIMES)), Courier(None))),
            Some(url) => {
                let (redis, courier) = Redis::open(url, LIFETIMES, OPERATION_DEADLINE)?;
                Ok((Self::Redis(redis), Courier(Some(courier))))
            }
        }
    }

    /// What is known of the key of `hash`.
    pub async fn get(&self, hash: &KeyHash) -> Lookup {
        match self {
            Self::Memory(memory) => memory.get(hash),
            Self::Redis(redis) => redis.get(hash).await,
        }
    }

    /// Keeps what the store said of a key. It does not undo a revocation, and the word that there is no such
    /// key does not undo a row.
    pub async fn put(&self, hash: &KeyHash, row: Option<&KeyRow>) {
        match self {
            Self::Memory(memory) => memory.put(hash, row),
            Self::Redis(redis) => redis.put(hash, row).await,
        }
    }

    /// Puts a tombstone in the place of a key, and tells every server. Where that cannot be done at once, the
    /// [`Courier`] tries until it is done or no row is left that it would have to outlive.
    pub async fn revoke(&self, hash: &KeyHash) {
        match self {
            Self::Memory(memory) => memory.revoke(hash),
            Self::Redis(redis) => redis.revoke(hash).await,
        }
    }

    /// Puts tombstones in the places of keys of which every server knows by itself; the [`Courier`] does it.
    pub fn bury(&self, hashes: &[KeyHash]) {
        match self {
            Self::Memory(memory) => memory.bury(hashes),
            Self::Redis(redis) => redis.bury(hashes),
        }
    }

    /// Revocations that are told from here on, wherever they are made.
    #[must_use]
    pub fn revocations(&self) -> Revocations {
        Revocations(match self {
            Self::Memory(memory) => memory.revocations(),
            Self::Redis(redis) => redis.revocations(),
        })
    }

    /// Waits for the first connection, at most for `deadline`; whether there is one.
    pub async fn connected(&self, deadline: Duration) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Redis(redis) => redis.connected(deadline).await,
        }
    }

    /// How the way to it is.
    #[must_use]
    pub fn health(&self) -> Health {
        match self {
            Self::Memory(_) => Health { errors: 0, breaker_open: false },
            Self::Redis(redis) => redis.health(),
        }
    }
}

/// Hashes of keys that are revoked, as they are told.
#[derive(Debug)]
pub struct Revocations(broadcast::Receiver<KeyHash>);

impl Revocations {
    /// The next one; `None` when the cache is gone. A listener that is too slow misses some, and learns of
    /// them from the store.
    pub async fn next(&mut self) -> Option<KeyHash> {
        loop {
            match self.0.recv().await {
                Ok(hash) => return Some(hash),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// The task behind a cache.
pub struct Courier(Option<redis::Courier>);

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Courier")
    }
}

impl Courier {
    /// Keeps the cache connected until `closing`.
    pub async fn run(self, closing: CancellationToken) {
        if let Some(courier) = self.0 {
            closing.run_until_cancelled(courier.run()).await;
        }
    }
}

#[cfg(test)]
mod conformance;
