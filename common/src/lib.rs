//! What both ends must agree on: ids, endpoints, commands, frames, session rules and TLS.
//!
//! Nothing in [`codec`] and [`session`] does IO or reads a clock, so that both ends can be run
//! against each other in a test, second by second.

pub mod codec;
pub mod endpoint;
pub mod engine;
pub mod id;
pub mod join;
pub mod message;
pub mod model;
pub mod session;
pub mod tls;
pub mod tunnel;
pub mod workers;

pub use endpoint::{Dialect, Endpoint, EndpointSet};
pub use engine::{EngineId, EngineKind, EngineReport, ModelReport};
pub use id::{AgentId, ProxyConnId, ServerId};
pub use model::ModelName;
