//! Kept-alive connections to the engines, one pool per worker.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::response;

use super::{
    exchange::{Error, Exchange, Outgoing},
    upload::Upload,
};

/// Engines close idle connections after five seconds or more; ours are not used after this.
const IDLE_MAX: Duration = Duration::from_secs(3);
/// Idle connections that are kept per engine.
const IDLE_CONNECTIONS_MAX: usize = 128;

/// Idle connections by address. The lock is never contended: a pool belongs to one worker.
#[derive(Debug, Default)]
pub struct EnginePool {
    idle: Mutex<HashMap<SocketAddr, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    exchange: Exchange,
    since: Instant,
}

impl EnginePool {
    /// Sends a request; on an idle connection if there is one.
    ///
    /// An engine may close an idle connection in the moment that it is used: then, and only if all of
    /// the request is still there, it is sent once more on a fresh one.
    pub async fn ask(
        &self,
        address: SocketAddr,
        request: &Outgoing<'_>,
        body: &mut Upload,
    ) -> Result<(response::Parts, Exchange), Error> {
        if let Some(mut exchange) = self.take(address) {
            match exchange.ask(request, body).await {
                Ok(head) => return Ok((head, exchange)),
                Err(Error::Io(_) | Error::Closed) if matches!(body, Upload::Whole(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let mut exchange = Exchange::dial(address).await?;
        let head = exchange.ask(request, body).await?;
        Ok((head, exchange))
    }

    /// Keeps a connection for the next request, if its answer was read to the end.
    pub fn give_back(&self, address: SocketAddr, exchange: Exchange) {
        if !exchange.is_reusable() {
            return;
        }
        let mut idle = self.idle();
        let waiting = idle.entry(address).or_default();
        if waiting.len() < IDLE_CONNECTIONS_MAX {
            waiting.push(Idle { exchange, since: Instant::now() });
        }
    }

    /// The freshest idle connection that is still open.
    fn take(&self, address: SocketAddr) -> Option<Exchange> {
        let mut idle = self.idle();
        let waiting = idle.get_mut(&address)?;
        while let Some(Idle { exchange, since }) = waiting.pop() {
            if since.elapsed() > IDLE_MAX {
                // The others are older still.
                waiting.clear();
                return None;
            }
            if !exchange.is_stale() {
                return Some(exchange);
            }
        }
        None
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<SocketAddr, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
