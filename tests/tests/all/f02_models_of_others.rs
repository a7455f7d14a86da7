//! F02: a model that a key may not use does not exist for it.

use gpuf_tests::{Gateway, Kind, Request, SimEngine};

#[tokio::test]
async fn f02_a_model_that_a_key_may_not_use_looks_like_none() {
    let gateway = Gateway::start().await;
    let engine = SimEngine::builder().kind(Kind::Vllm).models(["open", "secret"]).start().await.unwrap();
    let _agent = gateway.agent(&engine).await;
    let key = gateway.make_key(&["--models", "open"]).await.key;

    let hidden = gateway.ask(&Request::chat(&key, "secret", false)).await;
    let missing = gateway.ask(&Request::chat(&key, "absent", false)).await;
    for answer in [&hidden, &missing] {
        assert_eq!(answer.status(), 404, "{}", answer.text());
        assert_eq!(answer.error_code(), "model_not_found");
    }
    assert_eq!(hidden.text().replace("secret", "absent"), missing.text());
    assert!(engine.ledger().requests().is_empty());

    let listed = gateway.ask(&Request::get("/v1/models").key(&key)).await;
    let listed: Vec<_> =
        listed.json()["data"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(listed, ["open"]);
    assert_eq!(gateway.ask(&Request::get("/v1/models/secret").key(&key)).await.status(), 404);
    let tags = gateway.ask(&Request::get("/api/tags").key(&key)).await;
    assert!(!tags.text().contains("secret"));
    let allowed = gateway.ask(&Request::chat(&key, "open", false)).await;
    assert_eq!(allowed.status(), 200, "{}", allowed.text());
}
