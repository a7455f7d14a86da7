//! The outbox's SQLite file: one row per entry, and the cursor.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use sqlx::{
    Arguments as _, AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection, SqliteExecutor,
    sqlite::{SqliteArguments, SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{
    counts::Durability,
    entry::{Entry, Seq, Topic, Totals},
};

/// Entries per commit, which is one statement.
pub(super) const GROUP_ENTRIES_MAX: usize = 256;
/// The sizes of that statement: a group takes the next larger one and leaves the rest of it empty.
const STATEMENT_ROWS: [usize; 6] = [1, 4, 16, 64, 128, GROUP_ENTRIES_MAX];
const COLUMNS: usize = 7;
/// Rows that are removed at once: short enough that a commit behind it does not notice.
const REMOVE_ROWS: u64 = 512;
/// Each commit writes the pages that it touches to the log: small ones make a small log.
const PAGE_BYTES: u32 = 1024;
/// Pages that are given back to the file system at once.
const SHRINK_PAGES: i64 = 1024;
/// Free pages that the file keeps for what comes next: 16 MB.
const FREE_PAGES_KEPT: i64 = 16_384;
/// A log up to this size goes on; a larger one is begun anew.
const LOG_BYTES_MAX: u64 = 16 << 20;
/// A file up to this size is checked as a whole when it is opened, in a fraction of a second.
const CHECKED_BYTES_MAX: u64 = 32 << 20;
/// Another connection of this process holds the write lock for a checkpoint at most.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Each row carries the totals up to it, so that no counting is ever needed: not at the start, and not when
/// a cursor moves.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS entries (
    seq INTEGER PRIMARY KEY, topic INTEGER NOT NULL, key BLOB NOT NULL, payload BLOB NOT NULL,
    requests_ever INTEGER NOT NULL, heartbeat_bytes_ever INTEGER NOT NULL,
    request_bytes_ever INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS cursor (
    id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL,
    requests_ever INTEGER NOT NULL, heartbeat_bytes_ever INTEGER NOT NULL,
    request_bytes_ever INTEGER NOT NULL
);
INSERT INTO cursor VALUES (1, 0, 0, 0, 0) ON CONFLICT DO NOTHING;
";

/// The statements, by their place in [`STATEMENT_ROWS`].
static INSERTS: LazyLock<[Arc<str>; STATEMENT_ROWS.len()]> =
    LazyLock::new(|| STATEMENT_ROWS.map(|rows| insert_sql(rows).into()));

/// Parameters that are not given are NULL, and a row without a place is no row.
fn insert_sql(rows: usize) -> String {
    let row = format!("({})", ["?"; COLUMNS].join(","));
    format!(
        "INSERT INTO entries SELECT * FROM (VALUES {}) WHERE column1 IS NOT NULL",
        vec![row; rows].join(",")
    )
}

/// How each connection to the file behaves.
pub(super) fn options(path: &Path, durability: Durability) -> SqliteConnectOptions {
    let synchronous = match durability {
        Durability::Process => SqliteSynchronous::Normal,
        Durability::Disk => SqliteSynchronous::Full,
    };
    SqliteConnectOptions::new()
        .filename(path)
        .page_size(PAGE_BYTES)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY_TIMEOUT)
        // After a burst the log would otherwise stay as large as it ever was.
        .pragma("journal_size_limit", "16777216")
        // Its calls to the disk would stand between two commits; the scribe has it done beside them.
        .pragma("wal_autocheckpoint", "0")
        .thread_name(|id| format!("outbox-{id}"))
        .disable_statement_logging()
}

/// The connection that writes.
#[derive(Debug)]
pub(super) struct File {
    connection: SqliteConnection,
    /// What is removed, which is everything up to the first row.
    removed: Totals,
    cursor: Totals,
    last: Totals,
    /// Pages were given back that the file system gets when the log is copied.
    pub shrunk: bool,
}

impl File {
    pub async fn open(path: &Path, durability: Durability) -> Result<Self, sqlx::Error> {
        let mut connection = options(path, durability).connect().await?;
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
        if std::fs::metadata(path).is_ok_and(|file| file.len() <= CHECKED_BYTES_MAX) {
            check(&mut connection).await?;
        }
        let mut file = Self {
            connection,
            removed: Totals::default(),
            cursor: Totals::default(),
            last: Totals::default(),
            shrunk: false,
        };
        file.read_totals().await?;
        Ok(file)
    }

    /// Everything that is appended.
    pub fn last(&self) -> Totals {
        self.last
    }

    /// Everything that is delivered.
    pub fn cursor(&self) -> Totals {
        self.cursor
    }

    /// Everything that takes no room.
    pub fn removed(&self) -> Totals {
        self.removed
    }

    /// Reads what is in the file, which is what counts after a commit whose end was not seen.
    pub async fn read_totals(&mut self) -> Result<(), sqlx::Error> {
        let ends = "SELECT seq, requests_ever, heartbeat_bytes_ever, request_bytes_ever FROM";
        let db = &mut self.connection;
        self.cursor = totals(&mut *db, format!("{ends} cursor")).await?.unwrap_or_default();
        let last = totals(&mut *db, format!("{ends} entries ORDER BY seq DESC LIMIT 1")).await?;
        self.last = last.unwrap_or(self.cursor);
        let first: Option<(i64, u8, i64)> =
            sqlx::query_as("SELECT seq, topic, length(payload) FROM entries ORDER BY seq LIMIT 1")
                .fetch_optional(&mut *db)
                .await?;
        let first_totals = totals(db, format!("{ends} entries ORDER BY seq LIMIT 1")).await?;
        self.removed = match (first, first_totals) {
            (Some((_, topic, length)), Some(mut before)) => {
                let topic = usize::from(topic).min(Topic::ALL.len() - 1);
                before.entries[topic] = before.entries[topic].saturating_sub(1);
                before.bytes[topic] = before.bytes[topic].saturating_sub(length.cast_unsigned());
                before
            }
            _ => self.last,
        };
        Ok(())
    }

    /// Adds entries in one statement, all or none.
    pub async fn insert(&mut self, group: &[Entry]) -> Result<(), sqlx::Error> {
        let Some(at) = STATEMENT_ROWS.iter().position(|rows| *rows >= group.len()) else {
            return Err(sqlx::Error::Protocol("a group is larger than its statement".into()));
        };
        let mut totals = self.last;
        let mut arguments = SqliteArguments::default();
        arguments.reserve(group.len() * COLUMNS, 0);
        for entry in group {
            totals.add(entry);
            add(&mut arguments, entry, &totals).map_err(sqlx::Error::Encode)?;
        }
        let insert = sqlx::query_with(AssertSqlSafe(INSERTS[at].clone()), arguments);
        insert.execute(&mut self.connection).await?;
        self.last = totals;
        Ok(())
    }

    /// Makes the cursor durable, removes some of the rows behind it and gives some room back. Whether there
    /// is more of that to do.
    pub async fn tidy(&mut self, cursor: Seq) -> Result<bool, sqlx::Error> {
        let cursor = cursor.min(self.last.seq()).max(self.cursor.seq());
        let remove_to = Seq((self.removed.seq().0 + REMOVE_ROWS).min(cursor.0));
        if cursor > self.cursor.seq() || remove_to > self.removed.seq() {
            let mut work = self.connection.begin_with("BEGIN IMMEDIATE").await?;
            let moved = totals_at(&mut work, cursor).await?.unwrap_or(self.cursor);
            let removed = totals_at(&mut work, remove_to).await?.unwrap_or(self.removed);
            sqlx::query(
                "UPDATE cursor SET seq = ?, requests_ever = ?, heartbeat_bytes_ever = ?, \
                 request_bytes_ever = ?",
            )
            .bind(moved.seq().0.cast_signed())
            .bind(moved.entries[Topic::Requests as usize].cast_signed())
            .bind(moved.bytes[Topic::Heartbeats as usize].cast_signed())
            .bind(moved.bytes[Topic::Requests as usize].cast_signed())
            .execute(&mut *work)
            .await?;
            let delete = sqlx::query("DELETE FROM entries WHERE seq <= ?");
            delete.bind(removed.seq().0.cast_signed()).execute(&mut *work).await?;
            work.commit().await?;
            (self.cursor, self.removed) = (moved, removed);
        }
        let shrunk = self.shrink().await?;
        Ok(shrunk || self.removed.seq() < self.cursor.seq())
    }

    /// Gives free pages back to the file system; whether there were more than are kept.
    async fn shrink(&mut self) -> Result<bool, sqlx::Error> {
        let db = &mut self.connection;
        let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&mut *db).await?;
        if free <= FREE_PAGES_KEPT {
            return Ok(false);
        }
        let pages = SHRINK_PAGES.min(free - FREE_PAGES_KEPT);
        let shrink = AssertSqlSafe(format!("PRAGMA incremental_vacuum({pages})"));
        sqlx::raw_sql(shrink).execute(db).await?;
        self.shrunk = true;
        Ok(true)
    }

    /// Copies what is left of the log, so that the next commit begins it anew. This waits for the disk.
    pub async fn restart_log(&mut self) -> Result<(), sqlx::Error> {
        checkpoint(&mut self.connection).await.map(|_| ())
    }

    pub async fn close(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }
}

async fn check(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(connection).await?;
    if found == "ok" { Ok(()) } else { Err(sqlx::Error::Decode(found.into())) }
}

fn add(row: &mut SqliteArguments, entry: &Entry, totals: &Totals) -> Result<(), sqlx::error::BoxDynError> {
    row.add(totals.seq().0.cast_signed())?;
    row.add(entry.topic as u8)?;
    row.add(&entry.key[..])?;
    row.add(&entry.payload[..])?;
    row.add(totals.entries[Topic::Requests as usize].cast_signed())?;
    row.add(totals.bytes[Topic::Heartbeats as usize].cast_signed())?;
    row.add(totals.bytes[Topic::Requests as usize].cast_signed())
}

async fn totals(db: &mut SqliteConnection, sql: String) -> Result<Option<Totals>, sqlx::Error> {
    let row: Option<(i64, i64, i64, i64)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_optional(db).await?;
    row.map(|row| read_row(row).ok_or_else(|| sqlx::Error::Decode("totals that contradict".into())))
        .transpose()
}

async fn totals_at(db: &mut SqliteConnection, seq: Seq) -> Result<Option<Totals>, sqlx::Error> {
    let sql = format!(
        "SELECT seq, requests_ever, heartbeat_bytes_ever, request_bytes_ever FROM entries WHERE seq = {}",
        seq.0
    );
    totals(db, sql).await
}

fn read_row((seq, requests, heartbeat_bytes, request_bytes): (i64, i64, i64, i64)) -> Option<Totals> {
    let (seq, requests) = (u64::try_from(seq).ok()?, u64::try_from(requests).ok()?);
    Some(Totals {
        entries: [seq.checked_sub(requests)?, requests],
        bytes: [u64::try_from(heartbeat_bytes).ok()?, u64::try_from(request_bytes).ok()?],
    })
}

/// What a commit of so many bytes adds to the log, about.
pub(super) fn log_bytes(cost: u64) -> u64 {
    cost + 2 * u64::from(PAGE_BYTES)
}

/// Copies the log into the database beside the commits, which go on. Whether the log is large enough to be
/// begun anew.
pub(super) async fn checkpoint(db: impl SqliteExecutor<'_>) -> Result<bool, sqlx::Error> {
    let (_, frames, _): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(db).await?;
    Ok(frames.unsigned_abs() * u64::from(PAGE_BYTES) > LOG_BYTES_MAX)
}
