//! A simulated inference engine: it speaks the dialects of real ones, follows a script, and keeps a ledger.
//!
//! Three users: black-box tests start it in-process and script its ugly days; `gpuf-s quickstart` falls
//! back to it on a machine without an engine; benchmarks run it as a process of its own, where a small
//! answer costs one read, one comparison and one write.

mod connection;
mod engine;
mod generation;
mod http1;
mod identity;
mod ledger;
mod question;
mod routes;
mod script;
mod tasks;
mod websocket;

pub use engine::{Builder, SimEngine, StartError};
pub use generation::HUMAN_TEXT;
pub use identity::Kind;
pub use ledger::{Ledger, NotSeen, Outcome, Request};
pub use script::{Behaviour, Script, Tokens};
