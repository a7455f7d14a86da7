//! What every store must do, as one function over an opened, empty store.

#[cfg(test)]
mod agents;
#[cfg(test)]
mod days;
#[cfg(test)]
mod glances;
#[cfg(test)]
mod poison;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tenants;

use common::{AgentId, Dialect, Endpoint, EngineKind};

use super::*;
use crate::{data_dir::DataDir, secret::SecretUrl};

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
    agents_that_were_put_out_of_late_are_told(store).await;
    a_server_is_seen_as_it_last_said_and_until_it_is_removed(store).await;
    a_server_that_was_silent_for_a_day_is_dropped(store).await;
    usage_reads_back_as_it_was_written(store).await;
    usage_counts_once_however_often_it_is_sent(store).await;
    usage_of_any_batch_size_is_stored_whole(store).await;
    usage_is_found_by_each_condition(store).await;
    usage_pages_meet_without_gap_or_overlap(store).await;
    usage_sent_many_times_at_once_counts_once(store).await;
    usage_keeps_the_ends_of_every_range(store).await;
    names_are_told_apart_by_their_bytes(store).await;
    the_audit_trail_shows_the_newest_first(store).await;
    tenants::conform(store).await;
    glances::conform(store).await;
    the_audit_trail_takes_any_text(store).await;
    a_text_that_would_not_read_back_is_refused(store).await;
    rows_of_one_second_have_one_order(store).await;
    revocations_are_found_by_their_time(store).await;
    samples::conform(store).await;
    agents::conform(store).await;
    days::conform(store).await;
}

#[tokio::test]
async fn sqlite_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::embedded(&DataDir::open(folder.path()).unwrap()).await.unwrap();
    conforms(&store).await;
    store.close().await;
}

#[tokio::test]
async fn postgres_conforms() {
    let url = test_services::Postgres::shared().database().await;
    let store = postgres(&url).await;
    conforms(&store).await;
    store.close().await;
}

async fn postgres(url: &str) -> Store {
    let database = Database::Postgres(SecretUrl::new(url.to_owned()));
    let folder = tempfile::tempdir().unwrap();
    Store::open(&database, &DataDir::open(folder.path()).unwrap()).await.unwrap()
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
    let long = KeyRow {
        name: name(&"\u{1f984}".repeat(100)),
        prefix: "p".repeat(100_000),
        models: Some(
            (0..MODELS_PER_KEY_MAX).map(|at| format!("{at:0256}").parse().unwrap()).collect::<Vec<_>>(),
        )
        .into(),
        created: UnixSeconds(i64::MIN),
        expires: Some(UnixSeconds(i64::MAX)),
        ..key("long")
    };
    for row in [full, nothing_allowed, key("plain"), long] {
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

async fn usage_sent_many_times_at_once_counts_once(store: &Store) {
    let key_id = KeyId::random().unwrap();
    let batch: Vec<_> = (0..200).map(|_| UsageRecord { key_id, ..record(NOW_MS) }).collect();
    let senders = (0..4).map(|sender| {
        let (store, mut mine) = (store.clone(), batch.clone());
        mine.rotate_left(sender * 50);
        tokio::spawn(async move { store.insert_usage(&mine).await.unwrap() })
    });
    for one in senders.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    assert_eq!(usage_of(store, key_id).await.len(), 200);
}

async fn usage_keeps_the_ends_of_every_range(store: &Store) {
    let most = UsageRecord {
        id: UsageId::from_bytes([0xfe; 16]),
        key_id: KeyId::from_i64(-1),
        status: u16::MAX,
        prompt_tokens: Some(u32::MAX),
        completion_tokens: Some(u32::MAX),
        first_token_ms: Some(u32::MAX),
        duration_ms: u32::MAX,
        bytes: u64::MAX,
        started_unix_ms: u64::MAX,
        ..record(NOW_MS)
    };
    let least = UsageRecord {
        id: UsageId::from_bytes([0; 16]),
        key_id: KeyId::from_i64(i64::MIN),
        status: 0,
        prompt_tokens: Some(0),
        duration_ms: 0,
        bytes: 0,
        started_unix_ms: 0,
        ..record(NOW_MS)
    };
    store.insert_usage(&[most.clone(), least.clone()]).await.unwrap();
    for one in [most, least] {
        assert_eq!(usage_of(store, one.key_id).await, [one]);
    }
    let nothing = UsageFilter { limit: 0, ..UsageFilter::default() };
    assert_eq!(store.usage(&nothing).await.unwrap(), []);
}

async fn names_are_told_apart_by_their_bytes(store: &Store) {
    let key_id = KeyId::random().unwrap();
    let of = |model: &str| UsageRecord { key_id, model: Some(model.parse().unwrap()), ..record(NOW_MS) };
    let (small, capital, pattern) = (of("mix_al"), of("MIX_AL"), of("mix-al"));
    store.insert_usage(&[small.clone(), capital.clone(), pattern]).await.unwrap();
    for one in [small, capital] {
        let filter = UsageFilter {
            key_id: Some(key_id),
            model: one.model.clone(),
            limit: 9,
            ..UsageFilter::default()
        };
        assert_eq!(store.usage(&filter).await.unwrap(), [one]);
    }
}

async fn the_audit_trail_takes_any_text(store: &Store) {
    let odd = AuditLine {
        at: UnixSeconds(i64::MIN),
        actor: "a\0b".into(),
        action: String::new(),
        subject: "\u{1f984}\u{301}'\"\\%\n".into(),
        detail: Some("\u{10ffff}".repeat(100_000)),
    };
    store.audit(&odd).await.unwrap();
    let shown = AuditLine { actor: "a\u{fffd}b".into(), ..odd };
    assert_eq!(store.audit_lines(1).await.unwrap(), [shown]);
    assert_eq!(store.audit_lines(0).await.unwrap(), []);
}

async fn a_text_that_would_not_read_back_is_refused(store: &Store) {
    let row = KeyRow { prefix: "gpuf\0".into(), ..key("with a NUL") };
    assert!(matches!(store.insert_key(&row).await, Err(Error::Refused(_))));
    assert_eq!(store.key_by_hash(&row.hash).await.unwrap(), None);
}

async fn rows_of_one_second_have_one_order(store: &Store) {
    let at = UnixSeconds(7);
    let ids = [i64::MIN, -1, 5, i64::MAX].map(KeyId::from_i64);
    for id in [ids[2], ids[0], ids[3], ids[1]] {
        store.insert_key(&KeyRow { id, created: at, ..key(&format!("ordered {id}")) }).await.unwrap();
    }
    let listed: Vec<_> = store.keys().await.unwrap();
    let listed: Vec<_> = listed.iter().filter(|row| row.created == at).map(|row| row.id).collect();
    assert_eq!(listed, ids);

    let row = TokenRow { expires: UnixSeconds(99), ..token("ordered agents", 3) };
    store.insert_join_token(&row).await.unwrap();
    let ids = [[0; 16], [0x7f; 16], [0xff; 16]].map(AgentId::from_bytes);
    for id in [ids[2], ids[0], ids[1]] {
        let machine = AgentRow { id, enrolled: at, ..agent() };
        assert_eq!(store.enrol(&row.hash, &machine).await.unwrap(), Enrolment::Done);
    }
    let listed: Vec<_> = store.agents().await.unwrap();
    let listed: Vec<_> = listed.iter().filter(|row| row.enrolled == at).map(|row| row.id).collect();
    assert_eq!(listed, ids);
}

async fn revocations_are_found_by_their_time(store: &Store) {
    let at = |seconds: u64| NOW.after(Duration::from_secs(1_000_000 + seconds));
    let (early, late, never) = (key("revoked early"), key("revoked late"), key("never revoked"));
    for row in [&early, &late, &never] {
        store.insert_key(row).await.unwrap();
    }
    store.revoke_key(late.id, at(2)).await.unwrap();
    store.revoke_key(early.id, at(1)).await.unwrap();
    assert_eq!(store.revoked_since(at(1)).await.unwrap(), [early.hash, late.hash]);
    assert_eq!(store.revoked_since(at(2)).await.unwrap(), [late.hash]);
    assert_eq!(store.revoked_since(at(3)).await.unwrap(), []);
}
