//! F26: Redis is killed, stopped or black-holed under traffic, and callers notice nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gpuf_tests::{FaultProxy, Gateway, Kind, MODEL, Request, Scene, engine, eventually};
use test_services::Redis;

/// An operation on Redis may take 50 ms; the rest is for a machine that does something else, too.
const ANSWER_BOUND: Duration = Duration::from_secs(2);
/// Callers who come for the first time while Redis is away.
const STRANGERS: usize = 20;

async fn scene(redis: SocketAddr) -> Scene {
    let gateway = Gateway::builder().arg("--redis-url").arg(format!("redis://{redis}/"));
    Scene::with(gateway, engine(Kind::LlamaCpp).await).await
}

fn address(redis: &Redis) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], redis.port()))
}

/// The value of a line of the metrics.
async fn metric(gateway: &Gateway, line: &str) -> u64 {
    let page = gateway.manage("GET", "/metrics", None).await.text();
    let value = page.lines().find_map(|one| one.strip_prefix(line)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {line} in\n{page}"))
}

async fn redis_is_left_alone(gateway: &Gateway, whether: bool) {
    let wanted = u64::from(whether);
    eventually("the breaker", async || {
        (metric(gateway, "gpuf_redis_breaker_open").await == wanted).then_some(())
    })
    .await;
}

async fn key(gateway: &Gateway) -> String {
    gateway.post_key("caller").await.json()["key"].as_str().expect("a key").to_owned()
}

async fn is_served(scene: &Scene, key: &str) {
    let asked = Instant::now();
    let answer = scene.ask(&Request::chat(key, MODEL, false)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(asked.elapsed() < ANSWER_BOUND, "{:?}", asked.elapsed());
}

/// Redis answers for a key that this server has not seen yet.
async fn redis_is_used(scene: &Scene) {
    let by_redis = "gpuf_key_lookups_total{answered_by=\"redis\",result=\"valid\"}";
    eventually("an answer from Redis", async || {
        let before = metric(&scene.gateway, by_redis).await;
        is_served(scene, &key(&scene.gateway).await).await;
        (metric(&scene.gateway, by_redis).await > before).then_some(())
    })
    .await;
}

/// Serves those who are known, those who come for the first time, and those who are nobody, until Redis has
/// been given up, and beyond.
async fn nobody_notices(scene: &Scene, strangers: &[String]) {
    let gateway = &scene.gateway;
    for stranger in strangers {
        is_served(scene, &scene.key).await;
        is_served(scene, stranger).await;
    }
    let made_meanwhile = key(gateway).await;
    is_served(scene, &made_meanwhile).await;
    redis_is_left_alone(gateway, true).await;
    is_served(scene, &made_meanwhile).await;
    is_served(scene, &key(gateway).await).await;
    assert_eq!(scene.ask(&Request::chat("gpuf_nonsense", MODEL, false)).await.status(), 401);
}

async fn strangers(gateway: &Gateway) -> Vec<String> {
    let mut keys = Vec::new();
    for _ in 0..STRANGERS {
        keys.push(key(gateway).await);
    }
    keys
}

#[tokio::test]
async fn f26_nobody_notices_that_redis_is_killed() {
    let redis = Redis::start();
    let scene = scene(address(&redis)).await;
    redis_is_used(&scene).await;
    let strangers = strangers(&scene.gateway).await;
    redis.kill();
    nobody_notices(&scene, &strangers).await;
    redis.restart();
    redis_is_left_alone(&scene.gateway, false).await;
    redis_is_used(&scene).await;
}

#[tokio::test]
async fn f26_nobody_notices_that_redis_is_stopped() {
    let redis = Redis::start();
    let scene = scene(address(&redis)).await;
    redis_is_used(&scene).await;
    let strangers = strangers(&scene.gateway).await;
    redis.stop();
    nobody_notices(&scene, &strangers).await;
    redis.go_on();
    redis_is_left_alone(&scene.gateway, false).await;
    redis_is_used(&scene).await;
}

#[tokio::test]
async fn f26_nobody_notices_that_redis_is_black_holed() {
    let redis = Redis::start();
    let proxy = FaultProxy::to(address(&redis)).start().await;
    let scene = scene(proxy.addr()).await;
    redis_is_used(&scene).await;
    let strangers = strangers(&scene.gateway).await;
    proxy.stall();
    nobody_notices(&scene, &strangers).await;
    proxy.flow();
    redis_is_left_alone(&scene.gateway, false).await;
    redis_is_used(&scene).await;
}

#[tokio::test]
async fn f26_a_server_starts_without_its_redis_and_finds_it_later() {
    let redis = Redis::start();
    redis.kill();
    let scene = scene(address(&redis)).await;
    scene.assert_serves().await;
    redis.restart();
    redis_is_used(&scene).await;
}
