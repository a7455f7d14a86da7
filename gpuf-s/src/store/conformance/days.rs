//! Figures per day: paged, counted again from rows, and kept when the rows go.

use super::{
    samples::{DAY_START_MS, days_of, heartbeats, of_agent, sample},
    *,
};

pub(super) async fn conform(store: &Store) {
    days_page_without_gap(store).await;
    days_are_the_sum_of_their_rows_whatever_came_in_whatever_order(store).await;
    // Last: what is older is refused from there on.
    pruned_days_keep_their_figures(store).await;
}

async fn days_page_without_gap(store: &Store) {
    let agent_id = AgentId::random().unwrap();
    let samples = (0..5).map(|day| Sample {
        devices: (0..3).map(samples::device).collect(),
        ..sample(agent_id, NOW_MS + day * DAY_MS)
    });
    store.ingest(&heartbeats(samples.collect())).await.unwrap();
    let (agents, devices) = days_of(store, agent_id).await;
    assert_eq!((agents.len(), devices.len()), (5, 15));
    let mut filter = DayFilter { agent_id: Some(agent_id), limit: 2, ..DayFilter::default() };
    let (mut read, mut read_devices) = (Vec::new(), Vec::new());
    for _ in 0..=agents.len() {
        let page = store.agent_days(&filter).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.after = Some((last.day, last.agent_id, 0));
        read.extend(page);
    }
    filter.after = None;
    for _ in 0..=devices.len() {
        let page = store.device_days(&filter).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.after = Some((last.day, last.agent_id, last.index));
        read_devices.extend(page);
    }
    assert_eq!((read, read_devices), (agents.clone(), devices));
    let (from, to) = (agents[1].day, agents[2].day);
    let between = DayFilter { from: Some(from), to: Some(to), after: None, limit: 10, ..filter };
    assert_eq!(store.agent_days(&between).await.unwrap(), agents[1..3]);
    assert_eq!(store.device_days(&between).await.unwrap().len(), 6);
}

fn shift(dice: &mut fastrand::Rng) -> u8 {
    dice.u8(..64)
}

/// Restarts, counters that fall, late samples, repetitions, devices that come and go.
async fn days_are_the_sum_of_their_rows_whatever_came_in_whatever_order(store: &Store) {
    let mut dice = fastrand::Rng::with_seed(7);
    let agents: Vec<_> = (0..4).map(|_| AgentId::random().unwrap()).collect();
    let day = Day::of_unix_ms(NOW_MS + 40 * DAY_MS).unwrap();
    let start = day.end_unix_ms().cast_unsigned() - 300_000;
    let mut samples: Vec<_> = (0..400)
        .map(|_| Sample {
            cpu_millipercent: dice.u32(..),
            memory_used_bytes: dice.u64(..),
            network_received_bytes: dice.u64(..) >> shift(&mut dice),
            network_sent_bytes: dice.u64(..1000),
            uptime_s: dice.u64(..100),
            devices: (0..dice.u32(..3))
                .map(|index| DeviceSample {
                    busy_millipercent: dice.bool().then(|| dice.u32(..)),
                    memory_used_bytes: dice.bool().then(|| dice.u64(..)),
                    temperature_millidegrees: dice.bool().then(|| dice.i32(..)),
                    energy_millijoules: dice.bool().then(|| dice.u64(..)),
                    ..samples::device(index)
                })
                .collect(),
            ..sample(agents[dice.usize(..4)], start + dice.u64(..600_000))
        })
        .collect();
    for round in 0..3 {
        dice.shuffle(&mut samples);
        let mut rest = &samples[..];
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(dice.usize(1..=rest.len().min(150)));
            let stored = store.ingest(&heartbeats(batch.to_vec())).await.unwrap();
            assert_eq!(stored.samples, if round == 0 { batch.len() as u64 } else { 0 });
            rest = after;
        }
    }
    for day in [day, day.next()] {
        let checked = store.rebuild_day(day, Rebuild::Check).await.unwrap().unwrap();
        assert_eq!(checked.differences, []);
        assert!(checked.rows > 100 && checked.agents == 4 && checked.devices == 8, "{checked:?}");
        assert_eq!(store.rebuild_day(day, Rebuild::Write).await.unwrap().unwrap(), checked);
    }
}

async fn pruned_days_keep_their_figures(store: &Store) {
    let agent_id = AgentId::random().unwrap();
    let (old, kept) = (DAY_START_MS - 3 * DAY_MS, DAY_START_MS - DAY_MS);
    let told = |at: u64| Sample { taken_unix_ms: at, ..sample(agent_id, NOW_MS) };
    let first = told(old + 5);
    store.ingest(&heartbeats(vec![first.clone(), told(kept - 1), told(kept)])).await.unwrap();
    let before = days_of(store, agent_id).await;
    assert_eq!(before.0.len(), 3);
    assert!(store.prune_samples(kept + 7).await.unwrap() >= 2);
    assert_eq!(store.prune_samples(kept + 7).await.unwrap(), 0);
    let left = store.samples(&of_agent(agent_id)).await.unwrap();
    assert_eq!(left.iter().map(|one| one.taken_unix_ms).collect::<Vec<_>>(), [kept]);
    assert_eq!(days_of(store, agent_id).await, before);
    let again = store.ingest(&heartbeats(vec![first.clone(), left[0].clone()])).await.unwrap();
    assert_eq!(
        (again.samples, again.sample_duplicates, again.set_aside),
        (0, 1, 1),
        "it is not counted twice"
    );
    assert_eq!(days_of(store, agent_id).await, before);
    let day = Day::of_unix_ms(old).unwrap();
    for how in [Rebuild::Check, Rebuild::Write] {
        assert_eq!(store.rebuild_day(day, how).await.unwrap(), None);
    }
    assert_eq!(days_of(store, agent_id).await, before);
    let forced = store.rebuild_day(day, Rebuild::Force).await.unwrap().unwrap();
    let of_agent = |one: &&Difference| one.agent_id == agent_id && one.column == "samples";
    let lost: Vec<_> = forced.differences.iter().filter(of_agent).collect();
    assert_eq!((lost.len(), lost[0].stored, lost[0].counted), (2, Some(1), None));
    assert_eq!(days_of(store, agent_id).await.0, before.0[1..]);
}
