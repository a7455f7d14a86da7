//! The routes of the envelope.

use serde_json::{Value, json};

use super::*;
use crate::api::envelope;

/// An answer in the envelope.
fn opened(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.body);
    let json = answer.json();
    let fields: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["data", "message", "success", "timestamp"]);
    assert_eq!(json["success"], status < 400);
    assert!(json["message"].as_str().is_some_and(|text| !text.is_empty()));
    let moment = time::OffsetDateTime::parse(
        json["timestamp"].as_str().unwrap(),
        &time::format_description::well_known::Rfc3339,
    );
    assert!((time::OffsetDateTime::now_utc() - moment.unwrap()).whole_seconds().abs() < 60);
    json
}

#[tokio::test]
async fn every_error_is_in_the_envelope_with_its_status() {
    let bench = Bench::new().await;
    let tenant = bench.tenant("lab").await;
    let routes = ROUTES.iter().filter(|route| envelope::is_at(route.path));
    for route in routes.clone() {
        opened(&bench.send(route.method, route.path, "", "").await, 401);
        let line = format!("{} {} HTTP/1.1", route.method, route.path);
        let foreign = bench.raw(&format!("{line}\r\nhost: evil.example\r\nconnection: close\r\n\r\n")).await;
        opened(&foreign, 403);
        if route.access == Access::Admin {
            opened(&bench.ask_as(&tenant, route.method, route.path, "{}").await, 403);
        }
        if route.method == "GET" {
            opened(&bench.ask("GET", &format!("{}?nonsense=1", route.path), "").await, 400);
            opened(&bench.ask("DELETE", route.path, "").await, 405);
        } else {
            opened(&bench.ask(route.method, route.path, "{").await, 400);
            opened(&bench.ask(route.method, route.path, r#"{"nonsense":1}"#).await, 400);
            let token = format!("authorization: Bearer {}\r\n", bench.token);
            opened(&bench.send(route.method, route.path, &token, "{}").await, 415);
        }
    }
    assert!(routes.count() >= 8);
    opened(&bench.ask("GET", "/api/user/nothing", "").await, 404);
    opened(&bench.ask("GET", "/api/models/nothing", "").await, 404);
    bench.api.store.close().await;
    let away = bench.ask("GET", "/api/user/client_list", "").await;
    opened(&away, 503);
    assert!(away.head.contains("retry-after: "), "{}", away.head);
    assert!(!away.body.contains("pool"), "nothing of the database is told: {}", away.body);
}

#[tokio::test]
async fn a_client_gets_a_join_string_that_works_once_and_a_command_to_type() {
    let bench = Bench::new().await;
    let wish =
        json!({ "client_name": "rack 1", "ttl_hours": 2, "client_id": "0f".repeat(16), "user_id": "lab" });
    let made = opened(&bench.ask("POST", "/api/user/insert_client", &wish.to_string()).await, 201);
    let data = &made["data"];
    let join = data["join"].as_str().unwrap();
    let command = format!("gpuf-c join {join} --name 'rack 1' --client-id {}", "0f".repeat(16));
    assert_eq!(data["command"], command);
    assert_eq!((&data["client_name"], &data["user_id"]), (&"rack 1".into(), &"lab".into()));
    let tokens = bench.api.store.join_tokens().await.unwrap();
    assert_eq!((tokens.len(), tokens[0].uses_left, tokens[0].name.as_str()), (1, 1, "rack 1"));
    assert_eq!(tokens[0].expires.0 - tokens[0].created.0, 7200);
    let join: common::join::JoinString = join.parse().unwrap();
    assert_eq!(tokens[0].hash, TokenHash::of(join.token.as_bytes()));

    let taken = bench.enrolled("a", None).await;
    let wish = json!({ "client_name": "b", "client_id": taken });
    opened(&bench.ask("POST", "/api/user/insert_client", &wish.to_string()).await, 409);
    for bad in [
        json!({}),
        json!({ "client_name": "" }),
        json!({ "client_name": "a", "client_id": "0f" }),
        json!({ "client_name": "a", "ttl_hours": 0 }),
    ] {
        opened(&bench.ask("POST", "/api/user/insert_client", &bad.to_string()).await, 400);
    }
}

#[tokio::test]
async fn without_a_place_to_join_there_is_no_join_string() {
    let mut bench = Bench::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    bench.api.join = None;
    bench.api.address = listener.local_addr().unwrap();
    tokio::spawn(bench.api.clone().serve(listener, bench.shutdown.clone()));
    let answer = bench.ask("POST", "/api/user/insert_client", r#"{"client_name":"a"}"#).await;
    let told = opened(&answer, 503);
    assert!(told["message"].as_str().unwrap().contains("--control-address"));
    assert!(bench.api.store.join_tokens().await.unwrap().is_empty());
    assert_eq!(bench.ask("POST", "/api/v1/join-tokens", "{}").await.code(), "no_join_point");
}

async fn names(bench: &Bench, query: &str) -> Vec<String> {
    let answer = bench.ask("GET", &format!("/api/user/client_list?{query}"), "").await;
    let items = opened(&answer, 200)["data"]["items"].clone();
    let name = |item: &Value| item["client_name"].as_str().unwrap().to_owned();
    let mut names: Vec<_> = items.as_array().unwrap().iter().map(name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn clients_are_found_by_each_filter() {
    let bench = Bench::new().await;
    let online = bench.enrolled("told", Some("lab")).await;
    bench.fleet.connect(AgentView { name: "rack one".into(), ..agents::connected(online) });
    bench.enrolled("Rack two", Some("lab")).await;
    let revoked = bench.enrolled("rack three", None).await;
    bench.api.store.revoke_agent(revoked, UnixSeconds::now()).await.unwrap();
    assert_eq!(names(&bench, "").await, ["Rack two", "rack one", "rack three"]);
    assert_eq!(names(&bench, "status=online").await, ["rack one"]);
    assert_eq!(names(&bench, "status=offline").await, ["Rack two"]);
    assert_eq!(names(&bench, "status=revoked").await, ["rack three"]);
    assert_eq!(names(&bench, "user_id=lab").await, ["Rack two", "rack one"]);
    assert_eq!(
        names(&bench, "name=RACK").await,
        ["Rack two", "rack three"],
        "by the name that the store has"
    );
    assert_eq!(names(&bench, &format!("client_id={online}")).await, ["rack one"]);
    assert_eq!(names(&bench, "from=2000-01-01&to=2001-01-01T00:00:00Z").await, Vec::<String>::new());
    assert_eq!(names(&bench, "from=2000-01-01").await.len(), 3);
    for bad in [
        "limit=0",
        "limit=1001",
        "status=asleep",
        "client_id=1",
        "from=yesterday",
        "from=2002-01-01&to=2001-01-01",
        "cursor=x",
        "user_id=%00",
    ] {
        opened(&bench.ask("GET", &format!("/api/user/client_list?{bad}"), "").await, 400);
    }
}

#[tokio::test]
async fn pages_of_clients_meet_without_gap_or_overlap() {
    let bench = Bench::new().await;
    for _ in 0..5 {
        bench.enrolled("a", None).await;
    }
    let mut seen = Vec::new();
    let mut path = "/api/user/client_status_list?limit=2".to_owned();
    loop {
        let page = opened(&bench.ask("GET", &path, "").await, 200);
        seen.extend(page["data"]["items"].as_array().unwrap().iter().map(|item| item["client_id"].clone()));
        let Some(next) = page["data"]["next"].as_str() else { break };
        path = format!("/api/user/client_status_list?limit=2&cursor={next}");
    }
    let mut distinct: Vec<_> = seen.iter().map(ToString::to_string).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!((seen.len(), distinct.len()), (5, 5));
}

#[tokio::test]
async fn a_client_is_shown_as_it_was_edited() {
    let bench = Bench::new().await;
    let id = bench.enrolled("told", None).await;
    bench.fleet.connect(agents::connected(id));
    for method in ["POST", "PUT"] {
        let edit =
            json!({ "client_id": id, "client_name": method, "labels": { "a": "b" }, "location": "here" });
        let edited = opened(&bench.ask(method, "/api/user/edit_client_info", &edit.to_string()).await, 200);
        assert_eq!(edited["data"]["client_name"], method);
        assert_eq!(edited["data"]["labels"], json!({ "a": "b" }));
    }
    let back = json!({ "client_id": id, "client_name": null, "labels": null });
    let edited = opened(&bench.ask("POST", "/api/user/edit_client_info", &back.to_string()).await, 200);
    assert_eq!(
        (&edited["data"]["client_name"], &edited["data"]["location"]),
        (&"host".into(), &"here".into())
    );
    assert_eq!(edited["data"]["labels"], json!({ "room": "attic" }));
    for (bad, status) in [
        (json!({ "client_id": id }), 400),
        (json!({ "client_id": id, "labels": { "a": "\u{7}" } }), 400),
        (json!({ "client_id": id, "location": "" }), 400),
        (json!({ "client_id": "00".repeat(16), "client_name": "a" }), 404),
    ] {
        opened(&bench.ask("POST", "/api/user/edit_client_info", &bad.to_string()).await, status);
    }
    let audit = bench.ask("GET", "/api/v1/audit?limit=1", "").await.json();
    assert_eq!(
        (&audit["data"][0]["action"], &audit["data"][0]["detail"]),
        (&"agent.edit".into(), &"name, labels".into())
    );
}

#[tokio::test]
async fn what_a_client_reports_is_there_whole() {
    let bench = Bench::new().await;
    let id = bench.enrolled("a", None).await;
    bench.fleet.connect(agents::connected(id));
    let path = "/api/user/model_download_progress";
    let all = opened(&bench.ask("GET", path, "").await, 200);
    let states: Vec<_> = all["data"]["items"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(states, ["loaded", "ready"]);
    assert_eq!(all["data"]["items"][0]["percent"], 100.0);
    let one = opened(&bench.ask("GET", &format!("{path}?model=b&client_id={id}"), "").await, 200);
    assert_eq!(one["data"]["items"].as_array().unwrap().len(), 1);
    opened(&bench.ask("GET", &format!("{path}?client_id={}", "00".repeat(16)), "").await, 404);
}

#[tokio::test]
async fn a_described_model_is_shown_with_who_serves_it() {
    let bench = Bench::new().await;
    let id = bench.enrolled("a", None).await;
    bench.fleet.connect(agents::connected(id));
    let wish = json!({
        "name": "a", "engines": ["vllm", "ollama"], "size_bytes": 5, "checksum_sha256": "AB".repeat(32),
        "gpu_memory_min_bytes": 6, "description": "small"
    });
    let made = opened(&bench.ask("POST", "/api/models/insert", &wish.to_string()).await, 201);
    assert_eq!(made["data"]["agents"][0]["agent_id"], id.to_string());
    assert_eq!(
        (&made["data"]["checksum_sha256"], &made["data"]["engines"]),
        (&"ab".repeat(32).into(), &json!(["ollama", "vllm"]))
    );
    opened(&bench.ask("POST", "/api/models/insert", r#"{"name":"a"}"#).await, 200);
    opened(&bench.ask("POST", "/api/models/insert", r#"{"name":"other"}"#).await, 201);
    let got = opened(&bench.ask("GET", "/api/models/get?model=a", "").await, 200);
    assert_eq!(got["data"]["items"][0]["size_bytes"], Value::Null, "what is said replaces what was");
    let first = opened(&bench.ask("GET", "/api/models/get?limit=1", "").await, 200);
    let next = first["data"]["next"].as_str().unwrap();
    let second = opened(&bench.ask("GET", &format!("/api/models/get?limit=1&cursor={next}"), "").await, 200);
    assert_eq!(second["data"]["items"][0]["name"], "other");
    assert_eq!(second["data"]["items"][0]["agents_total"], 0);
    for bad in [
        json!({ "name": "../x" }),
        json!({ "name": "x", "engines": ["toaster"] }),
        json!({ "name": "x", "size_bytes": 0 }),
        json!({ "name": "x", "size_bytes": -1 }),
        json!({ "name": "x", "checksum_sha256": "ab" }),
        json!({ "name": "x", "description": "a".repeat(5000) }),
    ] {
        opened(&bench.ask("POST", "/api/models/insert", &bad.to_string()).await, 400);
    }
    assert_eq!(bench.ask("DELETE", "/api/v1/catalogue?model=a", "").await.status, 200);
    assert_eq!(bench.ask("DELETE", "/api/v1/catalogue?model=a", "").await.status, 404);
    assert_eq!(bench.ask("GET", "/api/v1/catalogue", "").await.json()["data"][0]["name"], "other");
}
