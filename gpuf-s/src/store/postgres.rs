//! The shared store: a PostgreSQL, which may be away at any time, the start included.

mod connect;
mod health;
mod lease;
mod partitions;
mod statements;
mod upkeep;

mod audit;
mod catalogue;
mod days;
mod entries;
mod glances;
mod ingest;
mod inventory;
mod keys;
mod known;
mod machines;
mod reports;
mod servers;
mod tenants;
mod usage;
mod usage_views;

use std::{sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions as _, FromRow, PgConnection, PgPool,
    postgres::{PgArguments, PgRow},
    query::{Query, QueryAs},
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Error, STATEMENT_DEADLINE, State, migrations::Fault, verdict};
use crate::secret::SecretUrl;
use health::Health;
use known::Known;
use lease::Lease;
use upkeep::Upkeep;

/// Connections for what people and callers wait for.
const DESK_CONNECTIONS_MAX: u32 = 8;
/// Connections for what arrives in batches, so that neither has to wait for the other.
const LEDGER_CONNECTIONS_MAX: u32 = 4;
/// How long a start waits for the database before it goes on without.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// How long the end waits for running statements.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// Handle of the database; clones share it.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// What people and callers wait for.
    desk: PgPool,
    /// What arrives in batches.
    ledger: PgPool,
    health: Arc<Health>,
    known: Arc<Known>,
    upkeep: Arc<Running>,
}

/// The task that looks after the database; it ends with the last handle.
#[derive(Debug)]
struct Running {
    closing: CancellationToken,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    _end: DropGuard,
}

impl Postgres {
    /// Waits a little for the database and for its migrations; one that does not answer is waited for in the
    /// background.
    pub(super) async fn open(url: &SecretUrl) -> Result<Self, Error> {
        let refused = |reason| Error::Open { at: url.to_string(), reason };
        let options = connect::options(url).map_err(refused)?;
        let (health, closing) = (Arc::new(Health::default()), CancellationToken::new());
        let desk = connect::pool(&options, DESK_CONNECTIONS_MAX);
        let ledger = connect::pool(&options, LEDGER_CONNECTIONS_MAX);
        let (upkeep, first) = Upkeep::new(url.to_string(), options, desk.clone(), health.clone());
        let task = tokio::spawn(upkeep.run(closing.clone()));
        let running = Running { _end: closing.clone().drop_guard(), closing, task: Some(task).into() };
        let known = Arc::default();
        let store = Self { desk, ledger, health, known, upkeep: Arc::new(running) };
        match timeout(START_PATIENCE, first).await {
            Ok(Ok(Err(reason))) => {
                store.close().await;
                Err(refused(reason))
            }
            Ok(_) => Ok(store),
            Err(_) => {
                tracing::warn!(database = %url, "the database takes long to get ready; starting without it");
                Ok(store)
            }
        }
    }

    pub(super) fn state(&self) -> State {
        self.health.state()
    }

    /// Ends the upkeep, waits a little for running statements and closes every connection.
    pub(super) async fn close(&self) {
        self.upkeep.closing.cancel();
        if let Some(task) = self.upkeep.task.lock().await.take() {
            let _ = task.await;
        }
        let closed = async { tokio::join!(self.desk.close(), self.ledger.close()) };
        if timeout(CLOSE_DEADLINE, closed).await.is_err() {
            tracing::warn!("connections of the database are left to end by themselves");
        }
    }

    /// Rows affected by one statement.
    async fn execute(&self, statement: Query<'_, sqlx::Postgres, PgArguments>) -> Result<u64, Error> {
        self.in_time(async {
            let mut desk = Lease::of(&self.desk).await?;
            let done = statement.execute(&mut *desk).await?;
            Ok(desk.done(done.rows_affected()))
        })
        .await
    }

    /// The row of one statement, if there is one.
    async fn optional<T>(
        &self,
        query: QueryAs<'_, sqlx::Postgres, T, PgArguments>,
    ) -> Result<Option<T>, Error>
    where
        T: for<'row> FromRow<'row, PgRow> + Send + Unpin,
    {
        self.in_time(async {
            let mut desk = Lease::of(&self.desk).await?;
            let row = query.fetch_optional(&mut *desk).await?;
            Ok(desk.done(row))
        })
        .await
    }

    /// The rows of one statement.
    async fn all<T>(&self, query: QueryAs<'_, sqlx::Postgres, T, PgArguments>) -> Result<Vec<T>, Error>
    where
        T: for<'row> FromRow<'row, PgRow> + Send + Unpin,
    {
        self.in_time(async {
            let mut desk = Lease::of(&self.desk).await?;
            let rows = query.fetch_all(&mut *desk).await?;
            Ok(desk.done(rows))
        })
        .await
    }

    /// The result of statements, or [`Error::Unavailable`] where they take longer than they may, waiting for
    /// a connection included. What they lease is closed unless they come to their end.
    async fn in_time<T>(&self, statements: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
        self.in_time_of(STATEMENT_DEADLINE, statements).await
    }

    /// Likewise, with a deadline of its own.
    async fn in_time_of<T>(
        &self,
        deadline: Duration,
        statements: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Error> {
        self.health.check()?;
        match timeout(deadline, statements).await {
            Ok(Ok(done)) => {
                self.health.answered();
                Ok(done)
            }
            Ok(Err(error)) => {
                if verdict::is_away(&error) {
                    self.health.is_away(&error);
                }
                Err(error.into())
            }
            Err(_) => {
                self.health.doubted();
                Err(Error::Unavailable("a statement took too long".into()))
            }
        }
    }
}

/// One connection on which statements may take as long as migrations do.
pub(super) async fn connect_to_migrate(url: &SecretUrl) -> Result<PgConnection, Error> {
    let refused = |reason| Error::Open { at: url.to_string(), reason };
    let options = upkeep::patient(connect::options(url).map_err(refused)?);
    match timeout(START_PATIENCE, options.connect()).await {
        Ok(connected) => connected.map_err(|error| refused(Fault::connecting(&error).reason)),
        Err(_) => Err(refused(Fault::late().reason)),
    }
}

#[cfg(test)]
mod tests;
