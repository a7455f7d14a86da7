//! Gets the database ready, keeps it ready, and knows whether it answers.

use std::{sync::Arc, time::Duration};

use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Health, Lease, partitions};
use crate::store::{
    UnixSeconds,
    migrations::{Fault, POSTGRES},
};

/// Migrations may take longer than what anybody waits for, but are short all the same.
const MIGRATION_DEADLINE: Duration = Duration::from_secs(60);
/// How long a migration waits for a lock, that of another server's migrations included: whoever comes after it
/// in the queue waits too.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);
/// A database that does not answer is asked again after this, then after twice as long, and so on.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often a database that answered before is asked whether it does again.
const PING_EVERY: Duration = Duration::from_secs(1);
/// How often parts of tables are made ahead, and how soon again where that failed.
const PARTS_EVERY: Duration = Duration::from_secs(6 * 3600);
const PARTS_RETRY: Duration = Duration::from_secs(60);

/// How the first look at the database ended: `Err` says what the operator has to do about it.
pub(super) type First = Result<(), String>;

/// What looks after the database in the background.
pub(super) struct Upkeep {
    database: String,
    options: PgConnectOptions,
    pool: PgPool,
    health: Arc<Health>,
    first: Option<oneshot::Sender<First>>,
}

impl Upkeep {
    pub(super) fn new(
        database: String,
        options: PgConnectOptions,
        pool: PgPool,
        health: Arc<Health>,
    ) -> (Self, oneshot::Receiver<First>) {
        let (first, told) = oneshot::channel();
        (Self { database, options: patient(options), pool, health, first: Some(first) }, told)
    }

    /// Runs until `closing`, or until the first look finds something that only the operator can change.
    pub(super) async fn run(mut self, closing: CancellationToken) {
        let _ = closing
            .run_until_cancelled(async {
                if self.get_ready().await {
                    self.stay_ready().await;
                }
            })
            .await;
    }

    /// Migrates, however long the database stays away; false where a start has to fail.
    async fn get_ready(&mut self) -> bool {
        let mut pause = FIRST_PAUSE;
        let mut logged = String::new();
        loop {
            let Err(fault) = self.migrate().await else { break };
            let first = self.first.take();
            if fault.is_for_the_operator
                && let Some(first) = first
            {
                // Where nobody waits any more the start has gone on without, and so do we.
                if first.send(Err(fault.reason.clone())).is_ok() {
                    return false;
                }
            } else if let Some(first) = first {
                let _ = first.send(Ok(()));
            }
            if logged != fault.reason {
                tracing::warn!(database = %self.database, reason = fault.reason, "the database is not ready; trying on");
                logged = fault.reason;
            }
            self.health.not_ready(&logged);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.health.migrated();
        if !logged.is_empty() {
            tracing::info!(database = %self.database, "the database is ready");
        }
        if let Some(first) = self.first.take() {
            let _ = first.send(Ok(()));
        }
        true
    }

    async fn migrate(&self) -> Result<(), Fault> {
        let migrate = async {
            let mut connection = self.options.connect().await.map_err(|error| Fault::connecting(&error))?;
            // The lock that keeps two servers from migrating at once ends with the connection, whatever happens.
            POSTGRES.run_direct(None, &mut connection, false).await.map_err(|error| Fault::of(&error))?;
            if let Err(error) = make_parts(&mut connection).await {
                tracing::warn!(%error, "parts of tables could not be made ahead; rows go into the default part");
            }
            let _ = connection.close().await;
            Ok(())
        };
        timeout(MIGRATION_DEADLINE, migrate).await.unwrap_or_else(|_| Err(Fault::late()))
    }

    async fn stay_ready(&self) {
        tokio::join!(self.ask_while_in_doubt(), self.keep_parts_ahead());
    }

    /// A database that nobody asks would stay away for ever.
    async fn ask_while_in_doubt(&self) {
        loop {
            self.health.until_in_doubt().await;
            let ping = async {
                let mut lease = Lease::of(&self.pool).await?;
                lease.ping().await?;
                lease.done(());
                Ok::<_, sqlx::Error>(())
            };
            match timeout(PING_EVERY, ping).await {
                Ok(Ok(())) => self.health.answered(),
                Ok(Err(error)) => self.health.is_away(&error),
                Err(_) => self.health.is_away(&"it takes too long"),
            }
            sleep(PING_EVERY).await;
        }
    }

    async fn keep_parts_ahead(&self) {
        let mut pause = PARTS_EVERY;
        loop {
            sleep(pause).await;
            let make = async {
                let mut connection = self.options.connect().await?;
                make_parts(&mut connection).await?;
                connection.close().await
            };
            let made = timeout(MIGRATION_DEADLINE, make).await;
            pause = if matches!(made, Ok(Ok(()))) { PARTS_EVERY } else { PARTS_RETRY };
            if let Ok(Err(error)) = made {
                tracing::warn!(%error, "parts of tables could not be made ahead; trying again in a minute");
            }
        }
    }
}

/// Connections whose statements may take as long as migrations do. Of two settings the last one counts.
pub(super) fn patient(options: PgConnectOptions) -> PgConnectOptions {
    let times = [("statement_timeout", MIGRATION_DEADLINE), ("lock_timeout", LOCK_DEADLINE)];
    let options = options.options(times.map(|(name, time)| (name, time.as_millis())));
    // Without it the log would say at each start that the table of migrations exists.
    options.options([("client_min_messages", "warning")])
}

async fn make_parts(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    for part in partitions::ahead(UnixSeconds::now()) {
        if partitions::make(connection, &part).await? {
            tracing::info!(table = part.table, part = part.suffix, "made a part of a table");
        }
    }
    Ok(())
}
