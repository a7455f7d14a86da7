//! Keys of callers.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    Api, Page,
    error::Error,
    extract::{Body, Id},
};
use crate::{
    auth::desk::{KeyMade, KeyView, KeyWish, Revoked},
    store::KeyId,
};

pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Page<KeyView>>, Error> {
    Ok(Json(api.desk().keys().await?.into()))
}

pub(super) async fn make(
    State(api): State<Arc<Api>>,
    Body(wish): Body<KeyWish>,
) -> Result<(StatusCode, Json<KeyMade>), Error> {
    Ok((StatusCode::CREATED, Json(api.desk().make_key(wish).await?)))
}

pub(super) async fn revoke(State(api): State<Arc<Api>>, Id(id): Id<KeyId>) -> Result<Json<Revoked>, Error> {
    Ok(Json(api.desk().revoke_key(id).await?))
}
