//! The process that answers the management API beside the servers: store, cache, and what servers say of
//! themselves in the store.

mod lookout;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Instant};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    api::Api,
    auth::{AdminToken, Authenticator, Tenants, admin, ca, desk::JoinPoint},
    cache::{self, Cache},
    config::Host,
    secret::SecretUrl,
    store::{self, Database, Store},
    telemetry::{Figures, Metrics},
};
use lookout::Lookout;

/// Everything that the process was told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database that the servers use.
    pub database: Database,
    /// The Redis that the servers use.
    pub redis: Option<SecretUrl>,
    /// Where operators arrive.
    pub api: SocketAddr,
    /// The file with the admin token.
    pub admin_token: PathBuf,
    /// The name or address under which this process is reached.
    pub advertise: Option<Host>,
    /// Further names under which its port may be addressed.
    pub hosts: Vec<Host>,
    /// Where machines join, whatever servers say: a control port, and the folder of the authority.
    pub join: Option<(String, PathBuf)>,
}

/// Why it cannot start. Each says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no database to share with the servers.
    #[error("--database-url is needed: postgres://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE")]
    NoDatabase,
    /// A port is taken, or an address is not this host's.
    #[error("cannot listen on {address}: {error}; choose another with --api-port")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The cache.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// The admin token.
    #[error(transparent)]
    Admin(#[from] admin::Error),
    /// The authority.
    #[error(transparent)]
    Ca(#[from] ca::Error),
}

/// Answers until `shutdown`, then lets running answers end.
///
/// # Errors
/// When it cannot start; a database that is away is waited for.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let admin = AdminToken::read(&config.admin_token)?;
    let join = config.join.clone().map(join_point).transpose()?;
    let store = Store::shared(&config.database).await?.ok_or(Error::NoDatabase)?;
    let listener = TcpListener::bind(config.api).await;
    let listener = listener.map_err(|error| Error::Listen { address: config.api, error })?;
    let address = listener.local_addr().unwrap_or(config.api);
    let (cache, courier) = Cache::open(config.redis.as_ref())?;
    // Nobody presents a key here: it is what hears of revoked ones, and tells the others through the cache.
    let (authenticator, keeper) = Authenticator::new(store.clone(), cache, None, Instant::now());
    let lookout = Lookout::new(store.clone());
    let api = Api {
        store: store.clone(),
        authenticator,
        admin,
        tenants: Tenants::new(store.clone(), Instant::now()),
        join,
        fleet: Arc::new(lookout.clone()),
        metrics: Metrics::default(),
        records: Figures::default(),
        address,
        advertise: config.advertise,
        hosts: config.hosts,
        version: env!("CARGO_PKG_VERSION"),
    };
    info!(api = %address, database = %config.database, "serving");
    let ended = CancellationToken::new();
    let tasks = [
        tokio::spawn(lookout.run(ended.clone())),
        tokio::spawn(keeper.run(ended.clone())),
        tokio::spawn(courier.run(ended.clone())),
    ];
    api.serve(listener, shutdown).await;
    ended.cancel();
    for task in tasks {
        let _ = task.await;
    }
    store.close().await;
    info!("stopped");
    Ok(())
}

fn join_point((control, folder): (String, PathBuf)) -> Result<JoinPoint, ca::Error> {
    Ok(JoinPoint { control, fingerprint: ca::authority_fingerprint(&folder)? })
}
