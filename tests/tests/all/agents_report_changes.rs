//! What changes beside an agent is known at the gateway within seconds.

use gpuf_tests::{Gateway, Kind, Request, SimEngine, eventually};

async fn listed(gateway: &Gateway, key: &str) -> Vec<String> {
    let answer = gateway.ask(&Request::get("/v1/models").key(key)).await.json();
    let rows = answer["data"].as_array().cloned().unwrap_or_default();
    rows.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_model_that_appears_is_served_and_one_that_goes_is_not() {
    let gateway = Gateway::start().await;
    let engine = SimEngine::builder().kind(Kind::Ollama).models(["one"]).start().await.unwrap();
    let _agent = gateway.agent(&engine).await;
    let key = gateway.key().await;
    engine.set_models(["one", "two"]);
    eventually("the model that appeared", async || {
        listed(&gateway, &key).await.contains(&"two".to_owned()).then_some(())
    })
    .await;
    assert_eq!(gateway.ask(&Request::chat(&key, "two", false)).await.status(), 200);
    engine.set_models(["two"]);
    eventually("the model's departure", async || {
        (gateway.ask(&Request::chat(&key, "one", false)).await.status() != 200).then_some(())
    })
    .await;
    assert_eq!(gateway.ask(&Request::chat(&key, "two", false)).await.status(), 200);
}

#[tokio::test]
async fn an_agent_in_front_of_several_engines_serves_all_their_models() {
    let gateway = Gateway::start().await;
    let llama = SimEngine::builder().kind(Kind::LlamaCpp).models(["from-llama"]).start().await.unwrap();
    let ollama = SimEngine::builder().kind(Kind::Ollama).models(["from-ollama"]).start().await.unwrap();
    let vllm = SimEngine::builder().kind(Kind::Vllm).models(["from-vllm"]).start().await.unwrap();
    let building = gateway.build_agent().engine(&llama).engine(&ollama).engine(&vllm);
    let _agent = building.start().await;
    let key = gateway.key().await;
    for (engine, model) in [(&llama, "from-llama"), (&ollama, "from-ollama"), (&vllm, "from-vllm")] {
        let answer = gateway.ask(&Request::chat(&key, model, false)).await;
        assert_eq!(answer.status(), 200, "{model}: {}", answer.text());
        let seen = engine.ledger().requests();
        assert_eq!(seen.len(), 1, "{model}: {seen:?}");
    }
}

#[tokio::test]
async fn an_engine_that_restarts_is_served_again() {
    let gateway = Gateway::builder().limits(&[("slot_wait_ms", 200)]).start().await;
    let engine = SimEngine::builder().models(["m"]).start().await.unwrap();
    let port = engine.addr().port();
    let _agent = gateway.agent(&engine).await;
    let key = gateway.key().await;
    engine.stop().await;
    let answer = gateway.ask(&Request::chat(&key, "m", false)).await;
    assert!(matches!(answer.status(), 502 | 503), "{}", answer.text());
    let _engine = SimEngine::builder().models(["m"]).port(port).start().await.unwrap();
    eventually("the engine's return", async || {
        (gateway.ask(&Request::chat(&key, "m", false)).await.status() == 200).then_some(())
    })
    .await;
}
