//! The cache that servers share: a Redis, which may be away at any moment.

mod courier;
mod link;

pub(super) use courier::Courier;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use redis::{Cmd, Pipeline, Value, cmd};
use tokio::sync::{Notify, broadcast};

use super::{Error, Health, Lifetimes, Lookup, REVOCATIONS_UNREAD_MAX, entry, entry::TOMBSTONE};
use crate::{
    secret::SecretUrl,
    store::{KeyHash, KeyRow},
};
use link::Link;

/// Where revocations are told, each as the hash in hexadecimal digits.
const CHANNEL: &str = "gpuf:revoked";
/// Tombstones that wait for Redis to come back. What does not fit, the servers know from the store.
const PENDING_MAX: usize = 65_536;
/// Tombstones that are written at once.
const BATCH: usize = 256;
/// Writes a row unless a tombstone stands there. A script, so that nothing comes between the two.
const PUT_ROW: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return 0 end \
                       redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1";

/// Handle of the cache; clones share it.
#[derive(Clone)]
pub struct Redis(Arc<Shared>);

struct Shared {
    link: Link,
    lifetimes: Lifetimes,
    revoked: broadcast::Sender<KeyHash>,
    pending: Mutex<HashMap<KeyHash, Tombstone>>,
    /// Told when a tombstone has to be written.
    written_later: Notify,
}

/// A tombstone that is not written yet.
#[derive(Clone, Copy)]
struct Tombstone {
    /// From then on no row is left that it would have to outlive.
    until: Instant,
    /// Whether the other servers are to be told.
    tell: bool,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redis")
    }
}

impl Redis {
    pub(super) fn open(
        url: &SecretUrl,
        lifetimes: Lifetimes,
        deadline: Duration,
    ) -> Result<(Self, Courier), Error> {
        let shared = Arc::new(Shared {
            link: Link::new(url, deadline)?,
            lifetimes,
            revoked: broadcast::channel(REVOCATIONS_UNREAD_MAX).0,
            pending: Mutex::default(),
            written_later: Notify::new(),
        });
        Ok((Self(shared.clone()), Courier(shared)))
    }

    pub(super) async fn get(&self, hash: &KeyHash) -> Lookup {
        let mut get = cmd("GET");
        get.arg(name(hash));
        match self.0.link.ask::<Option<Vec<u8>>>(&get).await {
            Some(Some(bytes)) => entry::read(hash, &bytes, &self.0.lifetimes, unix_ms()),
            Some(None) | None => Lookup::Unknown,
        }
    }

    pub(super) async fn put(&self, hash: &KeyHash, row: Option<&KeyRow>) {
        let Some(value) = entry::write(row, unix_ms()) else { return self.bury(&[*hash]) };
        let command = match row {
            Some(_) => {
                let mut put = cmd("EVAL");
                put.arg(PUT_ROW).arg(1).arg(name(hash));
                put.arg(TOMBSTONE).arg(value).arg(millis(self.0.lifetimes.row));
                put
            }
            None => {
                let mut put = cmd("SET");
                put.arg(name(hash)).arg(value).arg("NX").arg("PX").arg(millis(self.0.lifetimes.nobody));
                put
            }
        };
        // What is not kept is asked for again.
        let _ = self.0.link.ask::<Value>(&command).await;
    }

    pub(super) async fn revoke(&self, hash: &KeyHash) {
        // Whoever waits here may leave; the courier then does it.
        self.0.later(&[*hash], true);
        let _ = self.0.revoked.send(*hash);
        self.0.write(&[*hash]).await;
    }

    pub(super) fn bury(&self, hashes: &[KeyHash]) {
        self.0.later(hashes, false);
    }

    pub(super) fn revocations(&self) -> broadcast::Receiver<KeyHash> {
        self.0.revoked.subscribe()
    }

    pub(super) async fn connected(&self, deadline: Duration) -> bool {
        tokio::time::timeout(deadline, self.0.link.up()).await.is_ok()
    }

    pub(super) fn health(&self) -> Health {
        self.0.link.health()
    }
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, HashMap<KeyHash, Tombstone>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn later(&self, hashes: &[KeyHash], tell: bool) {
        let until = Instant::now() + self.lifetimes.tombstone;
        let mut pending = self.pending();
        for hash in hashes {
            let room = pending.len() < PENDING_MAX;
            match pending.get_mut(hash) {
                Some(known) => *known = Tombstone { until, tell: tell || known.tell },
                None if room => {
                    pending.insert(*hash, Tombstone { until, tell });
                }
                None => {}
            }
        }
        drop(pending);
        self.written_later.notify_one();
    }

    /// Writes the tombstones of `hashes` that are pending; whether they all are written.
    async fn write(&self, hashes: &[KeyHash]) -> bool {
        let written = self.link.ask_all(&self.tombstones(hashes)).await;
        if written {
            self.written(hashes);
        }
        written
    }

    fn written(&self, hashes: &[KeyHash]) {
        let mut pending = self.pending();
        for hash in hashes {
            pending.remove(hash);
        }
    }

    fn tombstones(&self, hashes: &[KeyHash]) -> Pipeline {
        let pending = self.pending();
        let mut pipeline = Pipeline::with_capacity(hashes.len() * 3);
        for hash in hashes {
            // A Redis without room refuses to write, but not to delete.
            pipeline.cmd("DEL").arg(name(hash)).ignore();
            let ttl = millis(self.lifetimes.tombstone);
            pipeline.cmd("SET").arg(name(hash)).arg(TOMBSTONE).arg("PX").arg(ttl).ignore();
            if pending.get(hash).is_some_and(|tombstone| tombstone.tell) {
                pipeline.add_command(tell(hash)).ignore();
            }
        }
        pipeline
    }

    /// Up to `max` tombstones that have to be written; those whose time is over are dropped.
    fn due(&self, max: usize) -> Vec<KeyHash> {
        let now = Instant::now();
        let mut pending = self.pending();
        pending.retain(|_, tombstone| now < tombstone.until);
        pending.keys().take(max).copied().collect()
    }
}

fn tell(hash: &KeyHash) -> Cmd {
    let mut publish = cmd("PUBLISH");
    publish.arg(CHANNEL).arg(hex(hash));
    publish
}

fn name(hash: &KeyHash) -> String {
    format!("gpuf:key:{}", hex(hash))
}

fn hex(hash: &KeyHash) -> String {
    use fmt::Write as _;
    hash.as_bytes().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The reverse of [`hex`]; `None` where somebody else wrote it.
fn from_hex(text: &[u8]) -> Option<KeyHash> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.len() == 64 && text.is_ascii())?;
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(KeyHash::from_bytes(bytes))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn unix_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests;
