//! Who waits for which proxy connection: entered before the agent is asked, taken once, given back by drop.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use common::{AgentId, ProxyConnId, message::ProxyMode};
use tokio::sync::oneshot;

use super::{
    Connection, ProxyStream,
    sibling::{Sibling, Siblings},
};

/// Entries at once, over all agents.
const AWAITED_MAX: usize = 65_536;

/// A proxy connection that was presented.
#[derive(Debug)]
pub enum Presented {
    /// HTTP/2 was agreed on it.
    Multiplexed(Arc<Connection>),
    /// As it came, for one upgrade.
    Raw(Box<ProxyStream>),
}

/// The id was given to another agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proxy connection was asked of another agent")]
pub struct NotYours;

/// Nothing more can be awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// The entries of all agents.
#[derive(Debug, Clone, Default)]
pub struct Pairing {
    entries: Arc<Mutex<HashMap<ProxyConnId, Entry>>>,
}

#[derive(Debug)]
struct Entry {
    agent: AgentId,
    mode: ProxyMode,
    sibling: Sibling,
    waiter: oneshot::Sender<Presented>,
}

/// Where a presented connection goes.
#[derive(Debug)]
pub struct Waiter {
    /// What it was asked for.
    pub mode: ProxyMode,
    /// What it is to the tunnel's other connections.
    pub sibling: Sibling,
    /// Who asked for it.
    pub asker: Asker,
}

/// Who waits for a connection.
#[derive(Debug)]
pub struct Asker(oneshot::Sender<Presented>);

impl Asker {
    /// Hands the connection over; it is closed if nobody waits for it any longer.
    pub fn hand_over(self, presented: Presented) {
        if let Err(Presented::Multiplexed(connection)) = self.0.send(presented) {
            connection.close();
        }
    }
}

/// A connection that is awaited. Dropping it takes the entry out.
#[derive(Debug)]
pub struct Awaited {
    id: ProxyConnId,
    pairing: Pairing,
    receiver: oneshot::Receiver<Presented>,
}

impl Awaited {
    /// The id to send to the agent.
    pub const fn id(&self) -> ProxyConnId {
        self.id
    }

    /// The connection, or `None` if the agent said that it cannot dial.
    pub async fn presented(mut self) -> Option<Presented> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.pairing.entries().remove(&self.id);
    }
}

impl Pairing {
    /// Enters a fresh id for `agent`, for one more of `siblings`.
    pub fn expect(&self, agent: AgentId, mode: ProxyMode, siblings: &Siblings) -> Result<Awaited, Full> {
        let id = ProxyConnId::random().map_err(|_| Full)?;
        let (waiter, receiver) = oneshot::channel();
        let mut entries = self.entries();
        if entries.len() >= AWAITED_MAX {
            return Err(Full);
        }
        entries.insert(id, Entry { agent, mode, sibling: siblings.expect(), waiter });
        Ok(Awaited { id, pairing: self.clone(), receiver })
    }

    /// Takes the waiter of `id` for a connection whose certificate names `agent`; `Ok(None)` when
    /// nobody waits, or no longer.
    ///
    /// # Errors
    /// [`NotYours`] when it was asked of another agent, whose entry stays.
    pub fn take(&self, id: ProxyConnId, agent: AgentId) -> Result<Option<Waiter>, NotYours> {
        let mut entries = self.entries();
        match entries.get(&id) {
            None => return Ok(None),
            Some(entry) if entry.agent != agent => return Err(NotYours),
            Some(_) => {}
        }
        let taken = entries.remove(&id);
        Ok(taken.map(|Entry { mode, sibling, waiter, .. }| Waiter { mode, sibling, asker: Asker(waiter) }))
    }

    /// Whoever waits for `id` need not.
    ///
    /// # Errors
    /// [`NotYours`] when it was asked of another agent.
    pub fn fail(&self, id: ProxyConnId, agent: AgentId) -> Result<(), NotYours> {
        self.take(id, agent).map(drop)
    }

    /// How many are awaited.
    pub fn awaited(&self) -> usize {
        self.entries().len()
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<ProxyConnId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: AgentId = AgentId::from_bytes([1; 16]);
    const THEIRS: AgentId = AgentId::from_bytes([2; 16]);

    #[test]
    fn an_id_is_taken_once() {
        let pairing = Pairing::default();
        let awaited = pairing.expect(OURS, ProxyMode::Bulk, &Siblings::default()).unwrap();
        assert_eq!(pairing.take(awaited.id(), OURS).unwrap().unwrap().mode, ProxyMode::Bulk);
        assert!(pairing.take(awaited.id(), OURS).unwrap().is_none());
    }

    #[test]
    fn an_id_of_another_agent_is_not_taken_and_stays() {
        let pairing = Pairing::default();
        let awaited = pairing.expect(OURS, ProxyMode::Multiplexed, &Siblings::default()).unwrap();
        assert_eq!(pairing.take(awaited.id(), THEIRS).unwrap_err(), NotYours);
        assert!(pairing.take(awaited.id(), OURS).unwrap().is_some());
    }

    #[test]
    fn an_entry_that_nobody_waits_for_is_gone() {
        let pairing = Pairing::default();
        for _ in 0..10_000 {
            drop(pairing.expect(OURS, ProxyMode::Multiplexed, &Siblings::default()).unwrap());
        }
        assert_eq!(pairing.awaited(), 0);
    }

    #[tokio::test]
    async fn a_failed_dial_ends_the_wait_at_once() {
        let pairing = Pairing::default();
        let awaited = pairing.expect(OURS, ProxyMode::Multiplexed, &Siblings::default()).unwrap();
        pairing.fail(awaited.id(), OURS).unwrap();
        assert!(awaited.presented().await.is_none());
    }
}
