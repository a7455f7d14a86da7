//! Methods and the small conventions of HTTP that clients rely on.

use gpuf_tests::{Gateway, Kind, MODEL, Request, Scene, SimEngine};
use serde_json::Value;

#[tokio::test]
async fn models_are_listed_and_found_by_names_with_slashes_and_colons() {
    let gateway = Gateway::start().await;
    let names = ["org/Model-7B:q4", "plain", "hf.co/a/b-GGUF:Q4_K_M"];
    let engine = SimEngine::builder().kind(Kind::Vllm).models(names).start().await.unwrap();
    let _agent = gateway.agent(&engine).await;
    let key = gateway.key().await;
    let listed = gateway.ask(&Request::get("/v1/models").key(&key)).await;
    assert_eq!(listed.status(), 200);
    let listed = listed.json();
    assert_eq!(listed["object"], "list");
    let mut ids: Vec<String> =
        listed["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    let mut expected = names.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(ids, expected);
    for name in names {
        let escaped = name.replace('/', "%2F").replace(':', "%3A");
        for path in [name, &escaped] {
            let answer = gateway.ask(&Request::get(&format!("/v1/models/{path}")).key(&key)).await;
            assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
            assert_eq!((&answer.json()["id"], &answer.json()["object"]), (&name.into(), &"model".into()));
        }
    }
    let missing = gateway.ask(&Request::get("/v1/models/org/absent").key(&key)).await;
    assert_eq!(missing.status(), 404);
    assert_eq!(missing.error_code(), "model_not_found");
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let mut connection = scene.gateway.connect().await;
    for path in ["/v1/models", "/v1/models/m", "/api/tags", "/api/version"] {
        let get = connection.ask(&Request::get(path).key(&scene.key)).await;
        let head = connection.ask(&Request::new("HEAD", path).key(&scene.key)).await;
        assert_eq!((get.status(), head.status()), (200, 200), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert!(head.body.is_empty());
    }
    // Ollama's clients look for life like this, and without a key.
    assert_eq!(connection.ask(&Request::new("HEAD", "/")).await.status(), 200);
}

#[tokio::test]
async fn ollamas_listings_are_answered_by_the_gateway() {
    let scene = Scene::new(Kind::Ollama).await;
    scene.ledger().clear();
    let tags = scene.ask(&Request::get("/api/tags").key(&scene.key)).await.json();
    assert_eq!(tags["models"][0]["name"], MODEL, "{tags}");
    assert_eq!(tags["models"][0]["model"], MODEL, "{tags}");
    let running = scene.ask(&Request::get("/api/ps").key(&scene.key)).await;
    assert!(running.json()["models"].is_array(), "{}", running.text());
    let version = scene.ask(&Request::get("/api/version").key(&scene.key)).await;
    assert!(version.json()["version"].is_string(), "{}", version.text());
}

#[tokio::test]
async fn a_pre_flight_needs_no_key() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    for path in ["/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/models"] {
        let request = Request::new("OPTIONS", path)
            .header("origin", "http://app.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization, content-type");
        let answer = scene.ask(&request).await;
        assert!(matches!(answer.status(), 200 | 204), "{path}: {}", answer.status());
        assert!(answer.header("access-control-allow-methods").is_some(), "{path}: {:?}", answer.head);
    }
    scene.assert_engine_untouched();
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    for (method, path, allowed) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/messages", "POST"),
        ("POST", "/v1/models", "GET"),
        ("GET", "/api/chat", "POST"),
        ("POST", "/api/tags", "GET"),
    ] {
        let answer = scene.ask(&Request::new(method, path).key(&scene.key)).await;
        assert_eq!(answer.status(), 405, "{method} {path}: {}", answer.text());
        let allow = answer.header("allow").unwrap_or_default();
        assert!(allow.contains(allowed), "{method} {path}: allow {allow:?}");
        assert!(answer.json().get("error").is_some(), "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_caller_that_waits_for_100_continue_gets_it() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let request = scene.chat(false).header("expect", "100-continue");
    let bytes = request.bytes();
    let (head, body) = bytes.split_at(bytes.len() - request.body.len());
    let mut connection = scene.gateway.connect().await;
    connection.send(head).await;
    assert_eq!(connection.head().await.expect("a sign to go on").status, 100);
    connection.send(body).await;
    let answer = connection.answer().await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(scene.ledger().requests()[0].header("expect").is_none());
}

#[tokio::test]
async fn a_caller_that_waits_is_refused_before_it_sends() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let request = Request::chat("gpuf_nobody", MODEL, false).header("expect", "100-continue");
    let bytes = request.bytes();
    let mut connection = scene.gateway.connect().await;
    connection.send(&bytes[..bytes.len() - request.body.len()]).await;
    assert_eq!(connection.answer().await.status(), 401);
}

#[tokio::test]
async fn an_old_client_gets_an_old_answer() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let request = scene.chat(true);
    let text = String::from_utf8(request.bytes()).unwrap().replacen("HTTP/1.1", "HTTP/1.0", 1);
    let mut connection = scene.gateway.send_bytes(text.as_bytes()).await;
    let answer = connection.answer().await;
    assert_eq!(answer.status(), 200);
    assert!(answer.header("transfer-encoding").is_none(), "{:?}", answer.head);
    assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
}

#[tokio::test]
async fn http2_serves_what_http1_serves() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let mut http2 = gpuf_tests::Http2::open(scene.gateway.addresses.public).await;
    for request in [scene.chat(false), scene.chat(true), Request::get("/v1/models").key(&scene.key)] {
        let one = scene.ask(&request).await;
        let (two, end) = http2.ask(&request).await;
        assert_eq!(two.status(), one.status());
        assert_eq!(end, gpuf_tests::http2::End::Whole);
        if request.method == "POST" {
            assert_eq!(two.text(), one.text());
        } else {
            assert_eq!(without_times(two.json()), without_times(one.json()));
        }
    }
}

/// Listings may say when they were made.
fn without_times(mut listing: Value) -> Value {
    for row in listing["data"].as_array_mut().into_iter().flatten() {
        row["created"] = Value::Null;
    }
    listing
}
