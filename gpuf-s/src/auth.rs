//! Who a caller is, and which machines are ours: keys, join tokens, certificates, the admin token.

pub mod admin;
pub mod ca;
pub mod desk;
pub mod enrol;
pub mod join_token;
mod keeper;
pub mod key;
mod limiter;
mod lookups;
mod recent;
mod revocations;
pub mod tenant;

pub use admin::AdminToken;
pub use ca::Ca;
pub use desk::Desk;
pub use enrol::enrol;
pub use keeper::Keeper;
pub use key::{ApiKey, StaticKey};
pub use lookups::{AnsweredBy, Verdict};
pub use revocations::Watch;
pub use tenant::Tenants;

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use common::ModelName;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    cache::Cache,
    store::{Access, KeyHash, KeyId, KeyRow, Models, Name, Store},
};

use keeper::{QUESTIONS_MAX, Question};
use key::STATIC_BYTES_MAX;
use limiter::Limiter;
use lookups::Lookups;
use recent::{Found, Recent};

/// Why a caller is not let in. One text covers unknown, revoked and expired keys, so that no answer
/// tells a stranger which of them a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No key came with the request.
    #[error("no API key was sent")]
    Missing,
    /// Not a key that works.
    #[error("the API key is not valid")]
    Invalid,
    /// The store does not answer and the key is not known from before; trying later can help.
    #[error("API keys cannot be checked at the moment")]
    Unavailable,
    /// Too many failures from this address.
    #[error("too many failed attempts from this address")]
    Limited {
        /// When the next attempt is answered.
        retry_after: Duration,
    },
}

/// A caller who was let in.
#[derive(Debug, PartialEq, Eq)]
pub struct Principal {
    /// The key; names the caller in usage and limits.
    pub key_id: KeyId,
    /// What people call the key.
    pub name: Name,
    /// What it may use.
    pub models: Models,
    /// Whose agents it may use.
    pub access: Access,
}

impl Principal {
    /// Whether it may use `model`.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        self.models.allow(model)
    }

    /// Whether it may see `model` in a list.
    #[must_use]
    pub fn may_see(&self, model: &ModelName) -> bool {
        self.models.allow(model.as_str())
    }
}

impl From<KeyRow> for Principal {
    fn from(row: KeyRow) -> Self {
        Self { key_id: row.id, name: row.name, models: row.models, access: row.access }
    }
}

/// Tells callers by their keys. Clones share one memory.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    recent: Recent,
    cache: Cache,
    lookups: Lookups,
    fallback: Option<Fallback>,
    limiter: Limiter,
    /// Two queues, so that those who are known never stand behind a flood of guesses.
    known: mpsc::Sender<Question>,
    strangers: mpsc::Sender<Question>,
}

struct Fallback {
    key: StaticKey,
    principal: Arc<Principal>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticator")
    }
}

impl Authenticator {
    /// An authenticator over `store` and a `cache` in front of it, and the task that asks them: whoever owns
    /// the runtime spawns [`Keeper::run`] and waits for it at the end. The cache is relied on only while a
    /// [`Watch`] runs.
    #[must_use]
    pub fn new(store: Store, cache: Cache, fallback: Option<StaticKey>, now: Instant) -> (Self, Keeper) {
        let (known, known_asked) = mpsc::channel(QUESTIONS_MAX);
        let (strangers, strangers_asked) = mpsc::channel(QUESTIONS_MAX);
        let fallback = fallback.map(|key| Fallback { key, principal: Arc::new(static_principal()) });
        let (recent, limiter, lookups) = (Recent::new(now), Limiter::new(now), Lookups::default());
        let inner = Arc::new(Inner { recent, cache, lookups, fallback, limiter, known, strangers });
        let keeper = Keeper::new(store, known_asked, strangers_asked, inner.clone());
        (Self(inner), keeper)
    }

    /// Whoever presents `credential` (the bare key, without `Bearer`), where that is known without waiting.
    ///
    /// On the way of every request: it neither allocates nor waits for a key that is in use.
    pub fn lookup(
        &self,
        credential: Option<&[u8]>,
        from: IpAddr,
        now: Instant,
    ) -> Option<Result<Arc<Principal>, Error>> {
        let Some(credential) = credential else { return Some(Err(Error::Missing)) };
        let parsed = key::parse(credential);
        if let Some(principal) = self.0.fallback_for(credential, parsed.as_ref()) {
            return Some(Ok(principal));
        }
        let Some(hash) = parsed else { return Some(Err(self.0.failed(from, now))) };
        let principal = match self.0.recent.find(&hash, now) {
            Found::Fresh(principal) => principal,
            Found::Ageing(principal) => {
                // A full queue only means that this key is asked for a second later.
                let _ = self.0.known.try_send(Question { hash, now, answer: None });
                principal
            }
            Found::Denied => {
                self.0.lookups.count(AnsweredBy::Memory, Verdict::Invalid);
                return Some(Err(self.0.failed(from, now)));
            }
            Found::Old | Found::Nothing => return None,
        };
        self.0.lookups.count(AnsweredBy::Memory, Verdict::Valid);
        Some(Ok(principal))
    }

    /// Whoever presents `credential`, asking the store where the memory does not know.
    ///
    /// # Errors
    /// As [`Error`] says; only [`Error::Unavailable`] is nobody's fault but ours.
    pub async fn authenticate(
        &self,
        credential: Option<&[u8]>,
        from: IpAddr,
        now: Instant,
    ) -> Result<Arc<Principal>, Error> {
        if let Some(known) = self.lookup(credential, from, now) {
            return known;
        }
        let hash = credential.and_then(key::parse).ok_or(Error::Invalid)?;
        if !matches!(self.0.recent.find(&hash, now), Found::Nothing) {
            return self.0.ask_again(hash, from, now).await;
        }
        // An address that guesses is stopped before the store is asked, so that it cannot load it.
        // Many first requests at once with a good key are no failures.
        if let Some(retry_after) = self.0.limiter.wait(from, now) {
            return Err(Error::Limited { retry_after });
        }
        match ask(&self.0.strangers, hash, now).await {
            Some(Err(Error::Invalid)) => Err(self.0.failed(from, now)),
            Some(answer) => answer,
            None => {
                self.0.lookups.count(AnsweredBy::Store, Verdict::Unavailable);
                Err(Error::Unavailable)
            }
        }
    }

    /// Forgets a key whose row has changed.
    pub fn forget(&self, hash: &KeyHash) {
        self.0.recent.forget(hash);
    }

    /// Refuses a key that is revoked, from the next request on.
    pub fn revoke(&self, hash: &KeyHash) {
        self.0.recent.revoke(hash);
    }

    /// The cache in front of the store.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.0.cache
    }

    /// Look-ups of keys so far, by who answered and what.
    pub fn lookups(&self) -> impl Iterator<Item = (AnsweredBy, Verdict, u64)> + '_ {
        self.0.lookups.all()
    }

    /// Failed attempts so far, for the metrics.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.0.limiter.failures()
    }
}

impl Inner {
    fn fallback_for(&self, credential: &[u8], parsed: Option<&KeyHash>) -> Option<Arc<Principal>> {
        let fallback = self.fallback.as_ref().filter(|_| credential.len() <= STATIC_BYTES_MAX)?;
        let hash = parsed.copied().unwrap_or_else(|| KeyHash::of(credential));
        fallback.key.matches(&hash).then(|| fallback.principal.clone())
    }

    fn failed(&self, from: IpAddr, now: Instant) -> Error {
        match self.limiter.charge(from, now) {
            Ok(()) => Error::Invalid,
            Err(retry_after) => Error::Limited { retry_after },
        }
    }

    /// About a key that worked before: without an answer it goes on working for a while.
    async fn ask_again(&self, hash: KeyHash, from: IpAddr, now: Instant) -> Result<Arc<Principal>, Error> {
        match ask(&self.known, hash, now).await {
            Some(Err(Error::Invalid)) => Err(self.failed(from, now)),
            Some(answer) => answer,
            None => {
                let stale = self.recent.store_is_away(&hash, now);
                match stale {
                    Some(_) => self.lookups.count(AnsweredBy::Memory, Verdict::Valid),
                    None => self.lookups.count(AnsweredBy::Store, Verdict::Unavailable),
                }
                stale.ok_or(Error::Unavailable)
            }
        }
    }
}

/// The keeper's answer; `None` where it gives none in time.
async fn ask(
    queue: &mpsc::Sender<Question>,
    hash: KeyHash,
    now: Instant,
) -> Option<Result<Arc<Principal>, Error>> {
    let (answer, answered) = oneshot::channel();
    queue.try_send(Question { hash, now, answer: Some(answer) }).ok()?;
    timeout(keeper::ANSWER_DEADLINE, answered).await.ok()?.ok()
}

fn static_principal() -> Principal {
    Principal {
        key_id: KeyId::STATIC,
        name: Name::lossy("static key"),
        models: Models::All,
        access: Access::Shared,
    }
}

#[cfg(test)]
mod tests;
