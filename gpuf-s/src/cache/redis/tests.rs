//! A Redis that dies, falls silent, comes back, or forgets everything.

use test_services::Redis as Server;

use super::*;
use crate::cache::{
    Cache, LIFETIMES, OPERATION_DEADLINE,
    conformance::{Open, is_told, row, until},
};

/// As a server has it: with the deadline that it really has.
async fn strict(server: &Server) -> Open {
    let open = Open::unconnected(server.url(), LIFETIMES, OPERATION_DEADLINE);
    until(|| async { open.cache.connected(Duration::from_secs(1)).await }).await;
    open
}

async fn timed(cache: &Cache, hash: &KeyHash) -> (Lookup, Duration) {
    let asked = Instant::now();
    (cache.get(hash).await, asked.elapsed())
}

async fn command(server: &Server, words: &[&str]) -> Value {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn entries_lie_where_others_look_for_them_and_end_by_themselves() {
    let server = Server::start();
    let open = Open::new(server.url()).await;
    let (known, nobody, revoked) = (row("known"), row("nobody"), row("revoked"));
    open.cache.put(&known.hash, Some(&known)).await;
    open.cache.put(&nobody.hash, None).await;
    open.cache.revoke(&revoked.hash).await;
    for (hash, ttl) in [(known.hash, 300_000), (nobody.hash, 30_000), (revoked.hash, 360_000)] {
        let name = format!("gpuf:key:{}", hex(&hash));
        let Value::Int(left) = command(&server, &["PTTL", &name]).await else { panic!("no number") };
        assert!((ttl - 20_000..=ttl).contains(&left), "{left} of {ttl}");
        assert_eq!(from_hex(hex(&hash).as_bytes()), Some(hash));
    }
    for odd in ["", "0", &"g".repeat(64), &"é".repeat(32)] {
        assert_eq!(from_hex(odd.as_bytes()), None);
    }
}

#[tokio::test]
async fn a_stopped_redis_is_soon_left_alone_and_found_again() {
    let server = Server::start();
    let open = strict(&server).await;
    let known = row("known");
    until(|| async {
        open.cache.put(&known.hash, Some(&known)).await;
        open.cache.get(&known.hash).await == Lookup::Row(known.clone())
    })
    .await;
    server.stop();
    let mut waited = Duration::ZERO;
    while !open.cache.health().breaker_open {
        let (found, took) = timed(&open.cache, &known.hash).await;
        assert_eq!(found, Lookup::Unknown);
        waited += took;
        // Five times the deadline; the rest is for a machine that does something else, too.
        assert!(waited < Duration::from_secs(1), "{waited:?}");
    }
    let asked = Instant::now();
    for _ in 0..1000 {
        assert_eq!(open.cache.get(&known.hash).await, Lookup::Unknown);
    }
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?} for 1000", asked.elapsed());
    assert!(open.cache.health().errors >= 5);
    server.go_on();
    until(|| async { open.cache.get(&known.hash).await == Lookup::Row(known.clone()) }).await;
    assert!(!open.cache.health().breaker_open);
}

#[tokio::test]
async fn a_killed_redis_costs_nobody_anything_and_is_found_again() {
    let server = Server::start();
    let open = strict(&server).await;
    let known = row("known");
    server.kill();
    for _ in 0..20 {
        let (found, took) = timed(&open.cache, &known.hash).await;
        assert_eq!(found, Lookup::Unknown);
        assert!(took < Duration::from_secs(1), "{took:?}");
        open.cache.put(&known.hash, Some(&known)).await;
    }
    server.restart();
    until(|| async {
        open.cache.put(&known.hash, Some(&known)).await;
        open.cache.get(&known.hash).await == Lookup::Row(known.clone())
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_at_the_start_is_found_later() {
    let server = Server::start();
    server.kill();
    let open = Open::unconnected(server.url(), LIFETIMES, OPERATION_DEADLINE);
    assert!(!open.cache.connected(Duration::from_millis(20)).await);
    assert_eq!(open.cache.get(&row("any").hash).await, Lookup::Unknown);
    server.restart();
    until(|| open.cache.connected(Duration::from_secs(1))).await;
}

#[tokio::test]
async fn a_flushed_redis_knows_nothing_and_learns_again() {
    let server = Server::start();
    let open = Open::new(server.url()).await;
    let known = row("known");
    open.cache.put(&known.hash, Some(&known)).await;
    command(&server, &["FLUSHALL"]).await;
    assert_eq!(open.cache.get(&known.hash).await, Lookup::Unknown);
    open.cache.put(&known.hash, Some(&known)).await;
    assert_eq!(open.cache.get(&known.hash).await, Lookup::Row(known));
}

#[tokio::test]
async fn a_revocation_while_redis_is_away_is_made_up_for() {
    let server = Server::start();
    let open = strict(&server).await;
    let stale = row("stale");
    until(|| async {
        open.cache.put(&stale.hash, Some(&stale)).await;
        open.cache.get(&stale.hash).await == Lookup::Row(stale.clone())
    })
    .await;
    server.stop();
    let asked = Instant::now();
    open.cache.revoke(&stale.hash).await;
    assert!(asked.elapsed() < Duration::from_secs(1), "whoever revokes waits for Redis");
    server.go_on();
    let other = Open::new(server.url()).await;
    until(|| async { other.cache.get(&stale.hash).await == Lookup::Nobody }).await;
    let Cache::Redis(redis) = &open.cache else { unreachable!() };
    until(|| async { redis.0.pending().is_empty() }).await;
}

#[tokio::test]
async fn a_connection_is_used_only_after_the_tombstones_that_waited_for_it() {
    let server = Server::start();
    let stale = row("stale");
    Open::new(server.url()).await.cache.put(&stale.hash, Some(&stale)).await;
    let url = SecretUrl::new(server.url().to_owned());
    let (redis, courier) = Redis::open(&url, LIFETIMES, Duration::from_secs(20)).unwrap();
    redis.revoke(&stale.hash).await;
    assert_eq!(redis.0.pending().len(), 1);
    let courier = tokio::spawn(courier.run());
    assert!(redis.connected(Duration::from_secs(20)).await);
    assert_eq!(redis.get(&stale.hash).await, Lookup::Nobody);
    courier.abort();
}

#[tokio::test]
async fn a_tombstone_waits_no_longer_than_a_row_lives_and_never_without_bound() {
    let brief = Lifetimes { tombstone: Duration::from_millis(1), ..LIFETIMES };
    let url = SecretUrl::new("redis://127.0.0.1:1".into());
    for (lifetimes, left) in [(brief, 0), (LIFETIMES, PENDING_MAX)] {
        let (redis, _courier) = Redis::open(&url, lifetimes, OPERATION_DEADLINE).unwrap();
        let hashes: Vec<_> = (0..=PENDING_MAX).map(|at| KeyHash::of(&at.to_be_bytes())).collect();
        redis.bury(&hashes);
        std::thread::sleep(brief.tombstone);
        assert_eq!(redis.0.due(usize::MAX).len(), left);
    }
}

#[tokio::test]
async fn a_listener_listens_again_after_redis_was_away() {
    let server = Server::start();
    let (one, other) = (Open::new(server.url()).await, Open::new(server.url()).await);
    let mut told = other.cache.revocations();
    is_told(&one.cache, row("before").hash, &mut told).await;
    server.restart();
    is_told(&one.cache, row("after").hash, &mut told).await;
}

#[tokio::test]
async fn a_full_redis_still_loses_the_row_of_a_revoked_key() {
    let server = Server::start();
    let open = Open::new(server.url()).await;
    let stale = row("stale");
    open.cache.put(&stale.hash, Some(&stale)).await;
    command(&server, &["CONFIG", "SET", "maxmemory", "1"]).await;
    open.cache.revoke(&stale.hash).await;
    assert_eq!(open.cache.get(&stale.hash).await, Lookup::Unknown);
    command(&server, &["CONFIG", "SET", "maxmemory", "0"]).await;
    until(|| async { open.cache.get(&stale.hash).await == Lookup::Nobody }).await;
}

#[test]
fn a_url_that_names_no_redis_is_refused_without_its_password() {
    let url = SecretUrl::new("redis://:hunter2@host:notaport/".into());
    let error = Redis::open(&url, LIFETIMES, OPERATION_DEADLINE).err().unwrap().to_string();
    assert!(error.contains("--redis-url") && !error.contains("hunter2"), "{error}");
}
