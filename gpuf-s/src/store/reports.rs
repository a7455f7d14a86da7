//! What can be asked about agents: facts, heartbeats, devices, and figures per day.
//!
//! Every question carries the owner whose agents it is limited to; without one it is about all.

use common::AgentId;
use serde::Serialize;

use super::{AgentRow, Day, Name, SampleId};

/// Rows that one question may ask for.
pub const REPORT_PAGE_ROWS_MAX: u32 = 1000;

/// Which agents; every condition that is given must hold. They come by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentFilter {
    /// Of this owner.
    pub owner: Option<Name>,
    /// This one.
    pub agent_id: Option<AgentId>,
    /// Heard of lately, or not.
    pub online: Option<bool>,
    /// Put out, or not.
    pub revoked: Option<bool>,
    /// With this text in a name; ASCII letters match in either case.
    pub text: Option<String>,
    /// With this label.
    pub label: Option<(String, String)>,
    /// After this one: where the page before ended.
    pub after: Option<AgentId>,
    /// At most so many, capped at [`REPORT_PAGE_ROWS_MAX`].
    pub limit: u32,
}

/// An agent with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentReport {
    /// As it was let in.
    pub agent: AgentRow,
    /// What it told of itself, once it has.
    pub facts: Option<AgentFacts>,
    /// When its latest heartbeat was taken, milliseconds since the Unix epoch.
    pub last_seen_unix_ms: Option<u64>,
    /// Whether it was heard of lately.
    pub online: bool,
}

/// What an agent told of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentFacts {
    /// When, milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// The name that it gave itself.
    pub name: String,
    /// Its software version.
    pub version: String,
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
    /// Labels, `key=value`.
    pub labels: Vec<(String, String)>,
    /// Where it stands, in words or coordinates.
    pub location: Option<String>,
    /// Where its session comes from.
    pub address: Option<String>,
}

/// Which heartbeats of an agent; every condition that is given must hold. They come newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleFilter {
    /// Whose.
    pub agent_id: AgentId,
    /// None, unless the agent is of this owner.
    pub owner: Option<Name>,
    /// Taken at or after, milliseconds since the Unix epoch.
    pub since_unix_ms: Option<u64>,
    /// Taken before, milliseconds since the Unix epoch.
    pub until_unix_ms: Option<u64>,
    /// Older than this one: where the page before ended.
    pub before: Option<(u64, SampleId)>,
    /// At most so many, capped at [`REPORT_PAGE_ROWS_MAX`].
    pub limit: u32,
}

/// A GPU of an agent, as it was last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Index within the host.
    pub index: u32,
    /// Marketing name.
    pub name: String,
    /// Maker.
    pub vendor: String,
    /// Bytes of memory in all.
    pub memory_total_bytes: Option<u64>,
    /// When it was first told, milliseconds since the Unix epoch.
    pub first_unix_ms: u64,
    /// When it was last told, to within ten minutes.
    pub last_unix_ms: u64,
}

/// Which days; every condition that is given must hold. They come by day, agent and device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DayFilter {
    /// Of agents of this owner.
    pub owner: Option<Name>,
    /// Of this agent.
    pub agent_id: Option<AgentId>,
    /// From this day on.
    pub from: Option<Day>,
    /// Up to this day, which belongs to them.
    pub to: Option<Day>,
    /// After this one: where the page before ended. Agents have no device, and ignore its index.
    pub after: Option<(Day, AgentId, u32)>,
    /// At most so many, capped at [`REPORT_PAGE_ROWS_MAX`].
    pub limit: u32,
}

/// A figure over the samples of a day that had it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Gauge {
    /// Their sum.
    pub sum: i64,
    /// How many there were.
    pub count: i64,
    /// The greatest.
    pub max: Option<i64>,
}

impl Gauge {
    /// Their average, rounded down; `None` where there were none.
    #[must_use]
    pub const fn average(&self) -> Option<i64> {
        if self.count == 0 { None } else { Some(self.sum.div_euclid(self.count)) }
    }
}

/// An agent on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentDay {
    /// The day.
    pub day: Day,
    /// The agent.
    pub agent_id: AgentId,
    /// Heartbeats.
    pub samples: i64,
    /// Share of all processors in use: 100,000 is all of them.
    pub cpu_millipercent: Gauge,
    /// Bytes of memory in use.
    pub memory_used_bytes: Gauge,
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
    /// Its first heartbeat, milliseconds since the Unix epoch.
    pub first_unix_ms: i64,
    /// Its last one.
    pub last_unix_ms: i64,
}

/// A GPU on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceDay {
    /// The day.
    pub day: Day,
    /// The agent.
    pub agent_id: AgentId,
    /// Index within the host.
    pub index: u32,
    /// Heartbeats that told of it.
    pub samples: i64,
    /// Share of time that it worked: 100,000 is all of it.
    pub busy_millipercent: Gauge,
    /// Bytes of memory in use.
    pub memory_used_bytes: Gauge,
    /// Bytes of memory in all, at most.
    pub memory_total_bytes: Option<i64>,
    /// Power drawn, thousandths of a watt.
    pub power_milliwatts: Gauge,
    /// Temperature, thousandths of a degree Celsius.
    pub temperature_millidegrees: Gauge,
    /// Energy, thousandths of a joule.
    pub energy_millijoules: i64,
}

/// How a day is counted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebuild {
    /// Compares, and writes nothing.
    Check,
    /// Writes what the rows come to; not where the day's rows have been pruned.
    Write,
    /// Likewise, also where that erases figures whose rows have been pruned.
    Force,
}

/// A day that was counted again from its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Heartbeats of the day.
    pub rows: u64,
    /// Agents that they are of.
    pub agents: u64,
    /// Devices that they tell of.
    pub devices: u64,
    /// Where the stored figures were others.
    pub differences: Vec<Difference>,
}

/// A figure that was not what the rows come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Of this agent.
    pub agent_id: AgentId,
    /// Of this device, or of the agent itself.
    pub device: Option<u32>,
    /// The column.
    pub column: &'static str,
    /// What was stored, if anything.
    pub stored: Option<i64>,
    /// What the rows come to, if anything.
    pub counted: Option<i64>,
}
