//! One caller's connection: permit, TLS, HTTP/1.1 or HTTP/2, and the end of it.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, trace};

use super::{
    AddressPlace, Door,
    body::Body,
    guard::{Guard, Signals, Timers},
    reply, router,
    strict::HeadLimits,
};

/// Most requests come whole with the first read.
const FIRST_READ_BYTES: usize = 2048;
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// What a caller's connection may buffer in either direction.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
const HTTP2_STREAMS_MAX: u32 = 100;
const HTTP2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Streams that a peer opened and reset before we looked at them.
const HTTP2_RESETS_MAX: usize = 100;
const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);

/// Accepts on one of the sockets that share the port, until `shutdown`.
pub async fn serve(door: Door, listener: TcpListener, shutdown: CancellationToken) {
    loop {
        // The permit comes before the connection: what cannot be served stays in the kernel's queue.
        let Ok(permit) = door.shared.connections.clone().acquire_owned().await else { return };
        let (tcp, from) = tokio::select! {
            accepted = crate::net::accept(&listener) => accepted,
            () = shutdown.cancelled() => return,
        };
        let Some(place) = door.shared.per_address.enter(from.ip()) else {
            debug!(%from, "too many connections from this address");
            continue;
        };
        let admission = Admission { _permit: permit, _place: place };
        let door = door.clone();
        let tracker = door.shared.tracker.clone();
        tracker.spawn(async move {
            if let Err(error) = handle(door, tcp, from, admission).await {
                trace!(%from, %error, "connection ended");
            }
        });
    }
}

struct Admission {
    _permit: OwnedSemaphorePermit,
    _place: AddressPlace,
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn handle(door: Door, tcp: TcpStream, from: SocketAddr, admission: Admission) -> Ended {
    let _admission = admission;
    let limit = door.shared.limits.first_byte;
    // The rarer ways are on the heap: thousands of connections hold the memory of the widest one.
    let Some(tls) = &door.shared.tls else { return sniff(door, tcp, from).await };
    let stream = timeout(limit, tls.acceptor().accept(tcp)).await??;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        return Box::pin(http2(door, stream, from)).await;
    }
    Box::pin(http1(door, stream, Vec::new(), from)).await
}

/// Tells HTTP/2 with prior knowledge from HTTP/1.1 by the first bytes.
async fn sniff(door: Door, mut tcp: TcpStream, from: SocketAddr) -> Ended {
    let mut begun = Vec::with_capacity(FIRST_READ_BYTES);
    let mut limit = door.shared.limits.first_byte;
    loop {
        let read = tokio::select! {
            biased;
            read = timeout(limit, tcp.read_buf(&mut begun)) => read??,
            () = door.shared.drain.cancelled() => return Ok(()),
        };
        if read == 0 {
            return Ok(());
        }
        if begun.starts_with(HTTP2_PREFACE) {
            return Box::pin(http2(door, Begun::new(tcp, begun), from)).await;
        }
        if !HTTP2_PREFACE.starts_with(&begun) {
            return http1(door, tcp, begun, from).await;
        }
        limit = door.shared.limits.head;
    }
}

async fn http1<T>(door: Door, io: T, begun: Vec<u8>, from: SocketAddr) -> Ended
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &door.shared.limits;
    let head = HeadLimits { bytes_max: limits.heads_bytes_max, target_bytes_max: limits.target_bytes_max };
    let timers = Timers {
        first_byte: limits.first_byte,
        head: limits.head,
        keep_alive: limits.keep_alive,
        stalled: limits.stalled_caller,
    };
    let signals = Arc::<Signals>::default();
    let guard = Guard::new(io, begun, head, timers, signals.clone(), reply::farewell);
    let drain = door.shared.drain.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (door, signals) = (door.clone(), signals.clone());
        async move {
            let busy = signals.begin();
            let mut response = router::route(&door, request, from.ip(), Some(&signals)).await;
            response.body_mut().hold(busy);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = conn::http1::Builder::new()
        .max_buf_size(limits_buffer(head))
        .serve_connection(TokioIo::new(guard), service)
        .with_upgrades();
    tokio::pin!(connection);
    // The connection first: a request that has been read is answered, whatever else has happened.
    tokio::select! {
        biased;
        ended = connection.as_mut() => return Ok(ended?),
        () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

/// The library must hold a whole head, since the guard gives it whole heads.
fn limits_buffer(head: HeadLimits) -> usize {
    BUFFER_BYTES_MAX.max(head.bytes_max + 4096)
}

async fn http2<T>(door: Door, io: T, from: SocketAddr) -> Ended
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let header_bytes = u32::try_from(door.shared.limits.heads_bytes_max).unwrap_or(u32::MAX);
    let drain = door.shared.drain.clone();
    let asked = Arc::new(AtomicBool::new(false));
    let silent = silence(door.shared.limits.head, asked.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let door = door.clone();
        asked.store(true, Ordering::Relaxed);
        async move {
            let response: Response<Body> = router::route(&door, request, from.ip(), None).await;
            Ok::<_, Infallible>(response.map(|body| body.paced(door.shared.limits.stalled_caller)))
        }
    });
    let connection = conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_header_list_size(header_bytes)
        .max_send_buf_size(BUFFER_BYTES_MAX)
        .max_pending_accept_reset_streams(HTTP2_RESETS_MAX)
        .max_local_error_reset_streams(HTTP2_RESETS_MAX)
        .keep_alive_interval(HTTP2_PING_EVERY)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        ended = connection.as_mut() => return Ok(ended?),
        () = silent => return Ok(()),
        () = drain.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

/// Completes when nothing was asked within `limit`: the library has no deadline of its own for a
/// handshake that never comes.
async fn silence(limit: Duration, asked: Arc<AtomicBool>) {
    tokio::time::sleep(limit).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// A stream some of whose bytes were read already.
struct Begun<T> {
    io: T,
    begun: Vec<u8>,
    at: usize,
}

impl<T> Begun<T> {
    const fn new(io: T, begun: Vec<u8>) -> Self {
        Self { io, begun, at: 0 }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Begun<T> {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = &this.begun[this.at..];
        if left.is_empty() {
            return std::pin::Pin::new(&mut this.io).poll_read(context, buf);
        }
        let count = left.len().min(buf.remaining());
        buf.put_slice(&left[..count]);
        this.at += count;
        std::task::Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Begun<T> {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        std::pin::Pin::new(&mut self.get_mut().io).poll_write(context, buf)
    }

    fn poll_write_vectored(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> std::task::Poll<io::Result<usize>> {
        std::pin::Pin::new(&mut self.get_mut().io).poll_write_vectored(context, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}
