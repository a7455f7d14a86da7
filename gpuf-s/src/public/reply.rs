//! Replies that the server makes itself, in the dialect of whoever asks.

use bytes::Bytes;
use common::Dialect;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde_json::json;

use super::{body::Body, guard::Farewell, request_id::RequestId, strict::Refusal};
use crate::{error::Rejection, public::Error};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON document.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    bytes(status, JSON, Bytes::from(value.to_string()))
}

/// A short text.
pub fn text(text: &'static str) -> Response<Body> {
    bytes(
        StatusCode::OK,
        HeaderValue::from_static("text/plain; charset=utf-8"),
        Bytes::from_static(text.as_bytes()),
    )
}

fn bytes(status: StatusCode, content_type: HeaderValue, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::whole(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// An error in the shape of a dialect.
pub fn error(rejection: &Rejection, dialect: Dialect, id: &RequestId) -> Response<Body> {
    let mut response = json(rejection.status, &error_body(rejection, dialect, id));
    let headers = response.headers_mut();
    if let Some(seconds) = rejection.retry_after_s {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if rejection.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn error_body(rejection: &Rejection, dialect: Dialect, id: &RequestId) -> serde_json::Value {
    match dialect {
        Dialect::OpenAi => json!({"error": {
            "message": rejection.message,
            "type": rejection.kind.openai(),
            "param": rejection.param,
            "code": rejection.code,
        }}),
        Dialect::Anthropic => json!({
            "type": "error",
            "error": {"type": rejection.kind.anthropic(), "message": rejection.message},
            "request_id": id.as_str(),
        }),
        Dialect::Ollama => json!({"error": rejection.message}),
    }
}

/// The last event of a stream that cannot be finished.
pub fn cut_event(rejection: &Rejection, dialect: Dialect, id: &RequestId) -> Bytes {
    let body = error_body(rejection, dialect, id);
    Bytes::from(match dialect {
        Dialect::OpenAi => format!("data: {body}\n\n"),
        Dialect::Anthropic => format!("event: error\ndata: {body}\n\n"),
        Dialect::Ollama => format!("{body}\n"),
    })
}

/// What every reply carries.
pub fn finish(response: &mut Response<Body>, dialect: Dialect, id: &RequestId) {
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id.header());
    if dialect == Dialect::Anthropic {
        headers.insert(ANTHROPIC_REQUEST_ID, id.header());
    }
    // Keys, not cookies, tell callers apart: any page may ask on behalf of whoever gives it a key.
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
}

/// The answer to a pre-flight, which carries no key.
pub fn preflight(allowed: &[Method], asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        wanted.unwrap_or(HeaderValue::from_static("authorization, content-type")),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, allow(allowed));
    headers.insert(header::ALLOW, allow(allowed));
    response
}

/// The value of `Allow`.
pub fn allow(methods: &[Method]) -> HeaderValue {
    let list = methods.iter().map(Method::as_str).chain(["OPTIONS"]).collect::<Vec<_>>().join(", ");
    HeaderValue::try_from(list).unwrap_or(HeaderValue::from_static("OPTIONS"))
}

/// What the guard of a connection says when it ends it: a whole HTTP/1.1 response.
pub fn farewell(farewell: Farewell) -> Bytes {
    let error = match farewell {
        Farewell::Refused(Refusal::Malformed) => Error::Malformed,
        Farewell::Refused(Refusal::HeadTooLarge) => Error::HeadTooLarge,
        Farewell::Refused(Refusal::TargetTooLong) => Error::TargetTooLong,
        Farewell::HeadTimeout => Error::Timeout,
    };
    let rejection = Rejection::from(&error);
    let id = RequestId::random();
    let body = error_body(&rejection, Dialect::OpenAi, &id).to_string();
    Bytes::from(format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nx-request-id: {}\r\nconnection: close\r\n\r\n{body}",
        rejection.status,
        body.len(),
        id.as_str(),
    ))
}
