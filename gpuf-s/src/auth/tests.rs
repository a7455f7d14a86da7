//! Callers: known, unknown, revoked, and while the store is away.

mod cached;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    cache::Lookup,
    data_dir::DataDir,
    secret::SecretUrl,
    store::{Name, UnixSeconds},
};

struct Bench {
    store: Store,
    authenticator: Authenticator,
    keeper: tokio::task::JoinHandle<()>,
    closing: CancellationToken,
    began: Instant,
    folder: tempfile::TempDir,
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// A cache that nobody can ask.
fn nowhere() -> Cache {
    Cache::open(Some(&SecretUrl::new("redis://127.0.0.1:1".into()))).unwrap().0
}

impl Bench {
    async fn new() -> Self {
        Self::with(None, nowhere()).await
    }

    async fn with(key: Option<StaticKey>, cache: Cache) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::embedded(&DataDir::open(folder.path()).unwrap()).await.unwrap();
        let began = Instant::now();
        let (authenticator, keeper) = Authenticator::new(store.clone(), cache, key, began);
        let closing = CancellationToken::new();
        let keeper = tokio::spawn(keeper.run(closing.clone()));
        Self { store, authenticator, keeper, closing, began, folder }
    }

    async fn key(&self, expires: Option<UnixSeconds>) -> (KeyRow, ApiKey) {
        let order = key::KeyOrder {
            name: "friend".parse::<Name>().unwrap(),
            models: Models::All,
            access: Access::Shared,
            expires,
        };
        key::issue(&self.store, order, UnixSeconds::now()).await.unwrap()
    }

    /// At `age` after the start, by the caller's clock; the keeper's clock is the real one.
    fn at(&self, age: Duration) -> Instant {
        self.began + age
    }

    fn lookup(&self, key: &ApiKey, now: Instant) -> Option<Result<Arc<Principal>, Error>> {
        self.authenticator.lookup(Some(key.expose().as_bytes()), HERE, now)
    }

    async fn ask(&self, key: &ApiKey, now: Instant) -> Result<Arc<Principal>, Error> {
        self.authenticator.authenticate(Some(key.expose().as_bytes()), HERE, now).await
    }

    /// Takes the database away under the running server.
    async fn lose_the_store(&self) {
        self.store.close().await;
    }
}

#[tokio::test]
async fn a_key_is_known_after_it_was_asked_for_once() {
    let bench = Bench::new().await;
    let (row, key) = bench.key(None).await;
    assert_eq!(bench.lookup(&key, bench.began), None);
    let principal = bench.ask(&key, bench.began).await.unwrap();
    assert_eq!(principal.key_id, row.id);
    assert_eq!(bench.lookup(&key, bench.began), Some(Ok(principal)));
}

#[tokio::test]
async fn every_key_that_does_not_work_gets_the_same_answer() {
    let bench = Bench::new().await;
    let (revoked_row, revoked) = bench.key(None).await;
    bench.store.revoke_key(revoked_row.id, UnixSeconds::now()).await.unwrap();
    let (_, expired) = bench.key(Some(UnixSeconds::now())).await;
    let unknown = ApiKey::random().unwrap();
    for key in [&revoked, &expired, &unknown] {
        assert_eq!(bench.ask(key, bench.began).await, Err(Error::Invalid), "from the store");
        assert_eq!(bench.lookup(key, bench.began), Some(Err(Error::Invalid)), "from memory");
    }
    let malformed = bench.authenticator.lookup(Some(b"gpuf_nonsense"), HERE, bench.began);
    assert_eq!(malformed, Some(Err(Error::Invalid)));
    assert_eq!(bench.authenticator.lookup(None, HERE, bench.began), Some(Err(Error::Missing)));
}

#[tokio::test]
async fn a_malformed_key_is_answered_without_the_store() {
    let bench = Bench::new().await;
    bench.lose_the_store().await;
    let answer = bench.authenticator.authenticate(Some(b"gpuf_nonsense"), HERE, bench.began).await;
    assert_eq!(answer, Err(Error::Invalid));
}

#[tokio::test]
async fn a_revocation_here_is_seen_by_the_next_request() {
    let bench = Bench::new().await;
    let (row, key) = bench.key(None).await;
    bench.ask(&key, bench.began).await.unwrap();
    let hash = bench.store.revoke_key(row.id, UnixSeconds::now()).await.unwrap().unwrap();
    bench.authenticator.revoke(&hash);
    assert_eq!(bench.ask(&key, bench.began).await, Err(Error::Invalid));
}

#[tokio::test]
async fn a_revocation_elsewhere_is_seen_within_five_seconds() {
    let bench = Bench::new().await;
    let (row, key) = bench.key(None).await;
    bench.ask(&key, bench.began).await.unwrap();
    bench.store.revoke_key(row.id, UnixSeconds::now()).await.unwrap();
    assert!(bench.lookup(&key, bench.at(Duration::from_millis(2000))).unwrap().is_ok());
    assert_eq!(bench.ask(&key, bench.at(Duration::from_millis(7000))).await, Err(Error::Invalid));
}

#[tokio::test]
async fn a_key_in_use_is_asked_for_again_before_it_is_old() {
    let bench = Bench::new().await;
    let (row, key) = bench.key(None).await;
    bench.ask(&key, bench.began).await.unwrap();
    bench.store.revoke_key(row.id, UnixSeconds::now()).await.unwrap();
    let ageing = bench.at(Duration::from_millis(4000));
    assert!(bench.lookup(&key, ageing).unwrap().is_ok());
    let refused = async {
        while bench.lookup(&key, bench.began).is_some_and(|answer| answer.is_ok()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(10), refused).await.expect("nobody asked the store");
}

#[tokio::test]
async fn a_key_that_expires_is_refused_from_that_moment() {
    let bench = Bench::new().await;
    let (_, key) = bench.key(Some(UnixSeconds::now().after(Duration::from_secs(3)))).await;
    bench.ask(&key, bench.began).await.unwrap();
    assert_eq!(bench.lookup(&key, bench.at(Duration::from_millis(4900))), Some(Err(Error::Invalid)));
}

#[tokio::test]
async fn without_the_store_known_keys_work_for_an_hour_and_strangers_wait() {
    let bench = Bench::new().await;
    let (_, known) = bench.key(None).await;
    let (_, stranger) = bench.key(None).await;
    bench.ask(&known, bench.began).await.unwrap();
    bench.lose_the_store().await;
    assert_eq!(bench.ask(&stranger, bench.began).await, Err(Error::Unavailable));
    assert_eq!(bench.ask(&ApiKey::random().unwrap(), bench.began).await, Err(Error::Unavailable));
    assert!(bench.ask(&known, bench.at(Duration::from_secs(6))).await.is_ok());
    assert!(bench.ask(&known, bench.at(Duration::from_secs(3599))).await.is_ok());
    assert_eq!(bench.ask(&known, bench.at(Duration::from_secs(3601))).await, Err(Error::Unavailable));
}

#[tokio::test]
async fn known_keys_do_not_wait_for_a_store_that_is_away_until_it_is_back() {
    let bench = Bench::new().await;
    let (_, known) = bench.key(None).await;
    bench.ask(&known, bench.began).await.unwrap();
    let hash = key::parse(known.expose().as_bytes()).unwrap();
    let (away, later) = (bench.at(Duration::from_secs(60)), bench.at(Duration::from_secs(69)));
    assert_eq!(bench.lookup(&known, away), None, "old, and nobody knows that the store is away");
    let cache = &bench.authenticator.0.recent;
    cache.store_is_away(&hash, away).unwrap();
    assert!(matches!(cache.find(&hash, later), Found::Ageing(_)), "one request asks behind its back");
    assert!(matches!(cache.find(&hash, later), Found::Fresh(_)), "the next one does not");
    assert!(
        matches!(cache.find(&hash, later + Duration::from_secs(2)), Found::Old),
        "ten seconds without a sign"
    );
    cache.store_is_away(&hash, away).unwrap();
    let other = KeyHash::of(b"another key");
    cache.learn(other, None, cache.epoch(), away, UnixSeconds::now());
    assert!(matches!(cache.find(&hash, later), Found::Old), "the store is back");
}

#[tokio::test]
async fn a_revocation_wins_over_an_answer_that_was_read_before_it() {
    let bench = Bench::new().await;
    let (row, known) = bench.key(None).await;
    let cache = &bench.authenticator.0.recent;
    let epoch = cache.epoch();
    bench.authenticator.forget(&row.hash);
    assert!(cache.learn(row.hash, Some(row), epoch, bench.began, UnixSeconds::now()).is_some());
    assert_eq!(bench.lookup(&known, bench.began), None);
}

#[tokio::test]
async fn many_requests_with_one_key_ask_the_store_once() {
    let bench = Bench::new().await;
    let (_, key) = bench.key(None).await;
    let key = Arc::new(key);
    let asks = (0..64).map(|_| {
        let (authenticator, key, now) = (bench.authenticator.clone(), key.clone(), bench.began);
        tokio::spawn(
            async move { authenticator.authenticate(Some(key.expose().as_bytes()), HERE, now).await },
        )
    });
    let mut principals = Vec::new();
    for ask in asks.collect::<Vec<_>>() {
        principals.push(ask.await.unwrap().unwrap());
    }
    assert!(principals.iter().all(|one| Arc::ptr_eq(one, &principals[0])), "each ask made its own principal");
}

#[tokio::test]
async fn guessing_is_slowed_and_good_keys_of_the_same_address_are_not() {
    let bench = Bench::new().await;
    let (_, known) = bench.key(None).await;
    bench.ask(&known, bench.began).await.unwrap();
    for _ in 0..20 {
        assert_eq!(bench.ask(&ApiKey::random().unwrap(), bench.began).await, Err(Error::Invalid));
    }
    let limited = bench.ask(&ApiKey::random().unwrap(), bench.began).await;
    assert_eq!(limited, Err(Error::Limited { retry_after: Duration::from_secs(1) }));
    let malformed = bench.authenticator.lookup(Some(b"x"), HERE, bench.began);
    assert!(matches!(malformed, Some(Err(Error::Limited { .. }))));
    assert!(bench.ask(&known, bench.began).await.is_ok());
    assert!(bench.ask(&known, bench.at(Duration::from_secs(8))).await.is_ok(), "known, but old");
}

#[tokio::test]
async fn a_flood_of_guesses_does_not_stand_before_a_known_key() {
    let bench = Bench::new().await;
    let (row, known) = bench.key(None).await;
    let (authenticator, keeper) = Authenticator::new(bench.store.clone(), nowhere(), None, bench.began);
    let cache = &authenticator.0.recent;
    let before = cache.learn(row.hash, Some(row), cache.epoch(), bench.began, UnixSeconds::now()).unwrap();
    let guess =
        |number: usize| Question { hash: KeyHash::of(&number.to_be_bytes()), now: bench.began, answer: None };
    let strangers = &authenticator.0.strangers;
    for number in 0..QUESTIONS_MAX {
        strangers.try_send(guess(number)).unwrap_or_else(|_| panic!("room for {number} only"));
    }
    assert!(strangers.try_send(guess(QUESTIONS_MAX)).is_err(), "the queue has no bound");
    let later = bench.at(Duration::from_secs(20));
    let mut keeping = std::pin::pin!(keeper.run(CancellationToken::new()));
    let answer = tokio::select! {
        answer = authenticator.authenticate(Some(known.expose().as_bytes()), HERE, later) => answer,
        () = &mut keeping => unreachable!(),
    };
    assert!(!Arc::ptr_eq(&before, &answer.unwrap()), "the store was not asked");
    assert!(strangers.capacity() < QUESTIONS_MAX / 2, "the flood was answered first");
}

#[tokio::test]
async fn a_key_that_turns_out_good_was_no_failure() {
    let bench = Bench::new().await;
    for _ in 0..30 {
        let (_, key) = bench.key(None).await;
        bench.ask(&key, bench.began).await.unwrap();
    }
    assert_eq!(bench.authenticator.failures(), 0);
}

#[tokio::test]
async fn the_static_key_works_without_the_store() {
    let bench = Bench::with(Some(StaticKey::new("3f9a1c77e0b24d5a9c").unwrap()), nowhere()).await;
    bench.lose_the_store().await;
    let answer = bench.authenticator.lookup(Some(b"3f9a1c77e0b24d5a9c"), HERE, bench.began);
    assert_eq!(answer.unwrap().unwrap().key_id, KeyId::STATIC);
    let wrong = bench.authenticator.lookup(Some(b"3f9a1c77e0b24d5a9d"), HERE, bench.began);
    assert_eq!(wrong, Some(Err(Error::Invalid)));
}

#[tokio::test]
async fn whoever_waits_when_the_server_ends_is_answered() {
    let bench = Bench::new().await;
    let (_, key) = bench.key(None).await;
    bench.closing.cancel();
    bench.keeper.await.unwrap();
    let credential = Some(key.expose().as_bytes());
    let answer = bench.authenticator.authenticate(credential, HERE, bench.began).await;
    assert_eq!(answer, Err(Error::Unavailable));
    drop(bench.folder);
}
