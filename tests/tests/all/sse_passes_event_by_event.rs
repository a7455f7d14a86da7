//! Streams reach the caller event by event, whatever they look like.

use std::time::Duration;

use gpuf_tests::{Behaviour, Connection, FaultProxy, Gateway, Kind, MODEL, Request, Scene, Tokens, engine};

fn raw_stream(body: &str) -> Behaviour {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    Behaviour::raw(format!("{head}{body}"))
}

#[tokio::test]
async fn a_stream_has_the_headers_that_proxies_on_the_way_need() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let answer = scene.ask(&scene.chat(true)).await;
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    assert!(answer.header("content-length").is_none());
    assert!(answer.header("x-request-id").is_some());
    assert!(answer.is_done());
}

#[tokio::test]
async fn each_token_leaves_at_once() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    scene.engine.push_once(Behaviour::HangAfter { tokens: 1 });
    let mut stream = scene.open(&scene.chat(true)).await;
    assert_eq!(stream.tokens(1).await, ["t0"], "the first token does not wait for the second");
}

#[tokio::test]
async fn an_event_is_never_split() {
    let gateway = Gateway::start().await;
    let engine = engine(Kind::LlamaCpp).await;
    let crumbs = FaultProxy::to(engine.addr()).one_byte_writes().start().await;
    let _agent = gateway.build_agent().engine_at(&engine, crumbs.url()).start().await;
    let key = gateway.key().await;
    engine.push_once(Tokens::of(20).every(Duration::from_millis(5)));
    let answer = gateway.ask(&Request::chat(&key, MODEL, true)).await;
    assert!(answer.is_done(), "{}", answer.text());
    for chunk in &answer.chunks {
        assert!(chunk.ends_with(b"\n\n"), "{:?}", String::from_utf8_lossy(chunk));
    }
}

#[tokio::test]
async fn line_ends_comments_and_fields_of_any_kind_pass() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let bodies = [
        "data: {\"choices\":[]}\r\n\r\ndata: [DONE]\r\n\r\n",
        "data: {\"choices\":\ndata: []}\n\ndata: [DONE]\n\n",
        ": hello\n\nid: 7\nretry: 10\nevent: odd\ndata:{\"choices\":[]}\n\ndata:[DONE]\n\n",
        "event: x\r\ndata: {\"a\":\"\u{e9}\u{1f600}\"}\r\n\r\ndata: [DONE]\r\n\r\n",
    ];
    for body in bodies {
        scene.engine.push_once(raw_stream(body));
        let asked = scene.chat(true).with("stream_options", serde_json::json!({"include_usage": true}));
        let answer = scene.ask(&asked).await;
        assert_eq!(answer.text(), body);
    }
}

#[tokio::test]
async fn done_comes_once_even_if_the_engine_says_more() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    scene.engine.push_once(raw_stream("data: {\"choices\":[]}\n\ndata: [DONE]\n\ndata: [DONE]\n\n"));
    let answer = scene.ask(&scene.chat(true)).await;
    let done = answer.events().iter().filter(|event| event.is_done()).count();
    assert_eq!(done, 1, "{}", answer.text());
}

#[tokio::test]
async fn a_stream_without_done_is_not_given_one() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let partial = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{partial}\r\n",
        partial.len()
    );
    scene.engine.push_once(Behaviour::raw(chunked));
    let answer = scene.ask(&scene.chat(true)).await;
    assert!(answer.is_cut(), "{}", answer.text());
}

#[tokio::test]
async fn many_streams_at_once_lose_no_token() {
    const STREAMS: usize = 40;
    let scene = Scene::new(Kind::LlamaCpp).await;
    scene.engine.set_script(gpuf_tests::Script::new(Tokens::of(100).every(Duration::from_millis(10))));
    let expected = (0..100).map(|token| format!("t{token}")).collect::<Vec<_>>().join(" ");
    let request = scene.chat(true);
    let asked = (0..STREAMS)
        .map(|_| async { Connection::open(scene.gateway.addresses.public).await.ask(&request).await });
    for answer in futures_util::future::join_all(asked).await {
        assert!(answer.is_done(), "{}", answer.text());
        assert_eq!(answer.streamed_text(), expected);
    }
}
