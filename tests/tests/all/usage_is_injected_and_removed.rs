//! `stream_options.include_usage`: honoured, and where we add it for accounting, taken out again.

use gpuf_tests::{Answer, Behaviour, Connection, Dialect, Kind, MODEL, Request, Scene, Script};
use serde_json::json;

async fn direct(scene: &Scene, request: &Request) -> Answer {
    Connection::open(scene.engine.addr()).await.ask(request).await
}

fn completions(scene: &Scene) -> Request {
    let body = json!({"model": MODEL, "prompt": "one two three", "stream": true});
    Request::post("/v1/completions").key(&scene.key).json(&body)
}

#[tokio::test]
async fn usage_that_the_caller_did_not_ask_for_is_counted_and_not_shown() {
    for kind in [Kind::LlamaCpp, Kind::Vllm] {
        let scene = Scene::new(kind).await;
        scene.engine.set_script(Script::new(Behaviour::tokens(7)));
        for request in [scene.chat(true), completions(&scene)] {
            let expected = direct(&scene, &request).await;
            scene.ledger().clear();
            let answer = scene.ask(&request).await;
            assert_eq!(answer.text(), expected.text(), "{kind:?}");
            assert!(!answer.text().contains("usage"), "{kind:?}");
            assert!(answer.is_done());
            let asked = scene.ledger().requests()[0].json();
            assert_eq!(asked["stream_options"]["include_usage"], true, "{kind:?}: {asked}");
        }
        let records = scene.gateway.usage_when("two records", |usage| usage.len() == 2).await;
        for record in records {
            assert_eq!(record.completion_tokens(), Some(7), "{record:?}");
            assert!(record.prompt_tokens() > Some(0), "{record:?}");
        }
    }
}

#[tokio::test]
async fn with_openais_own_null_fields_the_callers_view_is_as_unasked() {
    let scene = Scene::new(Kind::OpenAiCompatible).await;
    let expected = direct(&scene, &scene.chat(true)).await;
    let answer = scene.ask(&scene.chat(true)).await;
    assert_eq!(answer.streamed_text(), expected.streamed_text());
    assert_eq!(answer.events().len(), expected.events().len(), "no event beyond the engine's own");
    for event in answer.events() {
        assert!(event.is_done() || event.json()["usage"].is_null(), "{event:?}");
    }
}

#[tokio::test]
async fn usage_that_the_caller_asked_for_is_shown_as_the_engine_has_it() {
    for kind in [Kind::LlamaCpp, Kind::Vllm, Kind::Ollama, Kind::OpenAiCompatible] {
        let scene = Scene::new(kind).await;
        let request = scene.chat(true).with("stream_options", json!({"include_usage": true}));
        let expected = direct(&scene, &request).await;
        let answer = scene.ask(&request).await;
        assert_eq!(answer.text(), expected.text(), "{kind:?}");
        let events = answer.events();
        assert_eq!(events[events.len() - 2].json()["usage"]["completion_tokens"], 8, "{kind:?}");
    }
}

#[tokio::test]
async fn options_that_the_caller_set_survive_the_injection() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let options = json!({"include_usage": false, "include_obfuscation": false});
    let answer = scene.ask(&scene.chat(true).with("stream_options", options)).await;
    assert!(answer.is_done() && !answer.text().contains("usage"), "{}", answer.text());
    let asked = scene.ledger().requests()[0].json();
    assert_eq!(asked["stream_options"], json!({"include_usage": true, "include_obfuscation": false}));
}

#[tokio::test]
async fn other_dialects_have_usage_of_their_own_and_pass_untouched() {
    for dialect in [Dialect::Responses, Dialect::Anthropic, Dialect::Ollama] {
        for stream in [false, true] {
            let scene = Scene::new(dialect.engine_kind()).await;
            let request = dialect.request(&scene.key, MODEL, stream);
            let expected = direct(&scene, &request).await;
            scene.ledger().clear();
            let answer = scene.ask(&request).await;
            assert_eq!(answer.text(), expected.text(), "{dialect:?}");
            assert_eq!(scene.ledger().requests()[0].body, request.body, "{dialect:?}");
            let records = scene.gateway.usage_when("a record", |usage| usage.len() == 1).await;
            assert_eq!(records[0].completion_tokens(), Some(8), "{dialect:?}: {records:?}");
        }
    }
}
