//! F25: PostgreSQL goes away under traffic, dead or silent, and comes back.

use std::time::{Duration, Instant};

use gpuf_tests::{Gateway, Kind, Request, Scene, engine, eventually};
use test_services::Postgres;

/// Longer than a key that was looked up counts as fresh.
const AWAY: Duration = Duration::from_secs(8);

struct Ground {
    postgres: Postgres,
    scene: Scene,
    stranger: String,
}

impl Ground {
    async fn new() -> Self {
        let postgres = Postgres::private();
        let url = postgres.database().await;
        let scene = Scene::with(Gateway::builder().database(&url), engine(Kind::LlamaCpp).await).await;
        scene.assert_serves().await;
        // Well formed, so that only the database can tell that it is nobody's.
        let stranger = Gateway::start().await.key().await;
        assert_eq!(scene.ask(&Request::get("/v1/models").key(&stranger)).await.status(), 401);
        // Another one, of which nothing was learned while the database was there.
        let stranger = Gateway::start().await.key().await;
        Self { postgres, scene, stranger }
    }

    /// Traffic and deeds while the database is away; how many requests were answered.
    async fn endure(&self) -> usize {
        let (scene, began) = (&self.scene, Instant::now());
        let mut answered = 0;
        while began.elapsed() < AWAY {
            scene.assert_serves().await;
            answered += 1;
            let refused = scene.ask(&Request::get("/v1/models").key(&self.stranger)).await;
            assert_eq!(refused.status(), 503, "never 401, never open: {}", refused.text());
            assert!(refused.header("retry-after").is_some());
        }
        let malformed = scene.ask(&Request::get("/v1/models").key("gpuf_nonsense")).await;
        assert_eq!(malformed.status(), 401, "a malformed key never reaches the database");
        assert_eq!(scene.gateway.post_key("while away").await.status(), 503);
        answered
    }

    async fn recovers(&self, answered: usize) {
        let scene = &self.scene;
        eventually("deeds again", async || {
            (scene.gateway.post_key("afterwards").await.status() < 300).then_some(())
        })
        .await;
        let refused = async || {
            let answer = scene.ask(&Request::get("/v1/models").key(&self.stranger)).await;
            (answer.status() == 401).then_some(())
        };
        eventually("a stranger's 401", refused).await;
        scene.assert_serves().await;
        scene.gateway.outcomes("ok", answered + 2).await;
    }
}

#[tokio::test]
async fn f25_a_dead_postgres_harms_nobody_who_is_known() {
    let ground = Ground::new().await;
    ground.postgres.kill();
    let answered = ground.endure().await;
    ground.postgres.restart();
    ground.recovers(answered).await;
}

#[tokio::test]
async fn f25_a_silent_postgres_harms_nobody_who_is_known() {
    let ground = Ground::new().await;
    ground.postgres.stop();
    let answered = ground.endure().await;
    ground.postgres.go_on();
    ground.recovers(answered).await;
}
