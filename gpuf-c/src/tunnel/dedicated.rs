//! A dedicated connection: one upgrade (WebSocket) of one user, spliced through to the engine.

use std::{convert::Infallible, sync::Arc, time::Duration};

use common::tunnel::{AgentError, ERROR_HEADER};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Either, Empty};
use hyper::{body::Incoming, client, server, service::service_fn, upgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{io::copy_bidirectional_with_sizes, net::TcpStream, time::timeout};
use tracing::debug;

use super::{Error, Shared, answer, dial::ProxyStream};
use crate::engine::Engine;

/// Larger buffers save CPU where bytes are only moved.
const SPLICE_BUFFER_BYTES: usize = 64 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

type Body = Either<Incoming, Empty<bytes::Bytes>>;

/// Serves the one request that comes, and what it becomes.
pub async fn serve(shared: &Arc<Shared>, io: ProxyStream) -> Result<(), Error> {
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(forward(&shared, request).await) }
    });
    server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades()
        .await?;
    Ok(())
}

async fn forward(shared: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    match try_forward(shared, request).await {
        Ok(response) => response,
        Err(error) => refusal(error),
    }
}

fn refusal(error: AgentError) -> Response<Body> {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(ERROR_HEADER, HeaderValue::from_static(error.as_str()));
    response
}

async fn try_forward(
    shared: &Arc<Shared>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, AgentError> {
    if shared.drain.is_cancelled() {
        return Err(AgentError::Draining);
    }
    let ours = upgrade::on(&mut request);
    let (head, body) = request.into_parts();
    let engine = answer::target(&shared.engines, &head)?;
    let upgrade_to = head.headers.get(header::UPGRADE).cloned();
    let mut onward = Request::new(body);
    *onward.uri_mut() = head.uri.path_and_query().map_or_else(Default::default, |path| path.clone().into());
    *onward.headers_mut() = upgrade_headers(head.headers, &engine, upgrade_to);
    let seat = engine.seat().await;
    let mut response = ask(&engine, onward).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let theirs = upgrade::on(&mut response);
        let splice = splice(ours, theirs);
        shared.streams.spawn(async move {
            splice.await;
            drop(seat);
        });
    }
    Ok(response.map(Either::Left))
}

fn upgrade_headers(from: HeaderMap, engine: &Engine, upgrade: Option<HeaderValue>) -> HeaderMap {
    let mut headers = answer::forwarded_headers(from, engine);
    if let Some(protocol) = upgrade {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    headers.remove(HeaderName::from_static(ERROR_HEADER));
    headers
}

async fn ask(engine: &Engine, request: Request<Incoming>) -> Result<Response<Incoming>, AgentError> {
    let tcp = timeout(CONNECT_TIMEOUT, TcpStream::connect(engine.address)).await;
    let tcp = tcp.ok().and_then(Result::ok).ok_or(AgentError::EngineUnreachable)?;
    let handshake = client::conn::http1::handshake(TokioIo::new(tcp)).await;
    let (mut sender, connection) = handshake.map_err(|_| AgentError::EngineUnreachable)?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(|error| match error.is_parse() || error.is_parse_too_large() {
        true => AgentError::BadAnswer,
        false => AgentError::EngineUnreachable,
    })
}

async fn splice(ours: upgrade::OnUpgrade, theirs: upgrade::OnUpgrade) {
    let (Ok(ours), Ok(theirs)) = tokio::join!(ours, theirs) else { return };
    let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
    let spliced =
        copy_bidirectional_with_sizes(&mut ours, &mut theirs, SPLICE_BUFFER_BYTES, SPLICE_BUFFER_BYTES).await;
    debug!(?spliced, "dedicated connection ended");
}
