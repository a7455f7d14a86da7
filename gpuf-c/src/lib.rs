//! The agent: it runs beside an inference engine, dials out, and serves the tunnel.

pub mod cli;
pub mod config;

pub mod agent;
pub mod control;
pub mod tunnel;

pub mod engine;
pub mod identity;
pub mod telemetry;

pub mod bounded;
