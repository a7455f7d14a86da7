//! F07: a connection carries no rights from one request to the next, and only listed paths reach an engine.

use gpuf_tests::{Gateway, Http2, Kind, MODEL, Request, Scene, SimEngine};
use serde_json::json;

#[tokio::test]
async fn f07_each_request_of_a_connection_is_judged_by_its_own_key() {
    let gateway = Gateway::start().await;
    let engine = SimEngine::builder().kind(Kind::Vllm).models(["a", "b"]).start().await.unwrap();
    let _agent = gateway.agent(&engine).await;
    let for_a = gateway.make_key(&["--models", "a"]).await.key;
    let for_b = gateway.make_key(&["--models", "b"]).await.key;
    let steps = [
        (Request::chat(&for_a, "a", false), 200),
        (Request::chat(&for_b, "a", false), 404),
        (Request::chat(&for_b, "b", true), 200),
        (Request::chat("gpuf_nobody", "a", false), 401),
        (Request::chat(&for_a, "b", false), 404),
        (Request::get("/v1/nothing").key(&for_a), 404),
        (Request::chat(&for_a, "a", true), 200),
    ];
    let mut http1 = gateway.connect().await;
    let mut http2 = Http2::open(gateway.addresses.public).await;
    for (request, status) in &steps {
        let answer = http1.ask(request).await;
        assert_eq!(answer.status(), *status, "{request:?}: {}", answer.text());
        let (answer, _) = http2.ask(request).await;
        assert_eq!(answer.status(), *status, "{request:?}: {}", answer.text());
    }
    assert_eq!(engine.ledger().requests().len(), 6);
    let usage =
        gateway.usage_when("six records", |usage| usage.iter().filter(|one| one.tokens() > 0).count() == 6);
    usage.await;
}

#[tokio::test]
async fn f07_pipelined_requests_are_answered_in_order() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let bytes = [
        scene.chat(false).bytes(),
        Request::get("/v1/models").key("gpuf_nobody").bytes(),
        scene.chat(true).bytes(),
    ];
    let mut connection = scene.gateway.connect().await;
    connection.send(&bytes.concat()).await;
    assert_eq!(connection.answer().await.json()["object"], "chat.completion");
    assert_eq!(connection.answer().await.status(), 401);
    assert!(connection.answer().await.is_done());
}

#[tokio::test]
async fn f07_what_changes_an_engine_is_never_reached() {
    let scene = Scene::new(Kind::Ollama).await;
    let body = json!({"model": MODEL, "name": MODEL, "source": MODEL, "destination": "x", "from": MODEL});
    let listed = "/api/chat";
    let targets = [
        ("DELETE", "/api/delete".to_owned()),
        ("POST", "/api/delete".into()),
        ("POST", "/api/pull".into()),
        ("POST", "/api/push".into()),
        ("POST", "/api/create".into()),
        ("POST", "/api/copy".into()),
        ("POST", "/api/blobs/sha256:00".into()),
        ("DELETE", listed.into()),
        ("PUT", listed.into()),
        ("POST", "/api/chat/../pull".into()),
        ("POST", "/api/%70ull".into()),
        ("POST", "//api/pull".into()),
        ("POST", "/api/pull/".into()),
        ("POST", "/api/chat/%2e%2e/pull".into()),
        ("POST", "/v1/../api/pull".into()),
        ("POST", "/api/pull?x=/api/chat".into()),
        ("POST", "/api/chat;/../pull".into()),
        ("GET", "/metrics".into()),
        ("GET", "/slots".into()),
        ("POST", "/slots/0?action=erase".into()),
        ("POST", "http://127.0.0.1:11434/api/pull".into()),
    ];
    for (method, target) in targets {
        let answer = scene.ask(&Request::new(method, &target).key(&scene.key).json(&body)).await;
        assert!((400..500).contains(&answer.status()), "{method} {target}: {}", answer.status());
    }
    scene.assert_engine_untouched();
    let paths: Vec<_> = scene.ledger().everything().into_iter().map(|one| one.target).collect();
    assert!(!paths.iter().any(|path| path.contains("pull") || path.contains("delete")), "{paths:?}");
}
