//! F05: heads that are too large are refused, and cost no more memory than was sent.

use gpuf_tests::{Kind, MODEL, Request, Scene};

#[tokio::test]
async fn f05_giant_heads_are_refused_and_the_connection_closed() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let chat = || Request::chat(&scene.key, MODEL, false);
    let many = (0..150).fold(chat(), |request, number| request.header(&format!("x-{number}"), "v"));
    let large =
        (0..60).fold(chat(), |request, number| request.header(&format!("x-{number}"), &"v".repeat(900)));
    let long = chat().header("x-long", &"v".repeat(20_000));
    let target = Request::get(&format!("/v1/models?q={}", "a".repeat(10_000))).key(&scene.key);
    let cases = [("many", many, 431), ("large", large, 431), ("long", long, 431), ("target", target, 414)];
    for (name, request, status) in cases {
        let mut connection = scene.gateway.send(&request).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status(), status, "{name}: {}", answer.text());
        assert!(connection.closed().await, "{name}");
    }
    scene.assert_engine_untouched();
    scene.assert_serves().await;
}

#[tokio::test]
async fn f05_memory_grows_by_at_most_twice_what_endless_heads_send() {
    const SENDERS: usize = 32;
    const BYTES: usize = 512 * 1024;
    const SLACK_BYTES: u64 = 8 << 20;
    let scene = Scene::new(Kind::LlamaCpp).await;
    scene.assert_serves().await;
    let before = scene.gateway.process.memory_bytes();
    let mut sent = 0;
    let mut connections = Vec::new();
    for _ in 0..SENDERS {
        let mut connection = scene.gateway.connect().await;
        let mut head = b"GET /v1/models HTTP/1.1\r\nhost: h\r\nx-endless: ".to_vec();
        head.resize(BYTES, b'a');
        sent += connection.send_until_refused(&head).await as u64;
        connections.push(connection);
    }
    let grown = scene.gateway.process.memory_bytes().saturating_sub(before);
    assert!(grown <= 2 * sent + SLACK_BYTES, "{grown} bytes for {sent} sent");
    for connection in &mut connections {
        connection.closed().await;
    }
    scene.assert_serves().await;
}
