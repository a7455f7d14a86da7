//! A batch of heartbeats, inventories and usage, stored in one transaction.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use common::AgentId;
use sqlx::{Arguments as _, SqliteConnection, sqlite::SqliteArguments};

use super::{Sqlite, bulk::Bulk, days, in_time, in_time_of, inventory, usage};
use crate::store::{
    Batch, Day, Error, Inventory, Offset, SetAside, Stored, UsageRecord,
    ingest::{
        Identity,
        course::{self, Ledger},
        days::Days,
        deltas::{Counters, DeviceFacts},
        rows::Row,
    },
    sample_columns::{CounterColumns, HEARTBEAT_COLUMNS, IdentityColumns},
};

static HEARTBEATS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::insert(
        "heartbeats",
        HEARTBEAT_COLUMNS,
        "ON CONFLICT DO NOTHING RETURNING agent_id, taken_unix_ms, id",
    )
});
static COUNTERS: LazyLock<Bulk> = LazyLock::new(|| {
    let head = "SELECT agent_id, taken_unix_ms, received_bytes, sent_bytes, uptime_s, devices \
                FROM agent_counters WHERE (agent_id) IN (VALUES";
    Bulk::new(head, 1, ")")
});
static PUT_COUNTERS: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::insert(
        "agent_counters",
        "agent_id, taken_unix_ms, received_bytes, sent_bytes, uptime_s, devices, online",
        "ON CONFLICT (agent_id) DO UPDATE SET taken_unix_ms = excluded.taken_unix_ms, \
         received_bytes = excluded.received_bytes, sent_bytes = excluded.sent_bytes, \
         uptime_s = excluded.uptime_s, devices = excluded.devices, online = 1",
    )
});
static PUT_DEVICES: LazyLock<Bulk> = LazyLock::new(|| {
    Bulk::insert(
        "devices",
        "agent_id, device_index, name, vendor, memory_total_bytes, first_unix_ms, last_unix_ms",
        "ON CONFLICT (agent_id, device_index) DO UPDATE SET name = excluded.name, vendor = excluded.vendor, \
         memory_total_bytes = excluded.memory_total_bytes, last_unix_ms = excluded.last_unix_ms",
    )
});
static PUT_ASIDE: LazyLock<Bulk> = LazyLock::new(|| {
    let columns = "topic, partition, record_offset, payload, reason, at_unix_ms";
    Bulk::insert("set_aside", columns, "ON CONFLICT DO NOTHING")
});
static PUT_OFFSETS: LazyLock<Bulk> = LazyLock::new(|| {
    let tail = "ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET next = excluded.next";
    Bulk::insert("consumer_offsets", "consumer_group, topic, partition, next", tail)
});

impl Sqlite {
    pub(in crate::store) async fn ingest(&self, batch: &Batch) -> Result<Stored, Error> {
        match self.take(batch, false).await {
            Err(Error::Refused(_)) => self.take(batch, true).await,
            done => done,
        }
    }

    async fn take(&self, batch: &Batch, care: bool) -> Result<Stored, Error> {
        let deadline = if care { course::CAREFUL_DEADLINE } else { course::DEADLINE };
        in_time_of(deadline, async {
            let mut work = self.ledger.begin_with("BEGIN IMMEDIATE").await?;
            let stored = course::ingest(&mut *work, batch, care).await?;
            work.commit().await?;
            Ok(stored)
        })
        .await
    }

    pub(in crate::store) async fn offsets(&self, group: &str) -> Result<Vec<Offset>, Error> {
        let query = sqlx::query_as::<_, (String, i32, i64)>(
            "SELECT topic, partition, next FROM consumer_offsets WHERE consumer_group = ? \
             ORDER BY topic, partition",
        );
        let rows = in_time(query.bind(group).fetch_all(&self.desk)).await?;
        let offset = |(topic, partition, next)| Offset { group: group.to_owned(), topic, partition, next };
        Ok(rows.into_iter().map(offset).collect())
    }
}

/// The one writer that this database has needs no other lock.
impl Ledger for SqliteConnection {
    async fn hold_days(&mut self, _days: &[Day]) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn pruned_before(&mut self) -> Result<i64, sqlx::Error> {
        days::pruned_before(self).await
    }

    async fn counters(&mut self, agents: &[AgentId]) -> Result<HashMap<AgentId, Counters>, sqlx::Error> {
        let rows: Vec<CounterColumns> =
            COUNTERS.fetch(self, agents, |row, agent| row.add(agent.as_bytes().to_vec())).await?;
        Ok(rows.into_iter().filter_map(CounterColumns::counters).collect())
    }

    async fn insert_rows(&mut self, rows: &[Row]) -> Result<HashSet<Identity>, sqlx::Error> {
        let new: Vec<IdentityColumns> = HEARTBEATS
            .fetch(self, rows, |to, row| {
                to.add(row.agent_id.as_bytes().to_vec())?;
                to.add(row.taken_unix_ms)?;
                to.add(row.id.as_bytes().to_vec())?;
                for figure in row.figures() {
                    to.add(figure)?;
                }
                to.add(row.devices_json())
            })
            .await?;
        Ok(new.into_iter().filter_map(IdentityColumns::identity).collect())
    }

    async fn add_days(&mut self, figures: &Days) -> Result<(), sqlx::Error> {
        days::add(self, figures).await
    }

    async fn put_counters(&mut self, counters: &[(AgentId, Counters)]) -> Result<(), sqlx::Error> {
        let bind = |row: &mut SqliteArguments, (agent, counters): &(AgentId, Counters)| {
            row.add(agent.as_bytes().to_vec())?;
            row.add(counters.taken_unix_ms)?;
            row.add(counters.received_bytes)?;
            row.add(counters.sent_bytes)?;
            row.add(counters.uptime_s)?;
            row.add(counters.devices_bytes())?;
            row.add(true)
        };
        PUT_COUNTERS.execute(self, counters, bind).await.map(|_| ())
    }

    async fn put_devices(&mut self, devices: &[((AgentId, u32), DeviceFacts)]) -> Result<(), sqlx::Error> {
        PUT_DEVICES
            .execute(self, devices, |row, ((agent, index), facts)| {
                row.add(agent.as_bytes().to_vec())?;
                row.add(*index)?;
                row.add(facts.name.clone())?;
                row.add(facts.vendor.clone())?;
                row.add(facts.memory_total_bytes)?;
                row.add(facts.first_unix_ms)?;
                row.add(facts.last_unix_ms)
            })
            .await
            .map(|_| ())
    }

    async fn put_inventories(&mut self, inventories: &[&Inventory]) -> Result<(), sqlx::Error> {
        inventory::put(self, inventories).await
    }

    async fn insert_usage(&mut self, records: &[&UsageRecord]) -> Result<u64, sqlx::Error> {
        usage::insert(self, records).await
    }

    async fn put_aside(&mut self, records: &[SetAside]) -> Result<u64, sqlx::Error> {
        PUT_ASIDE
            .execute(self, records, |row, record| {
                row.add(record.topic.clone())?;
                row.add(record.partition)?;
                row.add(record.offset)?;
                row.add(record.payload.clone())?;
                row.add(record.reason.clone())?;
                row.add(record.at_unix_ms.cast_signed())
            })
            .await
    }

    async fn put_offsets(&mut self, offsets: &[&Offset]) -> Result<(), sqlx::Error> {
        PUT_OFFSETS
            .execute(self, offsets, |row, offset| {
                row.add(offset.group.clone())?;
                row.add(offset.topic.clone())?;
                row.add(offset.partition)?;
                row.add(offset.next)
            })
            .await
            .map(|_| ())
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(self).await.map(|_| ())
    }
}
