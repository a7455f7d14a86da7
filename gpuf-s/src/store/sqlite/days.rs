//! Figures per day: added to, read, counted again from rows, and the rows' end.

use std::sync::LazyLock;

use futures_util::TryStreamExt as _;
use sqlx::{Arguments as _, AssertSqlSafe, SqliteConnection};

use super::{Sqlite, bulk::Bulk, in_time};
use crate::store::{
    AgentDay, Day, DayFilter, DeviceDay, Error, Name, REPORT_PAGE_ROWS_MAX, Rebuild, Rebuilt,
    day_columns::{AgentDayColumns, DeviceDayColumns},
    ingest::{
        days::{AGENT_DAYS, DEVICE_DAYS, Days, Table, differences},
        rows::Row,
    },
    sample_columns::{HEARTBEAT_COLUMNS, HeartbeatColumns},
};

/// Rows that are deleted at a time, so that others can write in between.
const PRUNE_STEP_ROWS: u32 = 1000;

static INSERT_AGENT_DAYS: LazyLock<Bulk> = LazyLock::new(|| insertion(&AGENT_DAYS, ""));
static INSERT_DEVICE_DAYS: LazyLock<Bulk> = LazyLock::new(|| insertion(&DEVICE_DAYS, ""));
static ADD_AGENT_DAYS: LazyLock<Bulk> = LazyLock::new(|| insertion(&AGENT_DAYS, &AGENT_DAYS.on_conflict()));
static ADD_DEVICE_DAYS: LazyLock<Bulk> =
    LazyLock::new(|| insertion(&DEVICE_DAYS, &DEVICE_DAYS.on_conflict()));

fn insertion(table: &Table, tail: &str) -> Bulk {
    Bulk::insert(table.name, &table.column_list(), tail)
}

/// Adds figures to those that are there.
pub(super) async fn add(work: &mut SqliteConnection, days: &Days) -> Result<(), sqlx::Error> {
    put(work, days, &ADD_AGENT_DAYS, &ADD_DEVICE_DAYS).await
}

async fn put(
    work: &mut SqliteConnection,
    days: &Days,
    agents: &Bulk,
    devices: &Bulk,
) -> Result<(), sqlx::Error> {
    let of_agents: Vec<_> = days.agents.iter().collect();
    agents
        .execute(work, &of_agents, |row, ((day, agent), figures)| {
            row.add(day.number())?;
            row.add(agent.as_bytes().to_vec())?;
            figures.iter().try_for_each(|figure| row.add(*figure))
        })
        .await?;
    let of_devices: Vec<_> = days.devices.iter().collect();
    devices
        .execute(work, &of_devices, |row, ((day, agent, index), figures)| {
            row.add(day.number())?;
            row.add(agent.as_bytes().to_vec())?;
            row.add(*index)?;
            figures.iter().try_for_each(|figure| row.add(*figure))
        })
        .await?;
    Ok(())
}

pub(super) async fn pruned_before(work: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let query =
        sqlx::query_as::<_, (i64,)>("SELECT before_unix_ms FROM retention WHERE subject = 'heartbeats'");
    Ok(query.fetch_optional(work).await?.map_or(0, |(before,)| before))
}

impl Sqlite {
    pub(in crate::store) async fn rebuild_day(
        &self,
        day: Day,
        how: Rebuild,
    ) -> Result<Option<Rebuilt>, Error> {
        // However long it takes: nobody's request waits for it, and others write after it. To compare, the
        // moment at which it began is enough.
        let begin = if how == Rebuild::Check { "BEGIN" } else { "BEGIN IMMEDIATE" };
        let mut work = self.desk.begin_with(begin).await?;
        let (counted, rows) = count(&mut work, day).await?;
        let stored = stored(&mut work, day).await?;
        let gone = pruned_before(&mut work).await? > day.first_unix_ms() || (rows == 0 && stored != counted);
        if gone && how != Rebuild::Force {
            return Ok(None);
        }
        let differences = differences(&stored, &counted);
        if how != Rebuild::Check && !differences.is_empty() {
            for table in [&AGENT_DAYS, &DEVICE_DAYS] {
                let delete = format!("DELETE FROM {} WHERE day = ?", table.name);
                sqlx::query(AssertSqlSafe(delete)).bind(day.number()).execute(&mut *work).await?;
            }
            put(&mut work, &counted, &INSERT_AGENT_DAYS, &INSERT_DEVICE_DAYS).await?;
            work.commit().await?;
        }
        let (agents, devices) = (counted.agents.len() as u64, counted.devices.len() as u64);
        Ok(Some(Rebuilt { rows, agents, devices, differences }))
    }

    pub(in crate::store) async fn prune_samples(&self, before_unix_ms: u64) -> Result<u64, Error> {
        let Some(day) = Day::of_unix_ms(before_unix_ms) else { return Ok(0) };
        // From here on nothing older is taken in, so that what is deleted cannot come back.
        let mark = sqlx::query(
            "INSERT INTO retention (subject, before_unix_ms) VALUES ('heartbeats', ?) ON CONFLICT (subject) \
             DO UPDATE SET before_unix_ms = max(retention.before_unix_ms, excluded.before_unix_ms)",
        );
        in_time(mark.bind(day.first_unix_ms()).execute(&self.ledger)).await?;
        let aside = sqlx::query("DELETE FROM set_aside WHERE at_unix_ms < ?").bind(day.first_unix_ms());
        in_time(aside.execute(&self.ledger)).await?;
        let agents = sqlx::query_as::<_, (Vec<u8>,)>("SELECT agent_id FROM agent_counters");
        let mut pruned = 0;
        for (agent,) in in_time(agents.fetch_all(&self.desk)).await? {
            loop {
                let step = sqlx::query(
                    "DELETE FROM heartbeats WHERE (agent_id, taken_unix_ms, id) IN (SELECT agent_id, \
                     taken_unix_ms, id FROM heartbeats WHERE agent_id = ? AND taken_unix_ms < ? LIMIT ?)",
                )
                .bind(agent.as_slice())
                .bind(day.first_unix_ms())
                .bind(PRUNE_STEP_ROWS);
                let deleted = in_time(step.execute(&self.ledger)).await?.rows_affected();
                pruned += deleted;
                if deleted < u64::from(PRUNE_STEP_ROWS) {
                    break;
                }
            }
        }
        Ok(pruned)
    }

    pub(in crate::store) async fn agent_days(&self, filter: &DayFilter) -> Result<Vec<AgentDay>, Error> {
        let (day, agent, _) = after(filter);
        let sql =
            format!("{} AND (day, agent_id) > (?5, ?6) ORDER BY day, agent_id LIMIT ?7", page(&AGENT_DAYS));
        let query = sqlx::query_as::<_, AgentDayColumns>(AssertSqlSafe(sql))
            .bind(filter.from.map_or(0, Day::number))
            .bind(filter.to.map_or(i32::MAX, Day::number))
            .bind(filter.agent_id.map(|agent| agent.as_bytes().to_vec()))
            .bind(filter.owner.as_ref().map(Name::as_str))
            .bind(day)
            .bind(agent)
            .bind(filter.limit.min(REPORT_PAGE_ROWS_MAX));
        in_time(query.fetch_all(&self.desk)).await?.into_iter().map(AgentDay::try_from).collect()
    }

    pub(in crate::store) async fn device_days(&self, filter: &DayFilter) -> Result<Vec<DeviceDay>, Error> {
        let (day, agent, index) = after(filter);
        let sql = format!(
            "{} AND (day, agent_id, device_index) > (?5, ?6, ?7) ORDER BY day, agent_id, device_index LIMIT ?8",
            page(&DEVICE_DAYS)
        );
        let query = sqlx::query_as::<_, DeviceDayColumns>(AssertSqlSafe(sql))
            .bind(filter.from.map_or(0, Day::number))
            .bind(filter.to.map_or(i32::MAX, Day::number))
            .bind(filter.agent_id.map(|agent| agent.as_bytes().to_vec()))
            .bind(filter.owner.as_ref().map(Name::as_str))
            .bind(day)
            .bind(agent)
            .bind(index)
            .bind(filter.limit.min(REPORT_PAGE_ROWS_MAX));
        in_time(query.fetch_all(&self.desk)).await?.into_iter().map(DeviceDay::try_from).collect()
    }
}

fn page(table: &Table) -> String {
    format!(
        "SELECT {} FROM {} WHERE day BETWEEN ?1 AND ?2 AND (?3 IS NULL OR agent_id = ?3) \
         AND (?4 IS NULL OR agent_id IN (SELECT id FROM agents WHERE owner = ?4))",
        table.column_list(),
        table.name
    )
}

/// The key after which a page begins; every key comes after the one of the first.
fn after(filter: &DayFilter) -> (i32, Vec<u8>, i64) {
    let last =
        filter.after.map(|(day, agent, index)| (day.number(), agent.as_bytes().to_vec(), i64::from(index)));
    last.unwrap_or((-1, Vec::new(), -1))
}

async fn count(work: &mut SqliteConnection, day: Day) -> Result<(Days, u64), Error> {
    let sql = format!(
        "SELECT {HEARTBEAT_COLUMNS} FROM heartbeats WHERE agent_id IN (SELECT agent_id FROM agent_counters) \
         AND taken_unix_ms >= ? AND taken_unix_ms < ?"
    );
    let query = sqlx::query_as::<_, HeartbeatColumns>(AssertSqlSafe(sql));
    let mut rows = query.bind(day.first_unix_ms()).bind(day.end_unix_ms()).fetch(work);
    let (mut days, mut count) = (Days::default(), 0);
    while let Some(row) = rows.try_next().await? {
        days.add(&Row::try_from(row)?);
        count += 1;
    }
    Ok((days, count))
}

async fn stored(work: &mut SqliteConnection, day: Day) -> Result<Days, Error> {
    let select = |table: &Table| format!("SELECT {} FROM {} WHERE day = ?", table.column_list(), table.name);
    let agents = sqlx::query_as::<_, AgentDayColumns>(AssertSqlSafe(select(&AGENT_DAYS)));
    let agents = agents.bind(day.number()).fetch_all(&mut *work).await?;
    let devices = sqlx::query_as::<_, DeviceDayColumns>(AssertSqlSafe(select(&DEVICE_DAYS)));
    let devices = devices.bind(day.number()).fetch_all(&mut *work).await?;
    Ok(Days {
        agents: agents.into_iter().map(AgentDayColumns::entry).collect::<Result<_, _>>()?,
        devices: devices.into_iter().map(DeviceDayColumns::entry).collect::<Result<_, _>>()?,
    })
}
