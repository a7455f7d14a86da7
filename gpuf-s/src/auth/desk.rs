//! What an operator may do to keys, join tokens and agents; each deed leaves a line in the audit trail.

mod shapes;

pub use shapes::{KeyMade, KeyView, KeyWish, Revoked, TokenMade, TokenView, TokenWish};

use std::{fmt, time::Duration};

use common::{AgentId, join::JoinString, tls::Fingerprint};

use super::{
    Authenticator,
    join_token::{self, TTL_MAX, TokenOrder, USES_MAX},
    key::{self, IssueError, KeyOrder},
};
use crate::{
    cache::Cache,
    store::{self, Access, AuditLine, KeyId, MODELS_PER_KEY_MAX, Models, Name, Store, TokenId, UnixSeconds},
};

/// The longest that a key with an end may live, in days.
const KEY_DAYS_MAX: u32 = 3650;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is none.
    #[error("there is no {0} with this id")]
    NotFound(&'static str),
    /// What was asked for makes no sense.
    #[error("{0} {1}")]
    Invalid(&'static str, String),
    /// The store does not do it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The operating system has no randomness to give.
    #[error("no randomness: {0}")]
    Random(#[from] getrandom::Error),
}

impl From<IssueError> for Error {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::Random(error) => Self::Random(error),
            IssueError::Store(error) => Self::Store(error),
        }
    }
}

/// Works on the store, beside a running server or inside it.
#[derive(Clone)]
pub struct Desk {
    /// Where keys, tokens and agents are.
    pub store: Store,
    /// Where servers look keys up before they ask the store.
    pub cache: Cache,
    /// Who has to forget a revoked key at once; none where no server runs in this process.
    pub authenticator: Option<Authenticator>,
    /// `host:port` of the control port, for join strings.
    pub control: String,
    /// What join strings pin.
    pub fingerprint: Fingerprint,
    /// Who does it, for the audit trail.
    pub actor: &'static str,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Desk({})", self.actor)
    }
}

impl Desk {
    /// Makes a key; the only time that it is seen.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn make_key(&self, wish: KeyWish) -> Result<KeyMade, Error> {
        let now = UnixSeconds::now();
        let order = KeyOrder {
            name: wish.name,
            models: models(wish.models)?,
            access: wish.dedicated_to.map_or(Access::Shared, Access::Dedicated),
            expires: wish.expires_in_days.map(|days| expiry(days, now)).transpose()?,
        };
        let (row, key) = key::issue(&self.store, order, now).await?;
        // Somebody may have asked for it before there was such a key.
        self.cache.put(&row.hash, Some(&row)).await;
        if let Some(authenticator) = &self.authenticator {
            authenticator.forget(&row.hash);
        }
        self.note("key.create", row.id.to_string(), Some(row.name.to_string())).await;
        Ok(KeyMade { id: row.id, key: key.expose().to_owned(), shown: KeyView::of(row, now) })
    }

    /// Every key.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn keys(&self) -> Result<Vec<KeyView>, Error> {
        let now = UnixSeconds::now();
        Ok(self.store.keys().await?.into_iter().map(|row| KeyView::of(row, now)).collect())
    }

    /// Revokes a key: from the next request on at this server, within five seconds at others.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn revoke_key(&self, id: KeyId) -> Result<Revoked, Error> {
        let hash = self.store.revoke_key(id, UnixSeconds::now()).await?.ok_or(Error::NotFound("key"))?;
        if let Some(authenticator) = &self.authenticator {
            authenticator.revoke(&hash);
        }
        self.cache.revoke(&hash).await;
        self.note("key.revoke", id.to_string(), None).await;
        Ok(Revoked { id: id.to_string(), revoked: true })
    }

    /// Makes a join token; the only time that its join string is seen.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn make_token(&self, wish: TokenWish) -> Result<TokenMade, Error> {
        let now = UnixSeconds::now();
        let order = TokenOrder {
            name: wish.name.unwrap_or_else(|| Name::lossy("join token")),
            owner: wish.owner,
            uses: in_range("uses", wish.uses.unwrap_or(1), USES_MAX)?,
            ttl: ttl(wish.ttl_hours)?,
        };
        let (row, token) = join_token::issue(&self.store, order, now).await?;
        self.note("join_token.create", row.id.to_string(), Some(row.name.to_string())).await;
        let join = JoinString {
            token: token.expose().to_owned(),
            server: self.control.clone(),
            fingerprint: self.fingerprint,
        };
        Ok(TokenMade { id: row.id, join: join.to_string(), shown: TokenView::of(row, now) })
    }

    /// Every join token.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, Error> {
        let now = UnixSeconds::now();
        Ok(self.store.join_tokens().await?.into_iter().map(|row| TokenView::of(row, now)).collect())
    }

    /// Revokes a join token; the agents that came in with it stay.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn revoke_token(&self, id: TokenId) -> Result<Revoked, Error> {
        if !self.store.revoke_join_token(id, UnixSeconds::now()).await? {
            return Err(Error::NotFound("join token"));
        }
        self.note("join_token.revoke", id.to_string(), None).await;
        Ok(Revoked { id: id.to_string(), revoked: true })
    }

    /// Puts an agent out: it cannot log in again. Ending its session is the server's part.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn revoke_agent(&self, id: AgentId) -> Result<Revoked, Error> {
        if !self.store.revoke_agent(id, UnixSeconds::now()).await? {
            return Err(Error::NotFound("agent"));
        }
        self.note("agent.revoke", id.to_string(), None).await;
        Ok(Revoked { id: id.to_string(), revoked: true })
    }

    /// The deed is done by then: a trail that cannot be written must not make it look undone.
    async fn note(&self, action: &str, subject: String, detail: Option<String>) {
        let line = AuditLine {
            at: UnixSeconds::now(),
            actor: self.actor.to_owned(),
            action: action.to_owned(),
            subject,
            detail,
        };
        if let Err(error) = self.store.audit(&line).await {
            tracing::warn!(%error, action, "a deed is missing from the audit trail");
        }
    }
}

fn models(list: Option<Vec<common::ModelName>>) -> Result<Models, Error> {
    if list.as_ref().is_some_and(|list| list.len() > MODELS_PER_KEY_MAX) {
        return Err(Error::Invalid("models", format!("has more than {MODELS_PER_KEY_MAX} names")));
    }
    Ok(list.into())
}

fn expiry(days: u32, now: UnixSeconds) -> Result<UnixSeconds, Error> {
    Ok(now.after(DAY * in_range("expires_in_days", days, KEY_DAYS_MAX)?))
}

fn ttl(hours: Option<u32>) -> Result<Duration, Error> {
    let hours_max = u32::try_from(TTL_MAX.as_secs() / HOUR.as_secs()).unwrap_or(u32::MAX);
    match hours {
        Some(hours) => Ok(HOUR * in_range("ttl_hours", hours, hours_max)?),
        None => Ok(join_token::DEFAULT_TTL),
    }
}

fn in_range(name: &'static str, value: u32, max: u32) -> Result<u32, Error> {
    let inside = (1..=max).contains(&value);
    inside.then_some(value).ok_or_else(|| Error::Invalid(name, format!("must be between 1 and {max}")))
}

#[cfg(test)]
mod tests;
