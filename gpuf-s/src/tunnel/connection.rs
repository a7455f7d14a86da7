//! One multiplexed proxy connection: the server is the HTTP/2 client on it.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use common::{
    message::ProxyMode,
    tunnel::{
        BULK_STREAM_WINDOW_BYTES, CONNECTION_WINDOW_BYTES, ERROR_HEADER, FRAME_BYTES, HEADER_LIST_BYTES_MAX,
        PING_EVERY, PING_TIMEOUT, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, STREAMS_PER_CONNECTION_MAX,
    },
};
use h2::{
    Ping, PingPong, RecvStream, SendStream,
    client::{Builder, SendRequest},
};
use http::{Request, response};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Error, sibling::Sibling};

/// A connection that carried nothing for this long is closed: an idle agent should cost little.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// A request's head on the tunnel.
pub type Head = Request<()>;

/// A connection that opens streams, from any thread; cheapest from its own worker's.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Bytes>,
    worker: usize,
    sibling: Arc<Sibling>,
    in_flight: AtomicU32,
    used: AtomicBool,
    stop: CancellationToken,
    ended: CancellationToken,
}

/// The answer on a stream. Dropping it resets the stream, which stops the engine.
#[derive(Debug)]
pub struct Answer {
    /// Status and headers.
    pub head: response::Parts,
    /// The body.
    pub body: Body,
}

/// The body of an answer.
#[derive(Debug)]
pub struct Body {
    stream: RecvStream,
    _sending: SendStream<Bytes>,
    place: Place,
}

impl Body {
    /// The next bytes, or `None` at the end.
    pub fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let Some(data) = ready!(self.stream.poll_data(context)) else { return self.poll_end(context) };
        let data = data.map_err(|_| self.place.0.broken())?;
        let _ = self.stream.flow_control().release_capacity(data.len());
        Poll::Ready(Some(Ok(data)))
    }

    /// An engine that broke off is told of behind what it said.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let trailers = ready!(self.stream.poll_trailers(context)).map_err(|_| self.place.0.broken())?;
        let broke_off = trailers.is_some_and(|trailers| trailers.contains_key(ERROR_HEADER));
        Poll::Ready(broke_off.then_some(Err(Error::Broken)))
    }

    /// Whether nothing follows.
    pub fn is_end(&self) -> bool {
        self.stream.is_end_stream()
    }
}

/// A stream's place on its connection.
#[derive(Debug)]
struct Place(Arc<Connection>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    /// Agrees on HTTP/2 and drives the connection on the current runtime, which is that of `worker`.
    pub async fn start(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        worker: usize,
        mode: ProxyMode,
        sibling: Sibling,
    ) -> Result<Arc<Self>, h2::Error> {
        let (sender, mut driver) = builder(mode).handshake::<_, Bytes>(io).await?;
        let ping_pong = driver.ping_pong();
        let connection = Arc::new(Self {
            sender,
            worker,
            sibling: Arc::new(sibling),
            in_flight: AtomicU32::new(0),
            used: AtomicBool::new(true),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        let (stop, ended) = (connection.stop.clone(), connection.ended.clone().drop_guard());
        let sibling = connection.sibling.clone();
        let watched = Arc::downgrade(&connection);
        tokio::spawn(async move {
            let _ended = ended;
            tokio::select! {
                result = driver => {
                    debug!(?result, "proxy connection ended");
                    if let Some(connection) = watched.upgrade() {
                        connection.notice_cut();
                    }
                }
                () = stop.cancelled() => {}
                () = keep_alive(ping_pong, &watched, &sibling) => debug!("proxy connection is dead or idle"),
            }
        });
        Ok(connection)
    }

    /// The worker that drives it.
    pub const fn worker(&self) -> usize {
        self.worker
    }

    /// Streams that run.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it takes another stream. The peer's own limit is the same: a stream above it would
    /// wait inside `h2` without anybody knowing.
    pub fn has_room(&self) -> bool {
        !self.ended.is_cancelled() && self.in_flight() < STREAMS_PER_CONNECTION_MAX
    }

    /// Whether it gave a sign of life since a sibling was lost. One that did not is asked for it.
    pub fn is_trusted(&self) -> bool {
        self.sibling.is_trusted()
    }

    /// Ends it; streams are cut.
    pub fn close(&self) {
        self.stop.cancel();
    }

    /// Completes when it has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// [`Error::Broken`] when the stream ended before a head came.
    pub async fn send(self: &Arc<Self>, head: Head, body: Bytes) -> Result<Answer, Error> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.used.store(true, Ordering::Relaxed);
        let place = Place(self.clone());
        let mut sender = self.sender.clone();
        let bodyless = body.is_empty();
        let (response, mut sending) = sender.send_request(head, bodyless).map_err(|_| self.broken())?;
        if !bodyless {
            // The body is in memory already: `h2` holds it by reference and sends as the window allows.
            sending.send_data(body, true).map_err(|_| self.broken())?;
        }
        let (head, stream) = response.await.map_err(|_| self.broken())?.into_parts();
        Ok(Answer { head, body: Body { stream, _sending: sending, place } })
    }

    /// Why a stream failed.
    fn broken(&self) -> Error {
        self.notice_cut();
        Error::Broken
    }

    /// Casts doubt on the siblings if the connection ended without the peer's farewell. A failed stream
    /// does this before it tells, so that who tries again meets no sibling that was cut at the same time.
    fn notice_cut(&self) {
        // A stream's own error need not say what became of the connection.
        let state = self.sender.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        if matches!(state, Poll::Ready(Err(error)) if error.is_io()) {
            self.sibling.lose();
        }
    }
}

fn builder(mode: ProxyMode) -> Builder {
    let window = match mode {
        ProxyMode::Bulk => BULK_STREAM_WINDOW_BYTES,
        ProxyMode::Multiplexed | ProxyMode::Dedicated => STREAM_WINDOW_BYTES,
    };
    let mut builder = Builder::new();
    builder
        .initial_window_size(window)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .enable_push(false);
    builder
}

/// Completes when the peer left a ping unanswered or nothing was sent for long.
async fn keep_alive(ping_pong: Option<PingPong>, connection: &Weak<Connection>, sibling: &Sibling) {
    let Some(mut ping_pong) = ping_pong else { return std::future::pending().await };
    let mut idle = Duration::ZERO;
    loop {
        if timeout(PING_EVERY, sibling.doubted()).await.is_err() {
            let Some(connection) = connection.upgrade() else { return };
            let busy = connection.used.swap(false, Ordering::Relaxed) || connection.in_flight() > 0;
            idle = if busy { Duration::ZERO } else { idle + PING_EVERY };
        }
        let sign = sibling.ask();
        let pinged = timeout(PING_TIMEOUT, ping_pong.ping(Ping::opaque())).await;
        if !matches!(pinged, Ok(Ok(_))) {
            return sibling.lose();
        }
        if idle >= IDLE_MAX {
            return;
        }
        sibling.prove_alive(sign);
    }
}
