//! The control session: logs in, reports, and dials proxy connections when asked.

mod backoff;
mod sessions;
mod wire;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    ServerId,
    message::{AgentMessage, Heartbeat, Login, ProxyMode, Welcome},
    session::{AgentEvent, AgentSession, Violation},
    tunnel::{ALPN_CONTROL, ALPN_PROXY},
};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use backoff::Backoff;
pub use sessions::Sessions;

use crate::{
    engine::Engines,
    identity::{self, Identity, Membership, Renewal},
    telemetry::{Pulse, Samples},
    tunnel::{Link, Tunnel, connector, tune},
};
use sessions::Place;
use wire::Wire;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages that may wait for the server to read.
const REPLIES_MAX: usize = 256;
/// A certificate that is past half its life is looked at this often.
const RENEWAL_EVERY: Duration = Duration::from_secs(3600);

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server cannot be reached, or the connection broke.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Connecting took too long.
    #[error("the server does not answer")]
    Timeout,
    /// What the server sent is no frame.
    #[error("{0}")]
    Frame(#[from] common::codec::Error),
    /// The server broke the rules, or fell silent.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// The server closed.
    #[error("closed by the server")]
    Closed,
    /// The server does not want this agent.
    #[error("refused by the server: {0}")]
    Refused(String),
    /// Another process with the same identity took over.
    #[error("another process with this identity has connected; two agents cannot share a data directory")]
    Superseded,
    /// Another address has led to this server before.
    #[error("this address leads to a server that another session is held with")]
    SameServer(ServerId),
    /// Certificate, key or address cannot be used.
    #[error("{0}")]
    Identity(#[from] identity::Error),
}

/// What every session of this agent shares.
#[derive(Debug, Clone)]
pub struct Context {
    /// What is served.
    pub engines: Engines,
    /// How.
    pub tunnel: Tunnel,
    /// What is told at login; engines and servers are filled in.
    pub login: Login,
    /// How this host is.
    pub pulse: Pulse,
    /// The sessions that live.
    pub sessions: Sessions,
    /// The agent is leaving.
    pub drain: CancellationToken,
    /// The agent has left.
    pub done: CancellationToken,
}

/// A server to hold a session with.
#[derive(Debug, Clone)]
pub struct Server {
    /// Who this agent is there.
    pub membership: Membership,
    /// `host:port` of its control port.
    pub address: String,
    /// The proxy port, in place of the one that it names.
    pub proxy_port: Option<u16>,
    /// Whether it was joined, and not told of by another.
    pub joined: bool,
}

impl Server {
    /// The one that was joined.
    #[must_use]
    pub fn joined(membership: Membership, proxy_port: Option<u16>) -> Self {
        let address = membership.joined().to_owned();
        Self { membership, address, proxy_port, joined: true }
    }

    /// Another one of the same gateway: a port that was given for one of them says nothing about it.
    #[must_use]
    pub const fn told(membership: Membership, address: String) -> Self {
        Self { membership, address, proxy_port: None, joined: false }
    }
}

/// How far a session came before it ended.
#[derive(Debug)]
pub struct Ended {
    /// Why it ended.
    pub error: Error,
    /// How long it was welcome.
    pub lived: Option<Duration>,
}

/// One session with `server`, to its end. `moved` is cancelled when the server is going away: a session
/// with its successor is due, while streams that run here go on to their end.
pub async fn serve(context: Context, server: Server, moved: CancellationToken) -> Ended {
    let mut session = match Session::open(&context, &server).await {
        Ok(session) => session,
        Err(error) => return Ended { error, lived: None },
    };
    let error = match session.run(&moved).await {
        Ok(()) => Error::Closed,
        Err(error) => error,
    };
    Ended { error, lived: session.welcomed.as_ref().map(|welcomed| welcomed.since.elapsed()) }
}

struct Session<'a> {
    context: &'a Context,
    server: &'a Server,
    wire: Wire,
    rules: AgentSession,
    engines: Engines,
    renewal: Option<Renewal>,
    welcomed: Option<Welcomed>,
}

/// What a session has from its welcome on.
struct Welcomed {
    since: Instant,
    place: Place,
    samples: Samples,
    proxy: String,
    linked: Arc<Identity>,
    link: Arc<Link>,
}

impl<'a> Session<'a> {
    async fn open(context: &'a Context, server: &'a Server) -> Result<Self, Error> {
        let name = identity::server_name(&server.address)?;
        let config = server.membership.identity().tls(ALPN_CONTROL)?;
        let dial = async {
            let tcp = TcpStream::connect(&server.address).await?;
            tune(&tcp);
            TlsConnector::from(Arc::new(config)).connect(name, tcp).await
        };
        let stream = timeout(CONNECT_TIMEOUT, dial).await.map_err(|_| Error::Timeout)??;
        let engines = context.engines.clone();
        let servers = context.sessions.held_for(server);
        let login = Login { engines: engines.reports(), servers, ..context.login.clone() };
        let (rules, first) = AgentSession::new(login, Instant::now());
        let mut wire = Wire::new(stream);
        wire.send(&first).await?;
        Ok(Self { context, server, wire, rules, engines, renewal: None, welcomed: None })
    }

    async fn run(&mut self, moved: &CancellationToken) -> Result<(), Error> {
        let (replies, mut queue) = mpsc::channel(REPLIES_MAX);
        let mut renewal = tokio::time::interval(RENEWAL_EVERY);
        let mut draining = false;
        loop {
            let due = tokio::time::Instant::from_std(self.rules.next_tick());
            let live = self.welcomed.is_some();
            tokio::select! {
                message = self.wire.receive() => {
                    let (answer, event) = self.rules.receive(message?, Instant::now())?;
                    if let Some(answer) = answer {
                        self.wire.send(&answer).await?;
                    }
                    if let Some(event) = event {
                        self.act(event, &replies, moved)?;
                    }
                }
                Some(reply) = queue.recv() => self.wire.send(&reply).await?,
                () = self.engines.changed(), if live => self.report().await?,
                sample = next_sample(&mut self.welcomed) => {
                    self.wire.send(&AgentMessage::Heartbeat((*sample).clone())).await?;
                }
                _ = renewal.tick(), if live => self.ask_for_renewal().await?,
                () = tokio::time::sleep_until(due) => self.rules.tick(Instant::now())?,
                () = self.context.drain.cancelled(), if live && !draining => {
                    draining = true;
                    self.wire.send(&AgentMessage::Draining).await?;
                }
                () = self.context.done.cancelled() => {
                    self.wire.close().await;
                    return Ok(());
                }
            }
        }
    }

    fn act(
        &mut self,
        event: AgentEvent,
        replies: &mpsc::Sender<AgentMessage>,
        moved: &CancellationToken,
    ) -> Result<(), Error> {
        match event {
            AgentEvent::Welcomed(welcome) => self.welcome(welcome)?,
            AgentEvent::Refused { reason } => return Err(Error::Refused(reason)),
            AgentEvent::Dial { proxy_conn_id, mode } => self.dial(proxy_conn_id, mode, replies)?,
            AgentEvent::Drain { deadline } => {
                let deadline_s = deadline.as_secs();
                info!(server = self.server.address, deadline_s, "the server is going away");
                moved.cancel();
            }
            AgentEvent::Superseded => return Err(Error::Superseded),
            AgentEvent::SameServer(id) => return Err(Error::SameServer(id)),
            AgentEvent::Certificate { chain_der } => self.take_certificate(chain_der),
            AgentEvent::Servers(others) => {
                if let Some(welcomed) = &self.welcomed {
                    debug!(server = self.server.address, ?others, "told of the other servers");
                    welcomed.place.set_others(others);
                }
            }
        }
        Ok(())
    }

    fn welcome(&mut self, welcome: Welcome) -> Result<(), Error> {
        let port = self.server.proxy_port.unwrap_or(welcome.proxy_port);
        let host = self.server.address.rsplit_once(':').map_or("", |(host, _)| host);
        let proxy = format!("{host}:{port}");
        let every = Duration::from_millis(welcome.heartbeat_every_ms.max(500).into());
        info!(server = self.server.address, version = welcome.version, id = %welcome.server.short(), "connected");
        let linked = self.server.membership.identity();
        self.welcomed = Some(Welcomed {
            since: Instant::now(),
            place: self.context.sessions.enter(self.server, welcome.server, welcome.servers),
            samples: self.context.pulse.every(every),
            link: Arc::new(self.link(&linked, &proxy)?),
            linked,
            proxy,
        });
        Ok(())
    }

    fn link(&self, identity: &Identity, proxy: &str) -> Result<Link, Error> {
        Ok(Link {
            address: proxy.to_owned(),
            name: identity::server_name(&self.server.address)?,
            connector: connector(identity.tls(ALPN_PROXY)?),
        })
    }

    fn dial(
        &mut self,
        id: common::ProxyConnId,
        mode: ProxyMode,
        replies: &mpsc::Sender<AgentMessage>,
    ) -> Result<(), Error> {
        let Some(mut welcomed) = self.welcomed.take() else { return Ok(()) };
        let identity = self.server.membership.identity();
        // A session outlives the certificate that it began with: what it dials later needs the renewed one.
        if !Arc::ptr_eq(&identity, &welcomed.linked) {
            welcomed.link = Arc::new(self.link(&identity, &welcomed.proxy)?);
            welcomed.linked = identity;
        }
        self.context.tunnel.dial(&welcomed.link, id, mode, replies);
        self.welcomed = Some(welcomed);
        Ok(())
    }

    async fn report(&mut self) -> Result<(), Error> {
        let engines = self.engines.reports();
        debug!(engines = engines.len(), "engines changed");
        self.wire.send(&AgentMessage::Engines(engines)).await
    }

    async fn ask_for_renewal(&mut self) -> Result<(), Error> {
        let due = self.server.membership.renewal_due(std::time::SystemTime::now(), Instant::now())?;
        let Some(renewal) = due else { return Ok(()) };
        let request_der = renewal.request_der.clone();
        self.renewal = Some(renewal);
        self.wire.send(&AgentMessage::RenewCertificate { request_der }).await
    }

    fn take_certificate(&mut self, chain_der: Vec<Vec<u8>>) {
        let Some(renewal) = self.renewal.take() else { return };
        match self.server.membership.renew(renewal, chain_der) {
            Ok(()) => info!("the certificate was renewed"),
            Err(error) => warn!(%error, "the certificate was not renewed"),
        }
    }
}

/// For ever without a welcome.
async fn next_sample(welcomed: &mut Option<Welcomed>) -> Arc<Heartbeat> {
    match welcomed {
        Some(welcomed) => welcomed.samples.next().await,
        None => std::future::pending().await,
    }
}
