//! All proxy connections of an agent, seen as one thing that opens streams.

mod accept;
mod connection;
mod pairing;
mod sibling;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use common::{
    AgentId, ProxyConnId,
    message::{ProxyMode, ServerMessage},
    tunnel::CONNECTIONS_PER_AGENT,
};
use tokio::{sync::mpsc, time::timeout_at};
use tracing::{debug, info};

pub use accept::{Listener, ProxyStream, agent_of};
pub use connection::{Answer, Body, Connection, Head};
pub use pairing::{NotYours, Pairing, Presented};
use sibling::Siblings;

/// An agent that just failed to dial is not asked again before this.
const DIAL_PAUSE: Duration = Duration::from_millis(250);

/// Why a request got no stream, or no answer on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The agent did not dial in time, said that it cannot, or its session ended.
    #[error("the agent opened no proxy connection")]
    NoConnection,
    /// As many connections as the server allows wait for their agent.
    #[error("too many proxy connections are awaited")]
    TooManyAwaited,
    /// The connection broke, or the agent refused the stream, before an answer began.
    #[error("the proxy connection broke before an answer")]
    Broken,
}

/// The tunnel to one agent's session.
#[derive(Debug, Clone)]
pub struct Tunnel {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    agent: AgentId,
    pairing: Pairing,
    orders: mpsc::Sender<ServerMessage>,
    dial_timeout: Duration,
    connections: ArcSwap<Vec<Arc<Connection>>>,
    bulk: ArcSwap<Vec<Arc<Connection>>>,
    dialling: Mutex<Dialling>,
    siblings: Siblings,
    closed: AtomicBool,
}

/// Connections that were asked for and are not there yet.
#[derive(Debug, Default)]
struct Dialling {
    multiplexed: usize,
    bulk: usize,
    hold_until: Option<Instant>,
}

impl Dialling {
    const fn count(&mut self, mode: ProxyMode) -> &mut usize {
        match mode {
            ProxyMode::Bulk => &mut self.bulk,
            ProxyMode::Multiplexed | ProxyMode::Dedicated => &mut self.multiplexed,
        }
    }
}

impl Tunnel {
    /// A tunnel without connections; `orders` go to the agent's control session.
    pub fn new(
        agent: AgentId,
        pairing: Pairing,
        orders: mpsc::Sender<ServerMessage>,
        dial_timeout: Duration,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                agent,
                pairing,
                orders,
                dial_timeout,
                connections: ArcSwap::default(),
                bulk: ArcSwap::default(),
                dialling: Mutex::default(),
                siblings: Siblings::default(),
                closed: AtomicBool::new(false),
            }),
        }
    }

    /// Opens the connections before a request needs them.
    pub fn warm_up(&self) {
        self.top_up(ProxyMode::Multiplexed);
    }

    /// The connection for a stream that begins on `worker`: the one with the fewest streams among
    /// those that live there, else among all. Dials and waits if there is none.
    ///
    /// # Errors
    /// [`Error::NoConnection`] when the agent did not dial in time.
    pub async fn connection(&self, worker: usize, bulk: bool) -> Result<Arc<Connection>, Error> {
        let mode = if bulk { ProxyMode::Bulk } else { ProxyMode::Multiplexed };
        if let Some(connection) = self.pick(mode, worker) {
            return Ok(connection);
        }
        Box::pin(self.wait_for_connection(mode, worker)).await
    }

    /// A connection for one upgrade.
    ///
    /// # Errors
    /// [`Error::NoConnection`] when the agent did not dial in time.
    pub async fn dedicated(&self) -> Result<ProxyStream, Error> {
        match self.dial(ProxyMode::Dedicated).await? {
            Presented::Raw(stream) => Ok(*stream),
            Presented::Multiplexed(_) => Err(Error::NoConnection),
        }
    }

    /// How many connections live.
    pub fn connections(&self) -> usize {
        self.shared.connections.load().len() + self.shared.bulk.load().len()
    }

    /// Whoever waits for `id` need not: the agent cannot dial.
    ///
    /// # Errors
    /// [`NotYours`] when it was asked of another agent.
    pub fn fail_dial(&self, id: ProxyConnId) -> Result<(), NotYours> {
        self.shared.pairing.fail(id, self.shared.agent)
    }

    /// Opens no further connection; those that live end when the agent ends them.
    pub fn retire(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        self.shared.siblings.settle();
    }

    /// Ends every connection; streams that run are cut.
    pub fn close(&self) {
        self.retire();
        for connection in self.shared.connections.load().iter().chain(self.shared.bulk.load().iter()) {
            connection.close();
        }
    }

    fn pick(&self, mode: ProxyMode, worker: usize) -> Option<Arc<Connection>> {
        let connections = self.set(mode).load();
        let wanted = wanted(mode);
        if connections.len() < wanted {
            self.top_up(mode);
        }
        let takes_more = |one: &&Arc<Connection>| one.has_room() && one.is_trusted();
        let usable = || connections.iter().filter(takes_more);
        let lightest = |one: &&Arc<Connection>| one.in_flight();
        let home = usable().filter(|connection| connection.worker() == worker).min_by_key(lightest);
        home.or_else(|| usable().min_by_key(lightest)).cloned()
    }

    fn set(&self, mode: ProxyMode) -> &ArcSwap<Vec<Arc<Connection>>> {
        match mode {
            ProxyMode::Bulk => &self.shared.bulk,
            ProxyMode::Multiplexed | ProxyMode::Dedicated => &self.shared.connections,
        }
    }

    async fn wait_for_connection(&self, mode: ProxyMode, worker: usize) -> Result<Arc<Connection>, Error> {
        let deadline = tokio::time::Instant::now() + self.shared.dial_timeout;
        let mut paused = false;
        loop {
            let settled = self.shared.siblings.settled();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if let Some(connection) = self.pick(mode, worker) {
                return Ok(connection);
            }
            if self.is_closed() || tokio::time::Instant::now() >= deadline {
                return Err(Error::NoConnection);
            }
            // Where dialling just failed, it is tried once more after its pause: what cut the connections
            // may have cut the next one, too. An agent that keeps saying no is not waited for, unless a
            // connection was asked for a sign of life.
            let until = match self.next_dial(mode) {
                Some(next) if !paused => {
                    paused = true;
                    deadline.min(next.into())
                }
                Some(_) if !self.has_doubted(mode) => return Err(Error::NoConnection),
                _ => deadline,
            };
            let _ = timeout_at(until, settled).await;
        }
    }

    /// Whether a sign of life is awaited.
    fn has_doubted(&self, mode: ProxyMode) -> bool {
        self.set(mode).load().iter().any(|connection| !connection.is_trusted())
    }

    /// When the next dialling is due, unless one is under way.
    fn next_dial(&self, mode: ProxyMode) -> Option<Instant> {
        let mut dialling = self.dialling();
        let under_way = *dialling.count(mode) > 0;
        dialling.hold_until.filter(|_| !under_way)
    }

    /// Asks for as many connections as are missing.
    fn top_up(&self, mode: ProxyMode) {
        let missing = {
            let mut dialling = self.dialling();
            if dialling.hold_until.is_some_and(|until| Instant::now() < until) {
                return;
            }
            let under_way = dialling.count(mode);
            let missing = wanted(mode).saturating_sub(self.set(mode).load().len() + *under_way);
            *under_way += missing;
            missing
        };
        for _ in 0..missing {
            let tunnel = self.clone();
            tokio::spawn(async move { tunnel.add(mode).await });
        }
    }

    async fn add(self, mode: ProxyMode) {
        let dialled = if self.is_closed() { Err(Error::NoConnection) } else { self.dial(mode).await };
        let came = dialled.is_ok();
        if let Ok(Presented::Multiplexed(connection)) = dialled {
            self.set(mode).rcu(|connections| {
                let mut connections = Vec::clone(connections);
                connections.push(connection.clone());
                connections
            });
            self.watch(mode, connection);
        } else {
            debug!(agent = %self.shared.agent.short(), ?mode, "no proxy connection came");
        }
        self.settle(mode, came);
        self.shared.siblings.settle();
    }

    fn settle(&self, mode: ProxyMode, came: bool) {
        let mut dialling = self.dialling();
        *dialling.count(mode) -= 1;
        if !came {
            dialling.hold_until = Some(Instant::now() + DIAL_PAUSE);
        }
    }

    /// Takes the connection out when it has ended.
    fn watch(&self, mode: ProxyMode, connection: Arc<Connection>) {
        let tunnel = self.clone();
        if tunnel.is_closed() {
            connection.close();
        }
        tokio::spawn(async move {
            connection.ended().await;
            tunnel.set(mode).rcu(|connections| {
                let others = connections.iter().filter(|other| !Arc::ptr_eq(other, &connection));
                others.cloned().collect::<Vec<_>>()
            });
            tunnel.shared.siblings.settle();
        });
    }

    async fn dial(&self, mode: ProxyMode) -> Result<Presented, Error> {
        let shared = &self.shared;
        let began = Instant::now();
        let awaited =
            shared.pairing.expect(shared.agent, mode, &shared.siblings).map_err(|_| Error::TooManyAwaited)?;
        let order = ServerMessage::RequestNewProxyConn { proxy_conn_id: awaited.id(), mode };
        shared.orders.try_send(order).map_err(|_| Error::NoConnection)?;
        let presented = tokio::time::timeout(shared.dial_timeout, awaited.presented()).await;
        let presented = presented.ok().flatten().ok_or(Error::NoConnection)?;
        let open_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(agent = %shared.agent.short(), ?mode, open_ms, "opened proxy connection");
        Ok(presented)
    }

    fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    fn dialling(&self) -> MutexGuard<'_, Dialling> {
        self.shared.dialling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn wanted(mode: ProxyMode) -> usize {
    match mode {
        ProxyMode::Bulk => 1,
        ProxyMode::Multiplexed | ProxyMode::Dedicated => CONNECTIONS_PER_AGENT,
    }
}

#[cfg(test)]
mod tests;
