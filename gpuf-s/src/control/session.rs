//! The shell around one agent's session: its socket and its clock. The rules are in `common::session`.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use common::{
    AgentId,
    codec::{self, Decoder},
    message::{AgentMessage, Login, ServerMessage},
    session::{ServerEvent, ServerSession},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{Error, Shared};
use crate::{
    registry::{Newcomer, Registration},
    store::UnixSeconds,
    tunnel::Tunnel,
};

/// Orders that may wait for the agent to read.
const ORDERS_MAX: usize = 256;
/// An agent that does not take a message for this long is as good as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read at once: most messages are far smaller, and thousands of sessions hold this buffer.
const READ_BYTES: usize = 1024;

/// Serves the session of `agent` until it ends; `Ok` when nothing was wrong.
pub async fn serve(
    shared: &Shared,
    stream: Box<TlsStream<TcpStream>>,
    agent: AgentId,
    from: SocketAddr,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let mut wire = Wire { stream, decoder: Decoder::default() };
    let mut rules = ServerSession::new(shared.timers, Instant::now());
    let mut login = wait_for_login(&mut wire, &mut rules).await?;
    let server = shared.roster.id();
    if std::mem::take(&mut login.servers).contains(&server) {
        // The session that lives is as good as this one, and streams run on it.
        wire.send(&ServerMessage::SameServer { server }).await?;
        return Err(Error::SameServer);
    }
    // Behind the login, which may take its time: whoever was removed meanwhile is not let in.
    let owner = match shared.admit(agent).await {
        Ok(owner) => owner,
        Err(error) => {
            let reason = "this agent was removed by the operator; join again".to_owned();
            wire.send(&ServerMessage::Refused { reason }).await?;
            return Err(error);
        }
    };
    let (orders, queue) = mpsc::channel(ORDERS_MAX);
    let tunnel = Tunnel::new(agent, shared.pairing.clone(), orders, shared.dial_timeout);
    let registration = register(shared, Newcomer { id: agent, owner, login, address: from, tunnel });
    let mut session = Session { shared, wire, rules, registration, queue };
    let ended = session.run(shutdown).await;
    if matches!(ended, Err(Error::Superseded)) {
        let _ = session.wire.send(&ServerMessage::Superseded).await;
    }
    ended
}

fn register(shared: &Shared, newcomer: Newcomer) -> Registration {
    let login = &newcomer.login;
    info!(
        agent = %newcomer.id.short(), name = ?login.name, from = %newcomer.address, version = ?login.version,
        engines = login.engines.len(), "agent connected"
    );
    shared.registry.register(newcomer)
}

async fn wait_for_login(wire: &mut Wire, rules: &mut ServerSession) -> Result<Login, Error> {
    loop {
        let due = tokio::time::Instant::from_std(rules.next_tick());
        let message = match tokio::time::timeout_at(due, wire.receive()).await {
            Ok(message) => message?,
            Err(_) => return Err(rules.tick(Instant::now()).err().map_or(Error::Timeout, Error::from)),
        };
        if let Some(ServerEvent::LoggedIn(login)) = rules.receive(message, Instant::now())? {
            return Ok(*login);
        }
    }
}

struct Session<'a> {
    shared: &'a Shared,
    wire: Wire,
    rules: ServerSession,
    registration: Registration,
    queue: mpsc::Receiver<ServerMessage>,
}

impl Session<'_> {
    async fn run(&mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut welcome = self.shared.welcome.clone();
        welcome.epoch = self.registration.agent().epoch;
        let mut others = self.shared.roster.told();
        welcome.servers = others.borrow_and_update().clone();
        self.wire.send(&ServerMessage::Welcome(welcome)).await?;
        self.record_inventory();
        if self.shared.registry.agents().len() <= self.shared.warm_agents_max {
            self.registration.agent().tunnel.warm_up();
        }
        let stop = self.registration.agent().stop.clone();
        let mut draining = false;
        loop {
            let due = tokio::time::Instant::from_std(self.rules.next_tick());
            tokio::select! {
                message = self.wire.receive() => {
                    if let Some(event) = self.rules.receive(message?, Instant::now())? {
                        self.act(event).await?;
                    }
                }
                Some(order) = self.queue.recv() => self.wire.send(&order).await?,
                Ok(()) = others.changed() => {
                    let told = others.borrow_and_update().clone();
                    self.wire.send(&ServerMessage::Servers(told)).await?;
                }
                () = tokio::time::sleep_until(due) => {
                    if let Some(ping) = self.rules.tick(Instant::now())? {
                        self.wire.send(&ping).await?;
                    }
                }
                () = stop.cancelled() => return Err(Error::Superseded),
                () = shutdown.cancelled(), if !draining => {
                    draining = true;
                    let deadline_ms = u64::try_from(self.shared.drain.as_millis()).unwrap_or(u64::MAX);
                    self.wire.send(&ServerMessage::Drain { deadline_ms }).await?;
                }
                () = self.shared.ended.cancelled() => return Err(Error::ShuttingDown),
            }
        }
    }

    async fn act(&mut self, event: ServerEvent) -> Result<(), Error> {
        let agent = self.registration.agent();
        match event {
            ServerEvent::LoggedIn(_) => {}
            ServerEvent::Engines(reports) => {
                self.registration.set_engines(reports);
                self.record_inventory();
            }
            ServerEvent::Heartbeat(heartbeat) => {
                self.shared.recorder.heartbeat(agent.id, heartbeat.clone());
                agent.set_heartbeat(heartbeat);
            }
            ServerEvent::RoundTrip(round_trip) => agent.set_round_trip(round_trip),
            ServerEvent::Draining => self.registration.set_leaving(),
            ServerEvent::ProxyConnFailed { proxy_conn_id, reason } => {
                debug!(agent = %agent.id.short(), ?reason, "the agent could not dial");
                agent.tunnel.fail_dial(proxy_conn_id).map_err(|_| Error::NotYours)?;
            }
            ServerEvent::RenewalAsked { request_der } => self.renew(&request_der).await?,
        }
        Ok(())
    }

    fn record_inventory(&self) {
        let agent = self.registration.agent();
        let engines = agent.engines().iter().map(|engine| engine.report.clone()).collect();
        let login = Login { engines, ..agent.login.clone() };
        self.shared.recorder.inventory(agent.id, login, Some(agent.address.to_string()));
    }

    async fn renew(&mut self, request_der: &[u8]) -> Result<(), Error> {
        let agent = self.registration.agent().id;
        self.shared.admit(agent).await?;
        match self.shared.ca.issue_agent(request_der, agent, UnixSeconds::now()) {
            Ok(chain_der) => self.wire.send(&ServerMessage::Certificate { chain_der }).await,
            Err(error) => {
                info!(agent = %agent.short(), %error, "no certificate for a bad request");
                Ok(())
            }
        }
    }
}

/// Whole messages over TLS.
struct Wire {
    stream: Box<TlsStream<TcpStream>>,
    decoder: Decoder<AgentMessage>,
}

impl Wire {
    /// The next message. Dropping the future loses nothing: what was read is in the decoder.
    async fn receive(&mut self) -> Result<AgentMessage, Error> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(message);
            }
            let mut bytes = [0; READ_BYTES];
            match self.stream.read(&mut bytes).await {
                Ok(0) => return Err(Error::Closed),
                Ok(count) => self.decoder.push(&bytes[..count]),
                // Many peers, and every killed one, end without TLS's goodbye.
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Err(Error::Closed),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn send(&mut self, message: &ServerMessage) -> Result<(), Error> {
        let frame = codec::encode(message)?;
        let write = async {
            self.stream.write_all(&frame).await?;
            self.stream.flush().await
        };
        Ok(timeout(WRITE_TIMEOUT, write).await.map_err(|_| Error::Timeout)??)
    }
}
