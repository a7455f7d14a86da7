//! A multiplexed connection: the server's requests as HTTP/2 streams.

use std::{
    future::poll_fn,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{
    message::ProxyMode,
    tunnel::{
        BULK_STREAM_WINDOW_BYTES, CONNECTION_WINDOW_BYTES, FRAME_BYTES, HEADER_LIST_BYTES_MAX,
        SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, STREAMS_PER_CONNECTION_MAX,
    },
};
use h2::{
    RecvStream,
    server::{Connection, SendResponse},
};
use http::Request;
use tokio::time::timeout;
use tracing::debug;

use super::{Error, Shared, answer, dial::ProxyStream, engine_pool::EnginePool};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until the server is done, the connection breaks, or a drain has let the last stream end.
pub async fn serve(
    shared: &Arc<Shared>,
    pool: &Arc<EnginePool>,
    io: ProxyStream,
    mode: ProxyMode,
) -> Result<(), Error> {
    let handshake = builder(mode).handshake(io);
    let mut connection = timeout(HANDSHAKE_TIMEOUT, handshake).await.map_err(|_| Error::Timeout)??;
    let mut draining = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(stream) => accept(shared, pool, stream?),
                None => break,
            },
            () = shared.drain.cancelled(), if !draining => {
                draining = true;
                connection.graceful_shutdown();
            }
        }
    }
    close(connection).await;
    Ok(())
}

fn builder(mode: ProxyMode) -> h2::server::Builder {
    let window = match mode {
        ProxyMode::Bulk => BULK_STREAM_WINDOW_BYTES,
        ProxyMode::Multiplexed | ProxyMode::Dedicated => STREAM_WINDOW_BYTES,
    };
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(window)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    builder
}

fn accept(
    shared: &Arc<Shared>,
    pool: &Arc<EnginePool>,
    (request, respond): (Request<RecvStream>, SendResponse<Bytes>),
) {
    let (context, pool) = (shared.clone(), pool.clone());
    shared.streams.spawn(async move {
        let began = Instant::now();
        let path = tracing::enabled!(tracing::Level::DEBUG).then(|| request.uri().path().to_owned());
        let outcome = answer::answer(&context.engines, &pool, request, respond).await;
        if let Some(path) = path {
            debug!(
                path,
                outcome = outcome.as_str(),
                elapsed_ms = began.elapsed().as_millis(),
                "served a request"
            );
        }
    });
}

/// The last frames (GOAWAY, resets) deserve to leave before the socket does.
async fn close(mut connection: Connection<ProxyStream, Bytes>) {
    let _ = timeout(Duration::from_secs(2), poll_fn(|context| connection.poll_closed(context))).await;
}
