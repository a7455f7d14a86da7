//! Many fake agents that do nothing but send heartbeats, and the book of what they sent.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use common::AgentId;
use common::message::{AgentMessage, GpuSample, Heartbeat, HostSample};
use test_services::psql;

use crate::fake_agent::{Conduct, FakeAgent, Identity, engine_report};
use crate::gateway::{Addresses, Gateway};

const GIB: u64 = 1 << 30;
/// Of an id in the ledger.
const DIGITS: usize = 32;
/// Enrolments at one time: keys and handshakes cost both ends processor time.
const ENROLLING_MAX: usize = 16;

/// The ids of heartbeats, each on disk before it is sent. What reached the gateway's sessions is therefore in
/// the ledger, whoever is killed; and the ledger has only what was sent or about to be.
#[derive(Debug)]
pub struct HeartbeatLedger {
    path: PathBuf,
    file: File,
    noted: u64,
}

impl HeartbeatLedger {
    /// Opens the ledger in this file, which may be there already.
    pub fn open(path: &Path) -> Self {
        let mut file = File::options().create(true).append(true).open(path).expect("a ledger");
        if !matches!(fs::read(path).expect("a ledger").last(), None | Some(b'\n')) {
            file.write_all(b"\n").expect("a disk with room");
        }
        file.sync_all().expect("a disk");
        let noted = Self::read(path).len() as u64;
        Self { path: path.to_owned(), file, noted }
    }

    /// Writes ids down; when this returns they are on disk.
    pub fn note(&mut self, ids: &[[u8; 16]]) {
        let lines: String = ids.iter().map(|id| format!("{:032x}\n", u128::from_be_bytes(*id))).collect();
        self.file.write_all(lines.as_bytes()).expect("a disk with room");
        self.file.sync_data().expect("a disk");
        self.noted += ids.len() as u64;
    }

    /// How many ids it has.
    pub fn len(&self) -> u64 {
        self.noted
    }

    /// Whether nothing was noted yet.
    pub fn is_empty(&self) -> bool {
        self.noted == 0
    }

    /// All ids, read back from the file.
    pub fn ids(&self) -> BTreeSet<[u8; 16]> {
        Self::read(&self.path)
    }

    /// A line that is cut short belongs to a heartbeat that was never sent.
    fn read(path: &Path) -> BTreeSet<[u8; 16]> {
        let text = fs::read_to_string(path).expect("a ledger");
        let whole = text.lines().filter(|line| line.len() == DIGITS);
        whole.map(|line| u128::from_str_radix(line, 16).expect("an id").to_be_bytes()).collect()
    }
}

/// Agents without engines' work: each holds a session and answers pings.
pub struct Herd {
    agents: Vec<FakeAgent>,
    ledger: HeartbeatLedger,
}

impl Herd {
    /// Enrols this many agents with one join string and logs them in.
    pub async fn start(gateway: &Gateway, agents: usize, ledger: HeartbeatLedger) -> Self {
        let identities = enrol(gateway, agents).await;
        Self::log_in(&identities, gateway.addresses, ledger).await
    }

    /// Logs in agents that are enrolled, for example at a gateway that was started again.
    pub async fn log_in(identities: &[Arc<Identity>], addresses: Addresses, ledger: HeartbeatLedger) -> Self {
        let mut agents = Vec::new();
        for identity in identities {
            let engine = engine_report("herd", 1);
            agents
                .push(FakeAgent::log_in(Arc::clone(identity), addresses, engine, Conduct::NeverDials).await);
        }
        Self { agents, ledger }
    }

    /// Sends one heartbeat from every agent, once all their ids are on disk.
    pub async fn beat(&mut self) {
        let first = self.ledger.len();
        let taken_unix_ms = unix_ms();
        let beats: Vec<_> = (first..)
            .zip(&self.agents)
            .map(|(number, agent)| heartbeat(sample_id(agent.identity.id, number), taken_unix_ms))
            .collect();
        self.ledger.note(&beats.iter().map(|beat| beat.id).collect::<Vec<_>>());
        for (agent, beat) in self.agents.iter().zip(beats) {
            let id = agent.identity.id;
            assert!(agent.deliver(AgentMessage::Heartbeat(beat)).await, "the session of {id} has ended");
        }
    }

    /// What was sent.
    pub fn ledger(&self) -> &HeartbeatLedger {
        &self.ledger
    }

    /// Who they are.
    pub fn identities(&self) -> Vec<Arc<Identity>> {
        self.agents.iter().map(|agent| Arc::clone(&agent.identity)).collect()
    }

    /// Closes all sessions; identities and ledger to go on with.
    pub fn log_out(self) -> (Vec<Arc<Identity>>, HeartbeatLedger) {
        (self.identities(), self.ledger)
    }
}

/// The ids of all heartbeats in a PostgreSQL database, in order; one that is stored twice is here twice.
pub async fn stored(database_url: &str) -> Vec<[u8; 16]> {
    let rows = psql(database_url, "SELECT encode(id, 'hex') FROM heartbeats ORDER BY id").await;
    rows.lines().map(|row| u128::from_str_radix(row, 16).expect("an id").to_be_bytes()).collect()
}

/// Enrols this many agents with one join string.
pub async fn enrol(gateway: &Gateway, agents: usize) -> Vec<Arc<Identity>> {
    let join = gateway.join_string_for(agents).await;
    let mut identities = Vec::with_capacity(agents);
    while identities.len() < agents {
        let together = (agents - identities.len()).min(ENROLLING_MAX);
        let enrolling = (0..together).map(|_| Identity::enrol_with(gateway, &join, None));
        for identity in futures_util::future::join_all(enrolling).await {
            identities.push(Arc::new(identity.unwrap_or_else(|reason| panic!("not enrolled: {reason}"))));
        }
    }
    identities
}

/// An id that no other agent and no other number has.
pub fn sample_id(agent: AgentId, number: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&agent.as_bytes()[..8]);
    id[8..].copy_from_slice(&number.to_be_bytes());
    id
}

/// A heartbeat whose figures follow from its id, so that wrong sums show.
pub fn heartbeat(id: [u8; 16], taken_unix_ms: u64) -> Heartbeat {
    let share = u8::try_from(id.iter().fold(0_u32, |sum, byte| sum + u32::from(*byte)) % 100).unwrap_or(0);
    let part = u64::from(share);
    let host = HostSample {
        cpu_percent: f32::from(share),
        memory_used_bytes: part * GIB,
        memory_total_bytes: 100 * GIB,
        disk_used_bytes: part * GIB,
        disk_total_bytes: 1_000 * GIB,
        network_received_bytes: taken_unix_ms,
        network_sent_bytes: taken_unix_ms / 2,
        uptime_s: taken_unix_ms / 1_000,
    };
    let gpu = GpuSample {
        index: 0,
        name: "Simulated".into(),
        vendor: "nvidia".into(),
        busy_percent: Some(f32::from(share)),
        memory_used_bytes: Some(part * GIB),
        memory_total_bytes: Some(100 * GIB),
        power_watts: Some(100.0),
        temperature_c: Some(50.0),
        energy_joules: None,
    };
    Heartbeat { id, taken_unix_ms, host, gpus: vec![gpu] }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    u64::try_from(since.as_millis()).expect("milliseconds of this age")
}
