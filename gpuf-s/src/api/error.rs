//! What went wrong at the API, and what an operator is told.

use std::{borrow::Cow, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{auth::desk, store};

/// Why a request was not done.
#[derive(Debug)]
pub(super) enum Error {
    /// No token, or one that opens nothing.
    Unauthorized,
    /// A tenant's token for what is the operator's.
    Forbidden,
    /// Too many tokens from this address that opened nothing.
    Limited(Duration),
    /// Whether the token is a tenant's cannot be looked up.
    Unknown,
    /// A name that this port does not go by: somebody's web page may be behind it.
    Host,
    /// A web page of another host.
    Origin,
    /// No such path.
    NoRoute,
    /// No such agent, or none that the asker may know of.
    NoAgent,
    /// Another agent has or had the id.
    TakenId,
    /// The path has other methods.
    Method,
    /// The body or the query is not what it should be.
    Malformed(String),
    /// The body is too large.
    TooLarge,
    /// The body is not announced as JSON.
    NotJson,
    /// It took too long.
    Timeout,
    /// The deed failed.
    Desk(desk::Error),
}

impl From<desk::Error> for Error {
    fn from(error: desk::Error) -> Self {
        Self::Desk(error)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Desk(error.into())
    }
}

/// Status, code for programs, the field to blame, text for people.
struct Told(StatusCode, &'static str, Option<&'static str>, Cow<'static, str>);

impl Error {
    fn told(self) -> Told {
        let told = |status, code, text: &'static str| Told(status, code, None, text.into());
        match self {
            Self::Unauthorized => told(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "Send the admin token (admin.token in the server's data directory) or a tenant's token as \
                 Authorization: Bearer …",
            ),
            Self::Forbidden => told(
                StatusCode::FORBIDDEN,
                "operator_only",
                "This is for the operator: it wants the admin token.",
            ),
            Self::Limited(_) => told(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_exceeded",
                "Too many tokens from this address did not work; wait a moment.",
            ),
            Self::Unknown => told(
                StatusCode::SERVICE_UNAVAILABLE,
                "auth_unavailable",
                "Tenants' tokens cannot be checked at the moment; try again.",
            ),
            Self::Host => told(
                StatusCode::FORBIDDEN,
                "host_not_allowed",
                "The API does not go by this name. Use localhost, or allow the name with --api-hosts.",
            ),
            Self::Origin => told(
                StatusCode::FORBIDDEN,
                "origin_not_allowed",
                "Web pages of this origin may not use the API. Allow its host with --api-hosts.",
            ),
            Self::NoRoute => told(StatusCode::NOT_FOUND, "not_found", "There is nothing at this path."),
            Self::NoAgent => told(StatusCode::NOT_FOUND, "not_found", "There is no agent with this id."),
            Self::TakenId => told(
                StatusCode::CONFLICT,
                "id_taken",
                "Another agent has or had this id; leave it out to get one.",
            ),
            Self::Method => told(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "This path does not take this method.",
            ),
            Self::Malformed(why) => Told(StatusCode::BAD_REQUEST, "invalid_request", None, why.into()),
            Self::TooLarge => {
                told(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", "The request body is too large.")
            }
            Self::NotJson => told(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "Send JSON with Content-Type: application/json.",
            ),
            Self::Timeout => told(StatusCode::SERVICE_UNAVAILABLE, "timeout", "It took too long; try again."),
            Self::Desk(error) => desk(error),
        }
    }
}

fn desk(error: desk::Error) -> Told {
    let text = Cow::Owned(error.to_string());
    match error {
        desk::Error::NotFound(_) => Told(StatusCode::NOT_FOUND, "not_found", None, text),
        desk::Error::Invalid(param, _) => Told(StatusCode::BAD_REQUEST, "invalid_request", Some(param), text),
        desk::Error::Taken(_) => Told(StatusCode::CONFLICT, "name_taken", Some("name"), text),
        desk::Error::NoJoinPoint => Told(StatusCode::SERVICE_UNAVAILABLE, "no_join_point", None, text),
        desk::Error::Random(error) => failed(&error),
        desk::Error::Store(error @ store::Error::Unavailable(_)) => {
            tracing::warn!(%error, "the API could not reach the store");
            let text = "The store does not answer at the moment; try again.".into();
            Told(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", None, text)
        }
        desk::Error::Store(error) => failed(&error),
    }
}

/// Our fault: the log has the reason, the operator a word to look for.
fn failed(error: &dyn std::fmt::Display) -> Told {
    tracing::error!(%error, "a request to the API failed");
    let text = "The server could not do it; its log says why.".into();
    Told(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", None, text)
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let wait = match &self {
            Self::Limited(wait) => wait.as_secs().max(1),
            _ => 1,
        };
        let Told(status, code, param, message) = self.told();
        let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let body = serde_json::json!({
            "error": { "message": message, "type": kind, "param": param, "code": code }
        });
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        // Some paths tell the same in another shape: the gate knows them.
        response.extensions_mut().insert(Message(message));
        response
    }
}

/// What an error told.
#[derive(Debug, Clone)]
pub(super) struct Message(pub(super) Cow<'static, str>);
