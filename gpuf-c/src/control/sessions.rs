//! What the sessions know of each other: with which servers they are held, and which others these tell of.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use common::{AgentId, ServerId, message::SERVERS_MAX};
use tokio::sync::watch;

use super::Server;
use crate::identity::Membership;

/// The sessions that live. Clones share them.
#[derive(Debug, Clone)]
pub struct Sessions {
    live: watch::Sender<BTreeMap<u64, Live>>,
    number: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Live {
    id: ServerId,
    agent: AgentId,
    address: String,
    membership: Membership,
    others: Vec<String>,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { live: watch::Sender::new(BTreeMap::new()), number: Arc::default() }
    }
}

impl Sessions {
    /// Enters a session that was welcomed by server `id`.
    pub(super) fn enter(&self, server: &Server, id: ServerId, others: Vec<String>) -> Place {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (agent, address) = (server.membership.agent_id(), server.address.clone());
        let live = Live { id, agent, address, membership: server.membership.clone(), others };
        self.live.send_modify(|all| {
            all.insert(number, live);
        });
        Place { sessions: self.clone(), number }
    }

    /// The servers that a session with `server` would be a second one with.
    ///
    /// A server that was joined as two agents is served as both, since that was asked for. One that is
    /// merely told of is served by whichever of them came first.
    pub(super) fn held_for(&self, server: &Server) -> Vec<ServerId> {
        let agent = server.membership.agent_id();
        let all = self.live.borrow();
        let held = all.values().filter(|live| !server.joined || live.agent == agent).map(|live| live.id);
        held.collect::<BTreeSet<_>>().into_iter().take(SERVERS_MAX).collect()
    }

    /// Waits until no session with server `id` lives.
    pub async fn ended_with(&self, id: ServerId) {
        let mut live = self.live.subscribe();
        // The sender lives as long as this handle.
        let _ = live.wait_for(|all| all.values().all(|live| live.id != id)).await;
    }

    /// What changes whenever a session comes, goes, or tells of other servers.
    pub(crate) fn changes(&self) -> Changes {
        let mut changes = self.live.subscribe();
        changes.mark_changed();
        Changes(changes)
    }

    /// Every address that some server tells of, with the identity to use there.
    pub fn told(&self) -> BTreeMap<String, Membership> {
        let all = self.live.borrow();
        let told = |live: &Live| {
            let membership = live.membership.clone();
            live.others.clone().into_iter().map(move |other| (other, membership.clone()))
        };
        all.values().flat_map(told).collect()
    }

    /// The addresses at which sessions are held.
    pub fn addresses(&self) -> HashSet<String> {
        self.live.borrow().values().map(|live| live.address.clone()).collect()
    }
}

/// Tells that something about the sessions changed.
#[derive(Debug)]
pub struct Changes(watch::Receiver<BTreeMap<u64, Live>>);

impl Changes {
    /// Waits for a change that was not waited for before.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A session's place among the others, given back by dropping it.
#[derive(Debug)]
pub(super) struct Place {
    sessions: Sessions,
    number: u64,
}

impl Place {
    /// Takes in which other servers there are.
    pub fn set_others(&self, others: Vec<String>) {
        self.sessions.live.send_modify(|all| {
            if let Some(live) = all.get_mut(&self.number) {
                live.others = others;
            }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.live.send_modify(|all| {
            all.remove(&self.number);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::tests::Authority;

    fn joined(address: &str) -> Server {
        let identity = Authority::new().identity(address);
        Server::joined(Membership::new(identity, "/nowhere".into()), None)
    }

    const ONE: ServerId = ServerId::from_bytes([1; 16]);
    const TWO: ServerId = ServerId::from_bytes([2; 16]);

    #[test]
    fn a_told_server_is_held_by_whichever_agent_and_a_joined_one_by_its_own() {
        let sessions = Sessions::default();
        let (mine, other) = (joined("a:1"), joined("b:1"));
        let _first = sessions.enter(&mine, ONE, vec![]);
        let _second = sessions.enter(&other, TWO, vec![]);
        assert_eq!(sessions.held_for(&mine), [ONE]);
        assert_eq!(sessions.held_for(&other), [TWO]);
        assert_eq!(sessions.held_for(&Server::told(mine.membership.clone(), "c:1".into())), [ONE, TWO]);
    }

    #[tokio::test]
    async fn the_end_of_a_session_gives_its_server_free() {
        let sessions = Sessions::default();
        let server = joined("a:1");
        let place = sessions.enter(&server, ONE, vec!["b:1".into()]);
        assert_eq!(sessions.told().into_keys().collect::<Vec<_>>(), ["b:1"]);
        place.set_others(vec!["c:1".into()]);
        assert_eq!(sessions.told().into_keys().collect::<Vec<_>>(), ["c:1"]);
        let waiting = tokio::spawn({
            let sessions = sessions.clone();
            async move { sessions.ended_with(ONE).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished() && sessions.addresses().contains("a:1"));
        drop(place);
        waiting.await.unwrap();
        assert!(sessions.told().is_empty() && sessions.addresses().is_empty());
    }
}
