//! The agent's end: log in, answer pings, notice a server that fell silent.

use std::time::{Duration, Instant};

use super::Violation;
use crate::{
    ProxyConnId, ServerId,
    message::{AgentMessage, Login, ProxyMode, ServerMessage, Welcome},
};

/// Until the server has said how long it may be silent.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);

/// What the server's message means to the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentEvent {
    /// The session lives.
    Welcomed(Welcome),
    /// The server does not want this agent.
    Refused {
        /// Why, for a person.
        reason: String,
    },
    /// A proxy connection is wanted.
    Dial {
        /// To present on it.
        proxy_conn_id: ProxyConnId,
        /// What it is for.
        mode: ProxyMode,
    },
    /// The server is going away.
    Drain {
        /// Running streams are cut after this.
        deadline: Duration,
    },
    /// A later session of this agent has taken over.
    Superseded,
    /// The certificate that was asked for.
    Certificate {
        /// Leaf first, DER.
        chain_der: Vec<Vec<u8>>,
    },
    /// The other servers, all of them.
    Servers(Vec<String>),
    /// A session with this very server lives already; this one ends.
    SameServer(ServerId),
}

/// One session at the agent.
#[derive(Debug)]
pub struct AgentSession {
    welcomed: bool,
    heard: Instant,
    dead_after: Duration,
}

impl AgentSession {
    /// A session whose handshake ended at `now`, and the login to send first.
    #[must_use]
    pub fn new(login: Login, now: Instant) -> (Self, AgentMessage) {
        let session = Self { welcomed: false, heard: now, dead_after: WELCOME_TIMEOUT };
        (session, AgentMessage::Login(login))
    }

    /// Takes a message of the server: an answer to send, an event to act on, or neither.
    ///
    /// # Errors
    /// When the session must be closed.
    pub fn receive(
        &mut self,
        message: ServerMessage,
        now: Instant,
    ) -> Result<(Option<AgentMessage>, Option<AgentEvent>), Violation> {
        self.heard = now;
        let event = match message {
            ServerMessage::Welcome(welcome) => self.welcome(welcome)?,
            ServerMessage::Refused { reason } => AgentEvent::Refused { reason },
            ServerMessage::Superseded => AgentEvent::Superseded,
            ServerMessage::SameServer { server } => AgentEvent::SameServer(server),
            _ if !self.welcomed => return Err(Violation::OutOfTurn),
            ServerMessage::Ping { nonce } => return Ok((Some(AgentMessage::Pong { nonce }), None)),
            ServerMessage::RequestNewProxyConn { proxy_conn_id, mode } => {
                AgentEvent::Dial { proxy_conn_id, mode }
            }
            ServerMessage::Drain { deadline_ms } => {
                AgentEvent::Drain { deadline: Duration::from_millis(deadline_ms) }
            }
            ServerMessage::Certificate { chain_der } => AgentEvent::Certificate { chain_der },
            ServerMessage::Servers(servers) => AgentEvent::Servers(servers),
        };
        Ok((None, Some(event)))
    }

    /// Whether the server still lives at `now`.
    ///
    /// # Errors
    /// When it has been silent for too long.
    pub fn tick(&self, now: Instant) -> Result<(), Violation> {
        if now >= self.next_tick() { Err(Violation::Silent) } else { Ok(()) }
    }

    /// When [`Self::tick`] fails unless something is heard before.
    #[must_use]
    pub fn next_tick(&self) -> Instant {
        self.heard + self.dead_after
    }

    fn welcome(&mut self, welcome: Welcome) -> Result<AgentEvent, Violation> {
        if self.welcomed {
            return Err(Violation::OutOfTurn);
        }
        self.welcomed = true;
        self.dead_after = Duration::from_millis(welcome.dead_after_ms.max(1000).into());
        Ok(AgentEvent::Welcomed(welcome))
    }
}
