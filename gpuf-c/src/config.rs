//! Every setting of a running agent, checked.

use std::{num::NonZeroUsize, path::PathBuf};

use crate::{engine, identity::Identity};

/// What the run loop is given.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// One for each server to serve; at least one.
    pub identities: Vec<Identity>,
    /// Which engines to watch.
    pub engines: engine::Config,
    /// What people call this agent.
    pub name: String,
    /// Labels, `key=value`.
    pub labels: Vec<(String, String)>,
    /// Where it stands.
    pub location: Option<String>,
    /// Threads that move requests.
    pub workers: NonZeroUsize,
    /// Where renewed identities are kept.
    pub data_dir: PathBuf,
    /// The servers' proxy port, in place of the one that they name at login.
    pub proxy_port: Option<u16>,
}
