//! The servers as the store knows them: who is connected where, without a registry.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::AgentId;
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    api::{AgentView, Fleet, ServerView},
    roster::Sightings,
    store::{ServerRow, Store, UnixSeconds},
};

/// How often it is asked which servers there are.
const LOOK_EVERY: Duration = Duration::from_millis(2500);
/// Rows that were written before are of no server that runs, however wrong its clock is.
const ROWS_SINCE_MS: u64 = 3_600_000;

/// What the store last said of the servers. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Lookout {
    store: Store,
    servers: Arc<watch::Sender<Arc<Vec<ServerRow>>>>,
}

impl Lookout {
    pub(super) fn new(store: Store) -> Self {
        Self { store, servers: Arc::new(watch::Sender::default()) }
    }

    /// Looks again and again until `ended`. While the store is away, the servers stay as they were.
    pub(super) async fn run(self, ended: CancellationToken) {
        let look = async {
            let mut sightings = Sightings::default();
            let mut every = tokio::time::interval(LOOK_EVERY);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                self.look(&mut sightings).await;
            }
        };
        let _: Option<()> = ended.run_until_cancelled(look).await;
    }

    async fn look(&self, sightings: &mut Sightings) {
        let now_ms = UnixSeconds::now().to_ms();
        match self.store.servers(now_ms.saturating_sub(ROWS_SINCE_MS)).await {
            Ok(rows) => {
                self.servers.send_replace(Arc::new(sightings.living(rows, now_ms, Instant::now())));
            }
            Err(error) => {
                sightings.miss();
                debug!(%error, "the servers stay as they were last seen");
            }
        }
    }
}

impl Fleet for Lookout {
    /// None: sessions are the servers'.
    fn agents(&self) -> Vec<AgentView> {
        Vec::new()
    }

    fn servers(&self) -> Vec<ServerView> {
        self.servers.borrow().iter().map(ServerView::from).collect()
    }

    fn elsewhere(&self) -> Arc<Vec<ServerRow>> {
        self.servers.borrow().clone()
    }

    /// Whoever has the session reads of the revocation in the store.
    fn disconnect(&self, _: AgentId) -> bool {
        false
    }

    fn ready(&self) -> bool {
        self.store.is_ready()
    }
}
