//! A running `gpuf-c` beside a simulated engine.

use std::net::SocketAddr;
use std::process::ExitStatus;

use serde_json::Value;
use sim_engine::{Kind, SimEngine};
use tempfile::TempDir;

use crate::gateway::{self, Gateway};
use crate::process::{Process, output_of};
use crate::wait::eventually;

/// How an agent is set up.
#[derive(Debug)]
pub struct Builder<'a> {
    gateway: &'a Gateway,
    engine_urls: Vec<String>,
    engine_type: Option<&'static str>,
    models: Vec<String>,
    control: Option<SocketAddr>,
    proxy: Option<SocketAddr>,
    arguments: Vec<String>,
    join: Option<String>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(gateway: &'a Gateway) -> Self {
        Self {
            gateway,
            engine_urls: Vec::new(),
            engine_type: None,
            models: Vec::new(),
            control: None,
            proxy: None,
            arguments: Vec::new(),
            join: None,
        }
    }

    /// In front of this engine.
    pub fn engine(self, engine: &SimEngine) -> Self {
        self.engine_at(engine, engine.url())
    }

    /// In front of this engine, reached at this base URL.
    pub fn engine_at(mut self, engine: &SimEngine, url: String) -> Self {
        self.engine_urls.push(url);
        self.engine_type = Some(match engine.kind() {
            Kind::LlamaCpp => "llama_cpp",
            Kind::Ollama => "ollama",
            Kind::Vllm => "vllm",
            // The one kind of engine that is taken to have every endpoint without being asked.
            Kind::OpenAiCompatible => "simulated",
        });
        self.models.extend(engine.models());
        self
    }

    /// Takes this many requests at one time.
    pub fn slots(mut self, slots: usize) -> Self {
        self.arguments.extend(["--slots".into(), slots.to_string()]);
        self
    }

    /// Dials the control port here.
    pub fn control_at(mut self, addr: SocketAddr) -> Self {
        self.control = Some(addr);
        self
    }

    /// Dials the proxy port here.
    pub fn proxy_at(mut self, addr: SocketAddr) -> Self {
        self.proxy = Some(addr);
        self
    }

    /// Adds an argument of `gpuf-c run`.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Joins by this join string, and not by one of its own.
    pub fn join_by(mut self, join: &str) -> Self {
        self.join = Some(join.to_owned());
        self
    }

    /// Joins, starts, and waits until the gateway shows it with its models.
    pub async fn start(self) -> Agent {
        let folder = tempfile::tempdir().expect("a folder");
        let join = match &self.join {
            Some(join) => join.clone(),
            None => self.gateway.join_string().await,
        };
        let mut command = gateway::command("gpuf-c", folder.path());
        command.args(["join", &join]);
        output_of("gpuf-c join", command).await;
        let mut started = self.gateway.joining.lock().await;
        let before: Vec<String> = self.gateway.agents().await.iter().map(id_of).collect();
        *started += 1;
        let name = format!("gpuf-c-{started}");
        let log = self.gateway.folder().path().join(format!("{name}.log"));
        let mut process = Process::start(&name, self.run_command(&folder), log);
        let id = self.appears(&mut process, &before).await;
        drop(started);
        Agent { process, id, folder }
    }

    fn run_command(&self, folder: &TempDir) -> tokio::process::Command {
        let mut command = gateway::command("gpuf-c", folder.path());
        command.args(["run", "--no-discover"]);
        if !self.engine_urls.is_empty() {
            command.args(["--engine", &self.engine_urls.join(",")]);
        }
        if let (Some(kind), 1) = (self.engine_type, self.engine_urls.len()) {
            command.args(["--engine-type", kind]);
        }
        if self.control.is_some() || self.proxy.is_some() {
            let control = self.control.unwrap_or(self.gateway.addresses.control);
            let proxy = self.proxy.unwrap_or(self.gateway.addresses.proxy);
            command.args(["--server-addr", &control.ip().to_string()]);
            command.args(["--control-port", &control.port().to_string()]);
            command.args(["--proxy-port", &proxy.port().to_string()]);
        }
        command.args(&self.arguments);
        command
    }

    async fn appears(&self, process: &mut Process, before: &[String]) -> String {
        eventually("the agent's models at the gateway", async || {
            if let Some(status) = process.ended() {
                panic!("gpuf-c ended at its start: {status}\n{}", process.log_tail());
            }
            let agents = self.gateway.agents().await;
            let ours = agents.iter().find(|agent| !before.contains(&id_of(agent)))?;
            let served = models_of(ours);
            self.models.iter().all(|model| served.contains(model)).then(|| id_of(ours))
        })
        .await
    }
}

/// A running agent. Dropped, it is killed.
#[derive(Debug)]
pub struct Agent {
    /// The process.
    pub process: Process,
    /// Its id at the gateway.
    pub id: String,
    /// Its data directory.
    pub folder: TempDir,
}

impl Agent {
    /// Kills it at once.
    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Stops it where it stands; its sockets stay open.
    pub fn pause(&self) {
        self.process.signal(libc::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.signal(libc::SIGCONT);
    }

    /// Asks it to end, and how it did.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.process.signal(libc::SIGTERM);
        self.process.exit().await
    }

    /// Waits until the gateway shows it no more.
    pub async fn is_gone_from(&self, gateway: &Gateway) {
        eventually("the gateway to miss the agent", async || {
            gateway.agents().await.iter().all(|agent| id_of(agent) != self.id).then_some(())
        })
        .await;
    }
}

/// The id of an agent in the management API's listing.
pub fn id_of(agent: &Value) -> String {
    let id = agent["id"].as_str().or(agent["agent_id"].as_str());
    id.unwrap_or_else(|| panic!("an agent without an id: {agent}")).to_owned()
}

/// The models of an agent in that listing: by name or as objects, its own or its engines'.
pub fn models_of(agent: &Value) -> Vec<String> {
    let own = agent["models"].as_array().into_iter().flatten();
    let engines = agent["engines"].as_array().into_iter().flatten();
    let theirs = engines.filter_map(|engine| engine["models"].as_array()).flatten();
    let name = |model: &Value| {
        let named = model.as_str().or(model["name"].as_str()).or(model["id"].as_str());
        named.map(str::to_owned)
    };
    own.chain(theirs).filter_map(name).collect()
}
