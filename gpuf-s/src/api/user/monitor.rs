//! A client's heartbeats as a chart.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use common::AgentId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    api::{
        Api,
        caller::Caller,
        envelope::Envelope,
        error::Error,
        extract::Asked,
        listing,
        moment::{self, When},
        openapi::shapes,
        readings::{rounded, thousandths},
    },
    store::{Chart, ChartFilter, DevicePoint, HostPoint},
};

const HOUR_MS: u64 = 3_600_000;
/// The longest span of a chart: what is longer is told per day by `client_stat`.
const SPAN_MAX_MS: u64 = 7 * 24 * HOUR_MS;
const POINTS: u64 = 240;
const POINTS_MAX: u64 = 1000;
/// Heartbeats come no more often than this.
const STEP_MIN_MS: u64 = 10_000;

/// Which part of which client's past.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Query {
    /// Of this client.
    #[param(value_type = String, pattern = "^[0-9a-f]{32}$")]
    client_id: AgentId,
    /// Taken at or after: `2027-01-15T08:00:00Z` or `2027-01-15`; an hour before `to` unless told.
    #[param(value_type = Option<String>)]
    from: Option<When>,
    /// Taken before; the present unless told. Seven days after `from` at most.
    #[param(value_type = Option<String>)]
    to: Option<When>,
    /// At most so many points, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 240)]
    points: Option<u64>,
}

/// A chart.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ClientChart {
    /// The client.
    #[schema(schema_with = shapes::agent_id)]
    client_id: AgentId,
    /// Where it begins.
    from: Option<String>,
    /// Where it ends.
    to: Option<String>,
    /// How long a step is, seconds. Steps without a heartbeat have no point.
    step_s: u64,
    /// The points, oldest first.
    points: Vec<Point>,
}

/// A step of a chart.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChartPoint)]
pub(in crate::api) struct Point {
    /// When it begins.
    at: Option<String>,
    /// Heartbeats.
    samples: i64,
    /// Share of all processors in use, 0 to 100, on average.
    cpu_percent: f64,
    /// Bytes of memory in use, on average.
    memory_used_bytes: i64,
    /// Bytes of memory in all.
    memory_total_bytes: i64,
    /// Bytes used on the disks, at most.
    disk_used_bytes: i64,
    /// Bytes on the disks.
    disk_total_bytes: i64,
    /// Bytes received in it.
    network_received_bytes: i64,
    /// Bytes sent in it.
    network_sent_bytes: i64,
    /// How long it was there, seconds.
    online_s: f64,
    /// Its GPUs.
    devices: Vec<PointDevice>,
}

/// A GPU in a step of a chart.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChartDevice)]
pub(in crate::api) struct PointDevice {
    /// Index within the host.
    index: u32,
    /// Share of time that it worked, 0 to 100, on average.
    busy_percent: Option<f64>,
    /// Bytes of memory in use, at most.
    memory_used_bytes: Option<i64>,
    /// Bytes of memory in all.
    memory_total_bytes: Option<i64>,
    /// Power drawn, on average.
    power_watts: Option<f64>,
    /// Temperature, at most.
    temperature_c: Option<f64>,
    /// Energy used in it.
    energy_joules: f64,
}

pub(in crate::api) async fn show(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(query): Asked<Query>,
) -> Result<Envelope<ClientChart>, Error> {
    let filter = filter(&query, &caller, moment::now_ms())?;
    listing::one(&api, &caller.scope, query.client_id).await?;
    let points = points(&filter, api.store.chart(&filter).await?);
    let message = format!("{} points", points.len());
    let chart = ClientChart {
        client_id: filter.agent_id,
        from: moment::of_ms(filter.from_unix_ms),
        to: moment::of_ms(filter.until_unix_ms),
        step_s: filter.step_ms / 1000,
        points,
    };
    Ok(Envelope::of(chart, message))
}

fn filter(query: &Query, caller: &Caller, now_ms: u64) -> Result<ChartFilter, Error> {
    let until = query.to.map_or(now_ms, When::ms);
    let from = query.from.map_or(until.saturating_sub(HOUR_MS), When::ms);
    if from >= until {
        return Err(Error::Malformed("from must be before to".into()));
    }
    if until - from > SPAN_MAX_MS {
        return Err(Error::Malformed(
            "from and to may be 7 days apart at most; see client_stat for more".into(),
        ));
    }
    let points = query.points.unwrap_or(POINTS);
    if !(1..=POINTS_MAX).contains(&points) {
        return Err(Error::Malformed(format!("points must be between 1 and {POINTS_MAX}")));
    }
    // In whole seconds, and never more steps than points were asked for.
    let step_ms = (until - from).div_ceil(points).div_ceil(1000).saturating_mul(1000).max(STEP_MIN_MS);
    Ok(ChartFilter {
        scope: caller.scope.clone(),
        agent_id: query.client_id,
        from_unix_ms: from,
        until_unix_ms: until,
        step_ms,
    })
}

fn points(filter: &ChartFilter, chart: Chart) -> Vec<Point> {
    let mut devices: BTreeMap<u64, Vec<PointDevice>> = BTreeMap::new();
    for point in chart.devices {
        devices.entry(point.step).or_default().push(point.into());
    }
    let point = |host: HostPoint| {
        let samples = host.samples.max(1);
        Point {
            at: moment::of_ms(filter.from_unix_ms + host.step * filter.step_ms),
            samples: host.samples,
            cpu_percent: thousandths(host.cpu_sum_millipercent / samples),
            memory_used_bytes: host.memory_used_sum_bytes / samples,
            memory_total_bytes: host.memory_total_bytes,
            disk_used_bytes: host.disk_used_bytes,
            disk_total_bytes: host.disk_total_bytes,
            network_received_bytes: host.received_bytes,
            network_sent_bytes: host.sent_bytes,
            online_s: rounded(thousandths(host.online_ms)),
            devices: devices.remove(&host.step).unwrap_or_default(),
        }
    };
    chart.hosts.into_iter().map(point).collect()
}

impl From<DevicePoint> for PointDevice {
    fn from(point: DevicePoint) -> Self {
        let average = |(sum, count): (i64, i64)| sum.checked_div(count).map(thousandths);
        Self {
            index: point.index,
            busy_percent: average(point.busy_millipercent),
            memory_used_bytes: point.memory_used_bytes,
            memory_total_bytes: point.memory_total_bytes,
            power_watts: average(point.power_milliwatts),
            temperature_c: point.temperature_millidegrees.map(thousandths),
            energy_joules: thousandths(point.energy_millijoules),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(from: Option<&str>, to: &str, points: Option<u64>) -> Result<(u64, u64), Error> {
        let query = Query {
            client_id: AgentId::from_bytes([1; 16]),
            from: from.map(|text| text.parse().unwrap()),
            to: Some(to.parse().unwrap()),
            points,
        };
        let filter = filter(&query, &Caller::OPERATOR, 0)?;
        let span = filter.until_unix_ms - filter.from_unix_ms;
        Ok((filter.step_ms / 1000, span.div_ceil(filter.step_ms)))
    }

    #[test]
    fn a_chart_has_no_more_points_than_were_asked_for() {
        assert_eq!(steps(None, "2027-01-15", None).unwrap(), (15, 240));
        assert_eq!(steps(None, "2027-01-15", Some(1000)).unwrap(), (10, 360));
        assert_eq!(steps(Some("2027-01-08"), "2027-01-15", Some(1000)).unwrap(), (605, 1000));
        assert_eq!(steps(Some("2027-01-14T23:59:59.999Z"), "2027-01-15", Some(1)).unwrap(), (10, 1));
        assert!(steps(Some("2027-01-07"), "2027-01-15", None).is_err());
        assert!(steps(Some("2027-01-15"), "2027-01-15", None).is_err());
        assert!(
            steps(None, "2027-01-15", Some(0)).is_err() && steps(None, "2027-01-15", Some(1001)).is_err()
        );
    }
}
