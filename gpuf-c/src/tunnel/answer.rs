//! One request of the server: checked, forwarded to its engine, and the answer relayed.

use std::future::poll_fn;

use bytes::Bytes;
use common::{
    Endpoint,
    tunnel::{AgentError, ERROR_HEADER, HOP_BY_HOP, request_header_passes},
};
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, header, request, response, uri::PathAndQuery,
};
use tracing::debug;

use super::{
    engine_pool::EnginePool,
    exchange::{self, Exchange, Outgoing},
    upload::Upload,
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
            Self::EngineBrokeOff => AgentError::EngineBrokeOff.as_str(),
        }
    }
}

/// Serves one stream.
pub async fn answer(
    engines: &Engines,
    pool: &EnginePool,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Outcome {
    let (head, body) = request.into_parts();
    let mut body = Upload::of(body);
    let engine = match target(engines, &head) {
        Ok(engine) => engine,
        Err(error) => return refuse(&mut respond, error, body).await,
    };
    let headers = forwarded_headers(head.headers, &engine);
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let outgoing = Outgoing { method: &head.method, target, headers: &headers };
    let seated = async {
        let seat = engine.seat().await;
        (pool.ask(engine.address, &outgoing, &mut body).await, seat)
    };
    let (asked, seat) = tokio::select! {
        seated = seated => seated,
        _ = poll_fn(|context| respond.poll_reset(context)) => return Outcome::Cancelled,
    };
    match asked {
        Ok((head, mut exchange)) => {
            let outcome = relay(head, &mut exchange, respond).await;
            drop(seat);
            if outcome == Outcome::Answered {
                pool.give_back(engine.address, exchange);
                body.discard().await;
            }
            outcome
        }
        Err(error) => {
            debug!(engine = %engine.report.id, %error, "engine gave no answer");
            engines.suspect(&engine.report.id);
            refuse(&mut respond, blame(&error), body).await
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

const fn blame(error: &exchange::Error) -> AgentError {
    match error {
        exchange::Error::BadAnswer => AgentError::BadAnswer,
        exchange::Error::Io(_)
        | exchange::Error::ConnectTimeout
        | exchange::Error::Closed
        | exchange::Error::CutShort(_) => AgentError::EngineUnreachable,
    }
}

/// An answer of the agent's own. The body of the request is read on, lest the answer be lost with it.
async fn refuse(respond: &mut SendResponse<Bytes>, error: AgentError, body: Upload) -> Outcome {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(ERROR_HEADER, HeaderValue::from_static(error.as_str()));
    let _ = respond.send_response(response, true);
    body.discard().await;
    Outcome::Refused(error)
}

async fn relay(head: response::Parts, exchange: &mut Exchange, mut respond: SendResponse<Bytes>) -> Outcome {
    let Ok(mut stream) = respond.send_response(answer_head(head), exchange.is_ended()) else {
        return Outcome::Cancelled;
    };
    if exchange.is_ended() { Outcome::Answered } else { pump(exchange, &mut stream).await }
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
async fn pump(exchange: &mut Exchange, stream: &mut SendStream<Bytes>) -> Outcome {
    loop {
        let next = tokio::select! {
            biased;
            next = exchange.next() => next,
            _ = poll_fn(|context| stream.poll_reset(context)) => return Outcome::Cancelled,
        };
        let data = match next {
            Ok(Some(data)) => data,
            Ok(None) => return end(stream),
            Err(_) => {
                // A reset would overtake what the engine did say and is still queued: trailers follow it.
                let mut trailers = HeaderMap::new();
                let reason = AgentError::EngineBrokeOff.as_str();
                trailers.insert(ERROR_HEADER, HeaderValue::from_static(reason));
                let _ = stream.send_trailers(trailers);
                return Outcome::EngineBrokeOff;
            }
        };
        let last = exchange.is_ended();
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
