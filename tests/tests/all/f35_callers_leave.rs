//! F35: a caller leaves, at every moment and in every dialect: the engine stops, the slot is free, and the
//! usage record says so.

use std::time::{Duration, Instant};

use gpuf_tests::scene::Received;
use gpuf_tests::{
    Behaviour, Connection, Dialect, Gateway, Kind, MODEL, Outcome, PATIENCE, Request, Scene, Tokens,
};
use gpuf_tests::{Http2, engine_with_slots};

/// One second is promised; the rest is for two busy cores.
const STOPS_WITHIN: Duration = Duration::from_secs(4);

/// One slot and one place in the queue: what is not given back shows at once.
async fn scene(dialect: Dialect) -> Scene {
    let gateway =
        Gateway::builder().limits(&[("slot_wait_ms", 25_000), ("waiting_per_model_max", 1)]).start().await;
    let engine = engine_with_slots(dialect.engine_kind(), 1).await;
    let agent = gateway.build_agent().engine(&engine).slots(1).start().await;
    let key = gateway.key().await;
    Scene { key, agent, engine, gateway }
}

fn aborted(request: &Received) -> bool {
    request.outcome() == Some(Outcome::PeerAborted)
}

/// The engine's only request is broken off soon after `left`.
async fn assert_engine_stops(scene: &Scene, left: Instant) {
    let seen = scene.ledger().wait_for(|all| all.len() == 1 && aborted(&all[0]), PATIENCE).await.unwrap();
    let (_, at) = seen[0].ended.unwrap();
    let took = at.saturating_duration_since(left);
    assert!(took < STOPS_WITHIN, "the engine went on for {took:?}");
}

/// The slot is free, and the record is there.
async fn assert_given_back(scene: &Scene, dialect: Dialect, cancelled: usize) {
    let answer = scene.ask(&dialect.request(&scene.key, MODEL, false)).await;
    assert_eq!(answer.status(), 200, "{dialect:?}: {}", answer.text());
    assert_eq!(scene.engine.slots_busy(), 0);
    scene.gateway.outcomes("cancelled", cancelled).await;
}

/// Of two requests for the one place in the queue, the one that got it; the other is refused, which proves
/// that the place is taken.
async fn queued(scene: &Scene, request: &Request) -> Connection {
    let (mut one, mut other) = (scene.gateway.send(request).await, scene.gateway.send(request).await);
    let (refused, queued) = tokio::select! {
        head = one.head() => (head, other),
        head = other.head() => (head, one),
    };
    assert_eq!(refused.expect("a refusal").status, 503);
    queued
}

#[tokio::test]
async fn f35_a_caller_that_leaves_the_queue_never_reaches_an_engine() {
    for dialect in Dialect::ALL {
        let scene = scene(dialect).await;
        scene.engine.push_once(Behaviour::HangBeforeHead);
        let first = scene.gateway.send(&dialect.request(&scene.key, MODEL, true)).await;
        scene.ledger().wait_for(|all| all.len() == 1, PATIENCE).await.unwrap();
        let marked = dialect.request(&scene.key, MODEL, true).with("user", "in the queue");
        drop(queued(&scene, &marked).await);
        scene.gateway.outcomes("cancelled", 1).await;
        let mut behind = scene.gateway.send(&dialect.request(&scene.key, MODEL, false)).await;
        drop(first);
        assert_eq!(behind.answer().await.status(), 200, "{dialect:?}");
        let seen = scene.ledger().requests();
        assert_eq!(seen.len(), 2, "{dialect:?}");
        assert!(seen.iter().all(|one| one.json()["user"] != "in the queue"), "{dialect:?}");
        assert_given_back(&scene, dialect, 2).await;
    }
}

#[tokio::test]
async fn f35_a_caller_that_leaves_before_the_head_stops_the_engine() {
    for dialect in Dialect::ALL {
        let scene = scene(dialect).await;
        scene.engine.push_once(Behaviour::HangBeforeHead);
        let connection = scene.gateway.send(&dialect.request(&scene.key, MODEL, true)).await;
        scene.ledger().wait_for(|all| all.len() == 1, PATIENCE).await.unwrap();
        let left = Instant::now();
        drop(connection);
        assert_engine_stops(&scene, left).await;
        assert_given_back(&scene, dialect, 1).await;
    }
}

#[tokio::test]
async fn f35_a_caller_that_leaves_before_the_first_token_stops_the_engine() {
    for dialect in Dialect::ALL {
        let scene = scene(dialect).await;
        scene.engine.push_once(Behaviour::HangBeforeFirstToken);
        let connection = scene.gateway.send(&dialect.request(&scene.key, MODEL, true)).await;
        scene.ledger().wait_for(|all| all.len() == 1, PATIENCE).await.unwrap();
        let left = Instant::now();
        drop(connection);
        assert_engine_stops(&scene, left).await;
        assert_given_back(&scene, dialect, 1).await;
    }
}

#[tokio::test]
async fn f35_a_caller_that_leaves_in_mid_stream_stops_the_engine() {
    for dialect in Dialect::ALL {
        let scene = scene(dialect).await;
        scene.engine.push_once(Tokens::of(u64::MAX).every(Duration::from_millis(20)));
        let mut stream = scene.open(&dialect.request(&scene.key, MODEL, true)).await;
        stream.until("t3").await;
        let left = Instant::now();
        drop(stream);
        assert_engine_stops(&scene, left).await;
        assert_given_back(&scene, dialect, 1).await;
    }
}

#[tokio::test]
async fn f35_a_caller_that_leaves_a_silent_stream_stops_the_engine() {
    for dialect in Dialect::ALL {
        let scene = scene(dialect).await;
        scene.engine.push_once(Behaviour::HangAfter { tokens: 4 });
        let mut stream = scene.open(&dialect.request(&scene.key, MODEL, true)).await;
        stream.until("t3").await;
        let left = Instant::now();
        drop(stream);
        assert_engine_stops(&scene, left).await;
        assert_given_back(&scene, dialect, 1).await;
    }
}

#[tokio::test]
async fn f35_a_caller_that_leaves_a_plain_request_stops_the_engine() {
    for dialect in Dialect::ALL {
        for behaviour in [Behaviour::HangBeforeHead, Behaviour::HangAfter { tokens: 1 }] {
            let scene = scene(dialect).await;
            scene.engine.push_once(behaviour);
            let connection = scene.gateway.send(&dialect.request(&scene.key, MODEL, false)).await;
            scene.ledger().wait_for(|all| all.len() == 1, PATIENCE).await.unwrap();
            let left = Instant::now();
            drop(connection);
            assert_engine_stops(&scene, left).await;
            assert_given_back(&scene, dialect, 1).await;
        }
    }
}

#[tokio::test]
async fn f35_a_caller_that_resets_its_http2_stream_stops_the_engine() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    scene.engine.push_once(Tokens::of(u64::MAX).every(Duration::from_millis(20)));
    let mut http2 = Http2::open(scene.gateway.addresses.public).await;
    let answer = http2.start(&scene.chat(true)).await.await.unwrap();
    let mut body = answer.into_body();
    body.data().await.unwrap().unwrap();
    let left = Instant::now();
    drop(body);
    assert_engine_stops(&scene, left).await;
    let (answer, _) = http2.ask(&scene.chat(false)).await;
    assert_eq!(answer.status(), 200, "the connection lives on");
    scene.gateway.outcomes("cancelled", 1).await;
}

#[tokio::test]
async fn f35_a_caller_that_leaves_in_mid_upload_leaves_no_trace_at_an_engine() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let request = Request::chat(&scene.key, MODEL, false);
    let bytes = request.bytes();
    let connection = scene.gateway.connect().await;
    let mut connection = connection;
    connection.send(&bytes[..bytes.len() - 5]).await;
    drop(connection);
    scene.assert_serves().await;
    assert_eq!(scene.ledger().requests().len(), 1);
}
