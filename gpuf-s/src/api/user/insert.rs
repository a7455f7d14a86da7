//! A place for a machine that is to join.

use std::sync::Arc;

use axum::extract::State;
use common::AgentId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{
        Api, caller::Caller, envelope::Made, error::Error, extract::Body, listing, moment, openapi::shapes,
    },
    auth::desk::TokenWish,
    store::{Name, Scope, TokenId},
};

/// A machine that is to join.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct ClientWish {
    /// What people shall call it.
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    client_name: Name,
    /// The id to have, where it has to be a certain one that nobody had before; else it gets one.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^[0-9a-f]{32}$")]
    client_id: Option<AgentId>,
    /// The tenant whose it shall be; a tenant can name itself only.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    user_id: Option<Name>,
    /// How long the join string works, 1 to 8784 hours; 24 unless told.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 8784)]
    ttl_hours: Option<u32>,
}

/// How the machine joins. The join string works once, and nobody can show it again.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct ClientMade {
    /// What people shall call it.
    #[schema(value_type = String)]
    client_name: Name,
    /// The id to have, where one was asked for.
    #[schema(value_type = Option<String>)]
    client_id: Option<AgentId>,
    /// The tenant whose it shall be; null for the operator's.
    #[schema(value_type = Option<String>)]
    user_id: Option<Name>,
    /// Names the join token, to revoke it by.
    #[schema(schema_with = shapes::row_id)]
    join_token_id: TokenId,
    /// The join string.
    join: String,
    /// What to type on the machine.
    command: String,
    /// When the join string ends.
    expires_at: Option<String>,
}

pub(in crate::api) async fn insert(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(wish): Body<ClientWish>,
) -> Result<Made<ClientMade>, Error> {
    let ClientWish { client_name, client_id, user_id, ttl_hours } = wish;
    if let Some(id) = client_id {
        is_free(&api, &caller.scope, id).await?;
    }
    let token = TokenWish { name: Some(client_name.clone()), uses: Some(1), ttl_hours, owner: user_id };
    let made = api.desk(&caller).make_token(token).await?;
    let command = command(&made.join, &client_name, client_id);
    let made = ClientMade {
        client_name,
        client_id,
        user_id: made.shown.owner,
        join_token_id: made.id,
        command,
        join: made.join,
        expires_at: moment::of_seconds(made.shown.expires_unix),
    };
    Ok(Made(made, "type the command on the machine"))
}

/// An id is given once. What others have is not told: for that enrolment refuses it.
async fn is_free(api: &Api, scope: &Scope, id: AgentId) -> Result<(), Error> {
    match listing::one(api, scope, id).await {
        Err(Error::NoAgent) => Ok(()),
        Ok(_) => Err(Error::TakenId),
        Err(error) => Err(error),
    }
}

fn command(join: &str, name: &Name, id: Option<AgentId>) -> String {
    let id = id.map(|id| format!(" --client-id {id}")).unwrap_or_default();
    format!("gpuf-c join {} --name {}{id}", quoted(join), quoted(name.as_str()))
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@".contains(&byte);
    if text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_survives_the_shell_whatever_the_name() {
        let command = command("gpuf://t@h:1/f", &"it's $(me)".parse().unwrap(), None);
        assert_eq!(command, r"gpuf-c join gpuf://t@h:1/f --name 'it'\''s $(me)'");
    }
}
