//! The servers that share a store, and the agents that were put out at one of them.

use super::*;

pub(super) async fn conforms(store: &Store) {
    agents_that_were_put_out_of_late_are_told(store).await;
    a_server_is_seen_as_it_last_said_and_until_it_is_removed(store).await;
    a_server_that_was_silent_for_a_day_is_dropped(store).await;
}

async fn agents_that_were_put_out_of_late_are_told(store: &Store) {
    let (row, early, late) = (token("for two", 2), agent(), agent());
    store.insert_join_token(&row).await.unwrap();
    for (machine, at) in
        [(&early, NOW.after(Duration::from_secs(100))), (&late, NOW.after(Duration::from_secs(200)))]
    {
        store.enrol(&row.hash, machine).await.unwrap();
        store.revoke_agent(machine.id, at).await.unwrap();
    }
    let since = |seconds| store.agents_revoked_since(NOW.after(Duration::from_secs(seconds)));
    assert!(since(101).await.unwrap() == [late.id] && since(201).await.unwrap().is_empty());
    let mut both = since(100).await.unwrap();
    both.sort();
    let mut expected = [early.id, late.id];
    expected.sort();
    assert_eq!(both, expected);
}

fn server(name: &str, seen_unix_ms: u64) -> ServerRow {
    ServerRow {
        id: *AgentId::random().unwrap().as_bytes(),
        name: name.into(),
        version: "0.1.0".into(),
        control: "a.example:17000".into(),
        public: "a.example:18080".into(),
        api: "127.0.0.1:18081".into(),
        fingerprint: "ab".repeat(32),
        started: NOW,
        seen_unix_ms,
        agents: Vec::new(),
    }
}

async fn a_server_is_seen_as_it_last_said_and_until_it_is_removed(store: &Store) {
    let (mut one, two) = (server("one", NOW_MS), server("two", NOW_MS + 1));
    assert!(!store.touch_server(one.id, NOW_MS).await.unwrap(), "it has no row");
    store.put_server(&two).await.unwrap();
    store.put_server(&one).await.unwrap();
    assert_eq!(store.servers(NOW_MS).await.unwrap(), [one.clone(), two.clone()]);
    let present = |state| PresentAgent { id: AgentId::random().unwrap(), state };
    one.agents = vec![present(Presence::Connected), present(Presence::Draining)];
    (one.control, one.seen_unix_ms) = (String::new(), NOW_MS + 5);
    store.put_server(&one).await.unwrap();
    assert_eq!(store.servers(NOW_MS + 2).await.unwrap(), [one.clone()]);
    assert!(store.touch_server(one.id, NOW_MS + 9).await.unwrap());
    one.seen_unix_ms = NOW_MS + 9;
    assert_eq!(store.servers(NOW_MS + 9).await.unwrap(), [one.clone()]);
    for _ in 0..2 {
        store.remove_server(one.id).await.unwrap();
    }
    assert_eq!(store.servers(0).await.unwrap(), [two]);
}

async fn a_server_that_was_silent_for_a_day_is_dropped(store: &Store) {
    let (old, late) = (server("old", NOW_MS), server("late", NOW_MS + 24 * 3_600_000 + 2));
    store.put_server(&old).await.unwrap();
    store.put_server(&late).await.unwrap();
    assert_eq!(store.servers(0).await.unwrap(), [late]);
}
