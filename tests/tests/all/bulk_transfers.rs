//! A bulk transfer leaves the gaps between tokens alone.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gpuf_tests::{Behaviour, Connection, Kind, MODEL, Request, Scene, Script, Stream, Tokens};
use serde_json::json;

const BULK_BYTES: u64 = 192 << 20;
const TOKENS: u64 = 30;
/// Two busy cores may hold one token back; a queue behind a bulk transfer holds back all of them.
const MEDIAN_GAP_MAX: Duration = Duration::from_millis(250);

fn speech(scene: &Scene) -> Request {
    let body = json!({"model": MODEL, "input": "a long story", "voice": "v"});
    Request::post("/v1/audio/speech").key(&scene.key).json(&body)
}

async fn median_gap(mut stream: Stream) -> Duration {
    let mut gaps = Vec::new();
    let mut last = Instant::now();
    for _ in 0..TOKENS {
        stream.tokens(1).await;
        gaps.push(last.elapsed());
        last = Instant::now();
    }
    assert!(stream.rest().await.is_done());
    gaps.sort();
    gaps[gaps.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_transfer_leaves_token_gaps_alone() {
    let scene = Scene::new(Kind::OpenAiCompatible).await;
    let script = Script::new(Tokens::of(TOKENS).every(Duration::from_millis(25)));
    let bulk = Behaviour::Bytes { len: BULK_BYTES, chunk: 256 * 1024 };
    scene.engine.set_script(script.at("/v1/audio/speech", bulk));
    let addr = scene.gateway.addresses.public;
    let request = speech(&scene).bytes();
    let download = tokio::spawn(async move {
        let mut connection = Connection::open(addr).await;
        connection.send(&request).await;
        let head = connection.head().await.expect("an answer");
        assert_eq!(head.status, 200);
        connection.finish_sending().await;
        connection.drain().await as u64
    });
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(scene.open(&scene.chat(true)).await);
    }
    for gap in join_all(streams.into_iter().map(median_gap)).await {
        assert!(gap < MEDIAN_GAP_MAX, "a median gap of {gap:?}");
    }
    download.abort();
}

#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let scene = Scene::new(Kind::OpenAiCompatible).await;
    let len = 5_000_017;
    scene.engine.push_once(Behaviour::Bytes { len, chunk: 100_000 });
    let answer = scene.ask(&speech(&scene)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.body.len() as u64, len);
    assert!(answer.body.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251));
    assert!(answer.whole);
}

#[tokio::test]
async fn a_large_request_arrives_whole() {
    let scene = Scene::new(Kind::OpenAiCompatible).await;
    let text = "z".repeat(8 << 20);
    let body = json!({"model": MODEL, "messages": [{"role": "user", "content": text}]}).to_string();
    scene.engine.push_once(Behaviour::EchoBody);
    let request =
        Request::post("/v1/chat/completions").key(&scene.key).header("content-type", "application/json");
    let answer = scene.ask(&request.body(body.clone())).await;
    assert_eq!(scene.ledger().requests()[0].body_len, body.len() as u64);
    assert!(answer.text() == body, "the echo differs: status {}", answer.status());
}
