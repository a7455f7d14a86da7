//! Agents as the API shows and revokes them.

use super::*;

pub(super) fn connected(id: AgentId) -> AgentView {
    let model = |name: &str, loaded| ModelView {
        name: name.parse().unwrap(),
        loaded,
        size_bytes: None,
        context_tokens: None,
    };
    AgentView {
        connected_for_s: Some(5),
        address: Some("192.0.2.1:5".into()),
        version: Some("1".into()),
        os: Some("linux".into()),
        arch: Some("x86_64".into()),
        labels: [("room".to_owned(), "attic".to_owned())].into(),
        location: None,
        engines: vec![EngineView {
            id: "ollama".parse().unwrap(),
            kind: EngineKind::Ollama,
            version: None,
            slots: 4,
            in_flight: 1,
            models: vec![model("a", Some(true)), model("b", None)],
        }],
        round_trip_ms: Some(1.5),
        tunnel_connections: 4,
        ..AgentView::bare(id, "host".into(), "connected".into())
    }
}

#[tokio::test]
async fn agents_are_listed_whether_connected_or_away() {
    let bench = Bench::new().await;
    let here = bench.enrolled("told", None).await;
    bench.fleet.connect(connected(here));
    let away = bench.enrolled("away", None).await;
    let listed = bench.ask("GET", "/api/v1/agents", "").await.json();
    let of = |id: AgentId| {
        let rows = listed["data"].as_array().unwrap();
        rows.iter().find(|row| row["id"] == id.to_string()).unwrap().clone()
    };
    assert_eq!(of(here)["engines"][0]["models"][0]["name"], "a");
    assert_eq!(of(here)["labels"]["room"], "attic");
    assert_eq!(of(away)["state"], "offline");
    let models = bench.ask("GET", "/api/v1/models", "").await.json();
    let expected = serde_json::json!({ "id": "a", "engines": 1, "loaded": 1, "slots": 4, "in_flight": 1 });
    assert_eq!(models["data"][0], expected);
}

#[tokio::test]
async fn connected_agents_are_listed_while_the_store_is_away() {
    let here = AgentId::random().unwrap();
    let bench = Bench::with(Agents { connected: vec![connected(here)].into(), ..Agents::default() }).await;
    bench.api.store.close().await;
    assert_eq!(bench.ask("GET", "/api/v1/agents", "").await.status, 200);
    let keys = bench.ask("POST", "/api/v1/keys", r#"{"name":"a"}"#).await;
    assert_eq!((keys.status, keys.code()), (503, "store_unavailable".into()));
    assert!(keys.head.contains("retry-after: "));
    assert!(!keys.body.contains("pool"), "nothing of the database is told: {}", keys.body);
}

#[tokio::test]
async fn a_revoked_agent_loses_its_session() {
    let bench = Bench::new().await;
    let id = bench.enrolled("away", None).await;
    assert_eq!(bench.ask("DELETE", &format!("/api/v1/agents/{id}"), "").await.status, 200);
    assert_eq!(*bench.fleet.ended.lock().unwrap(), [id]);
    assert!(bench.api.store.agent(id).await.unwrap().unwrap().revoked.is_some());
    let unknown = AgentId::random().unwrap();
    assert_eq!(bench.ask("DELETE", &format!("/api/v1/agents/{unknown}"), "").await.status, 404);
    assert_eq!(bench.fleet.ended.lock().unwrap().len(), 1);
}
