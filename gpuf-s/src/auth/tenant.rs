//! Who a tenant is: its token opens the management API for what is its own.

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Error,
    key::{self, ApiKey, IssueError},
    limiter::Limiter,
};
use crate::store::{Name, Store, TenantHash, TenantId, TenantRow, UnixSeconds};

/// How long an answer of the store is taken for true: what is revoked elsewhere is refused after that.
const FRESH: Duration = Duration::from_secs(2);
/// While the store is away, a tenant that was there before is let in for so long.
const STALE: Duration = Duration::from_secs(3600);
/// Tokens that are remembered, good and bad; the least recently used goes first.
const TOKENS_MAX: usize = 4096;

/// Makes a tenant and its token, and stores what is kept of them. A token is built as a caller's key is.
///
/// # Errors
/// When the store does not take it: [`crate::store::Error::Taken`] where the name was given before.
pub async fn issue(store: &Store, name: Name, now: UnixSeconds) -> Result<(TenantRow, ApiKey), IssueError> {
    let token = ApiKey::random()?;
    let row = TenantRow {
        id: TenantId::random()?,
        name,
        hash: TenantHash::of(token.expose().as_bytes()),
        prefix: token.shown().to_owned(),
        created: now,
        revoked: None,
    };
    store.insert_tenant(&row).await?;
    Ok((row, token))
}

/// Tells tenants by their tokens. Clones share one memory.
#[derive(Clone)]
pub struct Tenants(Arc<Inner>);

struct Inner {
    store: Store,
    known: quick_cache::sync::Cache<TenantHash, Known>,
    limiter: Limiter,
}

/// What the store said of a token, and when.
#[derive(Clone)]
struct Known {
    name: Option<Name>,
    at: Instant,
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tenants")
    }
}

impl Tenants {
    /// Asks `store`.
    #[must_use]
    pub fn new(store: Store, now: Instant) -> Self {
        let known = quick_cache::sync::Cache::new(TOKENS_MAX);
        Self(Arc::new(Inner { store, known, limiter: Limiter::new(now) }))
    }

    /// The tenant whose token `credential` is.
    ///
    /// # Errors
    /// As [`Error`] says. A malformed token never reaches the store, and an address that guesses is slowed
    /// before the store is asked.
    pub async fn tell(&self, credential: &[u8], from: IpAddr, now: Instant) -> Result<Name, Error> {
        let hash = key::parse(credential).map(|_| TenantHash::of(credential)).ok_or(Error::Invalid)?;
        let known = self.0.known.get(&hash);
        if let Some(known) = known.as_ref().filter(|known| now.duration_since(known.at) < FRESH) {
            return known.name.clone().ok_or(Error::Invalid);
        }
        let stranger = known.as_ref().is_none_or(|known| known.name.is_none());
        if stranger && let Some(retry_after) = self.0.limiter.wait(from, now) {
            return Err(Error::Limited { retry_after });
        }
        match self.0.store.tenant_by_hash(&hash).await {
            Ok(row) => {
                let name = row.filter(|row| row.revoked.is_none()).map(|row| row.name);
                self.0.known.insert(hash, Known { name: name.clone(), at: now });
                name.ok_or_else(|| self.failed(from, now))
            }
            Err(error) => {
                tracing::warn!(%error, "a tenant's token cannot be looked up");
                let stale = known.filter(|known| now.duration_since(known.at) < STALE);
                stale.and_then(|known| known.name).ok_or(Error::Unavailable)
            }
        }
    }

    fn failed(&self, from: IpAddr, now: Instant) -> Error {
        match self.0.limiter.charge(from, now) {
            Ok(()) => Error::Invalid,
            Err(retry_after) => Error::Limited { retry_after },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir::DataDir;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    async fn bench() -> (tempfile::TempDir, Store, Tenants, Instant) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::embedded(&DataDir::open(folder.path()).unwrap()).await.unwrap();
        let now = Instant::now();
        (folder, store.clone(), Tenants::new(store, now), now)
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_tenant_is_told_by_its_token_until_it_is_revoked() {
        let (_folder, store, tenants, now) = bench().await;
        let (row, token) = issue(&store, name("lab"), UnixSeconds::now()).await.unwrap();
        let ask = async |after: u64| {
            let at = now + Duration::from_secs(after);
            tenants.tell(token.expose().as_bytes(), HERE, at).await
        };
        assert_eq!(ask(0).await, Ok(name("lab")));
        assert!(store.revoke_tenant(row.id, UnixSeconds::now()).await.unwrap());
        assert_eq!(ask(1).await, Ok(name("lab")), "known for two seconds");
        assert_eq!(ask(2).await, Err(Error::Invalid));
    }

    #[tokio::test]
    async fn a_name_is_given_once() {
        let (_folder, store, _, _) = bench().await;
        issue(&store, name("lab"), UnixSeconds::now()).await.unwrap();
        let again = issue(&store, name("lab"), UnixSeconds::now()).await;
        assert!(matches!(again, Err(IssueError::Store(crate::store::Error::Taken))));
    }

    #[tokio::test]
    async fn an_address_that_guesses_is_slowed_and_the_known_are_not() {
        let (_folder, store, tenants, now) = bench().await;
        let (_, token) = issue(&store, name("lab"), UnixSeconds::now()).await.unwrap();
        tenants.tell(token.expose().as_bytes(), HERE, now).await.unwrap();
        let mut answers = Vec::new();
        for _ in 0..22 {
            let guess = ApiKey::random().unwrap();
            answers.push(tenants.tell(guess.expose().as_bytes(), HERE, now).await.unwrap_err());
        }
        assert!(answers[..20].iter().all(|answer| *answer == Error::Invalid), "{answers:?}");
        assert!(matches!(answers[21], Error::Limited { .. }), "{answers:?}");
        let later = now + FRESH;
        assert_eq!(tenants.tell(token.expose().as_bytes(), HERE, later).await, Ok(name("lab")));
        assert_eq!(tenants.tell(b"no token", HERE, now).await, Err(Error::Invalid));
    }

    #[tokio::test]
    async fn while_the_store_is_away_the_known_go_on_and_strangers_wait() {
        let (_folder, store, tenants, now) = bench().await;
        let (_, token) = issue(&store, name("lab"), UnixSeconds::now()).await.unwrap();
        tenants.tell(token.expose().as_bytes(), HERE, now).await.unwrap();
        store.close().await;
        let ask = async |at| tenants.tell(token.expose().as_bytes(), HERE, at).await;
        assert_eq!(ask(now + FRESH).await, Ok(name("lab")));
        assert_eq!(ask(now + STALE).await, Err(Error::Unavailable));
        let stranger = ApiKey::random().unwrap();
        let answer = tenants.tell(stranger.expose().as_bytes(), HERE, now).await;
        assert_eq!(answer, Err(Error::Unavailable), "never 401, never open");
    }
}
