//! What is counted while requests pass: records of usage, and figures for the metrics.

mod metrics;
mod usage;

pub use metrics::{InFlight, Metrics};
pub use usage::{Lost, UsageScribe, UsageWriter};

pub use crate::store::{Outcome, UsageId, UsageRecord};
