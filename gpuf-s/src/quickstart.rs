//! One command from nothing to a streamed answer: a server, an agent for the engines of this host,
//! a key, and what to do with it.

mod guide;

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use anyhow::Context;
use common::{EngineKind, join::JoinString};
use gpuf_c::{
    config::AgentConfig,
    engine::{self, Engines, GivenEngine},
    identity::Identity,
};
use sim_engine::{Behaviour, Script, SimEngine, Tokens};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{ApiKey, join_token, key},
    config::{Config, Host},
    data_dir::DataDir,
    server::Server,
    store::{Access, Models, Name, UnixSeconds},
};
use guide::Guide;

const KEY_FILE: &str = "quickstart.key";
const AGENT_FOLDER: &str = "quickstart-agent";
/// The model of the simulated engine.
const SIMULATED_MODEL: &str = "simulated";
/// Engines on loopback answer at once, or not at all.
const LOOK: Duration = Duration::from_secs(3);
const CONNECT: Duration = Duration::from_secs(15);
/// Machines that the printed join command lets in, and for how long.
const JOIN_USES: u32 = 10;
const JOIN_TTL: Duration = Duration::from_secs(24 * 3600);

/// Runs until `shutdown`.
///
/// # Errors
/// When the server or the agent cannot start.
pub async fn run(mut config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    // Nobody balances load in front of a laptop: Ctrl-C should not take seconds.
    config.limits.drain_lame = Duration::ZERO;
    let workers = config.workers;
    let advertise = config.advertise.clone();
    let data = DataDir::open(&config.data_dir)?;
    let tls = config.public_certificate.is_some();
    let server = Server::start(config).await?;
    let found = look_for_engines().await;
    let simulated = if found { None } else { Some(start_simulated().await?) };
    let identity = identity(&server, &data).await?;
    let agent = agent_config(identity, data.file(AGENT_FOLDER), workers, simulated.as_ref());
    let agent = tokio::spawn(gpuf_c::agent::run(agent, shutdown.clone()));
    let models = wait_for_models(&server).await;
    let guide = Guide {
        addresses: server.addresses().clone(),
        tls,
        data_dir: data.path().to_owned(),
        key: api_key(&server, &data).await?,
        join: join_string(&server, advertise.as_ref()).await?,
        models,
        simulated: simulated.is_some(),
    };
    print!("{guide}");
    server.run_until(shutdown).await;
    let _ = timeout(Duration::from_secs(5), agent).await;
    Ok(())
}

/// Whether an engine answers on one of the usual ports of this host.
async fn look_for_engines() -> bool {
    let stop = CancellationToken::new();
    let config = engine::Config { given: Vec::new(), discover: true, slots: None };
    let (engines, watch) = Engines::start(config, stop.clone());
    let watch = tokio::spawn(watch);
    let _ = timeout(LOOK, engines.looked()).await;
    stop.cancel();
    let _ = watch.await;
    !engines.snapshot().is_empty()
}

async fn start_simulated() -> anyhow::Result<SimEngine> {
    let script = Script::new(Behaviour::Tokens(Tokens::conversational()));
    let builder = SimEngine::builder().models([SIMULATED_MODEL]).slots(64).script(script);
    builder.start().await.context("cannot start the simulated engine")
}

/// The identity of this host's own agent: kept from an earlier start, or made like any other agent's.
async fn identity(server: &Server, data: &DataDir) -> anyhow::Result<Identity> {
    let folder = data.file(AGENT_FOLDER);
    let address = reachable(server.addresses().control).to_string();
    if let Some(known) = Identity::load_all(&folder)?.pop() {
        return Ok(known.moved_to(address));
    }
    let order = join_token::TokenOrder {
        name: Name::lossy("quickstart"),
        owner: None,
        uses: 1,
        ttl: Duration::from_secs(60),
    };
    let (_, token) = join_token::issue(server.store(), order, UnixSeconds::now()).await?;
    let join = JoinString {
        token: token.expose().to_owned(),
        server: address,
        fingerprint: server.ca().fingerprint(),
    };
    let identity = gpuf_c::identity::enrol(&join, "this machine", None).await?;
    identity.save(&folder)?;
    Ok(identity)
}

fn agent_config(
    identity: Identity,
    data_dir: PathBuf,
    workers: NonZeroUsize,
    simulated: Option<&SimEngine>,
) -> AgentConfig {
    let url = simulated.and_then(|engine| engine.url().parse().ok());
    let given = url.map(|url| GivenEngine { url, kind: Some(EngineKind::Simulated) });
    AgentConfig {
        identities: vec![identity],
        engines: engine::Config { given: given.into_iter().collect(), discover: true, slots: None },
        name: "this machine".to_owned(),
        labels: Vec::new(),
        location: None,
        workers,
        data_dir,
        proxy_port: None,
    }
}

/// The names of the models that can be asked for.
async fn wait_for_models(server: &Server) -> Vec<String> {
    let names = || {
        let snapshot = server.registry().snapshot();
        let mut names: Vec<_> = snapshot.models(&Access::Shared).map(|(name, _)| name.to_string()).collect();
        names.sort();
        names
    };
    let wait = async {
        while names().is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = timeout(CONNECT, wait).await;
    names()
}

/// The key of an earlier start, as long as it works, or one that is made for the next starts, too.
async fn api_key(server: &Server, data: &DataDir) -> anyhow::Result<String> {
    if let Some(kept) = data.read(KEY_FILE)? {
        let kept = kept.trim().to_owned();
        let hash = key::parse(kept.as_bytes());
        let row = match &hash {
            Some(hash) => server.store().key_by_hash(hash).await?,
            None => None,
        };
        if row.is_some_and(|row| row.revoked.is_none()) {
            return Ok(kept);
        }
    }
    let order = key::KeyOrder {
        name: Name::lossy("quickstart"),
        models: Models::All,
        access: Access::Shared,
        expires: None,
    };
    let (_, key): (_, ApiKey) = key::issue(server.store(), order, UnixSeconds::now()).await?;
    data.write(KEY_FILE, key.expose().as_bytes())?;
    Ok(key.expose().to_owned())
}

async fn join_string(server: &Server, advertise: Option<&Host>) -> anyhow::Result<JoinString> {
    let order = join_token::TokenOrder {
        name: Name::lossy("quickstart"),
        owner: None,
        uses: JOIN_USES,
        ttl: JOIN_TTL,
    };
    let (_, token) = join_token::issue(server.store(), order, UnixSeconds::now()).await?;
    let control = server.addresses().control;
    Ok(JoinString {
        token: token.expose().to_owned(),
        server: crate::net::advertised(advertise, control),
        fingerprint: server.ca().fingerprint(),
    })
}

/// Where this host itself reaches a socket that listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => SocketAddr::from(([127, 0, 0, 1], v4.port())),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, v6.port()))
        }
        other => other,
    }
}
