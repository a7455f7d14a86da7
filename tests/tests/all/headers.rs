//! Which headers pass, and which never do.

use gpuf_tests::{Behaviour, Kind, MODEL, Request, Scene};

#[tokio::test]
async fn credentials_and_hops_never_reach_an_engine() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let request = scene
        .chat(false)
        .header("cookie", "session=mine")
        .header("proxy-authorization", "Basic eA==")
        .header("te", "trailers")
        .header("keep-alive", "timeout=5")
        .header("connection", "keep-alive, x-private-hop")
        .header("x-private-hop", "secret")
        .header("x-forwarded-for", "10.0.0.1")
        .header("forwarded", "for=10.0.0.1")
        .header("x-real-ip", "10.0.0.1")
        .header("x-custom", "kept");
    assert_eq!(scene.ask(&request).await.status(), 200);
    let by_api_key = Request { headers: Vec::new(), ..scene.chat(false) };
    let by_api_key = by_api_key.header("x-api-key", &scene.key).header("content-type", "application/json");
    assert_eq!(scene.ask(&by_api_key).await.status(), 200);
    for seen in scene.ledger().requests() {
        for name in [
            "authorization",
            "x-api-key",
            "cookie",
            "proxy-authorization",
            "te",
            "keep-alive",
            "x-private-hop",
            "x-forwarded-for",
            "forwarded",
            "x-real-ip",
        ] {
            assert_eq!(seen.header(name), None, "{name} reached the engine");
        }
        assert_eq!(seen.header("content-type"), Some("application/json"));
        assert!(!format!("{:?}", seen.headers).contains(&scene.key), "the key reached the engine");
    }
}

#[tokio::test]
async fn only_listed_headers_of_an_engine_reach_the_caller() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let body = r#"{"object":"chat.completion","choices":[]}"#;
    let raw = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nset-cookie: a=b\r\n\
         server: engine/1\r\nx-internal: yes\r\nkeep-alive: timeout=1\r\nconnection: close, x-hop\r\nx-hop: 1\r\n\
         date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n{body}",
        body.len()
    );
    scene.engine.push_once(Behaviour::raw(raw));
    let answer = scene.ask(&scene.chat(false)).await;
    assert_eq!(answer.text(), body);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    for name in ["set-cookie", "x-internal", "keep-alive", "x-hop"] {
        assert_eq!(answer.header(name), None, "{name} reached the caller");
    }
    assert_ne!(answer.header("server"), Some("engine/1"));
    assert_ne!(answer.header("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
}

#[tokio::test]
async fn every_reply_carries_a_request_id_and_a_sane_one_is_kept() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let requests = [
        scene.chat(false),
        scene.chat(true),
        Request::get("/v1/models").key(&scene.key),
        Request::get("/nowhere").key(&scene.key),
        Request::chat("gpuf_nobody", MODEL, false),
        scene.chat(false).body("{"),
    ];
    let mut seen = Vec::new();
    for request in &requests {
        let own = scene.ask(request).await.header("x-request-id").expect("a request id").to_owned();
        assert!(!own.is_empty() && !seen.contains(&own), "{own}");
        seen.push(own);
        let kept = scene.ask(&request.clone().header("x-request-id", "caller-42.a_b")).await;
        assert_eq!(kept.header("x-request-id"), Some("caller-42.a_b"), "{}", request.target);
    }
    for odd in ["a b", "\"x\"", "<script>", &"a".repeat(300)] {
        let answer = scene.ask(&scene.chat(false).header("x-request-id", odd)).await;
        assert!(answer.header("x-request-id").is_some_and(|id| id != odd), "{odd}");
    }
    let anthropic = gpuf_tests::Dialect::Anthropic.request(&scene.key, MODEL, false);
    let answer = scene.ask(&anthropic).await;
    assert_eq!(answer.header("request-id"), answer.header("x-request-id"));
}

#[tokio::test]
async fn two_credentials_that_differ_are_refused() {
    let scene = Scene::new(Kind::LlamaCpp).await;
    let other = scene.gateway.key().await;
    let differing = scene.ask(&scene.chat(false).header("x-api-key", &other)).await;
    assert_eq!(differing.status(), 400, "{}", differing.text());
    let twice = scene.ask(&scene.chat(false).key(&other)).await;
    assert!(matches!(twice.status(), 400 | 401), "{}", twice.text());
    scene.assert_engine_untouched();
    let same = scene.ask(&scene.chat(false).header("x-api-key", &scene.key)).await;
    assert_eq!(same.status(), 200, "{}", same.text());
}
