//! One try of a request on one engine, up to the point where the caller may see something of it.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use common::tunnel::{AgentError, BULK_BODY_BYTES, ERROR_HEADER};
use http::{HeaderMap, Request, StatusCode, header, response};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::{Answered, Dispatcher, Error, Outgoing, source};
use crate::{
    registry::{Candidate, Slot},
    tunnel::{self, Answer, Body, Head},
};

/// Plain answers up to this size are taken in whole before the caller sees anything of them, so that
/// a broken one can still be tried elsewhere.
const BUFFERED_ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why one try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The agent opened no connection.
    NoConnection,
    /// The connection broke.
    Broken,
    /// The agent answered in the engine's place.
    Agent(AgentError),
    /// Nothing came in time.
    Timeout,
    /// The engine answered with a status of its own failure, or with nonsense.
    BadAnswer,
}

impl Failure {
    /// Whether the engine itself may be all right.
    pub const fn was_on_the_way(self) -> bool {
        matches!(self, Self::NoConnection | Self::Broken | Self::Agent(AgentError::EngineUnreachable))
    }
}

impl From<tunnel::Error> for Failure {
    fn from(error: tunnel::Error) -> Self {
        match error {
            tunnel::Error::NoConnection | tunnel::Error::TooManyAwaited => Self::NoConnection,
            tunnel::Error::Broken => Self::Broken,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoConnection | Failure::Agent(AgentError::Draining) => Self::NoCapacity,
            Failure::Timeout => Self::UpstreamTimeout,
            Failure::Broken | Failure::BadAnswer | Failure::Agent(_) => Self::Upstream,
        }
    }
}

impl Dispatcher {
    /// Sends `request` to `candidate` and takes the answer to its first byte, or to its end if it is plain.
    pub(super) async fn attempt(
        &self,
        worker: usize,
        request: &Outgoing,
        candidate: Candidate,
        slot: Slot,
    ) -> Result<Answered, Failure> {
        let settings = &self.shared.settings;
        let limit = if request.streamed { settings.first_token } else { settings.plain_request };
        let bulk = request.endpoint.is_bulk() || request.body.len() >= BULK_BODY_BYTES;
        let connection = candidate.agent.tunnel.connection(worker, bulk).await?;
        let head = outgoing_head(request, &candidate).ok_or(Failure::BadAnswer)?;
        let source = source(&candidate, slot);
        drop(candidate);
        let deadline = Instant::now() + limit;
        let answer = async {
            let Answer { head, mut body } = connection.send(head, request.body.clone()).await?;
            judge(&head)?;
            let begun = begin(&head, &mut body).await?;
            Ok::<_, Failure>((head, begun, body))
        };
        let (head, begun, body) = timeout_at(deadline, answer).await.map_err(|_| Failure::Timeout)??;
        let rest = (!body.is_end()).then_some(body);
        if rest.is_none() {
            check_whole(&head, &begun)?;
        }
        Ok(Answered { head, begun, rest, source })
    }
}

fn outgoing_head(request: &Outgoing, candidate: &Candidate) -> Option<Head> {
    let uri = http::Uri::builder()
        .scheme("http")
        .authority(candidate.engine.report.id.as_str())
        .path_and_query(request.path.clone())
        .build()
        .ok()?;
    let mut head = Request::new(());
    *head.method_mut() = request.endpoint.method();
    *head.uri_mut() = uri;
    *head.headers_mut() = request.headers.clone();
    if !request.body.is_empty() {
        head.headers_mut().insert(header::CONTENT_LENGTH, request.body.len().into());
    }
    Some(head)
}

/// Whether the answer is one that the caller may see.
fn judge(head: &response::Parts) -> Result<(), Failure> {
    if let Some(error) = head.headers.get(ERROR_HEADER) {
        let error = AgentError::parse(error.as_bytes()).unwrap_or(AgentError::BadAnswer);
        return Err(Failure::Agent(error));
    }
    let strange =
        head.status.is_server_error() || head.status.is_informational() || head.status.is_redirection();
    let page = head.status.is_success() && has_type(&head.headers, "text/html");
    if strange || page {
        debug!(status = head.status.as_u16(), "the engine failed");
        return Err(Failure::BadAnswer);
    }
    Ok(())
}

/// The first bytes of a stream, all of a plain answer, or as much of it as is taken in whole.
async fn begin(head: &response::Parts, body: &mut Body) -> Result<Bytes, Failure> {
    let Some(first) = next(body).await? else { return Ok(Bytes::new()) };
    if is_stream(&head.headers) || body.is_end() {
        return Ok(first);
    }
    let announced =
        head.headers.get(header::CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: usize| bytes > BUFFERED_ANSWER_BYTES_MAX) {
        return Ok(first);
    }
    let mut whole = BytesMut::from(first);
    while whole.len() < BUFFERED_ANSWER_BYTES_MAX {
        match next(body).await? {
            Some(bytes) => whole.extend_from_slice(&bytes),
            None => break,
        }
    }
    Ok(whole.freeze())
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, Failure> {
    Ok(poll_fn(|context| body.poll_data(context)).await.transpose()?)
}

/// Half an answer, or one that is not what it says, is no answer.
fn check_whole(head: &response::Parts, body: &Bytes) -> Result<(), Failure> {
    let json = head.status == StatusCode::OK && has_type(&head.headers, "application/json");
    if json && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err() {
        return Err(Failure::BadAnswer);
    }
    Ok(())
}

/// Whether the answer comes event by event.
pub fn is_stream(headers: &HeaderMap) -> bool {
    has_type(headers, "text/event-stream") || has_type(headers, "application/x-ndjson")
}

/// Whether the content type is `wanted`, whatever its parameters.
pub fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = given.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case(wanted))
}
