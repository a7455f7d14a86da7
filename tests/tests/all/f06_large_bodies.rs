//! F06: a body over the limit is refused before it is read.

use gpuf_tests::{MODEL, Request, Scene};

const LIMIT: usize = 256 * 1024;

async fn scene() -> Scene {
    Scene::limited(&[("body_bytes_max", LIMIT as u64)]).await
}

#[tokio::test]
async fn f06_an_announced_giant_is_refused_before_a_byte_of_it_is_sent() {
    let scene = scene().await;
    let head = Request { body: Vec::new(), ..scene.chat(false) }.head(&[("content-length", "100000000000")]);
    let mut connection = scene.gateway.connect().await;
    connection.send(&head).await;
    let answer = connection.answer().await;
    assert_eq!(answer.status(), 413, "{}", answer.text());
    assert_eq!(answer.json()["error"]["type"].as_str().map(str::is_empty), Some(false));
    scene.assert_engine_untouched();
}

#[tokio::test]
async fn f06_a_chunked_giant_is_refused_at_the_limit() {
    let scene = scene().await;
    let before = scene.gateway.process.memory_bytes();
    let request = scene.chat(false).body(vec![b' '; 64 << 20]);
    let mut connection = scene.gateway.connect().await;
    let sent = connection.send_until_refused(&request.chunked_bytes(16 * 1024)).await;
    assert!(sent < 32 << 20, "{sent} bytes were taken");
    let answer = connection.head().await;
    // A peer that closes while we write may take its answer with it.
    assert!(answer.is_none_or(|head| head.status == 413));
    let grown = scene.gateway.process.memory_bytes().saturating_sub(before);
    assert!(grown < 16 << 20, "grew by {grown} bytes");
    scene.assert_engine_untouched();
}

#[tokio::test]
async fn f06_a_chunked_body_just_over_the_limit_gets_its_413() {
    let scene = scene().await;
    let request = scene.chat(false).body(vec![b' '; LIMIT + 1]);
    let mut connection = scene.gateway.connect().await;
    connection.send(&request.chunked_bytes(8 * 1024)).await;
    assert_eq!(connection.answer().await.status(), 413);
    scene.assert_engine_untouched();
}

#[tokio::test]
async fn f06_a_body_of_exactly_the_limit_passes() {
    let scene = scene().await;
    let mut body = format!(r#"{{"model":"{MODEL}","messages":[]}}"#).into_bytes();
    body.resize(LIMIT, b' ');
    let answer = scene.ask(&scene.chat(false).body(body)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(scene.ledger().requests()[0].body_len, LIMIT as u64);
}

#[tokio::test]
async fn f06_a_compressed_body_is_not_unpacked() {
    let scene = scene().await;
    for coding in ["gzip", "br", "deflate", "zstd", "gzip, identity"] {
        let answer = scene.ask(&scene.chat(false).header("content-encoding", coding)).await;
        assert_eq!(answer.status(), 415, "{coding}: {}", answer.text());
    }
    scene.assert_engine_untouched();
    let identity = scene.ask(&scene.chat(false).header("content-encoding", "identity")).await;
    assert_eq!(identity.status(), 200, "{}", identity.text());
}
