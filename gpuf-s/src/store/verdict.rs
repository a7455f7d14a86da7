//! What an error of a database means to us: whether a retry can help, or a row is to blame.

use sqlx::{error::DatabaseError as _, postgres::PgDatabaseError, sqlite::SqliteError};

use super::Error;

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refusal) if refusal.is_unique_violation() => Self::Taken,
            _ if is_refusal(&error) => Self::Refused(error.to_string()),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Corrupt("a column"),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// The five characters that PostgreSQL names the error by
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
pub(super) fn sql_state(error: &sqlx::Error) -> Option<&str> {
    let refusal = error.as_database_error()?;
    refusal.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::code)
}

/// Whether the same rows are refused however often they are sent.
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Encode(_) => true,
        sqlx::Error::Database(_) => match (sql_state(error), sqlite_code(error)) {
            // Data exceptions, violated constraints, and rows that exceed a limit of the program.
            (Some(state), _) => ["22", "23", "54"].iter().any(|class| state.starts_with(class)),
            // Too big, a violated constraint, or another type: SQLITE_TOOBIG, _CONSTRAINT and _MISMATCH
            // (<https://www.sqlite.org/rescode.html>).
            (_, code) => code.is_some_and(|code| (18..=20).contains(&code)),
        },
        _ => false,
    }
}

/// The primary code of an error of SQLite, without its extension.
fn sqlite_code(error: &sqlx::Error) -> Option<i32> {
    let refusal = error.as_database_error()?.try_downcast_ref::<SqliteError>()?;
    Some(refusal.code()?.parse::<i32>().ok()? & 0xff)
}

/// Whether the database itself is away, as opposed to a statement that failed.
pub(super) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed => true,
        // Connection exceptions, too many connections, shutting down, starting up, read-only after a fail-over.
        _ => sql_state(error).is_some_and(|state| {
            state.starts_with("08") || state.starts_with("57P") || state == "53300" || state == "25006"
        }),
    }
}
