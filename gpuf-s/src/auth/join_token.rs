//! Join tokens: what lets a machine in, once.

use std::{fmt, time::Duration};

use zeroize::Zeroizing;

use super::key::{IssueError, random_text};
use crate::store::{Name, Store, TokenHash, TokenId, TokenRow, UnixSeconds};

/// 190 random bits, in characters that need no care in a shell or a URL.
const CHARS: usize = 32;
/// How long a token lives unless told otherwise.
pub const DEFAULT_TTL: Duration = Duration::from_secs(24 * 3600);
/// The longest that a token may live.
pub const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// The most machines that one token may let in.
pub const USES_MAX: u32 = 10_000;

/// A token in clear. It exists from its making to its being shown, once.
pub struct JoinToken(Zeroizing<String>);

impl JoinToken {
    /// The text, to be put into a join string.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(…)")
    }
}

/// What a token is made from.
#[derive(Debug, Clone)]
pub struct TokenOrder {
    /// What people call it.
    pub name: Name,
    /// Who owns the agents that come in with it.
    pub owner: Option<Name>,
    /// How many machines it lets in.
    pub uses: u32,
    /// How long it lives.
    pub ttl: Duration,
}

/// Makes a token and stores what is kept of it.
///
/// # Errors
/// When the store does not take it.
pub async fn issue(
    store: &Store,
    order: TokenOrder,
    now: UnixSeconds,
) -> Result<(TokenRow, JoinToken), IssueError> {
    let token = JoinToken(random_text(CHARS)?);
    let row = TokenRow {
        id: TokenId::random()?,
        name: order.name,
        hash: TokenHash::of(token.expose().as_bytes()),
        owner: order.owner,
        uses_left: order.uses.min(USES_MAX),
        created: now,
        expires: now.after(order.ttl.min(TTL_MAX)),
        revoked: None,
    };
    store.insert_join_token(&row).await?;
    Ok((row, token))
}
