//! Where operators and tenants arrive: the management REST and the metrics.

mod routes;

mod health;
mod metrics;
mod user;
mod v1;

mod docs;
mod openapi;

mod days;
mod listing;
mod readings;
mod whereabouts;

mod caller;
mod envelope;
mod error;
mod extract;
mod figures;
mod fleet;
mod gate;
mod hex;
mod listener;
mod moment;

pub use figures::serve_figures;
pub use fleet::{AgentView, EngineView, Fleet, HeartbeatView, ModelView, ServerView};
pub use listing::listed as agents_listed;
pub use routes::{Access, ROUTES, Route};

use std::{net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{AdminToken, Authenticator, Desk, Tenants, desk::JoinPoint},
    config::Host,
    store::Store,
    telemetry::{Figures, Metrics},
};
use caller::Caller;

/// Everything that the API shows and does.
#[derive(Clone)]
pub struct Api {
    /// Where keys, tokens, agents and usage are.
    pub store: Store,
    /// Who has to forget a revoked key.
    pub authenticator: Authenticator,
    /// What operators present.
    pub admin: AdminToken,
    /// Who tells tenants by theirs.
    pub tenants: Tenants,
    /// Where machines join, if this process knows by itself.
    pub join: Option<JoinPoint>,
    /// Who is connected.
    pub fleet: Arc<dyn Fleet>,
    /// What the public port counts.
    pub metrics: Metrics,
    /// How heartbeats and records of usage fare.
    pub records: Figures,
    /// Where this API listens.
    pub address: SocketAddr,
    /// The name under which others reach this server.
    pub advertise: Option<Host>,
    /// Further names under which this port may be addressed.
    pub hosts: Vec<Host>,
    /// The server's software version.
    pub version: &'static str,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Api({})", self.address)
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

    /// The desk at which a caller's deeds are done, within what they reach.
    fn desk(&self, caller: &Caller) -> Desk {
        Desk {
            store: self.store.clone(),
            cache: self.authenticator.cache().clone(),
            authenticator: Some(self.authenticator.clone()),
            join: whereabouts::join_point(self),
            actor: caller.actor(),
            scope: caller.scope.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
