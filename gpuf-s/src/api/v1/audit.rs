//! Who changed what, newest first.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    api::{Api, Page, error::Error, extract::Asked},
    store::AuditLine,
};

const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1000;

/// How many lines.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Query {
    /// At most so many, up to 1000.
    #[param(maximum = 1000, default = 100)]
    limit: Option<u32>,
}

pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<Query>,
) -> Result<Json<Page<AuditLine>>, Error> {
    let limit = query.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    Ok(Json(api.store.audit_lines(limit).await?.into()))
}
