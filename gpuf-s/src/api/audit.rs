//! Who changed what, newest first.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;

use super::{Api, Page, error::Error, extract::Asked};
use crate::store::AuditLine;

const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    limit: Option<u32>,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<Query>,
) -> Result<Json<Page<AuditLine>>, Error> {
    let limit = query.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    Ok(Json(api.store.audit_lines(limit).await?.into()))
}
