//! The simulated engine, seen from its socket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use serde_json::Value;
use sim_engine::{Behaviour, Kind, Outcome, Script, SimEngine, Tokens};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(10);

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: e\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

async fn connect(engine: &SimEngine) -> TcpStream {
    TcpStream::connect(engine.addr()).await.unwrap()
}

/// Sends one request on a connection of its own and reads until the engine closes.
async fn ask(engine: &SimEngine, request: &str) -> String {
    let mut stream = connect(engine).await;
    let request = request.replacen("host: e", "host: e\r\nconnection: close", 1);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut piece = [0; 4096];
    while !text.contains(end) {
        let read = tokio::time::timeout(SOON, stream.read(&mut piece)).await.unwrap().unwrap();
        assert_ne!(read, 0, "closed before {end:?}: {text}");
        text.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    text
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// The JSON of every `data:` line.
fn events(answer: &str) -> Vec<Value> {
    let lines = answer.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

async fn engine(kind: Kind) -> SimEngine {
    SimEngine::builder().kind(kind).models(["m"]).numbered().start().await.unwrap()
}

#[tokio::test]
async fn a_plain_answer_carries_the_usage_that_it_has() {
    let engine = engine(Kind::Vllm).await;
    engine.push_once(Behaviour::tokens(3));
    let ask_for = r#"{"model":"m","messages":[{"role":"user","content":"one two"}]}"#;
    let answer = body(&ask(&engine, &post("/v1/chat/completions", ask_for)).await);
    assert_eq!(answer["choices"][0]["message"]["content"], "t0 t1 t2");
    assert_eq!(answer["usage"]["prompt_tokens"], 2);
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    assert_eq!(answer["usage"]["total_tokens"], 5);
}

#[tokio::test]
async fn a_stream_ends_with_usage_only_if_it_was_asked_for() {
    let engine = engine(Kind::LlamaCpp).await;
    let asked = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
    let asked = ask(&engine, &post("/v1/chat/completions", asked)).await;
    let last = events(&asked).pop().unwrap();
    assert_eq!(last["choices"].as_array().unwrap().len(), 0);
    assert_eq!(last["usage"]["completion_tokens"], 8);
    assert!(asked.contains("data: [DONE]\n\n\r\n0\r\n\r\n"));
    let plain = ask(&engine, &post("/v1/chat/completions", r#"{"model":"m","stream":true}"#)).await;
    assert!(events(&plain).iter().all(|event| event.get("usage").is_none()));
}

#[tokio::test]
async fn max_tokens_cuts_an_answer_and_says_so() {
    let engine = engine(Kind::LlamaCpp).await;
    let answer = ask(&engine, &post("/v1/completions", r#"{"model":"m","prompt":"x","max_tokens":2}"#)).await;
    assert_eq!(body(&answer)["choices"][0]["finish_reason"], "length");
    assert_eq!(body(&answer)["usage"]["completion_tokens"], 2);
}

#[tokio::test]
async fn responses_end_with_response_completed_and_no_done() {
    let engine = engine(Kind::LlamaCpp).await;
    let answer = ask(&engine, &post("/v1/responses", r#"{"model":"m","input":"hi","stream":true}"#)).await;
    let events = events(&answer);
    assert_eq!(events.first().unwrap()["type"], "response.created");
    assert_eq!(events.last().unwrap()["type"], "response.completed");
    assert_eq!(events.last().unwrap()["response"]["usage"]["output_tokens"], 8);
    assert!(answer.contains("event: response.output_text.delta\n") && !answer.contains("[DONE]"));
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
}

#[tokio::test]
async fn messages_run_from_message_start_to_message_stop() {
    let engine = engine(Kind::LlamaCpp).await;
    let answer = ask(&engine, &post("/v1/messages", r#"{"model":"m","max_tokens":3,"stream":true}"#)).await;
    let events = events(&answer);
    assert_eq!(events.first().unwrap()["type"], "message_start");
    assert_eq!(events[events.len() - 2]["usage"]["output_tokens"], 3);
    assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "max_tokens");
    assert_eq!(events.last().unwrap()["type"], "message_stop");
}

#[tokio::test]
async fn ollama_streams_lines_unless_told_not_to() {
    let engine = engine(Kind::Ollama).await;
    engine.push_once(Behaviour::tokens(2));
    let answer = ask(&engine, &post("/api/chat", r#"{"model":"m","messages":[]}"#)).await;
    let lines: Vec<Value> = answer.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let lines: Vec<&Value> = lines.iter().filter(|line| line.is_object()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["done"], true);
    assert_eq!(lines[2]["eval_count"], 2);
    let whole = ask(&engine, &post("/api/generate", r#"{"model":"m","prompt":"a b","stream":false}"#)).await;
    assert_eq!(body(&whole)["done"], true);
    assert_eq!(body(&whole)["prompt_eval_count"], 2);
}

#[tokio::test]
async fn each_kind_answers_only_the_identification_that_the_real_one_has() {
    let table = [
        (Kind::LlamaCpp, ["200", "200", "404", "404", "501"]),
        (Kind::Ollama, ["404", "404", "200", "404", "404"]),
        (Kind::Vllm, ["200", "404", "404", "200", "200"]),
        (Kind::OpenAiCompatible, ["404", "404", "404", "404", "404"]),
    ];
    for (kind, statuses) in table {
        let engine = engine(kind).await;
        for (path, status) in
            ["/health", "/props", "/api/version", "/version", "/metrics"].iter().zip(statuses)
        {
            let answer = ask(&engine, &format!("GET {path} HTTP/1.1\r\nhost: e\r\n\r\n")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{kind:?} {path}: {answer}");
        }
        assert!(engine.ledger().requests().is_empty(), "probes are no requests for work");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_is_written_down_as_soon_as_it_does() {
    let engine = engine(Kind::LlamaCpp).await;
    for behaviour in
        [Behaviour::HangBeforeHead, Behaviour::HangBeforeFirstToken, Behaviour::HangAfter { tokens: 2 }]
    {
        engine.push_once(behaviour.clone());
        let mut stream = connect(&engine).await;
        let request = post("/v1/chat/completions", r#"{"model":"m","stream":true}"#);
        stream.write_all(request.as_bytes()).await.unwrap();
        engine.ledger().wait_for(|requests| requests.iter().any(|one| one.body_len > 0), SOON).await.unwrap();
        drop(stream);
        let aborted = |outcome| outcome == Some(Outcome::PeerAborted);
        let ended =
            engine.ledger().wait_for(|requests| requests.iter().all(|one| aborted(one.outcome())), SOON);
        ended.await.unwrap_or_else(|missing| panic!("{behaviour:?}: {missing}"));
        assert_eq!(engine.ledger().active(), 0);
        assert_eq!(engine.slots_busy(), 0);
        engine.ledger().clear();
    }
}

#[tokio::test]
async fn an_answer_before_the_body_leaves_the_connection_usable() {
    let engine = engine(Kind::LlamaCpp).await;
    engine.push_once(Behaviour::AnswerBeforeBody { status: 413, body: "{}".into() });
    let mut stream = connect(&engine).await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: e\r\ncontent-length: 200000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(read_until(&mut stream, "{}").await.starts_with("HTTP/1.1 413 "));
    stream.write_all(&[b' '; 200_000]).await.unwrap();
    let again = post("/v1/chat/completions", r#"{"model":"m"}"#);
    stream.write_all(again.as_bytes()).await.unwrap();
    assert!(read_until(&mut stream, "usage").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_chunked_body_is_read_whole_and_echoed() {
    let engine = engine(Kind::OpenAiCompatible).await;
    engine.set_script(Script::new(Behaviour::EchoBody));
    let request = "POST /v1/audio/speech HTTP/1.1\r\nhost: e\r\ntransfer-encoding: chunked\r\n\r\n\
        3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n";
    assert!(ask(&engine, request).await.ends_with("\r\n\r\nabcdefg"));
    assert_eq!(engine.ledger().requests()[0].body, "abcdefg");
}

#[tokio::test]
async fn repeated_requests_get_the_same_answer_until_the_script_changes() {
    let engine = engine(Kind::LlamaCpp).await;
    let mut stream = connect(&engine).await;
    let request = post("/v1/chat/completions", r#"{"model":"m"}"#);
    for count in [2, 5] {
        engine.set_script(Script::new(Tokens::of(count)));
        for _ in 0..3 {
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = read_until(&mut stream, "}}").await;
            assert_eq!(body(&answer)["usage"]["completion_tokens"], count);
        }
    }
    engine.push_once(Behaviour::status(500, "{\"no\":{\"no\":1}}"));
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(read_until(&mut stream, "}}").await.starts_with("HTTP/1.1 500 "));
}

#[tokio::test]
async fn requests_past_the_slots_wait_their_turn() {
    let engine = SimEngine::builder().kind(Kind::Vllm).models(["m"]).slots(1).start().await.unwrap();
    engine.push_once(Behaviour::HangBeforeHead);
    let request = post("/v1/chat/completions", r#"{"model":"m"}"#);
    let mut first = connect(&engine).await;
    first.write_all(request.as_bytes()).await.unwrap();
    engine.ledger().wait_for(|requests| requests.len() == 1, SOON).await.unwrap();
    let mut second = connect(&engine).await;
    second.write_all(request.as_bytes()).await.unwrap();
    engine.ledger().wait_for(|requests| requests.len() == 2, SOON).await.unwrap();
    let metrics = "GET /metrics HTTP/1.1\r\nhost: e\r\n\r\n";
    // The second request is in the ledger a moment before it is in the queue.
    while !ask(&engine, metrics)
        .await
        .contains("vllm:num_requests_waiting{engine=\"0\",model_name=\"m\"} 1.0")
    {}
    drop(first);
    assert!(read_until(&mut second, "usage").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn stopping_closes_every_connection() {
    let engine = SimEngine::builder().models(["m"]).workers(2).start().await.unwrap();
    engine.push_once(Behaviour::HangBeforeHead);
    let mut stream = connect(&engine).await;
    stream.write_all(post("/v1/chat/completions", r#"{"model":"m"}"#).as_bytes()).await.unwrap();
    engine.ledger().wait_for(|requests| requests.len() == 1, SOON).await.unwrap();
    let (ledger, addr) = (engine.ledger().clone(), engine.addr());
    engine.stop().await;
    assert_eq!(ledger.requests()[0].outcome(), Some(Outcome::EngineStopped));
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_web_socket_hears_itself() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let engine = engine(Kind::OpenAiCompatible).await;
    let url = format!("ws://{}/v1/realtime?model=m", engine.addr());
    let (mut socket, _) = tokio_tungstenite::client_async(url, connect(&engine).await).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    socket.close(None).await.unwrap();
    engine
        .ledger()
        .wait_for(|requests| requests[0].outcome() == Some(Outcome::Completed), SOON)
        .await
        .unwrap();
}
