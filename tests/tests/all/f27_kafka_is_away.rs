//! F27 to F29: Kafka, its consumers and PostgreSQL are killed under load, and nothing is lost or doubled.

use std::collections::BTreeSet;
use std::time::Duration;

use gpuf_tests::gateway::Usage;
use gpuf_tests::heartbeats::{HeartbeatLedger, Herd, stored};
use gpuf_tests::{Consumer, Gateway, Kind, Scene, engine, eventually};
use test_services::{Kafka, Postgres, psql};

const AGENTS: usize = 20;
const BEAT_EVERY: Duration = Duration::from_millis(50);

/// The whole stack, each part of its own, with a herd of agents that keeps a ledger.
struct Ground {
    kafka: Kafka,
    postgres: Postgres,
    url: String,
    scene: Scene,
    herd: Herd,
    answered: usize,
    folder: tempfile::TempDir,
}

impl Ground {
    async fn new() -> Self {
        let (kafka, postgres) = (Kafka::private(), Postgres::private());
        let url = postgres.database().await;
        let gateway =
            Gateway::builder().database(&url).kafka(kafka.bootstrap()).arg("--consumer").arg("false");
        let scene = Scene::with(gateway, engine(Kind::LlamaCpp).await).await;
        let folder = tempfile::tempdir().unwrap();
        let ledger = HeartbeatLedger::open(&folder.path().join("ledger"));
        let herd = Herd::start(&scene.gateway, AGENTS, ledger).await;
        Self { kafka, postgres, url, scene, herd, answered: 0, folder }
    }

    fn consumer(&self) -> gpuf_tests::consumer::Builder {
        Consumer::builder(&self.url, self.kafka.bootstrap())
    }

    /// Heartbeats of all agents and a request, so many times.
    async fn load(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.herd.beat().await;
            self.scene.assert_serves().await;
            self.answered += 1;
            tokio::time::sleep(BEAT_EVERY).await;
        }
    }

    /// Waits until the set that was sent is the set that is stored, and the figures per day are its sums.
    async fn settled(&self) {
        let sent = self.herd.ledger().ids();
        let stored = eventually("the heartbeats that were sent", async || {
            let stored = stored(&self.url).await;
            let once: BTreeSet<_> = stored.iter().copied().collect();
            sent.is_subset(&once).then_some(stored)
        })
        .await;
        // The agent in front of the engine sends its own, which no ledger has.
        let herds = stored.iter().filter(|id| sent.contains(*id)).count();
        assert_eq!(herds, sent.len(), "a heartbeat is stored twice");
        let ok =
            |usage: &[Usage]| usage.iter().filter(|usage| usage.outcome == "ok").count() == self.answered;
        self.scene.gateway.usage_when("each answer once", ok).await;
        let rows = psql(&self.url, "SELECT count(*) FROM heartbeats").await;
        let days = psql(&self.url, "SELECT sum(samples) FROM agent_days").await;
        assert_eq!(rows, days, "figures per day are the sums of rows");
        assert_eq!(psql(&self.url, "SELECT count(*) FROM set_aside").await, "0");
        let days = psql(
            &self.url,
            "SELECT DISTINCT to_char(to_timestamp(day * 86400), 'YYYY-MM-DD') FROM agent_days",
        );
        for day in days.await.lines() {
            self.scene.gateway.command(&["stats", "rebuild", "--day", day, "--check"]).await;
        }
    }
}

#[tokio::test]
async fn f27_while_kafka_is_away_nothing_is_lost_and_nobody_notices() {
    let mut ground = Ground::new().await;
    let _consumer = ground.consumer().start().await;
    ground.load(10).await;
    ground.kafka.kill();
    ground.load(60).await;
    ground.kafka.restart();
    ground.load(10).await;
    ground.settled().await;
    ground.kafka.stop();
    ground.load(20).await;
    ground.kafka.go_on();
    ground.load(5).await;
    ground.settled().await;
}

#[tokio::test]
async fn f28_a_consumer_that_is_killed_twenty_times_loses_and_doubles_nothing() {
    let mut ground = Ground::new().await;
    for _ in 0..20 {
        let mut consumer = ground.consumer().start().await;
        ground.load(4).await;
        consumer.process.kill().await;
    }
    let _consumer = ground.consumer().start().await;
    ground.settled().await;
}

#[tokio::test]
async fn f29_a_postgres_that_restarts_in_a_batch_costs_nothing() {
    let mut ground = Ground::new().await;
    let _consumers = (ground.consumer().start().await, ground.consumer().start().await);
    for _ in 0..4 {
        ground.load(8).await;
        ground.postgres.kill();
        ground.herd.beat().await;
        ground.postgres.restart();
    }
    ground.load(4).await;
    ground.settled().await;
    assert!(ground.folder.path().exists());
}
