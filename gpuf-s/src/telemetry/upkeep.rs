//! What has to be done to stored heartbeats as time goes by: silent agents are marked, old rows removed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::store::{self, Store};

/// Agents that were silent for so long are shown as offline.
const SILENT: Duration = Duration::from_secs(30);
const SWEEP_EVERY: Duration = Duration::from_secs(5);
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Keeps the store in order until `closing`. Several processes may do so at once.
pub async fn keep(store: Store, heartbeat_days: u16, closing: CancellationToken) {
    let mut sweep = interval(SWEEP_EVERY);
    let mut prune = interval(PRUNE_EVERY);
    for every in [&mut sweep, &mut prune] {
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        let done = tokio::select! {
            () = closing.cancelled() => return,
            _ = sweep.tick() => sweep_offline(&store).await,
            _ = prune.tick() => prune_samples(&store, heartbeat_days).await,
        };
        if let Err(error) = done {
            debug!(%error, "the store is not kept in order while it is away");
        }
    }
}

async fn sweep_offline(store: &Store) -> Result<(), store::Error> {
    let swept = store.sweep_offline(now_ms(), millis(SILENT)).await?;
    if swept > 0 {
        info!(agents = swept, "silent agents are offline");
    }
    Ok(())
}

async fn prune_samples(store: &Store, days: u16) -> Result<(), store::Error> {
    let pruned = store.prune_samples(now_ms().saturating_sub(millis(DAY * days.into()))).await?;
    if pruned > 0 {
        info!(pruned, days, "old heartbeats were removed");
    }
    Ok(())
}

fn now_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
