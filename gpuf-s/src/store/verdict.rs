//! What an error of a database means to us: whether a retry can help, or a row is to blame.

use sqlx::{error::ErrorKind, postgres::PgDatabaseError};

use super::Error;

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refusal) => match refusal.kind() {
                ErrorKind::UniqueViolation => Self::Taken,
                ErrorKind::NotNullViolation | ErrorKind::CheckViolation | ErrorKind::ForeignKeyViolation => {
                    Self::Refused(error.to_string())
                }
                _ if blames_the_row(&error) => Self::Refused(error.to_string()),
                _ => Self::Unavailable(error.to_string()),
            },
            sqlx::Error::Encode(_) => Self::Refused(error.to_string()),
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

/// Data exceptions, and rows that exceed a limit of the program: the same row fails for ever.
fn blames_the_row(error: &sqlx::Error) -> bool {
    sql_state(error).is_some_and(|state| state.starts_with("22") || state.starts_with("54"))
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
