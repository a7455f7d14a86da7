//! F19: an engine that hangs is told to stop, and its slot is free.

use gpuf_tests::{Behaviour, Gateway, Kind, Outcome, PATIENCE, Scene, Script, engine_with_slots};

const LIMITS: [(&str, u64); 4] =
    [("first_token_ms", 700), ("plain_request_ms", 700), ("token_gap_ms", 700), ("slot_wait_ms", 20_000)];

async fn scene() -> Scene {
    let engine = engine_with_slots(Kind::LlamaCpp, 1).await;
    Scene::with(Gateway::builder().limits(&LIMITS), engine).await
}

async fn assert_stopped_and_free(scene: &Scene) {
    let stopped = |one: &gpuf_tests::scene::Received| one.outcome() == Some(Outcome::PeerAborted);
    scene.ledger().wait_for(|all| !all.is_empty() && all.iter().all(stopped), PATIENCE).await.unwrap();
    scene.assert_serves().await;
}

#[tokio::test]
async fn f19_an_engine_without_a_first_token_is_a_timeout() {
    for stream in [true, false] {
        let scene = scene().await;
        scene.engine.set_script(Script::new(Behaviour::HangBeforeHead));
        let answer = scene.ask(&scene.chat(stream)).await;
        assert_eq!(answer.status(), 504, "{}", answer.text());
        assert_eq!(answer.error_code(), "upstream_timeout");
        assert!(scene.ledger().requests().len() <= 2, "one more attempt at most");
        scene.engine.set_script(Script::default());
        assert_stopped_and_free(&scene).await;
    }
}

#[tokio::test]
async fn f19_a_head_without_a_first_token_ends_all_the_same() {
    let scene = scene().await;
    scene.engine.push_once(Behaviour::HangBeforeFirstToken);
    let answer = scene.ask(&scene.chat(true)).await;
    assert!(answer.status() == 504 || answer.is_cut(), "{}", answer.text());
    let stopped = |one: &gpuf_tests::scene::Received| one.outcome() == Some(Outcome::PeerAborted);
    scene.ledger().wait_for(|all| all.first().is_some_and(stopped), PATIENCE).await.unwrap();
    scene.assert_serves().await;
}

#[tokio::test]
async fn f19_an_engine_that_falls_silent_in_mid_stream_is_a_cut() {
    let scene = scene().await;
    scene.engine.push_once(Behaviour::HangAfter { tokens: 3 });
    let answer = scene.ask(&scene.chat(true)).await;
    assert!(answer.is_cut(), "{}", answer.text());
    assert_eq!(answer.streamed_text(), "t0 t1 t2");
    assert_stopped_and_free(&scene).await;
}

#[tokio::test]
async fn f19_silence_is_filled_with_comments_meanwhile() {
    let limits = [("sse_comment_ms", 200), ("token_gap_ms", 2_000)];
    let scene = Scene::limited(&limits).await;
    scene.engine.push_once(Behaviour::HangAfter { tokens: 2 });
    let answer = scene.ask(&scene.chat(true)).await;
    assert!(answer.is_cut(), "{}", answer.text());
    let comments = answer.text().lines().filter(|line| line.starts_with(':')).count();
    assert!(comments >= 2, "{}", answer.text());
    assert_eq!(answer.streamed_text(), "t0 t1", "comments are no tokens");
}
