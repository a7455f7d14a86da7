//! The control session: logs in, reports, and dials proxy connections when asked.

mod backoff;
mod wire;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    message::{AgentMessage, Login, ProxyMode, Welcome},
    session::{AgentEvent, AgentSession, Violation},
    tunnel::{ALPN_CONTROL, ALPN_PROXY},
};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use backoff::Backoff;

use crate::{
    engine::Engines,
    identity::{self, Identity, Renewal},
    telemetry::Sampler,
    tunnel::{Link, Tunnel, connector, tune},
};
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
    /// What is told at login; engines are filled in.
    pub login: Login,
    /// Where identities are kept.
    pub data_dir: std::path::PathBuf,
    /// The proxy port, in place of the one that the server names.
    pub proxy_port: Option<u16>,
    /// The agent is leaving.
    pub drain: CancellationToken,
    /// The agent has left.
    pub done: CancellationToken,
}

/// Further servers to hold sessions with, and the identity that they know.
pub type Told = (Identity, Vec<String>);

/// How far a session came before it ended.
#[derive(Debug)]
pub struct Ended {
    /// Why it ended.
    pub error: Error,
    /// How long it was welcome.
    pub lived: Option<Duration>,
    /// As it is after a renewal.
    pub identity: Identity,
}

/// Whom a session tells of what concerns other sessions.
#[derive(Debug, Clone)]
pub struct Notices {
    /// Hears of further servers.
    pub others: mpsc::Sender<Told>,
    /// Cancelled when the server is going away: a session with its successor is due, while streams
    /// that run here go on to their end.
    pub moved: CancellationToken,
}

/// One session with the server of `identity`, to its end.
pub async fn serve(context: Context, identity: Identity, notices: Notices) -> Ended {
    let before = identity.clone();
    let mut session = match Session::open(&context, identity).await {
        Ok(session) => session,
        Err(error) => return Ended { error, lived: None, identity: before },
    };
    let error = match session.run(&notices).await {
        Ok(()) => Error::Closed,
        Err(error) => error,
    };
    Ended { error, lived: session.welcomed.map(|since| since.elapsed()), identity: session.identity }
}

struct Session<'a> {
    context: &'a Context,
    identity: Identity,
    wire: Wire,
    rules: AgentSession,
    engines: Engines,
    link: Option<Arc<Link>>,
    renewal: Option<Renewal>,
    welcomed: Option<Instant>,
    heartbeat_every: Duration,
    host: String,
}

impl<'a> Session<'a> {
    async fn open(context: &'a Context, identity: Identity) -> Result<Self, Error> {
        let name = identity::server_name(identity.server())?;
        let config = identity.tls(ALPN_CONTROL)?;
        let dial = async {
            let tcp = TcpStream::connect(identity.server()).await?;
            tune(&tcp);
            TlsConnector::from(Arc::new(config)).connect(name, tcp).await
        };
        let stream = timeout(CONNECT_TIMEOUT, dial).await.map_err(|_| Error::Timeout)??;
        let engines = context.engines.clone();
        let login = Login { engines: engines.reports(), ..context.login.clone() };
        let (rules, first) = AgentSession::new(login, Instant::now());
        let mut wire = Wire::new(stream);
        wire.send(&first).await?;
        let host = identity.server().rsplit_once(':').map_or("", |(host, _)| host).to_owned();
        Ok(Self {
            context,
            identity,
            wire,
            rules,
            engines,
            link: None,
            renewal: None,
            welcomed: None,
            heartbeat_every: Duration::from_secs(3600),
            host,
        })
    }

    async fn run(&mut self, notices: &Notices) -> Result<(), Error> {
        let (replies, mut queue) = mpsc::channel(REPLIES_MAX);
        let (samples, mut sampled) = mpsc::channel(1);
        let mut heartbeat = tokio::time::interval(Duration::from_secs(3600));
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
                        self.act(event, &replies, notices)?;
                        if heartbeat.period() != self.heartbeat_every {
                            heartbeat = tokio::time::interval(self.heartbeat_every);
                        }
                    }
                }
                Some(reply) = queue.recv() => self.wire.send(&reply).await?,
                () = self.engines.changed(), if live => self.report().await?,
                _ = heartbeat.tick(), if live => take_sample(samples.clone()),
                Some(sample) = sampled.recv() => self.wire.send(&AgentMessage::Heartbeat(sample)).await?,
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
        notices: &Notices,
    ) -> Result<(), Error> {
        match event {
            AgentEvent::Welcomed(welcome) => self.welcome(welcome, &notices.others)?,
            AgentEvent::Refused { reason } => return Err(Error::Refused(reason)),
            AgentEvent::Dial { proxy_conn_id, mode } => self.dial(proxy_conn_id, mode, replies),
            AgentEvent::Drain { deadline } => {
                info!(
                    server = self.identity.server(),
                    deadline_s = deadline.as_secs(),
                    "the server is going away"
                );
                notices.moved.cancel();
            }
            AgentEvent::Superseded => return Err(Error::Superseded),
            AgentEvent::Certificate { chain_der } => self.take_certificate(chain_der),
        }
        Ok(())
    }

    fn welcome(&mut self, welcome: Welcome, others: &mpsc::Sender<Told>) -> Result<(), Error> {
        let port = self.context.proxy_port.unwrap_or(welcome.proxy_port);
        let link = Link {
            address: format!("{}:{port}", self.host),
            name: identity::server_name(self.identity.server())?,
            connector: connector(self.identity.tls(ALPN_PROXY)?),
        };
        self.link = Some(Arc::new(link));
        self.welcomed = Some(Instant::now());
        self.heartbeat_every = Duration::from_millis(welcome.heartbeat_every_ms.max(500).into());
        info!(server = self.identity.server(), version = welcome.version, "connected");
        if !welcome.servers.is_empty() {
            let _ = others.try_send((self.identity.clone(), welcome.servers));
        }
        Ok(())
    }

    fn dial(&self, id: common::ProxyConnId, mode: ProxyMode, replies: &mpsc::Sender<AgentMessage>) {
        if let Some(link) = &self.link {
            self.context.tunnel.dial(link, id, mode, replies);
        }
    }

    async fn report(&mut self) -> Result<(), Error> {
        let engines = self.engines.reports();
        debug!(engines = engines.len(), "engines changed");
        self.wire.send(&AgentMessage::Engines(engines)).await
    }

    async fn ask_for_renewal(&mut self) -> Result<(), Error> {
        if !self.identity.needs_renewal(std::time::SystemTime::now()) {
            return Ok(());
        }
        let renewal = self.identity.renewal_request()?;
        let request_der = renewal.request_der.clone();
        self.renewal = Some(renewal);
        self.wire.send(&AgentMessage::RenewCertificate { request_der }).await
    }

    fn take_certificate(&mut self, chain_der: Vec<Vec<u8>>) {
        let Some(renewal) = self.renewal.take() else { return };
        let renewed = self.identity.renewed(renewal, chain_der).and_then(|identity| {
            identity.save(&self.context.data_dir)?;
            Ok(identity)
        });
        match renewed {
            Ok(identity) => {
                self.identity = identity;
                info!("the certificate was renewed");
            }
            Err(error) => warn!(%error, "the certificate was not renewed"),
        }
    }
}

/// Samples on a thread that may block, one at a time.
fn take_sample(samples: mpsc::Sender<common::message::Heartbeat>) {
    static SAMPLER: std::sync::Mutex<Option<Sampler>> = std::sync::Mutex::new(None);
    tokio::task::spawn_blocking(move || {
        let Ok(mut sampler) = SAMPLER.try_lock() else { return };
        let sample = sampler.get_or_insert_with(Sampler::new).sample();
        let _ = samples.try_send(sample);
    });
}
