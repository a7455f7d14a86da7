//! Rows that are looked at together, by their agents.

use std::collections::BTreeMap;

use common::{AgentId, EngineReport};
use sqlx::FromRow;

use super::agent_id;
use crate::store::{
    Device, DevicePoint, Error, HostPoint, Sample,
    ingest::rows::Row,
    sample_columns::{DeviceColumns, EngineColumns, HeartbeatColumns, ModelColumns, engines, named},
};

/// A row of `engines`, and whose it is.
#[derive(FromRow)]
pub(in crate::store) struct EngineOf {
    agent_id: Vec<u8>,
    #[sqlx(flatten)]
    engine: EngineColumns,
}

/// A row of `agent_models`, and whose it is.
#[derive(FromRow)]
pub(in crate::store) struct ModelOf {
    agent_id: Vec<u8>,
    #[sqlx(flatten)]
    model: ModelColumns,
}

/// A row of `devices`, and whose it is.
#[derive(FromRow)]
pub(in crate::store) struct DeviceOf {
    agent_id: Vec<u8>,
    #[sqlx(flatten)]
    device: DeviceColumns,
}

/// A host in one step.
#[derive(FromRow)]
pub(in crate::store) struct HostPointColumns {
    step: i64,
    samples: i64,
    cpu_sum_millipercent: i64,
    memory_used_sum_bytes: i64,
    memory_total_bytes: i64,
    disk_used_bytes: i64,
    disk_total_bytes: i64,
    received_bytes: i64,
    sent_bytes: i64,
    online_ms: i64,
}

/// A device in one step.
#[derive(FromRow)]
pub(in crate::store) struct DevicePointColumns {
    step: i64,
    device_index: i64,
    busy_sum: i64,
    busy_count: i64,
    memory_used_bytes: Option<i64>,
    memory_total_bytes: Option<i64>,
    power_sum: i64,
    power_count: i64,
    temperature_millidegrees: Option<i64>,
    energy_millijoules: i64,
}

/// Engines with their models, by agents.
pub(in crate::store) fn engines_by_agent(
    found: Vec<EngineOf>,
    models: Vec<ModelOf>,
) -> Result<Vec<(AgentId, Vec<EngineReport>)>, Error> {
    let mut agents: BTreeMap<Vec<u8>, (Vec<EngineColumns>, Vec<ModelColumns>)> = BTreeMap::new();
    for row in found {
        agents.entry(row.agent_id).or_default().0.push(row.engine);
    }
    for row in models {
        if let Some(agent) = agents.get_mut(&row.agent_id) {
            agent.1.push(row.model);
        }
    }
    let agents = agents.into_iter();
    agents.map(|(id, (found, models))| Ok((agent_id(&id)?, engines(found, models)?))).collect()
}

/// Samples with the names of their devices.
pub(in crate::store) fn samples_with_names(
    rows: Vec<HeartbeatColumns>,
    devices: Vec<DeviceOf>,
) -> Result<Vec<Sample>, Error> {
    let mut names: BTreeMap<AgentId, Vec<Device>> = BTreeMap::new();
    for row in devices {
        names.entry(agent_id(&row.agent_id)?).or_default().push(row.device.try_into()?);
    }
    let mut samples = Vec::with_capacity(rows.len());
    for row in rows {
        let row = Row::try_from(row)?;
        let devices = names.get(&row.agent_id).map_or(&[][..], Vec::as_slice);
        samples.extend(named(vec![row], devices));
    }
    Ok(samples)
}

impl TryFrom<HostPointColumns> for HostPoint {
    type Error = Error;

    fn try_from(row: HostPointColumns) -> Result<Self, Error> {
        Ok(Self {
            step: step(row.step)?,
            samples: row.samples,
            cpu_sum_millipercent: row.cpu_sum_millipercent,
            memory_used_sum_bytes: row.memory_used_sum_bytes,
            memory_total_bytes: row.memory_total_bytes,
            disk_used_bytes: row.disk_used_bytes,
            disk_total_bytes: row.disk_total_bytes,
            received_bytes: row.received_bytes,
            sent_bytes: row.sent_bytes,
            online_ms: row.online_ms,
        })
    }
}

impl TryFrom<DevicePointColumns> for DevicePoint {
    type Error = Error;

    fn try_from(row: DevicePointColumns) -> Result<Self, Error> {
        Ok(Self {
            step: step(row.step)?,
            index: row.device_index.try_into().map_err(|_| Error::Corrupt("a device's index"))?,
            busy_millipercent: (row.busy_sum, row.busy_count),
            memory_used_bytes: row.memory_used_bytes,
            memory_total_bytes: row.memory_total_bytes,
            power_milliwatts: (row.power_sum, row.power_count),
            temperature_millidegrees: row.temperature_millidegrees,
            energy_millijoules: row.energy_millijoules,
        })
    }
}

fn step(stored: i64) -> Result<u64, Error> {
    stored.try_into().map_err(|_| Error::Corrupt("a step of a chart"))
}
