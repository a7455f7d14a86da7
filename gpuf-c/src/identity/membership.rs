//! One identity that the sessions with all servers of a gateway share: renewed by one of them, used by all.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use common::AgentId;

use super::{Error, Identity, Renewal};

/// A server that was asked for a certificate and gave none is not waited for longer: another may be asked.
const ANSWER_MAX: Duration = Duration::from_secs(600);

/// This agent at one gateway. Clones share the identity.
#[derive(Clone)]
pub struct Membership(Arc<Shared>);

struct Shared {
    data_dir: PathBuf,
    agent_id: AgentId,
    joined: String,
    state: Mutex<State>,
}

struct State {
    identity: Arc<Identity>,
    asked: Option<Instant>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.identity(), f)
    }
}

impl Membership {
    /// Of `identity`, which is kept in `data_dir`.
    #[must_use]
    pub fn new(identity: Identity, data_dir: PathBuf) -> Self {
        let (agent_id, joined) = (identity.agent_id(), identity.server().to_owned());
        let state = Mutex::new(State { identity: Arc::new(identity), asked: None });
        Self(Arc::new(Shared { data_dir, agent_id, joined, state }))
    }

    /// The id that every server of the gateway knows this agent by.
    #[must_use]
    pub fn agent_id(&self) -> AgentId {
        self.0.agent_id
    }

    /// `host:port` of the control port that was joined.
    #[must_use]
    pub fn joined(&self) -> &str {
        &self.0.joined
    }

    /// The identity as last renewed.
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        self.state().identity.clone()
    }

    /// A request for a fresh certificate, where one is due and no other session has just asked.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn renewal_due(&self, now: SystemTime, asked: Instant) -> Result<Option<Renewal>, Error> {
        let mut state = self.state();
        let waits = |since: Instant| asked.saturating_duration_since(since) < ANSWER_MAX;
        if !state.identity.needs_renewal(now) || state.asked.is_some_and(waits) {
            return Ok(None);
        }
        let renewal = state.identity.renewal_request()?;
        state.asked = Some(asked);
        Ok(Some(renewal))
    }

    /// Takes the certificate that `renewal` asked for, on disk and for every later connection.
    ///
    /// # Errors
    /// When the certificate is of another key or agent, or the disk does not take it.
    pub fn renew(&self, renewal: Renewal, chain_der: Vec<Vec<u8>>) -> Result<(), Error> {
        let renewed = self.identity().renewed(renewal, chain_der)?;
        renewed.save(&self.0.data_dir)?;
        let mut state = self.state();
        state.identity = Arc::new(renewed);
        state.asked = None;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{Authority, DAY},
        *,
    };

    #[test]
    fn of_all_sessions_one_renews_and_all_have_it() {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        let identity = authority.identity("joined.example:1");
        identity.save(folder.path()).unwrap();
        let one = Membership::new(identity, folder.path().to_owned());
        let other = one.clone();
        let (now, late) = (Instant::now(), SystemTime::now() + 46 * DAY);
        assert!(one.renewal_due(SystemTime::now(), now).unwrap().is_none(), "not yet due");
        let renewal = one.renewal_due(late, now).unwrap().unwrap();
        assert!(other.renewal_due(late, now).unwrap().is_none(), "one has asked");
        assert!(other.renewal_due(late, now + ANSWER_MAX).unwrap().is_some(), "and got no answer");
        let before = other.identity();
        let chain = authority.sign(&renewal.request_der, one.agent_id(), late);
        one.renew(renewal, chain).unwrap();
        assert_ne!(other.identity().key, before.key);
        assert!(other.renewal_due(late, now).unwrap().is_none(), "nothing is due");
        let kept = Identity::load_for(folder.path(), "joined.example:1").unwrap().unwrap();
        assert_eq!((kept.server(), &kept.key), ("joined.example:1", &one.identity().key));
    }
}
