//! PostgreSQL, Redis and Kafka for tests: the real programs, private to the test process, gone when it ends.
//!
//! Each runs on 127.0.0.1 on a free port, with its files in a folder of its own. What is shared between the
//! tests of a process is started at the first use, or lies where the environment says. Starting, stopping
//! and killing block the calling thread and use no timer of a runtime, so that they work while a test holds
//! the time still.
//!
//! A service panics when it cannot do its part: in a test that is the message a person wants to read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

mod kafka;
mod port;
mod postgres;
mod redis;
mod service;
mod supervisor;

pub use kafka::Kafka;
pub use port::free as free_port;
pub use postgres::{Postgres, psql};
pub use redis::Redis;
pub use service::Service;
