//! Keys that were asked for lately: what is known of them, and how long that may be relied on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Error, Principal};
use crate::store::{KeyHash, KeyRow, UnixSeconds};

/// A revocation elsewhere is seen within this.
pub(super) const FRESH: Duration = Duration::from_secs(5);
/// A key in use is asked for again from this age on, so that its requests never wait for the store.
const AGEING: Duration = Duration::from_millis(2500);
/// While the store is away, a known key works this long after it was last seen there.
pub(super) const STALE_MAX: Duration = Duration::from_secs(3600);
/// Once the store has not answered, known keys are not made to wait for it for this long, or until it
/// answers again; meanwhile it is asked behind their backs.
const AWAY: Duration = Duration::from_secs(10);
/// A key in use is asked for at most this often.
const ASK_EVERY: Duration = Duration::from_secs(1);
const KNOWN_KEYS_MAX: usize = 65_536;
/// Apart from the known, so that a flood of guesses pushes out nobody.
const DENIED_KEYS_MAX: usize = 8192;

/// What the memory says about a key.
#[derive(Debug)]
pub(super) enum Found {
    /// It works.
    Fresh(Arc<Principal>),
    /// It works, and it is time to ask the store again.
    Ageing(Arc<Principal>),
    /// It does not work.
    Denied,
    /// It worked too long ago: the store has to be asked.
    Old,
    /// Never heard of it.
    Nothing,
}

struct Known {
    principal: Arc<Principal>,
    expires: Option<Instant>,
    seen_ms: AtomicU64,
    asked_ms: AtomicU64,
}

pub(super) struct Cache {
    known: quick_cache::sync::Cache<KeyHash, Arc<Known>>,
    denied: quick_cache::sync::Cache<KeyHash, u64>,
    began: Instant,
    away_until_ms: AtomicU64,
    revocations: AtomicU64,
}

impl Cache {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            known: quick_cache::sync::Cache::new(KNOWN_KEYS_MAX),
            denied: quick_cache::sync::Cache::new(DENIED_KEYS_MAX),
            began: now,
            away_until_ms: AtomicU64::new(0),
            revocations: AtomicU64::new(0),
        }
    }

    pub(super) fn find(&self, hash: &KeyHash, now: Instant) -> Found {
        let now_ms = self.ms(now);
        if let Some(known) = self.known.get(hash) {
            return self.judge(&known, now, now_ms);
        }
        match self.denied.get(hash) {
            Some(seen_ms) if age(now_ms, seen_ms) < FRESH => Found::Denied,
            _ => Found::Nothing,
        }
    }

    /// What [`Self::find`] means to whoever waits; `None` where the store has to be asked.
    pub(super) fn answer(&self, hash: &KeyHash, now: Instant) -> Option<Result<Arc<Principal>, Error>> {
        match self.find(hash, now) {
            Found::Fresh(principal) | Found::Ageing(principal) => Some(Ok(principal)),
            Found::Denied => Some(Err(Error::Invalid)),
            Found::Old | Found::Nothing => None,
        }
    }

    fn judge(&self, known: &Known, now: Instant, now_ms: u64) -> Found {
        if known.expires.is_some_and(|expires| now >= expires) {
            return Found::Denied;
        }
        let age = age(now_ms, known.seen_ms.load(Ordering::Relaxed));
        let away = now_ms < self.away_until_ms.load(Ordering::Relaxed);
        match age {
            _ if age < AGEING => Found::Fresh(known.principal.clone()),
            _ if age < FRESH || (away && age < STALE_MAX) => ageing(known, now_ms),
            _ => Found::Old,
        }
    }

    /// To be taken before the store is asked and given to [`Self::learn`]: an answer that was read
    /// before a revocation must not undo it.
    pub(super) fn epoch(&self) -> u64 {
        self.revocations.load(Ordering::SeqCst)
    }

    /// Takes in the store's answer; the principal, where the key works.
    pub(super) fn learn(
        &self,
        hash: KeyHash,
        row: Option<KeyRow>,
        epoch: u64,
        now: Instant,
        wall: UnixSeconds,
    ) -> Option<Arc<Principal>> {
        self.away_until_ms.store(0, Ordering::Relaxed);
        let works = row.filter(|row| row.revoked.is_none() && row.expires.is_none_or(|at| wall < at));
        let Some(row) = works else {
            self.known.remove(&hash);
            self.denied.insert(hash, self.ms(now));
            return None;
        };
        let expires = row.expires.map(|at| now + Duration::from_secs((at.0 - wall.0).unsigned_abs()));
        let principal = Arc::new(Principal::from(row));
        let known = Known {
            principal: principal.clone(),
            expires,
            seen_ms: self.ms(now).into(),
            asked_ms: self.ms(now).into(),
        };
        self.known.insert(hash, Arc::new(known));
        if self.epoch() != epoch {
            self.known.remove(&hash);
        }
        Some(principal)
    }

    /// The store did not answer. What is known of the key, where that may still be relied on.
    pub(super) fn store_is_away(&self, hash: &KeyHash, now: Instant) -> Option<Arc<Principal>> {
        let now_ms = self.ms(now);
        self.away_until_ms.store(now_ms + AWAY.as_millis() as u64, Ordering::Relaxed);
        let known = self.known.get(hash)?;
        match self.judge(&known, now, now_ms) {
            Found::Fresh(principal) | Found::Ageing(principal) => Some(principal),
            Found::Denied | Found::Old | Found::Nothing => None,
        }
    }

    pub(super) fn forget(&self, hash: &KeyHash) {
        self.revocations.fetch_add(1, Ordering::SeqCst);
        self.known.remove(hash);
        self.denied.remove(hash);
    }

    fn ms(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_millis() as u64
    }
}

/// Of all requests with an ageing key, one asks the store.
fn ageing(known: &Known, now_ms: u64) -> Found {
    let principal = known.principal.clone();
    let asked_ms = known.asked_ms.load(Ordering::Relaxed);
    let due = age(now_ms, asked_ms) >= ASK_EVERY;
    let mine = due
        && known.asked_ms.compare_exchange(asked_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    if mine { Found::Ageing(principal) } else { Found::Fresh(principal) }
}

fn age(now_ms: u64, seen_ms: u64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(seen_ms))
}
