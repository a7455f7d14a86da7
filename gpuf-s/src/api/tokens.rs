//! Join tokens.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    Api, Page,
    error::Error,
    extract::{Body, Id},
};
use crate::{
    auth::desk::{Revoked, TokenMade, TokenView, TokenWish},
    store::TokenId,
};

pub(super) async fn list(State(api): State<Arc<Api>>) -> Result<Json<Page<TokenView>>, Error> {
    Ok(Json(api.desk().tokens().await?.into()))
}

pub(super) async fn make(
    State(api): State<Arc<Api>>,
    Body(wish): Body<TokenWish>,
) -> Result<(StatusCode, Json<TokenMade>), Error> {
    Ok((StatusCode::CREATED, Json(api.desk().make_token(wish).await?)))
}

pub(super) async fn revoke(State(api): State<Arc<Api>>, Id(id): Id<TokenId>) -> Result<Json<Revoked>, Error> {
    Ok(Json(api.desk().revoke_token(id).await?))
}
