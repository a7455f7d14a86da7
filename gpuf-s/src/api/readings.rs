//! Figures of hosts and devices as they are shown: of the live session, or of the latest stored heartbeat.

use std::collections::HashMap;

use common::{
    AgentId,
    message::{GpuSample, HostSample},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{AgentView, Api, error::Error, moment};
use crate::store::{DeviceSample, Sample, Scope};

/// A host at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct HostFigures {
    /// Share of all processors in use, 0 to 100.
    cpu_percent: f64,
    /// Bytes of memory in use.
    memory_used_bytes: u64,
    /// Bytes of memory in all.
    memory_total_bytes: u64,
    /// Bytes used on the disks.
    disk_used_bytes: u64,
    /// Bytes on the disks.
    disk_total_bytes: u64,
    /// Bytes received since the host started.
    network_received_bytes: u64,
    /// Bytes sent since the host started.
    network_sent_bytes: u64,
    /// Seconds since the host started.
    uptime_s: u64,
}

/// A device at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct DeviceFigures {
    /// Index within the host.
    pub(super) index: u32,
    /// Marketing name.
    pub(super) name: String,
    /// Maker.
    pub(super) vendor: String,
    /// Share of time that it worked, 0 to 100.
    pub(super) busy_percent: Option<f64>,
    /// Bytes of memory in use.
    pub(super) memory_used_bytes: Option<u64>,
    /// Bytes of memory in all.
    pub(super) memory_total_bytes: Option<u64>,
    /// Power drawn, watts.
    pub(super) power_watts: Option<f64>,
    /// Temperature, degrees Celsius.
    pub(super) temperature_c: Option<f64>,
    /// Energy since the driver started, joules.
    pub(super) energy_joules: Option<f64>,
}

/// What an agent last told of its host.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Latest {
    /// When, milliseconds since the Unix epoch.
    pub(super) at_unix_ms: u64,
    pub(super) host: HostFigures,
    pub(super) devices: Vec<DeviceFigures>,
}

/// The latest figures of these agents, as far as there are any.
pub(super) async fn latest(
    api: &Api,
    scope: &Scope,
    agents: &[AgentView],
) -> Result<HashMap<AgentId, Latest>, Error> {
    let silent: Vec<_> =
        agents.iter().filter(|agent| agent.heartbeat.is_none()).map(|agent| agent.id).collect();
    let stored =
        if silent.is_empty() { Vec::new() } else { api.store.latest_samples(scope, &silent).await? };
    let stored = stored.into_iter().map(|sample| (sample.agent_id, Latest::from(sample)));
    let now_ms = moment::now_ms();
    let live = agents.iter().filter_map(|agent| {
        let heartbeat = agent.heartbeat.as_ref()?;
        let latest = Latest {
            at_unix_ms: now_ms.saturating_sub(heartbeat.age_s * 1000),
            host: heartbeat.host.into(),
            devices: heartbeat.gpus.iter().cloned().map(DeviceFigures::from).collect(),
        };
        Some((agent.id, latest))
    });
    Ok(stored.chain(live).collect())
}

/// To three places: more is noise, and less loses what was stored.
pub(super) fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// Thousandths as a number.
pub(super) fn thousandths(figure: impl TryInto<i64>) -> f64 {
    figure.try_into().map_or(0.0, |figure: i64| figure as f64 / 1000.0)
}

impl From<HostSample> for HostFigures {
    fn from(host: HostSample) -> Self {
        Self {
            cpu_percent: rounded(host.cpu_percent.into()),
            memory_used_bytes: host.memory_used_bytes,
            memory_total_bytes: host.memory_total_bytes,
            disk_used_bytes: host.disk_used_bytes,
            disk_total_bytes: host.disk_total_bytes,
            network_received_bytes: host.network_received_bytes,
            network_sent_bytes: host.network_sent_bytes,
            uptime_s: host.uptime_s,
        }
    }
}

impl From<GpuSample> for DeviceFigures {
    fn from(gpu: GpuSample) -> Self {
        let number = |figure: Option<f32>| figure.map(|figure| rounded(figure.into()));
        Self {
            index: gpu.index,
            name: gpu.name,
            vendor: gpu.vendor,
            busy_percent: number(gpu.busy_percent),
            memory_used_bytes: gpu.memory_used_bytes,
            memory_total_bytes: gpu.memory_total_bytes,
            power_watts: number(gpu.power_watts),
            temperature_c: number(gpu.temperature_c),
            energy_joules: gpu.energy_joules.map(rounded),
        }
    }
}

impl From<&Sample> for HostFigures {
    fn from(sample: &Sample) -> Self {
        Self {
            cpu_percent: thousandths(sample.cpu_millipercent),
            memory_used_bytes: sample.memory_used_bytes,
            memory_total_bytes: sample.memory_total_bytes,
            disk_used_bytes: sample.disk_used_bytes,
            disk_total_bytes: sample.disk_total_bytes,
            network_received_bytes: sample.network_received_bytes,
            network_sent_bytes: sample.network_sent_bytes,
            uptime_s: sample.uptime_s,
        }
    }
}

impl From<DeviceSample> for DeviceFigures {
    fn from(device: DeviceSample) -> Self {
        Self {
            index: device.index,
            name: device.name,
            vendor: device.vendor,
            busy_percent: device.busy_millipercent.map(thousandths),
            memory_used_bytes: device.memory_used_bytes,
            memory_total_bytes: device.memory_total_bytes,
            power_watts: device.power_milliwatts.map(thousandths),
            temperature_c: device.temperature_millidegrees.map(thousandths),
            energy_joules: device.energy_millijoules.map(thousandths),
        }
    }
}

impl From<Sample> for Latest {
    fn from(sample: Sample) -> Self {
        Self {
            at_unix_ms: sample.taken_unix_ms,
            host: HostFigures::from(&sample),
            devices: sample.devices.into_iter().map(DeviceFigures::from).collect(),
        }
    }
}
