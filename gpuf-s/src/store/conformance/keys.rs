//! Keys of callers: told apart, found, revoked.

use super::*;

pub(super) async fn conform(store: &Store) {
    a_key_reads_back_as_it_was_written(store).await;
    a_key_is_revoked_once_and_its_hash_told(store).await;
    an_id_or_hash_is_given_once(store).await;
    names_are_told_apart_by_their_bytes(store).await;
    a_text_that_would_not_read_back_is_refused(store).await;
    rows_of_one_second_have_one_order(store).await;
    revocations_are_found_by_their_time(store).await;
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
