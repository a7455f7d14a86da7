//! Reads what a request carries; whatever does not read is answered as every other error.

use axum::{
    extract::{
        FromRequest, FromRequestParts, Path, Query, Request,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;

use super::error::Error;

/// A body of JSON.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(JsonRejection::MissingJsonContentType(_)) => Err(Error::NotJson),
            Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(Error::TooLarge),
            Err(rejection) => Err(Error::Malformed(rejection.body_text())),
        }
    }
}

/// A query.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let malformed = |rejection: QueryRejection| Error::Malformed(rejection.body_text());
        query.map(|Query(value)| Self(value)).map_err(malformed)
    }
}

/// The id at the end of a path. One that cannot be an id is one that nothing has.
pub(super) struct Id<T>(pub(super) T);

impl<T: std::str::FromStr, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let id = path.ok().and_then(|Path(text)| text.parse().ok());
        id.map(Self).ok_or(Error::NoRoute)
    }
}

/// How many rows may be asked for at once.
const LIMIT_MAX: u32 = 1000;

/// The limit that was asked for, or the usual one.
pub(super) fn limit(asked: Option<u32>, usual: u32) -> Result<u32, Error> {
    let limit = asked.unwrap_or(usual);
    let inside = (1..=LIMIT_MAX).contains(&limit);
    inside
        .then_some(limit)
        .ok_or_else(|| Error::Malformed(format!("limit must be between 1 and {LIMIT_MAX}")))
}
