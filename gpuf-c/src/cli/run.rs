//! `gpuf-c run`: from arguments to settings.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread,
};

use common::{
    AgentId, EngineKind,
    engine::SLOTS_MAX,
    join::JoinString,
    message::{LABELS_MAX, TEXT_BYTES_MAX},
};
use tracing::info;

use super::{Error, bounded, host_name, join};
use crate::{
    config::AgentConfig,
    engine::{self, EngineUrl, GIVEN_MAX, GivenEngine},
    identity::{self, Identity},
};

const DEFAULT_CONTROL_PORT: u16 = 17_000;
const DEFAULT_LOCAL_PORT: u16 = 11_434;
/// A server opens four connections: further threads would have nothing to do.
const WORKERS_DEFAULT_MAX: usize = 4;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    engines: EngineArgs,

    /// What people shall call this machine [default: its host name]
    #[arg(long, help_heading = "This machine")]
    name: Option<String>,
    /// A label that operators see beside this machine; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label, help_heading = "This machine")]
    labels: Vec<(String, String)>,
    /// Where this machine stands, in words or as LATITUDE,LONGITUDE
    #[arg(long, value_name = "PLACE", help_heading = "This machine")]
    location: Option<String>,
    /// Threads that move requests [default: the number of processors, at most 4]
    #[arg(long, value_name = "N", help_heading = "This machine")]
    workers: Option<NonZeroUsize>,

    /// Join this gateway first, unless that was done before
    #[arg(
        long,
        value_name = "JOIN_STRING",
        env = "GPUF_JOIN",
        hide_env_values = true,
        help_heading = "Gateway"
    )]
    join: Option<JoinString>,
    /// Serve as this agent only; while joining, the id to have
    #[arg(long, value_name = "HEX32", help_heading = "Gateway")]
    client_id: Option<AgentId>,
    /// Serve this gateway only; where one gateway was joined, the address that it has moved to
    #[arg(long, value_name = "HOST", value_parser = host, help_heading = "Gateway")]
    server_addr: Option<String>,
    /// The gateway's control port [default: that of the join string]
    #[arg(long, value_name = "PORT", help_heading = "Gateway")]
    control_port: Option<u16>,
    /// The gateway's proxy port [default: the one that it names]
    #[arg(long, value_name = "PORT", help_heading = "Gateway")]
    proxy_port: Option<u16>,
    /// A PEM file whose last certificate vouches for the gateway, in place of the authority of the
    /// join string
    #[arg(long, value_name = "FILE", help_heading = "Gateway")]
    cert_chain_path: Option<PathBuf>,
}

/// Arguments that say which engines to serve.
#[derive(Debug, clap::Args)]
pub struct EngineArgs {
    /// Serve the engine at this address too; may be repeated, or a list with commas
    #[arg(long = "engine", value_name = "URL", value_delimiter = ',', help_heading = "Engines")]
    given: Vec<EngineUrl>,
    /// What the named engines are, where asking them does not tell: ollama, vllm, llama_cpp, sglang,
    /// lm_studio or openai_compatible
    #[arg(long = "engine-type", value_name = "TYPE", help_heading = "Engines")]
    kind: Option<EngineKind>,
    /// Serve the named engines only, and do not look for others
    #[arg(long, help_heading = "Engines")]
    no_discover: bool,
    /// Requests that each engine takes at once [default: what the engine says]
    ///
    /// Ollama does not say: the agent reads OLLAMA_NUM_PARALLEL from its own environment, and takes
    /// Ollama's default of 1 where that is not set. Engines that batch continuously and do not say are
    /// taken for 256.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(SLOTS_MAX)), help_heading = "Engines")]
    slots: Option<u32>,
    /// The address of one engine, with --local-port: another way to write --engine
    #[arg(long, value_name = "IP", help_heading = "Engines")]
    local_addr: Option<IpAddr>,
    /// The port of that engine
    #[arg(long, value_name = "PORT", help_heading = "Engines")]
    local_port: Option<u16>,
}

impl EngineArgs {
    /// What to watch.
    pub fn config(&self) -> Result<engine::Config, Error> {
        let local = self.local()?;
        let urls = self.given.iter().cloned().chain(local);
        let given: Vec<_> = urls.map(|url| GivenEngine { url, kind: self.kind }).collect();
        if given.len() > GIVEN_MAX {
            return Err(Error::Setting(format!("at most {GIVEN_MAX} engines can be named")));
        }
        if given.is_empty() && self.no_discover {
            return Err(Error::Setting(
                "--no-discover leaves no engine to serve: name one with --engine".into(),
            ));
        }
        Ok(engine::Config { given, discover: !self.no_discover, slots: self.slots })
    }

    fn local(&self) -> Result<Option<EngineUrl>, Error> {
        if self.local_addr.is_none() && self.local_port.is_none() {
            return Ok(None);
        }
        let host = self.local_addr.unwrap_or(IpAddr::from([127, 0, 0, 1]));
        let address = std::net::SocketAddr::new(host, self.local_port.unwrap_or(DEFAULT_LOCAL_PORT));
        address
            .to_string()
            .parse()
            .map(Some)
            .map_err(|error: engine::BadEngineUrl| Error::Setting(error.to_string()))
    }
}

#[cfg(test)]
impl RunArgs {
    /// The part that says which engines to serve.
    pub const fn engines(&self) -> &EngineArgs {
        &self.engines
    }
}

/// Settings from arguments, joining first where that is asked for.
pub async fn configure(data_dir: PathBuf, arguments: RunArgs) -> Result<AgentConfig, Error> {
    let name = bounded("--name", arguments.name.clone().unwrap_or_else(host_name))?;
    let location = arguments.location.clone().map(|place| bounded("--location", place)).transpose()?;
    if arguments.labels.len() > LABELS_MAX {
        return Err(Error::Setting(format!("at most {LABELS_MAX} labels can be given")));
    }
    let engines = arguments.engines.config()?;
    // Joining spends the token: whatever else is wrong with the arguments is said before.
    let identities = identities(&data_dir, &arguments).await?;
    Ok(AgentConfig {
        identities,
        engines,
        name,
        labels: arguments.labels,
        location,
        workers: arguments.workers.unwrap_or_else(default_workers),
        data_dir,
        proxy_port: arguments.proxy_port,
    })
}

fn default_workers() -> NonZeroUsize {
    let processors = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    processors.min(NonZeroUsize::new(WORKERS_DEFAULT_MAX).unwrap_or(NonZeroUsize::MIN))
}

async fn identities(data_dir: &Path, arguments: &RunArgs) -> Result<Vec<Identity>, Error> {
    if let Some(string) = &arguments.join {
        join_once(data_dir, string, arguments).await?;
    }
    let all = Identity::load_all(data_dir)?;
    if all.is_empty() {
        return Err(Error::NotJoined(data_dir.to_owned()));
    }
    let wanted = Wanted {
        agent: arguments.client_id,
        host: arguments.server_addr.as_deref(),
        port: arguments.control_port,
    };
    let mut chosen = wanted.among(all)?;
    if let Some(path) = &arguments.cert_chain_path {
        let authority = identity::authority(path)?;
        chosen = chosen.into_iter().map(|identity| identity.trusting(authority.clone())).collect();
    }
    Ok(chosen)
}

/// A second start with the same join string is an ordinary one.
async fn join_once(data_dir: &Path, string: &JoinString, arguments: &RunArgs) -> Result<(), Error> {
    if Identity::load_for(data_dir, &string.server)?.is_some() {
        return Ok(());
    }
    let identity = join::enrol(data_dir, string, arguments.name.clone(), arguments.client_id).await?;
    info!(server = identity.server(), agent = %identity.agent_id().short(), "joined");
    Ok(())
}

/// Which of the joined gateways to serve.
struct Wanted<'a> {
    agent: Option<AgentId>,
    host: Option<&'a str>,
    port: Option<u16>,
}

impl Wanted<'_> {
    fn among(&self, all: Vec<Identity>) -> Result<Vec<Identity>, Error> {
        let known =
            all.iter().map(|identity| format!("{} (agent {})", identity.server(), identity.agent_id()));
        let known = known.collect::<Vec<_>>().join(", ");
        let is_wanted = |identity: &Identity| self.agent.is_none_or(|agent| agent == identity.agent_id());
        let mut candidates: Vec<_> = all.into_iter().filter(is_wanted).collect();
        if candidates.is_empty() {
            let wanted = self.agent.map_or_else(String::new, |agent| format!("any gateway as agent {agent}"));
            return Err(Error::NotThatOne { wanted, known });
        }
        if self.host.is_none() && self.port.is_none() {
            return Ok(candidates);
        }
        if let Some(at) = candidates.iter().position(|identity| self.address(identity) == identity.server()) {
            return Ok(vec![candidates.swap_remove(at)]);
        }
        match candidates.pop() {
            Some(only) if candidates.is_empty() => {
                let address = self.address(&only);
                Ok(vec![only.moved_to(address)])
            }
            _ => Err(Error::NotThatOne { wanted: self.host.unwrap_or("that port").to_owned(), known }),
        }
    }

    /// Where `identity`'s gateway is, as these arguments have it.
    fn address(&self, identity: &Identity) -> String {
        let (host, port) = identity.server().rsplit_once(':').unwrap_or((identity.server(), ""));
        let port = self.port.or_else(|| port.parse().ok()).unwrap_or(DEFAULT_CONTROL_PORT);
        match self.host {
            Some(named) if named.contains(':') && !named.starts_with('[') => format!("[{named}]:{port}"),
            named => format!("{}:{port}", named.unwrap_or(host)),
        }
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    match (key.trim(), value.trim()) {
        ("", _) => Err("a label needs a key: KEY=VALUE".into()),
        (key, value) if key.len() > TEXT_BYTES_MAX || value.len() > TEXT_BYTES_MAX => {
            Err(format!("a label's parts have at most {TEXT_BYTES_MAX} bytes"))
        }
        (key, value) => Ok((key.to_owned(), value.to_owned())),
    }
}

/// A host without a port: that is `--control-port`.
fn host(text: &str) -> Result<String, String> {
    identity::server_name(&format!("{text}:1"))
        .or_else(|_| identity::server_name(&format!("[{text}]:1")))
        .map(|_| text.to_owned())
        .map_err(|_| "write a host name or address; the port goes to --control-port".into())
}
