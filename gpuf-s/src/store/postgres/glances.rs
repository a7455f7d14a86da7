//! What is looked at of several agents together, and charts.

use common::{AgentId, EngineReport};
use sqlx::Connection as _;

use super::{Lease, Postgres, statements::statements};
use crate::store::{
    Chart, ChartFilter, DevicePoint, Error, HostPoint, Sample, Scope,
    columns::{
        DeviceOf, DevicePointColumns, EngineOf, HostPointColumns, ModelOf, engines_by_agent,
        samples_with_names,
    },
    sample_columns::HeartbeatColumns,
};

statements! {
    ENGINES = "SELECT agent_id, engine, kind, version, endpoints, slots FROM engines WHERE agent_id = ANY ($1) \
               AND ($2::text IS NULL OR agent_id IN (SELECT id FROM agents WHERE owner = $2)) \
               ORDER BY agent_id, engine";
    MODELS = "SELECT agent_id, engine, name, loaded, size_bytes, context_tokens, modified_unix, digest \
              FROM agent_models WHERE agent_id = ANY ($1) \
              AND ($2::text IS NULL OR agent_id IN (SELECT id FROM agents WHERE owner = $2)) \
              ORDER BY agent_id, engine, name";
    LATEST = "SELECT DISTINCT ON (h.agent_id) h.agent_id, h.taken_unix_ms, h.id, h.cpu_millipercent, \
              h.memory_used_bytes, h.memory_total_bytes, h.disk_used_bytes, h.disk_total_bytes, \
              h.network_received_bytes, h.network_sent_bytes, h.uptime_s, h.received_delta_bytes, \
              h.sent_delta_bytes, h.online_ms, h.devices::text AS devices \
              FROM agent_counters c JOIN heartbeats h ON h.agent_id = c.agent_id \
              AND h.taken_unix_ms = c.taken_unix_ms WHERE c.agent_id = ANY ($1) \
              AND ($2::text IS NULL OR c.agent_id IN (SELECT id FROM agents WHERE owner = $2)) \
              ORDER BY h.agent_id, h.id DESC";
    DEVICES = "SELECT agent_id, device_index, name, vendor, memory_total_bytes, first_unix_ms, last_unix_ms \
               FROM devices WHERE agent_id = ANY ($1) \
               AND ($2::text IS NULL OR agent_id IN (SELECT id FROM agents WHERE owner = $2)) \
               ORDER BY agent_id, device_index";
    HOST_CHART = "SELECT (taken_unix_ms - $2) / $4 AS step, count(*) AS samples, \
                  sum(cpu_millipercent)::bigint AS cpu_sum_millipercent, \
                  sum(memory_used_bytes)::bigint AS memory_used_sum_bytes, \
                  max(memory_total_bytes) AS memory_total_bytes, max(disk_used_bytes) AS disk_used_bytes, \
                  max(disk_total_bytes) AS disk_total_bytes, sum(received_delta_bytes)::bigint AS received_bytes, \
                  sum(sent_delta_bytes)::bigint AS sent_bytes, sum(online_ms)::bigint AS online_ms \
                  FROM heartbeats WHERE agent_id = $1 AND taken_unix_ms >= $2 AND taken_unix_ms < $3 \
                  AND ($5::text IS NULL OR agent_id IN (SELECT id FROM agents WHERE owner = $5)) \
                  GROUP BY 1 ORDER BY 1";
    DEVICE_CHART = "SELECT (taken_unix_ms - $2) / $4 AS step, (d ->> 0)::bigint AS device_index, \
                    coalesce(sum((d ->> 1)::bigint), 0)::bigint AS busy_sum, count(d ->> 1) AS busy_count, \
                    max((d ->> 2)::bigint) AS memory_used_bytes, max((d ->> 3)::bigint) AS memory_total_bytes, \
                    coalesce(sum((d ->> 4)::bigint), 0)::bigint AS power_sum, count(d ->> 4) AS power_count, \
                    max((d ->> 5)::bigint) AS temperature_millidegrees, \
                    coalesce(sum((d ->> 7)::bigint), 0)::bigint AS energy_millijoules \
                    FROM heartbeats, jsonb_array_elements(devices) d \
                    WHERE agent_id = $1 AND taken_unix_ms >= $2 AND taken_unix_ms < $3 \
                    AND ($5::text IS NULL OR agent_id IN (SELECT id FROM agents WHERE owner = $5)) \
                    GROUP BY 1, 2 ORDER BY 1, 2";
}

fn bytes(agents: &[AgentId]) -> Vec<Vec<u8>> {
    agents.iter().map(|agent| agent.as_bytes().to_vec()).collect()
}

/// The arguments of both charts.
macro_rules! bound {
    ($query:expr, $filter:expr) => {
        $query
            .bind($filter.agent_id.as_bytes().as_slice())
            .bind(bound($filter.from_unix_ms))
            .bind(bound($filter.until_unix_ms))
            .bind(bound($filter.step_ms.max(1)))
            .bind($filter.scope.text())
    };
}

impl Postgres {
    pub(in crate::store) async fn engines_within(
        &self,
        scope: &Scope,
        agents: &[AgentId],
    ) -> Result<Vec<(AgentId, Vec<EngineReport>)>, Error> {
        let found = sqlx::query_as::<_, EngineOf>(ENGINES).bind(bytes(agents)).bind(scope.text());
        let models = sqlx::query_as::<_, ModelOf>(MODELS).bind(bytes(agents)).bind(scope.text());
        self.in_time(async {
            let mut desk = Lease::of(&self.desk).await?;
            // Of one moment: an inventory replaces both.
            let mut read = desk.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
            let found = found.fetch_all(&mut *read).await?;
            let models = models.fetch_all(&mut *read).await?;
            read.rollback().await?;
            Ok(desk.done((found, models)))
        })
        .await
        .and_then(|(found, models)| engines_by_agent(found, models))
    }

    pub(in crate::store) async fn latest_samples(
        &self,
        scope: &Scope,
        agents: &[AgentId],
    ) -> Result<Vec<Sample>, Error> {
        let rows = sqlx::query_as::<_, HeartbeatColumns>(LATEST).bind(bytes(agents)).bind(scope.text());
        let rows = self.all(rows).await?;
        let devices = sqlx::query_as::<_, DeviceOf>(DEVICES).bind(bytes(agents)).bind(scope.text());
        samples_with_names(rows, self.all(devices).await?)
    }

    pub(in crate::store) async fn chart(&self, filter: &ChartFilter) -> Result<Chart, Error> {
        let hosts = self.all(bound!(sqlx::query_as::<_, HostPointColumns>(HOST_CHART), filter)).await?;
        let devices = self.all(bound!(sqlx::query_as::<_, DevicePointColumns>(DEVICE_CHART), filter)).await?;
        Ok(Chart {
            hosts: hosts.into_iter().map(HostPoint::try_from).collect::<Result<_, _>>()?,
            devices: devices.into_iter().map(DevicePoint::try_from).collect::<Result<_, _>>()?,
        })
    }
}

fn bound(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}
