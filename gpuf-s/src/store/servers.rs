//! The servers that share a database, and whom each is connected to.

use std::time::Duration;

use common::AgentId;

use super::{Error, UnixSeconds};

/// The row of a server that has not been heard of for this long is dropped.
pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// An id, and a byte for the state.
const PRESENT_BYTES: usize = 17;

/// A server by its own last word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerRow {
    /// Another one after each start.
    pub id: [u8; 16],
    /// What people call it; no two servers that run have the same.
    pub name: String,
    /// Its software version.
    pub version: String,
    /// `host:port` of its control port; empty while it takes no further sessions.
    pub control: String,
    /// `host:port` of its public port.
    pub public: String,
    /// `host:port` of its API port.
    pub api: String,
    /// What its agents trust and are vouched for by.
    pub fingerprint: String,
    /// When it started.
    pub started: UnixSeconds,
    /// When it last said so, milliseconds since the Unix epoch, by its own clock.
    pub seen_unix_ms: u64,
    /// Its agents, in the order of their ids.
    pub agents: Vec<PresentAgent>,
}

/// An agent with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PresentAgent {
    /// Its id.
    pub id: AgentId,
    /// Whether it takes requests.
    pub state: Presence,
}

/// Whether an agent takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// It does.
    Connected,
    /// It is leaving.
    Draining,
}

impl Presence {
    /// The name that people see.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Draining => "draining",
        }
    }
}

/// The column `agents`.
pub(super) fn agents_column(agents: &[PresentAgent]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(agents.len() * PRESENT_BYTES);
    for agent in agents {
        bytes.extend_from_slice(agent.id.as_bytes());
        bytes.push(u8::from(agent.state == Presence::Draining));
    }
    bytes
}

/// The reverse of [`agents_column`].
pub(super) fn agents(column: &[u8]) -> Result<Vec<PresentAgent>, Error> {
    let (all, rest) = column.as_chunks::<PRESENT_BYTES>();
    let agent = |[id @ .., state]: &[u8; PRESENT_BYTES]| {
        let state = match state {
            0 => Presence::Connected,
            1 => Presence::Draining,
            _ => return Err(Error::Corrupt("an agent's state")),
        };
        Ok(PresentAgent { id: AgentId::from_bytes(*id), state })
    };
    if rest.is_empty() { all.iter().map(agent).collect() } else { Err(Error::Corrupt("a server's agents")) }
}
