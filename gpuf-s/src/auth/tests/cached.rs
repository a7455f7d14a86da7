//! Callers, with a cache between the memory and the store.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn memory() -> Cache {
    Cache::open(None).unwrap().0
}

impl Bench {
    fn recent(&self) -> &Recent {
        &self.authenticator.0.recent
    }

    fn cache(&self) -> &Cache {
        &self.authenticator.0.cache
    }

    /// As if the store had told all revocations by then.
    fn told_all(&self, at: Duration) {
        self.recent().told_all(self.at(at));
    }

    fn counted(&self) -> Vec<(AnsweredBy, Verdict, u64)> {
        self.authenticator.lookups().filter(|(.., count)| *count > 0).collect()
    }

    /// A store that is gone, and a key that the cache has a row of.
    async fn only_cached() -> (Self, KeyRow, ApiKey) {
        let bench = Self::with(None, memory()).await;
        let (row, key) = bench.key(None).await;
        bench.cache().put(&row.hash, Some(&row)).await;
        bench.lose_the_store().await;
        (bench, row, key)
    }
}

#[tokio::test]
async fn the_cache_answers_while_revocations_are_told() {
    let (bench, row, key) = Bench::only_cached().await;
    let nobody = ApiKey::random().unwrap();
    bench.cache().put(&nobody.hash(), None).await;
    bench.told_all(Duration::ZERO);
    assert_eq!(bench.ask(&key, bench.began).await.unwrap().key_id, row.id);
    assert_eq!(bench.ask(&nobody, bench.began).await, Err(Error::Invalid));
    assert!(bench.lookup(&key, bench.began).unwrap().is_ok());
    assert_eq!(
        bench.counted(),
        [(AnsweredBy::Memory, Verdict::Valid, 2), (AnsweredBy::Memory, Verdict::Invalid, 1)]
    );
}

#[tokio::test]
async fn the_store_is_asked_and_not_the_cache_where_revocations_are_not_told() {
    let bench = Bench::with(None, memory()).await;
    let (row, key) = bench.key(None).await;
    bench.cache().put(&row.hash, Some(&row)).await;
    bench.store.revoke_key(row.id, UnixSeconds::now()).await.unwrap();
    bench.told_all(Duration::ZERO);
    assert_eq!(bench.ask(&key, bench.at(5 * SECOND)).await, Err(Error::Invalid), "told too long ago");
    assert_eq!(bench.counted(), [(AnsweredBy::Store, Verdict::Invalid, 1)]);
}

#[tokio::test]
async fn what_the_store_says_is_kept_in_the_cache() {
    let bench = Bench::with(None, memory()).await;
    let (row, key) = bench.key(None).await;
    let stranger = ApiKey::random().unwrap();
    bench.ask(&key, bench.began).await.unwrap();
    bench.ask(&stranger, bench.began).await.unwrap_err();
    let kept = async {
        while bench.cache().get(&row.hash).await != Lookup::Row(row.clone())
            || bench.cache().get(&stranger.hash()).await != Lookup::Nobody
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(10 * SECOND, kept).await.expect("nobody put it there");
}

#[tokio::test]
async fn while_the_store_is_away_the_cache_lets_in_whom_it_knows_and_nobody_else() {
    let (bench, row, key) = Bench::only_cached().await;
    let (refused, stranger) = (ApiKey::random().unwrap(), ApiKey::random().unwrap());
    bench.cache().put(&refused.hash(), None).await;
    assert_eq!(bench.ask(&key, bench.began).await.unwrap().key_id, row.id);
    assert_eq!(bench.ask(&refused, bench.began).await, Err(Error::Invalid));
    assert_eq!(bench.ask(&stranger, bench.began).await, Err(Error::Unavailable));
    assert!(bench.ask(&key, bench.at(3200 * SECOND)).await.is_ok());
    let long_after = bench.at(4000 * SECOND);
    bench.cache().revoke(&row.hash).await;
    assert_eq!(
        bench.ask(&key, long_after).await,
        Err(Error::Invalid),
        "known for an hour, then as the cache says"
    );
}

#[tokio::test]
async fn a_revocation_that_was_heard_of_wins_over_a_cached_row() {
    let (bench, row, key) = Bench::only_cached().await;
    bench.told_all(Duration::ZERO);
    bench.authenticator.revoke(&row.hash);
    assert_eq!(bench.ask(&key, bench.began).await, Err(Error::Invalid));
}

#[tokio::test]
async fn a_known_key_stays_fresh_as_long_as_revocations_are_told() {
    let bench = Bench::with(None, memory()).await;
    let (row, key) = bench.key(None).await;
    bench.ask(&key, bench.began).await.unwrap();
    let found = |at: Duration| bench.recent().find(&row.hash, bench.at(at));
    for at in (2..238).step_by(2).map(Duration::from_secs) {
        bench.told_all(at);
        assert!(matches!(found(at + 2 * SECOND), Found::Fresh(_)), "{at:?}");
    }
    bench.told_all(239 * SECOND);
    assert!(matches!(found(240 * SECOND), Found::Ageing(_)), "the row is read again before it is old");
    assert!(matches!(found(244 * SECOND), Found::Old), "five seconds after the last word");
    bench.told_all(300 * SECOND);
    assert!(matches!(found(300 * SECOND), Found::Old), "a row lives for five minutes");
}

#[tokio::test]
async fn a_cached_row_is_as_fresh_as_the_last_word_of_revocations() {
    let (bench, row, key) = Bench::only_cached().await;
    bench.told_all(Duration::ZERO);
    bench.ask(&key, bench.at(4 * SECOND)).await.unwrap();
    assert!(matches!(
        bench.recent().find(&row.hash, bench.at(Duration::from_millis(4900))),
        Found::Fresh(_) | Found::Ageing(_)
    ));
    assert!(matches!(bench.recent().find(&row.hash, bench.at(5 * SECOND)), Found::Old));
}

#[tokio::test]
async fn a_cached_key_expires_at_its_moment() {
    let bench = Bench::with(None, memory()).await;
    let (row, key) = bench.key(Some(UnixSeconds::now().after(3 * SECOND))).await;
    bench.cache().put(&row.hash, Some(&row)).await;
    bench.told_all(Duration::ZERO);
    bench.ask(&key, bench.began).await.unwrap();
    bench.told_all(3 * SECOND);
    assert_eq!(bench.lookup(&key, bench.at(4 * SECOND)), Some(Err(Error::Invalid)));
    let (row, key) = bench.key(Some(UnixSeconds::now())).await;
    bench.cache().put(&row.hash, Some(&row)).await;
    assert_eq!(bench.ask(&key, bench.at(4 * SECOND)).await, Err(Error::Invalid), "expired in the cache");
}

#[tokio::test]
async fn a_revocation_by_other_hands_is_heard_within_five_seconds_without_a_message() {
    let bench = Bench::with(None, memory()).await;
    let closing = CancellationToken::new();
    let watch =
        tokio::spawn(Watch::new(bench.store.clone(), bench.authenticator.clone()).run(closing.clone()));
    let (row, key) = bench.key(None).await;
    bench.ask(&key, Instant::now()).await.unwrap();
    bench.store.revoke_key(row.id, UnixSeconds::now()).await.unwrap();
    let revoked = Instant::now();
    while bench.ask(&key, Instant::now()).await.is_ok() {
        assert!(revoked.elapsed() < 5 * SECOND, "it still works");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(bench.recent().is_revoked(&row.hash), "the store was asked for the key, not for revocations");
    assert_eq!(bench.cache().get(&row.hash).await, Lookup::Nobody, "the cache has a tombstone");
    closing.cancel();
    watch.await.unwrap();
}

#[tokio::test]
async fn a_message_of_a_revocation_is_acted_upon() {
    let (bench, row, key) = Bench::only_cached().await;
    bench.told_all(Duration::ZERO);
    bench.ask(&key, bench.began).await.unwrap();
    let closing = CancellationToken::new();
    let watch = Watch::new(bench.store.clone(), bench.authenticator.clone()).run(closing.clone());
    let told = async {
        // The watch listens once it has run.
        while !bench.recent().is_revoked(&row.hash) {
            bench.cache().revoke(&row.hash).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        closing.cancel();
    };
    timeout(10 * SECOND, async { tokio::join!(watch, told) }).await.expect("nobody listened");
    assert_eq!(bench.ask(&key, bench.began).await, Err(Error::Invalid));
}
