//! Management: every route, every credential, every odd request.

mod agents;
mod figures;
mod gate;
mod openapi;
mod schema;
mod tenants;
mod user;
mod v1;

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use common::{AgentId, Dialect, EngineKind};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use super::*;
use crate::{
    auth::{admin, desk::KeyMade},
    cache::Cache,
    data_dir::DataDir,
    store::{AgentRow, KeyId, Name, Outcome, TokenHash, UnixSeconds, UsageId, UsageRecord},
};
use common::tls::Fingerprint;

#[derive(Default)]
struct Agents {
    connected: Mutex<Vec<AgentView>>,
    ended: Mutex<Vec<AgentId>>,
    draining: bool,
}

impl Agents {
    fn connect(&self, agent: AgentView) {
        self.connected.lock().unwrap().push(agent);
    }
}

impl Fleet for Agents {
    fn agents(&self) -> Vec<AgentView> {
        self.connected.lock().unwrap().clone()
    }

    fn servers(&self) -> Vec<ServerView> {
        Vec::new()
    }

    fn elsewhere(&self) -> Arc<Vec<crate::store::ServerRow>> {
        Arc::default()
    }

    fn disconnect(&self, id: AgentId) -> bool {
        self.ended.lock().unwrap().push(id);
        true
    }

    fn ready(&self) -> bool {
        !self.draining
    }
}

struct Bench {
    api: Api,
    fleet: Arc<Agents>,
    token: String,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// What an error is called; those in an envelope have a message only.
    fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        let enveloped = || (json["success"] == false).then(|| "enveloped".to_owned());
        json["error"]["code"].as_str().map(str::to_owned).or_else(enveloped).unwrap_or_default()
    }
}

impl Bench {
    async fn new() -> Self {
        Self::with(Agents::default()).await
    }

    async fn with(fleet: Agents) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let store = Store::embedded(&data).await.unwrap();
        let admin = AdminToken::open(&data).unwrap();
        let (authenticator, keeper) =
            Authenticator::new(store.clone(), Cache::open(None).unwrap().0, None, Instant::now());
        let shutdown = CancellationToken::new();
        tokio::spawn(keeper.run(shutdown.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fleet = Arc::new(fleet);
        let here = listener.local_addr().unwrap();
        let api = Api {
            tenants: Tenants::new(store.clone(), Instant::now()),
            store,
            authenticator,
            join: Some(JoinPoint {
                control: "gw.example:17000".into(),
                fingerprint: Fingerprint::of(b"authority"),
            }),
            admin,
            fleet: fleet.clone(),
            metrics: Metrics::default(),
            records: Figures::default(),
            address: here,
            advertise: Some("gw.example".parse().unwrap()),
            hosts: vec!["ops.example".parse().unwrap()],
            version: "1.2.3",
        };
        let server = tokio::spawn(api.clone().serve(listener, shutdown.clone()));
        let token = data.read(admin::FILE).unwrap().unwrap();
        Self { api, fleet, token, shutdown, server, _folder: folder }
    }

    /// Sends a request byte for byte and reads to the end of the connection.
    async fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.api.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        ))
        .await
    }

    /// With this token. Whatever is answered is what the OpenAPI document says of it.
    async fn ask_as(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let headers = format!("authorization: Bearer {token}\r\ncontent-type: application/json\r\n");
        let answer = self.send(method, path, &headers, body).await;
        schema::assert_documented(method, path, &answer);
        answer
    }

    /// As an operator.
    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_as(&self.token, method, path, body).await
    }

    /// Makes a tenant; its token.
    async fn tenant(&self, name: &str) -> String {
        let wish = serde_json::json!({ "name": name }).to_string();
        let made = self.ask("POST", "/api/v1/tenants", &wish).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.json()["token"].as_str().unwrap().to_owned()
    }

    /// Lets a machine in for an owner, as enrolment does.
    async fn enrolled(&self, name: &str, owner: Option<&str>) -> AgentId {
        let order = crate::auth::join_token::TokenOrder {
            name: Name::lossy("t"),
            owner: owner.map(Name::lossy),
            uses: 1,
            ttl: Duration::from_secs(9),
        };
        let store = &self.api.store;
        let (_, token) = crate::auth::join_token::issue(store, order, UnixSeconds::now()).await.unwrap();
        let id = AgentId::random().unwrap();
        let row = AgentRow {
            id,
            name: Name::lossy(name),
            owner: None,
            enrolled: UnixSeconds::now(),
            revoked: None,
        };
        store.enrol(&TokenHash::of(token.expose().as_bytes()), &row).await.unwrap();
        id
    }
}

/// A path with something in the place of its id.
fn fill(path: &str) -> String {
    fill_with(path, "0123456789abcdef")
}

fn fill_with(path: &str, id: &str) -> String {
    let query = match path {
        "/api/v1/usage/summary" => "?by=day".to_owned(),
        "/api/user/client_device_detail" | "/api/user/client_monitor" => format!("?client_id={id}"),
        _ => String::new(),
    };
    path.replace("{id}", id) + &query
}

/// A request that a route takes: its path with its query, and its body.
fn sample(route: &Route, agent: &str) -> (String, String) {
    let path = fill_with(route.path, agent);
    let body = match (route.method, route.path) {
        ("POST", "/api/user/insert_client") => serde_json::json!({ "client_name": "a" }),
        (_, "/api/user/edit_client_info") => serde_json::json!({ "client_id": agent, "client_name": "a" }),
        ("DELETE", "/api/v1/catalogue") => return (path + "?model=a", String::new()),
        ("GET" | "DELETE", _) => return (path, String::new()),
        ("POST", "/api/v1/join-tokens") => serde_json::json!({}),
        _ => serde_json::json!({ "name": "a" }),
    };
    (path, body.to_string())
}

fn closed_routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| route.access != Access::Open)
}
