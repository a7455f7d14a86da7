//! F30 and F46: records on the topics that nobody can read, and records that come twice.

use gpuf_tests::topics::produce;
use gpuf_tests::{Gateway, Kind, Scene, engine, eventually};
use serde_json::{Value, json};
use test_services::{Kafka, Postgres, psql};

const REQUESTS: &str = "request-message";
const HEARTBEATS: &str = "client-heartbeats";

struct Ground {
    url: String,
    prefix: String,
    scene: Scene,
}

impl Ground {
    async fn new() -> Self {
        let url = Postgres::shared().database().await;
        // The broker is shared with other tests: the topics are not.
        let prefix = url.rsplit('/').next().unwrap_or_default().to_owned() + ".";
        let gateway = Gateway::builder()
            .database(&url)
            .kafka(Kafka::shared().bootstrap())
            .arg("--topic-prefix")
            .arg(&prefix)
            .arg("--topic-partitions")
            .arg("1");
        Self { scene: Scene::with(gateway, engine(Kind::LlamaCpp).await).await, url, prefix }
    }

    /// Puts lines onto a topic, as somebody else's program would.
    async fn produce(&self, topic: &str, lines: &[String]) {
        produce(Kafka::shared().bootstrap(), &format!("{}{topic}", self.prefix), lines).await;
    }

    async fn until(&self, statement: &str, expected: &str) {
        eventually(statement, async || (psql(&self.url, statement).await == expected).then_some(())).await;
    }
}

fn message(id: u8) -> Value {
    json!({
        "v": 1, "id": format!("{id:02x}").repeat(16), "key_id": "0000000000000000", "model": "m",
        "agent_id": null, "engine": "llama_cpp", "dialect": "open_ai", "endpoint": "/v1/chat/completions",
        "status": 200, "outcome": "ok", "prompt_tokens": 3, "completion_tokens": 4, "first_token_ms": 5,
        "duration_ms": 6, "bytes": 7, "started_unix_ms": 1_800_000_000_000_u64,
    })
}

#[tokio::test]
async fn f30_poison_is_set_aside_with_its_reason_and_the_partition_moves_on() {
    let ground = Ground::new().await;
    ground.scene.assert_serves().await;
    ground.scene.gateway.outcomes("ok", 1).await;
    let later = json!({"v": 99});
    let nul = Value::String(message(1)["model"].to_string() + "\u{0}");
    let poison = ["not json".to_owned(), "{}".to_owned(), later.to_string(), nul.to_string()];
    ground.produce(REQUESTS, &poison).await;
    ground.produce(HEARTBEATS, &["not bincode".to_owned()]).await;
    ground.scene.assert_serves().await;
    ground.scene.gateway.outcomes("ok", 2).await;
    ground.until("SELECT count(*) FROM set_aside WHERE length(reason) > 0", "5").await;
    let kept = psql(&ground.url, "SELECT convert_from(payload, 'UTF8') FROM set_aside ORDER BY 1").await;
    assert!(kept.contains("not json") && kept.contains("not bincode"), "{kept}");
    ground.scene.assert_serves().await;
    ground.scene.gateway.outcomes("ok", 3).await;
}

#[tokio::test]
async fn f46_what_comes_twice_is_counted_once() {
    let ground = Ground::new().await;
    ground.scene.assert_serves().await;
    ground.scene.gateway.outcomes("ok", 1).await;
    let twice = [message(1), message(2), message(1), message(1)].map(|message| message.to_string());
    ground.produce(REQUESTS, &twice).await;
    ground.produce(REQUESTS, &twice).await;
    ground.produce(REQUESTS, &[message(3).to_string()]).await;
    ground.until("SELECT count(*), count(DISTINCT id) FROM usage", "4|4").await;
    ground.until("SELECT sum(completion_tokens) FROM usage WHERE bytes = 7", "12").await;
}
