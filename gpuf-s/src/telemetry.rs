//! Heartbeats and records of usage on their way to the store, and figures for the metrics.
//!
//! A record is written to the outbox by whoever has it, brought to the bus by the forwarder, and from there
//! into the store by an ingester, in this process or in others. Each step keeps it until the next one has it,
//! and ids that are made at the first hop make it harmless that a step is taken twice.

mod recorder;

mod event;
mod request_message;

mod forwarder;
pub mod ingest;
pub mod upkeep;

mod figures;
mod metrics;
mod pause;

pub use event::{Event, What};
pub use figures::{Family, Figures};
pub use forwarder::Forwarder;
pub use ingest::Ingester;
pub use metrics::{InFlight, Metrics};
pub use recorder::Recorder;

pub use crate::store::{Outcome, UsageId, UsageRecord};
