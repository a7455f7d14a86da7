//! Figures of agents and devices per day, added up from rows.
//!
//! Sums, counts, maxima and minima only: they come out the same in whatever order the rows are taken, so a day
//! that grew batch by batch equals the day that is counted from its rows. Averages are worked out on reading.

use std::collections::{BTreeMap, BTreeSet};

use common::AgentId;

use super::rows::{DeviceRow, Row};
use crate::store::{Day, Difference};

/// How a column takes in another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// The sum.
    Add,
    /// The sum, which ends at the largest integer: what an agent tells can be anything.
    AddBounded,
    /// The greater one, or the one that there is.
    Max,
    /// The lesser one, or the one that there is.
    Min,
}

/// A table of figures: its key is the day, the agent, and what else [`Table::key`] has.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Columns of the key.
    pub key: &'static [&'static str],
    /// The others, in the order of the figures.
    pub columns: &'static [(&'static str, Merge)],
}

use Merge::{Add, AddBounded, Max, Min};

/// Figures of agents.
pub const AGENT_DAYS: Table = Table {
    name: "agent_days",
    key: &["day", "agent_id"],
    columns: &[
        ("samples", Add),
        ("cpu_sum_millipercent", Add),
        ("cpu_max_millipercent", Max),
        ("memory_used_sum_bytes", AddBounded),
        ("memory_used_max_bytes", Max),
        ("memory_total_max_bytes", Max),
        ("disk_used_max_bytes", Max),
        ("disk_total_max_bytes", Max),
        ("received_bytes", AddBounded),
        ("sent_bytes", AddBounded),
        ("online_ms", Add),
        ("first_unix_ms", Min),
        ("last_unix_ms", Max),
    ],
};

/// Figures of devices.
pub const DEVICE_DAYS: Table = Table {
    name: "device_days",
    key: &["day", "agent_id", "device_index"],
    columns: &[
        ("samples", Add),
        ("busy_sum_millipercent", Add),
        ("busy_count", Add),
        ("busy_max_millipercent", Max),
        ("memory_used_sum_bytes", AddBounded),
        ("memory_used_count", Add),
        ("memory_used_max_bytes", Max),
        ("memory_total_max_bytes", Max),
        ("power_sum_milliwatts", Add),
        ("power_count", Add),
        ("power_max_milliwatts", Max),
        ("temperature_sum_millidegrees", Add),
        ("temperature_count", Add),
        ("temperature_max_millidegrees", Max),
        ("energy_millijoules", AddBounded),
    ],
};

/// The values of a table's columns; a maximum of nothing is `None`, a sum of nothing zero.
pub type Figures = Vec<Option<i64>>;

/// Figures of some days, by their keys.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Days {
    /// As [`AGENT_DAYS`] says.
    pub agents: BTreeMap<(Day, AgentId), Figures>,
    /// As [`DEVICE_DAYS`] says.
    pub devices: BTreeMap<(Day, AgentId, u32), Figures>,
}

impl Days {
    /// Adds a row to its day.
    pub fn add(&mut self, row: &Row) {
        AGENT_DAYS.merge(self.agents.entry((row.day, row.agent_id)).or_default(), &of_row(row));
        for device in &row.devices {
            let figures = self.devices.entry((row.day, row.agent_id, device.index)).or_default();
            DEVICE_DAYS.merge(figures, &of_device(device));
        }
    }
}

#[cfg(test)]
impl Days {
    /// As a database takes figures in.
    pub fn merge(&mut self, more: &Self) {
        for (key, figures) in &more.agents {
            AGENT_DAYS.merge(self.agents.entry(*key).or_default(), figures);
        }
        for (key, figures) in &more.devices {
            DEVICE_DAYS.merge(self.devices.entry(*key).or_default(), figures);
        }
    }
}

/// What one row brings to the columns of [`AGENT_DAYS`].
fn of_row(row: &Row) -> [Option<i64>; AGENT_DAYS.columns.len()] {
    [
        1,
        row.cpu_millipercent,
        row.cpu_millipercent,
        row.memory_used_bytes,
        row.memory_used_bytes,
        row.memory_total_bytes,
        row.disk_used_bytes,
        row.disk_total_bytes,
        row.deltas.received_bytes,
        row.deltas.sent_bytes,
        row.deltas.online_ms,
        row.taken_unix_ms,
        row.taken_unix_ms,
    ]
    .map(Some)
}

/// What one device of a row brings to the columns of [`DEVICE_DAYS`].
fn of_device(device: &DeviceRow) -> [Option<i64>; DEVICE_DAYS.columns.len()] {
    let count = |figure: Option<i64>| Some(i64::from(figure.is_some()));
    let sum = |figure: Option<i64>| Some(figure.unwrap_or(0));
    let (busy, used) = (device.busy_millipercent, device.memory_used_bytes);
    let (power, temperature) = (device.power_milliwatts, device.temperature_millidegrees);
    [
        Some(1),
        sum(busy),
        count(busy),
        busy,
        sum(used),
        count(used),
        used,
        device.memory_total_bytes,
        sum(power),
        count(power),
        power,
        sum(temperature),
        count(temperature),
        temperature,
        Some(device.energy_delta_millijoules),
    ]
}

impl Table {
    /// Takes `more` into `figures`; empty ones take it over.
    fn merge(&self, figures: &mut Figures, more: &[Option<i64>]) {
        if figures.is_empty() {
            figures.extend_from_slice(more);
            return;
        }
        for ((_, merge), (figure, more)) in self.columns.iter().zip(figures.iter_mut().zip(more)) {
            *figure = merge.of(*figure, *more);
        }
    }

    /// The columns, key first, separated by commas.
    pub fn column_list(&self) -> String {
        let columns = self.columns.iter().map(|(column, _)| *column);
        self.key.iter().copied().chain(columns).collect::<Vec<_>>().join(", ")
    }

    /// The end of an `INSERT` that takes the values into a row that is there. Both databases read it alike.
    pub fn on_conflict(&self) -> String {
        let table = self.name;
        let set = |(column, merge): &(&str, Merge)| {
            let (old, new) = (format!("{table}.{column}"), format!("excluded.{column}"));
            match merge {
                Add => format!("{column} = {old} + {new}"),
                AddBounded => {
                    let max = i64::MAX;
                    format!("{column} = CASE WHEN {old} > {max} - {new} THEN {max} ELSE {old} + {new} END")
                }
                Max | Min => {
                    let sign = if *merge == Max { '>' } else { '<' };
                    format!(
                        "{column} = CASE WHEN {old} IS NULL OR {new} {sign} {old} THEN {new} ELSE {old} END"
                    )
                }
            }
        };
        let sets: Vec<_> = self.columns.iter().map(set).collect();
        format!("ON CONFLICT ({}) DO UPDATE SET {}", self.key.join(", "), sets.join(", "))
    }
}

impl Merge {
    fn of(self, old: Option<i64>, new: Option<i64>) -> Option<i64> {
        let (Some(a), Some(b)) = (old, new) else { return old.or(new) };
        Some(match self {
            Add | AddBounded => a.saturating_add(b),
            Max => a.max(b),
            Min => a.min(b),
        })
    }
}

/// Where what is stored is not what the rows come to.
pub fn differences(stored: &Days, counted: &Days) -> Vec<Difference> {
    let agents = compare(&AGENT_DAYS, &stored.agents, &counted.agents, |key| (key.1, None));
    let devices = compare(&DEVICE_DAYS, &stored.devices, &counted.devices, |key| (key.1, Some(key.2)));
    agents.into_iter().chain(devices).collect()
}

fn compare<K: Ord>(
    table: &Table,
    stored: &BTreeMap<K, Figures>,
    counted: &BTreeMap<K, Figures>,
    name: impl Fn(&K) -> (AgentId, Option<u32>),
) -> Vec<Difference> {
    let keys: BTreeSet<_> = stored.keys().chain(counted.keys()).collect();
    let mut differences = Vec::new();
    for key in keys {
        let (stored, counted) = (stored.get(key), counted.get(key));
        let (agent_id, device) = name(key);
        for (at, (column, _)) in table.columns.iter().enumerate() {
            let figure = |figures: Option<&Figures>| figures.and_then(|figures| figures[at]);
            let (stored, counted) = (figure(stored), figure(counted));
            if stored != counted {
                differences.push(Difference { agent_id, device, column, stored, counted });
            }
        }
    }
    differences
}
