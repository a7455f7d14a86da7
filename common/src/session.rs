//! The rules of a control session, for both ends, as values: messages and the time in, messages and
//! events out. The shells around it own the socket and the clock.

mod agent;
mod server;

pub use agent::{AgentEvent, AgentSession};
pub use server::{ServerEvent, ServerSession, ServerTimers};

/// Why an end closes the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// Something else came before the login.
    #[error("the first message was not a login")]
    NoLogin,
    /// A second login on one session.
    #[error("a second login")]
    SecondLogin,
    /// The login did not come in time.
    #[error("no login in time")]
    LoginTimeout,
    /// Nothing came for too long.
    #[error("the peer is silent")]
    Silent,
    /// More messages than any honest peer sends.
    #[error("too many messages")]
    Flood,
    /// A message that this end never expects in this state.
    #[error("a message out of turn")]
    OutOfTurn,
}

#[cfg(test)]
mod tests;
