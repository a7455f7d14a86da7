//! F03: a key that is revoked at one server, or by nobody's server, and used at another.

use std::time::{Duration, Instant};

use gpuf_tests::{Gateway, Request, gateway};
use test_services::{Postgres, Redis};

const BOUND: Duration = Duration::from_secs(5);

/// A server on this database and this Redis.
fn server(database: &str, redis: Option<&str>) -> gateway::Builder {
    let builder = Gateway::builder().arg("--database-url").arg(database);
    match redis {
        Some(url) => builder.arg("--redis-url").arg(url),
        None => builder,
    }
}

async fn status(gateway: &Gateway, key: &str) -> u16 {
    gateway.ask(&Request::get("/v1/models").key(key)).await.status()
}

/// The key is in use all the time, as the ones are that are remembered.
async fn is_refused_in_time(gateway: &Gateway, key: &str, revoked: Instant) {
    while status(gateway, key).await != 401 {
        assert!(revoked.elapsed() < BOUND, "it still works after {:?}", revoked.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(revoked.elapsed() < BOUND, "it was refused after {:?}", revoked.elapsed());
}

async fn revoked_at_one_is_refused_at_the_other(redis: Option<&str>) {
    let database = Postgres::shared().database().await;
    let one = server(&database, redis).start().await;
    let other = server(&database, redis).start().await;
    let key = one.make_key(&[]).await;
    assert_eq!([status(&one, &key.key).await, status(&other, &key.key).await], [200, 200]);
    one.revoke(&key).await;
    let revoked = Instant::now();
    assert_eq!(status(&one, &key.key).await, 401, "at once where it was revoked");
    is_refused_in_time(&other, &key.key, revoked).await;
}

#[tokio::test]
async fn f03_a_key_revoked_at_one_server_is_refused_at_the_other_within_five_seconds() {
    revoked_at_one_is_refused_at_the_other(None).await;
}

#[tokio::test]
async fn f03_a_key_revoked_at_one_server_is_refused_at_the_other_that_shares_a_redis() {
    let redis = Redis::start();
    revoked_at_one_is_refused_at_the_other(Some(redis.url())).await;
}

#[tokio::test]
async fn f03_a_key_revoked_while_redis_is_stopped_is_refused_everywhere_and_stays_so() {
    let redis = Redis::start();
    let database = Postgres::shared().database().await;
    let one = server(&database, Some(redis.url())).start().await;
    let other = server(&database, Some(redis.url())).start().await;
    let key = one.make_key(&[]).await;
    assert_eq!([status(&one, &key.key).await, status(&other, &key.key).await], [200, 200]);
    redis.stop();
    one.revoke(&key).await;
    is_refused_in_time(&other, &key.key, Instant::now()).await;
    redis.go_on();
    // The row that Redis still had lets nobody in again, here or at a server that has just come.
    let third = server(&database, Some(redis.url())).start().await;
    is_refused_in_time(&third, &key.key, Instant::now()).await;
    for gateway in [&one, &other, &third] {
        assert_eq!(status(gateway, &key.key).await, 401);
    }
}

#[tokio::test]
async fn f03_a_key_revoked_by_a_command_without_a_server_is_refused_within_five_seconds() {
    let redis = Redis::start();
    let database = Postgres::shared().database().await;
    let serving = server(&database, Some(redis.url())).start().await;
    let key = serving.make_key(&[]).await;
    assert_eq!(status(&serving, &key.key).await, 200);
    let mut idle = server(&database, Some(redis.url())).start().await;
    assert!(idle.terminate().await.success());
    let revoked = Instant::now();
    let shared = ["--database-url", &database, "--redis-url", redis.url()];
    let said = idle.command(&[&shared[..], &["keys", "revoke", &key.id]].concat()).await;
    assert!(said.contains("Revoked"), "{said}");
    is_refused_in_time(&serving, &key.key, revoked).await;
}
