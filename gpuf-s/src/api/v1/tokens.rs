//! Join tokens.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use crate::{
    api::{
        Api, Page,
        caller::Caller,
        error::Error,
        extract::{Body, Id},
    },
    auth::desk::{Revoked, TokenMade, TokenView, TokenWish},
    store::TokenId,
};

pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Json<Page<TokenView>>, Error> {
    Ok(Json(api.desk(&caller).tokens().await?.into()))
}

pub(in crate::api) async fn make(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(wish): Body<TokenWish>,
) -> Result<(StatusCode, Json<TokenMade>), Error> {
    Ok((StatusCode::CREATED, Json(api.desk(&caller).make_token(wish).await?)))
}

pub(in crate::api) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<TokenId>,
) -> Result<Json<Revoked>, Error> {
    Ok(Json(api.desk(&caller).revoke_token(id).await?))
}
