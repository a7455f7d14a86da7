//! The run loop: discover, connect to every server, serve, drain.

use std::{collections::HashSet, time::Duration};

use common::message::Login;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    bounded::shortened,
    config::AgentConfig,
    control::{self, Backoff, Context, Notices},
    engine::Engines,
    identity::Identity,
    tunnel::Tunnel,
};

/// Running requests may take this long after a request to stop.
const DRAIN_MAX: Duration = Duration::from_secs(600);
/// The first look at the engines delays the login at most this long.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// Servers that one agent holds sessions with.
const SERVERS_MAX: usize = 64;

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
    let context = Context {
        engines,
        tunnel: tunnel.clone(),
        login: login(&config),
        data_dir: config.data_dir,
        proxy_port: config.proxy_port,
        drain: shutdown.clone(),
        done: done.clone(),
    };
    let servers = tasks.spawn(keep_sessions(context, config.identities, shutdown.clone()));
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
    }
}

/// One task per server: those that were joined, and those that they tell of.
async fn keep_sessions(context: Context, identities: Vec<Identity>, shutdown: CancellationToken) {
    let mut known: HashSet<String> = HashSet::new();
    let (others, mut told) = mpsc::channel::<control::Told>(16);
    let sessions = TaskTracker::new();
    let start = |identity: Identity| {
        sessions.spawn(keep_session(context.clone(), identity, others.clone(), shutdown.clone()));
    };
    for identity in identities {
        known.insert(identity.server().to_owned());
        start(identity);
    }
    loop {
        tokio::select! {
            Some((identity, servers)) = told.recv() => {
                for server in servers {
                    if known.len() < SERVERS_MAX && known.insert(server.clone()) {
                        start(identity.clone().moved_to(server));
                    }
                }
            }
            () = context.done.cancelled() => break,
        }
    }
    sessions.close();
    sessions.wait().await;
}

async fn keep_session(
    context: Context,
    mut identity: Identity,
    others: mpsc::Sender<control::Told>,
    shutdown: CancellationToken,
) {
    let mut backoff = Backoff::default();
    // Sessions whose server is going away; each ends when its server closes it.
    let leaving = TaskTracker::new();
    loop {
        let notices = Notices { others: others.clone(), moved: CancellationToken::new() };
        let moved = notices.moved.clone();
        let mut session = leaving.spawn(control::serve(context.clone(), identity.clone(), notices));
        let lived = tokio::select! {
            ended = &mut session => {
                let Ok(ended) = ended else { return };
                warn!(server = identity.server(), reason = %ended.error, "no session");
                identity = ended.identity;
                ended.lived
            }
            () = moved.cancelled() => None,
        };
        if shutdown.is_cancelled() {
            break;
        }
        let wait = backoff.next(lived, random());
        info!(server = identity.server(), in_ms = wait.as_millis(), "connecting again");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shutdown.cancelled() => break,
        }
    }
    leaving.close();
    leaving.wait().await;
}

fn random() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX / 2)
}
