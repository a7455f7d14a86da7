//! A sample as the row that is stored: figures within what a database can hold and add.

use std::borrow::Cow;

use common::{AgentId, message::GPUS_MAX};
use serde::{Deserialize, Serialize};

use super::Identity;
use crate::store::{Day, DeviceSample, Sample, samples::SampleId};

/// A stored heartbeat. The deltas are part of it, so that its day can be counted again from rows alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Whose.
    pub agent_id: AgentId,
    /// Its name.
    pub id: SampleId,
    /// When.
    pub taken_unix_ms: i64,
    /// The day of that.
    pub day: Day,
    /// As in the sample, like all that follow.
    pub cpu_millipercent: i64,
    pub memory_used_bytes: i64,
    pub memory_total_bytes: i64,
    pub disk_used_bytes: i64,
    pub disk_total_bytes: i64,
    pub network_received_bytes: i64,
    pub network_sent_bytes: i64,
    pub uptime_s: i64,
    /// Against the sample before.
    pub deltas: Deltas,
    /// Its GPUs, by index, each once.
    pub devices: Vec<DeviceRow>,
}

/// What happened between a sample and the one before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deltas {
    /// Bytes received.
    pub received_bytes: i64,
    /// Bytes sent.
    pub sent_bytes: i64,
    /// How long the agent was there, milliseconds.
    pub online_ms: i64,
}

/// A GPU in a stored heartbeat; in the database an array of these fields. Name and maker stand in the table
/// of devices, once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "DeviceFields", into = "DeviceFields")]
pub struct DeviceRow {
    pub index: u32,
    pub busy_millipercent: Option<i64>,
    pub memory_used_bytes: Option<i64>,
    pub memory_total_bytes: Option<i64>,
    pub power_milliwatts: Option<i64>,
    pub temperature_millidegrees: Option<i64>,
    pub energy_millijoules: Option<i64>,
    /// Energy since the sample before.
    pub energy_delta_millijoules: i64,
}

type Figure = Option<i64>;
type DeviceFields = (u32, Figure, Figure, Figure, Figure, Figure, Figure, i64);

impl From<DeviceFields> for DeviceRow {
    fn from(fields: DeviceFields) -> Self {
        let (index, busy, used, total, power, temperature, energy, delta) = fields;
        Self {
            index,
            busy_millipercent: busy,
            memory_used_bytes: used,
            memory_total_bytes: total,
            power_milliwatts: power,
            temperature_millidegrees: temperature,
            energy_millijoules: energy,
            energy_delta_millijoules: delta,
        }
    }
}

impl From<DeviceRow> for DeviceFields {
    fn from(row: DeviceRow) -> Self {
        (
            row.index,
            row.busy_millipercent,
            row.memory_used_bytes,
            row.memory_total_bytes,
            row.power_milliwatts,
            row.temperature_millidegrees,
            row.energy_millijoules,
            row.energy_delta_millijoules,
        )
    }
}

/// Why a sample cannot be a row at all.
pub fn fault(sample: &Sample, pruned_before_unix_ms: i64) -> Option<&'static str> {
    let Some(day) = Day::of_unix_ms(sample.taken_unix_ms) else {
        return Some("it was taken at a time that no calendar has");
    };
    // Its day's rows are gone: whether it was among them cannot be known, and must not be guessed.
    (day.first_unix_ms() < pruned_before_unix_ms).then_some("it is older than the retention")
}

impl Row {
    /// The row of a sample, before it is measured against another; of a faulty one `None`.
    pub fn of(sample: &Sample) -> Option<Self> {
        Some(Self {
            agent_id: sample.agent_id,
            id: sample.id,
            taken_unix_ms: sample.taken_unix_ms.cast_signed(),
            day: Day::of_unix_ms(sample.taken_unix_ms)?,
            cpu_millipercent: i64::from(sample.cpu_millipercent),
            memory_used_bytes: bounded(sample.memory_used_bytes),
            memory_total_bytes: bounded(sample.memory_total_bytes),
            disk_used_bytes: bounded(sample.disk_used_bytes),
            disk_total_bytes: bounded(sample.disk_total_bytes),
            network_received_bytes: bounded(sample.network_received_bytes),
            network_sent_bytes: bounded(sample.network_sent_bytes),
            uptime_s: bounded(sample.uptime_s),
            deltas: Deltas::default(),
            devices: devices(sample).map(DeviceRow::of).collect(),
        })
    }

    /// What makes it the same as another.
    pub fn identity(&self) -> Identity {
        (self.agent_id, self.taken_unix_ms, self.id)
    }

    /// Its figures in the order of the columns, those of the host and then the deltas.
    pub fn figures(&self) -> [i64; 11] {
        [
            self.cpu_millipercent,
            self.memory_used_bytes,
            self.memory_total_bytes,
            self.disk_used_bytes,
            self.disk_total_bytes,
            self.network_received_bytes,
            self.network_sent_bytes,
            self.uptime_s,
            self.deltas.received_bytes,
            self.deltas.sent_bytes,
            self.deltas.online_ms,
        ]
    }

    /// Its GPUs as they are stored; a host without any has none.
    pub fn devices_json(&self) -> Option<String> {
        // Integers in arrays always have a text.
        (!self.devices.is_empty()).then(|| serde_json::to_string(&self.devices).ok()).flatten()
    }

    /// The sample that it was made of, less what [`Row::of`] leaves out.
    pub fn sample(self, name: impl Fn(u32) -> (String, String)) -> Sample {
        Sample {
            id: self.id,
            agent_id: self.agent_id,
            taken_unix_ms: self.taken_unix_ms.cast_unsigned(),
            cpu_millipercent: u32::try_from(self.cpu_millipercent).unwrap_or(u32::MAX),
            memory_used_bytes: self.memory_used_bytes.cast_unsigned(),
            memory_total_bytes: self.memory_total_bytes.cast_unsigned(),
            disk_used_bytes: self.disk_used_bytes.cast_unsigned(),
            disk_total_bytes: self.disk_total_bytes.cast_unsigned(),
            network_received_bytes: self.network_received_bytes.cast_unsigned(),
            network_sent_bytes: self.network_sent_bytes.cast_unsigned(),
            uptime_s: self.uptime_s.cast_unsigned(),
            devices: self.devices.into_iter().map(|row| row.device(name(row.index))).collect(),
        }
    }
}

impl DeviceRow {
    fn of(device: &DeviceSample) -> Self {
        Self {
            index: device.index,
            busy_millipercent: device.busy_millipercent.map(i64::from),
            memory_used_bytes: device.memory_used_bytes.map(bounded),
            memory_total_bytes: device.memory_total_bytes.map(bounded),
            power_milliwatts: device.power_milliwatts.map(i64::from),
            temperature_millidegrees: device.temperature_millidegrees.map(i64::from),
            energy_millijoules: device.energy_millijoules.map(bounded),
            energy_delta_millijoules: 0,
        }
    }

    fn device(self, (name, vendor): (String, String)) -> DeviceSample {
        let small = |figure: Figure| figure.map(|figure| u32::try_from(figure).unwrap_or(u32::MAX));
        let large = |figure: Figure| figure.map(i64::cast_unsigned);
        DeviceSample {
            index: self.index,
            name,
            vendor,
            busy_millipercent: small(self.busy_millipercent),
            memory_used_bytes: large(self.memory_used_bytes),
            memory_total_bytes: large(self.memory_total_bytes),
            power_milliwatts: small(self.power_milliwatts),
            temperature_millidegrees: self
                .temperature_millidegrees
                .and_then(|degrees| i32::try_from(degrees).ok()),
            energy_millijoules: large(self.energy_millijoules),
        }
    }
}

/// The GPUs of a sample that count: by index, each once, and no more than a heartbeat may have.
pub fn devices(sample: &Sample) -> impl Iterator<Item = &DeviceSample> {
    let mut devices: Vec<_> = sample.devices.iter().take(GPUS_MAX).collect();
    devices.sort_by_key(|device| device.index);
    devices.dedup_by_key(|device| device.index);
    devices.into_iter()
}

/// Text as every database takes it: PostgreSQL's has no zero byte.
pub fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(text) }
}

fn bounded(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}

/// Likewise, where there is one.
pub fn optional_text(told: &Option<String>) -> Option<String> {
    told.as_deref().map(|told| text(told).into_owned())
}
