//! An answer that ended well is whole and is written down so, whatever comes behind it.

use std::time::Duration;

use gpuf_tests::{Behaviour, Connection, Kind, MODEL, Request, Scene, Script, Tokens};
use serde_json::json;

#[tokio::test]
async fn a_large_answer_of_known_length_is_written_down_as_answered() {
    let scene = Scene::new(Kind::OpenAiCompatible).await;
    scene.engine.push_once(Behaviour::Bytes { len: 3 << 20, chunk: 64 * 1024 });
    let body = json!({"model": MODEL, "input": "a long story", "voice": "v"});
    let answer = scene.ask(&Request::post("/v1/audio/speech").key(&scene.key).json(&body)).await;
    assert_eq!((answer.status(), answer.body.len()), (200, 3 << 20));
    scene.gateway.outcomes("ok", 1).await;
}

#[tokio::test]
async fn bytes_behind_a_request_do_not_break_its_answer() {
    let scene = Scene::limited(&[("head_ms", 300)]).await;
    scene.engine.set_script(Script::new(Tokens::of(20).every(Duration::from_millis(40))));
    for behind in ["\n", "\r\n", "GET / HT", "no request at all\r\n\r\n"] {
        let mut connection = Connection::open(scene.gateway.addresses.public).await;
        let mut bytes = scene.chat(true).bytes();
        bytes.extend_from_slice(behind.as_bytes());
        connection.send(&bytes).await;
        let answer = connection.answer().await;
        assert!(answer.is_done(), "{behind:?}: {}", answer.text());
        let refusal = connection.answer().await;
        assert!(matches!(refusal.status(), 400 | 408), "{behind:?}: {}", refusal.text());
        assert!(connection.closed().await);
    }
    scene.gateway.outcomes("ok", 4).await;
}

#[tokio::test]
async fn a_stream_that_was_done_is_whole_even_if_its_engine_never_ends_it() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let event = "data: {\"choices\":[]}\n\ndata: [DONE]\n\n";
    // The chunk that ends the body is never sent.
    let wire = format!("{head}{:x}\r\n{event}\r\n", event.len());
    scene.engine.push_once(Behaviour::raw(wire));
    let answer = scene.ask(&scene.chat(true)).await;
    assert!(answer.is_done() && answer.whole, "{}", answer.text());
    scene.gateway.outcomes("ok", 1).await;
}

#[tokio::test]
async fn an_http2_preface_without_a_request_is_not_kept() {
    let scene = Scene::limited(&[("head_ms", 300), ("first_byte_ms", 300)]).await;
    let mut connection = Connection::open(scene.gateway.addresses.public).await;
    connection.send(b"PRI * HTTP/2.0").await;
    assert!(connection.closed().await);
}
