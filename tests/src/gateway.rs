//! A running `gpuf-s` with a data directory of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use serde_json::{Value, json};
use sim_engine::SimEngine;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::agent::{self, Agent};
use crate::binaries::program;
use crate::connection::{Answer, Connection, Stream};
use crate::process::{Process, output_of};
use crate::request::Request;
use crate::wait::eventually;

const LOG_VARIABLE: &str = "GPUF_TESTS_LOG";
/// What our programs read beside variables with our name.
const VARIABLES: [&str; 6] =
    ["DATABASE_URL", "REDIS_URL", "BOOTSTRAP_SERVER", "KAFKA_CONFIG", "API_KEY", "API_ADMIN_TOKEN_FILE"];
const PORT_FLAGS: [&str; 4] = ["--control-port", "--proxy-port", "--public-port", "--api-port"];

/// How a gateway is set up.
#[derive(Debug, Default)]
pub struct Builder {
    limits: Vec<(String, u64)>,
    config: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    state: Vec<(&'static str, String)>,
    folder: Option<Arc<TempDir>>,
    advertise: Option<String>,
    addresses: Option<Addresses>,
}

impl Builder {
    /// Sets limits of the configuration file.
    pub fn limits(mut self, limits: &[(&str, u64)]) -> Self {
        self.limits.extend(limits.iter().map(|(name, value)| ((*name).to_owned(), *value)));
        self
    }

    /// Adds top-level lines to the configuration file.
    pub fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// Adds a command-line argument.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Keeps what lasts in this database.
    pub fn database(self, url: &str) -> Self {
        self.state("DATABASE_URL", url)
    }

    /// Shares looked-up keys in this Redis.
    pub fn redis(self, url: &str) -> Self {
        self.state("REDIS_URL", url)
    }

    /// Sends heartbeats and usage through this Kafka, with `host:port` to begin with.
    pub fn kafka(self, bootstrap: &str) -> Self {
        self.state("BOOTSTRAP_SERVER", bootstrap)
    }

    /// Commands on its data directory are told, too: without the server they open the database themselves.
    fn state(mut self, variable: &'static str, value: &str) -> Self {
        self.state.push((variable, value.to_owned()));
        self
    }

    /// Goes on with the data of a gateway that has ended.
    pub fn folder(mut self, folder: Arc<TempDir>) -> Self {
        self.folder = Some(folder);
        self
    }

    /// Tells others this name of its host.
    pub fn advertise(mut self, host: &str) -> Self {
        self.advertise = Some(host.into());
        self
    }

    /// Listens where a gateway that has ended did.
    pub fn addresses(mut self, addresses: Addresses) -> Self {
        self.addresses = Some(addresses);
        self
    }

    /// Takes the place of a gateway that has ended: its data, and its ports.
    pub fn in_place_of(self, before: &Gateway) -> Self {
        self.addresses(before.addresses).folder(before.folder())
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Gateway {
        let folder = self.folder.clone().unwrap_or_else(|| Arc::new(tempfile::tempdir().expect("a folder")));
        let data = folder.path().join("data");
        fs::create_dir_all(&data).expect("a data folder");
        let addresses_file = data.join("run/addresses.json");
        let _ = fs::remove_file(&addresses_file);
        let config = folder.path().join("gateway.toml");
        fs::write(&config, self.config_text()).expect("a configuration file");
        let mut command = gpuf_s(&data);
        command.args(["serve", "--bind", "127.0.0.1", "--api-bind", "127.0.0.1"]);
        command.arg("--advertise").arg(self.advertise.as_deref().unwrap_or("127.0.0.1"));
        for (flag, port) in PORT_FLAGS.into_iter().zip(self.ports()) {
            command.args([flag, &port.to_string()]);
        }
        command.arg("--config").arg(&config).args(&self.arguments);
        command.envs(self.environment).envs(self.state.clone());
        let mut process = Process::start("gpuf-s", command, folder.path().join("gpuf-s.log"));
        let addresses = Addresses::announced(&addresses_file, &mut process).await;
        let admin_token = fs::read_to_string(data.join("admin.token")).expect("an admin token");
        let admin_token = admin_token.trim().to_owned();
        Gateway { process, addresses, admin_token, state: self.state, data, folder, joining: Mutex::new(0) }
    }

    fn ports(&self) -> [u16; 4] {
        self.addresses.map_or([0; 4], |Addresses { control, proxy, public, api }| {
            [control, proxy, public, api].map(|address| address.port())
        })
    }

    fn config_text(&self) -> String {
        let limits = self.limits.iter().map(|(name, value)| format!("{name} = {value}\n"));
        format!("{}\n[limits]\n{}", self.config, limits.collect::<String>())
    }
}

/// Where a gateway listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For agents' sessions.
    pub control: SocketAddr,
    /// For agents' proxy connections.
    pub proxy: SocketAddr,
    /// For callers.
    pub public: SocketAddr,
    /// For management.
    pub api: SocketAddr,
}

impl Addresses {
    async fn announced(file: &Path, process: &mut Process) -> Self {
        let pid = process.pid();
        let written = eventually("the addresses of gpuf-s", async || {
            if let Some(status) = process.ended() {
                panic!("gpuf-s ended at its start: {status}\n{}", process.log_tail());
            }
            let written: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
            (written["pid"] == pid).then_some(written)
        })
        .await;
        let address = |name: &str| {
            let text = written[name].as_str().unwrap_or_else(|| panic!("no address of {name}: {written}"));
            text.parse().unwrap_or_else(|_| panic!("no address: {text}"))
        };
        let [control, proxy, public, api] = ["control", "proxy", "public", "api"].map(address);
        Self { control, proxy, public, api }
    }
}

/// A running gateway. Dropped, it is killed.
#[derive(Debug)]
pub struct Gateway {
    /// The process.
    pub process: Process,
    /// Where it listens.
    pub addresses: Addresses,
    /// The management token.
    pub admin_token: String,
    state: Vec<(&'static str, String)>,
    data: PathBuf,
    folder: Arc<TempDir>,
    /// Agents started so far; held while one comes up, so that the one that appears is the one started.
    pub(crate) joining: Mutex<usize>,
}

/// An API key as it was made.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its id in the management API.
    pub id: String,
    /// What the caller sends.
    pub key: String,
}

/// What the gateway wrote down about one request.
#[derive(Clone, Debug)]
pub struct Usage {
    /// How it ended, for example `ok`, `cancelled` or `aborted`.
    pub outcome: String,
    /// The whole record.
    pub record: Value,
}

impl Gateway {
    /// A gateway to be set up.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A gateway with the limits that it has by itself.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Its folder, to start another one on the same data.
    pub fn folder(&self) -> Arc<TempDir> {
        Arc::clone(&self.folder)
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The base URL of the public port.
    pub fn url(&self) -> String {
        format!("http://{}", self.addresses.public)
    }

    /// Runs a subcommand of `gpuf-s` on its data directory; what it printed.
    pub async fn command(&self, arguments: &[&str]) -> String {
        let mut command = gpuf_s(&self.data);
        command.args(arguments).envs(self.state.clone());
        output_of(&format!("gpuf-s {}", arguments.join(" ")), command).await
    }

    /// A key for all models.
    pub async fn key(&self) -> String {
        self.make_key(&[]).await.key
    }

    /// A key with further options of `keys create`.
    pub async fn make_key(&self, options: &[&str]) -> Key {
        let made = self.command(&[&["keys", "create", "--name", "test", "--json"], options].concat()).await;
        let made: Value = serde_json::from_str(&made).unwrap_or_else(|_| panic!("no JSON: {made}"));
        let field =
            |name: &str| made[name].as_str().unwrap_or_else(|| panic!("no {name}: {made}")).to_owned();
        Key { id: field("id"), key: field("key") }
    }

    /// A join string for one agent.
    pub async fn join_string(&self) -> String {
        self.join_string_for(1).await
    }

    /// A join string for this many agents.
    pub async fn join_string_for(&self, agents: usize) -> String {
        let uses = agents.to_string();
        let made = self.command(&["join-token", "create", "--name", "test", "--uses", &uses, "--json"]).await;
        let made: Value = serde_json::from_str(&made).unwrap_or_else(|_| panic!("no JSON: {made}"));
        made["join"].as_str().unwrap_or_else(|| panic!("no join string: {made}")).to_owned()
    }

    /// Joins and starts an agent in front of this engine, and waits until its models are served.
    pub async fn agent(&self, engine: &SimEngine) -> Agent {
        self.build_agent().engine(engine).start().await
    }

    /// An agent to be set up.
    pub fn build_agent(&self) -> agent::Builder<'_> {
        agent::Builder::new(self)
    }

    /// Sends a request to the public port on a connection of its own and reads the answer.
    pub async fn ask(&self, request: &Request) -> Answer {
        self.connect().await.ask(request).await
    }

    /// Sends a request to the public port and reads the head of the answer.
    pub async fn open(&self, request: &Request) -> Stream {
        let mut connection = self.connect().await;
        connection.send(&request.bytes()).await;
        connection.into_stream().await
    }

    /// Sends a request to the public port and reads nothing.
    pub async fn send(&self, request: &Request) -> Connection {
        self.send_bytes(&request.bytes()).await
    }

    /// Sends bytes to the public port and reads nothing.
    pub async fn send_bytes(&self, bytes: &[u8]) -> Connection {
        let mut connection = self.connect().await;
        connection.send(bytes).await;
        connection
    }

    /// A connection to the public port.
    pub async fn connect(&self) -> Connection {
        Connection::open(self.addresses.public).await
    }

    /// A management request with the admin token.
    pub async fn manage(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let mut request = Request::new(method, path).key(&self.admin_token);
        request = request.header("host", &self.addresses.api.to_string());
        if let Some(body) = body {
            request = request.json(body);
        }
        Connection::open(self.addresses.api).await.ask(&request).await
    }

    /// The connected agents, as the management API shows them.
    pub async fn agents(&self) -> Vec<Value> {
        let listed = list(&self.manage("GET", "/api/v1/agents", None).await.json(), "agents");
        listed.into_iter().filter(|agent| agent["state"] != "offline").collect()
    }

    /// What was written down so far, the latest last or first as the gateway has it.
    pub async fn usage(&self) -> Vec<Usage> {
        let answer = self.manage("GET", "/api/v1/usage?limit=1000", None).await.json();
        list(&answer, "usage").into_iter().map(Usage::read).collect()
    }

    /// Waits until `seen` holds for the usage records.
    pub async fn usage_when(&self, what: &str, mut seen: impl FnMut(&[Usage]) -> bool) -> Vec<Usage> {
        eventually(what, async || {
            let usage = self.usage().await;
            seen(&usage).then_some(usage)
        })
        .await
    }

    /// Waits until as many requests as this ended with this outcome.
    pub async fn outcomes(&self, outcome: &str, count: usize) {
        let what = format!("{count} usage records {outcome:?}");
        let is = |usage: &&Usage| usage.outcome == outcome;
        self.usage_when(&what, |usage| usage.iter().filter(is).count() == count).await;
    }

    /// Asks it to end, and how it did.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.process.signal(libc::SIGTERM);
        self.process.exit().await
    }

    /// Revokes a key through the management API.
    pub async fn revoke(&self, key: &Key) {
        let answer = self.manage("DELETE", &format!("/api/v1/keys/{}", key.id), None).await;
        assert!(matches!(answer.status(), 200 | 204), "{}: {}", answer.status(), answer.text());
    }

    /// Makes a key through the management API, as an answer.
    pub async fn post_key(&self, name: &str) -> Answer {
        self.manage("POST", "/api/v1/keys", Some(&json!({"name": name}))).await
    }
}

impl Usage {
    fn read(record: Value) -> Self {
        let names = ["outcome", "ended", "end", "result", "status"];
        let outcome = names.iter().find_map(|name| record[*name].as_str()).unwrap_or_default().to_owned();
        Self { outcome, record }
    }

    /// Tokens of the prompt.
    pub fn prompt_tokens(&self) -> Option<u64> {
        ["prompt_tokens", "input_tokens"].iter().find_map(|name| self.record[*name].as_u64())
    }

    /// Tokens of the answer.
    pub fn completion_tokens(&self) -> Option<u64> {
        ["completion_tokens", "output_tokens"].iter().find_map(|name| self.record[*name].as_u64())
    }

    /// Tokens that were counted, prompt and answer together.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens().unwrap_or(0) + self.completion_tokens().unwrap_or(0)
    }
}

/// The rows of a listing, whether it is a bare array or a named one.
fn list(answer: &Value, name: &str) -> Vec<Value> {
    let rows = [answer, &answer[name], &answer["data"]].into_iter().find_map(Value::as_array);
    rows.unwrap_or_else(|| panic!("no list of {name}: {answer}")).clone()
}

fn gpuf_s(data: &Path) -> Command {
    command("gpuf-s", data)
}

/// A program on a data directory.
pub(crate) fn command(name: &str, data: &Path) -> Command {
    let mut command = bare_command(name);
    command.arg("--data-dir").arg(data);
    command
}

/// A program, free of what the tester's environment says.
pub(crate) fn bare_command(name: &str) -> Command {
    let mut command = Command::new(program(name));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("GPUF_") {
            command.env_remove(variable);
        }
    }
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    command.env("RUST_LOG", std::env::var(LOG_VARIABLE).unwrap_or_else(|_| "info".into()));
    command
}
