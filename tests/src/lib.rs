//! Builders for black-box tests: the real binaries, simulated engines, raw sockets, and faults between them.
//!
//! A builder panics when it cannot do its part: in a test that is the message a person wants to read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

pub mod agent;
pub mod api_server;
pub mod binaries;
pub mod connection;
pub mod consumer;
pub mod dialect;
pub mod fake_agent;
pub mod fault_proxy;
pub mod gateway;
pub mod heartbeats;
pub mod http2;
pub mod namespace;
pub mod process;
pub mod real_engine;
pub mod request;
pub mod scene;
pub mod sse;
pub mod topics;
pub mod wait;

pub use agent::Agent;
pub use api_server::ApiServer;
pub use connection::{Answer, Connection, Stream};
pub use consumer::Consumer;
pub use dialect::Dialect;
pub use fake_agent::{Conduct, FakeAgent};
pub use fault_proxy::FaultProxy;
pub use gateway::Gateway;
pub use heartbeats::{HeartbeatLedger, Herd};
pub use http2::Http2;
pub use request::Request;
pub use scene::{MODEL, Scene, engine, engine_with_slots};
pub use sim_engine::{Behaviour, Kind, Outcome, Script, SimEngine, Tokens};
pub use sse::Event;
pub use test_services::{Kafka, Postgres, Redis};
pub use wait::{PATIENCE, eventually, in_time};
