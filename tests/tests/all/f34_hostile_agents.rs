//! F34: what a hostile agent or engine sends must not become the caller's or the server's problem.

use std::time::Duration;

use gpuf_tests::{Behaviour, Conduct, FakeAgent, Gateway, Kind, MODEL, Request, Scene};

const MEMORY_BYTES_MAX: u64 = 32 << 20;

#[tokio::test]
async fn f34_a_line_without_end_costs_no_memory() {
    for bytes in [Some(50 << 20), None] {
        let gateway = Gateway::builder().limits(&[("streamed_request_ms", 8_000)]).start().await;
        let _agent = FakeAgent::start(&gateway, MODEL, 8, Conduct::Line { bytes }).await;
        let key = gateway.key().await;
        let before = gateway.process.memory_bytes();
        let mut connection = gateway.send(&Request::chat(&key, MODEL, true)).await;
        let read = async {
            let head = connection.head().await.expect("an answer");
            let body = connection.drain().await;
            (head.status, body)
        };
        let (status, body_bytes) = gpuf_tests::in_time("the end of the line", read).await;
        let grown = gateway.process.memory_bytes().saturating_sub(before);
        assert!(grown < MEMORY_BYTES_MAX, "grew by {grown} bytes");
        assert!(status == 502 || (status == 200 && body_bytes < 60 << 20), "{status}, {body_bytes} bytes");
    }
}

#[tokio::test]
async fn f34_an_engines_endless_line_is_stopped_when_its_caller_leaves() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    scene.engine.push_once(Behaviour::EndlessLine);
    let before = scene.gateway.process.memory_bytes();
    let connection = scene.gateway.send(&scene.chat(true)).await;
    scene.ledger().wait_for(|all| all.len() == 1, gpuf_tests::PATIENCE).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let grown = scene.gateway.process.memory_bytes().saturating_sub(before);
    assert!(grown < MEMORY_BYTES_MAX, "grew by {grown} bytes");
    drop(connection);
    scene.ledger().wait_for(|all| all[0].ended.is_some(), gpuf_tests::PATIENCE).await.unwrap();
    scene.assert_serves().await;
}

#[tokio::test]
async fn f34_only_listed_headers_of_an_agent_reach_the_caller() {
    let gateway = Gateway::start().await;
    let hostile = [
        ("content-type", "application/json"),
        ("set-cookie", "session=stolen"),
        ("server", "evil/1"),
        ("x-evil", "yes"),
        ("location", "http://evil.example/"),
        ("www-authenticate", "Basic realm=evil"),
        ("access-control-allow-origin", "http://evil.example"),
        ("strict-transport-security", "max-age=1"),
        ("gpuf-error", "nonsense"),
        ("via", "evil"),
        ("refresh", "0; url=http://evil.example/"),
        ("x-request-id", "evil"),
        ("alt-svc", "h3=\":1\""),
    ];
    let headers =
        hostile.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let body = r#"{"object":"chat.completion","choices":[]}"#;
    let conduct = Conduct::Answers { status: 200, headers, body: body.into() };
    let _agent = FakeAgent::start(&gateway, MODEL, 8, conduct).await;
    let key = gateway.key().await;
    let answer = gateway.ask(&Request::chat(&key, MODEL, false)).await;
    let shown =
        answer.head.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>();
    for (name, value) in &hostile[1..] {
        assert!(!shown.iter().any(|line| line == &format!("{name}: {value}")), "{name} passed: {shown:?}");
    }
}

#[tokio::test]
async fn f34_an_engine_cannot_write_into_the_callers_head() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let body = r#"{"object":"chat.completion","choices":[]}"#;
    let length = body.len();
    let lines = [
        "x-a: b\r\n\r\nHTTP/1.1 200 OK\r\nx-split: yes",
        "content-type: application/json\nx-split: yes",
        "content-type: application/json\r\n x-split: yes",
        "content-type: a\0b",
        "content-length: 1",
        "transfer-encoding: chunked",
    ];
    for line in lines {
        let raw = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{line}\r\n\r\n{body}");
        scene.engine.set_script(gpuf_tests::Script::new(Behaviour::raw(raw)));
        let mut connection = scene.gateway.send(&scene.chat(false)).await;
        let answer = connection.answer().await;
        assert!(answer.header("x-split").is_none(), "{line:?}: {:?}", answer.head);
        connection.send(&Request::get("/v1/models").key(&scene.key).bytes()).await;
        if let Some(next) = connection.head().await {
            assert!(next.header("x-split").is_none(), "{line:?}: {next:?}");
            assert_eq!(next.status, 200, "{line:?}");
        }
    }
}
