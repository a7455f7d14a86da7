//! What is asked about agents.

use common::{AgentId, EngineReport};
use sqlx::Connection as _;

use super::{Lease, Postgres, days::BEGIN_SNAPSHOT, statements::statements};
use crate::store::{
    AgentFilter, AgentReport, Device, Error, Name, REPORT_PAGE_ROWS_MAX, Sample, SampleFilter, SampleId,
    SetAside,
    ingest::rows::Row,
    sample_columns::{
        AsideColumns, DeviceColumns, EngineColumns, HeartbeatColumns, ModelColumns, ReportColumns, engines,
        named,
    },
};

statements! {
    REPORTS = "SELECT a.id, a.name, a.owner, a.enrolled_unix, a.revoked_unix, f.at_unix_ms, \
               f.name AS told_name, f.version, f.os, f.arch, f.labels::text AS labels, f.location, f.address, \
               c.taken_unix_ms, coalesce(c.online, FALSE) AS online \
               FROM agents a LEFT JOIN agent_facts f ON f.agent_id = a.id \
               LEFT JOIN agent_counters c ON c.agent_id = a.id \
               WHERE a.id > $1 AND ($2::text IS NULL OR a.owner = $2) AND ($3::bytea IS NULL OR a.id = $3) \
               AND ($4::boolean IS NULL OR coalesce(c.online, FALSE) = $4) \
               AND ($5::boolean IS NULL OR (a.revoked_unix IS NOT NULL) = $5) \
               AND ($6::text IS NULL OR strpos(lower(a.name), $6) > 0 OR strpos(lower(f.name), $6) > 0) \
               AND ($7::text IS NULL OR EXISTS (SELECT 1 FROM jsonb_array_elements(f.labels) l \
               WHERE l ->> 0 = $7 AND l ->> 1 = $8)) ORDER BY a.id LIMIT $9";
    SAMPLES = "SELECT agent_id, taken_unix_ms, id, cpu_millipercent, memory_used_bytes, memory_total_bytes, \
               disk_used_bytes, disk_total_bytes, network_received_bytes, network_sent_bytes, uptime_s, \
               received_delta_bytes, sent_delta_bytes, online_ms, devices::text AS devices FROM heartbeats \
               WHERE agent_id = $1 AND taken_unix_ms >= $2 AND taken_unix_ms < $3 \
               AND (taken_unix_ms, id) < ($4, $5) \
               AND ($6::text IS NULL OR agent_id IN (SELECT id FROM agents WHERE owner = $6)) \
               ORDER BY taken_unix_ms DESC, id DESC LIMIT $7";
    DEVICES = "SELECT device_index, name, vendor, memory_total_bytes, first_unix_ms, last_unix_ms FROM devices \
               WHERE agent_id = $1 \
               AND ($2::text IS NULL OR agent_id IN (SELECT id FROM agents WHERE owner = $2)) \
               ORDER BY device_index";
    ENGINES = "SELECT engine, kind, version, endpoints, slots FROM engines WHERE agent_id = $1 \
               AND ($2::text IS NULL OR agent_id IN (SELECT id FROM agents WHERE owner = $2)) ORDER BY engine";
    MODELS = "SELECT engine, name, loaded, size_bytes, context_tokens, modified_unix, digest \
              FROM agent_models WHERE agent_id = $1 ORDER BY engine, name";
    SWEEP = "UPDATE agent_counters SET online = FALSE WHERE agent_id = ANY(ARRAY(SELECT agent_id \
             FROM agent_counters WHERE online AND taken_unix_ms < $1 ORDER BY agent_id FOR UPDATE SKIP LOCKED))";
    ASIDE = "SELECT topic, partition, record_offset, payload, reason, at_unix_ms FROM set_aside \
             ORDER BY at_unix_ms DESC, topic, partition, record_offset LIMIT $1";
}

impl Postgres {
    pub(in crate::store) async fn agent_reports(
        &self,
        filter: &AgentFilter,
    ) -> Result<Vec<AgentReport>, Error> {
        let query = sqlx::query_as::<_, ReportColumns>(REPORTS)
            .bind(filter.after.map_or(Vec::new(), |agent| agent.as_bytes().to_vec()))
            .bind(filter.owner.as_ref().map(Name::as_str))
            .bind(filter.agent_id.map(|agent| agent.as_bytes().to_vec()))
            .bind(filter.online)
            .bind(filter.revoked)
            .bind(filter.text.as_ref().map(|text| text.to_ascii_lowercase()))
            .bind(filter.label.as_ref().map(|(key, _)| key))
            .bind(filter.label.as_ref().map(|(_, value)| value))
            .bind(i64::from(filter.limit.min(REPORT_PAGE_ROWS_MAX)));
        self.all(query).await?.into_iter().map(AgentReport::try_from).collect()
    }

    pub(in crate::store) async fn samples(&self, filter: &SampleFilter) -> Result<Vec<Sample>, Error> {
        let before = filter.before.unwrap_or((u64::MAX, SampleId::from_bytes([0xff; 16])));
        let query = sqlx::query_as::<_, HeartbeatColumns>(SAMPLES)
            .bind(filter.agent_id.as_bytes().as_slice())
            .bind(bound(filter.since_unix_ms.unwrap_or(0)))
            .bind(bound(filter.until_unix_ms.unwrap_or(u64::MAX)))
            .bind(bound(before.0))
            .bind(before.1.as_bytes().to_vec())
            .bind(filter.owner.as_ref().map(Name::as_str))
            .bind(i64::from(filter.limit.min(REPORT_PAGE_ROWS_MAX)));
        let rows = self.all(query).await?.into_iter().map(Row::try_from).collect::<Result<Vec<_>, _>>()?;
        Ok(named(rows, &self.devices(filter.agent_id, filter.owner.as_ref()).await?))
    }

    pub(in crate::store) async fn devices(
        &self,
        agent: AgentId,
        owner: Option<&Name>,
    ) -> Result<Vec<Device>, Error> {
        let query = sqlx::query_as::<_, DeviceColumns>(DEVICES);
        let query = query.bind(agent.as_bytes().as_slice()).bind(owner.map(Name::as_str));
        self.all(query).await?.into_iter().map(Device::try_from).collect()
    }

    pub(in crate::store) async fn engines(
        &self,
        agent: AgentId,
        owner: Option<&Name>,
    ) -> Result<Vec<EngineReport>, Error> {
        let found = sqlx::query_as::<_, EngineColumns>(ENGINES);
        let found = found.bind(agent.as_bytes().as_slice()).bind(owner.map(Name::as_str));
        let models = sqlx::query_as::<_, ModelColumns>(MODELS).bind(agent.as_bytes().as_slice());
        self.in_time(async {
            let mut desk = Lease::of(&self.desk).await?;
            // Of one moment: an inventory replaces both.
            let mut read = desk.begin_with(BEGIN_SNAPSHOT).await?;
            let found = found.fetch_all(&mut *read).await?;
            let models = models.fetch_all(&mut *read).await?;
            read.rollback().await?;
            Ok(desk.done((found, models)))
        })
        .await
        .and_then(|(found, models)| engines(found, models))
    }

    pub(in crate::store) async fn sweep_offline(
        &self,
        now_unix_ms: u64,
        silent_ms: u64,
    ) -> Result<u64, Error> {
        // Whoever is locked is being heard of.
        self.execute(sqlx::query(SWEEP).bind(bound(now_unix_ms.saturating_sub(silent_ms)))).await
    }

    pub(in crate::store) async fn set_aside(&self, limit: u32) -> Result<Vec<SetAside>, Error> {
        let query = sqlx::query_as::<_, AsideColumns>(ASIDE).bind(i64::from(limit.min(REPORT_PAGE_ROWS_MAX)));
        Ok(self.all(query).await?.into_iter().map(SetAside::from).collect())
    }
}

fn bound(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap_or(i64::MAX)
}
