//! The run loop: discover, connect to every server, serve, drain.

mod servers;

use std::time::Duration;

use common::message::Login;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    bounded::shortened,
    config::AgentConfig,
    control::{Context, Server, Sessions},
    engine::Engines,
    identity::Membership,
    telemetry::Pulse,
    tunnel::Tunnel,
};

/// Running requests may take this long after a request to stop.
const DRAIN_MAX: Duration = Duration::from_secs(600);
/// The first look at the engines delays the login at most this long.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No threads or no event queue.
    #[error("cannot start worker threads: {0}")]
    Workers(#[from] std::io::Error),
}

/// Runs until `shutdown`, then lets running requests end.
///
/// # Errors
/// When it cannot start. A server that cannot be reached is tried again for ever.
pub async fn run(config: AgentConfig, shutdown: CancellationToken) -> Result<(), Error> {
    let watching = CancellationToken::new();
    let (engines, watch) = Engines::start(config.engines.clone(), watching.clone());
    let tasks = TaskTracker::new();
    tasks.spawn(watch);
    let _ = timeout(FIRST_LOOK, engines.looked()).await;
    let tunnel = Tunnel::new(engines.clone(), config.workers)?;
    let done = CancellationToken::new();
    let pulse = Pulse::default();
    tasks.spawn(pulse.clone().run(watching.clone()));
    let context = Context {
        engines,
        tunnel: tunnel.clone(),
        login: login(&config),
        pulse,
        sessions: Sessions::default(),
        drain: shutdown.clone(),
        done: done.clone(),
    };
    let joined = config.identities.into_iter().map(|identity| {
        Server::joined(Membership::new(identity, config.data_dir.clone()), config.proxy_port)
    });
    let servers = tasks.spawn(servers::keep_sessions(context, joined.collect(), shutdown.clone()));
    shutdown.cancelled().await;
    info!(requests = tunnel.streams(), "draining");
    if timeout(DRAIN_MAX, tunnel.drain()).await.is_err() {
        warn!(requests = tunnel.streams(), "requests are cut: they took too long");
    }
    done.cancel();
    watching.cancel();
    let _ = timeout(Duration::from_secs(5), servers).await;
    Ok(())
}

fn login(config: &AgentConfig) -> Login {
    Login {
        version: env!("CARGO_PKG_VERSION").into(),
        name: shortened(&config.name, 200),
        os: std::env::consts::OS.into(),
        arch: std::env::consts::ARCH.into(),
        labels: config.labels.clone(),
        location: config.location.clone(),
        engines: Vec::new(),
        servers: Vec::new(),
    }
}
