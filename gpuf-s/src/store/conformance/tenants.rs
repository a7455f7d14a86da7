//! What every store must do for several tenants: each sees and changes its own, and no more.

use super::*;

pub(super) async fn conform(store: &Store) {
    a_tenant_is_found_by_its_hash_until_and_after_it_is_revoked(store).await;
    a_tenants_name_is_given_once(store).await;
    a_scope_holds_its_own_keys(store).await;
    a_scope_holds_its_own_join_tokens(store).await;
    a_scope_holds_its_own_agents(store).await;
    agents_are_found_by_each_condition(store).await;
    an_agent_is_shown_as_it_was_edited(store).await;
    a_scope_holds_the_usage_of_its_keys_and_agents(store).await;
    sums_of_usage_are_those_of_the_records(store).await;
    a_described_model_is_found_changed_and_removed(store).await;
}

fn tenant(text: &str) -> TenantRow {
    TenantRow {
        id: TenantId::random().unwrap(),
        name: name(text),
        hash: TenantHash::of(text.as_bytes()),
        prefix: "gpuf_abcd".into(),
        created: NOW,
        revoked: None,
    }
}

fn of(text: &str) -> Scope {
    Scope::Of(name(text))
}

async fn a_tenant_is_found_by_its_hash_until_and_after_it_is_revoked(store: &Store) {
    let row = tenant("found");
    store.insert_tenant(&row).await.unwrap();
    assert_eq!(store.tenant_by_hash(&row.hash).await.unwrap().as_ref(), Some(&row));
    assert!(store.tenants().await.unwrap().contains(&row));
    assert!(store.revoke_tenant(row.id, NOW).await.unwrap());
    assert!(store.revoke_tenant(row.id, NOW.after(Duration::from_secs(5))).await.unwrap());
    let revoked = TenantRow { revoked: Some(NOW), ..row.clone() };
    assert_eq!(store.tenant_by_hash(&row.hash).await.unwrap(), Some(revoked));
    assert!(!store.revoke_tenant(TenantId::random().unwrap(), NOW).await.unwrap());
    assert_eq!(store.tenant_by_hash(&TenantHash::of(b"nobody's")).await.unwrap(), None);
}

async fn a_tenants_name_is_given_once(store: &Store) {
    let row = tenant("one name");
    store.insert_tenant(&row).await.unwrap();
    let again =
        TenantRow { id: TenantId::random().unwrap(), hash: TenantHash::of(b"another"), ..row.clone() };
    assert!(matches!(store.insert_tenant(&again).await, Err(Error::Taken)));
    assert!(store.revoke_tenant(row.id, NOW).await.unwrap());
    let after = store.insert_tenant(&again).await;
    assert!(matches!(after, Err(Error::Taken)), "who comes later must not inherit machines");
}

async fn a_scope_holds_its_own_keys(store: &Store) {
    let key = |text: &str, tenant: Option<&str>| OwnedKey { row: key(text), tenant: tenant.map(name) };
    let (mine, theirs, ours) = (key("k1", Some("keys a")), key("k2", Some("keys b")), key("k3", None));
    for one in [&mine, &theirs, &ours] {
        store.insert_owned_key(one).await.unwrap();
        assert_eq!(store.key_by_hash(&one.row.hash).await.unwrap().as_ref(), Some(&one.row));
    }
    assert_eq!(store.keys_within(&of("keys a")).await.unwrap(), std::slice::from_ref(&mine));
    assert_eq!(store.keys_within(&of("keys c")).await.unwrap(), []);
    let all = store.keys_within(&Scope::Everything).await.unwrap();
    assert!([&mine, &theirs, &ours].iter().all(|one| all.contains(one)));
    for other in [&theirs, &ours] {
        assert_eq!(store.revoke_key_within(&of("keys a"), other.row.id, NOW).await.unwrap(), None);
        assert_eq!(store.key_by_hash(&other.row.hash).await.unwrap().unwrap().revoked, None);
    }
    let revoked = store.revoke_key_within(&of("keys a"), mine.row.id, NOW).await.unwrap();
    assert_eq!(revoked, Some(mine.row.hash));
    assert!(store.revoke_key_within(&Scope::Everything, ours.row.id, NOW).await.unwrap().is_some());
    assert!(matches!(store.insert_owned_key(&ours).await, Err(Error::Taken)));
}

async fn a_scope_holds_its_own_join_tokens(store: &Store) {
    let mine = TokenRow { owner: Some(name("tokens a")), ..token("t1", 1) };
    let ours = token("t2", 1);
    for one in [&mine, &ours] {
        store.insert_join_token(one).await.unwrap();
    }
    assert_eq!(store.join_tokens_within(&of("tokens a")).await.unwrap(), std::slice::from_ref(&mine));
    assert!(store.join_tokens_within(&Scope::Everything).await.unwrap().contains(&ours));
    assert!(!store.revoke_join_token_within(&of("tokens a"), ours.id, NOW).await.unwrap());
    assert!(!store.revoke_join_token_within(&of("tokens b"), mine.id, NOW).await.unwrap());
    assert!(store.revoke_join_token_within(&of("tokens a"), mine.id, NOW).await.unwrap());
}

/// Lets machines in for an owner.
async fn enrolled<const N: usize>(store: &Store, owner: &str, names: [&str; N]) -> [AgentRow; N] {
    let pass = TokenRow { owner: Some(name(owner)), ..token(&format!("pass of {owner}"), 100) };
    store.insert_join_token(&pass).await.unwrap();
    let rows = names.map(|text| AgentRow { name: name(text), owner: Some(name(owner)), ..agent() });
    for row in &rows {
        assert_eq!(store.enrol(&pass.hash, row).await.unwrap(), Enrolment::Done);
    }
    rows
}

async fn ids(store: &Store, filter: EntryFilter) -> Vec<AgentId> {
    store.agent_entries(&filter).await.unwrap().iter().map(|entry| entry.row.id).collect()
}

async fn a_scope_holds_its_own_agents(store: &Store) {
    let [mine] = enrolled(store, "agents a", ["m"]).await;
    let [theirs] = enrolled(store, "agents b", ["t"]).await;
    let own = || EntryFilter::within(of("agents a"));
    assert_eq!(ids(store, own()).await, [mine.id]);
    assert_eq!(ids(store, EntryFilter { id: Some(theirs.id), ..own() }).await, []);
    assert_eq!(ids(store, EntryFilter { owner: theirs.owner.clone(), ..own() }).await, []);
    assert_eq!(ids(store, EntryFilter { among: Among::These(vec![theirs.id]), ..own() }).await, []);
    let edit = AgentEdit { name: Some(Some(name("taken over"))), ..AgentEdit::default() };
    assert!(!store.edit_agent(&of("agents a"), theirs.id, &edit).await.unwrap());
    assert!(!store.revoke_agent_within(&of("agents a"), theirs.id, NOW).await.unwrap());
    assert_eq!(store.agent(theirs.id).await.unwrap(), Some(theirs));
    assert!(store.revoke_agent_within(&of("agents a"), mine.id, NOW).await.unwrap());
    assert_eq!(store.agent(mine.id).await.unwrap().unwrap().revoked, Some(NOW));
    assert_eq!(ids(store, EntryFilter { revoked: Some(true), ..own() }).await, [mine.id]);
    assert_eq!(ids(store, EntryFilter { revoked: Some(false), ..own() }).await, []);
}

async fn agents_are_found_by_each_condition(store: &Store) {
    let mut rows = enrolled(store, "many", ["Attic 1", "attic 2", "cellar_3", "50%"]).await.to_vec();
    let all = || EntryFilter::within(of("many"));
    let named = |text: &str| EntryFilter { name: Some(text.into()), ..all() };
    assert_eq!(ids(store, named("ATTIC")).await.len(), 2);
    assert_eq!(ids(store, named("_")).await, [rows[2].id], "no pattern, just text");
    assert_eq!(ids(store, named("%")).await, [rows[3].id]);
    let later = NOW.after(Duration::from_secs(1));
    assert_eq!(ids(store, EntryFilter { enrolled_from: Some(later), ..all() }).await, []);
    assert_eq!(ids(store, EntryFilter { enrolled_before: Some(NOW), ..all() }).await, []);
    assert_eq!(ids(store, EntryFilter { enrolled_from: Some(NOW), ..all() }).await.len(), 4);
    rows.sort_by_key(|row| row.id);
    let sorted: Vec<_> = rows.iter().map(|row| row.id).collect();
    let among = |among| EntryFilter { among, ..all() };
    assert_eq!(ids(store, among(Among::These(vec![sorted[1]]))).await, [sorted[1]]);
    assert_eq!(ids(store, among(Among::Others(vec![sorted[1]]))).await.len(), 3);
    assert_eq!(ids(store, among(Among::Others(vec![]))).await, sorted);
    assert_eq!(ids(store, among(Among::These(vec![]))).await, []);
    let first = ids(store, EntryFilter { limit: 3, ..all() }).await;
    let rest = ids(store, EntryFilter { after: Some(first[2]), ..all() }).await;
    assert_eq!([first, rest].concat(), sorted);
    let everybody = EntryFilter { owner: Some(name("many")), ..EntryFilter::within(Scope::Everything) };
    assert_eq!(ids(store, everybody).await, sorted);
}

async fn an_agent_is_shown_as_it_was_edited(store: &Store) {
    let [row] = enrolled(store, "edited", ["told"]).await;
    let entry = async || {
        let filter = EntryFilter { id: Some(row.id), ..EntryFilter::within(Scope::Everything) };
        store.agent_entries(&filter).await.unwrap().remove(0)
    };
    let plain =
        AgentEntry { row: row.clone(), facts: None, last_seen_unix_ms: None, shown: Shown::default() };
    assert_eq!(entry().await, plain);
    let labels: std::collections::BTreeMap<_, _> = [("room".to_owned(), "\u{e4}\"'".to_owned())].into();
    let edit = AgentEdit {
        name: Some(Some(name("shown"))),
        labels: Some(Some(labels.clone())),
        location: Some(Some("here".into())),
        owner: None,
    };
    assert!(store.edit_agent(&of("edited"), row.id, &edit).await.unwrap());
    let shown = Shown { name: Some(name("shown")), labels: Some(labels), location: Some("here".into()) };
    assert_eq!(entry().await, AgentEntry { shown: shown.clone(), ..plain });
    let back = AgentEdit { labels: Some(None), ..AgentEdit::default() };
    assert!(store.edit_agent(&Scope::Everything, row.id, &back).await.unwrap());
    assert_eq!(entry().await.shown, Shown { labels: None, ..shown });
    let moved = AgentEdit { owner: Some(None), ..AgentEdit::default() };
    assert!(store.edit_agent(&Scope::Everything, row.id, &moved).await.unwrap());
    assert_eq!(entry().await.row.owner, None);
    assert!(!store.edit_agent(&of("edited"), row.id, &back).await.unwrap(), "it is another's by then");
    assert!(!store.edit_agent(&Scope::Everything, AgentId::random().unwrap(), &back).await.unwrap());
}

struct Case {
    mine: OwnedKey,
    theirs: OwnedKey,
    records: [UsageRecord; 4],
}

/// Of two tenants: own key on own machine, own key nowhere, their key on our machine, theirs altogether.
async fn usage_of_two(store: &Store, a: &str, b: &str) -> Case {
    let owned = |tenant: &str| OwnedKey { row: key(tenant), tenant: Some(name(tenant)) };
    let (mine, theirs) = (owned(a), owned(b));
    store.insert_owned_key(&mine).await.unwrap();
    store.insert_owned_key(&theirs).await.unwrap();
    let ([here], [there]) = (enrolled(store, a, ["h"]).await, enrolled(store, b, ["t"]).await);
    let at = |ms, key: &OwnedKey, agent: Option<&AgentRow>| UsageRecord {
        key_id: key.row.id,
        agent_id: agent.map(|agent| agent.id),
        prompt_tokens: Some(2),
        completion_tokens: None,
        bytes: 10,
        ..record(NOW_MS + ms)
    };
    let unserved =
        UsageRecord { outcome: Outcome::Failed, model: None, first_token_ms: None, ..at(2, &mine, None) };
    let records =
        [at(1, &mine, Some(&here)), unserved, at(3, &theirs, Some(&here)), at(4, &theirs, Some(&there))];
    store.insert_usage(&records).await.unwrap();
    Case { mine, theirs, records }
}

async fn a_scope_holds_the_usage_of_its_keys_and_agents(store: &Store) {
    let Case { mine, theirs, records } = usage_of_two(store, "usage a", "usage b").await;
    let filter = UsageFilter { limit: 1000, ..UsageFilter::default() };
    let seen = store.usage_within(&of("usage a"), &filter).await.unwrap();
    let expected = [(2, false), (1, true), (0, true)];
    let expected = expected.map(|(at, key_is_own)| UsageSeen { record: records[at].clone(), key_is_own });
    assert_eq!(seen, expected);
    let of_key = |key: &OwnedKey| UsageFilter { key_id: Some(key.row.id), ..filter.clone() };
    assert_eq!(store.usage_within(&of("usage a"), &of_key(&mine)).await.unwrap().len(), 2);
    let probed = store.usage_within(&of("usage a"), &of_key(&theirs)).await.unwrap();
    assert_eq!(probed, [], "whose request it was must not be guessed by asking");
    let everything = store.usage_within(&Scope::Everything, &of_key(&theirs)).await.unwrap();
    assert_eq!(everything.len(), 2);
    assert!(everything.iter().all(|seen| seen.key_is_own));
    let one = UsageFilter { agent_id: records[2].agent_id, outcome: Some(Outcome::Ok), limit: 1, ..filter };
    assert_eq!(store.usage_within(&of("usage a"), &one).await.unwrap(), expected[..1]);
    assert_eq!(store.usage_within(&of("usage c"), &one).await.unwrap(), []);
}

async fn sums_of_usage_are_those_of_the_records(store: &Store) {
    let Case { mine, theirs, records } = usage_of_two(store, "sums a", "sums b").await;
    let filter = UsageFilter { limit: 1000, ..UsageFilter::default() };
    let sums = async |by| store.usage_sums(&of("sums a"), by, &filter).await.unwrap();
    let by_key = sums(UsageBy::Key).await;
    let own = UsageSum {
        group: UsageGroup::Key(Some(mine.row.id)),
        requests: 2,
        ended: [1, 0, 0, 1],
        prompt_tokens: 4,
        completion_tokens: 0,
        bytes: 20,
        duration_ms: 1800,
        first_tokens: 1,
        first_token_ms: 40,
    };
    assert_eq!((&by_key[0], by_key.len()), (&own, 2));
    assert_eq!((&by_key[1].group, by_key[1].requests), (&UsageGroup::Key(None), 1));
    let groups =
        |sums: Vec<UsageSum>| sums.into_iter().map(|sum| (sum.group, sum.requests)).collect::<Vec<_>>();
    let model = |record: &UsageRecord, requests| (UsageGroup::Model(record.model.clone()), requests);
    assert_eq!(groups(sums(UsageBy::Model).await), [model(&records[0], 2), model(&records[1], 1)]);
    let agent = |record: &UsageRecord, requests| (UsageGroup::Agent(record.agent_id), requests);
    assert_eq!(groups(sums(UsageBy::Agent).await), [agent(&records[0], 2), agent(&records[1], 1)]);
    let day = Day::of_unix_ms(NOW_MS).unwrap();
    assert_eq!(groups(sums(UsageBy::Day).await), [(UsageGroup::Day(day), 3)]);
    let of_theirs = UsageFilter { key_id: Some(theirs.row.id), ..filter.clone() };
    let all = store.usage_sums(&Scope::Everything, UsageBy::Key, &of_theirs).await.unwrap();
    assert_eq!(groups(all), [(UsageGroup::Key(Some(theirs.row.id)), 2)]);
    assert_eq!(store.usage_sums(&of("sums c"), UsageBy::Day, &filter).await.unwrap(), []);
}

async fn a_described_model_is_found_changed_and_removed(store: &Store) {
    let full = KnownModel {
        name: "Lab/Qwen3:8b".parse().unwrap(),
        engines: vec![EngineKind::Vllm, EngineKind::LlamaCpp],
        size_bytes: Some(1 << 40),
        checksum_sha256: Some([7; 32]),
        gpu_memory_bytes: Some(1 << 33),
        description: Some("for tests".into()),
        added: NOW,
        changed: NOW,
    };
    let bare = KnownModel {
        name: "lab/any".parse().unwrap(),
        engines: vec![],
        size_bytes: None,
        checksum_sha256: None,
        gpu_memory_bytes: None,
        description: None,
        ..full.clone()
    };
    for model in [&bare, &full] {
        assert_eq!(store.put_known_model(model).await.unwrap(), NOW);
    }
    let every = CatalogueFilter { is: None, name: Some("lab/".into()), engine: None, after: None, limit: 9 };
    let found = async |filter: CatalogueFilter| store.known_models(&filter).await.unwrap();
    assert_eq!(found(every.clone()).await, [full.clone(), bare.clone()]);
    let of_ollama = CatalogueFilter { engine: Some(EngineKind::Ollama), ..every.clone() };
    assert_eq!(found(of_ollama).await, std::slice::from_ref(&bare));
    let of_vllm = CatalogueFilter { engine: Some(EngineKind::Vllm), limit: 1, ..every.clone() };
    assert_eq!(found(of_vllm.clone()).await, std::slice::from_ref(&full));
    let next = CatalogueFilter { after: Some(full.name.clone()), ..of_vllm };
    assert_eq!(found(next).await, std::slice::from_ref(&bare));
    let changed =
        KnownModel { added: NOW.after(DAY), changed: NOW.after(DAY), size_bytes: None, ..full.clone() };
    assert_eq!(store.put_known_model(&changed).await.unwrap(), NOW);
    let is = CatalogueFilter { is: Some(full.name.clone()), ..every };
    assert_eq!(found(is.clone()).await, [KnownModel { added: NOW, ..changed }]);
    assert!(store.remove_known_model(&full.name).await.unwrap());
    assert!(!store.remove_known_model(&full.name).await.unwrap());
    assert_eq!(found(is).await, []);
}

const DAY: Duration = Duration::from_secs(86_400);
