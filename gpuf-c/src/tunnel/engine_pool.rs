//! Kept-alive connections to the engines, one pool per worker.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use super::upload::Upload;

/// Engines close idle connections after five seconds or more; ours are not used after this.
const IDLE_MAX: Duration = Duration::from_secs(3);
/// Idle connections that are kept per engine.
const IDLE_CONNECTIONS_MAX: usize = 128;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an engine gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It takes no connections.
    #[error("connecting: {0}")]
    Connect(#[from] std::io::Error),
    /// It took no connection in time.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// The connection ended before an answer.
    #[error("no answer: {0}")]
    NoAnswer(#[source] hyper::Error),
    /// What came was not HTTP.
    #[error("not HTTP: {0}")]
    BadAnswer(#[source] hyper::Error),
}

/// Idle connections by address. The lock is never contended: a pool belongs to one worker.
#[derive(Debug, Default)]
pub struct EnginePool {
    idle: Mutex<HashMap<SocketAddr, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Upload>,
    since: Instant,
}

/// A connection in use; goes back into its pool by [`Lease::give_back`], and is closed by dropping.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<EnginePool>,
    address: SocketAddr,
    sender: SendRequest<Upload>,
}

impl Lease {
    /// Keeps the connection for the next request, once this one's answer was read to its end.
    pub fn give_back(self) {
        if self.sender.is_closed() {
            return;
        }
        let mut idle = self.pool.lock();
        let waiting = idle.entry(self.address).or_default();
        if waiting.len() < IDLE_CONNECTIONS_MAX {
            waiting.push(Idle { sender: self.sender, since: Instant::now() });
        }
    }
}

impl EnginePool {
    /// Sends a request; on an idle connection if there is one.
    ///
    /// An idle connection that turns out to be closed costs one more try on a fresh one, as long as
    /// the request itself did not leave.
    pub async fn send(
        self: &Arc<Self>,
        address: SocketAddr,
        mut request: Request<Upload>,
    ) -> Result<(Response<Incoming>, Lease), Error> {
        while let Some(mut sender) = self.take_idle(address) {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, self.lease(address, sender))),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(classify(failed.into_error())),
                },
            }
        }
        let mut sender = connect(address).await?;
        let response = sender.send_request(request).await.map_err(classify)?;
        Ok((response, self.lease(address, sender)))
    }

    fn lease(self: &Arc<Self>, address: SocketAddr, sender: SendRequest<Upload>) -> Lease {
        Lease { pool: self.clone(), address, sender }
    }

    fn take_idle(&self, address: SocketAddr) -> Option<SendRequest<Upload>> {
        let mut idle = self.lock();
        let waiting = idle.get_mut(&address)?;
        let Idle { sender, since } = waiting.pop()?;
        if since.elapsed() <= IDLE_MAX {
            return Some(sender);
        }
        // The last one given back is the freshest: the others are older still.
        waiting.clear();
        None
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fresh connection to an engine.
pub async fn dial(address: SocketAddr) -> Result<TokioIo<TcpStream>, Error> {
    let tcp = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let tcp = tcp.map_err(|_| Error::ConnectTimeout)??;
    tcp.set_nodelay(true)?;
    Ok(TokioIo::new(tcp))
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Upload>, Error> {
    let io = dial(address).await?;
    let (sender, connection) = http1::Builder::new().handshake(io).await.map_err(classify)?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Whether an engine was silent or talked nonsense.
pub fn classify(error: hyper::Error) -> Error {
    if error.is_parse() || error.is_parse_too_large() {
        Error::BadAnswer(error)
    } else {
        Error::NoAnswer(error)
    }
}
