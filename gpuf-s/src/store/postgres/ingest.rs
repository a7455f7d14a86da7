//! A batch of heartbeats, inventories and usage, stored in one transaction.

use std::collections::{HashMap, HashSet};

use common::AgentId;
use sqlx::{Connection as _, PgConnection};

use super::{Lease, Postgres, days, inventory, partitions, statements::statements, usage};
use crate::store::{
    Batch, Day, Error, Inventory, Offset, SetAside, State, Stored, UsageRecord,
    ingest::{
        Identity,
        course::{self, Ledger},
        days::Days,
        deltas::{Counters, DeviceFacts},
        rows::Row,
    },
    sample_columns::{CounterColumns, IdentityColumns},
};

/// Days that one batch makes parts of the table for; rows of others go into the default part.
const DAYS_MADE_MAX: usize = 8;
/// Sets our advisory locks on days apart from others'.
pub(super) const DAY_LOCKS: i32 = 0x6770_7566;

statements! {
    ADD_AGENTS = "INSERT INTO agent_counters (agent_id) SELECT * FROM unnest($1::bytea[]) \
                  ON CONFLICT (agent_id) DO NOTHING";
    HOLD_DAYS = "SELECT pg_advisory_xact_lock_shared($1, day) FROM unnest($2::integer[]) day";
    COUNTERS = "SELECT agent_id, taken_unix_ms, received_bytes, sent_bytes, uptime_s, devices \
                FROM agent_counters WHERE agent_id = ANY($1) ORDER BY agent_id FOR UPDATE";
    INSERT_ROWS = "INSERT INTO heartbeats (agent_id, taken_unix_ms, id, cpu_millipercent, memory_used_bytes, \
                   memory_total_bytes, disk_used_bytes, disk_total_bytes, network_received_bytes, \
                   network_sent_bytes, uptime_s, received_delta_bytes, sent_delta_bytes, online_ms, devices) \
                   SELECT a, t, i, c, m, n, d, e, r, s, u, x, y, o, v::jsonb \
                   FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[], \
                   $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], \
                   $12::bigint[], $13::bigint[], $14::bigint[], $15::text[]) \
                   AS told (a, t, i, c, m, n, d, e, r, s, u, x, y, o, v) \
                   ON CONFLICT (agent_id, taken_unix_ms, id) DO NOTHING RETURNING agent_id, taken_unix_ms, id";
    PUT_COUNTERS = "INSERT INTO agent_counters AS old (agent_id, taken_unix_ms, received_bytes, sent_bytes, \
                    uptime_s, devices, online) SELECT *, TRUE FROM unnest($1::bytea[], $2::bigint[], \
                    $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[]) \
                    ON CONFLICT (agent_id) DO UPDATE SET taken_unix_ms = excluded.taken_unix_ms, \
                    received_bytes = excluded.received_bytes, sent_bytes = excluded.sent_bytes, \
                    uptime_s = excluded.uptime_s, devices = excluded.devices, online = TRUE";
    PUT_DEVICES = "INSERT INTO devices (agent_id, device_index, name, vendor, memory_total_bytes, \
                   first_unix_ms, last_unix_ms) SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::text[], \
                   $4::text[], $5::bigint[], $6::bigint[], $7::bigint[]) \
                   ON CONFLICT (agent_id, device_index) DO UPDATE SET name = excluded.name, \
                   vendor = excluded.vendor, memory_total_bytes = excluded.memory_total_bytes, \
                   last_unix_ms = excluded.last_unix_ms";
    PUT_ASIDE = "INSERT INTO set_aside (topic, partition, record_offset, payload, reason, at_unix_ms) \
                 SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bytea[], $5::text[], \
                 $6::bigint[]) ON CONFLICT (topic, partition, record_offset) DO NOTHING";
    PUT_OFFSETS = "INSERT INTO consumer_offsets (consumer_group, topic, partition, next) \
                   SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[]) \
                   ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET next = excluded.next";
    OFFSETS = "SELECT topic, partition, next FROM consumer_offsets WHERE consumer_group = $1 \
               ORDER BY topic, partition";
}

impl Postgres {
    pub(in crate::store) async fn ingest(&self, batch: &Batch) -> Result<Stored, Error> {
        self.prepare(batch).await?;
        match self.take(batch, false).await {
            Err(Error::Refused(_)) => self.take(batch, true).await,
            done => done,
        }
    }

    /// Makes what rows of the batch need. Each by itself and not in the batch's transaction: what it holds
    /// while it waits is nothing that anybody waits for.
    async fn prepare(&self, batch: &Batch) -> Result<(), Error> {
        let taken_on = batch.samples.iter().filter_map(|sample| Day::of_unix_ms(sample.taken_unix_ms));
        for day in
            self.known.missing(taken_on.flat_map(|day| [day, day.next()])).into_iter().take(DAYS_MADE_MAX)
        {
            let made = self
                .in_time(async {
                    let mut ledger = Lease::of(&self.ledger).await?;
                    // Of a day that was dropped nothing is taken in.
                    if day.first_unix_ms() >= days::pruned_before(&mut ledger).await? {
                        partitions::make(&mut ledger, &partitions::heartbeats_day(day)).await?;
                    }
                    ledger.done(());
                    Ok(())
                })
                .await;
            match made {
                Ok(()) => self.known.add_day(day),
                Err(error @ Error::Unavailable(_)) if self.state() != State::Ready => return Err(error),
                Err(error) => {
                    tracing::warn!(%day, %error, "no part of the table for this day; its rows go into the default");
                }
            }
        }
        let strangers = self.known.strangers(batch.samples.iter().map(|sample| sample.agent_id));
        if !strangers.is_empty() {
            let ids: Vec<_> = strangers.iter().map(|agent| agent.as_bytes().as_slice()).collect();
            let add = sqlx::query(ADD_AGENTS).bind(ids);
            self.in_time(async {
                let mut ledger = Lease::of(&self.ledger).await?;
                add.execute(&mut *ledger).await?;
                ledger.done(());
                Ok(())
            })
            .await?;
            self.known.add_agents(strangers);
        }
        Ok(())
    }

    async fn take(&self, batch: &Batch, care: bool) -> Result<Stored, Error> {
        let deadline = if care { course::CAREFUL_DEADLINE } else { course::DEADLINE };
        self.in_time_of(deadline, async {
            let mut ledger = Lease::of(&self.ledger).await?;
            let mut work = ledger.begin().await?;
            let stored = course::ingest(&mut *work, batch, care).await?;
            work.commit().await?;
            Ok(ledger.done(stored))
        })
        .await
    }

    pub(in crate::store) async fn offsets(&self, group: &str) -> Result<Vec<Offset>, Error> {
        let rows = self.all(sqlx::query_as::<_, (String, i32, i64)>(OFFSETS).bind(group)).await?;
        let offset = |(topic, partition, next)| Offset { group: group.to_owned(), topic, partition, next };
        Ok(rows.into_iter().map(offset).collect())
    }
}

impl Ledger for PgConnection {
    async fn hold_days(&mut self, days: &[Day]) -> Result<(), sqlx::Error> {
        let days: Vec<_> = days.iter().map(|day| day.number()).collect();
        sqlx::query(HOLD_DAYS).bind(DAY_LOCKS).bind(days).execute(self).await.map(|_| ())
    }

    async fn pruned_before(&mut self) -> Result<i64, sqlx::Error> {
        days::pruned_before(self).await
    }

    async fn counters(&mut self, agents: &[AgentId]) -> Result<HashMap<AgentId, Counters>, sqlx::Error> {
        let query = sqlx::query_as::<_, CounterColumns>(COUNTERS).bind(ids(agents, |agent| agent));
        Ok(query.fetch_all(self).await?.into_iter().filter_map(CounterColumns::counters).collect())
    }

    async fn insert_rows(&mut self, rows: &[Row]) -> Result<HashSet<Identity>, sqlx::Error> {
        let mut insert = sqlx::query_as::<_, IdentityColumns>(INSERT_ROWS)
            .bind(ids(rows, |row| &row.agent_id))
            .bind(column(rows, |row| row.taken_unix_ms))
            .bind(column(rows, |row| row.id.as_bytes().as_slice()));
        let figures = column(rows, Row::figures);
        for at in 0..figures.first().map_or(0, |figures| figures.len()) {
            insert = insert.bind(column(&figures, |figures| figures[at]));
        }
        let new = insert.bind(column(rows, Row::devices_json)).fetch_all(self).await?;
        Ok(new.into_iter().filter_map(IdentityColumns::identity).collect())
    }

    async fn add_days(&mut self, figures: &Days) -> Result<(), sqlx::Error> {
        days::add(self, figures).await
    }

    async fn put_counters(&mut self, counters: &[(AgentId, Counters)]) -> Result<(), sqlx::Error> {
        let put = sqlx::query(PUT_COUNTERS)
            .bind(ids(counters, |(agent, _)| agent))
            .bind(column(counters, |(_, counters)| counters.taken_unix_ms))
            .bind(column(counters, |(_, counters)| counters.received_bytes))
            .bind(column(counters, |(_, counters)| counters.sent_bytes))
            .bind(column(counters, |(_, counters)| counters.uptime_s))
            .bind(column(counters, |(_, counters)| counters.devices_bytes()));
        put.execute(self).await.map(|_| ())
    }

    async fn put_devices(&mut self, devices: &[((AgentId, u32), DeviceFacts)]) -> Result<(), sqlx::Error> {
        let put = sqlx::query(PUT_DEVICES)
            .bind(ids(devices, |((agent, _), _)| agent))
            .bind(column(devices, |((_, index), _)| i64::from(*index)))
            .bind(column(devices, |(_, facts)| facts.name.as_str()))
            .bind(column(devices, |(_, facts)| facts.vendor.as_str()))
            .bind(column(devices, |(_, facts)| facts.memory_total_bytes))
            .bind(column(devices, |(_, facts)| facts.first_unix_ms))
            .bind(column(devices, |(_, facts)| facts.last_unix_ms));
        put.execute(self).await.map(|_| ())
    }

    async fn put_inventories(&mut self, inventories: &[&Inventory]) -> Result<(), sqlx::Error> {
        inventory::put(self, inventories).await
    }

    async fn insert_usage(&mut self, records: &[&UsageRecord]) -> Result<u64, sqlx::Error> {
        usage::insert(self, records).await
    }

    async fn put_aside(&mut self, records: &[SetAside]) -> Result<u64, sqlx::Error> {
        let put = sqlx::query(PUT_ASIDE)
            .bind(column(records, |record| record.topic.as_str()))
            .bind(column(records, |record| record.partition))
            .bind(column(records, |record| record.offset))
            .bind(column(records, |record| record.payload.as_slice()))
            .bind(column(records, |record| record.reason.as_str()))
            .bind(column(records, |record| record.at_unix_ms.cast_signed()));
        Ok(put.execute(self).await?.rows_affected())
    }

    async fn put_offsets(&mut self, offsets: &[&Offset]) -> Result<(), sqlx::Error> {
        let put = sqlx::query(PUT_OFFSETS)
            .bind(column(offsets, |offset| offset.group.as_str()))
            .bind(column(offsets, |offset| offset.topic.as_str()))
            .bind(column(offsets, |offset| offset.partition))
            .bind(column(offsets, |offset| offset.next));
        put.execute(self).await.map(|_| ())
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::query(sql).execute(self).await.map(|_| ())
    }
}

/// One column of many rows, as an array.
pub(super) fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

/// The column of agents' ids.
pub(super) fn ids<'a, R>(rows: &'a [R], of: impl Fn(&'a R) -> &'a AgentId) -> Vec<&'a [u8]> {
    rows.iter().map(|row| of(row).as_bytes().as_slice()).collect()
}
