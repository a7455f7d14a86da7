//! Whether the process works, and whether callers should be sent to it.

use std::sync::Arc;

use axum::{
    Json,
    extract::State as Of,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::store::State;

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
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

pub(super) async fn health(Of(api): Of<Arc<Api>>) -> Json<Health> {
    Json(Health { status: "ok", ready: why_not_ready(&api).is_none(), version: api.version })
}

pub(super) async fn ready(Of(api): Of<Arc<Api>>) -> Response {
    let why = why_not_ready(&api);
    let status = if why.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready: why.is_none(), why })).into_response()
}

/// A database that goes away later is no reason: callers who are known are served without it.
fn why_not_ready(api: &Api) -> Option<&'static str> {
    if !api.fleet.ready() {
        return Some("the server is ending");
    }
    (api.store.state() == State::Starting).then_some("the database was not reached since the start")
}
