//! Who asks: the operator, or a tenant.

use axum::{extract::FromRequestParts, http::request::Parts};

use super::error::Error;
use crate::store::{Name, Scope};

/// Whoever the gate let in, and what they reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// What every query of theirs is limited to.
    pub(super) scope: Scope,
}

impl Caller {
    pub(super) const OPERATOR: Self = Self { scope: Scope::Everything };

    pub(super) const fn tenant(name: Name) -> Self {
        Self { scope: Scope::Of(name) }
    }

    /// As the audit trail names them.
    pub(super) fn actor(&self) -> String {
        self.scope.tenant().map_or_else(|| "api".to_owned(), |name| format!("tenant {name}"))
    }

    /// An owner that was asked for as a filter: only the operator may look at others.
    pub(super) fn filter_by(&self, field: &str, owner: Option<Name>) -> Result<Option<Name>, Error> {
        match (&self.scope, &owner) {
            (Scope::Of(tenant), Some(other)) if tenant != other => {
                Err(Error::Malformed(format!("{field} can be the tenant itself only")))
            }
            _ => Ok(owner),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.get::<Self>().cloned().ok_or(Error::Unauthorized)
    }
}
