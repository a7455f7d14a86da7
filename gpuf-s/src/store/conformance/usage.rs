//! Records of usage: each once, found by each condition.

use super::*;

pub(super) async fn conform(store: &Store) {
    usage_reads_back_as_it_was_written(store).await;
    usage_counts_once_however_often_it_is_sent(store).await;
    usage_of_any_batch_size_is_stored_whole(store).await;
    usage_is_found_by_each_condition(store).await;
    usage_pages_meet_without_gap_or_overlap(store).await;
    usage_sent_many_times_at_once_counts_once(store).await;
    usage_keeps_the_ends_of_every_range(store).await;
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
