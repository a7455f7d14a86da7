//! `gpuf-c join`.

use std::{io::Write, path::Path};

use common::{AgentId, join::JoinString};

use super::{Error, bounded, host_name};
use crate::identity::{self, Identity};

/// Arguments of `join`.
#[derive(Debug, clap::Args)]
pub struct JoinArgs {
    /// gpuf://TOKEN@HOST:PORT/FINGERPRINT, as the gateway's operator gave it
    #[arg(value_name = "JOIN_STRING", env = "GPUF_JOIN", hide_env_values = true)]
    string: JoinString,
    /// What people shall call this machine [default: its host name]
    #[arg(long)]
    name: Option<String>,
    /// The agent id to have, 32 hexadecimal digits [default: a random one]
    #[arg(long, value_name = "HEX32")]
    client_id: Option<AgentId>,
    /// Become another agent of a gateway that this machine has joined already
    #[arg(long)]
    replace: bool,
}

/// Joins and says so.
pub async fn join(data_dir: &Path, arguments: JoinArgs) -> Result<(), Error> {
    let JoinArgs { string, name, client_id, replace } = arguments;
    if let (Some(identity), false) = (Identity::load_for(data_dir, &string.server)?, replace) {
        let (server, agent) = (identity.server().to_owned(), identity.agent_id());
        return Err(Error::AlreadyJoined { server, agent });
    }
    let identity = enrol(data_dir, &string, name, client_id).await?;
    let (server, agent) = (identity.server(), identity.agent_id());
    // Whoever reads this may have gone.
    let _ = writeln!(std::io::stdout(), "Joined {server} as agent {agent}.\nStart serving with: gpuf-c");
    Ok(())
}

/// Enrols and keeps the identity.
pub async fn enrol(
    data_dir: &Path,
    string: &JoinString,
    name: Option<String>,
    client_id: Option<AgentId>,
) -> Result<Identity, Error> {
    let name = bounded("--name", name.unwrap_or_else(host_name))?;
    let identity = identity::enrol(string, &name, client_id).await?;
    identity.save(data_dir)?;
    Ok(identity)
}
