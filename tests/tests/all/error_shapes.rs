//! Each dialect's clients read errors in one shape, and get them in it.

use gpuf_tests::{Answer, Dialect, Gateway, Kind, MODEL, Request, Scene, engine_with_slots};

fn assert_shaped(dialect: Dialect, name: &str, answer: &Answer, status: u16) {
    assert_eq!(answer.status(), status, "{dialect:?} {name}: {}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"), "{dialect:?} {name}");
    assert!(answer.header("x-request-id").is_some(), "{dialect:?} {name}");
    let message = dialect.error_message(&answer.json());
    assert!(message.is_some_and(|text| !text.is_empty()), "{dialect:?} {name}: {}", answer.text());
    if dialect == Dialect::Anthropic {
        assert_eq!(answer.json()["request_id"].as_str(), answer.header("request-id"), "{name}");
    }
}

fn anthropic_type(status: u16) -> &'static str {
    match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        404 => "not_found_error",
        413 => "request_too_large",
        _ => "",
    }
}

#[tokio::test]
async fn an_error_has_the_shape_of_the_dialect_that_asked() {
    let gateway = Gateway::builder().limits(&[("body_bytes_max", 100_000)]);
    let scene = Scene::with(gateway, engine_with_slots(Kind::Ollama, 4).await).await;
    for dialect in Dialect::ALL {
        let good = dialect.request(&scene.key, MODEL, true);
        let cases = [
            ("no key", dialect.request("gpuf_nobody", MODEL, true), 401),
            ("unknown model", dialect.request(&scene.key, "absent", true), 404),
            ("bad model", dialect.request(&scene.key, "../m", false), 400),
            ("bad JSON", good.clone().body("{]"), 400),
            ("too large", good.clone().body(vec![b' '; 200_000]), 413),
        ];
        for (name, request, status) in cases {
            let answer = scene.ask(&request).await;
            assert_shaped(dialect, name, &answer, status);
            if dialect == Dialect::Anthropic {
                assert_eq!(answer.json()["error"]["type"], anthropic_type(status), "{name}");
            }
        }
    }
    scene.assert_engine_untouched();
}

#[tokio::test]
async fn a_path_that_is_none_has_an_openai_error_too() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    for (method, path) in [("GET", "/v1/nothing"), ("POST", "/v1/chat/completion"), ("GET", "/favicon.ico")] {
        let answer = scene.ask(&Request::new(method, path).key(&scene.key)).await;
        assert_shaped(Dialect::Chat, path, &answer, 404);
    }
    let ollama = scene.ask(&Request::post("/api/nothing").key(&scene.key)).await;
    assert_shaped(Dialect::Ollama, "/api/nothing", &ollama, 404);
}

#[tokio::test]
async fn nothing_of_the_inside_is_in_a_public_error() {
    let mut scene = Scene::limited(&[("slot_wait_ms", 200), ("proxy_dial_ms", 200)]).await;
    let engine_addr = scene.engine.addr().to_string();
    let agent_id = scene.agent.id.clone();
    scene.agent.pause();
    let paused = scene.gateway.send(&scene.chat(false)).await;
    scene.agent.resume();
    drop(paused);
    scene.agent.kill().await;
    let answer = scene.ask(&scene.chat(false)).await;
    assert!(answer.status() >= 500, "{}", answer.text());
    for inside in [engine_addr.as_str(), agent_id.as_str(), "sqlite", "/data", "127.0.0.1"] {
        assert!(!answer.text().contains(inside), "{inside}: {}", answer.text());
    }
}
