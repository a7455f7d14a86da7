//! The rows of keys, join tokens, agents and the audit trail, as checked types.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::{AgentId, ModelName};
use serde::{Deserialize, Serialize};

use super::id::{KeyHash, KeyId, TokenHash, TokenId};

/// The most models that one key may list.
pub const MODELS_PER_KEY_MAX: usize = 256;

/// A point in time: whole seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// The present, by the system's clock.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    /// In milliseconds.
    #[must_use]
    pub fn to_ms(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0).saturating_mul(1000)
    }

    /// So much later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(span.as_secs()))
    }

    /// So much earlier.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub_unsigned(span.as_secs()))
    }
}

/// What a person calls a key, a token or an owner: 1 to 100 characters without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Text that is no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 100 characters without control characters or surrounding spaces")]
pub struct BadName;

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest name to text that was not chosen with care, such as a host's.
    #[must_use]
    pub fn lossy(text: &str) -> Self {
        let kept: String = text.chars().filter(|char| !char.is_control()).take(100).collect();
        let kept = kept.trim();
        Self(if kept.is_empty() { "unnamed".to_owned() } else { kept.to_owned() })
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let short = (1..=100).contains(&text.chars().count());
        let clean = text.trim() == text && !text.chars().any(char::is_control);
        if short && clean { Ok(Self(text.to_owned())) } else { Err(BadName) }
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which models a key may use; in JSON a list, or null for every model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<Vec<ModelName>>", into = "Option<Vec<ModelName>>")]
pub enum Models {
    /// Every model, those that come later included.
    All,
    /// Only these, sorted.
    List(Box<[ModelName]>),
}

impl Models {
    /// Whether `model` is among them.
    #[must_use]
    pub fn allow(&self, model: &str) -> bool {
        match self {
            Self::All => true,
            Self::List(list) => list.binary_search_by(|name| name.as_str().cmp(model)).is_ok(),
        }
    }
}

impl From<Option<Vec<ModelName>>> for Models {
    fn from(list: Option<Vec<ModelName>>) -> Self {
        let Some(mut list) = list else { return Self::All };
        list.sort_unstable();
        list.dedup();
        Self::List(list.into())
    }
}

impl From<Models> for Option<Vec<ModelName>> {
    fn from(models: Models) -> Self {
        match models {
            Models::All => None,
            Models::List(list) => Some(list.into_vec()),
        }
    }
}

/// Whose agents a key may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Every agent.
    Shared,
    /// Only agents of this owner.
    Dedicated(Name),
}

impl Access {
    /// Whether an agent of `owner` may serve it.
    #[must_use]
    pub fn allows(&self, owner: Option<&Name>) -> bool {
        match self {
            Self::Shared => true,
            Self::Dedicated(only) => owner == Some(only),
        }
    }
}

/// A caller's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its id.
    pub id: KeyId,
    /// What people call it.
    pub name: Name,
    /// What it is found by.
    pub hash: KeyHash,
    /// Its first characters, to be told apart by.
    pub prefix: String,
    /// What it may use.
    pub models: Models,
    /// Whose agents it may use.
    pub access: Access,
    /// When it was made.
    pub created: UnixSeconds,
    /// When it ends by itself.
    pub expires: Option<UnixSeconds>,
    /// When it was revoked.
    pub revoked: Option<UnixSeconds>,
}

/// A token of a join string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its id.
    pub id: TokenId,
    /// What people call it.
    pub name: Name,
    /// What it is found by.
    pub hash: TokenHash,
    /// Who owns the agents that come in with it.
    pub owner: Option<Name>,
    /// How many agents may still come in.
    pub uses_left: u32,
    /// When it was made.
    pub created: UnixSeconds,
    /// When it ends by itself.
    pub expires: UnixSeconds,
    /// When it was revoked.
    pub revoked: Option<UnixSeconds>,
}

/// A machine that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRow {
    /// Its id, as in its certificate.
    pub id: AgentId,
    /// What people call it.
    pub name: Name,
    /// Whose it is.
    pub owner: Option<Name>,
    /// When it was let in.
    pub enrolled: UnixSeconds,
    /// When it was put out.
    pub revoked: Option<UnixSeconds>,
}

/// Who did what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// When.
    pub at: UnixSeconds,
    /// Who: `api`, `command line`, or an agent's id.
    pub actor: String,
    /// What: `key.create`, `agent.enrol` and so on.
    pub action: String,
    /// To what: an id.
    pub subject: String,
    /// What else a person should know; never a secret.
    pub detail: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_models_allows_exactly_its_members() {
        let list = ["d", "c", "b", "a", "b"].map(|name| name.parse().unwrap());
        let models = Models::from(Some(list.to_vec()));
        assert!(["a", "b", "c", "d"].iter().all(|model| models.allow(model)));
        assert!(!models.allow("A") && !models.allow("") && !models.allow("ab"));
        assert!(Models::All.allow("anything"));
        assert!(!Models::from(Some(vec![])).allow("a"), "an empty list is not every model");
    }

    #[test]
    fn a_dedicated_key_uses_its_owners_agents_only() {
        let (mine, other) = ("lab".parse::<Name>().unwrap(), "attic".parse::<Name>().unwrap());
        let access = Access::Dedicated(mine.clone());
        assert!(access.allows(Some(&mine)));
        assert!(!access.allows(Some(&other)) && !access.allows(None));
        assert!(Access::Shared.allows(None) && Access::Shared.allows(Some(&other)));
    }

    #[test]
    fn names_are_for_people_and_for_terminals() {
        for bad in ["", " a", "a\n", "\u{1b}[2J", &"a".repeat(101)] {
            assert_eq!(bad.parse::<Name>(), Err(BadName), "{bad:?}");
        }
        assert_eq!(Name::lossy(" gpu\u{7}-host ").as_str(), "gpu-host");
        assert_eq!(Name::lossy("\n").as_str(), "unnamed");
    }
}
