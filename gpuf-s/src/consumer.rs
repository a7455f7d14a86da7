//! The process that stores what arrives in Kafka: bus, ingest and upkeep, and figures about them.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    api,
    bus::{self, Bus, KafkaSettings},
    data_dir,
    store::{self, Database, Store},
    telemetry::{Figures, Ingester, ingest, upkeep},
};

/// Everything that the consumer was told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to store.
    pub database: Database,
    /// Where to read.
    pub kafka: KafkaSettings,
    /// How much at once.
    pub ingest: ingest::Settings,
    /// Days for which single heartbeats are kept.
    pub heartbeat_days: u16,
    /// Where figures are shown.
    pub metrics: Option<SocketAddr>,
}

/// Why it cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no database to share with the server.
    #[error("--database-url is needed: postgres://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE")]
    NoDatabase,
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Its file.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// Kafka.
    #[error(transparent)]
    Bus(#[from] bus::Error),
    /// The port for figures.
    #[error("cannot listen on {address} (--metrics-bind): {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
}

/// Stores until `shutdown`, then finishes the batch at hand.
///
/// # Errors
/// When it cannot start; what fails later is tried again for as long as it takes.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let store = Store::shared(&config.database).await?.ok_or(Error::NoDatabase)?;
    let bus = Bus::kafka(&config.kafka)?;
    let ingester = Ingester::new(store.clone(), bus, config.ingest)?;
    let figures = Figures { recorder: None, ingested: Some(ingester.counts()) };
    let shown = match config.metrics {
        Some(address) => {
            let listener = TcpListener::bind(address).await;
            let listener = listener.map_err(|error| Error::Listen { address, error })?;
            Some(tokio::spawn(api::serve_figures(listener, figures, shutdown.clone())))
        }
        None => None,
    };
    let lag = tokio::spawn(ingester.watch_lag(shutdown.clone()));
    let kept = tokio::spawn(upkeep::keep(store.clone(), config.heartbeat_days, shutdown.clone()));
    info!(kafka = config.kafka.servers, database = %config.database, "storing");
    ingester.run(shutdown).await;
    let _ = tokio::join!(kept, lag);
    if let Some(shown) = shown {
        let _ = shown.await;
    }
    store.close().await;
    info!("stopped");
    Ok(())
}
