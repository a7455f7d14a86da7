//! What every cache must do, as one suite over a connected cache and a second handle, as another server has it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use test_services::Redis as Server;
use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::store::{Access, KeyId, Models, UnixSeconds};

/// Nothing is slow here, except machines that do something else at the same time.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Lifetimes = Lifetimes {
    row: Duration::from_millis(60),
    nobody: Duration::from_millis(30),
    tombstone: Duration::from_millis(90),
};

/// Runs the whole suite.
async fn conforms(cache: &Cache, other: &Cache) {
    what_is_put_is_found_by_everyone(cache, other).await;
    a_row_replaces_the_word_that_there_is_none(cache, other).await;
    no_late_put_undoes_a_revocation(cache, other).await;
    a_revocation_wins_whatever_runs_beside_it(cache, other).await;
    a_revoked_row_is_a_tombstone(cache, other).await;
    a_revocation_is_told_to_everyone(cache, other).await;
    what_is_buried_is_refused_and_not_told(cache, other).await;
}

/// Runs it where entries live for a moment only.
async fn conforms_briefly(cache: &Cache) {
    let row = row("brief");
    cache.put(&row.hash, Some(&row)).await;
    until(|| async { cache.get(&row.hash).await == Lookup::Unknown }).await;
    cache.put(&row.hash, None).await;
    until(|| async { cache.get(&row.hash).await == Lookup::Unknown }).await;
    cache.revoke(&row.hash).await;
    until(|| async { cache.get(&row.hash).await == Lookup::Unknown }).await;
    cache.put(&row.hash, Some(&row)).await;
    assert_ne!(cache.get(&row.hash).await, Lookup::Nobody, "a tombstone has an end");
}

#[tokio::test]
async fn memory_conforms() {
    let cache = Cache::Memory(Memory::new(LIFETIMES));
    conforms(&cache, &cache.clone()).await;
    conforms_briefly(&Cache::Memory(Memory::new(SHORT))).await;
}

#[tokio::test]
async fn redis_conforms() {
    let server = Server::start();
    let (one, other, brief) =
        (Open::new(server.url()).await, Open::new(server.url()).await, Open::with(server.url(), SHORT).await);
    conforms(&one.cache, &other.cache).await;
    conforms_briefly(&brief.cache).await;
}

#[test]
fn a_tombstone_outlives_every_row_that_was_read_before_it() {
    // A row counts from when the store said it; an answer of the store may take seconds.
    assert!(TOMBSTONE_TTL >= ROW_TTL + Duration::from_secs(30) && NOBODY_TTL < ROW_TTL);
}

/// A cache in Redis with its courier. It has all the time of the world, so that a busy machine is no failure.
pub(super) struct Open {
    pub(super) cache: Cache,
    courier: JoinHandle<()>,
}

impl Open {
    pub(super) async fn new(url: &str) -> Self {
        Self::with(url, LIFETIMES).await
    }

    async fn with(url: &str, lifetimes: Lifetimes) -> Self {
        let open = Self::unconnected(url, lifetimes, PATIENCE);
        assert!(open.cache.connected(PATIENCE).await);
        open
    }

    pub(super) fn unconnected(url: &str, lifetimes: Lifetimes, deadline: Duration) -> Self {
        let (redis, courier) = Redis::open(&SecretUrl::new(url.into()), lifetimes, deadline).unwrap();
        let courier = Courier(Some(courier)).run(CancellationToken::new());
        Self { cache: Cache::Redis(redis), courier: tokio::spawn(courier) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.courier.abort();
    }
}

/// A key's row that nobody else has.
pub(super) fn row(name: &str) -> KeyRow {
    static ROWS: AtomicU64 = AtomicU64::new(0);
    let hash = KeyHash::of(&ROWS.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    KeyRow {
        id: KeyId::random().unwrap(),
        name: name.parse().unwrap(),
        hash,
        prefix: "gpuf_abcd".into(),
        models: Models::All,
        access: Access::Shared,
        created: UnixSeconds(1_800_000_000),
        expires: None,
        revoked: None,
    }
}

pub(super) async fn until<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it does not come");
}

async fn what_is_put_is_found_by_everyone(cache: &Cache, other: &Cache) {
    let known = row("known");
    assert_eq!(cache.get(&known.hash).await, Lookup::Unknown);
    cache.put(&known.hash, Some(&known)).await;
    let nobody = row("nobody").hash;
    cache.put(&nobody, None).await;
    for handle in [cache, other] {
        assert_eq!(handle.get(&known.hash).await, Lookup::Row(known.clone()));
        assert_eq!(handle.get(&nobody).await, Lookup::Nobody);
    }
    let changed = KeyRow { name: "renamed".parse().unwrap(), ..known };
    other.put(&changed.hash, Some(&changed)).await;
    assert_eq!(cache.get(&changed.hash).await, Lookup::Row(changed));
}

async fn a_row_replaces_the_word_that_there_is_none(cache: &Cache, other: &Cache) {
    let made = row("made a moment later");
    cache.put(&made.hash, None).await;
    other.put(&made.hash, Some(&made)).await;
    assert_eq!(cache.get(&made.hash).await, Lookup::Row(made.clone()));
    cache.put(&made.hash, None).await;
    assert_eq!(other.get(&made.hash).await, Lookup::Row(made));
}

async fn no_late_put_undoes_a_revocation(cache: &Cache, other: &Cache) {
    for known_before in [true, false] {
        let stale = row("stale");
        if known_before {
            other.put(&stale.hash, Some(&stale)).await;
        }
        cache.revoke(&stale.hash).await;
        for late in [Some(&stale), None, Some(&stale)] {
            other.put(&stale.hash, late).await;
            assert_eq!(cache.get(&stale.hash).await, Lookup::Nobody);
            assert_eq!(other.get(&stale.hash).await, Lookup::Nobody);
        }
    }
}

async fn a_revocation_wins_whatever_runs_beside_it(cache: &Cache, other: &Cache) {
    for _ in 0..50 {
        let raced = row("raced");
        let puts = futures_util::future::join_all((0..8).map(|_| other.put(&raced.hash, Some(&raced))));
        tokio::join!(cache.revoke(&raced.hash), puts);
        assert_eq!(cache.get(&raced.hash).await, Lookup::Nobody);
    }
}

async fn a_revoked_row_is_a_tombstone(cache: &Cache, other: &Cache) {
    let stale = row("revoked elsewhere");
    cache.put(&stale.hash, Some(&stale)).await;
    let revoked = KeyRow { revoked: Some(UnixSeconds(1)), ..stale.clone() };
    cache.put(&stale.hash, Some(&revoked)).await;
    until(|| async { other.get(&stale.hash).await == Lookup::Nobody }).await;
    other.put(&stale.hash, Some(&stale)).await;
    assert_eq!(cache.get(&stale.hash).await, Lookup::Nobody);
}

async fn a_revocation_is_told_to_everyone(cache: &Cache, other: &Cache) {
    let (mut here, mut there) = (cache.revocations(), other.revocations());
    let (first, second) = (row("first").hash, row("second").hash);
    is_told(cache, first, &mut there).await;
    is_told(cache, second, &mut here).await;
}

/// Revokes until it is heard: a listener that has just come may still be on its way to Redis.
pub(super) async fn is_told(by: &Cache, hash: KeyHash, to: &mut Revocations) {
    let mut heard = std::pin::pin!(async { while to.next().await != Some(hash) {} });
    let telling = async {
        loop {
            by.revoke(&hash).await;
            if timeout(Duration::from_millis(200), &mut heard).await.is_ok() {
                return;
            }
        }
    };
    timeout(PATIENCE, telling).await.expect("nobody was told");
}

async fn what_is_buried_is_refused_and_not_told(cache: &Cache, other: &Cache) {
    let mut told = other.revocations();
    let (buried, revoked) = (row("buried"), row("revoked"));
    other.put(&buried.hash, Some(&buried)).await;
    cache.bury(&[buried.hash]);
    until(|| async { other.get(&buried.hash).await == Lookup::Nobody }).await;
    cache.revoke(&revoked.hash).await;
    assert_eq!(timeout(PATIENCE, told.next()).await.unwrap(), Some(revoked.hash));
}
