//! What every store must do where several agents are looked at together, and for charts.

use super::{
    samples::{device, heartbeats, sample},
    *,
};

pub(super) async fn conform(store: &Store) {
    engines_and_latest_heartbeats_are_those_of_the_scope(store).await;
    a_chart_adds_up_heartbeats_in_steps(store).await;
    what_an_agent_told_is_in_its_entry(store).await;
}

/// A machine of an owner.
async fn machine(store: &Store, owner: &str) -> AgentId {
    let pass = TokenRow { owner: Some(name(owner)), ..token(&format!("glance of {owner}"), 1) };
    store.insert_join_token(&pass).await.unwrap();
    let row = agent();
    assert_eq!(store.enrol(&pass.hash, &row).await.unwrap(), Enrolment::Done);
    row.id
}

fn inventory(agent_id: AgentId) -> Inventory {
    let model =
        common::ModelReport { loaded: Some(true), ..common::ModelReport::named("m:1".parse().unwrap()) };
    Inventory {
        agent_id,
        at_unix_ms: NOW_MS,
        version: "1".into(),
        os: "linux".into(),
        arch: "x86_64".into(),
        name: "Told name".into(),
        labels: vec![("a".into(), "b".into())],
        location: Some("there".into()),
        address: None,
        engines: vec![EngineReport {
            id: "vllm".parse().unwrap(),
            kind: EngineKind::Vllm,
            version: None,
            endpoints: common::EndpointSet::default(),
            models: vec![model],
            slots: 8,
            waiting: None,
        }],
    }
}

async fn engines_and_latest_heartbeats_are_those_of_the_scope(store: &Store) {
    let (mine, theirs) = (machine(store, "glance a").await, machine(store, "glance b").await);
    let latest = sample(mine, NOW_MS + 2000);
    let foreign = sample(theirs, NOW_MS);
    let batch = Batch {
        inventories: vec![inventory(mine), inventory(theirs)],
        ..heartbeats(vec![sample(mine, NOW_MS), latest.clone(), foreign.clone()])
    };
    store.ingest(&batch).await.unwrap();
    let own = Scope::Of(name("glance a"));
    let found = store.engines_within(&own, &[mine, theirs]).await.unwrap();
    assert_eq!(found.iter().map(|(agent, _)| *agent).collect::<Vec<_>>(), [mine]);
    assert_eq!(found[0].1[0].models[0].name.as_str(), "m:1");
    assert_eq!(store.engines_within(&Scope::Everything, &[mine, theirs]).await.unwrap().len(), 2);
    assert_eq!(store.latest_samples(&own, &[mine, theirs]).await.unwrap(), std::slice::from_ref(&latest));
    let mut all = store.latest_samples(&Scope::Everything, &[mine, theirs]).await.unwrap();
    all.sort_by_key(|one| one.agent_id != mine);
    assert_eq!(all, [latest, foreign]);
    assert_eq!(store.latest_samples(&Scope::Everything, &[]).await.unwrap(), []);
}

async fn a_chart_adds_up_heartbeats_in_steps(store: &Store) {
    let mine = machine(store, "chart a").await;
    let at = |ms| sample(mine, NOW_MS + ms);
    let mut warm = at(1000);
    warm.cpu_millipercent = 70_000;
    warm.devices = vec![
        DeviceSample { temperature_millidegrees: Some(80_000), ..device(0) },
        DeviceSample { busy_millipercent: None, power_milliwatts: None, ..device(1) },
    ];
    store.ingest(&heartbeats(vec![at(0), warm, at(10_000), at(60_000)])).await.unwrap();
    let filter = ChartFilter {
        scope: Scope::Of(name("chart a")),
        agent_id: mine,
        from_unix_ms: NOW_MS,
        until_unix_ms: NOW_MS + 60_000,
        step_ms: 10_000,
    };
    let chart = store.chart(&filter).await.unwrap();
    let steps: Vec<_> = chart.hosts.iter().map(|point| (point.step, point.samples)).collect();
    assert_eq!(steps, [(0, 2), (1, 1)], "what is at the end is not of it, and what is empty is left out");
    assert_eq!((chart.hosts[0].cpu_sum_millipercent, chart.hosts[0].memory_total_bytes), (120_000, 16 << 30));
    assert_eq!((chart.hosts[1].received_bytes, chart.hosts[1].sent_bytes), (9000, 18_000));
    let devices: Vec<_> = chart.devices.iter().map(|point| (point.step, point.index)).collect();
    assert_eq!(devices, [(0, 0), (0, 1), (1, 0)]);
    let [first, second, _] = &chart.devices[..] else { panic!("{:?}", chart.devices) };
    assert_eq!((first.busy_millipercent, first.temperature_millidegrees), ((180_000, 2), Some(80_000)));
    assert_eq!((second.busy_millipercent, second.power_milliwatts), ((0, 0), (0, 0)));
    assert_eq!(second.memory_used_bytes, Some(20 << 30));
    let foreign = ChartFilter { scope: Scope::Of(name("chart b")), ..filter };
    assert_eq!(store.chart(&foreign).await.unwrap(), Chart::default());
}

async fn what_an_agent_told_is_in_its_entry(store: &Store) {
    let mine = machine(store, "told a").await;
    let batch = Batch { inventories: vec![inventory(mine)], ..heartbeats(vec![sample(mine, NOW_MS + 7)]) };
    store.ingest(&batch).await.unwrap();
    let filter =
        EntryFilter { name: Some("TOLD n".into()), ..EntryFilter::within(Scope::Of(name("told a"))) };
    let [entry] = store.agent_entries(&filter).await.unwrap().try_into().unwrap();
    assert_eq!((entry.row.id, entry.last_seen_unix_ms), (mine, Some(NOW_MS + 7)));
    let facts = entry.facts.unwrap();
    assert_eq!((facts.name.as_str(), facts.location.as_deref()), ("Told name", Some("there")));
    let edit = AgentEdit { name: Some(Some(name("shown"))), ..AgentEdit::default() };
    assert!(store.edit_agent(&filter.scope, mine, &edit).await.unwrap());
    assert_eq!(store.agent_entries(&filter).await.unwrap(), [], "it is found by the name that is shown");
}
