//! Figures per day: added to, read, counted again from rows, and the rows' end.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::{
    Lease, Postgres,
    ingest::{DAY_LOCKS, column},
    partitions,
    statements::statements,
};
use crate::store::{
    AgentDay, Day, DayFilter, DeviceDay, Error, Name, REPORT_PAGE_ROWS_MAX, Rebuild, Rebuilt,
    day_columns::{AgentDayColumns, DeviceDayColumns},
    ingest::{
        days::{AGENT_DAYS, DEVICE_DAYS, Days, Figures, Table, differences},
        rows::Row,
    },
    sample_columns::HeartbeatColumns,
};

/// How long a day may be counted: nobody's request waits for it.
const REBUILD_DEADLINE: Duration = Duration::from_secs(3600);
/// How long one step of dropping rows may take.
const PRUNE_DEADLINE: Duration = Duration::from_secs(30);
/// Rows of the default part that are deleted at a time.
const PRUNE_STEP_ROWS: i64 = 10_000;

statements! {
    PRUNED_BEFORE = "SELECT before_unix_ms FROM retention WHERE subject = 'heartbeats'";
    MARK = "INSERT INTO retention AS old (subject, before_unix_ms) VALUES ('heartbeats', $1) \
            ON CONFLICT (subject) DO UPDATE SET \
            before_unix_ms = greatest(old.before_unix_ms, excluded.before_unix_ms)";
    PRUNE_DEFAULT = "DELETE FROM heartbeats_default WHERE ctid = ANY(ARRAY(SELECT ctid FROM heartbeats_default \
                     WHERE taken_unix_ms < $1 LIMIT $2))";
    DAY_ROWS = "SELECT agent_id, taken_unix_ms, id, cpu_millipercent, memory_used_bytes, memory_total_bytes, \
                disk_used_bytes, disk_total_bytes, network_received_bytes, network_sent_bytes, uptime_s, \
                received_delta_bytes, sent_delta_bytes, online_ms, devices::text AS devices FROM heartbeats \
                WHERE taken_unix_ms >= $1 AND taken_unix_ms < $2";
    PRUNE_ASIDE = "DELETE FROM set_aside WHERE at_unix_ms < $1";
    OWN_DAY = "SELECT pg_advisory_xact_lock($1, $2)";
}

/// Every statement sees the same moment.
pub(super) const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

struct Sql {
    insert: Arc<str>,
    add: Arc<str>,
}

static AGENTS: LazyLock<Sql> = LazyLock::new(|| Sql::of(&AGENT_DAYS));
static DEVICES: LazyLock<Sql> = LazyLock::new(|| Sql::of(&DEVICE_DAYS));

impl Sql {
    fn of(table: &Table) -> Self {
        let columns = table.key.len() + table.columns.len();
        let types = (1..=columns).map(|at| format!("${at}::{}[]", if at == 2 { "bytea" } else { "bigint" }));
        let insert = format!(
            "INSERT INTO {} ({}) SELECT * FROM unnest({})",
            table.name,
            table.column_list(),
            types.collect::<Vec<_>>().join(", ")
        );
        Self { add: format!("{insert} {}", table.on_conflict()).into(), insert: insert.into() }
    }
}

/// Adds figures to those that are there.
pub(super) async fn add(work: &mut PgConnection, days: &Days) -> Result<(), sqlx::Error> {
    put(work, days, &AGENTS.add, &DEVICES.add).await
}

async fn put(
    work: &mut PgConnection,
    days: &Days,
    agents: &Arc<str>,
    devices: &Arc<str>,
) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = days.agents.iter().collect();
    if !rows.is_empty() {
        let mut query = sqlx::query(AssertSqlSafe(agents.clone()))
            .bind(column(&rows, |((day, _), _)| i64::from(day.number())))
            .bind(column(&rows, |((_, agent), _)| agent.as_bytes().as_slice()));
        for at in 0..AGENT_DAYS.columns.len() {
            query = query.bind(column(&rows, |(_, figures)| figures[at]));
        }
        query.execute(&mut *work).await?;
    }
    let rows: Vec<_> = days.devices.iter().collect();
    if !rows.is_empty() {
        let mut query = sqlx::query(AssertSqlSafe(devices.clone()))
            .bind(column(&rows, |((day, ..), _)| i64::from(day.number())))
            .bind(column(&rows, |((_, agent, _), _)| agent.as_bytes().as_slice()))
            .bind(column(&rows, |((.., index), _)| i64::from(*index)));
        for at in 0..DEVICE_DAYS.columns.len() {
            query = query.bind(column(&rows, |(_, figures): &(_, &Figures)| figures[at]));
        }
        query.execute(work).await?;
    }
    Ok(())
}

pub(super) async fn pruned_before(work: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let query = sqlx::query_as::<_, (i64,)>(PRUNED_BEFORE);
    Ok(query.fetch_optional(work).await?.map_or(0, |(before,)| before))
}

impl Postgres {
    pub(in crate::store) async fn rebuild_day(
        &self,
        day: Day,
        how: Rebuild,
    ) -> Result<Option<Rebuilt>, Error> {
        self.in_time_of(REBUILD_DEADLINE, async {
            let mut ledger = Lease::of(&self.ledger).await?;
            // To compare, the moment at which it began is enough. To write, batches with samples of this day
            // wait, and those that have begun are waited for.
            let begin = if how == Rebuild::Check { BEGIN_SNAPSHOT } else { "BEGIN" };
            let mut work = ledger.begin_with(begin).await?;
            work.execute("SET LOCAL statement_timeout = 0").await?;
            if how != Rebuild::Check {
                sqlx::query(OWN_DAY).bind(DAY_LOCKS).bind(day.number()).execute(&mut *work).await?;
            }
            let (counted, rows) = count(&mut work, day).await?;
            let stored = stored(&mut work, day).await?;
            let gone =
                pruned_before(&mut work).await? > day.first_unix_ms() || (rows == 0 && stored != counted);
            if gone && how != Rebuild::Force {
                work.rollback().await?;
                return Ok(ledger.done(None));
            }
            let differences = differences(&stored, &counted);
            if how != Rebuild::Check && !differences.is_empty() {
                for table in [&AGENT_DAYS, &DEVICE_DAYS] {
                    let delete = format!("DELETE FROM {} WHERE day = $1", table.name);
                    let delete = sqlx::query(AssertSqlSafe(delete)).bind(i64::from(day.number()));
                    delete.execute(&mut *work).await?;
                }
                put(&mut work, &counted, &AGENTS.insert, &DEVICES.insert).await?;
            }
            work.commit().await?;
            let (agents, devices) = (counted.agents.len() as u64, counted.devices.len() as u64);
            Ok(ledger.done(Some(Rebuilt { rows, agents, devices, differences })))
        })
        .await
    }

    pub(in crate::store) async fn prune_samples(&self, before_unix_ms: u64) -> Result<u64, Error> {
        let Some(before) = Day::of_unix_ms(before_unix_ms) else { return Ok(0) };
        // From here on nothing older is taken in, so that what is dropped cannot come back.
        self.execute(sqlx::query(MARK).bind(before.first_unix_ms())).await?;
        self.execute(sqlx::query(PRUNE_ASIDE).bind(before.first_unix_ms())).await?;
        let parts = self
            .in_time(async {
                let mut ledger = Lease::of(&self.ledger).await?;
                let parts = partitions::heartbeats_days(&mut ledger).await?;
                Ok(ledger.done(parts))
            })
            .await?;
        let mut pruned = 0;
        for day in parts.into_iter().filter(|day| *day < before) {
            self.drop_day(day).await?;
            pruned += 1;
        }
        loop {
            let step = sqlx::query(PRUNE_DEFAULT).bind(before.first_unix_ms()).bind(PRUNE_STEP_ROWS);
            let deleted = self.execute(step).await?;
            pruned += deleted;
            if deleted < PRUNE_STEP_ROWS.cast_unsigned() {
                return Ok(pruned);
            }
        }
    }

    /// Waits for batches that may hold samples of the day, but lets none wait behind it for long.
    async fn drop_day(&self, day: Day) -> Result<(), Error> {
        self.in_time_of(PRUNE_DEADLINE, async {
            let mut ledger = Lease::of(&self.ledger).await?;
            let mut work = ledger.begin().await?;
            work.execute("SET LOCAL lock_timeout = '2s'").await?;
            sqlx::query(OWN_DAY).bind(DAY_LOCKS).bind(day.number()).execute(&mut *work).await?;
            let part = partitions::heartbeats_day(day);
            work.execute(AssertSqlSafe(format!("DROP TABLE IF EXISTS {}_{}", part.table, part.suffix)))
                .await?;
            work.commit().await?;
            ledger.done(());
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn agent_days(&self, filter: &DayFilter) -> Result<Vec<AgentDay>, Error> {
        let (day, agent, _) = after(filter);
        let sql =
            format!("{} AND (day, agent_id) > ($5, $6) ORDER BY day, agent_id LIMIT $7", page(&AGENT_DAYS));
        let query = sqlx::query_as::<_, AgentDayColumns>(AssertSqlSafe(sql))
            .bind(i64::from(filter.from.map_or(0, Day::number)))
            .bind(i64::from(filter.to.map_or(i32::MAX, Day::number)))
            .bind(filter.agent_id.map(|agent| agent.as_bytes().to_vec()))
            .bind(filter.owner.as_ref().map(Name::as_str))
            .bind(day)
            .bind(agent)
            .bind(i64::from(filter.limit.min(REPORT_PAGE_ROWS_MAX)));
        self.all(query).await?.into_iter().map(AgentDay::try_from).collect()
    }

    pub(in crate::store) async fn device_days(&self, filter: &DayFilter) -> Result<Vec<DeviceDay>, Error> {
        let (day, agent, index) = after(filter);
        let sql = format!(
            "{} AND (day, agent_id, device_index) > ($5, $6, $7) ORDER BY day, agent_id, device_index LIMIT $8",
            page(&DEVICE_DAYS)
        );
        let query = sqlx::query_as::<_, DeviceDayColumns>(AssertSqlSafe(sql))
            .bind(i64::from(filter.from.map_or(0, Day::number)))
            .bind(i64::from(filter.to.map_or(i32::MAX, Day::number)))
            .bind(filter.agent_id.map(|agent| agent.as_bytes().to_vec()))
            .bind(filter.owner.as_ref().map(Name::as_str))
            .bind(day)
            .bind(agent)
            .bind(index)
            .bind(i64::from(filter.limit.min(REPORT_PAGE_ROWS_MAX)));
        self.all(query).await?.into_iter().map(DeviceDay::try_from).collect()
    }
}

fn page(table: &Table) -> String {
    format!(
        "SELECT {} FROM {} WHERE day BETWEEN $1 AND $2 AND ($3::bytea IS NULL OR agent_id = $3) \
         AND ($4::text IS NULL OR agent_id IN (SELECT id FROM agents WHERE owner = $4))",
        table.column_list(),
        table.name
    )
}

/// The key after which a page begins; every key comes after the one of the first.
fn after(filter: &DayFilter) -> (i64, Vec<u8>, i64) {
    let last = filter
        .after
        .map(|(day, agent, index)| (i64::from(day.number()), agent.as_bytes().to_vec(), i64::from(index)));
    last.unwrap_or((-1, Vec::new(), -1))
}

async fn count(work: &mut PgConnection, day: Day) -> Result<(Days, u64), sqlx::Error> {
    let query = sqlx::query_as::<_, HeartbeatColumns>(DAY_ROWS);
    let mut rows = query.bind(day.first_unix_ms()).bind(day.end_unix_ms()).fetch(work);
    let (mut days, mut count) = (Days::default(), 0);
    while let Some(row) = rows.try_next().await? {
        days.add(&Row::try_from(row).map_err(unreadable)?);
        count += 1;
    }
    Ok((days, count))
}

async fn stored(work: &mut PgConnection, day: Day) -> Result<Days, sqlx::Error> {
    let select = |table: &Table| format!("SELECT {} FROM {} WHERE day = $1", table.column_list(), table.name);
    let day = i64::from(day.number());
    let agents = sqlx::query_as::<_, AgentDayColumns>(AssertSqlSafe(select(&AGENT_DAYS)));
    let agents = agents.bind(day).fetch_all(&mut *work).await?;
    let devices = sqlx::query_as::<_, DeviceDayColumns>(AssertSqlSafe(select(&DEVICE_DAYS)));
    let devices = devices.bind(day).fetch_all(&mut *work).await?;
    Ok(Days {
        agents: agents
            .into_iter()
            .map(AgentDayColumns::entry)
            .collect::<Result<_, _>>()
            .map_err(unreadable)?,
        devices: devices
            .into_iter()
            .map(DeviceDayColumns::entry)
            .collect::<Result<_, _>>()
            .map_err(unreadable)?,
    })
}

fn unreadable(error: Error) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
