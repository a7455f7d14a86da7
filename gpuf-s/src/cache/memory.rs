//! The cache of one process: bounded, and gone with it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::broadcast;

use super::{Lifetimes, Lookup, REVOCATIONS_UNREAD_MAX};
use crate::store::{KeyHash, KeyRow};

const KEYS_MAX: usize = 65_536;
/// Apart from the keys that there are, so that a flood of guesses pushes out neither a row nor a tombstone.
const NOBODIES_MAX: usize = 8192;

/// Handle of the cache; clones share it.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    keys: quick_cache::sync::Cache<KeyHash, Held>,
    nobodies: quick_cache::sync::Cache<KeyHash, Instant>,
    /// Held by whoever writes: what stands there decides whether it may be overwritten.
    writing: Mutex<()>,
    revoked: broadcast::Sender<KeyHash>,
    lifetimes: Lifetimes,
}

#[derive(Clone)]
struct Held {
    /// None of a tombstone.
    row: Option<Arc<KeyRow>>,
    until: Instant,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl Memory {
    pub(super) fn new(lifetimes: Lifetimes) -> Self {
        Self(Arc::new(Inner {
            keys: quick_cache::sync::Cache::new(KEYS_MAX),
            nobodies: quick_cache::sync::Cache::new(NOBODIES_MAX),
            writing: Mutex::new(()),
            revoked: broadcast::channel(REVOCATIONS_UNREAD_MAX).0,
            lifetimes,
        }))
    }

    pub(super) fn get(&self, hash: &KeyHash) -> Lookup {
        if let Some(held) = self.held(hash) {
            return held.row.map_or(Lookup::Nobody, |row| Lookup::Row(KeyRow::clone(&row)));
        }
        let refused = self.0.nobodies.get(hash).is_some_and(|until| Instant::now() < until);
        if refused { Lookup::Nobody } else { Lookup::Unknown }
    }

    pub(super) fn put(&self, hash: &KeyHash, row: Option<&KeyRow>) {
        let _writing = self.writing();
        match row {
            Some(row) if row.revoked.is_some() => self.entomb(hash),
            Some(_) if self.held(hash).is_some_and(|held| held.row.is_none()) => {}
            Some(row) => {
                let until = Instant::now() + self.0.lifetimes.row;
                self.0.keys.insert(*hash, Held { row: Some(Arc::new(row.clone())), until });
                self.0.nobodies.remove(hash);
            }
            // What stands among the keys comes first, and outlives it.
            None => self.0.nobodies.insert(*hash, Instant::now() + self.0.lifetimes.nobody),
        }
    }

    pub(super) fn revoke(&self, hash: &KeyHash) {
        self.bury(&[*hash]);
        // Without a listener nobody has to be told.
        let _ = self.0.revoked.send(*hash);
    }

    pub(super) fn bury(&self, hashes: &[KeyHash]) {
        let _writing = self.writing();
        hashes.iter().for_each(|hash| self.entomb(hash));
    }

    pub(super) fn revocations(&self) -> broadcast::Receiver<KeyHash> {
        self.0.revoked.subscribe()
    }

    fn entomb(&self, hash: &KeyHash) {
        self.0.keys.insert(*hash, Held { row: None, until: Instant::now() + self.0.lifetimes.tombstone });
    }

    fn held(&self, hash: &KeyHash) -> Option<Held> {
        self.0.keys.get(hash).filter(|held| Instant::now() < held.until)
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.0.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
