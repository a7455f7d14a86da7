//! The management API as a process of its own: what it shows and does through the database, servers carry out.

use std::time::{Duration, Instant};

use gpuf_tests::agent::id_of;
use gpuf_tests::{ApiServer, Gateway, Kind, MODEL, Request, engine, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How soon what was revoked is refused everywhere.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// Asks again until the answer has this status; how long that took must be short.
async fn becomes(wanted: u16, ask: impl AsyncFn() -> u16) {
    let began = Instant::now();
    eventually(&format!("an answer {wanted}"), async || (ask().await == wanted).then_some(())).await;
    assert!(began.elapsed() < SEEN_WITHIN, "it took {:?}", began.elapsed());
}

struct Bench {
    database: String,
    authority: TempDir,
    gateway: Gateway,
    api: ApiServer,
}

/// A server, and beside it the management API on the same database.
async fn bench() -> Bench {
    let database = test_services::Postgres::shared().database().await;
    let authority = tempfile::tempdir().expect("a folder");
    let folder = authority.path().to_str().expect("a path");
    let gateway = Gateway::builder().database(&database).arg("--authority-dir").arg(folder).start().await;
    let api = ApiServer::start(&database, &[]).await;
    Bench { database, authority, gateway, api }
}

impl Bench {
    async fn get(&self, path: &str) -> Value {
        let answer = self.api.manage("GET", path, None).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// The one client of a list, once it is as it should be.
    async fn client(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || {
            let items = self.get("/api/user/client_list").await["data"]["items"].clone();
            items.as_array().into_iter().flatten().find(|client| fits(client)).cloned()
        })
        .await
    }
}

#[tokio::test]
async fn agents_of_the_servers_are_shown_with_their_engines_and_models() {
    let bench = bench().await;
    let engine = engine(Kind::LlamaCpp).await;
    let agent = bench.gateway.agent(&engine).await;
    let served =
        |client: &Value| client["status"] == "online" && client["engines"][0]["models"] == json!([MODEL]);
    let client = bench.client("the agent with its model", served).await;
    assert_eq!(client["client_id"], agent.id);
    let shown = bench.get(&format!("/api/v1/agents/{}", agent.id)).await;
    assert_eq!(shown["servers"], json!([bench.gateway.addresses.control.to_string()]));
    let models = bench.get("/api/v1/models").await;
    assert_eq!(models["data"][0]["id"], MODEL);
    let servers = bench.get("/api/v1/servers").await;
    assert_eq!((&servers["data"][0]["state"], &servers["data"][0]["agents"]), (&"running".into(), &1.into()));
    drop(agent);
    bench.client("the agent offline", |client| client["status"] == "offline").await;
}

#[tokio::test]
async fn a_machine_joins_by_the_command_that_is_given_and_leaves_when_it_is_put_out() {
    let bench = bench().await;
    let wish = json!({ "client_name": "rack one", "user_id": "lab" });
    let made = eventually("a server to join", async || {
        let answer = bench.api.manage("POST", "/api/user/insert_client", Some(&wish)).await;
        (answer.status() == 201).then(|| answer.json())
    })
    .await;
    let join = made["data"]["join"].as_str().expect("a join string").to_owned();
    assert!(join.contains(&bench.gateway.addresses.control.to_string()), "{join}");
    let command = made["data"]["command"].as_str().expect("a command");
    assert_eq!(command, format!("gpuf-c join {join} --name 'rack one'"));

    let engine = engine(Kind::LlamaCpp).await;
    let agent = bench.gateway.build_agent().engine(&engine).join_by(&join).start().await;
    let client = bench.client("the machine", |client| client["status"] == "online").await;
    assert_eq!((&client["client_id"], &client["user_id"]), (&agent.id.clone().into(), &"lab".into()));
    let again = bench.api.manage("DELETE", &format!("/api/v1/agents/{}", agent.id), None).await;
    assert_eq!(again.status(), 200, "{}", again.text());
    eventually("the server to put the agent out", async || {
        let agents = bench.gateway.agents().await;
        let has_session = |shown: &Value| id_of(shown) == agent.id && shown["connected_for_s"].is_u64();
        (!agents.iter().any(has_session)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_key_made_here_works_at_the_servers_and_a_revoked_one_ends_within_seconds() {
    let bench = bench().await;
    let engine = engine(Kind::LlamaCpp).await;
    let _agent = bench.gateway.agent(&engine).await;
    let made = bench.api.manage("POST", "/api/v1/keys", Some(&json!({ "name": "alice" }))).await.json();
    let (id, key) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));
    let status = async || bench.gateway.ask(&Request::chat(key, MODEL, false)).await.status();
    assert_eq!(status().await, 200);
    assert_eq!(bench.api.manage("DELETE", &format!("/api/v1/keys/{id}"), None).await.status(), 200);
    becomes(401, status).await;
    eventually("the record of usage", async || {
        let usage = bench.get(&format!("/api/v1/usage?key={id}")).await;
        usage["data"].as_array().is_some_and(|records| !records.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_tenant_meets_its_own_at_the_server_and_beside_it() {
    let bench = bench().await;
    let tenant = bench.gateway.command(&["tenants", "create", "--name", "lab", "--json"]).await;
    let tenant: Value = serde_json::from_str(&tenant).expect("JSON");
    let token = tenant["token"].as_str().expect("a token");
    let made =
        bench.api.manage_as(token, "POST", "/api/v1/keys", Some(&json!({ "name": "own" }))).await.json();
    assert_eq!(made["details"]["dedicated_to"], "lab");
    let foreign =
        bench.api.manage("POST", "/api/v1/keys", Some(&json!({ "name": "the operator's" }))).await.json();
    let listed = bench.api.manage_as(token, "GET", "/api/v1/keys", None).await.json();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "{listed}");
    let path = format!("/api/v1/keys/{}", foreign["id"].as_str().expect("an id"));
    assert_eq!(bench.api.manage_as(token, "DELETE", &path, None).await.status(), 404);
    assert_eq!(bench.api.manage_as(token, "GET", "/api/v1/audit", None).await.status(), 403);
    let id = tenant["id"].as_str().expect("an id");
    bench.gateway.command(&["tenants", "revoke", id]).await;
    becomes(401, async || bench.api.manage_as(token, "GET", "/api/v1/keys", None).await.status()).await;
}

#[tokio::test]
async fn without_a_server_join_strings_need_to_be_told_where_to() {
    let Bench { database, authority, gateway, api } = bench().await;
    let control = gateway.addresses.control.to_string();
    drop(gateway);
    assert!(api.end().await.success(), "it ends by itself when it is asked to");
    let database_alone = test_services::Postgres::shared().database().await;
    let alone = ApiServer::start(&database_alone, &[]).await;
    let refused = alone.manage("POST", "/api/user/insert_client", Some(&json!({ "client_name": "a" }))).await;
    assert_eq!(refused.status(), 503, "{}", refused.text());
    assert!(refused.json()["message"].as_str().is_some_and(|text| text.contains("--control-address")));
    let folder = authority.path().to_str().expect("a path");
    let told = ApiServer::start(&database, &["--control-address", &control, "--authority-dir", folder]).await;
    let made = told.manage("POST", "/api/v1/join-tokens", Some(&json!({}))).await;
    assert_eq!(made.status(), 201, "{}", made.text());
    let join = made.json()["join"].as_str().expect("a join string").to_owned();
    assert!(join.contains(&control), "{join}");
}
