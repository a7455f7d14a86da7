//! Where operators arrive: the management REST and the metrics.

mod routes;

mod agents;
mod audit;
mod keys;
mod metrics;
mod models;
mod servers;
mod tokens;
mod usage;

mod error;
mod extract;
mod figures;
mod fleet;
mod gate;
mod listener;

pub use agents::listed as agents_listed;
pub use figures::serve_figures;
pub use fleet::{AgentView, EngineView, Fleet, HeartbeatView, ModelView, ServerView};
pub use routes::{Access, ROUTES, Route};

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{AdminToken, Authenticator, Ca, Desk},
    config::Host,
    data_dir::Addresses,
    store::Store,
    telemetry::{Figures, Metrics},
};

/// Everything that the API shows and does.
#[derive(Clone)]
pub struct Api {
    /// Where keys, tokens, agents and usage are.
    pub store: Store,
    /// Who has to forget a revoked key.
    pub authenticator: Authenticator,
    /// What join strings pin.
    pub ca: Arc<Ca>,
    /// What operators present.
    pub admin: AdminToken,
    /// Who is connected.
    pub fleet: Arc<dyn Fleet>,
    /// What the public port counts.
    pub metrics: Metrics,
    /// How heartbeats and records of usage fare.
    pub records: Figures,
    /// Where the server listens.
    pub addresses: Addresses,
    /// The name under which others reach this server.
    pub advertise: Option<Host>,
    /// Further names under which this port may be addressed.
    pub hosts: Vec<Host>,
    /// The server's software version.
    pub version: &'static str,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Api({})", self.addresses.api)
    }
}

/// Rows of one kind; `next` where there are more, to be asked for with `before`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub data: Vec<T>,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> From<Vec<T>> for Page<T> {
    fn from(data: Vec<T>) -> Self {
        Self { data, next: None }
    }
}

impl Api {
    /// Answers operators until `shutdown`, then lets running answers end.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        listener::serve(listener, routes::router(Arc::new(self)), shutdown).await;
    }

    fn desk(&self) -> Desk {
        Desk {
            store: self.store.clone(),
            cache: self.authenticator.cache().clone(),
            authenticator: Some(self.authenticator.clone()),
            control: crate::net::advertised(self.advertise.as_ref(), self.addresses.control),
            fingerprint: self.ca.fingerprint(),
            actor: "api",
        }
    }
}

#[cfg(test)]
mod tests;
