//! Keys of callers.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use crate::{
    api::{
        Api, Page,
        caller::Caller,
        error::Error,
        extract::{Body, Id},
    },
    auth::desk::{KeyMade, KeyView, KeyWish, Revoked},
    store::KeyId,
};

pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Json<Page<KeyView>>, Error> {
    Ok(Json(api.desk(&caller).keys().await?.into()))
}

pub(in crate::api) async fn make(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(wish): Body<KeyWish>,
) -> Result<(StatusCode, Json<KeyMade>), Error> {
    Ok((StatusCode::CREATED, Json(api.desk(&caller).make_key(wish).await?)))
}

pub(in crate::api) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<KeyId>,
) -> Result<Json<Revoked>, Error> {
    Ok(Json(api.desk(&caller).revoke_key(id).await?))
}
