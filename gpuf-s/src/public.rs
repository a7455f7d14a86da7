//! The public port: callers' HTTP with bearer keys, in the dialects of OpenAI, Anthropic and Ollama.

mod connection;
mod guard;
mod strict;

mod router;

mod authorize;
mod catalogue;
mod inference;
mod upgrade;

mod events;
mod fields;
mod flight;
mod form;
mod meter;

mod body;
mod relay;
mod reply;
mod request_id;
mod tls;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use connection::serve;
pub use tls::{Error as TlsError, PublicTls};

use crate::{
    auth::{self, Authenticator},
    config::Limits,
    dispatch::{self, Dispatcher},
    telemetry::{Metrics, Recorder},
};

/// Why a caller gets no answer of an engine. The texts for people are in [`crate::error`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key.
    #[error(transparent)]
    Auth(#[from] auth::Error),
    /// The way to an engine.
    #[error(transparent)]
    Dispatch(#[from] dispatch::Error),
    /// No such model, or not for this key.
    #[error("the key has no model {0:?}")]
    UnknownModel(String),
    /// The body.
    #[error(transparent)]
    Fields(#[from] fields::Error),
    /// No model is named.
    #[error("no model")]
    ModelMissing,
    /// The model's name.
    #[error(transparent)]
    BadModelName(#[from] common::model::BadModelName),
    /// Two different keys.
    #[error("two different credentials")]
    CredentialsDiffer,
    /// Not HTTP as everybody reads it.
    #[error("malformed HTTP")]
    Malformed,
    /// The body ended early.
    #[error("the body ended early")]
    BodyBroken,
    /// A WebSocket endpoint was asked without an upgrade.
    #[error("no upgrade")]
    UpgradeExpected,
    /// Nothing there.
    #[error("unknown path")]
    UnknownPath,
    /// Not with this method.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// Headers over their bounds.
    #[error("headers too large")]
    HeadTooLarge,
    /// Target over its bound.
    #[error("target too long")]
    TargetTooLong,
    /// Body over its bound.
    #[error("body too large")]
    BodyTooLarge,
    /// A compressed body.
    #[error("compressed body")]
    EncodedBody,
    /// Head or body came too slowly.
    #[error("too slow")]
    Timeout,
    /// The server is going away.
    #[error("draining")]
    Draining,
}

/// What every connection needs.
#[derive(Debug)]
pub struct Shared {
    /// Tells callers by their keys.
    pub auth: Authenticator,
    /// Finds engines.
    pub dispatcher: Dispatcher,
    /// Times and bounds.
    pub limits: Limits,
    /// Takes records of usage.
    pub usage: Recorder,
    /// Takes counts.
    pub metrics: Metrics,
    /// TLS, where the port speaks it.
    pub tls: Option<PublicTls>,
    /// Permits for connections.
    pub connections: Arc<Semaphore>,
    /// Connections by address.
    pub per_address: PerAddress,
    /// Once cancelled, load balancers are told to go elsewhere.
    pub lame: CancellationToken,
    /// Once cancelled, connections end with their request.
    pub drain: CancellationToken,
    /// The connections that live.
    pub tracker: TaskTracker,
}

/// The public port as one worker serves it.
#[derive(Debug, Clone)]
pub struct Door {
    /// Of all workers.
    pub shared: Arc<Shared>,
    /// This worker.
    pub worker: usize,
}

/// How many connections each address has. Only touched when connections come and go.
#[derive(Debug, Clone)]
pub struct PerAddress {
    max: usize,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place, given back by dropping.
#[derive(Debug)]
pub struct AddressPlace {
    of: PerAddress,
    address: IpAddr,
}

impl PerAddress {
    /// At most `max` from one address.
    pub fn new(max: usize) -> Self {
        Self { max, counts: Arc::default() }
    }

    /// A place, unless the address has too many.
    pub fn enter(&self, address: IpAddr) -> Option<AddressPlace> {
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(AddressPlace { of: self.clone(), address })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut counts = self.of.counts();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}
