//! A real engine: llama.cpp's own server on the CPU with a small model, and programs that are its callers.
//!
//! Model, Python and Node come from the test environment that `scripts/test` makes. There is one engine for
//! all tests of a process, and one test at a time has it: its answers repeat only while it does one thing.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::agent::Agent;
use crate::connection::{Answer, Connection};
use crate::gateway::Gateway;
use crate::request::Request;
use crate::wait::{eventually, in_time};

/// The name under which the engine serves its model.
pub const MODEL: &str = "smollm2";
/// Requests that the engine works on at one time.
pub const SLOTS: usize = 2;

const ENVIRONMENT_VARIABLE: &str = "GPUF_TEST_ENV";
/// A client imports its packages and asks for half a dozen answers, on cores that others use too.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(150);

/// llama.cpp looks for callers that have left once nothing else has happened for a second, and to be asked
/// for its slots is something: whoever asks more often keeps it at work.
const LOOK_EVERY: Duration = Duration::from_millis(1_500);

static ENGINE: OnceCell<RealEngine> = OnceCell::const_new();
static TURN: Mutex<()> = Mutex::const_new(());

/// A running llama.cpp server. It ends when this process does: it reads from a pipe that only we hold, and
/// the death of a parent thread, by which other programs under test end, would come after one test.
#[derive(Debug)]
pub struct RealEngine {
    addr: SocketAddr,
    process: std::sync::Mutex<Child>,
    log: File,
}

/// The engine, for one test alone.
#[derive(Debug)]
pub struct Turn {
    engine: &'static RealEngine,
    _alone: MutexGuard<'static, ()>,
}

impl Deref for Turn {
    type Target = RealEngine;

    fn deref(&self) -> &RealEngine {
        self.engine
    }
}

impl RealEngine {
    /// The engine, started at the first call, once no other test has it.
    pub async fn turn() -> Turn {
        let alone = TURN.lock().await;
        let engine = ENGINE.get_or_init(Self::start).await;
        engine.is_idle().await;
        Turn { engine, _alone: alone }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Sends a request to the engine itself.
    pub async fn ask(&self, request: &Request) -> Answer {
        Connection::open(self.addr).await.ask(request).await
    }

    /// How many requests it works on.
    pub async fn busy_slots(&self) -> usize {
        let slots = self.ask(&Request::get("/slots")).await.json();
        let slots = slots.as_array().unwrap_or_else(|| panic!("no slots: {slots}"));
        slots.iter().filter(|slot| slot["is_processing"] == true).count()
    }

    /// Waits until it works on nothing.
    pub async fn is_idle(&self) {
        in_time("an idle engine", async {
            while self.busy_slots().await > 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
        .await;
    }

    /// How many tokens it has written in answers that it has finished.
    pub async fn tokens_finished(&self) -> u64 {
        let metrics = self.ask(&Request::get("/metrics")).await.text();
        let count = metrics.lines().find_map(|line| line.strip_prefix("llamacpp:tokens_predicted_total "));
        count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no counter: {metrics}"))
    }

    async fn start() -> Self {
        let log = tempfile::tempfile().expect("a file for the engine's log");
        let mut command = python("llama_server.py");
        command.arg(environment().join("models/smollm2.gguf")).arg(clients().join("chat_template.jinja"));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().expect("a second handle"));
        let mut process = command.spawn().expect("the engine's process");
        let printed = BufReader::new(process.stdout.take().expect("a pipe from the engine"));
        let first = tokio::task::spawn_blocking(move || printed.lines().next());
        let first = in_time("the engine's address", first).await.expect("a thread that reads");
        let Some(Ok(url)) = first else { panic!("the engine does not start:\n{}", read_all(&log)) };
        let addr = url.trim_start_matches("http://").parse().unwrap_or_else(|_| panic!("no address: {url}"));
        let engine = Self { addr, process: process.into(), log };
        engine.is_ready().await;
        engine
    }

    async fn is_ready(&self) {
        eventually("the engine's model to be loaded", async || {
            if let Ok(Some(status)) = self.process.lock().expect("a process").try_wait() {
                panic!("the engine ended at its start: {status}\n{}", read_all(&self.log));
            }
            (self.ask(&Request::get("/health")).await.status() == 200).then_some(())
        })
        .await;
    }
}

/// A gateway and an agent in front of the real engine, and a caller's key.
#[derive(Debug)]
pub struct RealScene {
    /// A key for all models.
    pub key: String,
    /// The agent in front of the engine.
    pub agent: Agent,
    /// The gateway.
    pub gateway: Gateway,
    /// The engine.
    pub engine: Turn,
}

impl RealScene {
    /// Starts what is missing and waits until the model is served.
    pub async fn new() -> Self {
        let engine = RealEngine::turn().await;
        let gateway = Gateway::start().await;
        let agent = gateway.build_agent().arg("--engine").arg(engine.url());
        let agent = agent.arg("--engine-type").arg("llama_cpp").start().await;
        let key = gateway.key().await;
        let scene = Self { key, agent, gateway, engine };
        eventually("the engine's model at the gateway", async || {
            let list = scene.gateway.ask(&Request::get("/v1/models").key(&scene.key)).await;
            list.text().contains(MODEL).then_some(())
        })
        .await;
        scene
    }

    /// Sends a request to the gateway.
    pub async fn ask(&self, request: &Request) -> Answer {
        self.gateway.ask(request).await
    }
}

/// A program of `tests/clients`: a real client that talks to a base URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its file.
    pub program: &'static str,
}

impl Client {
    /// Plays a scene to its end and gives back what it printed.
    pub async fn play(self, url: &str, key: &str, model: &str, scene: &str) -> Value {
        self.start(url, key, model, scene).await.1
    }

    /// Plays a scene; the program lives until its process is dropped.
    pub async fn start(self, url: &str, key: &str, model: &str, scene: &str) -> (Playing, Value) {
        let what = format!("{} {scene}", self.program);
        let log = tempfile::tempfile().expect("a file for the client's log");
        let mut command =
            if self.program.ends_with(".py") { python(self.program) } else { node(self.program) };
        command.args([url, key, model, scene]).env(ENVIRONMENT_VARIABLE, environment());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone().expect("a second handle"));
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{what} does not start: {error}"));
        let printed = BufReader::new(process.stdout.take().expect("a pipe from the client"));
        let playing = Playing(process);
        let line = tokio::task::spawn_blocking(move || printed.lines().next());
        let line = tokio::time::timeout(CLIENT_TIMEOUT, line).await;
        let line = line.unwrap_or_else(|_| panic!("{what}: nothing within {CLIENT_TIMEOUT:?}"));
        let Some(Ok(line)) = line.expect("a thread that reads") else {
            panic!("{what}:\n{}", read_all(&log))
        };
        let value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{what} printed: {line}"));
        (playing, value)
    }
}

/// A client that has played its scene and still lives. Dropped, it is killed.
#[derive(Debug)]
pub struct Playing(Child);

impl Drop for Playing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn python(program: &str) -> Command {
    let mut command = Command::new(environment().join("venv/bin/python"));
    command.arg("-B").arg(clients().join(program));
    without_proxies(command)
}

fn node(program: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(clients().join(program));
    without_proxies(command)
}

/// Everything is on this host; a proxy of the tester's network is not to see it.
fn without_proxies(mut command: Command) -> Command {
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name);
    }
    command
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

fn environment() -> PathBuf {
    let told = std::env::var_os(ENVIRONMENT_VARIABLE).map(PathBuf::from);
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-env");
    let folder = told.unwrap_or_else(usual);
    let complete = folder.join("node-packages").exists() && folder.join("models/smollm2.gguf").exists();
    assert!(complete, "no test environment in {}: run scripts/test, which makes it", folder.display());
    folder
}

fn read_all(mut log: &File) -> String {
    let mut bytes = Vec::new();
    let _ = log.rewind().and_then(|()| log.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}
