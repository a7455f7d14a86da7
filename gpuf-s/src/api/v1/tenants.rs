//! Those who share the server.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use crate::{
    api::{
        Api, Page,
        caller::Caller,
        error::Error,
        extract::{Body, Id},
    },
    auth::desk::{Revoked, TenantMade, TenantView, TenantWish},
    store::TenantId,
};

pub(in crate::api) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Json<Page<TenantView>>, Error> {
    Ok(Json(api.desk(&caller).tenants().await?.into()))
}

pub(in crate::api) async fn make(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(wish): Body<TenantWish>,
) -> Result<(StatusCode, Json<TenantMade>), Error> {
    Ok((StatusCode::CREATED, Json(api.desk(&caller).make_tenant(wish).await?)))
}

pub(in crate::api) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Id(id): Id<TenantId>,
) -> Result<Json<Revoked>, Error> {
    Ok(Json(api.desk(&caller).revoke_tenant(id).await?))
}
