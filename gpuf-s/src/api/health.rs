//! Whether the process works, and whether callers should be sent to it.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;

/// How the process is: all that a stranger is told.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// Always `ok`: a process that does not work does not answer.
    status: &'static str,
    /// Whether callers should be sent here.
    ready: bool,
    /// The server's version.
    version: &'static str,
}

/// Whether callers should be sent here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Readiness {
    /// As the status says: 200 or 503.
    ready: bool,
}

pub(super) async fn health(State(api): State<Arc<Api>>) -> Json<Health> {
    Json(Health { status: "ok", ready: api.fleet.ready(), version: api.version })
}

pub(super) async fn ready(State(api): State<Arc<Api>>) -> Response {
    let ready = api.fleet.ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready })).into_response()
}
