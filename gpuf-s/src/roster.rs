//! Which servers share the database, and that whoever was put out at one of them leaves the others too.
//!
//! Nothing here is on the way of a request. While the database is away, the servers that were known stay.

mod sightings;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use common::{AgentId, ServerId, message::SERVERS_MAX};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::{
    registry::Registry,
    store::{self, Presence, PresentAgent, ServerRow, Store, UnixSeconds},
};
pub use sightings::Sightings;

/// How often it is asked who was put out and which servers there are. An agent that was put out elsewhere is
/// gone within two of these.
const LOOK_EVERY: Duration = Duration::from_millis(2500);
/// How often this server says that it lives.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// Rows that were written before are of no server that runs, however wrong its clock is.
const ROWS_SINCE: Duration = Duration::from_secs(3600);
/// How far the clocks of servers may be apart for a revocation to be noticed.
const CLOCKS_APART: Duration = Duration::from_secs(600);
/// How long the end waits for the row to be removed; it ends by itself soon after.
const FAREWELL: Duration = Duration::from_secs(1);

/// What this server knows of the others. Clones share it.
#[derive(Debug, Clone)]
pub struct Roster {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    own: ServerRow,
    others: ArcSwap<Vec<ServerRow>>,
    told: watch::Sender<Vec<String>>,
}

impl Roster {
    /// Of a server that knows of no other; `own` is as the others will see it.
    #[must_use]
    pub fn new(own: ServerRow) -> Self {
        let told = watch::Sender::new(Vec::new());
        Self { shared: Arc::new(Shared { own, others: ArcSwap::default(), told }) }
    }

    /// This server.
    #[must_use]
    pub fn own(&self) -> &ServerRow {
        &self.shared.own
    }

    /// This server's id.
    #[must_use]
    pub fn id(&self) -> ServerId {
        ServerId::from_bytes(self.shared.own.id)
    }

    /// The others, as of a few seconds ago.
    #[must_use]
    pub fn others(&self) -> Arc<Vec<ServerRow>> {
        self.shared.others.load_full()
    }

    /// The control ports of the others, for agents to hold sessions with.
    #[must_use]
    pub fn told(&self) -> watch::Receiver<Vec<String>> {
        self.shared.told.subscribe()
    }

    /// Keeps this server's row and the list of the others until `ended`. From `leaving` on the others send
    /// no further agents here.
    pub async fn run(
        self,
        store: Store,
        registry: Registry,
        leaving: CancellationToken,
        ended: CancellationToken,
    ) {
        let id = self.shared.own.id;
        let mut clerk = Clerk {
            roster: self,
            store: store.clone(),
            registry,
            sightings: Sightings::default(),
            said: None,
            asked: None,
        };
        let _ = ended.run_until_cancelled(clerk.work(leaving)).await;
        // Without a database there is no row that could be removed; others stop believing it by themselves.
        let removed = tokio::time::timeout(FAREWELL, store.remove_server(id)).await;
        debug!(removed = matches!(removed, Ok(Ok(()))), "left the roster");
    }

    fn take_in(&self, others: Vec<ServerRow>) {
        let own = &self.shared.own;
        let mut told: Vec<_> = others.iter().map(|server| server.control.clone()).collect();
        told.retain(|control| !control.is_empty() && *control != own.control);
        told.sort_unstable();
        told.dedup();
        told.truncate(SERVERS_MAX - 1);
        self.shared.others.store(Arc::new(others));
        self.shared.told.send_if_modified(|before| {
            let differs = *before != told;
            if differs {
                info!(servers = ?told, "other servers");
                *before = told;
            }
            differs
        });
    }
}

/// Reads and writes the roster.
struct Clerk {
    roster: Roster,
    store: Store,
    registry: Registry,
    sightings: Sightings,
    /// What was last written, and when.
    said: Option<(Instant, ServerRow)>,
    /// Since when the answer about agents that were put out is complete.
    asked: Option<UnixSeconds>,
}

impl Clerk {
    async fn work(&mut self, leaving: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut left = false;
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = leaving.cancelled(), if !left => left = true,
            }
            self.put_out_the_revoked().await;
            self.say(left).await;
            self.look().await;
        }
    }

    /// Ends the sessions of agents that were revoked at whichever server.
    async fn put_out_the_revoked(&mut self) {
        // Whoever logged in while the store was away was let in by its certificate alone, whenever it was
        // revoked: an answer after silence covers all of time.
        let since = self.asked.map_or(UnixSeconds(0), |asked| {
            UnixSeconds(asked.0.saturating_sub_unsigned(CLOCKS_APART.as_secs()))
        });
        let now = UnixSeconds::now();
        match self.store.agents_revoked_since(since).await {
            Ok(revoked) => {
                self.asked = Some(now);
                revoked.into_iter().for_each(|id| self.put_out(id));
            }
            Err(error) => {
                self.asked = None;
                debug!(%error, "cannot ask who was revoked");
            }
        }
    }

    fn put_out(&self, id: AgentId) {
        if let Some(agent) = self.registry.agent(id) {
            info!(agent = %id.short(), "the agent was revoked");
            agent.stop.cancel();
        }
    }

    /// Writes the row; where nothing but the time differs, only that, since a row names thousands of agents.
    async fn say(&mut self, left: bool) {
        let row = ServerRow { agents: self.present(), ..self.roster.own().clone() };
        let row = if left { ServerRow { control: String::new(), ..row } } else { row };
        let said = self.said.as_ref();
        let due = said.is_none_or(|(at, before)| {
            at.elapsed() >= SAY_EVERY - LOOK_EVERY / 2 || before.control != row.control
        });
        if !due {
            return;
        }
        let same = said.is_some_and(|(_, before)| *before == row);
        match self.write(&row, same).await {
            Ok(()) => self.said = Some((Instant::now(), row)),
            Err(error) => debug!(%error, "the other servers do not hear of this one"),
        }
    }

    async fn write(&self, row: &ServerRow, same: bool) -> Result<(), store::Error> {
        let seen_unix_ms = unix_ms();
        if same && self.store.touch_server(row.id, seen_unix_ms).await? {
            return Ok(());
        }
        self.store.put_server(&ServerRow { seen_unix_ms, ..row.clone() }).await
    }

    fn present(&self) -> Vec<PresentAgent> {
        let state = |leaving| if leaving { Presence::Draining } else { Presence::Connected };
        let agents = self.registry.agents();
        let mut agents: Vec<_> = agents
            .iter()
            .map(|agent| PresentAgent { id: agent.id, state: state(agent.is_leaving()) })
            .collect();
        agents.sort_unstable();
        agents
    }

    async fn look(&mut self) {
        let now = unix_ms();
        let since = now.saturating_sub(u64::try_from(ROWS_SINCE.as_millis()).unwrap_or(u64::MAX));
        match self.store.servers(since).await {
            Ok(rows) => {
                let others = self.sightings.alive(rows, self.roster.own(), now, Instant::now());
                self.roster.take_in(others);
            }
            Err(error) => {
                self.sightings.miss();
                debug!(%error, "the other servers stay as they were last seen");
            }
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
