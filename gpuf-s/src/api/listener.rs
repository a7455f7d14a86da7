//! Accepts operators' connections: few, patient, and ended at shutdown.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::gate::Ends;

/// Connections at once.
const CONNECTIONS_MAX: usize = 128;
/// From the start of a connection, or the end of its last answer, to the end of the next head.
const HEAD_DEADLINE: Duration = Duration::from_secs(60);
const HEADS_BYTES_MAX: usize = 32 * 1024;
/// At shutdown a running answer may take this long.
const LAST_ANSWER: Duration = Duration::from_secs(5);

pub(super) async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let (connections, permits) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    while let Some((stream, permit)) = accept(&listener, &permits, &shutdown).await {
        let (router, shutdown) = (router.clone(), shutdown.clone());
        connections.spawn(async move {
            converse(stream, router, shutdown).await;
            drop(permit);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    loop {
        let next = async {
            let permit = permits.clone().acquire_owned().await.ok()?;
            Some((listener.accept().await, permit))
        };
        let (accepted, permit) = tokio::select! {
            () = shutdown.cancelled() => return None,
            next = next => next?,
        };
        match accepted {
            Ok((stream, _)) => return Some((stream, permit)),
            Err(error) => {
                // Out of descriptors, mostly: asking again at once would only burn the processor.
                tracing::warn!(%error, "the API port cannot accept");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    let (Ok(here), Ok(there)) = (stream.local_addr(), stream.peer_addr()) else { return };
    // Without it an answer waits for the client's delayed acknowledgement; it then is only slower.
    let _ = stream.set_nodelay(true);
    let ends = Ends { here: here.ip().to_canonical(), there: there.ip().to_canonical() };
    let service = service(router, ends);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEADS_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an operator's connection ended early");
    }
}

fn service(
    router: Router,
    ends: Ends,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> {
    hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ends);
        hyper::service::Service::call(&hyper_util::service::TowerToHyperService::new(router.clone()), request)
    })
}
