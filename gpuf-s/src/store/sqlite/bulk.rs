//! Many rows per statement.

use std::sync::Arc;

use sqlx::{Arguments as _, AssertSqlSafe, SqliteConnection, error::BoxDynError, sqlite::SqliteArguments};

/// Rows per statement, largest first: few enough statements to stay prepared, few enough calls per batch.
const STATEMENT_ROWS: [usize; 4] = [128, 32, 8, 1];

/// A statement that takes any number of rows.
pub(super) struct Bulk {
    /// By their places in [`STATEMENT_ROWS`].
    statements: [Arc<str>; STATEMENT_ROWS.len()],
    columns: usize,
}

impl Bulk {
    /// `head`, then as many groups of `columns` values as there are rows, then `tail`.
    pub(super) fn new(head: &str, columns: usize, tail: &str) -> Self {
        let row = format!("({})", vec!["?"; columns].join(","));
        let statement = |rows| format!("{head} {} {tail}", vec![row.as_str(); rows].join(",")).into();
        Self { statements: STATEMENT_ROWS.map(statement), columns }
    }

    /// An insertion into all of these columns.
    pub(super) fn insert(table: &str, columns: &str, tail: &str) -> Self {
        Self::new(&format!("INSERT INTO {table} ({columns}) VALUES"), columns.split(',').count(), tail)
    }

    /// Runs it for `rows`; `bind` adds the values of one. How many rows it affected.
    pub(super) async fn execute<T>(
        &self,
        work: &mut SqliteConnection,
        rows: &[T],
        bind: impl Fn(&mut SqliteArguments, &T) -> Result<(), BoxDynError>,
    ) -> Result<u64, sqlx::Error> {
        let mut affected = 0;
        for (sql, arguments) in self.chunks(rows, bind)? {
            affected +=
                sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut *work).await?.rows_affected();
        }
        Ok(affected)
    }

    /// Runs it for `rows`, and gives what it returns.
    pub(super) async fn fetch<T, R>(
        &self,
        work: &mut SqliteConnection,
        rows: &[T],
        bind: impl Fn(&mut SqliteArguments, &T) -> Result<(), BoxDynError>,
    ) -> Result<Vec<R>, sqlx::Error>
    where
        R: for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> + Send + Unpin,
    {
        let mut fetched = Vec::new();
        for (sql, arguments) in self.chunks(rows, bind)? {
            fetched.extend(sqlx::query_as_with(AssertSqlSafe(sql), arguments).fetch_all(&mut *work).await?);
        }
        Ok(fetched)
    }

    fn chunks<T>(
        &self,
        mut rows: &[T],
        bind: impl Fn(&mut SqliteArguments, &T) -> Result<(), BoxDynError>,
    ) -> Result<Vec<(Arc<str>, SqliteArguments)>, sqlx::Error> {
        let mut chunks = Vec::new();
        for (size, sql) in STATEMENT_ROWS.into_iter().zip(&self.statements) {
            while let Some((chunk, after)) = rows.split_at_checked(size) {
                let mut arguments = SqliteArguments::default();
                arguments.reserve(size * self.columns, 0);
                for row in chunk {
                    bind(&mut arguments, row).map_err(sqlx::Error::Encode)?;
                }
                chunks.push((sql.clone(), arguments));
                rows = after;
            }
        }
        Ok(chunks)
    }
}
