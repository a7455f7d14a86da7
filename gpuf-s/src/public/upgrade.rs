//! WebSocket: one caller's connection, spliced through a dedicated proxy connection to an engine.

use std::sync::Arc;

use common::{Endpoint, ModelName, tunnel::ERROR_HEADER, tunnel::request_header_passes};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::{
    body::Incoming,
    client::conn::http1,
    upgrade::{self, OnUpgrade},
};
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional_with_sizes, time::timeout};

use super::{Door, Error, body::Body, catalogue, flight::Flight, guard::Signals};
use crate::{
    auth::Principal,
    dispatch::{self, Source},
    error::Rejection,
    store::Outcome,
    tunnel::ProxyStream,
};

/// Larger buffers save CPU where bytes are only moved.
const SPLICE_BUFFER_BYTES: usize = 64 * 1024;

/// Answers an upgrade; the splice goes on after the answer.
pub async fn answer(
    door: &Door,
    principal: &Arc<Principal>,
    mut request: Request<Incoming>,
    signals: Option<&Arc<Signals>>,
) -> Result<Response<Body>, Error> {
    let signals = signals.ok_or(Error::UpgradeExpected)?;
    if !asks_for_websocket(request.headers()) {
        return Err(Error::UpgradeExpected);
    }
    let model = model(request.uri().query().unwrap_or_default())?;
    if !principal.may_use(model.as_str()) {
        return Err(Error::UnknownModel(model.into()));
    }
    let shared = &door.shared;
    let began = std::time::Instant::now();
    let (usage, metrics) = (shared.usage.clone(), shared.metrics.clone());
    let mut flight = Flight::begin(principal.key_id, Endpoint::Realtime, began, usage, metrics);
    flight.set_model(model.clone());
    let ours = upgrade::on(&mut request);
    let (mut response, source) = match connect(door, principal, model.as_str(), request).await {
        Ok(connected) => connected,
        Err(error) => {
            let error = Error::from(error);
            flight.rejected(Rejection::from(&error).status);
            return Err(error);
        }
    };
    flight.answered(source, response.status());
    let theirs = upgrade::on(&mut response);
    signals.upgrade();
    shared.tracker.spawn(splice(ours, theirs, flight));
    Ok(switching(response.headers()))
}

/// An engine that has agreed to the upgrade.
async fn connect(
    door: &Door,
    principal: &Principal,
    model: &str,
    request: Request<Incoming>,
) -> Result<(Response<Incoming>, Source), dispatch::Error> {
    let (stream, source) = door.shared.dispatcher.dedicated(principal, Endpoint::Realtime, model).await?;
    let asked = ask(stream, onward(request, source.engine.as_str()));
    let limit = door.shared.limits.first_token;
    let response = timeout(limit, asked).await.map_err(|_| dispatch::Error::UpstreamTimeout)??;
    match response.status() {
        StatusCode::SWITCHING_PROTOCOLS => Ok((response, source)),
        _ => Err(dispatch::Error::Upstream),
    }
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn model(query: &str) -> Result<ModelName, Error> {
    let mut named = query.split('&').filter_map(|pair| pair.strip_prefix("model="));
    let model = named.next().ok_or(Error::ModelMissing)?;
    if named.next().is_some() {
        return Err(super::fields::Error::Duplicate("model").into());
    }
    Ok(catalogue::unescape(model).ok_or(common::model::BadModelName)?.parse()?)
}

fn onward(request: Request<Incoming>, engine: &str) -> Request<Empty<bytes::Bytes>> {
    let (head, _) = request.into_parts();
    let mut onward = Request::new(Empty::new());
    *onward.uri_mut() = head.uri.path_and_query().map_or_else(Default::default, |path| path.clone().into());
    let passing = head.headers.iter().filter(|(name, _)| request_header_passes(name.as_str()));
    let headers = onward.headers_mut();
    headers.extend(passing.map(|(name, value)| (name.clone(), value.clone())));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(engine) = HeaderValue::from_str(engine) {
        headers.insert(header::HOST, engine);
    }
    onward
}

async fn ask(
    stream: ProxyStream,
    request: Request<Empty<bytes::Bytes>>,
) -> Result<Response<Incoming>, dispatch::Error> {
    let upstream = |_| dispatch::Error::Upstream;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(upstream)?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await.map_err(upstream)?;
    if response.headers().contains_key(ERROR_HEADER) { Err(dispatch::Error::Upstream) } else { Ok(response) }
}

fn switching(theirs: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    for name in ["sec-websocket-accept", "sec-websocket-protocol", "sec-websocket-extensions"] {
        if let Some(value) = theirs.get(name) {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    response
}

async fn splice(ours: OnUpgrade, theirs: OnUpgrade, mut flight: Flight) {
    let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) else { return };
    let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
    let moved =
        copy_bidirectional_with_sizes(&mut ours, &mut theirs, SPLICE_BUFFER_BYTES, SPLICE_BUFFER_BYTES).await;
    if let Ok((_, answered)) = moved {
        flight.count(usize::try_from(answered).unwrap_or(usize::MAX));
    }
    flight.end(if moved.is_ok() { Outcome::Ok } else { Outcome::Aborted });
}
