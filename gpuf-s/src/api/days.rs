//! Figures per day as they are shown: averages of sums, and how long a host was there.

use std::collections::BTreeMap;

use common::AgentId;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    error::Error,
    moment,
    readings::{rounded, thousandths},
};
use crate::store::{AgentDay, DAY_MS, Day, DayFilter, DeviceDay, Gauge, Name, REPORT_PAGE_ROWS_MAX};

/// Days that one question may be about.
const DAYS_MAX: i32 = 366;
/// Days that it is about, unless told otherwise.
const DAYS: i32 = 30;
const HOUR_MS: f64 = 3_600_000.0;

/// An agent on one day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DayFigures {
    /// The day, UTC.
    #[schema(value_type = String)]
    day: Day,
    /// Heartbeats.
    samples: i64,
    /// Share of all processors in use, 0 to 100, on average.
    cpu_percent_avg: Option<f64>,
    /// Likewise, at most.
    cpu_percent_max: Option<f64>,
    /// Bytes of memory in use, on average.
    memory_used_avg_bytes: Option<i64>,
    /// Likewise, at most.
    memory_used_max_bytes: Option<i64>,
    /// Bytes of memory in all.
    memory_total_bytes: i64,
    /// Bytes used on the disks, at most.
    disk_used_bytes: i64,
    /// Bytes on the disks.
    disk_total_bytes: i64,
    /// Bytes received on this day.
    network_received_bytes: i64,
    /// Bytes sent on this day.
    network_sent_bytes: i64,
    /// How long it was there.
    uptime_hours: f64,
    /// Likewise, of the part of the day that has passed.
    uptime_percent: f64,
    /// Its first heartbeat.
    first_seen: Option<String>,
    /// Its last one.
    last_seen: Option<String>,
    /// Its devices.
    devices: Vec<DeviceDayFigures>,
}

/// A device on one day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeviceDayFigures {
    /// Index within the host.
    index: u32,
    /// Heartbeats that told of it.
    samples: i64,
    /// Share of time that it worked, 0 to 100, on average.
    busy_percent_avg: Option<f64>,
    /// Likewise, at most.
    busy_percent_max: Option<f64>,
    /// Bytes of memory in use, on average.
    memory_used_avg_bytes: Option<i64>,
    /// Likewise, at most.
    memory_used_max_bytes: Option<i64>,
    /// Bytes of memory in all.
    memory_total_bytes: Option<i64>,
    /// Power drawn, on average.
    power_watts_avg: Option<f64>,
    /// Likewise, at most.
    power_watts_max: Option<f64>,
    /// Temperature, on average.
    temperature_c_avg: Option<f64>,
    /// Likewise, at most.
    temperature_c_max: Option<f64>,
    /// Energy used on this day.
    energy_joules: f64,
}

/// A span of days that may be asked for: the last thirty, unless told otherwise.
pub(super) fn span(from: Option<Day>, to: Option<Day>) -> Result<(Day, Day), Error> {
    let to =
        to.or_else(|| Day::of_unix_ms(moment::now_ms())).ok_or(Error::Malformed("no such day".into()))?;
    let first = Day::from_number(i64::from((to.number() - DAYS + 1).max(0))).unwrap_or(to);
    let from = from.unwrap_or(first);
    if from > to {
        return Err(Error::Malformed("from must not be after to".into()));
    }
    if to.number() - from.number() >= DAYS_MAX {
        return Err(Error::Malformed(format!("from and to may be {DAYS_MAX} days apart at most")));
    }
    Ok((from, to))
}

/// Days of agents with those of their devices, by day and agent, and whether there may be more.
pub(super) async fn page(
    api: &Api,
    filter: &DayFilter,
) -> Result<(Vec<(AgentId, DayFigures)>, Option<(Day, AgentId)>), Error> {
    let days = api.store.agent_days(filter).await?;
    let full = days.len() >= filter.limit as usize;
    let next = days.last().filter(|_| full).map(|last| (last.day, last.agent_id));
    let mut devices = devices(api, filter, &days).await?;
    let now_ms = moment::now_ms();
    let with_devices = days.into_iter().map(|day| {
        let devices = devices.remove(&(day.day, day.agent_id)).unwrap_or_default();
        (day.agent_id, DayFigures::of(&day, devices, now_ms))
    });
    Ok((with_devices.collect(), next))
}

/// The devices of these days, however many questions that takes.
async fn devices(
    api: &Api,
    filter: &DayFilter,
    days: &[AgentDay],
) -> Result<BTreeMap<(Day, AgentId), Vec<DeviceDayFigures>>, Error> {
    let mut found: BTreeMap<_, Vec<DeviceDayFigures>> = BTreeMap::new();
    let (Some(first), Some(last)) = (days.first(), days.last()) else { return Ok(found) };
    let mut wanted = DayFilter {
        from: Some(first.day),
        to: Some(last.day),
        limit: REPORT_PAGE_ROWS_MAX,
        ..filter.clone()
    };
    loop {
        let rows = api.store.device_days(&wanted).await?;
        let full = rows.len() >= wanted.limit as usize;
        let end = rows.last().map(|row| (row.day, row.agent_id, row.index));
        let beyond = end.is_some_and(|(day, agent, _)| (day, agent) > (last.day, last.agent_id));
        for row in rows {
            found.entry((row.day, row.agent_id)).or_default().push(row.into());
        }
        if !full || beyond {
            return Ok(found);
        }
        wanted.after = end;
    }
}

/// A filter for days of agents of a scope.
pub(super) fn filter(
    owner: Option<Name>,
    agent_id: Option<AgentId>,
    (from, to): (Day, Day),
    limit: u32,
) -> DayFilter {
    DayFilter { owner, agent_id, from: Some(from), to: Some(to), after: None, limit }
}

impl DayFigures {
    fn of(day: &AgentDay, devices: Vec<DeviceDayFigures>, now_ms: u64) -> Self {
        let began = day.day.first_unix_ms().cast_unsigned();
        let passed_ms = now_ms.saturating_sub(began).clamp(1, DAY_MS);
        let moment = |unix_ms: i64| u64::try_from(unix_ms).ok().and_then(moment::of_ms);
        Self {
            day: day.day,
            samples: day.samples,
            cpu_percent_avg: average(&day.cpu_millipercent),
            cpu_percent_max: day.cpu_millipercent.max.map(thousandths),
            memory_used_avg_bytes: day.memory_used_bytes.average(),
            memory_used_max_bytes: day.memory_used_bytes.max,
            memory_total_bytes: day.memory_total_bytes,
            disk_used_bytes: day.disk_used_bytes,
            disk_total_bytes: day.disk_total_bytes,
            network_received_bytes: day.received_bytes,
            network_sent_bytes: day.sent_bytes,
            uptime_hours: rounded(day.online_ms as f64 / HOUR_MS),
            uptime_percent: rounded((day.online_ms as f64 * 100.0 / passed_ms as f64).min(100.0)),
            first_seen: moment(day.first_unix_ms),
            last_seen: moment(day.last_unix_ms),
            devices,
        }
    }
}

impl From<DeviceDay> for DeviceDayFigures {
    fn from(day: DeviceDay) -> Self {
        Self {
            index: day.index,
            samples: day.samples,
            busy_percent_avg: average(&day.busy_millipercent),
            busy_percent_max: day.busy_millipercent.max.map(thousandths),
            memory_used_avg_bytes: day.memory_used_bytes.average(),
            memory_used_max_bytes: day.memory_used_bytes.max,
            memory_total_bytes: day.memory_total_bytes,
            power_watts_avg: average(&day.power_milliwatts),
            power_watts_max: day.power_milliwatts.max.map(thousandths),
            temperature_c_avg: average(&day.temperature_millidegrees),
            temperature_c_max: day.temperature_millidegrees.max.map(thousandths),
            energy_joules: thousandths(day.energy_millijoules),
        }
    }
}

/// The average of thousandths, as a number.
fn average(gauge: &Gauge) -> Option<f64> {
    gauge.average().map(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    #[test]
    fn a_span_is_a_year_at_most_and_a_month_unless_told() {
        let (from, to) = span(None, Some(day("2027-01-30"))).unwrap();
        assert_eq!((from, to), (day("2027-01-01"), day("2027-01-30")));
        assert!(span(Some(day("2027-01-02")), Some(day("2027-01-01"))).is_err());
        assert!(span(Some(day("2027-01-01")), Some(day("2028-01-01"))).is_ok());
        assert!(span(Some(day("2027-01-01")), Some(day("2028-01-02"))).is_err());
        assert_eq!(span(None, Some(day("1970-01-05"))).unwrap().0, day("1970-01-01"));
    }

    #[test]
    fn a_day_that_has_not_ended_counts_as_far_as_it_has_come() {
        let gauge = Gauge { sum: 90_000, count: 2, max: Some(60_000) };
        let stored = AgentDay {
            day: day("2027-01-15"),
            agent_id: AgentId::from_bytes([1; 16]),
            samples: 2,
            cpu_millipercent: gauge,
            memory_used_bytes: gauge,
            memory_total_bytes: 1,
            disk_used_bytes: 2,
            disk_total_bytes: 3,
            received_bytes: 4,
            sent_bytes: 5,
            online_ms: 3_600_000,
            first_unix_ms: 1_799_971_200_000,
            last_unix_ms: 1_799_974_800_000,
        };
        let noon = 1_799_971_200_000 + 12 * 3_600_000;
        let figures = DayFigures::of(&stored, vec![], noon);
        assert_eq!((figures.cpu_percent_avg, figures.cpu_percent_max), (Some(45.0), Some(60.0)));
        assert_eq!((figures.uptime_hours, figures.uptime_percent), (1.0, 8.333));
        let later = DayFigures::of(&stored, vec![], noon + 10 * DAY_MS);
        assert_eq!(later.uptime_percent, 4.167);
    }
}
