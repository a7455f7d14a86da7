//! What agents told of themselves, and who may see it.

use common::{EndpointSet, EngineId, EngineReport, ModelReport};

use super::{
    samples::{heartbeats, of_agent, sample},
    *,
};

pub(super) async fn conform(store: &Store) {
    the_latest_inventory_holds(store).await;
    agents_are_found_by_each_condition(store).await;
    agents_page_without_gap(store).await;
    an_owner_sees_nothing_of_others(store).await;
}

fn engine(id: &str, models: &[&str]) -> EngineReport {
    let model = |name: &&str| ModelReport {
        loaded: Some(true),
        size_bytes: Some(1 << 40),
        context_tokens: Some(8192),
        modified_unix: Some(9),
        digest: Some("sha256:00".into()),
        ..ModelReport::named(name.parse().unwrap())
    };
    EngineReport {
        id: id.parse::<EngineId>().unwrap(),
        kind: EngineKind::Vllm,
        version: None,
        endpoints: EndpointSet::of(&[Endpoint::ChatCompletions, Endpoint::OllamaShow]),
        models: models.iter().map(model).collect(),
        slots: 4,
        waiting: None,
    }
}

fn inventory(agent_id: AgentId, at_unix_ms: u64) -> Inventory {
    Inventory {
        agent_id,
        at_unix_ms,
        version: "0.1.0".into(),
        os: "linux".into(),
        arch: "x86_64".into(),
        name: "Host".into(),
        labels: vec![("rack".into(), "7".into()), ("zone".into(), "ü\0".into())],
        location: Some("attic".into()),
        address: None,
        engines: vec![engine("a.1", &["m:1", "m:2"]), engine("b", &[])],
    }
}

fn told(inventories: Vec<Inventory>) -> Batch {
    Batch { inventories, ..Batch::default() }
}

async fn enrolled(store: &Store, owner: &str, machine: &str) -> AgentRow {
    let token = TokenRow { owner: Some(name(owner)), ..token(&format!("{owner} {machine}"), 1) };
    store.insert_join_token(&token).await.unwrap();
    let row = AgentRow { name: name(machine), owner: Some(name(owner)), ..agent() };
    assert_eq!(store.enrol(&token.hash, &row).await.unwrap(), Enrolment::Done);
    row
}

async fn one(store: &Store, agent_id: AgentId) -> AgentReport {
    let filter = AgentFilter { agent_id: Some(agent_id), limit: 10, ..AgentFilter::default() };
    store.agent_reports(&filter).await.unwrap().remove(0)
}

async fn the_latest_inventory_holds(store: &Store) {
    let row = enrolled(store, "inventory", "machine").await;
    assert_eq!(one(store, row.id).await.facts, None);
    let first = inventory(row.id, NOW_MS);
    store.ingest(&told(vec![first.clone()])).await.unwrap();
    assert_eq!(store.engines(row.id, None).await.unwrap(), first.engines);
    let facts = one(store, row.id).await.facts.unwrap();
    assert_eq!((&*facts.name, &*facts.os, facts.location.as_deref()), ("Host", "linux", Some("attic")));
    assert_eq!(facts.labels, [("rack".into(), "7".into()), ("zone".into(), "ü\u{fffd}".into())]);
    let second = Inventory {
        engines: vec![engine("b", &["x"])],
        version: "2".into(),
        ..inventory(row.id, NOW_MS + 2)
    };
    let between = Inventory { engines: vec![], version: "between".into(), ..inventory(row.id, NOW_MS + 1) };
    store.ingest(&told(vec![second.clone(), between.clone()])).await.unwrap();
    for late in [between, first, Inventory { version: "same".into(), ..second.clone() }] {
        store.ingest(&told(vec![late])).await.unwrap();
        assert_eq!(one(store, row.id).await.facts.unwrap().version, "2");
        assert_eq!(store.engines(row.id, None).await.unwrap(), second.engines);
    }
    let renamed = Inventory { at_unix_ms: NOW_MS + 3, name: "Other".into(), ..second.clone() };
    store.ingest(&told(vec![renamed])).await.unwrap();
    assert_eq!(one(store, row.id).await.facts.unwrap().name, "Other");
    assert_eq!(store.engines(row.id, None).await.unwrap(), second.engines);
}

async fn agents_are_found_by_each_condition(store: &Store) {
    let (plain, odd) = (enrolled(store, "found", "plain").await, enrolled(store, "found", "odd Größe").await);
    store
        .ingest(&told(vec![
            inventory(plain.id, NOW_MS),
            Inventory {
                name: "Needle".into(),
                labels: vec![("7".into(), "rack".into())],
                ..inventory(odd.id, NOW_MS)
            },
        ]))
        .await
        .unwrap();
    store.ingest(&heartbeats(vec![sample(odd.id, NOW_MS)])).await.unwrap();
    assert!(store.revoke_agent(plain.id, NOW).await.unwrap());
    let of_owner = AgentFilter { owner: Some(name("found")), limit: 10, ..AgentFilter::default() };
    let label = |key: &str, value: &str| Some((key.to_owned(), value.to_owned()));
    let text = |text: &str| Some(text.to_owned());
    let cases = [
        (AgentFilter { online: Some(true), ..of_owner.clone() }, vec![odd.id]),
        (AgentFilter { online: Some(false), ..of_owner.clone() }, vec![plain.id]),
        (AgentFilter { revoked: Some(true), ..of_owner.clone() }, vec![plain.id]),
        (AgentFilter { revoked: Some(false), ..of_owner.clone() }, vec![odd.id]),
        (AgentFilter { text: text("neeDLE"), ..of_owner.clone() }, vec![odd.id]),
        (AgentFilter { text: text("ODD Größ"), ..of_owner.clone() }, vec![odd.id]),
        (AgentFilter { text: text("%"), ..of_owner.clone() }, vec![]),
        (AgentFilter { label: label("rack", "7"), ..of_owner.clone() }, vec![plain.id]),
        (AgentFilter { label: label("rack", "8"), ..of_owner.clone() }, vec![]),
        (AgentFilter { agent_id: Some(odd.id), ..of_owner.clone() }, vec![odd.id]),
        (AgentFilter { owner: Some(name("nobody")), ..of_owner }, vec![]),
    ];
    for (filter, expected) in cases {
        let found = store.agent_reports(&filter).await.unwrap();
        assert_eq!(found.iter().map(|report| report.agent.id).collect::<Vec<_>>(), expected, "{filter:?}");
    }
}

async fn agents_page_without_gap(store: &Store) {
    let mut written = Vec::new();
    for at in 0..7 {
        written.push(enrolled(store, "paged", &format!("machine {at}")).await.id);
    }
    written.sort_unstable();
    let mut filter = AgentFilter { owner: Some(name("paged")), limit: 2, ..AgentFilter::default() };
    let mut read = Vec::new();
    for _ in 0..=written.len() {
        let page = store.agent_reports(&filter).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.after = Some(last.agent.id);
        read.extend(page.iter().map(|report| report.agent.id));
    }
    assert_eq!(read, written);
}

async fn an_owner_sees_nothing_of_others(store: &Store) {
    let mine = enrolled(store, "mine", "machine").await;
    let theirs = enrolled(store, "theirs", "machine").await;
    let stranger = AgentId::random().unwrap();
    let agents = [mine.id, theirs.id, stranger];
    let inventories = agents.iter().map(|agent| inventory(*agent, NOW_MS)).collect();
    let samples = agents.iter().map(|agent| sample(*agent, NOW_MS)).collect();
    store.ingest(&Batch { inventories, samples, ..Batch::default() }).await.unwrap();
    let owner = name("mine");
    for agent_id in agents {
        let seen = agent_id == mine.id;
        let days = DayFilter {
            agent_id: Some(agent_id),
            owner: Some(owner.clone()),
            limit: 10,
            ..DayFilter::default()
        };
        let samples = SampleFilter { owner: Some(owner.clone()), ..of_agent(agent_id) };
        let reports = AgentFilter {
            agent_id: Some(agent_id),
            owner: Some(owner.clone()),
            limit: 10,
            ..AgentFilter::default()
        };
        assert_eq!(!store.agent_days(&days).await.unwrap().is_empty(), seen);
        assert_eq!(!store.device_days(&days).await.unwrap().is_empty(), seen);
        assert_eq!(!store.samples(&samples).await.unwrap().is_empty(), seen);
        assert_eq!(!store.agent_reports(&reports).await.unwrap().is_empty(), seen);
        assert_eq!(!store.devices(agent_id, Some(&owner)).await.unwrap().is_empty(), seen);
        assert_eq!(!store.engines(agent_id, Some(&owner)).await.unwrap().is_empty(), seen);
    }
    let all = DayFilter { owner: Some(owner), limit: 1000, ..DayFilter::default() };
    assert!(store.agent_days(&all).await.unwrap().iter().all(|day| day.agent_id == mine.id));
    assert!(store.device_days(&all).await.unwrap().iter().all(|day| day.agent_id == mine.id));
}
