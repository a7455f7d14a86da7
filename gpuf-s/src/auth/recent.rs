//! Keys that this server was lately asked for: what it knows of them, and how long that may be relied on.
//!
//! A key works here at a moment only if no revocation is known that was made more than [`FRESH`] before it. Two
//! things prove that: the store was asked for the key itself less than [`FRESH`] ago, or it was asked for all
//! revocations ([`Recent::told_all`]) less than [`FRESH`] ago. Only while the store is away neither is needed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Error, Principal};
use crate::{
    cache::ROW_TTL,
    store::{KeyHash, KeyRow, UnixSeconds},
};

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
/// From this age on a row is read again while it is in use, so that nobody waits when it is too old.
const ROW_AGEING: Duration = Duration::from_secs(240);
/// So long before the start lies the zero of all points in time: that of what never happened.
const BEFORE_MS: u64 = 2 * STALE_MAX.as_millis() as u64;
const KNOWN_KEYS_MAX: usize = 65_536;
/// Apart from the known, so that a flood of guesses pushes out nobody.
const DENIED_KEYS_MAX: usize = 8192;
/// Revoked keys that are kept in mind; a revocation has no end, so they go by number only.
const REVOKED_KEYS_MAX: usize = 65_536;

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

pub(super) struct Recent {
    known: quick_cache::sync::Cache<KeyHash, Arc<Known>>,
    denied: quick_cache::sync::Cache<KeyHash, u64>,
    revoked: quick_cache::sync::Cache<KeyHash, ()>,
    began: Instant,
    /// When the store was last asked for all revocations and answered.
    told_all_ms: AtomicU64,
    away_until_ms: AtomicU64,
    /// Counts what may make an answer wrong that is on its way.
    changes: AtomicU64,
}

impl Recent {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            known: quick_cache::sync::Cache::new(KNOWN_KEYS_MAX),
            denied: quick_cache::sync::Cache::new(DENIED_KEYS_MAX),
            revoked: quick_cache::sync::Cache::new(REVOKED_KEYS_MAX),
            began: now,
            told_all_ms: AtomicU64::new(0),
            away_until_ms: AtomicU64::new(0),
            changes: AtomicU64::new(0),
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
        let own = age(now_ms, known.seen_ms.load(Ordering::Relaxed));
        let sure = if own < ROW_TTL { own.min(self.told_all_age(now_ms)) } else { own };
        match sure {
            _ if sure < AGEING && own < ROW_AGEING => Found::Fresh(known.principal.clone()),
            _ if sure < FRESH || (self.is_away(now_ms) && own < STALE_MAX) => ageing(known, now_ms),
            _ => Found::Old,
        }
    }

    fn told_all_age(&self, now_ms: u64) -> Duration {
        age(now_ms, self.told_all_ms.load(Ordering::Acquire))
    }

    fn is_away(&self, now_ms: u64) -> bool {
        now_ms < self.away_until_ms.load(Ordering::Relaxed)
    }

    /// To be taken before an answer is asked for and given back with it: an answer that was read before a
    /// revocation must not undo it.
    pub(super) fn epoch(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// From when on a row that is found in the cache would be relied on; `None` where the store has to be
    /// asked instead.
    pub(super) fn cached_since(&self, now: Instant) -> Option<Instant> {
        let (now_ms, told_ms) = (self.ms(now), self.told_all_ms.load(Ordering::Acquire));
        let told = age(now_ms, told_ms);
        match told {
            _ if told < FRESH => now.checked_sub(told),
            // As old as it may be: if nothing else were known of the key, it would work for an hour.
            _ if self.is_away(now_ms) => now.checked_sub(ROW_TTL),
            _ => None,
        }
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
        self.take_in(hash, row, epoch, Moment { seen: now, now, wall })
    }

    /// Takes in what an answer said at `moment.seen`.
    pub(super) fn take_in(
        &self,
        hash: KeyHash,
        row: Option<KeyRow>,
        epoch: u64,
        moment: Moment,
    ) -> Option<Arc<Principal>> {
        let Moment { seen, now, wall } = moment;
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
            seen_ms: self.ms(seen).into(),
            asked_ms: self.ms(now).into(),
        };
        self.known.insert(hash, Arc::new(known));
        if self.epoch() != epoch {
            self.known.remove(&hash);
        }
        // Whatever row this was, it was read too early.
        if self.is_revoked(&hash) {
            self.known.remove(&hash);
            return None;
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

    /// Of a key that has changed: whatever is known of it.
    pub(super) fn forget(&self, hash: &KeyHash) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.known.remove(hash);
        self.denied.remove(hash);
    }

    /// Of a key that is revoked: it does not work again, whatever is said of it.
    pub(super) fn revoke(&self, hash: &KeyHash) {
        self.revoked.insert(*hash, ());
        self.forget(hash);
    }

    pub(super) fn is_revoked(&self, hash: &KeyHash) -> bool {
        self.revoked.contains_key(hash)
    }

    /// Every revocation that was in the store at `asked` has been told to [`Self::revoke`].
    pub(super) fn told_all(&self, asked: Instant) {
        self.told_all_ms.store(self.ms(asked), Ordering::Release);
        self.away_until_ms.store(0, Ordering::Relaxed);
    }

    fn ms(&self, now: Instant) -> u64 {
        // What lies before the start counts back from it.
        match now.checked_duration_since(self.began) {
            Some(since) => BEFORE_MS + since.as_millis() as u64,
            None => BEFORE_MS.saturating_sub(self.began.duration_since(now).as_millis() as u64),
        }
    }
}

/// When an answer was given, and when it is taken in.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) seen: Instant,
    pub(super) now: Instant,
    pub(super) wall: UnixSeconds,
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
