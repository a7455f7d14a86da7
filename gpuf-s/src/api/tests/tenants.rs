//! Two tenants on one server: through every route, neither reads or changes what is the other's.

use serde_json::Value;

use super::{schema::DOCUMENT, *};
use crate::store::{Among, EntryFilter, Scope, UsageFilter};

/// What every name and label of the other tenant has in it.
const MARK: &str = "zebra";

struct Tenant {
    name: String,
    token: String,
    agent: AgentId,
    key: KeyId,
    join: String,
    marks: Vec<String>,
}

/// A tenant with an agent that serves a model, a key, a join token, and usage.
async fn tenant(bench: &Bench, name: &str) -> Tenant {
    let token = bench.tenant(name).await;
    let agent = bench.enrolled(&format!("{name} machine"), Some(name)).await;
    let mut view = agents::connected(agent);
    view.name = format!("{name} machine");
    view.location = Some(format!("{name} cellar"));
    view.labels = [("room".to_owned(), format!("{name} room"))].into();
    view.engines[0].models[0].name = format!("{name}/model").parse().unwrap();
    bench.fleet.connect(view);
    bench.api.store.ingest(&figures::told(agent, name)).await.unwrap();
    let wish = serde_json::json!({ "name": format!("{name} key") }).to_string();
    let made: KeyMade =
        serde_json::from_str(&bench.ask_as(&token, "POST", "/api/v1/keys", &wish).await.body).unwrap();
    let join = bench.ask_as(&token, "POST", "/api/v1/join-tokens", &wish).await.json();
    let join = join["id"].as_str().unwrap().to_owned();
    let marks = vec![name.to_owned(), agent.to_string(), made.id.to_string(), join.clone()];
    Tenant { name: name.to_owned(), token, agent, key: made.id, join, marks }
}

fn record(key: KeyId, agent: AgentId, model: &str) -> UsageRecord {
    UsageRecord {
        id: UsageId::next(UnixSeconds::now().0.cast_unsigned() * 1000),
        key_id: key,
        model: Some(model.parse().unwrap()),
        agent_id: Some(agent),
        engine: Some(EngineKind::Ollama),
        dialect: Dialect::OpenAi,
        endpoint: common::Endpoint::ChatCompletions,
        status: 200,
        outcome: Outcome::Ok,
        prompt_tokens: Some(1),
        completion_tokens: Some(2),
        first_token_ms: Some(3),
        duration_ms: 4,
        bytes: 5,
        started_unix_ms: UnixSeconds::now().0.cast_unsigned() * 1000,
    }
}

async fn two() -> (Bench, Tenant, Tenant) {
    let bench = Bench::new().await;
    let (mine, theirs) = (tenant(&bench, "lab").await, tenant(&bench, MARK).await);
    let records = [
        record(mine.key, mine.agent, "lab/model"),
        record(theirs.key, theirs.agent, &format!("{MARK}/model")),
        record(theirs.key, mine.agent, "lab/model"),
    ];
    bench.api.store.insert_usage(&records).await.unwrap();
    (bench, mine, theirs)
}

/// Everything of a tenant that the store holds.
async fn everything(bench: &Bench, tenant: &Tenant) -> String {
    let scope = Scope::Of(tenant.name.parse().unwrap());
    let store = &bench.api.store;
    let usage = UsageFilter { limit: 100, ..UsageFilter::default() };
    format!(
        "{:?} {:?} {:?} {:?} {:?}",
        store.keys_within(&scope).await.unwrap(),
        store.join_tokens_within(&scope).await.unwrap(),
        store
            .agent_entries(&EntryFilter { among: Among::All, ..EntryFilter::within(scope.clone()) })
            .await
            .unwrap(),
        store.usage_within(&scope, &usage).await.unwrap(),
        store.latest_samples(&scope, &[tenant.agent]).await.unwrap(),
    )
}

/// The queries that name what is another's, by the parameters that the document has for a route.
fn queries(route: &Route, other: &Tenant) -> Vec<String> {
    let operation = &DOCUMENT["paths"][route.path][route.method.to_lowercase()];
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let names = parameters.filter(|one| one["in"] == "query").map(|one| one["name"].as_str().unwrap());
    let mut queries = vec![String::new()];
    queries.extend(names.filter_map(|name| {
        let value = match name {
            "key" => other.key.to_string(),
            "agent" | "client_id" => other.agent.to_string(),
            "owner" | "user_id" | "name" => other.name.clone(),
            "model" => format!("{}/model", other.name),
            _ => return None,
        };
        Some(format!("{name}={value}"))
    }));
    queries
}

/// Bodies that reach for what is another's.
fn bodies(route: &Route, other: &Tenant) -> Vec<Value> {
    let (name, agent) = (&other.name, other.agent.to_string());
    match (route.method, route.path) {
        (_, "/api/user/edit_client_info") => {
            vec![serde_json::json!({ "client_id": agent, "client_name": "stolen" })]
        }
        ("PATCH", _) => vec![serde_json::json!({ "name": "stolen" }), serde_json::json!({ "owner": "lab" })],
        ("POST", "/api/v1/keys") => vec![serde_json::json!({ "name": "k", "dedicated_to": name })],
        ("POST", "/api/v1/join-tokens") => vec![serde_json::json!({ "owner": name })],
        ("POST", "/api/user/insert_client") => vec![
            serde_json::json!({ "client_name": "c", "user_id": name }),
            serde_json::json!({ "client_name": "c", "client_id": agent }),
        ],
        ("POST", _) => vec![serde_json::json!({ "name": "a" })],
        _ => vec![Value::Null],
    }
}

#[tokio::test]
async fn neither_reads_or_changes_what_is_the_others_through_any_route() {
    let (bench, mine, theirs) = two().await;
    let before = everything(&bench, &theirs).await;
    let mut tried = 0;
    for route in ROUTES {
        for id in [theirs.agent.to_string(), theirs.key.to_string(), theirs.join.clone()] {
            for query in queries(route, &theirs) {
                for body in bodies(route, &theirs) {
                    let path = fill_with(route.path, &id);
                    let mark = if path.contains('?') { "&" } else { "?" };
                    let path = if query.is_empty() { path } else { format!("{path}{mark}{query}") };
                    let body = if body.is_null() { String::new() } else { body.to_string() };
                    let answer = bench.ask_as(&mine.token, route.method, &path, &body).await;
                    assert_apart(route, &path, &query, &body, &answer, &theirs);
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 100, "{tried}");
    assert_eq!(everything(&bench, &theirs).await, before);
    let foreign = [theirs.agent];
    assert!(!bench.fleet.ended.lock().unwrap().iter().any(|ended| foreign.contains(ended)));
}

fn assert_apart(route: &Route, path: &str, query: &str, body: &str, answer: &Answer, theirs: &Tenant) {
    let what = format!("{} {path}: {} {}", route.method, answer.status, answer.body);
    // What a body asks for may come back; whatever else has a mark was read.
    let mut marks = theirs.marks.iter().filter(|mark| !body.contains(*mark));
    assert!(marks.all(|mark| !answer.body.contains(mark)), "{what}");
    match route.access {
        Access::Admin => assert_eq!(answer.status, 403, "{what}"),
        // Who may set an owner is asked before whose the agent is: the answer is the same for every id.
        _ if answer.code() == "invalid_request" && answer.body.contains("by the operator only") => {}
        _ if route.path.contains("{id}") && query.is_empty() => assert_eq!(answer.status, 404, "{what}"),
        _ if path.ends_with(&format!("?client_id={}", theirs.agent)) && route.path.contains("client_") => {
            let lists = ["client_list", "client_status_list", "client_health"];
            let empty = lists.iter().any(|list| route.path.ends_with(list));
            assert_eq!(answer.status, if empty { 200 } else { 404 }, "{what}");
        }
        _ if route.path.ends_with("edit_client_info") => assert_eq!(answer.status, 404, "{what}"),
        _ => assert!([200, 201, 400, 404].contains(&answer.status), "{what}"),
    }
}

#[tokio::test]
async fn a_tenant_sees_and_changes_its_own() {
    let (bench, mine, theirs) = two().await;
    let get = async |path: &str| bench.ask_as(&mine.token, "GET", path, "").await.json();
    let agents = get("/api/v1/agents").await;
    assert_eq!(agents["data"].as_array().unwrap().len(), 1);
    assert_eq!(agents["data"][0]["id"], mine.agent.to_string());
    assert_eq!(
        (&agents["data"][0]["state"], &agents["data"][0]["owner"]),
        (&"connected".into(), &"lab".into())
    );
    let keys = get("/api/v1/keys").await;
    assert_eq!(
        (&keys["data"][0]["dedicated_to"], &keys["data"][0]["tenant"]),
        (&"lab".into(), &"lab".into())
    );
    assert_eq!(get("/api/v1/join-tokens").await["data"][0]["owner"], "lab");
    let models = get("/api/v1/models").await;
    let names: Vec<_> = models["data"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(names, ["b", "lab/model"]);

    let usage = get("/api/v1/usage").await;
    let seen: Vec<_> = usage["data"].as_array().unwrap().iter().map(|one| one["key_id"].as_str()).collect();
    assert_eq!(
        seen,
        [None, Some(&*mine.key.to_string())],
        "others' requests that its agent served, without keys"
    );
    let by_key = get("/api/v1/usage/summary?by=key").await;
    assert_eq!(by_key["data"].as_array().unwrap().len(), 2);
    assert_eq!(get(&format!("/api/v1/usage?key={}", theirs.key)).await["data"], serde_json::json!([]));

    let edit = r#"{"name":"by the window","labels":{"a":"b"},"location":null}"#;
    let path = format!("/api/v1/agents/{}", mine.agent);
    let edited = bench.ask_as(&mine.token, "PATCH", &path, edit).await;
    assert_eq!((edited.status, &edited.json()["name"]), (200, &"by the window".into()));
    assert_eq!(edited.json()["location"], "lab cellar", "as the agent tells");
    let moved = bench.ask_as(&mine.token, "PATCH", &path, r#"{"owner":null}"#).await;
    assert_eq!((moved.status, moved.code()), (400, "invalid_request".into()));
    assert_eq!(bench.ask_as(&mine.token, "DELETE", &path, "").await.status, 200);
    assert_eq!(*bench.fleet.ended.lock().unwrap(), [mine.agent]);
    let path = format!("/api/v1/keys/{}", mine.key);
    assert_eq!(bench.ask_as(&mine.token, "DELETE", &path, "").await.status, 200);
    let audit = bench.ask("GET", "/api/v1/audit", "").await.json();
    assert_eq!(
        (&audit["data"][0]["action"], &audit["data"][0]["actor"]),
        (&"key.revoke".into(), &"tenant lab".into())
    );
}

#[tokio::test]
async fn a_tenants_name_is_given_once_and_its_token_ends_with_it() {
    let bench = Bench::new().await;
    let token = bench.tenant("lab").await;
    let again = bench.ask("POST", "/api/v1/tenants", r#"{"name":"lab"}"#).await;
    assert_eq!((again.status, again.code()), (409, "name_taken".into()));
    let listed = bench.ask("GET", "/api/v1/tenants", "").await;
    assert!(!listed.body.contains(&token));
    let id = listed.json()["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(bench.ask("DELETE", &format!("/api/v1/tenants/{id}"), "").await.status, 200);
    assert_eq!(bench.ask_as(&token, "GET", "/api/v1/keys", "").await.status, 401);
    assert_eq!(bench.ask("DELETE", "/api/v1/tenants/0123456789abcdef", "").await.status, 404);
}

#[tokio::test]
async fn an_agent_that_changes_hands_opens_another_session() {
    let (bench, mine, theirs) = two().await;
    let path = format!("/api/v1/agents/{}", mine.agent);
    let moved = bench.ask("PATCH", &path, &serde_json::json!({ "owner": theirs.name }).to_string()).await;
    assert_eq!(moved.json()["owner"], theirs.name);
    assert_eq!(*bench.fleet.ended.lock().unwrap(), [mine.agent]);
    assert_eq!(bench.ask_as(&mine.token, "GET", &path, "").await.status, 404);
    assert_eq!(bench.ask_as(&theirs.token, "GET", &path, "").await.status, 200);
}

#[tokio::test]
async fn while_the_store_is_away_a_tenant_is_neither_refused_nor_shown_anything() {
    let (bench, mine, _) = two().await;
    bench.api.store.close().await;
    for path in ["/api/v1/agents", "/api/v1/models", "/api/user/client_list"] {
        assert_eq!(bench.ask_as(&mine.token, "GET", path, "").await.status, 503, "{path}");
    }
    let stranger = crate::auth::ApiKey::random().unwrap();
    let answer = bench.ask_as(stranger.expose(), "GET", "/api/v1/agents", "").await;
    assert_eq!((answer.status, answer.code()), (503, "auth_unavailable".into()));
}
