//! One request of the server: checked, forwarded to its engine, and the answer relayed.

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use common::{
    Endpoint,
    tunnel::{AgentError, ERROR_HEADER, HOP_BY_HOP, request_header_passes},
};
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request, response};
use hyper::body::{Body as _, Incoming};
use tracing::debug;

use super::{
    engine_pool::{self, EnginePool, Lease},
    upload::{self, Unread, Upload},
};
use crate::engine::{Engine, Engines};

/// How a request ended, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The whole answer left.
    Answered,
    /// The agent answered in the engine's place.
    Refused(AgentError),
    /// The server reset the stream: the caller has left.
    Cancelled,
    /// The engine broke off in its answer.
    EngineBrokeOff,
}

impl Outcome {
    /// The name in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused(error) => error.as_str(),
            Self::Cancelled => "cancelled",
            Self::EngineBrokeOff => "engine_broke_off",
        }
    }
}

/// Serves one stream.
pub async fn answer(
    engines: &Engines,
    pool: &Arc<EnginePool>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Outcome {
    let (head, body) = request.into_parts();
    let engine = match target(engines, &head) {
        Ok(engine) => engine,
        Err(error) => return refuse(&mut respond, error, body.into()).await,
    };
    let (body, unread) = Upload::of(body);
    let request = outgoing(head, body, &engine);
    let sent = tokio::select! {
        sent = pool.send(engine.address, request) => sent,
        _ = poll_fn(|context| respond.poll_reset(context)) => return Outcome::Cancelled,
    };
    match sent {
        Ok((response, lease)) => relay(response, lease, respond, unread).await,
        Err(error) => {
            debug!(engine = %engine.report.id, %error, "engine gave no answer");
            engines.suspect(&engine.report.id);
            refuse(&mut respond, blame(&error), Rest::Unread(unread)).await
        }
    }
}

/// The engine that a request names, if method and path are listed and the engine has them.
pub fn target(engines: &Engines, head: &request::Parts) -> Result<Engine, AgentError> {
    let endpoint = Endpoint::at(head.uri.path()).filter(|endpoint| endpoint.method() == head.method);
    let endpoint = endpoint.ok_or(AgentError::NotAllowed)?;
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let named = authority.or_else(|| head.headers.get(header::HOST)?.to_str().ok());
    let engine = named.and_then(|name| engines.find(name)).ok_or(AgentError::UnknownEngine)?;
    if engine.report.endpoints.contains(endpoint) { Ok(engine) } else { Err(AgentError::NotAllowed) }
}

/// The head for the engine: the server's without what belongs to a hop or to the caller.
pub fn forwarded_headers(from: HeaderMap, engine: &Engine) -> HeaderMap {
    let mut headers = from;
    let unwanted: Vec<_> =
        headers.keys().filter(|name| !request_header_passes(name.as_str())).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
    headers.insert(header::HOST, engine.host.clone());
    headers
}

fn outgoing(head: request::Parts, body: Upload, engine: &Engine) -> Request<Upload> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = head.uri.path_and_query().map_or_else(Default::default, |path| path.clone().into());
    *request.headers_mut() = forwarded_headers(head.headers, engine);
    request
}

const fn blame(error: &engine_pool::Error) -> AgentError {
    match error {
        engine_pool::Error::BadAnswer(_) => AgentError::BadAnswer,
        engine_pool::Error::Connect(_)
        | engine_pool::Error::ConnectTimeout
        | engine_pool::Error::NoAnswer(_) => AgentError::EngineUnreachable,
    }
}

/// What is left of a request body that nobody wants.
enum Rest {
    Whole(RecvStream),
    Unread(Unread),
}

impl From<RecvStream> for Rest {
    fn from(body: RecvStream) -> Self {
        Self::Whole(body)
    }
}

/// An answer of the agent's own. The body of the request is read on, lest the answer be lost with it.
async fn refuse(respond: &mut SendResponse<Bytes>, error: AgentError, rest: Rest) -> Outcome {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(ERROR_HEADER, HeaderValue::from_static(error.as_str()));
    let _ = respond.send_response(response, true);
    let unread = match rest {
        Rest::Unread(unread) => unread,
        Rest::Whole(body) => Upload::of(body).1,
    };
    upload::discard(unread).await;
    Outcome::Refused(error)
}

async fn relay(
    response: Response<Incoming>,
    lease: Lease,
    mut respond: SendResponse<Bytes>,
    unread: Unread,
) -> Outcome {
    let (head, mut body) = response.into_parts();
    let Ok(mut stream) = respond.send_response(answer_head(head), body.is_end_stream()) else {
        return Outcome::Cancelled;
    };
    let outcome = if body.is_end_stream() { Outcome::Answered } else { pump(&mut body, &mut stream).await };
    if outcome == Outcome::Answered {
        lease.give_back();
        upload::discard(unread).await;
    }
    outcome
}

fn answer_head(head: response::Parts) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    for name in HOP_BY_HOP {
        response.headers_mut().remove(*name);
    }
    response.headers_mut().remove(ERROR_HEADER);
    response
}

/// Moves the body, as fast as the server takes it, until it ends or the server resets the stream.
async fn pump(body: &mut Incoming, stream: &mut SendStream<Bytes>) -> Outcome {
    loop {
        let frame = tokio::select! {
            biased;
            frame = poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context)) => frame,
            _ = poll_fn(|context| stream.poll_reset(context)) => return Outcome::Cancelled,
        };
        let data = match frame {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(_)) => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Outcome::EngineBrokeOff;
            }
            None => return end(stream),
        };
        let last = body.is_end_stream();
        if !send(stream, data, last).await {
            return Outcome::Cancelled;
        }
        if last {
            return Outcome::Answered;
        }
    }
}

fn end(stream: &mut SendStream<Bytes>) -> Outcome {
    match stream.send_data(Bytes::new(), true) {
        Ok(()) => Outcome::Answered,
        Err(_) => Outcome::Cancelled,
    }
}

/// Sends `data` within the stream's window; `false` when the stream is gone.
async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes, last: bool) -> bool {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        if stream.capacity() == 0 {
            match poll_fn(|context| stream.poll_capacity(context)).await {
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return false,
            }
        }
        let part = data.split_to(stream.capacity().min(data.len()));
        if stream.send_data(part, last && data.is_empty()).is_err() {
            return false;
        }
    }
    true
}
