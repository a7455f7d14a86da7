//! The servers that share the database.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::{Api, Page, ServerView};

pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<Page<ServerView>> {
    Json(api.fleet.servers().into())
}
