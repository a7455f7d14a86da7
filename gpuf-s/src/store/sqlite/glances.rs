//! What is looked at of several agents together, and charts.

use common::{AgentId, EngineReport};
use sqlx::AssertSqlSafe;

use super::{Sqlite, in_time};
use crate::store::{
    Chart, ChartFilter, DevicePoint, Error, HostPoint, Sample, Scope,
    columns::{
        DeviceOf, DevicePointColumns, EngineOf, HostPointColumns, ModelOf, engines_by_agent,
        samples_with_names,
    },
    sample_columns::{HEARTBEAT_COLUMNS, HeartbeatColumns},
};

/// The agents of a list, of the scope.
const AMONG: &str = "agent_id IN (SELECT unhex(value) FROM json_each(?1)) \
    AND (?2 IS NULL OR agent_id IN (SELECT id FROM agents WHERE owner = ?2))";
/// The heartbeats of a chart.
const CHARTED: &str = "heartbeats.agent_id = ?1 AND taken_unix_ms >= ?2 AND taken_unix_ms < ?3 \
    AND (?5 IS NULL OR heartbeats.agent_id IN (SELECT id FROM agents WHERE owner = ?5))";

/// The five arguments of [`CHARTED`] and of what is selected.
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

impl Sqlite {
    pub(in crate::store) async fn engines_within(
        &self,
        scope: &Scope,
        agents: &[AgentId],
    ) -> Result<Vec<(AgentId, Vec<EngineReport>)>, Error> {
        let ids = super::entries::json_list(agents);
        let found = format!(
            "SELECT agent_id, engine, kind, version, endpoints, slots FROM engines WHERE {AMONG} \
             ORDER BY agent_id, engine"
        );
        let models = format!(
            "SELECT agent_id, engine, name, loaded, size_bytes, context_tokens, modified_unix, digest \
             FROM agent_models WHERE {AMONG} ORDER BY agent_id, engine, name"
        );
        in_time(async {
            // Of one moment: an inventory replaces both.
            let mut read = self.desk.begin().await?;
            let found = sqlx::query_as::<_, EngineOf>(AssertSqlSafe(found)).bind(&ids).bind(scope.text());
            let found = found.fetch_all(&mut *read).await?;
            let models = sqlx::query_as::<_, ModelOf>(AssertSqlSafe(models)).bind(&ids).bind(scope.text());
            Ok((found, models.fetch_all(&mut *read).await?))
        })
        .await
        .and_then(|(found, models)| engines_by_agent(found, models))
    }

    pub(in crate::store) async fn latest_samples(
        &self,
        scope: &Scope,
        agents: &[AgentId],
    ) -> Result<Vec<Sample>, Error> {
        let ids = super::entries::json_list(agents);
        let rows = format!(
            "SELECT {HEARTBEAT_COLUMNS} FROM heartbeats WHERE {AMONG} AND (agent_id, taken_unix_ms) IN \
             (SELECT agent_id, taken_unix_ms FROM agent_counters WHERE {AMONG}) \
             GROUP BY agent_id HAVING id = max(id) ORDER BY agent_id"
        );
        let devices = format!(
            "SELECT agent_id, device_index, name, vendor, memory_total_bytes, first_unix_ms, last_unix_ms \
             FROM devices WHERE {AMONG} ORDER BY agent_id, device_index"
        );
        let rows = sqlx::query_as::<_, HeartbeatColumns>(AssertSqlSafe(rows)).bind(&ids).bind(scope.text());
        let rows = in_time(rows.fetch_all(&self.desk)).await?;
        let devices = sqlx::query_as::<_, DeviceOf>(AssertSqlSafe(devices)).bind(&ids).bind(scope.text());
        samples_with_names(rows, in_time(devices.fetch_all(&self.desk)).await?)
    }

    pub(in crate::store) async fn chart(&self, filter: &ChartFilter) -> Result<Chart, Error> {
        let hosts = format!(
            "SELECT (taken_unix_ms - ?2) / ?4 AS step, count(*) AS samples, \
             sum(cpu_millipercent) AS cpu_sum_millipercent, sum(memory_used_bytes) AS memory_used_sum_bytes, \
             max(memory_total_bytes) AS memory_total_bytes, max(disk_used_bytes) AS disk_used_bytes, \
             max(disk_total_bytes) AS disk_total_bytes, sum(received_delta_bytes) AS received_bytes, \
             sum(sent_delta_bytes) AS sent_bytes, sum(online_ms) AS online_ms \
             FROM heartbeats WHERE {CHARTED} GROUP BY 1 ORDER BY 1"
        );
        let devices = format!(
            "SELECT (taken_unix_ms - ?2) / ?4 AS step, d.value ->> 0 AS device_index, \
             coalesce(sum(d.value ->> 1), 0) AS busy_sum, count(d.value ->> 1) AS busy_count, \
             max(d.value ->> 2) AS memory_used_bytes, max(d.value ->> 3) AS memory_total_bytes, \
             coalesce(sum(d.value ->> 4), 0) AS power_sum, count(d.value ->> 4) AS power_count, \
             max(d.value ->> 5) AS temperature_millidegrees, coalesce(sum(d.value ->> 7), 0) AS energy_millijoules \
             FROM heartbeats, json_each(devices) d WHERE {CHARTED} GROUP BY 1, 2 ORDER BY 1, 2"
        );
        let hosts = bound!(sqlx::query_as::<_, HostPointColumns>(AssertSqlSafe(hosts)), filter);
        let hosts = in_time(hosts.fetch_all(&self.desk)).await?;
        let devices = bound!(sqlx::query_as::<_, DevicePointColumns>(AssertSqlSafe(devices)), filter);
        let devices = in_time(devices.fetch_all(&self.desk)).await?;
        Ok(Chart {
            hosts: hosts.into_iter().map(HostPoint::try_from).collect::<Result<_, _>>()?,
            devices: devices.into_iter().map(DevicePoint::try_from).collect::<Result<_, _>>()?,
        })
    }
}

fn bound(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}
