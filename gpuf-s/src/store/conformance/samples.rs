//! Heartbeats: stored once, measured against the ones before, kept and dropped by day.

use super::*;

pub(super) const DAY_START_MS: u64 = NOW_MS - NOW_MS % DAY_MS;

pub(super) async fn conform(store: &Store) {
    a_sample_reads_back_as_it_was_taken(store).await;
    a_batch_counts_once_however_often_it_is_sent(store).await;
    a_batch_sent_by_many_at_once_counts_once(store).await;
    what_lies_between_samples_is_added_to_their_day(store).await;
    a_late_sample_is_stored_and_moves_nothing(store).await;
    samples_come_newest_first_and_page_without_gap(store).await;
    usage_in_a_batch_counts_once(store).await;
    offsets_are_where_the_last_batch_left_them(store).await;
    what_cannot_be_read_is_set_aside_once(store).await;
    an_agent_that_is_silent_goes_offline(store).await;
    devices_are_known_with_their_first_and_last_time(store).await;
}

pub(super) fn sample(agent_id: AgentId, taken_unix_ms: u64) -> Sample {
    let mut id = [0; 16];
    getrandom::fill(&mut id).unwrap();
    let since_start = taken_unix_ms - (DAY_START_MS - 9 * DAY_MS);
    Sample {
        id: SampleId::from_bytes(id),
        agent_id,
        taken_unix_ms,
        cpu_millipercent: 50_000,
        memory_used_bytes: 3 << 30,
        memory_total_bytes: 16 << 30,
        disk_used_bytes: 1 << 40,
        disk_total_bytes: 2 << 40,
        network_received_bytes: since_start,
        network_sent_bytes: 2 * since_start,
        uptime_s: since_start / 1000,
        devices: vec![device(0)],
    }
}

pub(super) fn device(index: u32) -> DeviceSample {
    DeviceSample {
        index,
        name: "RTX 9090 \u{1F40E}".into(),
        vendor: "nvidia".into(),
        busy_millipercent: Some(90_000),
        memory_used_bytes: Some(20 << 30),
        memory_total_bytes: Some(24 << 30),
        power_milliwatts: Some(350_000),
        temperature_millidegrees: Some(65_500),
        energy_millijoules: Some(u64::from(index) + 1000),
    }
}

pub(super) fn heartbeats(samples: Vec<Sample>) -> Batch {
    Batch { samples, ..Batch::default() }
}

pub(super) fn of_agent(agent_id: AgentId) -> SampleFilter {
    SampleFilter {
        agent_id,
        owner: None,
        since_unix_ms: None,
        until_unix_ms: None,
        before: None,
        limit: 1000,
    }
}

pub(super) async fn days_of(store: &Store, agent_id: AgentId) -> (Vec<AgentDay>, Vec<DeviceDay>) {
    let filter = DayFilter { agent_id: Some(agent_id), limit: 1000, ..DayFilter::default() };
    (store.agent_days(&filter).await.unwrap(), store.device_days(&filter).await.unwrap())
}

fn stranger() -> AgentId {
    AgentId::random().unwrap()
}

async fn a_sample_reads_back_as_it_was_taken(store: &Store) {
    let agent_id = stranger();
    let bare = DeviceSample {
        index: 7,
        busy_millipercent: None,
        memory_used_bytes: None,
        memory_total_bytes: None,
        power_milliwatts: None,
        temperature_millidegrees: Some(-40_000),
        energy_millijoules: None,
        ..device(7)
    };
    let full = Sample {
        cpu_millipercent: u32::MAX,
        memory_used_bytes: i64::MAX.cast_unsigned(),
        devices: vec![device(0), bare],
        ..sample(agent_id, NOW_MS + 1)
    };
    let none = Sample { devices: vec![], ..sample(agent_id, NOW_MS) };
    store.ingest(&heartbeats(vec![full.clone(), none.clone()])).await.unwrap();
    assert_eq!(store.samples(&of_agent(agent_id)).await.unwrap(), [full, none]);
}

async fn a_batch_counts_once_however_often_it_is_sent(store: &Store) {
    let (one, other) = (stranger(), stranger());
    let samples: Vec<_> =
        (0..200).map(|at| sample(if at % 3 == 0 { one } else { other }, NOW_MS + at * 777)).collect();
    let again: Vec<_> = samples.iter().chain(&samples).cloned().collect();
    let first = store.ingest(&heartbeats(again.clone())).await.unwrap();
    assert_eq!((first.samples, first.sample_duplicates), (200, 200));
    let before = (days_of(store, one).await, days_of(store, other).await);
    assert_eq!(before.0.0.iter().chain(&before.1.0).map(|day| day.samples).sum::<i64>(), 200);
    for part in [&again[..], &again[150..250], &again[3..4]] {
        let repeated = store.ingest(&heartbeats(part.to_vec())).await.unwrap();
        assert_eq!((repeated.samples, repeated.sample_duplicates), (0, part.len() as u64));
    }
    assert_eq!((days_of(store, one).await, days_of(store, other).await), before);
}

/// As after a rebalance, when two consumers hold the same records for a moment.
async fn a_batch_sent_by_many_at_once_counts_once(store: &Store) {
    let agents: Vec<_> = (0..7).map(|_| stranger()).collect();
    let samples: Vec<_> = (0..300).map(|at| sample(agents[at as usize % 7], NOW_MS + at * 500)).collect();
    store.ingest(&heartbeats(samples[..7].to_vec())).await.unwrap();
    let tasks: Vec<_> = (0..6)
        .map(|task| {
            let (store, samples) = (store.clone(), samples.clone());
            tokio::spawn(async move {
                let mut stored = 0;
                // Each in batches of another size and order.
                let mut batches: Vec<_> = samples.chunks(40 + 25 * task).collect();
                if task % 2 == 1 {
                    batches.reverse();
                }
                for batch in batches {
                    stored += patiently(&store, &heartbeats(batch.to_vec())).await.samples;
                }
                stored
            })
        })
        .collect();
    let mut stored = 0;
    for task in tasks {
        stored += task.await.unwrap();
    }
    assert_eq!(stored, 293);
    let mut counted = 0;
    for agent in agents {
        let (of_agent, of_devices) = days_of(store, agent).await;
        // In whatever order they came, the deltas add up to what lies between the first and the last.
        let last = samples.iter().rfind(|one| one.agent_id == agent).unwrap();
        let first = samples.iter().find(|one| one.agent_id == agent).unwrap();
        let received = last.network_received_bytes - first.network_received_bytes;
        assert_eq!(of_agent[0].received_bytes, received.cast_signed());
        counted += of_agent.iter().map(|day| day.samples).sum::<i64>();
        assert_eq!(
            of_devices.iter().map(|day| day.samples).sum::<i64>(),
            of_agent.iter().map(|day| day.samples).sum::<i64>()
        );
    }
    assert_eq!(counted, 300);
    let rebuilt = store.rebuild_day(Day::of_unix_ms(NOW_MS).unwrap(), Rebuild::Check).await.unwrap().unwrap();
    assert_eq!(rebuilt.differences, []);
}

/// As consumers do: many writers at once may make one wait for longer than it wants.
async fn patiently(store: &Store, batch: &Batch) -> Stored {
    loop {
        match store.ingest(batch).await {
            Ok(stored) => return stored,
            Err(Error::Unavailable(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn what_lies_between_samples_is_added_to_their_day(store: &Store) {
    let agent_id = stranger();
    let midnight = DAY_START_MS + DAY_MS;
    let told = |at: u64, cpu, received, energy| Sample {
        cpu_millipercent: cpu,
        network_received_bytes: received,
        network_sent_bytes: 1,
        devices: vec![DeviceSample { energy_millijoules: Some(energy), ..device(2) }],
        ..sample(agent_id, at)
    };
    let samples = [
        told(midnight - 20_000, 10, 1000, 500),
        told(midnight - 10_000, 21, 1500, 510),
        told(midnight + 5000, 30, 1700, 600),
        told(midnight + 65_000, 40, 9700, 600),
    ];
    // One batch after another, so that each is measured against what the store remembers.
    for one in samples {
        store.ingest(&heartbeats(vec![one])).await.unwrap();
    }
    let (agents, devices) = days_of(store, agent_id).await;
    let [first, second] = agents.try_into().unwrap();
    assert_eq!(
        (first.day, second.day),
        (Day::of_unix_ms(NOW_MS).unwrap(), Day::of_unix_ms(midnight).unwrap())
    );
    assert_eq!(first.cpu_millipercent, Gauge { sum: 31, count: 2, max: Some(21) });
    assert_eq!(first.cpu_millipercent.average(), Some(15));
    assert_eq!((first.received_bytes, first.sent_bytes, first.online_ms), (500, 0, 10_000));
    assert_eq!(
        (second.received_bytes, second.online_ms),
        (8200, 15_000),
        "a minute of silence is no presence"
    );
    assert_eq!(first.first_unix_ms, midnight.cast_signed() - 20_000);
    assert_eq!(first.last_unix_ms, midnight.cast_signed() - 10_000);
    assert_eq!((first.memory_total_bytes, first.disk_used_bytes), (16 << 30, 1 << 40));
    let [first, second] = devices.try_into().unwrap();
    assert_eq!((first.index, first.samples, first.energy_millijoules), (2, 2, 10));
    assert_eq!(second.energy_millijoules, 90);
    assert_eq!(first.temperature_millidegrees, Gauge { sum: 131_000, count: 2, max: Some(65_500) });
    assert_eq!(first.memory_total_bytes, Some(24 << 30));
}

async fn a_late_sample_is_stored_and_moves_nothing(store: &Store) {
    let agent_id = stranger();
    store.ingest(&heartbeats(vec![sample(agent_id, NOW_MS + 20_000)])).await.unwrap();
    let late = [sample(agent_id, NOW_MS), sample(agent_id, NOW_MS + 20_000)];
    let stored = store.ingest(&heartbeats(late.to_vec())).await.unwrap();
    assert_eq!((stored.samples, stored.sample_duplicates), (2, 0));
    let day = days_of(store, agent_id).await.0.remove(0);
    assert_eq!((day.samples, day.received_bytes, day.online_ms), (3, 0, 0));
    store.ingest(&heartbeats(vec![sample(agent_id, NOW_MS + 21_000)])).await.unwrap();
    let day = days_of(store, agent_id).await.0.remove(0);
    assert_eq!((day.received_bytes, day.sent_bytes, day.online_ms), (1000, 2000, 1000));
}

async fn samples_come_newest_first_and_page_without_gap(store: &Store) {
    let agent_id = stranger();
    // Several of one moment, so that a page may end between them.
    let mut samples: Vec<_> = (0..20).map(|at| sample(agent_id, NOW_MS + at / 3)).collect();
    store.ingest(&heartbeats(samples.clone())).await.unwrap();
    samples.sort_by_key(|one| std::cmp::Reverse((one.taken_unix_ms, one.id)));
    let mut filter = SampleFilter { limit: 3, ..of_agent(agent_id) };
    let mut read = Vec::new();
    for _ in 0..=samples.len() {
        let page = store.samples(&filter).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.before = Some((last.taken_unix_ms, last.id));
        read.extend(page);
    }
    assert_eq!(read, samples);
    let between = SampleFilter {
        since_unix_ms: Some(NOW_MS + 2),
        until_unix_ms: Some(NOW_MS + 3),
        ..of_agent(agent_id)
    };
    assert_eq!(store.samples(&between).await.unwrap().len(), 3);
    assert_eq!(store.samples(&of_agent(stranger())).await.unwrap(), []);
}

async fn usage_in_a_batch_counts_once(store: &Store) {
    let key_id = KeyId::random().unwrap();
    let usage: Vec<_> = (0..10).map(|_| UsageRecord { key_id, ..record(NOW_MS) }).collect();
    store.insert_usage(&usage[..3]).await.unwrap();
    let batch = Batch { usage: usage.iter().chain(&usage[5..]).cloned().collect(), ..Batch::default() };
    let stored = store.ingest(&batch).await.unwrap();
    assert_eq!((stored.usage, stored.usage_duplicates), (7, 8));
    let stored = store.ingest(&batch).await.unwrap();
    assert_eq!((stored.usage, stored.usage_duplicates), (0, 15));
    assert_eq!(usage_of(store, key_id).await.len(), 10);
}

async fn offsets_are_where_the_last_batch_left_them(store: &Store) {
    let offset =
        |group: &str, partition, next| Offset { group: group.into(), topic: "t".into(), partition, next };
    let put = async |offsets: &[Offset]| {
        store.ingest(&Batch { offsets: offsets.to_vec(), ..Batch::default() }).await.unwrap();
    };
    put(&[offset("a", 1, 5), offset("a", 0, 3), offset("b", 0, i64::MAX)]).await;
    put(&[offset("a", 1, 6), offset("a", 1, 7)]).await;
    assert_eq!(store.offsets("a").await.unwrap(), [offset("a", 0, 3), offset("a", 1, 7)]);
    assert_eq!(store.offsets("b").await.unwrap(), [offset("b", 0, i64::MAX)]);
    assert_eq!(store.offsets("c").await.unwrap(), []);
}

async fn what_cannot_be_read_is_set_aside_once(store: &Store) {
    let agent_id = stranger();
    let aside = SetAside {
        topic: "client-heartbeats".into(),
        partition: 3,
        offset: 99,
        payload: vec![0xff, 0, 0xfe],
        reason: "not a heartbeat".into(),
        at_unix_ms: NOW_MS * 3,
    };
    let timeless = sample(agent_id, NOW_MS);
    let timeless = Sample { taken_unix_ms: u64::MAX, ..timeless };
    let batch = Batch {
        samples: vec![sample(agent_id, NOW_MS), timeless.clone()],
        set_aside: vec![aside.clone()],
        ..Batch::default()
    };
    let stored = store.ingest(&batch).await.unwrap();
    assert_eq!((stored.samples, stored.set_aside), (1, 2));
    assert_eq!(store.ingest(&batch).await.unwrap().set_aside, 0);
    let kept = store.set_aside(1000).await.unwrap();
    assert_eq!(kept[0], aside);
    let refused = kept.iter().find(|one| one.partition == REFUSED_PARTITION).unwrap();
    assert!(refused.reason.contains("calendar"));
    assert!(String::from_utf8(refused.payload.clone()).unwrap().contains(&timeless.id.to_string()));
}

async fn an_agent_that_is_silent_goes_offline(store: &Store) {
    let token = token("for the silent", 2);
    store.insert_join_token(&token).await.unwrap();
    let (quiet, loud) = (agent(), agent());
    for one in [&quiet, &loud] {
        store.enrol(&token.hash, one).await.unwrap();
    }
    let far = NOW_MS + 300 * DAY_MS;
    store.ingest(&heartbeats(vec![sample(quiet.id, far), sample(loud.id, far + 40_000)])).await.unwrap();
    let online = async |one: &AgentRow| {
        let filter = AgentFilter { agent_id: Some(one.id), limit: 1, ..AgentFilter::default() };
        let report = store.agent_reports(&filter).await.unwrap().remove(0);
        (report.online, report.last_seen_unix_ms)
    };
    assert_eq!((online(&quiet).await, online(&loud).await), ((true, Some(far)), (true, Some(far + 40_000))));
    store.sweep_offline(far + 40_001, 40_000).await.unwrap();
    assert_eq!((online(&quiet).await.0, online(&loud).await.0), (false, true));
    assert_eq!(store.sweep_offline(far + 40_001, 40_000).await.unwrap(), 0);
    store.ingest(&heartbeats(vec![sample(quiet.id, far + 50_000)])).await.unwrap();
    assert!(online(&quiet).await.0);
}

async fn devices_are_known_with_their_first_and_last_time(store: &Store) {
    let agent_id = stranger();
    let replaced = DeviceSample { name: "another".into(), memory_total_bytes: None, ..device(1) };
    let told = |at, devices| Sample { devices, ..sample(agent_id, at) };
    store.ingest(&heartbeats(vec![told(NOW_MS, vec![device(0), device(1)])])).await.unwrap();
    store.ingest(&heartbeats(vec![told(NOW_MS + 9000, vec![replaced])])).await.unwrap();
    let [first, second] = store.devices(agent_id, None).await.unwrap().try_into().unwrap();
    assert_eq!((first.index, first.name, first.vendor), (0, device(0).name, "nvidia".into()));
    assert_eq!(
        (first.first_unix_ms, first.last_unix_ms, first.memory_total_bytes),
        (NOW_MS, NOW_MS, Some(24 << 30))
    );
    assert_eq!((&*second.name, second.memory_total_bytes), ("another", None));
    assert_eq!((second.first_unix_ms, second.last_unix_ms), (NOW_MS, NOW_MS + 9000));
}
