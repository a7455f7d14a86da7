//! The control port: enrolment of strangers with a token, sessions of agents with a certificate.

mod enrolment;
mod session;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use common::{
    AgentId,
    message::Welcome,
    session::{ServerTimers, Violation},
    tunnel::{ALPN_CONTROL, ALPN_ENROL},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info};

use crate::{
    auth::Ca,
    registry::Registry,
    roster::Roster,
    store::{Name, Store},
    telemetry::Recorder,
    tunnel::Pairing,
};

/// Connections that may be in their handshake or enrolment at once.
const HANDSHAKES_MAX: usize = 4096;

/// Why a connection to the control port ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection broke, or TLS failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The peer took too long.
    #[error("too slow")]
    Timeout,
    /// The peer broke the rules of the session.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// The peer sent something that is no frame.
    #[error("{0}")]
    Frame(#[from] common::codec::Error),
    /// The peer spoke about a proxy connection of another agent.
    #[error("spoke for another agent")]
    NotYours,
    /// This agent's certificate was revoked.
    #[error("the agent is revoked")]
    Revoked,
    /// The agent has a session here already, by another address.
    #[error("it came by a second address of this server")]
    SameServer,
    /// The peer closed.
    #[error("closed by the agent")]
    Closed,
    /// A later session of the same agent took over.
    #[error("superseded")]
    Superseded,
    /// The server is going away.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// TLS for the two kinds of peers.
#[derive(Debug, Clone)]
pub struct TlsConfigs {
    /// Without a client certificate.
    pub enrolment: Arc<rustls::ServerConfig>,
    /// With one.
    pub session: Arc<rustls::ServerConfig>,
}

/// The control port.
#[derive(Debug, Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

/// What every session needs.
#[derive(Debug)]
pub struct Shared {
    /// Where agents are entered.
    pub registry: Registry,
    /// The other servers.
    pub roster: Roster,
    /// For tunnels.
    pub pairing: Pairing,
    /// Issues certificates.
    pub ca: Arc<Ca>,
    /// Tokens and agents.
    pub store: Store,
    /// Where heartbeats and inventories are written down.
    pub recorder: Recorder,
    /// TLS.
    pub tls: TlsConfigs,
    /// Of sessions.
    pub timers: ServerTimers,
    /// For an agent to dial.
    pub dial_timeout: Duration,
    /// Told to every agent; the epoch and the other servers are filled in.
    pub welcome: Welcome,
    /// Agents up to which proxy connections are opened at login.
    pub warm_agents_max: usize,
    /// Streams that run are cut after this at a shutdown.
    pub drain: Duration,
    /// Ends every session, after the drain.
    pub ended: CancellationToken,
}

impl Shared {
    /// Whose agent this is, unless it was removed. While the store is away the certificate alone decides.
    async fn admit(&self, agent: AgentId) -> Result<Option<Name>, Error> {
        match self.store.agent(agent).await {
            Ok(Some(row)) if row.revoked.is_some() => Err(Error::Revoked),
            Ok(row) => Ok(row.and_then(|row| row.owner)),
            Err(error) => {
                debug!(%error, "an agent is admitted by its certificate alone");
                Ok(None)
            }
        }
    }
}

impl Control {
    /// From its parts.
    pub fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Accepts until `shutdown`, then tells every agent and waits for the sessions to end.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let sessions = TaskTracker::new();
        loop {
            let Ok(permit) = handshakes.clone().acquire_owned().await else { return };
            let (tcp, from) = tokio::select! {
                accepted = crate::net::accept(&listener) => accepted,
                () = shutdown.cancelled() => break,
            };
            let (control, shutdown) = (self.clone(), shutdown.clone());
            sessions.spawn(async move {
                match control.handshake(tcp).await {
                    Ok(stream) => control.serve(stream, from, permit, shutdown).await,
                    Err(error) => debug!(%from, %error, audit = true, "no session"),
                }
            });
        }
        // A successor may listen here while the sessions end.
        drop(listener);
        sessions.close();
        sessions.wait().await;
    }

    async fn handshake(&self, tcp: TcpStream) -> Result<Box<TlsStream<TcpStream>>, Error> {
        tcp.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&tcp).set_tcp_user_timeout(Some(crate::net::USER_TIMEOUT));
        let accept = async {
            let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp).await?;
            let offers = |alpn: &[u8]| {
                start.client_hello().alpn().is_some_and(|mut names| names.any(|name| name == alpn))
            };
            // Only who asks for nothing but a certificate may come without one.
            let enrols = offers(ALPN_ENROL) && !offers(ALPN_CONTROL);
            let config = if enrols { &self.shared.tls.enrolment } else { &self.shared.tls.session };
            start.into_stream(config.clone()).await
        };
        let stream = timeout(self.shared.timers.login, accept).await.map_err(|_| Error::Timeout)??;
        Ok(Box::new(stream))
    }

    async fn serve(
        &self,
        stream: Box<TlsStream<TcpStream>>,
        from: SocketAddr,
        permit: tokio::sync::OwnedSemaphorePermit,
        shutdown: CancellationToken,
    ) {
        let Some(agent) = crate::tunnel::agent_of(&stream) else {
            let enrolled = enrolment::serve(&self.shared, *stream, from).await;
            drop(permit);
            return enrolled.unwrap_or_else(|error| debug!(%from, %error, "enrolment ended"));
        };
        drop(permit);
        let ended = session::serve(&self.shared, stream, agent, from, shutdown).await;
        if let Err(reason) = ended {
            info!(agent = %agent.short(), %from, %reason, "agent's session ended");
        }
    }
}
