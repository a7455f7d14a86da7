//! What an operator may do to tenants and to the catalogue, and what people may change about agents.

use common::{AgentId, ModelName};

use super::{Desk, Error, Revoked, TenantMade, TenantView, TenantWish};
use crate::{
    auth::{key::IssueError, tenant},
    store::{self, AgentEdit, KnownModel, Scope, TenantId, UnixSeconds},
};

/// The most labels that people may give an agent.
const LABELS_MAX: usize = 64;
/// The longest label or place, in bytes: as long as an agent may tell.
const TEXT_BYTES_MAX: usize = 256;

impl Desk {
    /// Makes a tenant; the only time that its token is seen.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn make_tenant(&self, wish: TenantWish) -> Result<TenantMade, Error> {
        let now = UnixSeconds::now();
        let made = tenant::issue(&self.store, wish.name, now).await;
        let (row, token) = made.map_err(|error| match error {
            IssueError::Store(store::Error::Taken) => Error::Taken("tenant"),
            other => other.into(),
        })?;
        self.note("tenant.create", row.id.to_string(), Some(row.name.to_string())).await;
        Ok(TenantMade { id: row.id, token: token.expose().to_owned(), shown: TenantView::of(row) })
    }

    /// Every tenant.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn tenants(&self) -> Result<Vec<TenantView>, Error> {
        Ok(self.store.tenants().await?.into_iter().map(TenantView::of).collect())
    }

    /// Revokes a tenant's token; its agents and keys stay as they are.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn revoke_tenant(&self, id: TenantId) -> Result<Revoked, Error> {
        if !self.store.revoke_tenant(id, UnixSeconds::now()).await? {
            return Err(Error::NotFound("tenant"));
        }
        self.note("tenant.revoke", id.to_string(), None).await;
        Ok(Revoked { id: id.to_string(), revoked: true })
    }

    /// Changes how an agent is shown, and, by the operator, whose it is.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn edit_agent(&self, id: AgentId, edit: &AgentEdit) -> Result<(), Error> {
        if edit.owner.is_some() && self.scope != Scope::Everything {
            return Err(Error::Invalid("owner", "can be changed by the operator only".into()));
        }
        for (key, value) in edit.labels.iter().flatten().flatten() {
            check_text("labels", key)?;
            check_text("labels", value)?;
        }
        if edit.labels.iter().flatten().any(|labels| labels.len() > LABELS_MAX) {
            return Err(Error::Invalid("labels", format!("may be {LABELS_MAX} at most")));
        }
        if let Some(Some(location)) = &edit.location {
            check_text("location", location)?;
        }
        if !self.store.edit_agent(&self.scope, id, edit).await? {
            return Err(Error::NotFound("agent"));
        }
        self.note("agent.edit", id.to_string(), Some(told(edit))).await;
        Ok(())
    }

    /// Describes a model; when it was first described.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn describe_model(&self, model: &KnownModel) -> Result<UnixSeconds, Error> {
        let added = self.store.put_known_model(model).await?;
        self.note("model.describe", model.name.to_string(), None).await;
        Ok(added)
    }

    /// Takes a model out of the catalogue; whoever serves it goes on.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn forget_model(&self, name: &ModelName) -> Result<(), Error> {
        if !self.store.remove_known_model(name).await? {
            return Err(Error::NotFound("described model"));
        }
        self.note("model.forget", name.to_string(), None).await;
        Ok(())
    }
}

fn check_text(field: &'static str, text: &str) -> Result<(), Error> {
    let fits = text.len() <= TEXT_BYTES_MAX && !text.trim().is_empty() && !text.chars().any(char::is_control);
    let rule = || format!("must be texts of 1 to {TEXT_BYTES_MAX} bytes without control characters");
    fits.then_some(()).ok_or_else(|| Error::Invalid(field, rule()))
}

/// Which fields were changed.
fn told(edit: &AgentEdit) -> String {
    let fields = [
        ("name", edit.name.is_some()),
        ("labels", edit.labels.is_some()),
        ("location", edit.location.is_some()),
        ("owner", edit.owner.is_some()),
    ];
    fields.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}
