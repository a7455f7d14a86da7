//! Rows about agents as a database hands them out, checked on the way in. Both databases have the same columns.

use common::{AgentId, Endpoint, EndpointSet, EngineReport, ModelReport};
use sqlx::FromRow;

use super::{
    AgentFacts, AgentReport, AgentRow, Day, Device, Error, Sample, SampleId, SetAside, UnixSeconds,
    columns::agent_id,
    ingest::{
        Identity,
        deltas::Counters,
        rows::{Deltas, Row},
    },
};

/// Columns of `heartbeats`, in the order in which they are written.
pub(super) const HEARTBEAT_COLUMNS: &str = "agent_id, taken_unix_ms, id, cpu_millipercent, memory_used_bytes, \
    memory_total_bytes, disk_used_bytes, disk_total_bytes, network_received_bytes, network_sent_bytes, uptime_s, \
    received_delta_bytes, sent_delta_bytes, online_ms, devices";

/// A row of `heartbeats`.
#[derive(FromRow)]
pub(super) struct HeartbeatColumns {
    agent_id: Vec<u8>,
    taken_unix_ms: i64,
    id: Vec<u8>,
    cpu_millipercent: i64,
    memory_used_bytes: i64,
    memory_total_bytes: i64,
    disk_used_bytes: i64,
    disk_total_bytes: i64,
    network_received_bytes: i64,
    network_sent_bytes: i64,
    uptime_s: i64,
    received_delta_bytes: i64,
    sent_delta_bytes: i64,
    online_ms: i64,
    devices: Option<String>,
}

/// What makes a row of `heartbeats` the one that it is.
#[derive(FromRow)]
pub(super) struct IdentityColumns {
    agent_id: Vec<u8>,
    taken_unix_ms: i64,
    id: Vec<u8>,
}

/// A row of `agent_counters`.
#[derive(FromRow)]
pub(super) struct CounterColumns {
    agent_id: Vec<u8>,
    taken_unix_ms: Option<i64>,
    received_bytes: i64,
    sent_bytes: i64,
    uptime_s: i64,
    devices: Vec<u8>,
}

/// An agent joined with what is known of it.
#[derive(FromRow)]
pub(super) struct ReportColumns {
    id: Vec<u8>,
    name: String,
    owner: Option<String>,
    enrolled_unix: i64,
    revoked_unix: Option<i64>,
    at_unix_ms: Option<i64>,
    told_name: Option<String>,
    version: Option<String>,
    os: Option<String>,
    arch: Option<String>,
    labels: Option<String>,
    location: Option<String>,
    address: Option<String>,
    taken_unix_ms: Option<i64>,
    online: bool,
}

/// A row of `devices`.
#[derive(FromRow)]
pub(super) struct DeviceColumns {
    device_index: i64,
    name: String,
    vendor: String,
    memory_total_bytes: Option<i64>,
    first_unix_ms: i64,
    last_unix_ms: i64,
}

/// A row of `engines`.
#[derive(FromRow)]
pub(super) struct EngineColumns {
    engine: String,
    kind: String,
    version: Option<String>,
    endpoints: String,
    slots: i64,
}

/// A row of `agent_models`.
#[derive(FromRow)]
pub(super) struct ModelColumns {
    engine: String,
    name: String,
    loaded: Option<bool>,
    size_bytes: Option<i64>,
    context_tokens: Option<i64>,
    modified_unix: Option<i64>,
    digest: Option<String>,
}

/// A row of `set_aside`.
#[derive(FromRow)]
pub(super) struct AsideColumns {
    topic: String,
    partition: i32,
    record_offset: i64,
    payload: Vec<u8>,
    reason: String,
    at_unix_ms: i64,
}

impl IdentityColumns {
    pub(super) fn identity(self) -> Option<Identity> {
        let id = SampleId::from_bytes(self.id.try_into().ok()?);
        Some((agent_id(&self.agent_id).ok()?, self.taken_unix_ms, id))
    }
}

impl CounterColumns {
    /// `None` for an agent that no sample has come from.
    pub(super) fn counters(self) -> Option<(AgentId, Counters)> {
        let figures = [self.taken_unix_ms?, self.received_bytes, self.sent_bytes, self.uptime_s];
        Some((agent_id(&self.agent_id).ok()?, Counters::stored(figures, &self.devices)))
    }
}

impl TryFrom<HeartbeatColumns> for Row {
    type Error = Error;

    fn try_from(row: HeartbeatColumns) -> Result<Self, Error> {
        let devices = row.devices.as_deref().map_or(Ok(Vec::new()), serde_json::from_str);
        Ok(Self {
            agent_id: agent_id(&row.agent_id)?,
            id: SampleId::from_bytes(row.id.try_into().map_err(|_| Error::Corrupt("a heartbeat's id"))?),
            taken_unix_ms: row.taken_unix_ms,
            day: u64::try_from(row.taken_unix_ms)
                .ok()
                .and_then(Day::of_unix_ms)
                .ok_or(Error::Corrupt("a heartbeat's time"))?,
            cpu_millipercent: row.cpu_millipercent,
            memory_used_bytes: row.memory_used_bytes,
            memory_total_bytes: row.memory_total_bytes,
            disk_used_bytes: row.disk_used_bytes,
            disk_total_bytes: row.disk_total_bytes,
            network_received_bytes: row.network_received_bytes,
            network_sent_bytes: row.network_sent_bytes,
            uptime_s: row.uptime_s,
            deltas: Deltas {
                received_bytes: row.received_delta_bytes,
                sent_bytes: row.sent_delta_bytes,
                online_ms: row.online_ms,
            },
            devices: devices.map_err(|_| Error::Corrupt("a heartbeat's devices"))?,
        })
    }
}

impl TryFrom<ReportColumns> for AgentReport {
    type Error = Error;

    fn try_from(row: ReportColumns) -> Result<Self, Error> {
        let agent = AgentRow {
            id: agent_id(&row.id)?,
            name: row.name.parse().map_err(|_| Error::Corrupt("an agent's name"))?,
            owner: row
                .owner
                .map(|owner| owner.parse())
                .transpose()
                .map_err(|_| Error::Corrupt("an owner"))?,
            enrolled: UnixSeconds(row.enrolled_unix),
            revoked: row.revoked_unix.map(UnixSeconds),
        };
        let labels = row.labels.as_deref().map_or(Ok(Vec::new()), serde_json::from_str);
        let labels = labels.map_err(|_| Error::Corrupt("an agent's labels"))?;
        let facts = row.at_unix_ms.map(|at| AgentFacts {
            at_unix_ms: at.cast_unsigned(),
            name: row.told_name.unwrap_or_default(),
            version: row.version.unwrap_or_default(),
            os: row.os.unwrap_or_default(),
            arch: row.arch.unwrap_or_default(),
            labels,
            location: row.location,
            address: row.address,
        });
        let last_seen_unix_ms = row.taken_unix_ms.map(i64::cast_unsigned);
        Ok(Self { agent, facts, last_seen_unix_ms, online: row.online })
    }
}

impl TryFrom<DeviceColumns> for Device {
    type Error = Error;

    fn try_from(row: DeviceColumns) -> Result<Self, Error> {
        Ok(Self {
            index: row.device_index.try_into().map_err(|_| Error::Corrupt("a device's index"))?,
            name: row.name,
            vendor: row.vendor,
            memory_total_bytes: row.memory_total_bytes.map(i64::cast_unsigned),
            first_unix_ms: row.first_unix_ms.cast_unsigned(),
            last_unix_ms: row.last_unix_ms.cast_unsigned(),
        })
    }
}

impl From<AsideColumns> for SetAside {
    fn from(row: AsideColumns) -> Self {
        Self {
            topic: row.topic,
            partition: row.partition,
            offset: row.record_offset,
            payload: row.payload,
            reason: row.reason,
            at_unix_ms: row.at_unix_ms.cast_unsigned(),
        }
    }
}

/// Engines with their models.
pub(super) fn engines(
    engines: Vec<EngineColumns>,
    models: Vec<ModelColumns>,
) -> Result<Vec<EngineReport>, Error> {
    let mut reports = engines.into_iter().map(EngineReport::try_from).collect::<Result<Vec<_>, _>>()?;
    for model in models {
        if let Some(engine) = reports.iter_mut().find(|engine| engine.id.as_str() == model.engine) {
            engine.models.push(model.try_into()?);
        }
    }
    Ok(reports)
}

impl TryFrom<EngineColumns> for EngineReport {
    type Error = Error;

    fn try_from(row: EngineColumns) -> Result<Self, Error> {
        let paths: Vec<String> =
            serde_json::from_str(&row.endpoints).map_err(|_| Error::Corrupt("an engine's endpoints"))?;
        // A path that a later version wrote is left out.
        let endpoints: Vec<_> = paths.iter().filter_map(|path| Endpoint::at(path)).collect();
        Ok(Self {
            id: row.engine.parse().map_err(|_| Error::Corrupt("an engine's id"))?,
            kind: row.kind.parse().map_err(|_| Error::Corrupt("an engine's kind"))?,
            version: row.version,
            endpoints: EndpointSet::of(&endpoints),
            models: Vec::new(),
            slots: row.slots.try_into().map_err(|_| Error::Corrupt("an engine's slots"))?,
            waiting: None,
        })
    }
}

impl TryFrom<ModelColumns> for ModelReport {
    type Error = Error;

    fn try_from(row: ModelColumns) -> Result<Self, Error> {
        let tokens = row.context_tokens.map(u32::try_from).transpose();
        Ok(Self {
            name: row.name.parse().map_err(|_| Error::Corrupt("a model's name"))?,
            loaded: row.loaded,
            size_bytes: row.size_bytes.map(i64::cast_unsigned),
            context_tokens: tokens.map_err(|_| Error::Corrupt("a model's context"))?,
            modified_unix: row.modified_unix.map(i64::cast_unsigned),
            digest: row.digest,
        })
    }
}

/// Heartbeats with the names of their devices, which stand in a table of their own.
pub(super) fn named(rows: Vec<Row>, devices: &[Device]) -> Vec<Sample> {
    let name = |index| {
        let device = devices.iter().find(|device| device.index == index);
        device.map_or_else(Default::default, |device| (device.name.clone(), device.vendor.clone()))
    };
    rows.into_iter().map(|row| row.sample(name)).collect()
}
