//! The book that later proofs rest on: what fake agents send, and what is in it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;

use gpuf_tests::heartbeats::{heartbeat, sample_id};
use gpuf_tests::{Gateway, HeartbeatLedger, Herd, eventually};

const AGENTS: usize = 20;

#[tokio::test]
async fn what_a_herd_sends_is_in_its_ledger_and_reaches_the_gateway() {
    let gateway = Gateway::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut herd = Herd::start(&gateway, AGENTS, HeartbeatLedger::open(&folder.path().join("ledger"))).await;
    herd.beat().await;
    herd.beat().await;
    assert_eq!(herd.ledger().ids().len(), 2 * AGENTS);
    let mut wanted = BTreeSet::new();
    for (number, identity) in (AGENTS as u64..).zip(herd.identities()) {
        let id = sample_id(identity.id, number);
        assert!(herd.ledger().ids().contains(&id));
        wanted.insert((identity.id.to_string(), heartbeat(id, 0).host.cpu_percent.to_string()));
    }
    eventually("the second heartbeat of each", async || {
        let agents = gateway.agents().await;
        let cpu = |agent: &serde_json::Value| agent["heartbeat"]["host"]["cpu_percent"].as_f64();
        let shown = agents
            .iter()
            .filter_map(|agent| Some((agent["id"].as_str()?.to_owned(), cpu(agent)?.to_string())));
        (shown.collect::<BTreeSet<_>>() == wanted).then_some(())
    })
    .await;
}

#[test]
fn a_ledger_goes_on_where_it_was_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let mut ledger = HeartbeatLedger::open(&path);
    assert!(ledger.is_empty());
    ledger.note(&[[0; 16], [0xff; 16]]);
    fs::File::options().append(true).open(&path).unwrap().write_all(b"0123").unwrap();
    let mut ledger = HeartbeatLedger::open(&path);
    assert_eq!(ledger.len(), 2);
    ledger.note(&[[7; 16]]);
    assert_eq!(ledger.ids(), BTreeSet::from([[0; 16], [7; 16], [0xff; 16]]));
}
