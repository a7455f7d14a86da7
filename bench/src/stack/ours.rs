//! The gateway and its agent, as a person would start them.

use std::{
    fs,
    net::SocketAddr,
    path::{Path as FilePath, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Bed, Path, Stack, delayed};
use crate::{
    child::{Process, output_of},
    load,
    meter::Role,
};

/// Every caller comes from one address and with one key here; the bounds that follow are the only settings
/// that differ from the defaults.
const CONFIG: &str = "[limits]\nconnections_per_address_max = 8192\n";
/// As many as the other paths' engines get: the slots of `gpuf-bench engine`.
const SLOTS: &str = "4096";
const WORKERS: &str = "2";
const COMMAND_DEADLINE: Duration = Duration::from_secs(20);
const PROBE_DEADLINE: Duration = Duration::from_secs(2);

/// Where the programs under measurement are.
#[derive(Clone, Debug)]
pub struct Binaries {
    pub folder: PathBuf,
    pub engine_type: String,
}

impl Binaries {
    pub fn check(&self) -> Result<()> {
        for name in ["gpuf-s", "gpuf-c"] {
            let file = self.folder.join(name);
            ensure!(file.is_file(), "{} is missing: cargo build --release", file.display());
        }
        Ok(())
    }

    fn server(&self, data: &FilePath) -> Command {
        self.command("gpuf-s", data)
    }

    fn agent(&self, data: &FilePath) -> Command {
        self.command("gpuf-c", data)
    }

    fn command(&self, name: &str, data: &FilePath) -> Command {
        let mut command = self.bare(name);
        command.arg("--data-dir").arg(data);
        command
    }

    fn bare(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join(name));
        command.env("RUST_LOG", "warn");
        command
    }
}

pub async fn start(bed: &Bed, one_way: Option<Duration>) -> Result<Stack> {
    let mut server = Server::start(bed).await?;
    let key = server.make_key(bed).await?;
    let (control, control_delay) = delayed(bed, server.control, one_way).await?;
    let (proxy, proxy_delay) = delayed(bed, server.proxy, one_way).await?;
    let mut agent = server.start_agent(bed, control, proxy).await?;
    let mut stack = Stack::new(Path::Ours, server.public, key);
    let target = &stack.target;
    let served = async || {
        let served = tokio::time::timeout(PROBE_DEADLINE, load::serves_model(target)).await;
        served.is_ok_and(|served| served.unwrap_or(false)).then_some(())
    };
    if let Err(error) = agent.ready("does not serve the model", served).await {
        server.process.check()?;
        return Err(error.context(format!("the server's log:\n{}", server.process.log_tail())));
    }
    stack.processes.push((Role::Back, agent));
    stack.processes.push((Role::Front, server.process));
    let delays = [control_delay, proxy_delay].into_iter().flatten();
    stack.processes.extend(delays.map(|process| (Role::Delay, process)));
    Ok(stack)
}

/// A running `gpuf-s`.
pub struct Server {
    pub process: Process,
    data: PathBuf,
    control: SocketAddr,
    proxy: SocketAddr,
    public: SocketAddr,
}

impl Server {
    pub async fn start(bed: &Bed) -> Result<Self> {
        let data = bed.subfolder("server")?;
        let config = data.join("bench.toml");
        fs::write(&config, CONFIG)?;
        let mut command = bed.binaries.bare("gpuf-s");
        command.arg("serve").arg("--data-dir").arg(&data);
        command.args(["--bind", "127.0.0.1", "--api-bind", "127.0.0.1"]);
        command.args(["--advertise", "127.0.0.1", "--workers", WORKERS]);
        for port in ["--control-port", "--proxy-port", "--public-port", "--api-port"] {
            command.args([port, "0"]);
        }
        command.arg("--config").arg(&config);
        let mut process = Process::start("gpuf-s", command, data.join("bench.log"))?;
        let file = data.join("run/addresses.json");
        let addresses = process
            .ready("wrote no addresses", async || -> Option<Value> {
                serde_json::from_slice(&fs::read(&file).ok()?).ok()
            })
            .await?;
        let address = |name: &str| -> Result<SocketAddr> {
            let address = addresses[name].as_str().with_context(|| format!("no address for {name}"))?;
            Ok(address.parse()?)
        };
        let (control, proxy, public) = (address("control")?, address("proxy")?, address("public")?);
        Ok(Self { process, data, control, proxy, public })
    }

    /// A join string that admits `uses` agents.
    pub async fn make_join_string(&self, bed: &Bed, uses: usize) -> Result<String> {
        let uses = uses.to_string();
        let arguments = ["join-token", "create", "--name", "bench", "--uses", &uses, "--json"];
        self.made(bed, &arguments, "join").await
    }

    /// Joins one agent and starts it, its connections going to the given addresses.
    pub async fn start_agent(&self, bed: &Bed, control: SocketAddr, proxy: SocketAddr) -> Result<Process> {
        let join = self.make_join_string(bed, 1).await?;
        self.start_joined_agent(bed, &join, control, proxy).await
    }

    /// One more agent that dials this server directly.
    pub async fn start_near_agent(&self, bed: &Bed, join: &str) -> Result<Process> {
        self.start_joined_agent(bed, join, self.control, self.proxy).await
    }

    /// How many agents the server says are connected.
    pub async fn agents(&self, bed: &Bed) -> Result<usize> {
        let mut command = bed.binaries.server(&self.data);
        command.args(["agents", "list", "--json"]);
        let listed: Value = serde_json::from_str(&output_of(command, COMMAND_DEADLINE).await?)?;
        let agents = listed.as_array().or_else(|| listed["data"].as_array());
        Ok(agents.context("agents list --json gave no list")?.len())
    }

    async fn make_key(&self, bed: &Bed) -> Result<String> {
        self.made(bed, &["keys", "create", "--name", "bench", "--json"], "key").await
    }

    async fn made(&self, bed: &Bed, arguments: &[&str], field: &str) -> Result<String> {
        let mut command = bed.binaries.server(&self.data);
        command.args(arguments);
        let made: Value = serde_json::from_str(&output_of(command, COMMAND_DEADLINE).await?)?;
        let value = made[field].as_str();
        Ok(value.with_context(|| format!("gpuf-s gave no {field:?}"))?.to_owned())
    }

    async fn start_joined_agent(
        &self,
        bed: &Bed,
        join: &str,
        control: SocketAddr,
        proxy: SocketAddr,
    ) -> Result<Process> {
        let data = bed.subfolder("agent")?;
        let mut command = bed.binaries.agent(&data);
        command.args(["join", join]);
        output_of(command, COMMAND_DEADLINE).await?;
        let mut command = bed.binaries.agent(&data);
        command.args(["run", "--no-discover", "--engine", &format!("http://{}", bed.engine_address)]);
        command.args(["--engine-type", &bed.binaries.engine_type, "--slots", SLOTS]);
        command.args(["--server-addr", &control.ip().to_string()]);
        command.args(["--control-port", &control.port().to_string()]);
        command.args(["--proxy-port", &proxy.port().to_string()]);
        Process::start("gpuf-c", command, data.join("bench.log"))
    }
}
