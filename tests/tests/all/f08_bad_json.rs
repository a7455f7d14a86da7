//! F08: bodies that are no request.

use gpuf_tests::{Dialect, Kind, Scene};

fn bodies() -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
    let deep = format!(r#"{{"model":"m","messages":[],"x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let deep_objects = format!(r#"{{"model":"m","x":{}1{}}}"#, r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
    let messages = vec![r#"{"role":"user","content":"x"}"#; 8_193].join(",");
    let mut latin = br#"{"model":"m","messages":[{"role":"user","content":""#.to_vec();
    latin.extend_from_slice(b"\xff\xfe\"}]}");
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("nothing", Vec::new(), None),
        ("half", text(r#"{"model":"m","messages":["#), None),
        ("two values", text(r#"{"model":"m","messages":[]}{"model":"m"}"#), None),
        ("an array", text("[]"), None),
        ("a number", text("5"), None),
        ("too deep", text(&deep), None),
        ("far too deep", text(&deep_objects), None),
        ("invalid UTF-8", latin, None),
        ("a lone surrogate in the model", text(r#"{"model":"\ud800","messages":[]}"#), None),
        ("two models", text(r#"{"model":"m","messages":[],"model":"m"}"#), Some("model")),
        ("two models, one escaped", text(r#"{"model":"m","messages":[],"mode\u006c":"m"}"#), Some("model")),
        ("a model that is a number", text(r#"{"model":5,"messages":[]}"#), Some("model")),
        ("a model that is null", text(r#"{"model":null,"messages":[]}"#), Some("model")),
        ("a stream that is a text", text(r#"{"model":"m","messages":[],"stream":"yes"}"#), Some("stream")),
        ("too many messages", text(&format!(r#"{{"model":"m","messages":[{messages}]}}"#)), Some("messages")),
    ]
}

#[tokio::test]
async fn f08_a_body_that_is_no_request_is_refused_with_its_reason() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let before = scene.gateway.process.memory_bytes();
    for (name, body, param) in bodies() {
        let answer = scene.ask(&scene.chat(false).body(body)).await;
        assert_eq!(answer.status(), 400, "{name}: {}", answer.text());
        assert_eq!(answer.error_code(), "invalid_json", "{name}: {}", answer.text());
        if let Some(param) = param {
            assert_eq!(answer.json()["error"]["param"], param, "{name}: {}", answer.text());
        }
    }
    let grown = scene.gateway.process.memory_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "grew by {grown} bytes");
    scene.assert_engine_untouched();
    scene.assert_serves().await;
}

#[tokio::test]
async fn f08_bad_json_is_refused_in_the_shape_of_each_dialect() {
    let scene = Scene::new(Kind::Ollama).await;
    for dialect in Dialect::ALL {
        let answer = scene.ask(&dialect.request(&scene.key, "m", false).body("{\"model\":")).await;
        assert_eq!(answer.status(), 400, "{dialect:?}: {}", answer.text());
        assert!(dialect.error_message(&answer.json()).is_some(), "{dialect:?}: {}", answer.text());
    }
    scene.assert_engine_untouched();
}

#[tokio::test]
async fn f08_a_request_without_a_model_says_so() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let answer = scene.ask(&scene.chat(false).body(r#"{"messages":[]}"#)).await;
    assert_eq!((answer.status(), answer.error_code().as_str()), (400, "missing_model"));
    assert_eq!(answer.json()["error"]["param"], "model");
    scene.assert_engine_untouched();
}
