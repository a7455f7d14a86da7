//! What is looked at of several agents together, and an agent's heartbeats as a chart.

use common::AgentId;

use super::Scope;

/// Heartbeats of an agent, added up in steps of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartFilter {
    /// No points, unless the agent is of this scope.
    pub scope: Scope,
    /// Whose.
    pub agent_id: AgentId,
    /// Taken at or after, milliseconds since the Unix epoch: where the first step begins.
    pub from_unix_ms: u64,
    /// Taken before.
    pub until_unix_ms: u64,
    /// How long a step is, milliseconds; at least one.
    pub step_ms: u64,
}

/// The steps that have heartbeats, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chart {
    /// Of the host.
    pub hosts: Vec<HostPoint>,
    /// Of its devices, by step and index.
    pub devices: Vec<DevicePoint>,
}

/// A host in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPoint {
    /// Which step, from zero.
    pub step: u64,
    /// Heartbeats.
    pub samples: i64,
    /// Share of all processors in use, summed: 100,000 is all of them once.
    pub cpu_sum_millipercent: i64,
    /// Bytes of memory in use, summed.
    pub memory_used_sum_bytes: i64,
    /// Bytes of memory in all, at most.
    pub memory_total_bytes: i64,
    /// Bytes used on the disks, at most.
    pub disk_used_bytes: i64,
    /// Bytes on the disks, at most.
    pub disk_total_bytes: i64,
    /// Bytes received.
    pub received_bytes: i64,
    /// Bytes sent.
    pub sent_bytes: i64,
    /// How long it was there, milliseconds.
    pub online_ms: i64,
}

/// A device in one step. What no heartbeat of the step told has a count of zero, or is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePoint {
    /// Which step, from zero.
    pub step: u64,
    /// Index within the host.
    pub index: u32,
    /// Share of time that it worked, summed, and of how many heartbeats.
    pub busy_millipercent: (i64, i64),
    /// Bytes of memory in use, at most.
    pub memory_used_bytes: Option<i64>,
    /// Bytes of memory in all, at most.
    pub memory_total_bytes: Option<i64>,
    /// Power drawn, summed, and of how many heartbeats.
    pub power_milliwatts: (i64, i64),
    /// Temperature, at most.
    pub temperature_millidegrees: Option<i64>,
    /// Energy.
    pub energy_millijoules: i64,
}
