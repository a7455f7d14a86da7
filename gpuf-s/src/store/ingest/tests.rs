//! What a batch changes, whatever it holds and however often it comes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use common::AgentId;
use futures_util::FutureExt as _;

use super::{
    course::{self, Ledger},
    days::Days,
    deltas::{Counters, DeviceFacts, ONLINE_GAP_MAX_MS, measure},
    rows::{DeviceRow, Row, devices},
    *,
};
use crate::store::{Batch, Day, DeviceSample, Inventory, Offset, SetAside, Stored, UsageRecord};

/// Half a minute before midnight, so that samples fall on two days.
const BASE_MS: u64 = 1_800_057_570_000;

fn device(index: u32, energy_millijoules: Option<u64>) -> DeviceSample {
    DeviceSample {
        index,
        name: format!("GPU {index}"),
        vendor: "nvidia".into(),
        busy_millipercent: Some(40_000),
        memory_used_bytes: Some(1 << 30),
        memory_total_bytes: Some(8 << 30),
        power_milliwatts: None,
        temperature_millidegrees: Some(-1500),
        energy_millijoules,
    }
}

fn sample(agent: u8, id: u8, taken_unix_ms: u64) -> Sample {
    Sample {
        id: SampleId::from_bytes([id; 16]),
        agent_id: AgentId::from_bytes([agent; 16]),
        taken_unix_ms,
        cpu_millipercent: 12_345,
        memory_used_bytes: 5,
        memory_total_bytes: 10,
        disk_used_bytes: 7,
        disk_total_bytes: 9,
        network_received_bytes: 1000,
        network_sent_bytes: 100,
        uptime_s: 60,
        devices: vec![device(0, Some(50))],
    }
}

/// Rows of one agent whose samples are these: (received, uptime, energy, milliseconds since the first).
fn deltas(steps: &[(u64, u64, Option<u64>, u64)]) -> Vec<(i64, i64, i64)> {
    let told: Vec<_> = steps
        .iter()
        .zip(0..)
        .map(|((received, uptime_s, energy, after_ms), id)| Sample {
            network_received_bytes: *received,
            uptime_s: *uptime_s,
            devices: vec![device(0, *energy)],
            ..sample(1, id, BASE_MS + after_ms)
        })
        .collect();
    let measured = measure(&told.iter().collect::<Vec<_>>(), &HashMap::new());
    let figures = |row: &Row| {
        (row.deltas.received_bytes, row.deltas.online_ms, row.devices[0].energy_delta_millijoules)
    };
    measured.rows.iter().map(figures).collect()
}

#[test]
fn what_lies_between_two_samples_is_counted() {
    let steps = [(100, 10, Some(7), 0), (160, 20, Some(10), 10_000), (160, 30, Some(10), 20_000)];
    assert_eq!(deltas(&steps), [(0, 0, 0), (60, 10_000, 3), (0, 10_000, 0)]);
}

#[test]
fn a_host_that_started_again_counts_from_zero() {
    assert_eq!(deltas(&[(100, 900, Some(70), 0), (160, 5, Some(80), 9000)])[1], (160, 9000, 80));
    assert_eq!(deltas(&[(100, 900, Some(70), 0), (20, 5, Some(4), 9000)])[1], (20, 9000, 4));
}

#[test]
fn a_counter_that_fell_by_itself_counts_nothing() {
    assert_eq!(deltas(&[(100, 10, Some(70), 0), (20, 20, Some(4), 9000)])[1], (0, 9000, 0));
}

#[test]
fn a_driver_that_does_not_answer_for_a_moment_loses_no_energy() {
    let energies = |steps: &[_]| deltas(steps).into_iter().map(|(.., energy)| energy).collect::<Vec<_>>();
    assert_eq!(energies(&[(0, 1, Some(10), 0), (0, 2, None, 10), (0, 3, Some(25), 20)]), [0, 0, 15]);
    assert_eq!(energies(&[(0, 9, Some(10), 0), (0, 1, None, 10), (0, 2, Some(25), 20)]), [0, 0, 0]);
}

#[test]
fn a_gap_counts_as_presence_up_to_its_bound() {
    let gap = ONLINE_GAP_MAX_MS.cast_unsigned();
    let online: Vec<_> = deltas(&[(0, 1, None, 0), (0, 2, None, gap), (0, 3, None, 2 * gap + 1)]);
    assert_eq!(online.iter().map(|step| step.1).collect::<Vec<_>>(), [0, ONLINE_GAP_MAX_MS, 0]);
}

#[test]
fn a_late_sample_moves_nothing() {
    let known = HashMap::from([(
        AgentId::from_bytes([1; 16]),
        Counters::stored([BASE_MS.cast_signed(), 10, 10, 10], &[]),
    )]);
    for late in [sample(1, 1, BASE_MS), sample(1, 2, BASE_MS - 5000)] {
        let measured = measure(&[&late], &known);
        assert_eq!(measured.rows[0].deltas, rows::Deltas::default());
        assert!(measured.counters.is_empty() && measured.devices.is_empty());
    }
}

#[test]
fn counters_read_back_as_they_were_stored() {
    let told = Sample { devices: vec![device(3, None), device(u32::MAX, Some(u64::MAX))], ..sample(1, 1, 5) };
    let measured = measure(&[&told], &HashMap::new());
    let counters = &measured.counters[&told.agent_id];
    let figures = [counters.taken_unix_ms, counters.received_bytes, counters.sent_bytes, counters.uptime_s];
    assert_eq!(&Counters::stored(figures, &counters.devices_bytes()), counters);
    assert_eq!(counters.devices_bytes().len(), 2 * 24);
}

#[test]
fn a_device_is_written_when_it_changes_and_every_few_minutes() {
    let renamed = |at: u64, name: &str| Sample {
        devices: vec![DeviceSample { name: name.into(), ..device(0, None) }],
        ..sample(1, 1, at)
    };
    let mut known = HashMap::new();
    let mut written = |told: Sample| {
        let measured = measure(&[&told], &known);
        known.extend(measured.counters);
        measured.devices.into_values().map(|facts| facts.name).collect::<Vec<_>>()
    };
    assert_eq!(written(renamed(1000, "a")), ["a"]);
    assert!(written(renamed(2000, "a")).is_empty());
    assert_eq!(written(renamed(3000, "b\0")), ["b\u{fffd}"]);
    assert!(written(renamed(602_999, "b\0")).is_empty());
    assert_eq!(written(renamed(603_000, "b\0")).len(), 1);
}

#[test]
fn of_two_devices_with_one_index_the_first_counts() {
    let told =
        Sample { devices: vec![device(1, Some(1)), device(0, None), device(1, Some(2))], ..sample(1, 1, 1) };
    let kept: Vec<_> = devices(&told).map(|device| (device.index, device.energy_millijoules)).collect();
    assert_eq!(kept, [(0, None), (1, Some(1))]);
}

#[test]
fn a_row_reads_back_as_the_sample_that_it_was() {
    let told = sample(1, 2, BASE_MS);
    let row = Row::of(&told).unwrap();
    let stored: Vec<DeviceRow> = serde_json::from_str(&row.devices_json().unwrap()).unwrap();
    assert_eq!(stored, row.devices);
    assert_eq!(row.devices_json().unwrap(), "[[0,40000,1073741824,8589934592,null,-1500,50,0]]");
    assert_eq!(row.sample(|index| (format!("GPU {index}"), "nvidia".into())), told);
}

#[test]
fn figures_that_no_database_can_hold_are_cut_and_never_overflow_a_day() {
    let huge = |id, at: u64, uptime_s| Sample {
        memory_used_bytes: u64::MAX,
        network_received_bytes: u64::MAX,
        uptime_s,
        ..sample(1, id, at)
    };
    let told = [huge(1, 1000, 9), huge(2, 2000, 8), huge(3, 3000, 7)];
    let mut days = Days::default();
    measure(&told.iter().collect::<Vec<_>>(), &HashMap::new()).rows.iter().for_each(|row| days.add(row));
    let figures = days.agents.into_values().next().unwrap();
    assert_eq!((figures[3], figures[8]), (Some(i64::MAX), Some(i64::MAX)));
    assert!(rows::fault(&sample(1, 1, u64::MAX), 0).is_some());
    assert!(rows::fault(&sample(1, 1, BASE_MS), BASE_MS.cast_signed()).is_some());
    assert!(rows::fault(&sample(1, 1, BASE_MS), 0).is_none());
}

/// A database in memory, which refuses samples whose id is [`POISON`].
#[derive(Debug, Clone, Default, PartialEq)]
struct Memory {
    rows: BTreeMap<Identity, Row>,
    days: Days,
    counters: HashMap<AgentId, Counters>,
    devices: BTreeMap<(AgentId, u32), DeviceFacts>,
    aside: BTreeMap<(String, i32, i64), Vec<u8>>,
    offsets: BTreeMap<i32, i64>,
    saved: Vec<Memory>,
}

const POISON: SampleId = SampleId::from_bytes([7; 16]);

impl Ledger for Memory {
    async fn hold_days(&mut self, days: &[Day]) -> Result<(), sqlx::Error> {
        assert!(days.is_sorted());
        Ok(())
    }

    async fn pruned_before(&mut self) -> Result<i64, sqlx::Error> {
        Ok(0)
    }

    async fn counters(&mut self, agents: &[AgentId]) -> Result<HashMap<AgentId, Counters>, sqlx::Error> {
        assert!(agents.is_sorted());
        Ok(self.counters.clone().into_iter().filter(|(agent, _)| agents.contains(agent)).collect())
    }

    async fn insert_rows(&mut self, rows: &[Row]) -> Result<HashSet<Identity>, sqlx::Error> {
        if rows.iter().any(|row| row.id == POISON) {
            return Err(sqlx::Error::Encode("poison".into()));
        }
        let new: HashSet<_> =
            rows.iter().map(Row::identity).filter(|one| !self.rows.contains_key(one)).collect();
        for row in rows.iter().filter(|row| new.contains(&row.identity())) {
            self.rows.insert(row.identity(), row.clone());
        }
        Ok(new)
    }

    async fn add_days(&mut self, days: &Days) -> Result<(), sqlx::Error> {
        self.days.merge(days);
        Ok(())
    }

    async fn put_counters(&mut self, counters: &[(AgentId, Counters)]) -> Result<(), sqlx::Error> {
        self.counters.extend(counters.iter().cloned());
        Ok(())
    }

    async fn put_devices(&mut self, devices: &[((AgentId, u32), DeviceFacts)]) -> Result<(), sqlx::Error> {
        self.devices.extend(devices.iter().cloned());
        Ok(())
    }

    async fn put_inventories(&mut self, _inventories: &[&Inventory]) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn insert_usage(&mut self, _records: &[&UsageRecord]) -> Result<u64, sqlx::Error> {
        Ok(0)
    }

    async fn put_aside(&mut self, records: &[SetAside]) -> Result<u64, sqlx::Error> {
        let before = self.aside.len();
        for record in records {
            let place = (record.topic.clone(), record.partition, record.offset);
            self.aside.entry(place).or_insert_with(|| record.payload.clone());
        }
        Ok((self.aside.len() - before) as u64)
    }

    async fn put_offsets(&mut self, offsets: &[&Offset]) -> Result<(), sqlx::Error> {
        self.offsets.extend(offsets.iter().map(|offset| (offset.partition, offset.next)));
        Ok(())
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        match sql {
            "SAVEPOINT part" => self.saved.push(Self { saved: Vec::new(), ..self.clone() }),
            "ROLLBACK TO SAVEPOINT part" => {
                let saved = self.saved.pop().unwrap();
                *self = Self { saved: vec![saved.clone()], ..saved };
            }
            "RELEASE SAVEPOINT part" => drop(self.saved.pop().unwrap()),
            other => panic!("{other}"),
        }
        Ok(())
    }
}

impl Memory {
    /// As a store does it: with care where something was refused.
    fn take(&mut self, batch: &Batch) -> Stored {
        for care in [false, true] {
            let mut attempt = self.clone();
            if let Ok(stored) = course::ingest(&mut attempt, batch, care).now_or_never().unwrap() {
                assert!(attempt.saved.is_empty());
                *self = attempt;
                return stored;
            }
        }
        panic!("a refused record holds up its batch");
    }

    fn is_sum_of_its_rows(&self) -> bool {
        let mut days = Days::default();
        self.rows.values().for_each(|row| days.add(row));
        days == self.days
    }
}

/// Batches with restarts, repetitions, late samples and samples that are refused, out of any bytes.
fn batches(bytes: &[[u8; 6]]) -> Vec<Batch> {
    let mut batches = vec![Batch::default()];
    for [who, when, id, traffic, uptime, energy] in bytes {
        let told = Sample {
            network_received_bytes: u64::from(*traffic) * 10,
            uptime_s: u64::from(uptime % 16),
            devices: (0..who % 3).map(|index| device(u32::from(index), Some(u64::from(*energy)))).collect(),
            ..sample(who % 4, id % 8, BASE_MS + u64::from(*when) * 700)
        };
        let last = batches.last_mut().unwrap();
        last.samples.push(told);
        if id % 5 == 0 {
            let again = batches[usize::from(*traffic) % batches.len()].samples.clone();
            batches.push(Batch { samples: again, ..Batch::default() });
        }
    }
    batches
}

#[test]
fn whatever_comes_and_however_often_the_days_are_the_sum_of_the_rows() {
    bolero::check!().with_iterations(300).with_max_len(600).with_type::<Vec<[u8; 6]>>().for_each(|bytes| {
        let batches = batches(bytes);
        let (mut memory, mut stored, mut aside) = (Memory::default(), 0, 0);
        for batch in &batches {
            let done = memory.take(batch);
            stored += done.samples;
            aside += done.set_aside;
        }
        assert!(memory.is_sum_of_its_rows());
        let told: BTreeSet<_> = batches
            .iter()
            .flat_map(|batch| &batch.samples)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|told| (told.agent_id, told.taken_unix_ms.cast_signed(), told.id))
            .collect();
        let (poison, good): (BTreeSet<_>, BTreeSet<_>) = told.into_iter().partition(|one| one.2 == POISON);
        assert_eq!(memory.rows.keys().copied().collect::<BTreeSet<_>>(), good);
        assert_eq!(stored, good.len() as u64);
        assert!(aside <= poison.len() as u64 && (aside == 0) == poison.is_empty());
        let before = memory.clone();
        for batch in batches.iter().rev().chain(&batches) {
            let again = memory.take(batch);
            assert_eq!((again.samples, again.set_aside), (0, 0));
        }
        assert_eq!(memory, before, "what was stored before changes nothing");
    });
}

#[test]
fn what_is_refused_is_set_aside_in_a_bounded_form() {
    let aside = SetAside {
        topic: "t\0".into(),
        partition: 1,
        offset: 2,
        payload: vec![1; 100_000],
        reason: "x".repeat(5000),
        at_unix_ms: 1,
    };
    let batch = Batch {
        samples: vec![sample(1, 7, BASE_MS), sample(1, 1, BASE_MS), sample(1, 2, u64::MAX)],
        set_aside: vec![aside.clone(), aside],
        ..Batch::default()
    };
    let mut memory = Memory::default();
    let stored = memory.take(&batch);
    assert_eq!((stored.samples, stored.sample_duplicates, stored.set_aside), (1, 0, 3));
    assert!(memory.aside.values().all(|payload| payload.len() <= crate::store::SET_ASIDE_BYTES_MAX));
}
