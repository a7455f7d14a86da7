//! The server: one OpenAI-compatible address in front of GPUs that dial out to it.

pub mod api_server;
pub mod cli;
pub mod config;
pub mod consumer;
pub mod quickstart;
pub mod server;

pub mod api;
pub mod error;
pub mod public;

pub mod control;
pub mod dispatch;
pub mod telemetry;
pub mod tunnel;

pub mod auth;
pub mod balance;
pub mod registry;
pub mod roster;

pub mod bus;
pub mod cache;
pub mod data_dir;
pub mod net;
pub mod outbox;
pub mod secret;
pub mod store;
