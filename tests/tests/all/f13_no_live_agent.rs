//! F13: the model is known, and nobody is there to serve it.

use std::time::{Duration, Instant};

use gpuf_tests::{Dialect, MODEL, Request, Scene};

#[tokio::test]
async fn f13_a_known_model_without_an_agent_is_no_capacity_after_the_wait() {
    let mut scene = Scene::limited(&[("slot_wait_ms", 500)]).await;
    scene.agent.kill().await;
    scene.agent.is_gone_from(&scene.gateway).await;
    let start = Instant::now();
    let answer = scene.ask(&Request::chat(&scene.key, MODEL, false)).await;
    assert_eq!(answer.status(), 503, "{}", answer.text());
    assert_eq!(answer.error_code(), "no_capacity");
    assert!(start.elapsed() >= Duration::from_millis(450), "it waits for an agent first");
    let retry_after = answer.header("retry-after").expect("a time to come back");
    assert!(retry_after.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{retry_after}");
    for dialect in [Dialect::Responses, Dialect::Anthropic] {
        let answer = scene.ask(&dialect.request(&scene.key, MODEL, true)).await;
        assert_eq!(answer.status(), 503, "{dialect:?}: {}", answer.text());
        assert!(dialect.error_message(&answer.json()).is_some(), "{dialect:?}: {}", answer.text());
    }
    let usage = scene.gateway.usage().await;
    assert_eq!(usage.iter().map(gpuf_tests::gateway::Usage::tokens).sum::<u64>(), 0, "nothing is billed");
}

#[tokio::test]
async fn f13_an_agent_that_comes_within_the_wait_serves() {
    let mut scene = Scene::limited(&[("slot_wait_ms", 20_000)]).await;
    scene.agent.kill().await;
    scene.agent.is_gone_from(&scene.gateway).await;
    let mut waiting = scene.gateway.send(&scene.chat(false)).await;
    let _agent = scene.gateway.agent(&scene.engine).await;
    let answer = waiting.answer().await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}
