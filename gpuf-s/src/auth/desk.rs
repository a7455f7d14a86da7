//! What an operator may do to keys, join tokens and agents; each deed leaves a line in the audit trail.

mod shapes;
mod tenants;

pub use shapes::{
    KeyMade, KeyView, KeyWish, Revoked, TenantMade, TenantView, TenantWish, TokenMade, TokenView, TokenWish,
};

use std::{fmt, time::Duration};

use common::{AgentId, join::JoinString, tls::Fingerprint};

use super::{
    Authenticator,
    join_token::{self, TTL_MAX, TokenOrder, USES_MAX},
    key::{self, IssueError, KeyOrder},
};
use crate::{
    cache::Cache,
    store::{
        self, Access, AuditLine, KeyId, MODELS_PER_KEY_MAX, Models, Name, OwnedKey, Scope, Store, TokenId,
        UnixSeconds,
    },
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
    /// There is one of that name.
    #[error("there is or was another {0} with this name; choose another name")]
    Taken(&'static str),
    /// Nothing here knows where machines join.
    #[error(
        "it is not known where machines join: no server of this database is up; start one, or give \
         --control-address and --authority-dir"
    )]
    NoJoinPoint,
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

/// What join strings lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinPoint {
    /// `host:port` of the control port.
    pub control: String,
    /// The authority that is to be trusted there.
    pub fingerprint: Fingerprint,
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
    /// Where machines join, as far as it is known.
    pub join: Option<JoinPoint>,
    /// Who does it, for the audit trail.
    pub actor: String,
    /// What it reaches.
    pub scope: Scope,
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
        let dedicated_to = self.own("dedicated_to", wish.dedicated_to)?;
        let order = KeyOrder {
            name: wish.name,
            models: models(wish.models)?,
            access: dedicated_to.map_or(Access::Shared, Access::Dedicated),
            expires: wish.expires_in_days.map(|days| expiry(days, now)).transpose()?,
        };
        let (row, key) = key::make(order, now)?;
        let owned = OwnedKey { row, tenant: self.scope.tenant().cloned() };
        self.store.insert_owned_key(&owned).await?;
        // Somebody may have asked for it before there was such a key.
        self.cache.put(&owned.row.hash, Some(&owned.row)).await;
        if let Some(authenticator) = &self.authenticator {
            authenticator.forget(&owned.row.hash);
        }
        let id = owned.row.id;
        self.note("key.create", id.to_string(), Some(owned.row.name.to_string())).await;
        Ok(KeyMade { id, key: key.expose().to_owned(), shown: KeyView::of(owned, now) })
    }

    /// Every key.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn keys(&self) -> Result<Vec<KeyView>, Error> {
        let now = UnixSeconds::now();
        let keys = self.store.keys_within(&self.scope).await?;
        Ok(keys.into_iter().map(|key| KeyView::of(key, now)).collect())
    }

    /// Revokes a key: from the next request on at this server, within five seconds at others.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn revoke_key(&self, id: KeyId) -> Result<Revoked, Error> {
        let revoked = self.store.revoke_key_within(&self.scope, id, UnixSeconds::now()).await?;
        let hash = revoked.ok_or(Error::NotFound("key"))?;
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
        let point = self.join.as_ref().ok_or(Error::NoJoinPoint)?;
        let order = TokenOrder {
            name: wish.name.unwrap_or_else(|| Name::lossy("join token")),
            owner: self.own("owner", wish.owner)?,
            uses: in_range("uses", wish.uses.unwrap_or(1), USES_MAX)?,
            ttl: ttl(wish.ttl_hours)?,
        };
        let (row, token) = join_token::issue(&self.store, order, now).await?;
        self.note("join_token.create", row.id.to_string(), Some(row.name.to_string())).await;
        let join = JoinString {
            token: token.expose().to_owned(),
            server: point.control.clone(),
            fingerprint: point.fingerprint,
        };
        Ok(TokenMade { id: row.id, join: join.to_string(), shown: TokenView::of(row, now) })
    }

    /// Every join token.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, Error> {
        let now = UnixSeconds::now();
        Ok(self
            .store
            .join_tokens_within(&self.scope)
            .await?
            .into_iter()
            .map(|row| TokenView::of(row, now))
            .collect())
    }

    /// Revokes a join token; the agents that came in with it stay.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn revoke_token(&self, id: TokenId) -> Result<Revoked, Error> {
        if !self.store.revoke_join_token_within(&self.scope, id, UnixSeconds::now()).await? {
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
        if !self.store.revoke_agent_within(&self.scope, id, UnixSeconds::now()).await? {
            return Err(Error::NotFound("agent"));
        }
        self.note("agent.revoke", id.to_string(), None).await;
        Ok(Revoked { id: id.to_string(), revoked: true })
    }

    /// An owner that was asked for: in a tenant's scope it is the tenant, asked for or not.
    fn own(&self, field: &'static str, wanted: Option<Name>) -> Result<Option<Name>, Error> {
        match (self.scope.tenant(), wanted) {
            (None, wanted) => Ok(wanted),
            (Some(tenant), None) => Ok(Some(tenant.clone())),
            (Some(tenant), Some(wanted)) if *tenant == wanted => Ok(Some(wanted)),
            (Some(_), Some(_)) => Err(Error::Invalid(field, "can be the tenant itself only".into())),
        }
    }

    /// The deed is done by then: a trail that cannot be written must not make it look undone.
    async fn note(&self, action: &str, subject: String, detail: Option<String>) {
        let line = AuditLine {
            at: UnixSeconds::now(),
            actor: self.actor.clone(),
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
