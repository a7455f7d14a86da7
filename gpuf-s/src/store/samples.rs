//! What comes in about agents and requests, as one batch that is stored whole.

use std::fmt;

use common::{AgentId, EngineReport};
use serde::{Serialize, Serializer};

use super::UsageRecord;

/// Names a sample for ever; made by the agent, so that however often it is sent it counts once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SampleId([u8; 16]);

impl SampleId {
    /// From its 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for SampleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SampleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SampleId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One heartbeat: an agent's host at one moment. The same agent, time and id are the same sample.
///
/// Every figure is an integer, so that sums are exact and a day that is counted again is the same day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Its name.
    pub id: SampleId,
    /// Whose.
    pub agent_id: AgentId,
    /// When, by the agent's clock, which whoever makes the sample holds to within a day of its own.
    pub taken_unix_ms: u64,
    /// Share of all processors in use: 100,000 is all of them.
    pub cpu_millipercent: u32,
    /// Bytes of memory in use.
    pub memory_used_bytes: u64,
    /// Bytes of memory in all.
    pub memory_total_bytes: u64,
    /// Bytes used on the disks.
    pub disk_used_bytes: u64,
    /// Bytes on the disks.
    pub disk_total_bytes: u64,
    /// Bytes received since the host started.
    pub network_received_bytes: u64,
    /// Bytes sent since the host started.
    pub network_sent_bytes: u64,
    /// Seconds since the host started.
    pub uptime_s: u64,
    /// Its GPUs. Of two with one index the first counts.
    pub devices: Vec<DeviceSample>,
}

/// A GPU at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceSample {
    /// Index within the host.
    pub index: u32,
    /// Marketing name.
    pub name: String,
    /// Maker.
    pub vendor: String,
    /// Share of time that it worked: 100,000 is all of it.
    pub busy_millipercent: Option<u32>,
    /// Bytes of memory in use.
    pub memory_used_bytes: Option<u64>,
    /// Bytes of memory in all.
    pub memory_total_bytes: Option<u64>,
    /// Power drawn, thousandths of a watt.
    pub power_milliwatts: Option<u32>,
    /// Temperature, thousandths of a degree Celsius.
    pub temperature_millidegrees: Option<i32>,
    /// Energy since the driver started, thousandths of a joule.
    pub energy_millijoules: Option<u64>,
}

/// What an agent told of itself, at login or when its engines changed. The latest one holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inventory {
    /// Who.
    pub agent_id: AgentId,
    /// When the server heard it.
    pub at_unix_ms: u64,
    /// The agent's software version.
    pub version: String,
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub arch: String,
    /// A name that people chose, or the host's.
    pub name: String,
    /// Labels, `key=value`.
    pub labels: Vec<(String, String)>,
    /// Where it stands, in words or coordinates.
    pub location: Option<String>,
    /// Where its session comes from.
    pub address: Option<String>,
    /// Its engines with their models.
    pub engines: Vec<EngineReport>,
}

/// A record that cannot be stored as what it should be: kept for a person to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The topic that it came from.
    pub topic: String,
    /// The partition that it came from; [`REFUSED_PARTITION`] where the database refused the record itself.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// Its first [`SET_ASIDE_BYTES_MAX`] bytes.
    pub payload: Vec<u8>,
    /// Why.
    pub reason: String,
    /// When.
    pub at_unix_ms: u64,
}

/// The most bytes that are kept of a record that is set aside.
pub const SET_ASIDE_BYTES_MAX: usize = 64 * 1024;
/// Stands for the partition of a record that the database refused: by then its place on the topic is not
/// known, and its own id, cut to 64 bits, stands for its offset.
pub const REFUSED_PARTITION: i32 = -1;

/// How far a group of consumers has come on a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offset {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first record that is not stored.
    pub next: i64,
}

/// What is stored together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Heartbeats.
    pub samples: Vec<Sample>,
    /// What agents told of themselves.
    pub inventories: Vec<Inventory>,
    /// Records of usage.
    pub usage: Vec<UsageRecord>,
    /// Records that could not be read.
    pub set_aside: Vec<SetAside>,
    /// How far that brings the consumer.
    pub offsets: Vec<Offset>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Heartbeats that are in the store for the first time.
    pub samples: u64,
    /// Heartbeats that it had.
    pub sample_duplicates: u64,
    /// Records of usage that are in the store for the first time.
    pub usage: u64,
    /// Records of usage that it had.
    pub usage_duplicates: u64,
    /// Records set aside for the first time, those of the batch and those that the database refused.
    pub set_aside: u64,
}
