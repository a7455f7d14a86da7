//! Management: every route, every credential, every odd request.

mod agents;

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

#[derive(Default)]
struct Agents {
    connected: Vec<AgentView>,
    ended: Mutex<Vec<AgentId>>,
    draining: bool,
}

impl Fleet for Agents {
    fn agents(&self) -> Vec<AgentView> {
        self.connected.clone()
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

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
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
            store,
            authenticator,
            ca: Arc::new(
                Ca::open(crate::auth::ca::Place::own(&data), None, None, UnixSeconds::now()).unwrap(),
            ),
            admin,
            fleet: fleet.clone(),
            metrics: Metrics::default(),
            records: Figures::default(),
            addresses: Addresses { pid: 1, control: here, proxy: here, public: here, api: here },
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
        let mut stream = TcpStream::connect(self.api.addresses.api).await.unwrap();
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

    /// As an operator.
    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let headers = format!("authorization: Bearer {}\r\ncontent-type: application/json\r\n", self.token);
        self.send(method, path, &headers, body).await
    }
}

fn fill(path: &str) -> String {
    path.replace("{id}", "0123456789abcdef")
}

fn closed_routes() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| route.access == Access::Admin)
}

#[tokio::test]
async fn every_closed_route_wants_the_admin_token() {
    let bench = Bench::new().await;
    let key: KeyMade =
        serde_json::from_str(&bench.ask("POST", "/api/v1/keys", r#"{"name":"a"}"#).await.body).unwrap();
    let wrong = bench.token.replace(|_: char| true, "A");
    let credentials = [
        String::new(),
        format!("authorization: Bearer {}\r\n", key.key),
        format!("x-api-key: {}\r\n", bench.token),
        format!("authorization: Bearer {wrong}\r\n"),
        format!("authorization: Basic {}\r\n", bench.token),
        "authorization: Bearer \r\n".to_owned(),
        format!("authorization: Bearer {}\r\nauthorization: Bearer x\r\n", bench.token),
    ];
    assert!(closed_routes().count() > 10);
    for route in closed_routes() {
        for headers in &credentials {
            let answer = bench.send(route.method, &fill(route.path), headers, "").await;
            assert_eq!(answer.status, 401, "{} {} {headers:?}", route.method, route.path);
            assert_eq!(answer.code(), "unauthorized");
            assert!(answer.head.contains("www-authenticate: bearer"));
        }
    }
    assert_eq!(bench.api.store.keys().await.unwrap().len(), 1, "nothing was done");
}

#[tokio::test]
async fn every_route_answers_an_operator() {
    let bench = Bench::new().await;
    for route in ROUTES {
        let answer = bench.ask(route.method, &fill(route.path), r#"{"name":"a"}"#).await;
        let found = answer.status == 404 && route.path.contains("{id}");
        assert!(
            found || (200..300).contains(&answer.status),
            "{} {}: {}",
            route.method,
            route.path,
            answer.body
        );
    }
}

#[tokio::test]
async fn open_routes_tell_nothing_but_health() {
    let bench = Bench::new().await;
    let health = bench.send("GET", "/api/health", "", "").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &"ok".into()));
    assert_eq!(bench.send("GET", "/api/ready", "", "").await.status, 200);
    let draining = Bench::with(Agents { draining: true, ..Agents::default() }).await;
    assert_eq!(draining.send("GET", "/api/ready", "", "").await.status, 503);
    assert_eq!(draining.send("GET", "/api/health", "", "").await.status, 200);
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_refused_on_every_route() {
    let bench = Bench::new().await;
    let port = bench.api.addresses.api.port();
    let ask = |route: &Route, host: &str| {
        let (method, path, token) = (route.method, fill(route.path), &bench.token);
        format!(
            "{method} {path} HTTP/1.1\r\n{host}connection: close\r\nauthorization: Bearer {token}\r\n\r\n"
        )
    };
    for route in ROUTES {
        for host in [
            "host: evil.example\r\n".to_owned(),
            format!("host: evil.example:{port}\r\n"),
            "host: localhost.evil.example\r\n".to_owned(),
            "host: 192.0.2.1\r\n".to_owned(),
            "host: localhost\r\nhost: evil.example\r\n".to_owned(),
            String::new(),
        ] {
            let answer = bench.raw(&ask(route, &host)).await;
            assert_eq!(
                (answer.status, answer.code()),
                (403, "host_not_allowed".into()),
                "{host:?} {}",
                route.path
            );
        }
    }
    for host in ["localhost:1", "127.0.0.1", "[::1]:9", "GW.example", "ops.example:80", "localhost."] {
        let answer = bench.raw(&ask(&ROUTES[2], &format!("host: {host}\r\n"))).await;
        assert_eq!(answer.status, 200, "{host}");
    }
}

#[tokio::test]
async fn a_request_line_with_another_host_is_refused() {
    let bench = Bench::new().await;
    let line = "GET http://evil.example/api/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(bench.raw(line).await.status, 403);
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_on_every_route() {
    let bench = Bench::new().await;
    let send = async |route: &Route, origin: &str| {
        let headers = format!("authorization: Bearer {}\r\norigin: {origin}\r\n", bench.token);
        bench.send(route.method, &fill(route.path), &headers, "").await
    };
    for route in ROUTES {
        for origin in ["https://evil.example", "null", "http://localhost.evil.example:3000", ""] {
            let answer = send(route, origin).await;
            assert_eq!((answer.status, answer.code()), (403, "origin_not_allowed".into()), "{origin}");
        }
    }
    assert_eq!(send(&ROUTES[2], "http://localhost:18081").await.status, 200);
    assert_eq!(send(&ROUTES[2], "https://ops.example").await.status, 200);
}

#[tokio::test]
async fn a_revoked_key_stops_working_at_once() {
    let bench = Bench::new().await;
    let made: KeyMade =
        serde_json::from_str(&bench.ask("POST", "/api/v1/keys", r#"{"name":"a"}"#).await.body).unwrap();
    let works = async || {
        let from = bench.api.addresses.api.ip();
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
    assert_eq!(join.server, format!("gw.example:{}", bench.api.addresses.control.port()));
    assert_eq!(join.fingerprint, bench.api.ca.fingerprint());
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
async fn a_sane_request_id_is_given_back() {
    let bench = Bench::new().await;
    let answer = bench.send("GET", "/api/health", "x-request-id: abc-1.2_3\r\n", "").await;
    assert!(answer.head.contains("x-request-id: abc-1.2_3"));
    for odd in ["a b".to_owned(), "a".repeat(129)] {
        let answer = bench.send("GET", "/api/health", &format!("x-request-id: {odd}\r\n"), "").await;
        assert!(answer.head.contains("x-request-id: req_"), "{odd}");
    }
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
        connected: vec![agents::connected(AgentId::random().unwrap())],
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
    ] {
        assert!(answer.body.lines().any(|found| found == line), "{line}\n{}", answer.body);
    }
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_the_listener() {
    let bench = Bench::new().await;
    let mut idle = TcpStream::connect(bench.api.addresses.api).await.unwrap();
    idle.write_all(b"GET /api/health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    bench.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), bench.server).await.expect("it does not end").unwrap();
    assert!(TcpStream::connect(bench.api.addresses.api).await.is_err());
}

#[tokio::test]
async fn bytes_that_are_no_request_end_the_connection() {
    let bench = Bench::new().await;
    // The beginning of a TLS handshake, as an agent with its certificate would send it.
    let mut stream = TcpStream::connect(bench.api.addresses.api).await.unwrap();
    stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, b'\r', b'\n', b'\r', b'\n']).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(bench.send("GET", "/api/health", "", "").await.status, 200);
}
