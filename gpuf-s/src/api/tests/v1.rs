//! Keys, join strings, usage and metrics, as an operator meets them.

use super::*;

#[tokio::test]
async fn a_revoked_key_stops_working_at_once() {
    let bench = Bench::new().await;
    let made: KeyMade =
        serde_json::from_str(&bench.ask("POST", "/api/v1/keys", r#"{"name":"a"}"#).await.body).unwrap();
    let works = async || {
        let from = bench.api.address.ip();
        bench.api.authenticator.authenticate(Some(made.key.as_bytes()), from, Instant::now()).await.is_ok()
    };
    assert!(works().await);
    let answer = bench.ask("DELETE", &format!("/api/v1/keys/{}", made.id), "").await;
    assert_eq!(answer.status, 200);
    assert!(!works().await);
}

#[tokio::test]
async fn a_key_has_the_models_that_were_asked_for() {
    let bench = Bench::new().await;
    let wish = r#"{"name":"a","models":["b:1","a"],"expires_in_days":2,"dedicated_to":"lab"}"#;
    let answer = bench.ask("POST", "/api/v1/keys", wish).await;
    assert_eq!(answer.status, 201);
    let listed = bench.ask("GET", "/api/v1/keys", "").await.json();
    assert_eq!(listed["data"][0]["models"], serde_json::json!(["a", "b:1"]));
    assert_eq!(listed["data"][0]["dedicated_to"], "lab");
    assert!(!listed.to_string().contains(answer.json()["key"].as_str().unwrap()));
}

#[tokio::test]
async fn a_join_string_names_the_advertised_host() {
    let bench = Bench::new().await;
    let answer = bench.ask("POST", "/api/v1/join-tokens", "{}").await;
    assert_eq!(answer.status, 201);
    let join: common::join::JoinString = answer.json()["join"].as_str().unwrap().parse().unwrap();
    assert_eq!(join.server, "gw.example:17000");
    assert_eq!(join.fingerprint, Fingerprint::of(b"authority"));
}

#[tokio::test]
async fn what_does_not_read_is_answered_as_json() {
    let bench = Bench::new().await;
    let long = format!(r#"{{"name":"{}"}}"#, "a".repeat(70_000));
    for (method, path, body, status, code) in [
        ("POST", "/api/v1/keys", "{", 400, "invalid_request"),
        ("POST", "/api/v1/keys", r#"{"name":"a","modles":[]}"#, 400, "invalid_request"),
        ("POST", "/api/v1/keys", r#"{"name":"a\n"}"#, 400, "invalid_request"),
        ("POST", "/api/v1/keys", r#"{"name":"a","models":["../x"]}"#, 400, "invalid_request"),
        ("POST", "/api/v1/keys", r#"{"name":"a","expires_in_days":0}"#, 400, "invalid_request"),
        ("POST", "/api/v1/keys", long.as_str(), 413, "request_too_large"),
        ("GET", "/api/v1/usage?limit=0", "", 400, "invalid_request"),
        ("GET", "/api/v1/usage?limit=1001", "", 400, "invalid_request"),
        ("GET", "/api/v1/usage?nonsense=1", "", 400, "invalid_request"),
        ("GET", "/api/v1/usage?before=1", "", 400, "invalid_request"),
        ("DELETE", "/api/v1/keys/nonsense", "", 404, "not_found"),
        ("DELETE", "/api/v1/keys/0123456789abcdef", "", 404, "not_found"),
        ("GET", "/nothing", "", 404, "not_found"),
        ("PUT", "/api/v1/keys", "", 405, "method_not_allowed"),
    ] {
        let answer = bench.ask(method, path, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path} {body:.40}");
        assert!(
            answer.head.contains("content-type: application/json") && answer.head.contains("x-request-id: ")
        );
    }
    let form = format!("authorization: Bearer {}\r\n", bench.token);
    assert_eq!(bench.send("POST", "/api/v1/keys", &form, "name=a").await.status, 415);
    assert!(bench.api.store.keys().await.unwrap().is_empty());
}

#[tokio::test]
async fn usage_is_shown_in_pages() {
    let bench = Bench::new().await;
    let record = |number: u64| UsageRecord {
        id: UsageId::next(number),
        key_id: KeyId::STATIC,
        model: Some("m".parse().unwrap()),
        agent_id: None,
        engine: Some(EngineKind::Ollama),
        dialect: Dialect::Anthropic,
        endpoint: common::Endpoint::Messages,
        status: 200,
        outcome: Outcome::Cancelled,
        prompt_tokens: Some(3),
        completion_tokens: None,
        first_token_ms: None,
        duration_ms: 5,
        bytes: 6,
        started_unix_ms: number,
    };
    bench.api.store.insert_usage(&[record(1), record(2), record(3)]).await.unwrap();
    let first = bench.ask("GET", "/api/v1/usage?limit=2&outcome=cancelled", "").await.json();
    assert_eq!(first["data"][0]["started_unix_ms"], 3);
    assert_eq!(first["data"][0]["endpoint"], "/v1/messages");
    let next = first["next"].as_str().unwrap();
    let second = bench.ask("GET", &format!("/api/v1/usage?limit=2&before={next}"), "").await.json();
    assert_eq!(second["data"][0]["started_unix_ms"], 1);
    assert_eq!(second["data"].as_array().unwrap().len(), 1);
    assert!(second["next"].is_null());
    let none = bench.ask("GET", "/api/v1/usage?outcome=ok", "").await.json();
    assert!(none["data"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn metrics_are_text_for_prometheus() {
    let bench = Bench::with(Agents {
        connected: vec![agents::connected(AgentId::random().unwrap())].into(),
        ..Agents::default()
    })
    .await;
    bench.api.metrics.answered(Dialect::OpenAi, 429);
    let answer = bench.ask("GET", "/metrics", "").await;
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"));
    for line in [
        "gpuf_build_info{version=\"1.2.3\"} 1",
        "gpuf_requests_total{dialect=\"openai\",status=\"429\"} 1",
        "gpuf_agents{state=\"connected\"} 1",
        "gpuf_slots 4",
        "gpuf_slots_in_use 1",
        "gpuf_database_ready 1",
    ] {
        assert!(answer.body.lines().any(|found| found == line), "{line}\n{}", answer.body);
    }
}
