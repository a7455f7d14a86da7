//! The catalogue of models.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};

use crate::api::{
    Api,
    caller::Caller,
    envelope::{Envelope, Items, Made},
    error::Error,
    extract::{Asked, Body},
    v1::catalogue::{self, CatalogueModel, Query, Wish},
};

pub(in crate::api) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<Query>,
) -> Result<Envelope<Items<CatalogueModel>>, Error> {
    let page = catalogue::page(&api, &caller, query).await?;
    let message = format!("{} models", page.data.len());
    Ok(Envelope::of(Items { items: page.data, next: page.next }, message))
}

pub(in crate::api) async fn insert(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(wish): Body<Wish>,
) -> Result<Response, Error> {
    let (status, model) = catalogue::describe(&api, &caller, wish).await?;
    Ok(match status {
        StatusCode::CREATED => Made(model, "model added").into_response(),
        _ => Envelope::of(model, "model changed").into_response(),
    })
}
