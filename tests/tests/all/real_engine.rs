//! A real llama.cpp server behind the whole chain: its answer is the same as without it.

use gpuf_tests::real_engine::{MODEL, RealScene};
use gpuf_tests::{Answer, Event, Request, eventually};
use serde_json::{Value, json};

/// Fields that differ between two equal questions to one engine.
const OF_ITS_OWN: [&str; 6] = ["id", "item_id", "created", "created_at", "completed_at", "timings"];

/// Tokens of an answer that takes seconds to write.
const LONG: u64 = 1_500;

/// `value` without what differs between two answers to one question.
pub(crate) fn comparable(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|name, _| !OF_ITS_OWN.contains(&name.as_str()));
            fields.values_mut().for_each(|field| *field = comparable(field.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = comparable(item.take())),
        _ => {}
    }
    value
}

fn messages() -> Value {
    json!([{"role": "user", "content": "Name a colour."}])
}

fn chat(key: &str) -> Request {
    let body = json!({"model": MODEL, "messages": messages(), "temperature": 0, "seed": 7, "max_tokens": 8});
    Request::post("/v1/chat/completions").key(key).json(&body)
}

fn completion(key: &str) -> Request {
    let body = json!({"model": MODEL, "prompt": "The sky is", "temperature": 0, "seed": 7, "max_tokens": 8});
    Request::post("/v1/completions").key(key).json(&body)
}

fn responses(key: &str) -> Request {
    let body = json!({"model": MODEL, "input": "Name a colour.", "temperature": 0, "max_output_tokens": 8});
    Request::post("/v1/responses").key(key).json(&body)
}

fn anthropic(key: &str) -> Request {
    let body = json!({"model": MODEL, "messages": messages(), "temperature": 0, "max_tokens": 8});
    let request = Request::post("/v1/messages").header("x-api-key", key).json(&body);
    request.header("anthropic-version", "2023-06-01")
}

fn embeddings(key: &str) -> Request {
    let body = json!({"model": MODEL, "input": ["a red apple", "the sea at night"]});
    Request::post("/v1/embeddings").key(key).json(&body)
}

async fn both(scene: &RealScene, request: &Request) -> (Answer, Answer) {
    let direct = scene.engine.ask(request).await;
    assert_eq!(direct.status(), 200, "the engine itself: {}", direct.text());
    let ours = scene.ask(request).await;
    assert_eq!(ours.status(), 200, "{}: {}", request.target, ours.text());
    assert!(ours.whole);
    (ours, direct)
}

fn comparable_events(answer: &Answer) -> Vec<(Option<String>, Value)> {
    let told = |event: &Event| if event.is_done() { json!("[DONE]") } else { comparable(event.json()) };
    answer.events().iter().map(|event| (event.name.clone(), told(event))).collect()
}

#[tokio::test]
async fn a_plain_answer_is_the_engines_own_in_every_dialect() {
    let scene = RealScene::new().await;
    let key = &scene.key;
    let requests = [chat(key), completion(key), responses(key), anthropic(key), embeddings(key)];
    for request in &requests {
        let (ours, direct) = both(&scene, request).await;
        assert_eq!(comparable(ours.json()), comparable(direct.json()), "{}", request.target);
    }
    let records = scene.gateway.usage_when("a record each", |usage| usage.len() == requests.len()).await;
    for record in records {
        assert!(record.prompt_tokens() > Some(0), "{record:?}");
    }
}

#[tokio::test]
async fn a_streamed_answer_is_the_engines_own_event_by_event() {
    let scene = RealScene::new().await;
    let key = &scene.key;
    let with_usage = chat(key).with("stream_options", json!({"include_usage": true}));
    for request in [chat(key), with_usage, completion(key), responses(key), anthropic(key)] {
        let (ours, direct) = both(&scene, &request.with("stream", true)).await;
        assert_eq!(comparable_events(&ours), comparable_events(&direct), "{}", ours.text());
    }
    let records = scene.gateway.usage_when("five records", |usage| usage.len() == 5).await;
    for record in records {
        assert_eq!(record.completion_tokens(), Some(8), "{record:?}");
        assert!(record.prompt_tokens() > Some(0), "{record:?}");
    }
}

#[tokio::test]
async fn what_the_engine_refuses_is_told_in_its_words() {
    let scene = RealScene::new().await;
    let request =
        chat(&scene.key).with("messages", json!([{"role": "user", "content": [{"type": "nonsense"}]}]));
    let (ours, direct) = (scene.ask(&request).await, scene.engine.ask(&request).await);
    assert_eq!((ours.status(), direct.status()), (400, 400));
    assert_eq!(ours.body, direct.body);
}

async fn leaving_stops_the_engine(stream: bool) {
    let scene = RealScene::new().await;
    let finished = scene.engine.tokens_finished().await;
    let long = chat(&scene.key).with("max_tokens", LONG).with("ignore_eos", true).with("stream", stream);
    let connection = scene.gateway.send(&long).await;
    let at_work = async || (scene.engine.busy_slots().await == 1).then_some(());
    eventually("the engine at work", at_work).await;
    drop(connection);
    scene.engine.is_idle().await;
    assert!(scene.engine.tokens_finished().await < finished + LONG, "the engine wrote to the end");
    scene.gateway.outcomes("cancelled", 1).await;
}

#[tokio::test]
async fn a_caller_that_leaves_a_stream_stops_the_engine() {
    leaving_stops_the_engine(true).await;
}

#[tokio::test]
async fn a_caller_that_leaves_a_plain_request_stops_the_engine() {
    leaving_stops_the_engine(false).await;
}
