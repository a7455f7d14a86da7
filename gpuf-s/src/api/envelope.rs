//! The envelope of `/api/user` and `/api/models`: success or not, always the same four fields.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{error::Message, moment};

/// The paths that answer in the envelope.
const PREFIXES: [&str; 2] = ["/api/user/", "/api/models/"];

/// An answer in the envelope.
#[derive(Debug, Serialize)]
pub(super) struct Envelope<T> {
    success: bool,
    data: Option<T>,
    message: String,
    timestamp: String,
}

impl<T> Envelope<T> {
    pub(super) fn of(data: T, message: impl Into<String>) -> Self {
        Self { success: true, data: Some(data), message: message.into(), timestamp: moment::now() }
    }
}

impl<T: Serialize> IntoResponse for Envelope<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// Something that was made.
pub(super) struct Made<T>(pub(super) T, pub(super) &'static str);

impl<T: Serialize> IntoResponse for Made<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Envelope::of(self.0, self.1)).into_response()
    }
}

/// A page within an envelope: its rows, and where the next one begins.
#[derive(Debug, Serialize)]
pub(super) struct Items<T> {
    /// The rows.
    pub(super) items: Vec<T>,
    /// What `cursor` has to be for the next page; null at the end.
    pub(super) next: Option<String>,
}

/// Whether a path answers in the envelope, errors included.
pub(super) fn is_at(path: &str) -> bool {
    PREFIXES.iter().any(|prefix| path.starts_with(prefix))
}

/// An error in the envelope; its status and headers stay.
pub(super) fn enclose(response: Response) -> Response {
    let Some(Message(message)) = response.extensions().get().cloned() else { return response };
    let envelope: Envelope<()> =
        Envelope { success: false, data: None, message: message.into_owned(), timestamp: moment::now() };
    let (mut head, _) = response.into_parts();
    let enclosed = Json(envelope).into_response();
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, enclosed.into_body())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_folder() {
        assert!(is_at("/api/user/x") && is_at("/api/models/get"));
        assert!(!is_at("/api/v1/models") && !is_at("/api/users") && !is_at("/api/user"));
    }
}
