//! Figures of clients per day.

use std::sync::Arc;

use axum::extract::State;
use common::AgentId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::{
        Api,
        caller::Caller,
        days::{self, DayFigures},
        envelope::{Envelope, Items},
        error::Error,
        extract::{Asked, limit},
        listing,
        openapi::shapes,
    },
    store::{Day, Name},
};

/// Which days of which clients.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Query {
    /// Of this client.
    #[param(value_type = Option<String>, pattern = "^[0-9a-f]{32}$")]
    client_id: Option<AgentId>,
    /// Of this tenant's clients; a tenant can name itself only.
    #[param(value_type = Option<String>)]
    user_id: Option<Name>,
    /// From this day on, UTC; 30 days back unless told.
    #[param(value_type = Option<String>, pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
    from: Option<Day>,
    /// Up to this day, which belongs to them; today unless told. 366 days at most.
    #[param(value_type = Option<String>, pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
    to: Option<Day>,
    /// At most so many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// A client on one day.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ClientDay {
    /// Its id.
    #[schema(schema_with = shapes::agent_id)]
    client_id: AgentId,
    /// Its figures.
    figures: DayFigures,
}

pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<Query>,
) -> Result<Envelope<Items<ClientDay>>, Error> {
    let user_id = caller.filter_by("user_id", query.user_id)?;
    let owner = caller.scope.tenant().cloned().or(user_id);
    if let Some(id) = query.client_id {
        listing::one(&api, &caller.scope, id).await?;
    }
    let mut filter =
        days::filter(owner, query.client_id, days::span(query.from, query.to)?, limit(query.limit, 100)?);
    filter.after = query.cursor.as_deref().map(after).transpose()?;
    let (days, next) = days::page(&api, &filter).await?;
    let items: Vec<_> =
        days.into_iter().map(|(client_id, figures)| ClientDay { client_id, figures }).collect();
    let message = format!("{} days", items.len());
    Ok(Envelope::of(Items { items, next: next.map(|(day, id)| format!("{day}.{id}")) }, message))
}

/// Where a page ended: a day and a client, whatever its devices.
fn after(cursor: &str) -> Result<(Day, AgentId, u32), Error> {
    let parts = cursor.split_once('.').and_then(|(day, id)| Some((day.parse().ok()?, id.parse().ok()?)));
    let (day, id) = parts.ok_or_else(|| Error::Malformed("cursor is none of a page before".into()))?;
    Ok((day, id, u32::MAX))
}
