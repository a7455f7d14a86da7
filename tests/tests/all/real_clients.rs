//! Callers as they are: the official clients for Python and Node, unchanged, through the whole chain.
//!
//! The OpenAI and Anthropic clients talk to a real llama.cpp server, and what they see through the gateway is
//! what they see without it. No package registry has Ollama ready to run, so its clients talk to the simulated
//! engine, which answers as Ollama does. Nothing here judges what a model says, or how fast.

use std::time::Duration;

use gpuf_tests::real_engine::{Client, MODEL, RealScene};
use gpuf_tests::{Behaviour, Kind, Outcome, PATIENCE, Scene, Script, Tokens};
use serde_json::{Value, json};

use super::real_engine::comparable;

const OPENAI: [Client; 2] = [Client { program: "openai_client.py" }, Client { program: "openai_client.mjs" }];
const ANTHROPIC: [Client; 2] =
    [Client { program: "anthropic_client.py" }, Client { program: "anthropic_client.mjs" }];
const OLLAMA: [Client; 2] = [Client { program: "ollama_client.py" }, Client { program: "ollama_client.mjs" }];
const OLLAMA_MODEL: &str = gpuf_tests::MODEL;

/// Tokens that a client which leaves has asked for, in `tests/clients`.
const LONG: u64 = 1_500;

/// Plays a scene through the gateway.
async fn through(scene: &RealScene, client: Client, name: &str) -> Value {
    client.play(&scene.gateway.url(), &scene.key, MODEL, name).await
}

/// The texts at `place` in every item of a list, as one.
fn joined(items: &Value, place: &str) -> String {
    let items = items.as_array().into_iter().flatten();
    items.filter_map(|item| item.pointer(place)?.as_str()).collect()
}

fn assert_refused(refusal: &Value, class: &str, status: u16) {
    assert_eq!(refusal["class"], class, "{refusal}");
    assert_eq!(refusal["status"], status, "{refusal}");
    let message = refusal["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty(), "{refusal}");
}

fn assert_has_request_id(refusal: &Value) {
    assert!(refusal["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{refusal}");
}

#[tokio::test]
async fn openai_clients_list_chat_stream_call_tools_and_embed() {
    let scene = RealScene::new().await;
    for client in OPENAI {
        let told = through(&scene, client, "answers").await;
        assert_eq!(told["models"], json!([MODEL]));
        let text = told["chat"]["choices"][0]["message"]["content"].as_str().expect("a text");
        assert!(!text.is_empty());
        assert_eq!(joined(&told["stream"], "/choices/0/delta/content"), text);
        assert_usage_is_shown_as_asked(&told);
        assert_tool_is_called(&told);
        let vectors = told["embeddings"]["data"].as_array().expect("vectors");
        assert_eq!(vectors.len(), 2);
        assert_eq!(told["responses"]["output"][0]["content"][0]["text"], text);
        let direct = client.play(&scene.engine.url(), "none", MODEL, "answers").await;
        assert_eq!(comparable(told), comparable(direct), "{client:?}");
    }
}

fn assert_usage_is_shown_as_asked(told: &Value) {
    let chunks = told["stream"].as_array().expect("chunks");
    assert!(chunks.iter().all(|chunk| chunk["usage"].is_null()), "{chunks:?}");
    assert!(
        chunks.iter().all(|chunk| chunk["choices"][0].is_object()),
        "a chunk without a choice: {chunks:?}"
    );
    let last = told["stream_with_usage"].as_array().and_then(|chunks| chunks.last()).expect("chunks");
    assert_eq!(last["usage"]["completion_tokens"], told["chat"]["usage"]["completion_tokens"]);
}

fn assert_tool_is_called(told: &Value) {
    let call = &told["tools"]["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "get_temperature", "{}", told["tools"]);
    let place = "/choices/0/delta/tool_calls/0/function/arguments";
    assert_eq!(joined(&told["tools_stream"], place), call["arguments"].as_str().expect("arguments"));
}

#[tokio::test]
async fn openai_clients_raise_the_exceptions_that_people_catch() {
    let scene = RealScene::new().await;
    for client in OPENAI {
        let told = through(&scene, client, "refusals").await;
        assert_refused(&told["wrong_key"], "AuthenticationError", 401);
        assert_eq!(told["wrong_key"]["code"], "invalid_api_key");
        for place in ["unknown_model", "unknown_model_streamed", "unknown_model_of_the_list"] {
            assert_refused(&told[place], "NotFoundError", 404);
            assert_eq!(told[place]["code"], "model_not_found", "{place}");
            assert_has_request_id(&told[place]);
        }
        assert_refused(&told["engines_own"], "BadRequestError", 400);
    }
}

#[tokio::test]
async fn anthropic_clients_talk_stream_and_call_tools() {
    let scene = RealScene::new().await;
    for client in ANTHROPIC {
        let told = through(&scene, client, "answers").await;
        let text = &told["message"]["content"][0]["text"];
        assert!(text.as_str().is_some_and(|text| !text.is_empty()), "{told}");
        assert_eq!(told["stream"]["message"]["content"][0]["text"], *text);
        if let Some(tools) = told.get("tools") {
            assert_eq!(tools["content"][0]["name"], "get_temperature", "{tools}");
            assert_eq!(told["tools_stream"]["message"]["content"][0]["input"], tools["content"][0]["input"]);
            assert!(told["count"]["input_tokens"].as_u64() > Some(0));
        }
        let direct = client.play(&scene.engine.url(), "none", MODEL, "answers").await;
        assert_eq!(comparable(told), comparable(direct), "{client:?}");
    }
}

#[tokio::test]
async fn anthropic_clients_raise_the_exceptions_that_people_catch() {
    let scene = RealScene::new().await;
    for client in ANTHROPIC {
        let told = through(&scene, client, "refusals").await;
        assert_refused(&told["wrong_key"], "AuthenticationError", 401);
        assert_eq!(told["wrong_key"]["body"]["error"]["type"], "authentication_error");
        for place in ["unknown_model", "unknown_model_streamed"] {
            assert_refused(&told[place], "NotFoundError", 404);
            assert_eq!(told[place]["body"]["error"]["type"], "not_found_error");
            assert_has_request_id(&told[place]);
        }
    }
}

#[tokio::test]
async fn clients_that_leave_a_stream_free_the_engine() {
    let scene = RealScene::new().await;
    let clients = [OPENAI, ANTHROPIC].concat();
    let finished = scene.engine.tokens_finished().await;
    for client in &clients {
        let (playing, told) = client.start(&scene.gateway.url(), &scene.key, MODEL, "leave").await;
        assert!(told["read"].as_u64() > Some(0), "{client:?}: {told}");
        scene.engine.is_idle().await;
        drop(playing);
        assert!(scene.engine.tokens_finished().await < finished + LONG, "{client:?}: written to the end");
    }
    scene.gateway.outcomes("cancelled", clients.len()).await;
}

#[tokio::test]
async fn ollama_clients_list_show_chat_stream_and_embed() {
    let scene = Scene::new(Kind::Ollama).await;
    for client in OLLAMA {
        let told = client.play(&scene.gateway.url(), &scene.key, OLLAMA_MODEL, "answers").await;
        assert_eq!(told["models"], json!([OLLAMA_MODEL]), "{told}");
        assert_eq!(told["running"], json!([OLLAMA_MODEL]), "{told}");
        assert!(told["capabilities"].is_array(), "{told}");
        let text = told["chat"]["message"]["content"].as_str().expect("a text");
        assert!(!text.is_empty());
        assert_eq!(joined(&told["stream"], "/message/content"), text);
        let direct = client.play(&scene.engine.url(), "none", OLLAMA_MODEL, "answers").await;
        for place in ["chat", "stream", "generate", "embed"] {
            assert_eq!(told[place], direct[place], "{client:?} {place}");
        }
    }
}

#[tokio::test]
async fn ollama_clients_raise_the_exceptions_that_people_catch() {
    let scene = Scene::new(Kind::Ollama).await;
    for client in OLLAMA {
        let told = client.play(&scene.gateway.url(), &scene.key, OLLAMA_MODEL, "refusals").await;
        assert_refused(&told["wrong_key"], "ResponseError", 401);
        assert_refused(&told["unknown_model"], "ResponseError", 404);
        assert_refused(&told["unknown_model_streamed"], "ResponseError", 404);
        for change in ["pull", "delete"] {
            assert_refused(&told[change], "ResponseError", 404);
        }
    }
    scene.assert_engine_untouched();
}

#[tokio::test]
async fn ollama_clients_that_leave_a_stream_free_the_engine() {
    let scene = Scene::new(Kind::Ollama).await;
    let endless = Tokens::of(u64::MAX).every(Duration::from_millis(5));
    scene.engine.set_script(Script::new(Behaviour::Tokens(endless)));
    for client in OLLAMA {
        let (playing, told) = client.start(&scene.gateway.url(), &scene.key, OLLAMA_MODEL, "leave").await;
        assert_eq!(told["read"], 3, "{client:?}: {told}");
        let gone = scene
            .ledger()
            .wait_for(|all| all.iter().all(|one| one.outcome() == Some(Outcome::PeerAborted)), PATIENCE);
        gone.await.expect("the engine to be left");
        drop(playing);
    }
    scene.gateway.outcomes("cancelled", OLLAMA.len()).await;
}
