//! The server's end: a login first, pings after it, and no flood.

use std::time::{Duration, Instant};

use super::Violation;
use crate::{
    EngineReport, ProxyConnId,
    message::{AgentMessage, Heartbeat, Login, ServerMessage},
};

/// Messages that a peer may send at once, and per second after that.
const BURST_MAX: u32 = 256;
const REFILL_PER_S: u32 = 32;

/// How long the server waits for what.
#[derive(Debug, Clone, Copy)]
pub struct ServerTimers {
    /// From the end of the TLS handshake to the login.
    pub login: Duration,
    /// Between pings.
    pub ping_every: Duration,
    /// Without any message.
    pub dead_after: Duration,
}

/// What the agent's message means to the server.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerEvent {
    /// The session may be registered; a `Welcome` is owed.
    LoggedIn(Box<Login>),
    /// All engines anew.
    Engines(Vec<EngineReport>),
    /// A sample of the host.
    Heartbeat(Heartbeat),
    /// Whoever waits for this connection need not wait.
    ProxyConnFailed {
        /// Which one.
        proxy_conn_id: ProxyConnId,
        /// Why.
        reason: String,
    },
    /// No further requests to this agent.
    Draining,
    /// A certificate is asked for.
    RenewalAsked {
        /// PKCS #10, DER.
        request_der: Vec<u8>,
    },
    /// An answered ping: the time between the two.
    RoundTrip(Duration),
}

/// One session at the server.
#[derive(Debug)]
pub struct ServerSession {
    timers: ServerTimers,
    began: Instant,
    logged_in: bool,
    heard: Instant,
    pinged: Instant,
    nonce: u64,
    answered: bool,
    tokens: u32,
    refilled: Instant,
}

impl ServerSession {
    /// A session whose handshake ended at `now`.
    #[must_use]
    pub fn new(timers: ServerTimers, now: Instant) -> Self {
        Self {
            timers,
            began: now,
            logged_in: false,
            heard: now,
            pinged: now,
            nonce: 0,
            answered: true,
            tokens: BURST_MAX,
            refilled: now,
        }
    }

    /// Takes a message of the agent.
    ///
    /// # Errors
    /// When the session must be closed.
    pub fn receive(&mut self, message: AgentMessage, now: Instant) -> Result<Option<ServerEvent>, Violation> {
        self.heard = now;
        self.spend_token(now)?;
        if let AgentMessage::Login(login) = message {
            return self.log_in(login, now).map(Some);
        }
        if !self.logged_in {
            return Err(Violation::NoLogin);
        }
        Ok(match message {
            AgentMessage::Login(_) => return Err(Violation::SecondLogin),
            AgentMessage::Engines(engines) => Some(ServerEvent::Engines(engines)),
            AgentMessage::Heartbeat(heartbeat) => Some(ServerEvent::Heartbeat(heartbeat)),
            AgentMessage::ProxyConnFailed { proxy_conn_id, reason } => {
                Some(ServerEvent::ProxyConnFailed { proxy_conn_id, reason })
            }
            AgentMessage::Draining => Some(ServerEvent::Draining),
            AgentMessage::RenewCertificate { request_der } => Some(ServerEvent::RenewalAsked { request_der }),
            AgentMessage::Pong { nonce } => self.pong(nonce, now),
        })
    }

    /// What is due at `now`: a ping, nothing, or the end.
    ///
    /// # Errors
    /// When the agent has been silent for too long.
    pub fn tick(&mut self, now: Instant) -> Result<Option<ServerMessage>, Violation> {
        if !self.logged_in {
            let late = now >= self.began + self.timers.login;
            return if late { Err(Violation::LoginTimeout) } else { Ok(None) };
        }
        if now >= self.heard + self.timers.dead_after {
            return Err(Violation::Silent);
        }
        if now < self.pinged + self.timers.ping_every {
            return Ok(None);
        }
        self.pinged = now;
        self.nonce += 1;
        self.answered = false;
        Ok(Some(ServerMessage::Ping { nonce: self.nonce }))
    }

    /// When [`Self::tick`] has something to do next.
    #[must_use]
    pub fn next_tick(&self) -> Instant {
        if self.logged_in {
            (self.pinged + self.timers.ping_every).min(self.heard + self.timers.dead_after)
        } else {
            self.began + self.timers.login
        }
    }

    fn log_in(&mut self, login: Login, now: Instant) -> Result<ServerEvent, Violation> {
        if self.logged_in {
            return Err(Violation::SecondLogin);
        }
        self.logged_in = true;
        self.pinged = now;
        Ok(ServerEvent::LoggedIn(Box::new(login)))
    }

    fn pong(&mut self, nonce: u64, now: Instant) -> Option<ServerEvent> {
        if self.answered || nonce != self.nonce {
            return None;
        }
        self.answered = true;
        Some(ServerEvent::RoundTrip(now.duration_since(self.pinged)))
    }

    fn spend_token(&mut self, now: Instant) -> Result<(), Violation> {
        let seconds = u32::try_from(now.duration_since(self.refilled).as_secs()).unwrap_or(u32::MAX);
        if seconds > 0 {
            self.refilled = now;
            self.tokens = self.tokens.saturating_add(seconds.saturating_mul(REFILL_PER_S)).min(BURST_MAX);
        }
        self.tokens = self.tokens.checked_sub(1).ok_or(Violation::Flood)?;
        Ok(())
    }
}
