//! The embedded store: one SQLite file in the data directory.

mod bulk;
mod catalogue;
mod days;
mod entries;
mod glances;
mod ingest;
mod inventory;
mod keys;
mod machines;
mod reports;
mod servers;
mod tenants;
mod usage;
mod usage_views;

use std::{future::Future, path::Path, time::Duration};

use sqlx::{
    ConnectOptions as _, SqliteConnection, SqlitePool,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    ACQUIRE_DEADLINE, AUDIT_LINES_MAX, AuditLine, Error, STATEMENT_DEADLINE, UnixSeconds,
    columns::readable,
    migrations::{Fault, SQLITE},
};
use crate::data_dir::{self, DataDir};

/// The database's file in the data directory.
pub const FILE: &str = "gpuf.db";
/// A statement that meets another's write lock waits this long: less than its own deadline.
const BUSY_TIMEOUT: Duration = Duration::from_millis(1500);
/// Connections for everything but usage. SQLite has one writer, so more would only wait.
const DESK_CONNECTIONS_MAX: u32 = 2;
/// An unused connection, with its thread and its cache, is closed after this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Handle of the open database.
#[derive(Debug, Clone)]
pub struct Sqlite {
    /// What people do: a revocation has to survive a power cut too, so every commit reaches the disk.
    desk: SqlitePool,
    /// Records of usage: a commit reaches the kernel, which outlives this process but not a power cut.
    /// A call to the disk per batch would cost more than all else about it.
    ledger: SqlitePool,
}

impl Sqlite {
    pub(super) async fn open(data: &DataDir) -> Result<Self, Error> {
        Self::open_file(&data.file(FILE)).await
    }

    pub(super) async fn open_file(path: &Path) -> Result<Self, Error> {
        // Made by the library it would be readable by everybody; its companions take its mode.
        data_dir::reserve_file(path)?;
        let refused = |error: String| Error::Open { at: path.display().to_string(), reason: error };
        let desk = pool(path, SqliteSynchronous::Full, DESK_CONNECTIONS_MAX);
        migrate(&desk).await.map_err(|error| refused(Fault::of(&error).reason))?;
        Ok(Self { desk, ledger: pool(path, SqliteSynchronous::Normal, 1) })
    }

    pub(super) async fn close(&self) {
        self.ledger.close().await;
        self.desk.close().await;
    }

    pub(super) async fn audit(&self, line: &AuditLine) -> Result<(), Error> {
        let insert =
            sqlx::query("INSERT INTO audit (at_unix, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)")
                .bind(line.at.0)
                .bind(readable(&line.actor))
                .bind(readable(&line.action))
                .bind(readable(&line.subject))
                .bind(line.detail.as_deref().map(readable));
        let id = in_time(insert.execute(&self.desk)).await?.last_insert_rowid();
        let prune = sqlx::query("DELETE FROM audit WHERE id <= ?").bind(id - AUDIT_LINES_MAX);
        in_time(prune.execute(&self.desk)).await.map(|_| ())
    }

    pub(super) async fn audit_lines(&self, limit: u32) -> Result<Vec<AuditLine>, Error> {
        type Row = (i64, String, String, String, Option<String>);
        let query = sqlx::query_as::<_, Row>(
            "SELECT at_unix, actor, action, subject, detail FROM audit ORDER BY id DESC LIMIT ?",
        );
        let rows = in_time(query.bind(limit).fetch_all(&self.desk)).await?;
        let line = |(at, actor, action, subject, detail)| AuditLine {
            at: UnixSeconds(at),
            actor,
            action,
            subject,
            detail,
        };
        Ok(rows.into_iter().map(line).collect())
    }
}

fn pool(path: &Path, synchronous: SqliteSynchronous, connections_max: u32) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_DEADLINE)
        .idle_timeout(IDLE_TIMEOUT)
        // A connection to a local file does not go stale, and the ping is a thread hop per statement.
        .test_before_acquire(false)
        .connect_lazy_with(options(path, synchronous))
}

fn options(path: &Path, synchronous: SqliteSynchronous) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        // After a burst the log would otherwise stay as large as it ever was.
        .pragma("journal_size_limit", "16777216")
}

/// SQLite has no lock that lasts over several migrations. Where another process was faster with one, ours
/// fails, and the next try finds it applied.
async fn migrate(desk: &SqlitePool) -> Result<(), MigrateError> {
    for _ in SQLITE.iter() {
        match SQLITE.run(desk).await {
            Err(MigrateError::Execute(_) | MigrateError::ExecuteMigration(..)) => {}
            other => return other,
        }
    }
    SQLITE.run(desk).await
}

/// One connection, to a file that is made where it is missing.
pub(super) async fn connect_to_migrate(path: &Path) -> Result<SqliteConnection, Error> {
    data_dir::reserve_file(path)?;
    let refused =
        |error: sqlx::Error| Error::Open { at: path.display().to_string(), reason: error.to_string() };
    options(path, SqliteSynchronous::Full).connect().await.map_err(refused)
}

/// The result of a statement, or [`Error::Unavailable`] where it takes longer than it may.
async fn in_time<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    in_time_of(STATEMENT_DEADLINE, statement).await
}

/// Likewise, with a deadline of its own.
async fn in_time_of<T>(
    deadline: Duration,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(deadline, statement).await {
        Ok(result) => result.map_err(Error::from),
        Err(_) => Err(Error::Unavailable("a statement took too long".into())),
    }
}

#[cfg(test)]
mod tests;
