//! Proxy connections: dialled when the server asks, then served until either side is done.

mod answer;
mod dedicated;
mod dial;
mod engine_pool;
mod exchange;
mod serve;
mod upload;

use std::{num::NonZeroUsize, sync::Arc};

use common::{
    ProxyConnId,
    message::{AgentMessage, ProxyMode},
    workers::Workers,
};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

pub use dial::{Link, connector, tune};

use crate::engine::Engines;
use engine_pool::EnginePool;

/// The most proxy connections that all servers together may have open on this agent.
const CONNECTIONS_MAX: usize = 256;

/// Why a proxy connection was not made or ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The proxy port cannot be reached, or TLS failed.
    #[error("dialling the proxy port: {0}")]
    Dial(#[from] std::io::Error),
    /// It took too long.
    #[error("dialling the proxy port took too long")]
    Timeout,
    /// As many as this agent allows are open.
    #[error("too many proxy connections")]
    TooMany,
    /// The server broke HTTP/2.
    #[error("HTTP/2: {0}")]
    H2(#[from] h2::Error),
    /// The server broke HTTP/1.1 on a dedicated connection.
    #[error("HTTP/1.1: {0}")]
    Http1(#[from] hyper::Error),
}

/// All proxy connections of this agent, to whichever server.
#[derive(Debug, Clone)]
pub struct Tunnel {
    shared: Arc<Shared>,
}

/// What every stream of every connection needs.
#[derive(Debug)]
struct Shared {
    workers: Workers,
    pools: Vec<Arc<EnginePool>>,
    engines: Engines,
    drain: CancellationToken,
    streams: TaskTracker,
    connections: TaskTracker,
}

impl Tunnel {
    /// Without connections yet; `workers` threads will share them.
    ///
    /// # Errors
    /// When no threads can be had.
    pub fn new(engines: Engines, workers: NonZeroUsize) -> std::io::Result<Self> {
        let workers = Workers::start("tunnel", workers)?;
        let pools = (0..workers.count()).map(|_| Arc::default()).collect();
        let (drain, streams, connections) = <(CancellationToken, TaskTracker, TaskTracker)>::default();
        Ok(Self { shared: Arc::new(Shared { workers, pools, engines, drain, streams, connections }) })
    }

    /// Dials in the background; a failure goes to `replies` so that nobody at the server waits in vain.
    pub fn dial(
        &self,
        link: &Arc<Link>,
        proxy_conn_id: ProxyConnId,
        mode: ProxyMode,
        replies: &mpsc::Sender<AgentMessage>,
    ) {
        let (shared, link, replies) = (self.shared.clone(), link.clone(), replies.clone());
        let index = shared.workers.take_turn();
        let handle = shared.workers.handle(index).clone();
        let connections = shared.connections.clone();
        connections.spawn_on(
            async move {
                match connect(&shared, &link, proxy_conn_id).await {
                    Ok(io) => run(&shared, index, io, mode).await,
                    Err(error) => {
                        warn!(%error, "no proxy connection");
                        let reason = error.to_string().chars().take(200).collect();
                        let _ = replies.try_send(AgentMessage::ProxyConnFailed { proxy_conn_id, reason });
                    }
                }
            },
            &handle,
        );
    }

    /// How many requests are being served.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.shared.streams.len()
    }

    /// Lets running requests end and takes no further ones; completes when all have ended.
    pub async fn drain(&self) {
        self.shared.drain.cancel();
        self.shared.streams.close();
        self.shared.streams.wait().await;
        self.shared.connections.close();
        self.shared.connections.wait().await;
    }
}

async fn connect(shared: &Shared, link: &Link, id: ProxyConnId) -> Result<dial::ProxyStream, Error> {
    // This very task is among the tracked.
    if shared.connections.len() > CONNECTIONS_MAX {
        return Err(Error::TooMany);
    }
    link.dial(id).await
}

async fn run(shared: &Arc<Shared>, worker: usize, io: dial::ProxyStream, mode: ProxyMode) {
    let pool = &shared.pools[worker];
    let ended = match mode {
        ProxyMode::Multiplexed | ProxyMode::Bulk => serve::serve(shared, pool, io, mode).await,
        ProxyMode::Dedicated => dedicated::serve(shared, io).await,
    };
    if let Err(error) = ended {
        debug!(%error, ?mode, "proxy connection ended");
    }
}
