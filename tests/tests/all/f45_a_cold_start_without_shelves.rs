//! F45: the server starts while PostgreSQL, Redis and Kafka are away.

use gpuf_tests::{Gateway, Kind, MODEL, Request, engine, eventually};
use test_services::{Kafka, Postgres, Redis};

const STATIC_KEY: &str = "5f0c3a9e7d1b48f6a2";

#[tokio::test]
async fn f45_it_serves_with_its_static_key_and_takes_up_each_shelf_as_it_comes() {
    let (postgres, redis, kafka) = (Postgres::private(), Redis::start(), Kafka::private());
    let url = postgres.database().await;
    let builder = || {
        let shelves = Gateway::builder().database(&url).redis(redis.url()).kafka(kafka.bootstrap());
        shelves.env("API_KEY", STATIC_KEY)
    };
    let mut first = builder().start().await;
    let engine = engine(Kind::LlamaCpp).await;
    let _agent = first.build_agent().engine(&engine).start().await;
    let key = first.key().await;
    first.terminate().await;
    postgres.kill();
    redis.kill();
    kafka.kill();

    let second = builder().in_place_of(&first).start().await;
    let chat = |key: &str| Request::chat(key, MODEL, false);
    eventually("an answer", async || (second.ask(&chat(STATIC_KEY)).await.status() == 200).then_some(()))
        .await;
    let unknown = second.ask(&chat(&key)).await;
    assert_eq!(unknown.status(), 503, "what cannot be checked is neither let in nor turned away");
    let ready = second.manage("GET", "/api/ready", None).await;
    assert_eq!(ready.status(), 503);
    assert!(ready.text().contains("the database was not reached"), "{}", ready.text());

    postgres.restart();
    eventually("the key", async || (second.ask(&chat(&key)).await.status() == 200).then_some(())).await;
    assert_eq!(second.manage("GET", "/api/ready", None).await.status(), 200);
    redis.restart();
    kafka.restart();
    let asked = second.ask(&chat(&key)).await;
    assert_eq!(asked.status(), 200);
    let ok = async || {
        (second.usage().await.iter().filter(|usage| usage.outcome == "ok").count() >= 3).then_some(())
    };
    eventually("the usage of all that was answered", ok).await;
}
