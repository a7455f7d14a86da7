//! What every store must do, as one function over an opened, empty store.

mod tenants;

use common::{AgentId, Dialect, Endpoint, EngineKind};

use super::*;
use crate::data_dir::DataDir;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const NOW_MS: u64 = 1_800_000_000_000;

/// Runs the whole suite.
async fn conforms(store: &Store) {
    a_key_reads_back_as_it_was_written(store).await;
    a_key_is_revoked_once_and_its_hash_told(store).await;
    an_id_or_hash_is_given_once(store).await;
    a_token_lets_in_as_many_as_it_says(store).await;
    a_spent_revoked_or_expired_token_lets_nobody_in(store).await;
    a_taken_agent_id_costs_no_use(store).await;
    one_use_is_spent_by_one_of_many_at_once(store).await;
    an_agent_is_revoked(store).await;
    usage_reads_back_as_it_was_written(store).await;
    usage_counts_once_however_often_it_is_sent(store).await;
    usage_of_any_batch_size_is_stored_whole(store).await;
    usage_is_found_by_each_condition(store).await;
    usage_pages_meet_without_gap_or_overlap(store).await;
    the_audit_trail_shows_the_newest_first(store).await;
    tenants::conform(store).await;
}

#[tokio::test]
async fn sqlite_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::embedded(&DataDir::open(folder.path()).unwrap()).await.unwrap();
    conforms(&store).await;
    store.close().await;
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn key(text: &str) -> KeyRow {
    KeyRow {
        id: KeyId::random().unwrap(),
        name: name(text),
        hash: KeyHash::of(text.as_bytes()),
        prefix: "gpuf_abcd".into(),
        models: Models::All,
        access: Access::Shared,
        created: NOW,
        expires: None,
        revoked: None,
    }
}

fn token(text: &str, uses: u32) -> TokenRow {
    TokenRow {
        id: TokenId::random().unwrap(),
        name: name(text),
        hash: TokenHash::of(text.as_bytes()),
        owner: None,
        uses_left: uses,
        created: NOW,
        expires: NOW.after(Duration::from_secs(60)),
        revoked: None,
    }
}

fn agent() -> AgentRow {
    AgentRow { id: AgentId::random().unwrap(), name: name("host"), owner: None, enrolled: NOW, revoked: None }
}

fn record(started_unix_ms: u64) -> UsageRecord {
    UsageRecord {
        id: UsageId::next(started_unix_ms),
        key_id: KeyId::random().unwrap(),
        model: Some("llama3.2:1b".parse().unwrap()),
        agent_id: Some(AgentId::random().unwrap()),
        engine: Some(EngineKind::Vllm),
        dialect: Dialect::Ollama,
        endpoint: Endpoint::OllamaChat,
        status: 200,
        outcome: Outcome::Ok,
        prompt_tokens: Some(7),
        completion_tokens: Some(u32::MAX),
        first_token_ms: Some(40),
        duration_ms: 900,
        bytes: 1 << 40,
        started_unix_ms,
    }
}

async fn a_key_reads_back_as_it_was_written(store: &Store) {
    let models = ["b:1", "a/x"].map(|name| name.parse().unwrap());
    let full = KeyRow {
        models: Some(models.to_vec()).into(),
        access: Access::Dedicated(name("lab")),
        expires: Some(NOW.after(Duration::from_secs(9))),
        ..key("full")
    };
    let nothing_allowed = KeyRow { models: Some(vec![]).into(), ..key("nothing allowed") };
    for row in [full, nothing_allowed, key("plain")] {
        store.insert_key(&row).await.unwrap();
        assert_eq!(store.key_by_hash(&row.hash).await.unwrap().as_ref(), Some(&row));
        assert!(store.keys().await.unwrap().contains(&row));
    }
    assert_eq!(store.key_by_hash(&KeyHash::of(b"never made")).await.unwrap(), None);
}

async fn a_key_is_revoked_once_and_its_hash_told(store: &Store) {
    let row = key("revoked");
    store.insert_key(&row).await.unwrap();
    assert_eq!(store.revoke_key(row.id, NOW).await.unwrap(), Some(row.hash));
    let later = NOW.after(Duration::from_secs(1));
    assert_eq!(store.revoke_key(row.id, later).await.unwrap(), Some(row.hash));
    assert_eq!(store.key_by_hash(&row.hash).await.unwrap().unwrap().revoked, Some(NOW));
    assert_eq!(store.revoke_key(KeyId::STATIC, NOW).await.unwrap(), None);
}

async fn an_id_or_hash_is_given_once(store: &Store) {
    let row = key("once");
    store.insert_key(&row).await.unwrap();
    let same_hash = KeyRow { id: KeyId::random().unwrap(), ..row.clone() };
    let same_id = KeyRow { hash: KeyHash::of(b"another"), ..row };
    assert!(matches!(store.insert_key(&same_hash).await, Err(Error::Taken)));
    assert!(matches!(store.insert_key(&same_id).await, Err(Error::Taken)));
}

async fn a_token_lets_in_as_many_as_it_says(store: &Store) {
    let row = TokenRow { owner: Some(name("lab")), ..token("two", 2) };
    store.insert_join_token(&row).await.unwrap();
    assert!(store.join_tokens().await.unwrap().contains(&row));
    let (first, second, third) = (agent(), agent(), agent());
    assert_eq!(store.enrol(&row.hash, &first).await.unwrap(), Enrolment::Done);
    assert_eq!(store.enrol(&row.hash, &second).await.unwrap(), Enrolment::Done);
    assert_eq!(store.enrol(&row.hash, &third).await.unwrap(), Enrolment::BadToken);
    let stored = AgentRow { owner: Some(name("lab")), ..first };
    assert_eq!(store.agent(stored.id).await.unwrap().as_ref(), Some(&stored));
    assert!(store.agents().await.unwrap().contains(&stored));
    assert_eq!(store.agent(third.id).await.unwrap(), None);
}

async fn a_spent_revoked_or_expired_token_lets_nobody_in(store: &Store) {
    let revoked = token("revoked token", 9);
    store.insert_join_token(&revoked).await.unwrap();
    assert!(store.revoke_join_token(revoked.id, NOW).await.unwrap());
    assert!(!store.revoke_join_token(TokenId::random().unwrap(), NOW).await.unwrap());
    let expired = TokenRow { expires: NOW, ..token("expired token", 9) };
    store.insert_join_token(&expired).await.unwrap();
    let unknown = TokenHash::of(b"unknown token");
    for hash in [revoked.hash, expired.hash, unknown] {
        assert_eq!(store.enrol(&hash, &agent()).await.unwrap(), Enrolment::BadToken);
    }
}

async fn a_taken_agent_id_costs_no_use(store: &Store) {
    let row = token("wanted", 2);
    store.insert_join_token(&row).await.unwrap();
    let first = agent();
    assert_eq!(store.enrol(&row.hash, &first).await.unwrap(), Enrolment::Done);
    assert_eq!(store.enrol(&row.hash, &first).await.unwrap(), Enrolment::IdTaken);
    assert_eq!(store.enrol(&row.hash, &agent()).await.unwrap(), Enrolment::Done);
}

async fn one_use_is_spent_by_one_of_many_at_once(store: &Store) {
    let row = token("race", 1);
    store.insert_join_token(&row).await.unwrap();
    let tries = (0..8).map(|_| {
        let (store, hash) = (store.clone(), row.hash);
        tokio::spawn(async move { store.enrol(&hash, &agent()).await.unwrap() })
    });
    let mut done = 0;
    for one in tries.collect::<Vec<_>>() {
        done += usize::from(one.await.unwrap() == Enrolment::Done);
    }
    assert_eq!(done, 1);
}

async fn an_agent_is_revoked(store: &Store) {
    let (row, machine) = (token("for one", 1), agent());
    store.insert_join_token(&row).await.unwrap();
    store.enrol(&row.hash, &machine).await.unwrap();
    assert!(store.revoke_agent(machine.id, NOW).await.unwrap());
    assert_eq!(store.agent(machine.id).await.unwrap().unwrap().revoked, Some(NOW));
    assert!(!store.revoke_agent(AgentId::random().unwrap(), NOW).await.unwrap());
}

async fn usage_of(store: &Store, key_id: KeyId) -> Vec<UsageRecord> {
    store.usage(&UsageFilter { key_id: Some(key_id), limit: 1000, ..UsageFilter::default() }).await.unwrap()
}

async fn usage_reads_back_as_it_was_written(store: &Store) {
    let full = record(NOW_MS);
    let bare = UsageRecord {
        model: None,
        agent_id: None,
        engine: None,
        outcome: Outcome::Failed,
        prompt_tokens: None,
        completion_tokens: None,
        first_token_ms: None,
        ..record(NOW_MS)
    };
    store.insert_usage(&[full.clone(), bare.clone()]).await.unwrap();
    for one in [full, bare] {
        assert_eq!(usage_of(store, one.key_id).await, [one]);
    }
}

async fn usage_counts_once_however_often_it_is_sent(store: &Store) {
    let first = record(NOW_MS);
    let other = UsageRecord { key_id: first.key_id, ..record(NOW_MS) };
    store.insert_usage(std::slice::from_ref(&first)).await.unwrap();
    let altered = UsageRecord { bytes: 1, ..first.clone() };
    store.insert_usage(&[altered, other.clone(), other.clone()]).await.unwrap();
    assert_eq!(usage_of(store, first.key_id).await, [other, first]);
}

async fn usage_of_any_batch_size_is_stored_whole(store: &Store) {
    for size in [0, 1, 7, 8, 9, 40, 128, 169, 1000] {
        let key_id = KeyId::random().unwrap();
        let batch: Vec<_> = (0..size).map(|_| UsageRecord { key_id, ..record(NOW_MS) }).collect();
        store.insert_usage(&batch).await.unwrap();
        assert_eq!(usage_of(store, key_id).await.len(), size);
    }
}

async fn usage_is_found_by_each_condition(store: &Store) {
    let key_id = KeyId::random().unwrap();
    let at = |ms| UsageRecord { key_id, ..record(NOW_MS + ms) };
    let odd_model = UsageRecord { model: Some("odd".parse().unwrap()), ..at(10) };
    let odd_end = UsageRecord { outcome: Outcome::Aborted, ..at(20) };
    let odd_time = at(3_600_000);
    store.insert_usage(&[odd_model.clone(), odd_end.clone(), odd_time.clone()]).await.unwrap();
    let of_key = UsageFilter { key_id: Some(key_id), limit: 10, ..UsageFilter::default() };
    let cases = [
        (UsageFilter { model: odd_model.model.clone(), ..of_key.clone() }, &odd_model),
        (UsageFilter { agent_id: odd_end.agent_id, ..of_key.clone() }, &odd_end),
        (UsageFilter { outcome: Some(Outcome::Aborted), ..of_key.clone() }, &odd_end),
        (UsageFilter { since_unix_ms: Some(NOW_MS + 21), ..of_key.clone() }, &odd_time),
        (UsageFilter { until_unix_ms: Some(NOW_MS + 20), ..of_key }, &odd_model),
    ];
    for (filter, expected) in cases {
        assert_eq!(store.usage(&filter).await.unwrap(), std::slice::from_ref(expected), "{filter:?}");
    }
}

async fn usage_pages_meet_without_gap_or_overlap(store: &Store) {
    let key_id = KeyId::random().unwrap();
    let mut written: Vec<_> = (0..10).map(|_| UsageRecord { key_id, ..record(NOW_MS) }).collect();
    store.insert_usage(&written).await.unwrap();
    written.reverse();
    let mut filter = UsageFilter { key_id: Some(key_id), limit: 3, ..UsageFilter::default() };
    let mut read = Vec::new();
    for _ in 0..=written.len() {
        let page = store.usage(&filter).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.before = Some(last.id);
        read.extend(page);
    }
    assert_eq!(read, written);
}

async fn the_audit_trail_shows_the_newest_first(store: &Store) {
    let line = |action: &str| AuditLine {
        at: NOW,
        actor: "api".into(),
        action: action.into(),
        subject: "1".into(),
        detail: None,
    };
    store.audit(&line("key.create")).await.unwrap();
    store.audit(&line("key.revoke")).await.unwrap();
    let lines = store.audit_lines(2).await.unwrap();
    assert_eq!(lines, [line("key.revoke"), line("key.create")]);
}
