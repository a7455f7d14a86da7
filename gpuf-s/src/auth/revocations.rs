//! Learns of revocations that others made: from messages at once, and from the store within seconds.

use std::{
    fmt,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Authenticator;
use crate::store::{self, KeyHash, Store, UnixSeconds};

/// The store is asked this often. With a look that takes its whole deadline, and one that was just begun when
/// a key was revoked, this is still less than [`super::recent::FRESH`].
const LOOK_EVERY: Duration = Duration::from_secs(2);
const LOOK_DEADLINE: Duration = Duration::from_secs(1);
/// The store is asked for more than what is due: revocations carry the time of the server that made them, and
/// clocks differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(3600);

/// The task that hears of revocations for an [`Authenticator`].
pub struct Watch {
    store: Store,
    authenticator: Authenticator,
    /// When the store last answered, by the clock on the wall.
    answered: UnixSeconds,
    /// Whether the log says that it does not.
    silent: bool,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch {
    /// Watches for `authenticator`.
    #[must_use]
    pub fn new(store: Store, authenticator: Authenticator) -> Self {
        Self { store, authenticator, answered: UnixSeconds::now(), silent: false }
    }

    /// Watches until `closing`.
    pub async fn run(mut self, closing: CancellationToken) {
        let authenticator = self.authenticator.clone();
        let watching = async { tokio::join!(listen(&authenticator), self.look_again_and_again()) };
        closing.run_until_cancelled(watching).await;
    }

    async fn look_again_and_again(&mut self) {
        let mut due = interval(LOOK_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            let (asked, wall) = (Instant::now(), UnixSeconds::now());
            let since = self.answered.before(CLOCKS_DIFFER);
            match timeout(LOOK_DEADLINE, self.store.revoked_since(since)).await {
                Ok(Ok(revoked)) => {
                    self.take_in(&revoked, asked);
                    self.answered = wall;
                }
                Ok(Err(error)) => self.complain(&error),
                Err(_) => self.complain(&store::Error::Unavailable("no answer in time".into())),
            }
        }
    }

    fn take_in(&mut self, revoked: &[KeyHash], asked: Instant) {
        let inner = &self.authenticator.0;
        let unheard: Vec<_> = revoked.iter().filter(|hash| !inner.recent.is_revoked(hash)).copied().collect();
        unheard.iter().for_each(|hash| inner.recent.revoke(hash));
        inner.recent.told_all(asked);
        // Whoever revoked them may not have reached the cache.
        if !unheard.is_empty() {
            inner.cache.bury(&unheard);
        }
        if std::mem::take(&mut self.silent) {
            info!("the store answers again");
        }
    }

    fn complain(&mut self, error: &store::Error) {
        if !std::mem::replace(&mut self.silent, true) {
            warn!(%error, "the store does not tell which keys are revoked");
        }
    }
}

async fn listen(authenticator: &Authenticator) {
    let mut revocations = authenticator.0.cache.revocations();
    while let Some(hash) = revocations.next().await {
        authenticator.0.recent.revoke(&hash);
    }
}
