//! The steps that bring a database to what this version expects.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use sqlx::{
    PgConnection, SqliteConnection,
    migrate::{Migrate, MigrateError, Migrator},
};

use super::{Database, Error, postgres, sqlite, verdict};
use crate::data_dir::DataDir;

pub(super) static SQLITE: Migrator = sqlx::migrate!("../migrations/sqlite");
pub(super) static POSTGRES: Migrator = sqlx::migrate!("../migrations/postgres");
/// Where the driver keeps what was applied.
const TABLE: &str = "_sqlx_migrations";

/// One migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// Whether the database has it.
    pub is_applied: bool,
}

/// A database and its migrations, to be applied by hand. A server applies them by itself when it starts.
#[derive(Debug)]
pub struct Migrations {
    at: String,
    connection: Connection,
}

#[derive(Debug)]
enum Connection {
    /// A file that does not exist, and that nobody wants to be made.
    None,
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Migrations {
    /// Connects; changes nothing, and makes no file unless `make` says so.
    ///
    /// # Errors
    /// [`Error::Open`] when the database cannot be reached, [`Error::DataDir`] when its folder cannot be used.
    pub async fn open(database: &Database, data_dir: &Path, make: bool) -> Result<Self, Error> {
        let file = match database {
            Database::Postgres(url) => {
                let connection = postgres::connect_to_migrate(url).await?;
                return Ok(Self { at: url.to_string(), connection: Connection::Postgres(connection) });
            }
            Database::Embedded if make => DataDir::open(data_dir)?.file(sqlite::FILE),
            Database::Embedded => data_dir.join(sqlite::FILE),
            Database::File(path) => path.clone(),
        };
        let at = file.display().to_string();
        if !make && !file.exists() {
            return Ok(Self { at, connection: Connection::None });
        }
        let connection = sqlite::connect_to_migrate(&file).await?;
        Ok(Self { at, connection: Connection::Sqlite(connection) })
    }

    /// Every migration, in order.
    ///
    /// # Errors
    /// [`Error::Open`] when the database cannot be read, or is of a later version.
    pub async fn steps(&mut self) -> Result<Vec<Step>, Error> {
        let steps = match &mut self.connection {
            Connection::None => Ok(list(&SQLITE, &[])),
            Connection::Sqlite(connection) => {
                let exists = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = ?)";
                match sqlx::query_as::<_, (bool,)>(exists).bind(TABLE).fetch_one(&mut *connection).await {
                    Ok((exists,)) => steps(&SQLITE, connection, exists).await,
                    Err(error) => Err(error.into()),
                }
            }
            Connection::Postgres(connection) => {
                let exists = "SELECT to_regclass($1) IS NOT NULL";
                match sqlx::query_as::<_, (bool,)>(exists).bind(TABLE).fetch_one(&mut *connection).await {
                    Ok((exists,)) => steps(&POSTGRES, connection, exists).await,
                    Err(error) => Err(error.into()),
                }
            }
        };
        steps.map_err(|error| self.refused(&error))
    }

    /// Applies the migrations up to and including `step`; how long it took.
    ///
    /// # Errors
    /// [`Error::Open`] when it fails; what it did is undone.
    pub async fn apply(&mut self, step: &Step) -> Result<Duration, Error> {
        let began = Instant::now();
        let applied = match &mut self.connection {
            Connection::None => Ok(()),
            Connection::Sqlite(connection) => SQLITE.run_to(step.version, connection).await,
            Connection::Postgres(connection) => POSTGRES.run_to(step.version, connection).await,
        };
        applied.map_err(|error| self.refused(&error)).map(|()| began.elapsed())
    }

    fn refused(&self, error: &MigrateError) -> Error {
        Error::Open { at: self.at.clone(), reason: Fault::of(error).reason }
    }
}

async fn steps(
    migrator: &Migrator,
    connection: &mut impl Migrate,
    has_table: bool,
) -> Result<Vec<Step>, MigrateError> {
    let applied = if has_table { connection.list_applied_migrations(TABLE).await? } else { Vec::new() };
    let applied: Vec<_> = applied.iter().map(|one| one.version).collect();
    match applied.iter().find(|version| !migrator.version_exists(**version)) {
        Some(version) => Err(MigrateError::VersionMissing(*version)),
        None => Ok(list(migrator, &applied)),
    }
}

fn list(migrator: &Migrator, applied: &[i64]) -> Vec<Step> {
    let step = |migration: &sqlx::migrate::Migration| Step {
        version: migration.version,
        name: migration.description.to_string(),
        is_applied: applied.contains(&migration.version),
    };
    migrator.iter().map(step).collect()
}

/// Why a database is not ready.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: String,
    /// Whether it stays so until somebody changes something.
    pub(super) is_for_the_operator: bool,
}

impl Fault {
    pub(super) fn of(error: &MigrateError) -> Self {
        let for_the_operator = |reason| Self { reason, is_for_the_operator: true };
        match error {
            MigrateError::VersionMissing(version) => for_the_operator(format!(
                "it was written by a later version of this program (migration {version}); use that version"
            )),
            MigrateError::VersionMismatch(version) => for_the_operator(format!(
                "its migration {version} is not this program's; it belongs to another program or build"
            )),
            MigrateError::Execute(error) => Self::connecting(error),
            MigrateError::ExecuteMigration(error, version) => {
                let Self { reason, is_for_the_operator } = Self::connecting(error);
                Self { reason: format!("migration {version} failed: {reason}"), is_for_the_operator }
            }
            other => for_the_operator(other.to_string()),
        }
    }

    /// What a failed attempt to connect says.
    pub(super) fn connecting(error: &sqlx::Error) -> Self {
        Self { reason: explain(error), is_for_the_operator: !may_pass(error) }
    }

    pub(super) fn late() -> Self {
        Self { reason: "it does not answer in time".into(), is_for_the_operator: false }
    }
}

/// Whether waiting can help.
fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        // Its other end does not speak the protocol or not this kind of TLS: somebody else's port.
        sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => false,
        // Transaction rollbacks, lock time-outs, resources, cancelled statements.
        _ => {
            let passes = ["40", "53", "55", "57"];
            verdict::is_away(error)
                || verdict::sql_state(error)
                    .is_some_and(|state| passes.iter().any(|one| state.starts_with(one)))
        }
    }
}

fn explain(error: &sqlx::Error) -> String {
    let told = match error {
        sqlx::Error::Database(refusal) => refusal.message().to_owned(),
        other => other.to_string(),
    };
    match verdict::sql_state(error) {
        Some("3D000") => format!("{told}; make it with: createdb"),
        Some("28P01" | "28000") => format!("{told}; check user, password and pg_hba.conf"),
        Some("42501") => format!("{told}; the user has to own the database or its schema"),
        Some("42P07" | "42710") => format!("{told}; the database belongs to another program"),
        _ => told,
    }
}
