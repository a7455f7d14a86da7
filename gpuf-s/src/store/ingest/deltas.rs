//! A sample against the one before it: traffic, energy and time that lie between them.

use std::collections::{BTreeMap, HashMap};

use common::AgentId;

use super::rows::{Deltas, Row, devices, text};
use crate::store::{DeviceSample, Sample};

/// An agent that was silent for longer was away for that time.
pub const ONLINE_GAP_MAX_MS: i64 = 30_000;
/// The table of devices says when one was last seen to within this: a write per heartbeat would cost more
/// than the heartbeat.
pub const DEVICE_SEEN_EVERY_MS: i64 = 600_000;
/// Bytes of a device in [`Counters::devices_bytes`].
const DEVICE_BYTES: usize = 24;

/// What an agent's next sample is measured against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// When the latest sample was taken.
    pub taken_unix_ms: i64,
    /// Its bytes received since the host started.
    pub received_bytes: i64,
    /// Its bytes sent since the host started.
    pub sent_bytes: i64,
    /// Its seconds since the host started.
    pub uptime_s: i64,
    devices: BTreeMap<u32, DeviceCounter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DeviceCounter {
    energy_millijoules: Option<i64>,
    /// Tells whether name, maker or memory changed.
    facts: u32,
    /// When the table of devices was last written.
    written_unix_ms: i64,
}

/// A device as the table of devices shall have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Marketing name.
    pub name: String,
    /// Maker.
    pub vendor: String,
    /// Bytes of memory in all.
    pub memory_total_bytes: Option<i64>,
    /// First seen in this batch.
    pub first_unix_ms: i64,
    /// Last seen in this batch.
    pub last_unix_ms: i64,
}

/// What sorted samples come to.
#[derive(Debug, Default)]
pub struct Measured {
    /// A row for each.
    pub rows: Vec<Row>,
    /// The counters that moved.
    pub counters: BTreeMap<AgentId, Counters>,
    /// The devices whose facts are to be written.
    pub devices: BTreeMap<(AgentId, u32), DeviceFacts>,
}

/// Measures `samples`, which are sorted, each against the one before it; `known` are the counters so far.
pub fn measure(samples: &[&Sample], known: &HashMap<AgentId, Counters>) -> Measured {
    let mut measured = Measured { rows: Vec::with_capacity(samples.len()), ..Measured::default() };
    for &sample in samples {
        let Some(mut row) = Row::of(sample) else { continue };
        let last = measured.counters.get(&sample.agent_id).or_else(|| known.get(&sample.agent_id));
        if last.is_none_or(|last| row.taken_unix_ms > last.taken_unix_ms) {
            let next = advance(&mut row, sample, last, &mut measured.devices);
            measured.counters.insert(sample.agent_id, next);
        }
        measured.rows.push(row);
    }
    measured
}

/// Fills in the deltas of a row that is not late, and gives the counters after it.
fn advance(
    row: &mut Row,
    sample: &Sample,
    last: Option<&Counters>,
    told: &mut BTreeMap<(AgentId, u32), DeviceFacts>,
) -> Counters {
    let restarted = last.is_some_and(|last| row.uptime_s < last.uptime_s);
    if let Some(last) = last {
        row.deltas = Deltas {
            received_bytes: grown(last.received_bytes, row.network_received_bytes, restarted),
            sent_bytes: grown(last.sent_bytes, row.network_sent_bytes, restarted),
            online_ms: Some(row.taken_unix_ms - last.taken_unix_ms)
                .filter(|gap| *gap <= ONLINE_GAP_MAX_MS)
                .unwrap_or(0),
        };
    }
    let mut counted = BTreeMap::new();
    for (device, sample) in row.devices.iter_mut().zip(devices(sample)) {
        let before = last.and_then(|last| last.devices.get(&device.index));
        let last_energy = before.and_then(|before| before.energy_millijoules);
        if let (Some(last), Some(next)) = (last_energy, device.energy_millijoules) {
            device.energy_delta_millijoules = grown(last, next, restarted);
        }
        let facts = facts(sample);
        let due = |before: &DeviceCounter| {
            before.facts != facts || row.taken_unix_ms - before.written_unix_ms >= DEVICE_SEEN_EVERY_MS
        };
        let written_unix_ms = match before {
            Some(before) if !due(before) => before.written_unix_ms,
            _ => {
                tell(told, (row.agent_id, device.index), sample, row.taken_unix_ms);
                row.taken_unix_ms
            }
        };
        // A driver that does not answer for a moment loses no energy.
        let energy_millijoules = device.energy_millijoules.or(last_energy.filter(|_| !restarted));
        counted.insert(device.index, DeviceCounter { energy_millijoules, facts, written_unix_ms });
    }
    Counters {
        taken_unix_ms: row.taken_unix_ms,
        received_bytes: row.network_received_bytes,
        sent_bytes: row.network_sent_bytes,
        uptime_s: row.uptime_s,
        devices: counted,
    }
}

/// How far a counter went on. A host that started again counts from zero; a counter that fell without that
/// was reset by somebody, and what it counted in between is not known.
fn grown(last: i64, next: i64, restarted: bool) -> i64 {
    if restarted { next } else { next.saturating_sub(last).max(0) }
}

fn tell(
    told: &mut BTreeMap<(AgentId, u32), DeviceFacts>,
    key: (AgentId, u32),
    device: &DeviceSample,
    taken_unix_ms: i64,
) {
    let first_unix_ms = told.get(&key).map_or(taken_unix_ms, |before| before.first_unix_ms);
    let facts = DeviceFacts {
        name: text(&device.name).into_owned(),
        vendor: text(&device.vendor).into_owned(),
        memory_total_bytes: device.memory_total_bytes.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        first_unix_ms,
        last_unix_ms: taken_unix_ms,
    };
    told.insert(key, facts);
}

/// A change that the checksum misses is written with the next refresh.
fn facts(device: &DeviceSample) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    for text in [&device.name, &device.vendor] {
        sum.update(&(text.len() as u64).to_be_bytes());
        sum.update(text.as_bytes());
    }
    sum.update(&device.memory_total_bytes.map_or([0xff; 8], u64::to_be_bytes));
    sum.finalize()
}

impl Counters {
    /// From what was stored: its four figures in order, and [`Self::devices_bytes`].
    pub fn stored([taken_unix_ms, received_bytes, sent_bytes, uptime_s]: [i64; 4], devices: &[u8]) -> Self {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let small = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        let device = |bytes: &[u8]| {
            let (index, rest) = bytes.split_at(4);
            let (facts, rest) = rest.split_at(4);
            let (energy, written) = rest.split_at(8);
            let counter = DeviceCounter {
                energy_millijoules: Some(number(energy).cast_signed()).filter(|energy| *energy >= 0),
                facts: small(facts),
                written_unix_ms: number(written).cast_signed(),
            };
            (small(index), counter)
        };
        let devices = devices.chunks_exact(DEVICE_BYTES).map(device).collect();
        Self { taken_unix_ms, received_bytes, sent_bytes, uptime_s, devices }
    }

    /// Its devices as they are stored: index, checksum, energy (negative: none) and time, most significant
    /// byte first.
    pub fn devices_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.devices.len() * DEVICE_BYTES);
        for (index, counter) in &self.devices {
            bytes.extend_from_slice(&index.to_be_bytes());
            bytes.extend_from_slice(&counter.facts.to_be_bytes());
            bytes.extend_from_slice(&counter.energy_millijoules.unwrap_or(-1).to_be_bytes());
            bytes.extend_from_slice(&counter.written_unix_ms.to_be_bytes());
        }
        bytes
    }
}
