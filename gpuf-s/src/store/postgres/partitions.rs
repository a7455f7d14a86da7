//! Parts of large tables, made ahead of the time whose rows they take.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use time::{Date, Month, OffsetDateTime};

use crate::store::{Day, UnixSeconds, UsageId};

/// A part of a partitioned table, for rows whose key is at or after `from` and before `to`. The table has a
/// part `…_default` for all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// The table.
    pub(super) table: &'static str,
    /// The column that the table is partitioned by.
    pub(super) key: &'static str,
    /// What the part is called after the table's name and an underscore.
    pub(super) suffix: String,
    /// The first key, as an SQL literal.
    pub(super) from: String,
    /// The first key after it, as an SQL literal.
    pub(super) to: String,
}

/// The parts that rows of the next weeks need.
pub(super) fn ahead(now: UnixSeconds) -> Vec<Part> {
    let this = YearMonth::of(now);
    let mut parts: Vec<_> = [this, this.next()].map(usage_month).into();
    let today = u64::try_from(now.0).ok().and_then(|now| Day::of_unix_ms(now.saturating_mul(1000)));
    parts.extend(today.into_iter().flat_map(|today| [today, today.next()].map(heartbeats_day)));
    parts
}

/// Makes a part where it is missing; whether it was.
///
/// Rows of its range that arrived before it are moved into it. Whoever reads or writes the table waits
/// meanwhile, so it does not wait for others for long itself, and is to be tried again later.
pub(super) async fn make(connection: &mut PgConnection, part: &Part) -> Result<bool, sqlx::Error> {
    let Part { table, key, suffix, from, to } = part;
    let name = format!("{table}_{suffix}");
    let mut work = connection.begin().await?;
    work.execute("SET LOCAL lock_timeout = '500ms'").await?;
    // Nobody else makes a part of the table at the same time; rows come in all the same.
    let lock = format!("LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE");
    work.execute(AssertSqlSafe(lock)).await?;
    let exists = sqlx::query_as::<_, (bool,)>("SELECT to_regclass($1) IS NOT NULL").bind(&name);
    if exists.fetch_one(&mut *work).await?.0 {
        work.rollback().await?;
        return Ok(false);
    }
    let make = format!(
        "LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE; \
         CREATE TABLE {name} (LIKE {table} INCLUDING ALL); \
         WITH early AS (DELETE FROM {table}_default WHERE {key} >= {from} AND {key} < {to} RETURNING *) \
         INSERT INTO {name} SELECT * FROM early; \
         ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({to})"
    );
    work.execute(AssertSqlSafe(make)).await?;
    work.commit().await?;
    Ok(true)
}

/// A month of a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct YearMonth {
    year: i32,
    month: Month,
}

impl YearMonth {
    fn of(now: UnixSeconds) -> Self {
        let date = OffsetDateTime::from_unix_timestamp(now.0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Self { year: date.year(), month: date.month() }
    }

    fn next(self) -> Self {
        let year = if self.month == Month::December { self.year + 1 } else { self.year };
        Self { year, month: self.month.next() }
    }

    /// Its first millisecond since the Unix epoch.
    fn first_ms(self) -> u64 {
        let first = Date::from_calendar_date(self.year, self.month, 1);
        let seconds = first.map_or(0, |date| date.midnight().assume_utc().unix_timestamp());
        u64::try_from(seconds).unwrap_or(0) * 1000
    }
}

fn usage_month(month: YearMonth) -> Part {
    let literal = |month: YearMonth| format!("'\\x{}'::bytea", UsageId::first_at(month.first_ms()));
    Part {
        table: "usage",
        key: "id",
        suffix: format!("{}_{:02}", month.year, u8::from(month.month)),
        from: literal(month),
        to: literal(month.next()),
    }
}

/// The part for heartbeats of a day.
pub(super) fn heartbeats_day(day: Day) -> Part {
    Part {
        table: "heartbeats",
        key: "taken_unix_ms",
        suffix: day.to_string().replace('-', "_"),
        from: day.first_unix_ms().to_string(),
        to: day.end_unix_ms().to_string(),
    }
}

/// The days that have a part for their heartbeats.
pub(super) async fn heartbeats_days(connection: &mut PgConnection) -> Result<Vec<Day>, sqlx::Error> {
    let query = sqlx::query_as::<_, (String,)>(
        "SELECT relname::text FROM pg_inherits JOIN pg_class ON oid = inhrelid \
         WHERE inhparent = 'heartbeats'::regclass ORDER BY relname",
    );
    let names = query.fetch_all(connection).await?;
    let day = |(name,): (String,)| name.strip_prefix("heartbeats_")?.replace('_', "-").parse().ok();
    Ok(names.into_iter().filter_map(day).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_month_and_the_next_are_made_ahead_without_a_gap() {
        // 2026-12-31 23:59:59 UTC.
        let [this, next, today, tomorrow] = ahead(UnixSeconds(1_798_761_599)).try_into().unwrap();
        assert_eq!((&*today.suffix, &*tomorrow.suffix), ("2026_12_31", "2027_01_01"));
        assert_eq!(today.to, tomorrow.from);
        assert_eq!((&*this.suffix, &*next.suffix), ("2026_12", "2027_01"));
        assert_eq!(this.to, next.from);
        assert_eq!(this.to, format!("'\\x{}'::bytea", UsageId::first_at(1_798_761_600_000)));
        let same = ahead(UnixSeconds(1_796_083_200)).swap_remove(0);
        assert_eq!(same, this);
    }
}
