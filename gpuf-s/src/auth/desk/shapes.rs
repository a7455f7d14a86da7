//! Keys and join tokens as the API and the command line write them.

use common::ModelName;
use serde::{Deserialize, Serialize};

use crate::store::{
    Access, KeyId, Models, Name, OwnedKey, TenantId, TenantRow, TokenId, TokenRow, UnixSeconds,
};

/// What a key should be.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyWish {
    /// What people call it.
    pub name: Name,
    /// What it may use; none for every model.
    #[serde(default)]
    pub models: Option<Vec<ModelName>>,
    /// When it ends by itself; none for never.
    #[serde(default)]
    pub expires_in_days: Option<u32>,
    /// Whose agents alone it may use; none for every agent.
    #[serde(default)]
    pub dedicated_to: Option<Name>,
}

/// A key as it is shown: never the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Its id.
    pub id: KeyId,
    /// What people call it.
    pub name: Name,
    /// Its first characters.
    pub prefix: String,
    /// `active`, `expired` or `revoked`.
    pub state: String,
    /// What it may use; null for every model.
    pub models: Models,
    /// Whose agents alone it may use.
    pub dedicated_to: Option<Name>,
    /// Whose it is; null for the operator's.
    #[serde(default)]
    pub tenant: Option<Name>,
    /// When it was made, seconds since the Unix epoch.
    pub created_unix: UnixSeconds,
    /// When it ends.
    pub expires_unix: Option<UnixSeconds>,
    /// When it was revoked.
    pub revoked_unix: Option<UnixSeconds>,
}

impl KeyView {
    pub(super) fn of(key: OwnedKey, now: UnixSeconds) -> Self {
        let OwnedKey { row, tenant } = key;
        let dedicated_to = match row.access {
            Access::Shared => None,
            Access::Dedicated(owner) => Some(owner),
        };
        Self {
            id: row.id,
            name: row.name,
            prefix: row.prefix,
            state: state(row.revoked, row.expires, now).to_owned(),
            models: row.models,
            dedicated_to,
            tenant,
            created_unix: row.created,
            expires_unix: row.expires,
            revoked_unix: row.revoked,
        }
    }
}

/// A key that was just made.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyMade {
    /// Its id.
    pub id: KeyId,
    /// The key; nobody can show it again.
    pub key: String,
    /// How it is listed from here on.
    #[serde(rename = "details")]
    pub shown: KeyView,
}

/// What a join token should be.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenWish {
    /// What people call it.
    pub name: Option<Name>,
    /// How many machines it lets in; one unless told.
    pub uses: Option<u32>,
    /// How long it lives; a day unless told.
    pub ttl_hours: Option<u32>,
    /// Who owns the machines that come in with it.
    pub owner: Option<Name>,
}

/// A join token as it is shown: never the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// Its id.
    pub id: TokenId,
    /// What people call it.
    pub name: Name,
    /// `active`, `used`, `expired` or `revoked`.
    pub state: String,
    /// Who owns the machines that come in with it.
    pub owner: Option<Name>,
    /// How many machines it still lets in.
    pub uses_left: u32,
    /// When it was made, seconds since the Unix epoch.
    pub created_unix: UnixSeconds,
    /// When it ends.
    pub expires_unix: UnixSeconds,
    /// When it was revoked.
    pub revoked_unix: Option<UnixSeconds>,
}

impl TokenView {
    pub(super) fn of(row: TokenRow, now: UnixSeconds) -> Self {
        let alive = state(row.revoked, Some(row.expires), now);
        let spent = alive == "active" && row.uses_left == 0;
        Self {
            id: row.id,
            name: row.name,
            state: if spent { "used" } else { alive }.to_owned(),
            owner: row.owner,
            uses_left: row.uses_left,
            created_unix: row.created,
            expires_unix: row.expires,
            revoked_unix: row.revoked,
        }
    }
}

/// A join token that was just made.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenMade {
    /// Its id.
    pub id: TokenId,
    /// The join string; nobody can show it again.
    pub join: String,
    /// How it is listed from here on.
    #[serde(rename = "details")]
    pub shown: TokenView,
}

/// What a tenant should be.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantWish {
    /// What people call it, and the owner of its agents. It is given once and for all.
    pub name: Name,
}

/// A tenant as it is shown: never its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantView {
    /// Its id.
    pub id: TenantId,
    /// What people call it, and the owner of its agents.
    pub name: Name,
    /// Its token's first characters.
    pub prefix: String,
    /// `active` or `revoked`.
    pub state: String,
    /// When it was made, seconds since the Unix epoch.
    pub created_unix: UnixSeconds,
    /// When its token was revoked.
    pub revoked_unix: Option<UnixSeconds>,
}

impl TenantView {
    pub(super) fn of(row: TenantRow) -> Self {
        Self {
            id: row.id,
            name: row.name,
            prefix: row.prefix,
            state: if row.revoked.is_some() { "revoked" } else { "active" }.to_owned(),
            created_unix: row.created,
            revoked_unix: row.revoked,
        }
    }
}

/// A tenant that was just made.
#[derive(Clone, Serialize, Deserialize)]
pub struct TenantMade {
    /// Its id.
    pub id: TenantId,
    /// Its token; nobody can show it again.
    pub token: String,
    /// How it is listed from here on.
    #[serde(rename = "details")]
    pub shown: TenantView,
}

/// What was revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Its id.
    pub id: String,
    /// Always true.
    pub revoked: bool,
}

/// By hand: there is a secret inside.
impl std::fmt::Debug for KeyMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyMade({})", self.id)
    }
}

impl std::fmt::Debug for TenantMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TenantMade({})", self.id)
    }
}

impl std::fmt::Debug for TokenMade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenMade({})", self.id)
    }
}

fn state(revoked: Option<UnixSeconds>, expires: Option<UnixSeconds>, now: UnixSeconds) -> &'static str {
    if revoked.is_some() {
        "revoked"
    } else if expires.is_some_and(|at| at <= now) {
        "expired"
    } else {
        "active"
    }
}
