//! The servers that share the database.

use std::sync::Arc;

use axum::{Json, extract::State};

use crate::api::{Api, Page, ServerView};

pub(in crate::api) async fn list(State(api): State<Arc<Api>>) -> Json<Page<ServerView>> {
    Json(api.fleet.servers().into())
}
