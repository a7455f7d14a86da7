//! What agents tell, as it travels on the topic `client-heartbeats`: bincode behind a version.
//!
//! The bytes are pinned by a test: variants and versions are only ever appended, since records of an
//! earlier server may still lie in the topic or in an outbox.

use common::{
    AgentId,
    message::{Bounded as _, GpuSample, Heartbeat, Login},
};
use serde::{Deserialize, Serialize};

use crate::store::{DeviceSample, Inventory, Sample, SampleId};

/// A sample whose clock differs from the server's by more than this is dated by the server.
const CLOCK_DIFFERENCE_MS_MAX: u64 = 24 * 3600 * 1000;
/// No event of ours is larger; what is was damaged or is somebody else's.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Bytes that are no event.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They do not decode.
    #[error("no event: {0}")]
    Malformed(#[from] bincode::error::DecodeError),
    /// They decode, and something follows.
    #[error("{0} bytes follow the event")]
    Trailing(usize),
    /// A count or a text is out of its bound.
    #[error("an event out of its bounds")]
    Unbounded,
}

/// One event, in the version that is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Whose agent's.
    pub agent_id: AgentId,
    /// When the server had it, milliseconds since the Unix epoch.
    pub received_unix_ms: u64,
    /// What it told.
    pub what: What,
}

/// What an agent told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum What {
    /// How it is.
    Heartbeat(Heartbeat),
    /// Who it is and what it serves: at login, and when its engines changed.
    Inventory {
        /// As at login, with the engines of the moment.
        login: Box<Login>,
        /// Where it dialled from.
        address: Option<String>,
    },
}

#[derive(Serialize, Deserialize)]
enum Versioned<E> {
    V1(E),
}

/// What an event is to the store.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A heartbeat.
    Sample(Box<Sample>),
    /// An agent's facts.
    Inventory(Box<Inventory>),
}

impl Event {
    /// As bytes.
    ///
    /// # Errors
    /// When it does not encode, which no event of a decoded message does.
    pub fn encode(&self) -> Result<Vec<u8>, bincode::error::EncodeError> {
        bincode::serde::encode_to_vec(Versioned::V1(self), format())
    }

    /// From bytes that anybody may have written.
    ///
    /// # Errors
    /// When they are no event, or one that is out of its bounds.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (Versioned::V1(event), read) =
            bincode::serde::decode_from_slice::<Versioned<Self>, _>(bytes, format())?;
        if read < bytes.len() {
            return Err(Error::Trailing(bytes.len() - read));
        }
        let bounded = match &event.what {
            What::Heartbeat(heartbeat) => heartbeat.is_bounded(),
            What::Inventory { login, .. } => login.is_bounded(),
        };
        bounded.then_some(event).ok_or(Error::Unbounded)
    }

    /// As the store keeps it.
    #[must_use]
    pub fn into_row(self) -> Row {
        let (agent_id, received) = (self.agent_id, self.received_unix_ms);
        match self.what {
            What::Heartbeat(heartbeat) => Row::Sample(Box::new(sample(agent_id, received, heartbeat))),
            What::Inventory { login, address } => Row::Inventory(Box::new(Inventory {
                agent_id,
                at_unix_ms: received,
                version: login.version,
                os: login.os,
                arch: login.arch,
                name: login.name,
                labels: login.labels,
                location: login.location,
                address,
                engines: login.engines,
            })),
        }
    }
}

fn format() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<EVENT_BYTES_MAX>()
}

fn sample(agent_id: AgentId, received_unix_ms: u64, heartbeat: Heartbeat) -> Sample {
    let taken = heartbeat.taken_unix_ms;
    let trusted = taken.abs_diff(received_unix_ms) <= CLOCK_DIFFERENCE_MS_MAX;
    let host = heartbeat.host;
    Sample {
        id: SampleId::from_bytes(heartbeat.id),
        agent_id,
        taken_unix_ms: if trusted { taken } else { received_unix_ms },
        cpu_millipercent: percent(host.cpu_percent),
        memory_used_bytes: host.memory_used_bytes,
        memory_total_bytes: host.memory_total_bytes,
        disk_used_bytes: host.disk_used_bytes,
        disk_total_bytes: host.disk_total_bytes,
        network_received_bytes: host.network_received_bytes,
        network_sent_bytes: host.network_sent_bytes,
        uptime_s: host.uptime_s,
        devices: heartbeat.gpus.into_iter().map(device).collect(),
    }
}

fn device(gpu: GpuSample) -> DeviceSample {
    DeviceSample {
        index: gpu.index,
        name: gpu.name,
        vendor: gpu.vendor,
        busy_millipercent: gpu.busy_percent.map(percent),
        memory_used_bytes: gpu.memory_used_bytes,
        memory_total_bytes: gpu.memory_total_bytes,
        power_milliwatts: gpu.power_watts.map(|watts| thousandths(watts.into()) as u32),
        temperature_millidegrees: gpu
            .temperature_c
            .map(|degrees| (f64::from(degrees) * 1000.0).round() as i32),
        energy_millijoules: gpu.energy_joules.map(thousandths),
    }
}

/// A share of 0 to 100, in thousandths of a percent.
fn percent(percent: f32) -> u32 {
    thousandths(f64::from(percent).clamp(0.0, 100.0)) as u32
}

/// Whole numbers add up to the same sum in any order; casts saturate, and what is no number is nothing.
fn thousandths(value: f64) -> u64 {
    (value * 1000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use common::message::HostSample;

    use super::*;

    fn agent() -> AgentId {
        "000102030405060708090a0b0c0d0e0f".parse().unwrap()
    }

    fn heartbeat() -> Heartbeat {
        Heartbeat {
            id: [9; 16],
            taken_unix_ms: 1_800_000_000_000,
            host: HostSample {
                cpu_percent: 12.5,
                memory_used_bytes: 1 << 33,
                memory_total_bytes: 1 << 35,
                disk_used_bytes: 5,
                disk_total_bytes: 6,
                network_received_bytes: 7,
                network_sent_bytes: 8,
                uptime_s: 9,
            },
            gpus: vec![GpuSample {
                index: 1,
                name: "RTX 4090".into(),
                vendor: "nvidia".into(),
                busy_percent: Some(33.3),
                memory_used_bytes: Some(10),
                memory_total_bytes: Some(11),
                power_watts: Some(350.25),
                temperature_c: Some(-1.5),
                energy_joules: None,
            }],
        }
    }

    fn event(what: What) -> Event {
        Event { agent_id: agent(), received_unix_ms: 1_800_000_000_123, what }
    }

    fn inventory() -> What {
        let login = Login {
            version: "1.2.3".into(),
            name: "rig".into(),
            os: "linux".into(),
            arch: "x86_64".into(),
            labels: vec![("rack".into(), "a".into())],
            location: Some("attic".into()),
            engines: Vec::new(),
            servers: Vec::new(),
        };
        What::Inventory { login: Box::new(login), address: Some("192.0.2.1:5".into()) }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_are_those_that_lie_in_topics() {
        let golden = [
            (event(What::Heartbeat(heartbeat())), include_str!("event/heartbeat_v1.hex")),
            (event(inventory()), include_str!("event/inventory_v1.hex")),
        ];
        for (event, golden) in golden {
            let bytes = event.encode().unwrap();
            assert_eq!(hex(&bytes), golden.trim(), "records of earlier servers would not decode");
            assert_eq!(Event::decode(&bytes).unwrap(), event);
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_pass_what_is_too_much() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = Event::decode(bytes);
        });
        let mut bytes = event(inventory()).encode().unwrap();
        assert!(Event::decode(&bytes[..bytes.len() - 1]).is_err());
        bytes.push(0);
        assert!(matches!(Event::decode(&bytes), Err(Error::Trailing(1))));
        let mut long = heartbeat();
        long.gpus[0].name = "x".repeat(1000);
        let bytes = event(What::Heartbeat(long)).encode().unwrap();
        assert!(matches!(Event::decode(&bytes), Err(Error::Unbounded)));
    }

    #[test]
    fn figures_become_whole_numbers() {
        let Row::Sample(sample) = event(What::Heartbeat(heartbeat())).into_row() else { panic!() };
        assert_eq!((sample.cpu_millipercent, sample.taken_unix_ms), (12_500, 1_800_000_000_000));
        let gpu = &sample.devices[0];
        assert_eq!((gpu.busy_millipercent, gpu.power_milliwatts), (Some(33_300), Some(350_250)));
        assert_eq!((gpu.temperature_millidegrees, gpu.energy_millijoules), (Some(-1500), None));
        assert_eq!(percent(f32::NAN), 0);
        assert_eq!((percent(-3.0), percent(f32::INFINITY)), (0, 100_000));
    }

    #[test]
    fn a_host_whose_clock_is_far_off_is_dated_by_the_server() {
        for (taken, stored) in [(0, 1_800_000_000_123), (1_800_000_060_000, 1_800_000_060_000)] {
            let heartbeat = Heartbeat { taken_unix_ms: taken, ..heartbeat() };
            let Row::Sample(sample) = event(What::Heartbeat(heartbeat)).into_row() else { panic!() };
            assert_eq!(sample.taken_unix_ms, stored);
        }
    }
}
