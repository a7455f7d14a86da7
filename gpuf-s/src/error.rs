//! The one table from what went wrong in a room to what a caller is told.
//!
//! Nothing below this file knows an HTTP status. Matches have no `_`, so that a variant of another
//! room does not compile until it has a place here.

use std::borrow::Cow;

use http::StatusCode;

use crate::{auth, dispatch, public};

/// What a person is told: a status, a text that says what to do, and names for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The status.
    pub status: StatusCode,
    /// What kind of error, in OpenAI's words.
    pub kind: Kind,
    /// The name for programs.
    pub code: Option<&'static str>,
    /// The field to blame.
    pub param: Option<&'static str>,
    /// What happened and what to do.
    pub message: Cow<'static, str>,
    /// Seconds after which trying again makes sense.
    pub retry_after_s: Option<u32>,
}

/// Kinds of errors, named as OpenAI and Anthropic name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong.
    InvalidRequest,
    /// The key is wrong.
    Authentication,
    /// No such thing.
    NotFound,
    /// Too large.
    TooLarge,
    /// Too many.
    RateLimit,
    /// No room at the moment.
    Overloaded,
    /// The engine, or we, failed.
    Server,
    /// The engine took too long.
    Timeout,
}

impl Kind {
    /// `type` on the OpenAI dialect.
    pub const fn openai(self) -> &'static str {
        match self {
            Self::InvalidRequest | Self::Authentication | Self::NotFound | Self::TooLarge => {
                "invalid_request_error"
            }
            Self::RateLimit => "rate_limit_error",
            Self::Overloaded | Self::Server | Self::Timeout => "server_error",
        }
    }

    /// `type` on the Anthropic dialect.
    pub const fn anthropic(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::NotFound => "not_found_error",
            Self::TooLarge => "request_too_large",
            Self::RateLimit => "rate_limit_error",
            Self::Overloaded => "overloaded_error",
            Self::Server => "api_error",
            Self::Timeout => "timeout_error",
        }
    }
}

impl Rejection {
    fn new(
        status: StatusCode,
        kind: Kind,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, kind, code: Some(code), param: None, message: message.into(), retry_after_s: None }
    }

    const fn about(mut self, param: Option<&'static str>) -> Self {
        self.param = param;
        self
    }

    const fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

impl From<auth::Error> for Rejection {
    fn from(error: auth::Error) -> Self {
        match error {
            // One text for all of them: a stranger learns nothing about which keys exist.
            auth::Error::Missing | auth::Error::Invalid => Self::new(
                StatusCode::UNAUTHORIZED,
                Kind::Authentication,
                "invalid_api_key",
                "No valid API key was given. Send it as 'Authorization: Bearer <key>'.",
            ),
            auth::Error::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                Kind::Server,
                "auth_unavailable",
                "API keys cannot be checked at the moment. Try again shortly.",
            )
            .retry_after(2),
            auth::Error::Limited { retry_after } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                Kind::RateLimit,
                "rate_limit_exceeded",
                "Too many failed attempts from this address. Wait before the next one.",
            )
            .retry_after(u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX).saturating_add(1)),
        }
    }
}

impl From<dispatch::Error> for Rejection {
    fn from(error: dispatch::Error) -> Self {
        use StatusCode as S;
        match error {
            dispatch::Error::UnknownModel => model_not_found("of that name"),
            dispatch::Error::UnsupportedEndpoint => Self::new(
                S::NOT_FOUND,
                Kind::NotFound,
                "unsupported_endpoint",
                "The engines that serve this model do not have this endpoint.",
            )
            .about(Some("model")),
            dispatch::Error::NoCapacity => Self::new(
                S::SERVICE_UNAVAILABLE,
                Kind::Overloaded,
                "no_capacity",
                "No GPU is free for this model at the moment. Try again shortly.",
            )
            .retry_after(5),
            dispatch::Error::Overloaded => Self::new(
                S::SERVICE_UNAVAILABLE,
                Kind::Overloaded,
                "overloaded",
                "Too many requests wait for this model. Try again later.",
            )
            .retry_after(10),
            dispatch::Error::UpstreamTimeout => Self::new(
                S::GATEWAY_TIMEOUT,
                Kind::Timeout,
                "upstream_timeout",
                "The model did not answer in time. Try again, or ask for less.",
            ),
            dispatch::Error::Upstream => Self::new(
                S::BAD_GATEWAY,
                Kind::Server,
                "upstream_error",
                "The engine failed to answer. Try again.",
            ),
        }
    }
}

fn model_not_found(name: &str) -> Rejection {
    // The same for a model that does not exist and for one that the key may not use.
    Rejection::new(
        StatusCode::NOT_FOUND,
        Kind::NotFound,
        "model_not_found",
        format!(
            "The model {name} does not exist or you do not have access to it. GET /v1/models lists yours."
        ),
    )
    .about(Some("model"))
}

impl From<&public::Error> for Rejection {
    fn from(error: &public::Error) -> Self {
        use StatusCode as S;
        use public::Error as E;
        let bad =
            |code, message: &'static str| Self::new(S::BAD_REQUEST, Kind::InvalidRequest, code, message);
        match error {
            E::Auth(error) => (*error).into(),
            E::Dispatch(error) => (*error).into(),
            E::UnknownModel(name) => model_not_found(&format!("'{name}'")),
            E::Fields(error) => {
                Self::new(S::BAD_REQUEST, Kind::InvalidRequest, "invalid_json", error.to_string())
                    .about(error.param())
            }
            E::ModelMissing => bad("missing_model", "The request names no model.").about(Some("model")),
            E::BadModelName(error) => {
                Self::new(S::BAD_REQUEST, Kind::InvalidRequest, "invalid_model", error.to_string())
                    .about(Some("model"))
            }
            E::CredentialsDiffer => bad(
                "ambiguous_credentials",
                "'Authorization' and 'x-api-key' carry different keys. Send one of them.",
            ),
            E::Malformed => bad("bad_request", "The request is not valid HTTP."),
            E::BodyBroken => bad("bad_request", "The request body ended early."),
            E::UpgradeExpected => Self::new(
                S::UPGRADE_REQUIRED,
                Kind::InvalidRequest,
                "upgrade_required",
                "This endpoint speaks WebSocket.",
            ),
            E::UnknownPath => {
                Self::new(S::NOT_FOUND, Kind::NotFound, "unknown_url", "There is nothing at this address.")
            }
            E::MethodNotAllowed => Self::new(
                S::METHOD_NOT_ALLOWED,
                Kind::InvalidRequest,
                "method_not_allowed",
                "This address does not take this method.",
            ),
            E::HeadTooLarge => Self::new(
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                Kind::TooLarge,
                "headers_too_large",
                "The request headers are too many or too large.",
            ),
            E::TargetTooLong => {
                Self::new(S::URI_TOO_LONG, Kind::TooLarge, "uri_too_long", "The request target is too long.")
            }
            E::BodyTooLarge => Self::new(
                S::PAYLOAD_TOO_LARGE,
                Kind::TooLarge,
                "request_too_large",
                "The request body is too large.",
            ),
            E::EncodedBody => Self::new(
                S::UNSUPPORTED_MEDIA_TYPE,
                Kind::InvalidRequest,
                "unsupported_encoding",
                "Send the body without Content-Encoding.",
            ),
            E::Timeout => Self::new(
                S::REQUEST_TIMEOUT,
                Kind::Timeout,
                "request_timeout",
                "The request did not arrive in time.",
            ),
            E::Draining => Self::new(
                S::SERVICE_UNAVAILABLE,
                Kind::Overloaded,
                "shutting_down",
                "This server is shutting down. Try again.",
            )
            .retry_after(1),
        }
    }
}
