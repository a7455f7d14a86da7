//! An inference request: read, sent to an engine, and its answer relayed.

use std::{borrow::Cow, sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use common::{Endpoint, ModelName, tunnel::request_header_passes};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header, uri::PathAndQuery};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

use super::{
    Door, Error,
    body::Body,
    fields::{self, Fields},
    flight::Flight,
    form,
    relay::{Begun, Relay, Timers},
    request_id::RequestId,
};
use crate::{
    auth::Principal,
    config::Limits,
    dispatch::{self, Answered, Outgoing},
    error::Rejection,
    store::Outcome,
};

/// A body that is slower than this after its grace is an attack or a wreck.
const BODY_BYTES_PER_S_MIN: u64 = 1024;
/// Headers of an engine that a caller sees.
static ANSWER_HEADERS: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LANGUAGE,
    HeaderName::from_static("openai-processing-ms"),
    HeaderName::from_static("openai-version"),
    header::RETRY_AFTER,
];

/// Answers a request of `principal` to `endpoint`.
pub async fn answer(
    door: &Door,
    principal: &Arc<Principal>,
    endpoint: Endpoint,
    request: Request<Incoming>,
    id: &RequestId,
) -> Result<Response<Body>, Error> {
    let shared = &door.shared;
    let (usage, metrics) = (shared.usage.clone(), shared.metrics.clone());
    let mut flight = Flight::begin(principal.key_id, endpoint, Instant::now(), usage, metrics);
    match try_answer(door, principal, endpoint, request, &mut flight).await {
        Ok((answered, asked_for_usage)) => Ok(respond(door, endpoint, answered, flight, asked_for_usage, id)),
        Err(error) => {
            flight.rejected(Rejection::from(&error).status);
            Err(error)
        }
    }
}

async fn try_answer(
    door: &Door,
    principal: &Arc<Principal>,
    endpoint: Endpoint,
    request: Request<Incoming>,
    flight: &mut Flight,
) -> Result<(Answered, bool), Error> {
    let limits = &door.shared.limits;
    check_head(&request, limits)?;
    let (head, body) = request.into_parts();
    let body = read_body(body, limits).await?;
    let asked = Asked::read(endpoint, &head.headers, &body)?;
    let model: ModelName = asked.model.as_ref().ok_or(Error::ModelMissing)?.parse()?;
    flight.set_model(model.clone());
    if !principal.may_use(model.as_str()) {
        return Err(Error::UnknownModel(model.into()));
    }
    let usage = asked.usage_to_ask_for;
    let streamed = asked.streamed;
    drop(asked);
    let outgoing = Outgoing {
        principal: principal.clone(),
        endpoint,
        model: model.as_str().into(),
        path: head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")),
        headers: onward_headers(head.headers),
        body: usage.map_or(body.clone(), |insert| insert.into(&body)),
        streamed,
    };
    match door.shared.dispatcher.answer(door.worker, &outgoing).await {
        Ok(answered) => Ok((answered, usage.is_some())),
        Err(dispatch::Error::UnknownModel) => Err(Error::UnknownModel(model.into())),
        Err(error) => Err(error.into()),
    }
}

fn check_head(request: &Request<Incoming>, limits: &Limits) -> Result<(), Error> {
    let encoded = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if request.headers().get_all(header::CONTENT_ENCODING).iter().any(encoded) {
        return Err(Error::EncodedBody);
    }
    if request.body().size_hint().lower() > limits.body_bytes_max as u64 {
        return Err(Error::BodyTooLarge);
    }
    Ok(())
}

/// The whole body, without a copy when it comes in one piece.
async fn read_body(mut body: Incoming, limits: &Limits) -> Result<Bytes, Error> {
    let Some(first) = next_piece(&mut body, limits).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() {
        return Ok(first);
    }
    let began = Instant::now();
    let mut whole = BytesMut::from(first);
    while let Some(piece) = next_piece(&mut body, limits).await? {
        if whole.len() + piece.len() > limits.body_bytes_max {
            return Err(Error::BodyTooLarge);
        }
        whole.extend_from_slice(&piece);
        let seconds = began.elapsed().as_secs();
        let slow = whole.len() as u64 / seconds.max(1) < BODY_BYTES_PER_S_MIN;
        if slow && began.elapsed() > limits.body_idle {
            return Err(Error::Timeout);
        }
    }
    Ok(whole.freeze())
}

async fn next_piece(body: &mut Incoming, limits: &Limits) -> Result<Option<Bytes>, Error> {
    loop {
        let frame = timeout(limits.body_idle, body.frame()).await.map_err(|_| Error::Timeout)?;
        let Some(frame) = frame else { return Ok(None) };
        if let Ok(data) = frame.map_err(|_| Error::BodyBroken)?.into_data() {
            return Ok(Some(data));
        }
    }
}

/// What a request asks for, as far as routing goes.
struct Asked<'a> {
    model: Option<Cow<'a, str>>,
    streamed: bool,
    usage_to_ask_for: Option<Insert>,
}

impl<'a> Asked<'a> {
    fn read(endpoint: Endpoint, headers: &HeaderMap, body: &'a Bytes) -> Result<Self, Error> {
        if endpoint.takes_form() {
            let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let form = form::read(content_type.unwrap_or_default(), body)?;
            return Ok(Self {
                model: form.model.map(Cow::Borrowed),
                streamed: form.stream,
                usage_to_ask_for: None,
            });
        }
        let fields = fields::read(body)?;
        let streamed = fields.stream.unwrap_or(streams_by_default(endpoint));
        let usage_to_ask_for = Insert::usage(endpoint, &fields, streamed);
        Ok(Self { model: fields.model, streamed, usage_to_ask_for })
    }
}

const fn streams_by_default(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::OllamaChat | Endpoint::OllamaGenerate)
}

/// Text to put into a body, where, and how many bytes it stands for.
#[derive(Debug, Clone, Copy)]
struct Insert {
    at: usize,
    replaces: usize,
    text: &'static str,
}

impl Insert {
    /// Asks for token counts at the end of a stream whose caller did not.
    fn usage(endpoint: Endpoint, fields: &Fields<'_>, streamed: bool) -> Option<Self> {
        let counts_on_demand = matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions);
        if !counts_on_demand || !streamed || fields.include_usage == Some(true) || fields.is_empty {
            return None;
        }
        if let Some((at, bytes)) = fields.include_usage_at {
            return Some(Self { at, replaces: bytes, text: "true" });
        }
        if let Some(at) = fields.null_options_at {
            return Some(Self { at, replaces: "null".len(), text: r#"{"include_usage":true}"# });
        }
        let replaces = 0;
        Some(match fields.stream_options_at {
            None => {
                Self { at: fields.fields_at, replaces, text: r#""stream_options":{"include_usage":true},"# }
            }
            Some(at) if fields.stream_options_is_empty => {
                Self { at, replaces, text: r#""include_usage":true"# }
            }
            Some(at) => Self { at, replaces, text: r#""include_usage":true,"# },
        })
    }

    fn into(self, body: &Bytes) -> Bytes {
        let (before, after) = (&body[..self.at], &body[self.at + self.replaces..]);
        [before, self.text.as_bytes(), after].concat().into()
    }
}

/// The caller's headers without credentials and what belongs to its connection.
fn onward_headers(mut headers: HeaderMap) -> HeaderMap {
    let stays = |name: &HeaderName| !request_header_passes(name.as_str()) || *name == header::CONTENT_LENGTH;
    let unwanted: Vec<_> = headers.keys().filter(|name| stays(name)).cloned().collect();
    // What `Connection` names belongs to the caller's connection, too.
    let named: Vec<_> = headers.get_all(header::CONNECTION).iter().flat_map(named_headers).collect();
    for name in unwanted.into_iter().chain(named) {
        headers.remove(name);
    }
    headers
}

fn named_headers(connection: &HeaderValue) -> Vec<HeaderName> {
    let names = connection.to_str().unwrap_or_default().split(',');
    names.filter_map(|name| name.trim().parse().ok()).filter(|name| *name != header::CONTENT_TYPE).collect()
}

fn respond(
    door: &Door,
    endpoint: Endpoint,
    answered: Answered,
    mut flight: Flight,
    take_out_usage: bool,
    id: &RequestId,
) -> Response<Body> {
    let Answered { head, begun, rest, source } = answered;
    flight.answered(source, head.status);
    let streams = dispatch::is_stream(&head.headers);
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    copy_headers(&head.headers, response.headers_mut());
    if streams {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    }
    if !streams && rest.is_none() {
        flight.tokens.read_answer(&begun);
        flight.count(begun.len());
        flight.end(Outcome::Ok);
        return response.map(|()| Body::whole(begun));
    }
    let dialect = endpoint.dialect();
    let answer = Begun { begun, rest, flight, take_out_usage, dialect, id: id.clone() };
    let relay = Relay::new(&head.headers, answer, relay_timers(&door.shared.limits));
    response.map(|()| Body::relay(relay))
}

fn copy_headers(from: &HeaderMap, to: &mut HeaderMap) {
    for name in &ANSWER_HEADERS {
        if let Some(value) = from.get(name) {
            to.insert(name, value.clone());
        }
    }
}

const fn relay_timers(limits: &Limits) -> Timers {
    Timers { token_gap: limits.token_gap, comment: limits.sse_comment, whole: limits.streamed_request }
}
